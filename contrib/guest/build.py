#!/usr/bin/env python3
"""Builds the test guest: `.cache/guest/vmlinux` and `.cache/guest/initrd.img`, out of Debian packages.

The kernel and udev are downloaded and unpacked, not installed; everything else is copied from this machine, with the
libraries that ldd finds. Nothing here needs root, and nothing is done when the inputs have not changed.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "guest"
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")

MODULES = ("usb/common/usb-common", "usb/core/usbcore", "usb/host/xhci-hcd", "usb/host/xhci-pci", "usb/host/uhci-hcd")
"""Below kernel/drivers. usb-ccid is a full-speed device: the guest needs xHCI or UHCI, never EHCI."""

DOWNLOADED = {
    "linux-image-amd64": ("boot/vmlinuz-*", *(f"lib/modules/*/kernel/drivers/{module}.ko" for module in MODULES)),
    "udev": ("bin/udevadm",),
}
"""What is taken from packages that are unpacked and not installed."""

# fmt: off
PACKAGES = (
    "busybox-static", "libc6", "libccid", "libgcc-s1", "libnss3", "libnss3-tools", "libpcsclite1", "libpcsclite-dev",
    "libssl3", "libudev1", "opensc", "opensc-pkcs11", "openssl", "pcscd",
)
# fmt: on
"""What the guest is made of; the guest is built again when a version changes."""

PROGRAMS = (
    Path("/usr/sbin/pcscd"),
    *(Path("/usr/bin") / name for name in ("opensc-tool", "pkcs11-tool", "pkcs15-tool", "piv-tool")),
    *(Path("/usr/bin") / name for name in ("certutil", "openssl")),
)

LOADED = (
    *(LIBRARIES / name for name in ("libpcsclite.so.1", "libgcc_s.so.1", "opensc-pkcs11.so", "ossl-modules/legacy.so")),
    *(LIBRARIES / f"{name}.so" for name in ("libsoftokn3", "libfreebl3", "libfreeblpriv3", "libnssckbi")),
    *(LIBRARIES / f"{name}.chk" for name in ("libsoftokn3", "libfreebl3", "libfreeblpriv3")),
)
"""What the programs open by name at run time, so that ldd does not show it."""

SETTINGS = (Path("/etc/opensc/opensc.conf"), Path("/usr/lib/ssl/openssl.cnf"), Path("/etc/libccid_Info.plist"))
CCID_BUNDLE = Path("/usr/lib/pcsc/drivers/ifd-ccid.bundle")


class BuildError(Exception):
    """One sentence that says what is wrong and what to do."""


def main() -> int:
    """Build what is out of date; 0 when the guest stands."""
    started = time.monotonic()
    try:
        if not build():
            print("guest: up to date")
            return 0
    except BuildError as error:
        print(f"guest: {error}", file=sys.stderr)
        return 1
    size = (CACHE / "initrd.img").stat().st_size
    print(f"guest: built in {time.monotonic() - started:.0f} s, initrd.img has {size / 1e6:.0f} MB")
    return 0


def build() -> bool:
    """Build the guest; False when it stood already."""
    key = inputs_key()
    stamp = CACHE / "inputs"
    outputs = (CACHE / "vmlinux", CACHE / "initrd.img")
    if stamp.is_file() and stamp.read_text() == key and all(path.is_file() for path in outputs):
        return False
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="work.") as work:
        sources = {package: unpacked(package, Path(work)) for package in DOWNLOADED}
        root = Path(work) / "root"
        fill(root, sources)
        (Path(work) / "initrd.img").write_bytes(b"".join(archive(root)))
        image = next(sources["linux-image-amd64"].glob("vmlinuz-*"))
        (Path(work) / "vmlinux").write_bytes(unpacked_kernel(image.read_bytes()))
        for output in outputs:
            (Path(work) / output.name).replace(output)
    stamp.write_text(key)
    return True


def inputs_key() -> str:
    """A hash of what the guest is made from: our own files and the versions of the packages."""
    digest = hashlib.sha256()
    for path in sorted(HERE.iterdir()):
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}=${Version} ${db:Status-Status}\n", *PACKAGES],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    installed = [line.removesuffix(" installed") for line in answer.stdout.splitlines() if line.endswith(" installed")]
    missing = set(PACKAGES) - {line.partition("=")[0] for line in installed}
    if missing:
        raise BuildError(f"missing on this machine: {' '.join(sorted(missing))}; install them with: make deps")
    digest.update("\n".join(sorted(installed)).encode())
    return digest.hexdigest()


def unpacked(package: str, work: Path) -> Path:
    """The folder with what we take from a package, downloaded at most once (kept in `.cache/guest/packages`)."""
    target = CACHE / "packages" / package
    if target.is_dir():
        return target
    print(f"guest: downloading {package}", flush=True)
    downloads = work / package
    downloads.mkdir()
    name = resolved(package)
    run(["apt-get", "download", "-q", name], downloads, f"apt cannot download {name}; try: apt-get update")
    print(f"guest: unpacking {name}", flush=True)
    contents = work / f"{package}.contents"
    run(["dpkg", "-x", str(next(downloads.glob("*.deb"))), str(contents)], work, f"dpkg cannot unpack {name}")
    kept = work / f"{package}.kept"
    kept.mkdir()
    for pattern in DOWNLOADED[package]:
        found = next(contents.glob(pattern), None)
        if found is None:
            raise BuildError(f"{name} has no {pattern}; the test guest needs Debian 12's kernel")
        shutil.copy(found, kept)
    target.parent.mkdir(exist_ok=True)
    kept.rename(target)
    return target


def resolved(package: str) -> str:
    """The package that a kernel metapackage depends on; any other package is itself."""
    answer = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=False)
    kernel = re.search(r"Depends: (linux-image-\S+)", answer.stdout)
    return kernel[1] if kernel else package


def run(command: list[str], folder: Path, complaint: str) -> str:
    """What a command prints; BuildError with `complaint` and the command's last line when it fails."""
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{complaint} ({error})") from error
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BuildError(f"{complaint} ({last})")
    return answer.stdout


def fill(root: Path, sources: dict[str, Path]) -> None:
    """Lay out the guest's file system below `root`."""
    print("guest: collecting programs and libraries", flush=True)
    for folder in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/lib/modules"):
        (root / folder).mkdir(parents=True)
    for folder in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / folder).mkdir(exist_ok=True)
        (root / folder).symlink_to(f"usr/{folder}")
    busybox(root)
    for module in MODULES:
        name = f"{Path(module).name}.ko"
        place(sources["linux-image-amd64"] / name, root / "lib/modules" / name)
    place(sources["udev"] / "udevadm", root / "sbin/systemd-udevd")
    for name in ("agent", "pcscd-start"):
        place(HERE / name, root / "sbin" / name)
    place(HERE / "init", root / "init")
    compiled(HERE / "scard.c", root / "usr/bin/scard")
    shutil.copytree(CCID_BUNDLE, root / CCID_BUNDLE.relative_to("/"))
    for path in (*PROGRAMS, *LOADED, *SETTINGS):
        place(path, root / path.relative_to("/"))
    for library in libraries(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        place(library, root / library.relative_to("/"))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def busybox(root: Path) -> None:
    """Place busybox and a link for each of its applets."""
    place(Path("/bin/busybox"), root / "bin/busybox")
    for applet in run(["/bin/busybox", "--list"], root, "busybox does not run").split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("/bin/busybox")


def compiled(source: Path, target: Path) -> None:
    """Compile one C file against pcsc-lite."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-I/usr/include/PCSC", str(source), "-o", str(target)]
    run([*command, "-lpcsclite"], HERE, f"gcc cannot compile {source.name}")


def place(source: Path, target: Path) -> None:
    """Copy one file as it is behind its links; executable stays executable."""
    if not source.is_file():
        raise BuildError(f"{source} is not on this machine; install what is missing with: make deps")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(source, target)


def libraries(paths: Iterable[Path]) -> set[Path]:
    """The shared libraries (and the loader) that ldd names for the dynamic ELF files among `paths`."""
    programs = [str(path) for path in paths if path.suffix != ".ko" and is_elf(path)]
    answer = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)
    missing = re.findall(r"(\S+) => not found", answer.stdout)
    if missing:
        raise BuildError(f"ldd does not find {missing[0]}; install what is missing with: make deps")
    return {Path(name) for name in re.findall(r"(/\S+) \(0x", answer.stdout)}


def is_elf(path: Path) -> bool:
    """Whether a file starts like a program or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def unpacked_kernel(image: bytes) -> bytes:
    """The kernel in a bzImage, as an ELF file that QEMU starts by its PVH entry.

    An emulated processor takes longer to unpack it than to boot it. The fields are those of the header of the kernel's
    Documentation/arch/x86/boot.rst: setup_sects, payload_offset and payload_length."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[begin : begin + length])
    except lzma.LZMAError as error:
        raise BuildError(f"the kernel is not packed by xz ({error}); the guest needs Debian 12's kernel") from error


def archive(root: Path) -> Iterator[bytes]:
    """The folder as a cpio archive in the kernel's `newc` format (Documentation/driver-api/early-userspace)."""
    print("guest: packing", flush=True)
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            yield entry(name, stat.S_IFLNK | 0o777, os.readlink(path).encode())
        elif path.is_dir():
            yield entry(name, stat.S_IFDIR | 0o755, b"")
        else:
            yield entry(name, stat.S_IFREG | stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    yield entry("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1))
    yield entry("TRAILER!!!", 0, b"")


def entry(name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    """One file of a `newc` archive; owner root, no times, so that equal inputs give equal archives."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return padded(header + encoded) + padded(data)


def padded(data: bytes) -> bytes:
    """The data, filled up to a multiple of four bytes."""
    return data + bytes(-len(data) % 4)


if __name__ == "__main__":
    sys.exit(main())
