"""How a virtual reader gets its card: the modes of enable, each one device in libvirt's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard.domain.smartcard import Smartcard, number
from virtcard.errors import InvalidArgument

LOOPBACK: Final = "127.0.0.1"
NSS_DATABASE: Final = "/etc/pki/nssdb"
"""Where libcacard looks when it is told nothing (ccid-card-emulated.c, CERTIFICATES_DEFAULT_DB)."""


class Mode(StrEnum):
    """Where the card of a reader lives."""

    BRIDGE = "bridge"
    """In virtcardd, which bridges it to a unix socket of QEMU's."""
    HOST = "host"
    """In libcacard inside QEMU, which shows the host's NSS tokens as a CAC."""
    HOST_CERTIFICATES = "host-certificates"
    """In libcacard inside QEMU, which makes a CAC of three certificates of an NSS database."""
    TCP = "tcp"
    """Behind a TCP connection of QEMU's, where `virtcard connect` runs."""
    SPICE = "spice"
    """At the SPICE viewer, which lends it while it is connected."""

    @property
    def in_qemu(self) -> bool:
        """The card is made by ccid-card-emulated."""
        return self in {Mode.HOST, Mode.HOST_CERTIFICATES}


class Role(StrEnum):
    """Who calls whom over TCP: QEMU listens (`bind`), or QEMU calls (`connect`)."""

    BIND = "bind"
    CONNECT = "connect"


@dataclass(frozen=True, slots=True)
class ReaderSetup:
    """What enable was asked for. What is wrong with it is for `preflight` to say."""

    mode: Mode = Mode.BRIDGE
    certificates: tuple[str, ...] = ()
    """Nicknames in the NSS database."""
    database: str = ""
    """Its directory, "" for NSS_DATABASE."""
    address: str = LOOPBACK
    port: int = 0
    role: Role = Role.BIND
    tls: bool = False
    insecure: bool = False
    """Plain TCP beyond the loopback device is what they want."""

    @property
    def listens(self) -> bool:
        """QEMU listens on a TCP port."""
        return self.mode is Mode.TCP and self.role is Role.BIND

    @property
    def place(self) -> str:
        """`HOST:PORT` of the TCP connection."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def device(self, socket_path: str) -> Smartcard:
        """The `<smartcard>` it comes to, without an address; `socket_path` is for the bridge."""
        if self.mode is Mode.BRIDGE:
            return Smartcard("passthrough", "unix", bind=True, path=socket_path)
        if self.mode.in_qemu:
            return Smartcard(self.mode, certificates=self.certificates, database=self.database)
        if self.mode is Mode.SPICE:
            return Smartcard("passthrough", "spicevmc")
        return Smartcard(
            "passthrough",
            "tcp",
            bind=self.role is Role.BIND,
            host=self.address,
            service=str(self.port),
            tls=self.tls,
            reconnect=self.role is Role.CONNECT,
        )


BRIDGE: Final = ReaderSetup()
"""What enable does when it is told nothing."""

_OPTIONS: Final[dict[Mode, frozenset[str]]] = {
    Mode.BRIDGE: frozenset(),
    Mode.HOST: frozenset(),
    Mode.HOST_CERTIFICATES: frozenset({"certificates", "database"}),
    Mode.TCP: frozenset({"address", "port", "role", "tls", "insecure"}),
    Mode.SPICE: frozenset(),
}


_PASSTHROUGH: Final = {"tcp": Mode.TCP, "spicevmc": Mode.SPICE}


def reader_setup(
    mode: str = Mode.BRIDGE,
    *,
    certificates: Sequence[str] = (),
    database: str = "",
    address: str = "",
    port: int = 0,
    role: str = "",
    tls: bool = False,
    insecure: bool = False,
) -> ReaderSetup:
    """From plain values, "" and the like for what was not said; InvalidArgument for words that do not fit together."""
    chosen = _mode(mode)
    given = {
        "certificates": certificates, "database": database, "address": address, "port": port, "role": role,
        "tls": tls, "insecure": insecure,
    }  # fmt: skip
    for name, value in given.items():
        if value and name not in _OPTIONS[chosen]:
            owner = next(each for each in Mode if name in _OPTIONS[each])
            raise InvalidArgument(f"The mode {chosen} has no option '{name}'.", hint=f"It belongs to mode {owner}.")
    return ReaderSetup(
        chosen, tuple(certificates), database, address or LOOPBACK, port, _role(role or Role.BIND), tls, insecure
    )


def mode_of(card: Smartcard) -> Mode:
    """The mode of a device that is ours."""
    if card.mode == "passthrough":
        return _PASSTHROUGH.get(card.type, Mode.BRIDGE)
    return Mode.HOST_CERTIFICATES if card.mode == "host-certificates" else Mode.HOST


def setup_of(card: Smartcard) -> ReaderSetup:
    """What enable was asked for when it made this device. Whoever left it in plain TCP has been told."""
    mode = mode_of(card)
    if mode is not Mode.TCP:
        return ReaderSetup(mode, card.certificates, card.database)
    role = Role.BIND if card.bind else Role.CONNECT
    return ReaderSetup(mode, (), "", card.host, number(card.service), role, card.tls, insecure=True)


def _mode(untrusted_text: str) -> Mode:
    try:
        return Mode(untrusted_text)
    except ValueError:
        raise InvalidArgument(f"'{untrusted_text[:32]}' is no mode.", hint=f"Use {', '.join(Mode)}.") from None


def _role(untrusted_text: str) -> Role:
    try:
        return Role(untrusted_text)
    except ValueError:
        raise InvalidArgument(
            f"'{untrusted_text[:32]}' is no role.", hint="Use bind (QEMU listens) or connect (QEMU calls)."
        ) from None
