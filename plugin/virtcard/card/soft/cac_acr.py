"""Who may do what on a CAC card: the tables that GET ACR reads from its Access Control Applet (GSC-IS 2.1, 5.3.3.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from virtcard.card.soft.cac_tlv import field
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw

APPLET_INFORMATION: Final = field(0x01, bytes.fromhex("10 02060000"))
"""Family and version of the applets: the CAC applets 2.6."""

ALWAYS: Final = 0x00
NEVER: Final = 0x01
PIN: Final = 0x06
"""Rules: their identifiers and their types have the same numbers here (table 3-2)."""
_PIN_PROVIDER: Final = 0x1E
_RULES: Final = {ALWAYS: b"", NEVER: b"", PIN: bytes((_PIN_PROVIDER, 0))}
"""Rule -> its access methods, each a provider and a reference."""

_WHOLE_APPLET: Final = b"\xff\xff"
"""In place of an object: what holds for the applet."""


@dataclass(frozen=True, slots=True)
class AppletEntry:
    """An applet as the tables know it: a number, its AID, and for each object instruction -> rule."""

    number: int
    aid: bytes
    objects: tuple[tuple[int, dict[int, int]], ...]
    whole: dict[int, int]

    def encode(self, only: int | None = None) -> bytes:
        """Its rules, or those of one object."""
        objects = [(identifier.to_bytes(2, "big"), rules) for identifier, rules in self.objects]
        if only is not None:
            objects = [pair for pair in objects if pair[0] == only.to_bytes(2, "big")]
        elif self.whole:
            objects.append((_WHOLE_APPLET, self.whole))
        told = b"".join(field(0x82, name + _instructions(rules)) for name, rules in objects)
        return field(0x80, bytes((self.number, len(objects))) + told)

    def has(self, identifier: int) -> bool:
        """One of its objects."""
        return any(identifier == own for own, _ in self.objects)


class AccessTables:
    """The tables for a card's applets; `provider` is the AID of the applet that checks the PIN."""

    def __init__(self, applets: tuple[AppletEntry, ...], provider: bytes) -> None:
        self._applets = applets
        self._provider = provider

    def answer(self, command: CommandApdu) -> ResponseApdu:
        """GET ACR: P1 is which table."""
        if command.p2:
            return ResponseApdu(sw=Sw.INCORRECT_P1_P2)
        table = _TABLES.get(command.p1)
        if table is None:
            return ResponseApdu(sw=Sw.INCORRECT_P1_P2)
        length, tell = table
        if len(command.data) != length and length is not None:
            return ResponseApdu(sw=Sw.WRONG_LENGTH)
        told = tell(self, command.data)
        return ResponseApdu(sw=Sw.REFERENCE_NOT_FOUND) if told is None else ResponseApdu(APPLET_INFORMATION + told)

    def _rules(self, _: bytes) -> bytes:
        return field(0xA1, bytes((len(_RULES),))) + b"".join(map(_rule, _RULES))

    def _one_rule(self, untrusted: bytes) -> bytes | None:
        return _rule(untrusted[0]) if untrusted[0] in _RULES else None

    def _all_applets(self, _: bytes) -> bytes:
        return field(0x81, bytes((len(self._applets),))) + b"".join(entry.encode() for entry in self._applets)

    def _one_applet(self, untrusted: bytes) -> bytes | None:
        return next((entry.encode() for entry in self._applets if entry.aid == untrusted), None)

    def _one_object(self, untrusted: bytes) -> bytes | None:
        identifier = int.from_bytes(untrusted, "big")
        return next((entry.encode(identifier) for entry in self._applets if entry.has(identifier)), None)

    def _providers(self, _: bytes) -> bytes:
        return field(0x91, b"\1") + field(0x90, bytes((_PIN_PROVIDER,)) + field(0x92, self._provider))

    def _services(self, _: bytes) -> bytes:
        entries = (field(0x93, bytes((entry.number,)) + field(0x92, entry.aid)) for entry in self._applets)
        return field(0x94, bytes((len(self._applets),))) + b"".join(entries)


_TABLES: Final[dict[int, tuple[int | None, Callable[[AccessTables, bytes], bytes | None]]]] = {
    0x00: (0, AccessTables._rules),
    0x01: (1, AccessTables._one_rule),
    0x10: (0, AccessTables._all_applets),
    0x11: (None, AccessTables._one_applet),
    0x12: (2, AccessTables._one_object),
    0x20: (0, AccessTables._providers),
    0x21: (0, AccessTables._services),
}
"""P1 -> bytes of data (None for any number) and the table."""


def _rule(number: int) -> bytes:
    methods = _RULES[number]
    return field(0xA0, bytes((number, number, len(methods) // 2)) + methods)


def _instructions(rules: dict[int, int]) -> bytes:
    """Instruction, 00 for "whatever its parameters are", rule."""
    return b"".join(bytes((instruction, 0, rule)) for instruction, rule in rules.items())
