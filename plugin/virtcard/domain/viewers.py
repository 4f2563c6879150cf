"""Who is connected to a domain's SPICE server, and who shares smart cards: QEMU's events as data (qapi/ui.json).

An event names the two ends of one channel's connection, and only SPICE_INITIALIZED its kind. Clients on a unix socket
have no names, so that they are told apart by their number alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard.domain.hotplug import Command
from virtcard.limits import SPICE_CHANNELS_MAX

EVENTS: Final = "^SPICE_"
"""What libvirt is asked for; a regular expression."""
QUERY: Final = Command("query-spice", {})
SMARTCARD: Final = 8
"""SPICE_CHANNEL_SMARTCARD."""
_TEXT_MAX: Final = 255


class Step(StrEnum):
    """QEMU's names of the events."""

    CONNECTED = "SPICE_CONNECTED"
    INITIALIZED = "SPICE_INITIALIZED"
    DISCONNECTED = "SPICE_DISCONNECTED"


@dataclass(frozen=True, slots=True)
class ViewerEvent:
    """`place` is the other end; `channel` is 0 where it is not told."""

    step: Step
    place: str
    channel: int = 0


def read_event(name: str, untrusted_details: str | None) -> ViewerEvent | None:
    """An event as libvirt passes it on; None for one that we do not know."""
    try:
        details = json.loads(untrusted_details or "")
    except (ValueError, RecursionError):
        return None
    client = details.get("client") if isinstance(details, dict) else None
    if name not in set(Step) or not isinstance(client, dict):
        return None
    channel = client.get("channel-type", 0)
    return ViewerEvent(Step(name), _place(client), channel if isinstance(channel, int) else 0)


def read_channels(untrusted_value: object) -> tuple[ViewerEvent, ...] | None:
    """The answer to QUERY, as if each channel had just come; None when it is none."""
    channels = untrusted_value.get("channels", []) if isinstance(untrusted_value, dict) else None
    if not isinstance(channels, list) or len(channels) > SPICE_CHANNELS_MAX:
        return None
    found = []
    for client in channels:
        if not isinstance(client, dict) or not isinstance(channel := client.get("channel-type"), int):
            return None
        found += [ViewerEvent(Step.CONNECTED, _place(client)), ViewerEvent(Step.INITIALIZED, _place(client), channel)]
    return tuple(found)


class Crowd:
    """The clients of one SPICE server, as far as they were seen."""

    def __init__(self) -> None:
        self._connections: dict[str, int] = {}
        self._cards: set[str] = set()

    @property
    def shares_card(self) -> bool:
        """Somebody's smart cards are in the domain's SPICE reader."""
        return bool(self._cards)

    def take(self, event: ViewerEvent) -> None:
        """Somebody came or went. Who is unknown and goes was there before us."""
        place, number = event.place, self._connections.get(event.place, 0)
        match event.step:
            case Step.CONNECTED if place in self._connections or len(self._connections) < SPICE_CHANNELS_MAX:
                self._connections[place] = number + 1
            case Step.INITIALIZED if event.channel == SMARTCARD and place in self._connections:
                self._cards.add(place)
            case Step.DISCONNECTED if number > 1:
                self._connections[place] = number - 1
            case Step.DISCONNECTED:
                self._connections.pop(place, None)
                self._cards.discard(place)


def _place(client: dict[str, object]) -> str:
    return " ".join(str(client.get(key, ""))[:_TEXT_MAX] for key in ("family", "host", "port"))
