"""libvirt URIs: which instance, and where its pid files and our sockets are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from virtcard.errors import InvalidArgument, Unsupported

SYSTEM_SOCKETS: Final = Path("/run/virtcard/vm")
"""Made by tmpfiles and never removed: a domain with a socket here does not start without the directory."""
SYSTEM_STATE: Final = Path("/run/libvirt")
LOCAL_TRANSPORTS: Final = ("", "unix")


class Instance(StrEnum):
    """Which libvirt a URI means."""

    SYSTEM = "system"
    SESSION = "session"
    EMBED = "embed"
    """The QEMU driver inside this process."""
    TEST = "test"
    """libvirt's test driver: domains without QEMU."""


@dataclass(frozen=True, slots=True)
class LibvirtUri:
    """A parsed URI."""

    text: str
    instance: Instance
    remote: str
    """The other machine ("host", or the transport when no host is named), or "" for this one."""
    pid_dir: Path | None
    """Where libvirt keeps `<name>.pid` of each QEMU; None when it has none on this machine."""
    socket_dir: Path
    """Where VSCard sockets of these domains belong by default."""

    def require_local(self) -> None:
        """Unsupported when the domains' sockets are on another machine."""
        if self.remote:
            raise Unsupported(
                f"The domains of {self.text} run on another machine ({self.remote}), out of reach of this one's cards.",
                hint="Run virtcardd on that machine.",
            )


def parse_uri(text: str, environ: Mapping[str, str]) -> LibvirtUri:
    """The URI as libvirt reads it (docs/uri.rst), for the QEMU and the test driver; else InvalidArgument.

    `environ` gives XDG_RUNTIME_DIR, XDG_CACHE_HOME and HOME."""
    parts = _split(text)
    driver, _, transport = parts.scheme.partition("+")
    instance = _instance(text, driver, parts.path)
    remote = parts.hostname or ("" if transport in LOCAL_TRANSPORTS else transport)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if instance is Instance.EMBED:
        root = _embed_root(text, query)
        return LibvirtUri(text, instance, remote, root / "run" / "qemu", root / "virtcard")
    pid_dir = None if remote else _pid_dir(instance, query.get("socket", ""), environ)
    sockets = SYSTEM_SOCKETS if instance is Instance.SYSTEM else runtime_dir(environ) / "virtcard"
    return LibvirtUri(text, instance, remote, pid_dir, sockets)


def runtime_dir(environ: Mapping[str, str]) -> Path:
    """GLib's user runtime directory, which libvirt uses: the cache directory stands in for a missing one."""
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime)
    return Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/"), ".cache"))


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise InvalidArgument(f"{text!r} is not a libvirt URI: {error}.") from error


def _instance(text: str, driver: str, path: str) -> Instance:
    if driver == "test":
        return Instance.TEST
    try:
        return Instance(path.removeprefix("/")) if driver == "qemu" and path != "/test" else _refuse(text)
    except ValueError:
        return _refuse(text)


def _refuse(text: str) -> Instance:
    raise InvalidArgument(
        f"{text!r} is not a libvirt URI with QEMU domains.", hint="Use qemu:///system or qemu:///session."
    )


def _embed_root(text: str, query: Mapping[str, str]) -> Path:
    root = Path(query.get("root", ""))
    if not root.is_absolute():
        raise InvalidArgument(f"{text!r} needs an absolute root directory.", hint="Use qemu:///embed?root=/DIRECTORY.")
    return root


def _pid_dir(instance: Instance, socket: str, environ: Mapping[str, str]) -> Path | None:
    if instance is Instance.SYSTEM:
        return (Path(socket).parent if socket else SYSTEM_STATE) / "qemu"
    if instance is Instance.SESSION:
        return (Path(socket).parent if socket else runtime_dir(environ) / "libvirt") / "qemu" / "run"
    return None
