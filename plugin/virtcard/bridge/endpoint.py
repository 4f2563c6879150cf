"""Where a VSCard peer is reached: unix, TCP, TLS and SPICE addresses, called or listened on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard import limits
from virtcard.errors import InvalidArgument

_FORMS: Final = "Write unix:///PATH, tcp://HOST:PORT, tls://HOST:PORT, or spice, spice+tls or spice+unix for SPICE."
_PORT_MAX: Final = 65_535
_HOST_PORT: Final = re.compile(r"(?:\[(?P<literal>[^\]]*)\]|(?P<name>[^\[\]:/]*)):(?P<port>[^:]*)")
_DOMDISPLAY: Final = re.compile(r"(?P<host>\[[^\]?]*\]|[^\[\]:/?]*)(?::[0-9]*)?\?tls-port=(?P<port>[^&?]*)")
"""How virsh domdisplay writes a SPICE server with TLS: spice://HOST:PORT?tls-port=PORT, or without :PORT."""


class Scheme(StrEnum):
    """What carries the bytes."""

    UNIX = "unix"
    TCP = "tcp"
    TLS = "tls"
    SPICE = "spice"
    SPICE_TLS = "spice+tls"
    SPICE_UNIX = "spice+unix"

    @property
    def is_unix(self) -> bool:
        """A socket on this host, by its path."""
        return self in {Scheme.UNIX, Scheme.SPICE_UNIX}

    @property
    def is_spice(self) -> bool:
        """A SPICE server, whose smart card channel is meant."""
        return self in _CARRIERS

    @property
    def carrier(self) -> Scheme:
        """What is below SPICE; itself when there is no SPICE."""
        return _CARRIERS.get(self, self)


_CARRIERS: Final = {Scheme.SPICE: Scheme.TCP, Scheme.SPICE_TLS: Scheme.TLS, Scheme.SPICE_UNIX: Scheme.UNIX}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` for unix, `host` and `port` else. `str()` gives the text that `parse_endpoint` takes."""

    scheme: Scheme
    path: str = ""
    host: str = ""
    port: int = 0
    listen: bool = False
    """The peer comes to us: for QEMU and libvirt's `mode='connect'`."""

    @classmethod
    def unix(cls, path: str, *, listen: bool = False) -> Endpoint:
        """A unix socket; InvalidArgument when the path cannot be one."""
        _check_path(path)
        return cls(Scheme.UNIX, path=path, listen=listen)

    def __str__(self) -> str:
        if self.scheme.is_unix:
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(text: str, *, listen: bool = False) -> Endpoint:
    """The endpoint that `text` names; InvalidArgument with one sentence when it names none."""
    word, separator, rest = text.partition("://")
    if not separator or word not in set(Scheme):
        raise InvalidArgument(f"{text!r} is not an endpoint.", hint=_FORMS)
    scheme = Scheme(word)
    if scheme.is_spice and listen:
        raise InvalidArgument("A SPICE server does not call.", hint=f"Go there with: virtcard connect {text} SOURCE")
    if scheme.is_unix:
        _check_path(rest)
        return Endpoint(scheme, path=rest, listen=listen)
    if scheme is Scheme.SPICE and (match := _DOMDISPLAY.fullmatch(rest)):
        scheme, rest = Scheme.SPICE_TLS, f"{match['host']}:{match['port']}"
    return _parse_tcp(scheme, rest, listen)


def _parse_tcp(scheme: Scheme, rest: str, listen: bool) -> Endpoint:
    match = _HOST_PORT.fullmatch(rest)
    host = match and (match["literal"] or match["name"])
    if match is None or not host or any(c.isspace() or not c.isprintable() for c in host):
        raise InvalidArgument(
            f"{scheme}://{rest} does not name a host and a port.", hint="An IPv6 address stands in []."
        )
    port = match["port"]
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _PORT_MAX):
        raise InvalidArgument(f"{port!r} is not a port.", hint="A port is a number from 1 to 65535.")
    return Endpoint(scheme, host=host, port=int(port), listen=listen)


def _check_path(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"{path!r} is not an absolute path of a socket.", hint=_FORMS)
    size = len(os.fsencode(path))
    if size > limits.UNIX_PATH_MAX:
        raise InvalidArgument(
            f"The socket path is {size} bytes long, and a unix socket takes {limits.UNIX_PATH_MAX} at most.",
            hint="Choose a shorter path.",
        )
