"""What the objects of a virtcardd mean to a person: machines and cards. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from virtcard_gtk.words import _, line

DOMAIN: Final = "org.virtcard1.Domain"
READER: Final = "org.virtcard1.Reader"
CARD: Final = "org.virtcard1.Card"
BRIDGE: Final = "org.virtcard1.Bridge"

Properties = Mapping[str, Any]
Objects = Mapping[str, Mapping[str, Properties]]
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
    """A virtual machine with one of its virtual readers; most have one, others were hot-plugged."""

    path: str
    name: str
    """With the number of the reader, when the machine has several."""
    state: State
    running: bool
    card: str = ""
    """The name of the card in its reader."""
    active: bool = False
    bridge: str = ""
    """The bridge's path."""
    slot: int = 0
    error: str = ""
    hint: str = ""

    @property
    def key(self) -> str:
        """Tells virtual readers apart."""
        return f"{self.path} {self.slot}"

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
    bridges = sorted(_all(objects, BRIDGE), key=lambda each: int(each[1].get("Slot", 0)))
    machines = [
        machine
        for path, domain in _all(objects, DOMAIN)
        for machine in _of_domain(path, domain, [each for each in bridges if each[1].get("Domain") == path], cards)
    ]
    return Picture(
        tuple(sorted(machines, key=lambda each: (not each.running, each.state is State.NO_READER, each.name.lower()))),
        tuple(sorted(cards, key=lambda each: (each.software, each.name.lower()))),
    )


def _all(objects: Objects, interface: str) -> list[tuple[str, Properties]]:
    return [(path, interfaces[interface]) for path, interfaces in objects.items() if interface in interfaces]


def _readers(readers: list[tuple[str, Properties]]) -> Iterable[Card]:
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


def _software(path: str, card: Properties) -> Card:
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


def _of_domain(
    path: str, domain: Properties, bridges: list[tuple[str, Properties]], cards: list[Card]
) -> list[Machine]:
    if len(bridges) > 1:
        return [
            _machine(path, domain, *bridge, card=_by_source(bridge[1], cards), number=number)
            for number, bridge in enumerate(bridges, 1)
        ]
    bridge = bridges[0] if bridges else ("", {})
    used = next((card.name for card in cards if path in card.domains), "")
    return [_machine(path, domain, *bridge, card=used or _by_source(bridge[1], cards), number=0)]


def _by_source(bridge: Properties, cards: list[Card]) -> str:
    source = bridge.get("Source", "")
    return next((card.name for card in cards if card.source == source), line(source))


def _machine(path: str, domain: Properties, bridge_path: str, bridge: Properties, *, card: str, number: int) -> Machine:
    state = _state(domain, bridge)
    name = line(domain.get("Name", ""))
    troubled = bridge if bridge.get("LastError") else domain
    return Machine(
        path,
        _("{machine}, reader {number}").format(machine=name, number=number) if number else name,
        state,
        domain.get("Id", -1) >= 0,
        card if state in {State.INSERTED, State.INSERTING, State.EJECTING} else "",
        state is State.INSERTED and bool(bridge.get("Active")),
        bridge_path,
        int(bridge.get("Slot", 0)),
        line(troubled.get("LastError", "")),
        line(troubled.get("Hint", "")),
    )


def _state(domain: Properties, bridge: Properties) -> State:
    if not (domain.get("Enabled") or domain.get("Live") or bridge):
        return State.NO_READER
    if domain.get("Id", -1) < 0:
        return State.OFF
    if domain.get("Mode", "") not in {"", "bridge"}:
        return State.ELSEWHERE
    if not (domain.get("Live") or bridge):
        return State.PENDING
    return _OF_BRIDGE.get(bridge.get("State", ""), State.WAITING)
