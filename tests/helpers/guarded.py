"""A guard around a card that notes what reaches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from helpers.fake_card import FakeCard
from helpers.guard_table import UNKNOWN, Row
from virtcard.card.base import Card
from virtcard.card.guard.applications import Application
from virtcard.card.guard.guard import Consent, Guard
from virtcard.card.guard.ledger import PinLedgers
from virtcard.card.guard.operations import Operation
from virtcard.card.guard.pins import PinGuard
from virtcard.card.guard.profile import Profile, compile_profile
from virtcard.card.guard.refusal import Reason

PART_OF_A_NAME = "A0000003"


@dataclass(frozen=True, slots=True)
class Commands:
    """An admin's table."""

    aid: str
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class Watcher:
    """An observer that notes."""

    def __init__(self) -> None:
        self.reasons: list[Reason] = []
        self.headers: list[bytes] = []
        self.stopped: list[int] = []

    def refused(self, header: bytes, reason: Reason) -> None:
        self.headers.append(header)
        self.reasons.append(reason)

    def pin_stopped(self, tries: int) -> None:
        self.stopped.append(tries)


class Guarded:
    """The guard, powered on, and short words for its commands."""

    def __init__(
        self,
        card: Card | None = None,
        profile: str | Profile = "use",
        tables: Iterable[Commands] = (),
        *,
        reserve: int = 0,
        ledgers: PinLedgers | None = None,
        consent: Consent | None = None,
        ask_for: Set[Operation] = frozenset(),
    ) -> None:
        self.card = FakeCard()
        self.watcher = Watcher()
        self.guard = Guard(
            card or self.card,
            compile_profile(profile, tables) if isinstance(profile, str) else profile,
            pins=PinGuard(ledgers or PinLedgers(), "a reader", reserve),
            consent=consent,
            ask_for=ask_for,
            observer=self.watcher,
        )
        self.guard.power_on()

    def send(self, command: str | bytes) -> str:
        """The answer, in hex."""
        return self.guard.transmit(bytes.fromhex(command) if isinstance(command, str) else command).hex()

    def select(self, name: str) -> None:
        """SELECT by name; it reaches the card."""
        assert self.passes(f"00A40400{len(name) // 2:02X}{name}")

    def passes(self, command: str | bytes) -> bool:
        """The card gets it, as it is."""
        before = len(self.card.commands)
        raw = bytes.fromhex(command) if isinstance(command, str) else command
        self.guard.transmit(raw)
        assert self.card.commands[before:] in ([], [raw])
        return len(self.card.commands) > before

    def refuses(self, command: str | bytes) -> str:
        """The status word of a command that the card does not get."""
        before = list(self.card.commands)
        answer = self.send(command)
        assert self.card.commands == before
        return answer


def answering(answers: dict[str, str]) -> Callable[[bytes], bytes]:
    """A FakeCard's default: by how a command begins, in hex; 9000 for any other one."""

    def answer(command: bytes) -> bytes:
        found = next((value for start, value in answers.items() if command.hex().startswith(start.lower())), "9000")
        return bytes.fromhex(found)

    return answer


def row_passes(profile: Profile, row: Row) -> bool:
    """The command of a row reaches a card on which its application is selected."""
    guarded = Guarded(profile=profile)
    if row.name:
        guarded.select(PART_OF_A_NAME if row.name == UNKNOWN else row.name)
    return guarded.passes(row.command)


def let_through(profile: Profile, application: Application) -> tuple[int, int]:
    """How many headers a profile lets through to an application, and how many more it does with certain data only."""
    allowed = profile._table(application, (), ()).allowed
    assert allowed is not None
    always = certain = 0
    for rules in allowed.values():
        if any(only is None and not mask for mask, _, only in rules):
            always += 0x10000
            continue
        free = {parameters for mask, value, only in rules if only is None for parameters in _fitting(mask, value)}
        bound = {parameters for mask, value, only in rules if only is not None for parameters in _fitting(mask, value)}
        always += len(free)
        certain += len(bound - free)
    return always, certain


def _fitting(mask: int, value: int) -> list[int]:
    """All P1 and P2, as one number, that fit."""
    found = [value]
    for bit in (1 << number for number in range(16) if not mask >> number & 1):
        found += [one | bit for one in found]
    return found
