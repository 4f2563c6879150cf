"""What the daemon was started with, and the places that follow from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from virtcard.domain.uri import Instance, LibvirtUri, parse_uri, runtime_dir
from virtcard.errors import InvalidArgument

SYSTEM_RUNTIME = Path("/run/virtcardd")
"""Our own files; the sockets of the machines are elsewhere, since systemd deletes a RuntimeDirectory at stop."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is."""

    session: bool
    uri: LibvirtUri
    socket_dir: Path
    runtime_dir: Path

    @property
    def instance(self) -> str:
        """ "system" or "session"."""
        return "session" if self.session else "system"

    @property
    def verifies_peers(self) -> bool:
        """The test driver has no QEMU whose pid could be compared."""
        return self.uri.instance is not Instance.TEST


def settings(
    *, session: bool, connect: str | None, socket_dir: str | None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """From the command line; InvalidArgument or Unsupported when it does not fit together."""
    uri = parse_uri(connect or ("qemu:///session" if session else "qemu:///system"), environ)
    uri.require_local()
    sockets = Path(socket_dir) if socket_dir else uri.socket_dir
    if not sockets.is_absolute():
        raise InvalidArgument(f"'{sockets}' is not an absolute directory.", hint="Give the whole path.")
    runtime = runtime_dir(environ) / "virtcardd" if session else SYSTEM_RUNTIME
    return Settings(session, uri, sockets, runtime)
