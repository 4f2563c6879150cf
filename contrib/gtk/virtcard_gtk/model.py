"""What the objects of a virtcardd mean to a person: machines and cards. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from virtcard_gtk.words import line

DOMAIN: Final = "org.virtcard1.Domain"
READER: Final = "org.virtcard1.Reader"
CARD: Final = "org.virtcard1.Card"
BRIDGE: Final = "org.virtcard1.Bridge"

Objects = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Object path to interface to properties."""

_NUMBERS: Final = re.compile(r"( [0-9A-F]{2}){1,2}$")


class State(StrEnum):
    """What a machine is to a card."""

    NO_READER = "no-reader"
    OFF = "off"
    PENDING = "pending"
    """It gets its reader when it is powered off and started."""
    ELSEWHERE = "elsewhere"
    """Its cards do not come from virtcardd."""
    WAITING = "waiting"
    EMPTY = "empty"
    INSERTING = "inserting"
    INSERTED = "inserted"
    EJECTING = "ejecting"
    FAILED = "failed"


_OF_BRIDGE: Final = {
    "connecting": State.WAITING,
    "greeting": State.WAITING,
    "empty": State.EMPTY,
    "inserting": State.INSERTING,
    "inserted": State.INSERTED,
    "ejecting": State.EJECTING,
    "failed": State.FAILED,
    "closed": State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Card:
    """A host reader, or a software card."""

    path: str
    source: str
    name: str
    software: bool
    present: bool
    """There is something to insert: a card in the reader, a file that can be read."""
    domains: tuple[str, ...]
    kind: str = ""
    """Of a software card: "piv" or "cac"."""
    pin_tries: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine."""

    path: str
    name: str
    state: State
    running: bool
    card: str = ""
    """The name of the card in its reader."""
    active: bool = False
    bridge: str = ""
    """The bridge's path."""
    error: str = ""
    hint: str = ""

    @property
    def takes_cards(self) -> bool:
        """A card can be inserted now."""
        return self.state in {State.EMPTY, State.INSERTED, State.FAILED}


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it, in the order in which it is shown."""

    machines: tuple[Machine, ...] = ()
    cards: tuple[Card, ...] = ()


def picture(objects: Objects) -> Picture:
    """What there is."""
    cards = [*_readers(_all(objects, READER)), *(_software(path, card) for path, card in _all(objects, CARD))]
    bridges = sorted(_all(objects, BRIDGE), key=lambda each: int(each[1].get("Slot", 0)), reverse=True)
    by_domain = {bridge.get("Domain", ""): (path, bridge) for path, bridge in bridges}
    machines = [
        _machine(path, domain, *by_domain.get(path, ("", {})), cards=cards) for path, domain in _all(objects, DOMAIN)
    ]
    return Picture(
        tuple(sorted(machines, key=lambda each: (not each.running, each.state is State.NO_READER, each.name.lower()))),
        tuple(sorted(cards, key=lambda each: (each.software, each.name.lower()))),
    )


def _all(objects: Objects, interface: str) -> list[tuple[str, Mapping[str, Any]]]:
    return [(path, interfaces[interface]) for path, interfaces in objects.items() if interface in interfaces]


def _readers(readers: list[tuple[str, Mapping[str, Any]]]) -> Iterable[Card]:
    short = [_NUMBERS.sub("", reader.get("Name", "")) for _, reader in readers]
    for (path, reader), name in zip(readers, short, strict=True):
        full = reader.get("Name", "")
        yield Card(
            path,
            f"reader:{full}",
            # pcscd numbers readers; that tells a person something only when there are two of a kind
            line(full if short.count(name) > 1 else name),
            False,
            bool(reader.get("Present")),
            tuple(reader.get("Domains", ())),
        )


def _software(path: str, card: Mapping[str, Any]) -> Card:
    name, kind = card.get("Name", ""), card.get("Type", "")
    return Card(
        path,
        f"card:{name}",
        line(name),
        True,
        bool(kind),
        tuple(card.get("Domains", ())),
        line(kind),
        int(card.get("PinTries", 0)),
        line(card.get("LastError", "")),
    )


def _machine(
    path: str, domain: Mapping[str, Any], bridge_path: str, bridge: Mapping[str, Any], *, cards: Iterable[Card]
) -> Machine:
    state = _state(domain, bridge)
    used = next((card.name for card in cards if path in card.domains), line(bridge.get("Source", "")))
    troubled = bridge if bridge.get("LastError") else domain
    return Machine(
        path,
        line(domain.get("Name", "")),
        state,
        domain.get("Id", -1) >= 0,
        used if state in {State.INSERTED, State.INSERTING, State.EJECTING} else "",
        state is State.INSERTED and bool(bridge.get("Active")),
        bridge_path,
        line(troubled.get("LastError", "")),
        line(troubled.get("Hint", "")),
    )


def _state(domain: Mapping[str, Any], bridge: Mapping[str, Any]) -> State:
    if not (domain.get("Enabled") or domain.get("Live") or bridge):
        return State.NO_READER
    if domain.get("Id", -1) < 0:
        return State.OFF
    if domain.get("Mode", "") not in {"", "bridge"}:
        return State.ELSEWHERE
    if not (domain.get("Live") or bridge):
        return State.PENDING
    return _OF_BRIDGE.get(bridge.get("State", ""), State.WAITING)
