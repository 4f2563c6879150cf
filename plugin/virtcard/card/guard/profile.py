"""Profiles: what a guest may do in which application, compiled from the built-in tables and an admin's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from virtcard.card.guard import builtin
from virtcard.card.guard.applications import PREFIXES, Application, application_of
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.pattern import Pattern, parse_pattern
from virtcard.card.guard.table import Rules, Selected, Table, rules_of
from virtcard.errors import InvalidArgument

FULL: Final = "full"
USE: Final = "use"
READ: Final = "read"
BUILT_IN: Final[Mapping[str, builtin.Entries]] = {READ: builtin.READ, USE: builtin.USE}

OTHER_NAME: Final = "other"
"""In place of an AID: no application, or another one, is selected."""
AID_MIN, AID_MAX = 5, 16
"""Bytes of an AID (ISO 7816-4, 8.2.1.2)."""

_KINDS: Final = {"80": Kind.PROPRIETARY, "A0": Kind.GSM, "FF": Kind.READER}
_CARD_KINDS: Final = (Kind.INTERINDUSTRY, Kind.PROPRIETARY, Kind.GSM)
"""An admin's patterns have no class: what they allow is allowed in these, what they deny is denied in all."""


class ApplicationCommands(Protocol):
    """An admin's table for the applications whose AID begins so, in hex, or for `other`."""

    @property
    def aid(self) -> str: ...
    @property
    def allow(self) -> Iterable[str]: ...
    @property
    def deny(self) -> Iterable[str]: ...


class Profile:
    """Which table holds for which application. Bridges may share it."""

    def __init__(self, built_in: builtin.Entries | None, customs: tuple[_Custom, ...]) -> None:
        self._built_in = built_in
        self._customs = customs
        self._denied_anywhere = _merge(custom.denied for custom in customs)
        self._names = {*PREFIXES, *(custom.prefix for custom in customs)}
        self._known: dict[tuple[Application, tuple[_Custom, ...]], Selected] = {}
        self.unrestricted = built_in is None and not customs
        """Everything is let through, whatever is selected."""
        self.nothing = self._other()
        """No application was selected by its name, so far."""
        hidden = self._doubted(Application.OTHER)
        self.hidden = Selected(hidden, hidden)
        """Another application, by a SELECT that could not be read."""
        anything = self._doubted(Application.UNKNOWN)
        self.anything = Selected(anything, anything)
        """It may be any application."""

    def select(self, name: bytes) -> Selected:
        """What a successful SELECT by this name selects."""
        if any(len(prefix) > len(name) and prefix.startswith(name) for prefix in self._names):
            return self.anything
        customs = tuple(custom for custom in self._customs if custom.fits(name))
        key = (application_of(name), customs)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._compiled(*key)
        return found

    def _compiled(self, application: Application, customs: tuple[_Custom, ...]) -> Selected:
        if application is Application.OTHER and not customs:
            customs = self._custom_others()
        allowed = _merge(custom.allowed for custom in customs)
        denied = _merge(custom.denied for custom in customs)
        return Selected(self._table(application, allowed, denied), self._doubted(application))

    def _other(self) -> Selected:
        allowed = _merge(custom.allowed for custom in self._custom_others())
        table = self._table(Application.OTHER, allowed, self._denied_anywhere)
        return Selected(table, self._doubted(Application.OTHER))

    def _custom_others(self) -> tuple[_Custom, ...]:
        return tuple(custom for custom in self._customs if not custom.prefix)

    def _doubted(self, application: Application) -> Table:
        return self._table(application, (), self._denied_anywhere)

    def _table(self, application: Application, allowed: tuple[Pattern, ...], denied: tuple[Pattern, ...]) -> Table:
        rules = None if self._built_in is None else _allowing(self._built_in[application], allowed)
        return Table(application, rules, rules_of((kind, pattern, None) for kind in Kind for pattern in denied))


@dataclass(frozen=True, slots=True)
class _Custom:
    prefix: bytes
    """Empty for `other`."""
    allowed: tuple[Pattern, ...]
    denied: tuple[Pattern, ...]

    def fits(self, name: bytes) -> bool:
        return bool(self.prefix) and name.startswith(self.prefix)


def compile_profile(
    base: str = USE,
    applications: Iterable[ApplicationCommands] = (),
    built_in: Mapping[str, builtin.Entries] = BUILT_IN,
) -> Profile:
    """A profile: `full`, `use` or `read`, and an admin's tables on top of it; InvalidArgument says what is wrong.

    Of several tables that fit an AID all count, and what one of them denies is denied.
    """
    if base != FULL and base not in built_in:
        raise InvalidArgument(f'There is no command profile "{base}".', hint="It is full, use or read.")
    customs = tuple(_custom(one) for one in applications)
    if len({custom.prefix for custom in customs}) < len(customs):
        raise InvalidArgument("An application has two tables of commands.", hint="Put them into one.")
    return Profile(built_in.get(base), customs)


def _custom(given: ApplicationCommands) -> _Custom:
    return _Custom(_prefix(given.aid), tuple(map(parse_pattern, given.allow)), tuple(map(parse_pattern, given.deny)))


def _prefix(aid: str) -> bytes:
    if aid == OTHER_NAME:
        return b""
    try:
        prefix = bytes.fromhex(aid) if aid.isalnum() else b""
    except ValueError:
        prefix = b""
    if not AID_MIN <= len(prefix) <= AID_MAX:
        raise InvalidArgument(
            f'"{aid}" is no AID.', hint='Give the first 5 to 16 bytes in hex, as A000000308, or "other".'
        )
    return prefix


def _allowing(entries: tuple[str, ...], patterns: tuple[Pattern, ...]) -> Rules:
    built_in = map(_entry, entries)
    own = ((kind, pattern, None) for kind in _CARD_KINDS for pattern in patterns)
    return rules_of((*built_in, *own))


def _entry(text: str) -> tuple[Kind, Pattern, bytes | None]:
    """An entry of the built-in tables."""
    head, _, only = text.partition("=")
    kind, _, pattern = head.rpartition(":")
    return _KINDS.get(kind, Kind.INTERINDUSTRY), parse_pattern(pattern), bytes.fromhex(only) if "=" in text else None


def _merge(parts: Iterable[tuple[Pattern, ...]]) -> tuple[Pattern, ...]:
    return tuple(pattern for part in parts for pattern in part)
