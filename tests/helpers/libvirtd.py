"""A private libvirtd: session mode, with its own directories, beside any other libvirt on this machine.

As root, libvirtd would take the system's paths and need its services, so that it runs in a user namespace there, where
root is called `nobody`: for the rest of the machine its files and its QEMUs still belong to root, under the same pids.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import libvirt

from helpers.waiting import wait_until

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "libvirt"
"""Capabilities of the QEMUs of this machine, kept between runs: the first probe takes 8 s. libvirt checks their age."""

FIRST_CPU = min(os.sched_getaffinity(0))
"""libvirt calls kept capabilities outdated when CPUID differs, and CPUID tells one core from another: always ask this
one. (libvirt gives its QEMUs all cores again.)"""

NOBODY = 65_534
UNPRIVILEGED = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
START_PATIENCE = 20.0
STOP_PATIENCE = 10.0


class Libvirtd:
    """A running private libvirtd with its virtlogd. Made by `private_libvirtd`."""

    def __init__(self, directory: Path, hostname: str = "", hooks: Path | None = None) -> None:
        """`directory` must be short: its sockets have 107 bytes. `hooks` are what it finds in /etc/libvirt/hooks."""
        self.directory = directory
        self._hostname = hostname
        self._hooks = hooks
        self.socket = directory / "libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={self.socket}"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def pid(self) -> int:
        """The process id of libvirtd."""
        return self._daemons["libvirtd"].pid

    @property
    def log(self) -> str:
        """What libvirtd has written to its log."""
        return (self.directory / "libvirtd.log").read_text(errors="replace")

    @property
    def capabilities(self) -> Path:
        """Where this libvirtd keeps what it found out about QEMU."""
        return self.directory / "cache/libvirt/qemu/cache/capabilities"

    def environment(self) -> dict[str, str]:
        """The environment in which `qemu:///session` and the session paths of virtcard mean this libvirtd."""
        return os.environ | {
            "HOME": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.directory),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "XDG_DATA_HOME": str(self.directory / "data"),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }

    @staticmethod
    def somebody() -> list[str]:
        """The words that make a program one of the user whose `qemu:///session` this is."""
        return UNPRIVILEGED if os.getuid() == 0 else []

    def start(self) -> None:
        """Start both daemons, or libvirtd alone after `kill`; returns when libvirtd answers."""
        for daemon in ("virtlogd", "libvirtd"):
            if daemon not in self._daemons:
                self._daemons[daemon] = self._spawn(daemon)
        try:
            wait_until(self._answers, START_PATIENCE, "libvirtd answers")
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends with:\n{self.log[-2000:]}") from None

    def kill(self) -> None:
        """End libvirtd as a crash does; its VMs go on. `start` brings it back."""
        daemon = self._daemons.pop("libvirtd")
        daemon.kill()
        daemon.wait(STOP_PATIENCE)

    def stop(self) -> None:
        """End the VMs and both daemons."""
        qemus = self.qemu_pids()
        for pid in qemus:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for daemon in ("libvirtd", "virtlogd"):
            if process := self._daemons.pop(daemon, None):
                _end(process)
        wait_until(lambda: not any(_is_qemu(pid, self.directory) for pid in qemus), STOP_PATIENCE, "the VMs have ended")

    def open(self) -> libvirt.virConnect:
        """A new connection to this libvirtd; the caller closes it."""
        return libvirt.open(self.uri)

    def virsh(self, *arguments: str) -> str:
        """What virsh prints; CalledProcessError when it fails."""
        command = ["virsh", "--quiet", "-c", self.uri, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def qemu_pids(self) -> list[int]:
        """The QEMUs that run for this libvirtd, also while libvirtd itself does not."""
        files = (self.directory / "libvirt/qemu/run").glob("*.pid")
        return [pid for file in files if _is_qemu(pid := int(file.read_text() or 0), self.directory)]

    def _spawn(self, daemon: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{daemon}.log").open("ab") as log:
            return subprocess.Popen(
                ["taskset", "--cpu-list", str(FIRST_CPU), *self._namespaces(), f"/usr/sbin/{daemon}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=self.environment(),
            )  # fmt: skip

    def _namespaces(self) -> list[str]:
        """The words that put a daemon where it is not root, and where it has a host name of its own."""
        names = [f"hostname {self._hostname}"] if self._hostname else []
        mounts = [f"mount --bind {self._hooks} /etc/libvirt/hooks"] if self._hooks else []
        if names or mounts:
            script = " && ".join([*names, *mounts, 'exec "$@"'])
            apart = ["unshare", "--uts", "--mount", "--user", "--map-root-user"]
            return [*apart, "sh", "-c", script, "sh", *UNPRIVILEGED]
        return self.somebody()

    def _answers(self) -> bool:
        for name, daemon in self._daemons.items():
            assert daemon.poll() is None, f"{name} ended with {daemon.returncode}"
        if not self.socket.exists():
            return False
        try:
            self.open().close()
        except libvirt.libvirtError:
            return False
        return True


@contextmanager
def private_libvirtd(hostname: str = "", hook: Path | None = None) -> Iterator[Libvirtd]:
    """A libvirtd of our own, with nothing defined; its VMs, processes and files are gone afterwards.

    With a `hostname` it believes to be on that host: two of these can migrate VMs to each other. A `hook` is installed
    for what its QEMUs do.
    """
    libvirt.registerErrorHandler(lambda context, error: None, None)
    directory = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
    libvirtd = Libvirtd(directory, hostname, _install(hook, directory) if hook else None)
    try:
        (directory / "config/libvirt").mkdir(parents=True)
        # libvirt tells hosts apart by name and by this.
        (directory / "config/libvirt/libvirtd.conf").write_text(f'host_uuid = "{uuid.uuid4()}"\n')
        _copy_files(CACHE, libvirtd.capabilities)
        libvirtd.start()
        yield libvirtd
    finally:
        libvirtd.stop()
        _copy_files(libvirtd.capabilities, CACHE)
        shutil.rmtree(directory)


def _install(hook: Path, directory: Path) -> Path:
    """The folder of hooks, with this one for QEMU."""
    hooks = directory / "hooks"
    (hooks / "qemu.d").mkdir(parents=True)
    shutil.copy(hook, hooks / "qemu.d/virtcard")
    return hooks


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_PATIENCE)


def _is_qemu(pid: int, directory: Path) -> bool:
    """Whether that process is a QEMU of this directory, and not one that got its number later."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"qemu" in command and os.fsencode(directory) in command


def _copy_files(source: Path, target: Path) -> None:
    """Copy a folder of files, each in one step, since other test runs read and write there too."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.xml") if source.is_dir() else ():
        partial = target / f"{file.name}.{os.getpid()}"
        shutil.copy2(file, partial)
        partial.replace(target / file.name)
