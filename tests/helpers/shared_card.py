"""A card that several handles share, without PC/SC: what the lease must get right shows in `Physical`."""

from __future__ import annotations

import threading
import time

from helpers.fake_card import ATR, FakeCard
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.office import LeaseOffice
from virtcard.card.lease.rules import SHARED, LeaseRules, LeaseTimes
from virtcard.errors import CardError, CardWasReset

QUICK = LeaseTimes(idle=0.05, idle_logged_in=0.2, last_call=0.6, longest=0.9, pause=0.03, patience=0.4)
"""The times of a lease, in a fortieth of what they are, so that a test of them does not take its time."""

VERIFY = bytes.fromhex("0020008006313233343536")
READ = bytes.fromhex("00b0000010")
PROTECTED = bytes.fromhex("0088000004aabbccdd")


class Physical:
    """The card itself: who has it alone, and everything that was done to it, as (who, what)."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.deeds: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.owner: SharedFake | None = None
        self.atr = ATR
        self.logged_in = False
        """For whoever sets it; a reset ends it."""

    def note(self, who: str, what: str) -> None:
        """Something was done."""
        self.deeds.append((who, what))
        self.times.append(time.monotonic())
        if what.endswith("reset") or what.startswith("power"):
            self.logged_in = False

    def did(self, who: str) -> list[str]:
        """What one did, in order."""
        return [what for one, what in self.deeds if one == who]

    def when(self, deed: tuple[str, str]) -> float:
        """When it was done first."""
        return self.times[self.deeds.index(deed)]


class SharedFake(FakeCard):
    """One handle on it. `resets_before_begin` other programs' resets come first; `broken_reset` fails."""

    def __init__(self, physical: Physical, name: str) -> None:
        super().__init__()
        self.physical = physical
        self.name = name
        self.reader = "Reader"
        self.resets_before_begin = 0
        self.broken_reset = False
        self.exclusive = False

    def power_on(self, *, exclusive: bool = False) -> bytes:
        self.exclusive = exclusive
        atr = super().power_on()
        self.physical.note(self.name, "power_on")
        return self.physical.atr if atr == ATR else atr

    def reset(self) -> bytes:
        assert self.physical.owner is self or self.exclusive
        self.physical.note(self.name, "reset")
        return self.physical.atr

    def begin(self) -> None:
        if self.resets_before_begin:
            self.resets_before_begin -= 1
            raise CardWasReset("Somebody reset the card.")
        self.physical.turn.acquire()
        self.physical.owner = self
        self.physical.note(self.name, "begin")

    def end(self, *, reset: bool) -> None:
        assert self.physical.owner is self
        self.physical.note(self.name, "end with reset" if reset else "end")
        if reset and self.broken_reset:
            raise CardError("The card cannot be reset.")
        self._let_go()

    def transmit(self, command: bytes) -> bytes:
        assert self.physical.owner is self or self.exclusive, "a command without the lease"
        self.physical.note(self.name, command.hex())
        return super().transmit(command)

    def power_off(self) -> None:
        self.physical.note(self.name, "power_off")
        super().power_off()
        self._let_go()

    def leave(self) -> None:
        self.physical.note(self.name, "leave")

    def _let_go(self) -> None:
        if self.physical.owner is self:
            self.physical.owner = None
            self.physical.turn.release()


class SharedLab:
    """One card in one reader, and machines that share it."""

    def __init__(self, times: LeaseTimes = QUICK) -> None:
        self.physical = Physical()
        self.office = LeaseOffice("Reader", times)

    def machine(self, name: str, rules: LeaseRules = SHARED) -> tuple[Leased, SharedFake]:
        """A machine that has the card in."""
        leased, handle = self.newcomer(name, rules)
        leased.power_on()
        return leased, handle

    def newcomer(self, name: str, rules: LeaseRules = SHARED) -> tuple[Leased, SharedFake]:
        """A machine that has not."""
        handle = SharedFake(self.physical, name)
        return Leased(handle, self.office, rules), handle


def send(card: Leased, *commands: bytes) -> None:
    """Commands of a guest; a lost state is taken as Selection does, with nothing to replay."""
    for command in commands:
        try:
            card.transmit(command)
        except CardWasReset:
            card.transmit(command)
