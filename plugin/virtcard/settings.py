"""What the daemon was started with, and the places that follow from it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from virtcard.domain.uri import Instance, LibvirtUri, parse_uri, runtime_dir
from virtcard.errors import InvalidArgument
from virtcard.policy.folders import Folders, session_folders, system_folders

SYSTEM_RUNTIME = Path("/run/virtcardd")
"""Our own files; the sockets of the machines are elsewhere, since systemd deletes a RuntimeDirectory at stop."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is."""

    session: bool
    uri: LibvirtUri
    socket_dir: Path
    runtime_dir: Path
    policy: Folders
    metrics: bool = False
    """Write metrics for Prometheus."""

    @property
    def hotplug_dir(self) -> Path:
        """Where we make sockets for hot-plugged readers: beside `vm`, or in the session's directory."""
        return (self.socket_dir.parent if self.socket_dir.name == "vm" else self.socket_dir) / "hotplug"

    @property
    def instance(self) -> str:
        """ "system" or "session"."""
        return "session" if self.session else "system"

    @property
    def metrics_file(self) -> Path:
        """In a directory of its own, which the node exporter can list; it may pass through ours and no more."""
        return self.runtime_dir / "metrics" / "virtcard.prom"

    @property
    def wisher(self) -> str:
        """Whose wishes stand in the metadata: the user's own in a session, and on the system nobody knows whose."""
        return _user_name(os.getuid()) if self.session else ""

    @property
    def verifies_peers(self) -> bool:
        """The test driver has no QEMU whose pid could be compared."""
        return self.uri.instance is not Instance.TEST


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def settings(
    *,
    session: bool,
    connect: str | None,
    socket_dir: str | None,
    metrics: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """From the command line; InvalidArgument or Unsupported when it does not fit together."""
    uri = parse_uri(connect or ("qemu:///session" if session else "qemu:///system"), environ)
    uri.require_local()
    sockets = Path(socket_dir) if socket_dir else uri.socket_dir
    if not sockets.is_absolute():
        raise InvalidArgument(f"'{sockets}' is not an absolute directory.", hint="Give the whole path.")
    runtime = runtime_dir(environ) / "virtcardd" if session else SYSTEM_RUNTIME
    policy = session_folders(environ) if session else system_folders()
    return Settings(session, uri, sockets, runtime, policy, metrics)
