"""Who is connected to a SPICE server, as QMP's query-spice tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from virtcard import limits
from virtcard.errors import Failed
from virtcard.wire.spicelink import ChannelType

_ODD: Final = "QEMU's monitor tells of SPICE in words that virtcard does not know."


@dataclass(frozen=True, slots=True)
class Session:
    """A client and its channels. `place` is a sentence's name for where it is."""

    connection_id: int
    channels: frozenset[int]
    place: str

    @property
    def has_card(self) -> bool:
        """It shares smart cards, or somebody does so beside it."""
        return ChannelType.SMARTCARD in self.channels

    @property
    def is_settled(self) -> bool:
        """It has opened more than its main channel, so that the others are on their way at least."""
        return bool(self.channels - {ChannelType.MAIN})


Look = Callable[[], tuple[Session, ...]]
"""Asks a monitor; any VirtcardError when it does not answer. Called on the worker's thread."""


def parse_clients(untrusted_answer: object) -> tuple[Session, ...]:
    """The sessions of a SpiceInfo (QEMU, qapi/ui.json). Failed when it is none, or SPICE is not in use."""
    if not isinstance(untrusted_answer, dict) or not isinstance(untrusted_answer.get("enabled"), bool):
        raise Failed(_ODD)
    if not untrusted_answer["enabled"]:
        raise Failed("The virtual machine of this monitor has no SPICE.")
    untrusted_channels = untrusted_answer.get("channels", [])
    if not isinstance(untrusted_channels, list) or len(untrusted_channels) > limits.SPICE_CHANNELS_MAX:
        raise Failed(_ODD)
    found: dict[int, Session] = {}
    for untrusted_channel in untrusted_channels:
        number, channel, place = _parse_channel(untrusted_channel)
        known = found.get(number)
        channels = known.channels if known else frozenset()
        found[number] = Session(number, channels | {channel}, known.place if known else place)
    return tuple(found.values())


def _parse_channel(untrusted_channel: object) -> tuple[int, int, str]:
    match untrusted_channel:
        case {"connection-id": int(number), "channel-type": int(channel), "host": str(host), "port": str(port), **rest}:
            return number & 0xFFFF_FFFF, channel, _place(host, port, rest.get("family"))
        case _:
            raise Failed(_ODD)


def _place(host: str, port: str, family: object) -> str:
    name = host if family in {"ipv4", "ipv6"} and host.isprintable() and len(host) <= limits.SPICE_HOST_MAX else ""
    return f"{name} (port {port})" if name and port.isdecimal() else "this host"
