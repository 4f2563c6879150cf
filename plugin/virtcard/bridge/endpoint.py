"""Where a VSCard peer is reached: unix and TCP addresses, dialled or listened on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard import limits
from virtcard.errors import InvalidArgument

_FORMS: Final = "Write unix:///PATH or tcp://HOST:PORT, or unix-listen:///PATH or tcp-listen://HOST:PORT to wait there."
_PORT_MAX: Final = 65_535
_HOST_PORT: Final = re.compile(r"(?:\[(?P<literal>[^\]]*)\]|(?P<name>[^\[\]:/]*)):(?P<port>[^:]*)")


class Scheme(StrEnum):
    """How the peer is met. The listening ones are for QEMU and libvirt's `mode='connect'`."""

    UNIX = "unix"
    UNIX_LISTEN = "unix-listen"
    TCP = "tcp"
    TCP_LISTEN = "tcp-listen"

    @property
    def is_unix(self) -> bool:
        """A unix socket, whose peer can be verified."""
        return self in {Scheme.UNIX, Scheme.UNIX_LISTEN}

    @property
    def listens(self) -> bool:
        """The peer comes to us."""
        return self in {Scheme.UNIX_LISTEN, Scheme.TCP_LISTEN}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` for unix, `host` and `port` for TCP. `str()` gives the text that `parse_endpoint` takes."""

    scheme: Scheme
    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def unix(cls, path: str, *, listen: bool = False) -> Endpoint:
        """A unix socket; InvalidArgument when the path cannot be one."""
        _check_path(path)
        return cls(Scheme.UNIX_LISTEN if listen else Scheme.UNIX, path=path)

    def __str__(self) -> str:
        if self.scheme.is_unix:
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that `text` names; InvalidArgument with one sentence when it names none."""
    word, separator, rest = text.partition("://")
    if not separator or word not in set(Scheme):
        raise InvalidArgument(f"{text!r} is not an endpoint.", hint=_FORMS)
    scheme = Scheme(word)
    if scheme.is_unix:
        return Endpoint.unix(rest, listen=scheme.listens)
    return _parse_tcp(scheme, rest)


def _parse_tcp(scheme: Scheme, rest: str) -> Endpoint:
    match = _HOST_PORT.fullmatch(rest)
    host = match and (match["literal"] or match["name"])
    if match is None or not host or any(c.isspace() or not c.isprintable() for c in host):
        raise InvalidArgument(
            f"{scheme}://{rest} does not name a host and a port.", hint="An IPv6 address stands in []."
        )
    port = match["port"]
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _PORT_MAX):
        raise InvalidArgument(f"{port!r} is not a port.", hint="A port is a number from 1 to 65535.")
    return Endpoint(scheme, host=host, port=int(port))


def _check_path(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"{path!r} is not an absolute path of a socket.", hint=_FORMS)
    size = len(os.fsencode(path))
    if size > limits.UNIX_PATH_MAX:
        raise InvalidArgument(
            f"The socket path is {size} bytes long, and a unix socket takes {limits.UNIX_PATH_MAX} at most.",
            hint="Choose a shorter path.",
        )
