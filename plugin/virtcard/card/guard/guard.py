"""The guard: a Card in front of a Card, which lets through what a profile allows, and nothing else.

It decides by what every card sees alike, the four bytes of the header, and by data only where they cannot be read in
two ways. A command whose lengths do not add up, or whose class nobody knows, is refused; so is whatever hides another
one.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final, Protocol

from virtcard.card.base import Card, CardEvent, CardListener, Transmission
from virtcard.card.guard.applications import Application
from virtcard.card.guard.channels import Channels
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.commands import REFERENCE_DATA, Command, Ins, is_select_by_name, read
from virtcard.card.guard.lane import EMPTY, Lane, adds_up
from virtcard.card.guard.operations import Operation, classify
from virtcard.card.guard.pins import PinGuard
from virtcard.card.guard.profile import Profile
from virtcard.card.guard.refusal import OF_VERDICT, Reason, Refusal
from virtcard.card.guard.table import Selected, Table, Verdict
from virtcard.errors import CardError, CardWasReset, NotSent
from virtcard.wire.apdu import HEADER_BYTES, MORE_DATA, WRONG_LE, Sw
from virtcard.wire.malformed import Malformed

Consent = Callable[[Operation], bool]
"""Asks a person, or knows an answer that still holds. It blocks in the bridge's thread; who gives it bounds it."""


class Observer(Protocol):
    """Hears of what was stopped; it is called from the bridge's thread."""

    def refused(self, header: bytes, reason: Reason) -> None:
        """A command with this header (up to 4 bytes) was refused."""

    def pin_stopped(self, tries: int) -> None:
        """An attempt at a PIN was refused, since the card has only so many tries left."""


class Nobody:
    """An Observer that does nothing."""

    def refused(self, header: bytes, reason: Reason) -> None:
        """Nothing."""

    def pin_stopped(self, tries: int) -> None:
        """Nothing."""


_NOTED: Final = frozenset({Ins.SELECT, Ins.MANAGE_CHANNEL})
"""Instructions whose answers change what is selected."""
_MORE: Final = 0x80
"""P1 of a CAC's SIGN/DECRYPT: more of the block follows."""
_DONE: Final = frozenset({0x90, MORE_DATA})
_OK: Final = Sw.OK.to_bytes(2, "big")
_WRONG_LENGTH: Final = Sw.WRONG_LENGTH.to_bytes(2, "big")


class Guard:
    """A `virtcard.card.base.Card` around a Card. Used by one bridge; profile and ledgers may be shared.

    `ask_for` names the operations for which `consent` is asked each time: a yes is for one command, or one chain of
    them, and whoever gives `consent` knows for how much longer it holds.
    """

    def __init__(
        self,
        card: Card,
        profile: Profile,
        *,
        pins: PinGuard | None = None,
        consent: Consent | None = None,
        ask_for: Set[Operation] = frozenset(),
        observer: Observer | None = None,
    ) -> None:
        self._card = card
        self._pins = pins if pins is not None and pins.reserve > 0 else None
        self._consent = consent
        self._ask_for = frozenset(ask_for) if consent is not None else frozenset()
        self._observer = observer or Nobody()
        self._channels = Channels(profile)
        self._begun = b""
        """What the parts of the operation that is under way have in common: its yes is theirs."""
        self._put_off = b""
        """A command that somebody said yes to, without its Le: the card did nothing but ask for another one."""
        self._transparent = profile.unrestricted and self._pins is None and not self._ask_for
        self._lanes: dict[Table, Lane] = {}
        self._lane = EMPTY
        self._forget()

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Power on: nothing is selected, and no operation has begun."""
        self._forget()
        return self._powered(self._card.power_on())

    def reset(self) -> bytes:
        """Reset, with the same effect."""
        self._forget()
        return self._powered(self._card.reset())

    def power_off(self) -> None:
        """Let go of the card."""
        self._forget()
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        pins = self._pins
        if listener is None or pins is None:
            self._card.listen(listener)
            return

        def heard(event: CardEvent) -> None:
            if event is CardEvent.REMOVED:
                pins.left_reader()
            listener(event)

        self._card.listen(heard)

    def transmit(self, command: bytes) -> bytes:
        """The card's answer, or a status word of our own when the command is refused."""
        lane = self._lane
        if command[:HEADER_BYTES] in lane.headers and adds_up(command):
            try:
                return self._card.transmit(command)
            except CardWasReset:
                self._forget()
                raise
        selected = lane.selects.get(command)
        if selected is not None:
            return self._select_again(command, selected)
        if self._transparent:
            return self._card.transmit(command)
        answer = self._examine(command)
        if isinstance(answer, bytes):
            return answer
        self._observer.refused(command[:HEADER_BYTES], answer.reason)
        if answer.reason is Reason.PIN:
            self._observer.pin_stopped(answer.tries)
        return answer.response

    def _select_again(self, untrusted: bytes, selected: Selected) -> bytes:
        try:
            response = self._card.transmit(untrusted)
        except CardError as error:
            self._failed(read(untrusted), error)
            raise
        if response[-2] in _DONE:
            self._channels.select(selected)
            self._lane = self._lanes[selected.table]
            self._begun = self._put_off = b""
        else:
            self._note(self._channels.basic.application, read(untrusted), response)
        return response

    def _examine(self, untrusted: bytes) -> bytes | Refusal:
        try:
            command = read(untrusted)
        except Malformed:
            return Refusal(Reason.LENGTH)
        selected = self._channels.on(command.cls.channel)
        if selected is None:
            return Refusal(Reason.CHANNEL)
        reason = self._objection(selected.table, command)
        if reason is not None:
            return Refusal(reason)
        if not self._may(selected.application, command):
            return Refusal(Reason.CONSENT)
        return self._pass(selected, command)

    def _objection(self, table: Table, command: Command) -> Reason | None:
        """Why the profile does not let a command through."""
        verdict = table.verdict(command.cls.kind, command.ins, command.parameters, command.seen)
        if verdict in OF_VERDICT:
            return OF_VERDICT[verdict]
        if command.cls.chained and command.ins in _NOTED:
            return Reason.CHAINING
        if verdict is Verdict.ALLOWED_WITH_DATA:
            return Reason.CHAINING if self._channels.breaks(command) else None
        if self._is_plain(table.application, command):
            self._lanes[table].add(command.header)
        return None

    def _is_plain(self, application: Application, command: Command) -> bool:
        """It is let through whatever its data are, and changes nothing here."""
        return (
            command.cls.plain
            and command.cls.kind is not Kind.OTHER
            and command.ins not in _NOTED
            and not (self._ask_for and self._may_be_asked(application, command))
            and not (self._pins and self._pins.concerns(application, command))
        )

    def _may_be_asked(self, application: Application, command: Command) -> bool:
        """Anything but plain reading may be something else with other data."""
        reads = classify(application, command) == (Operation.READ,) and command.ins not in REFERENCE_DATA
        return not reads or Operation.READ in self._ask_for

    def _asked(self, application: Application, command: Command) -> Operation | None:
        """The likeliest operation that a person is asked for."""
        return next((one for one in classify(application, command) if one in self._ask_for), None)

    def _may(self, application: Application, command: Command) -> bool:
        """A person said yes to it, or need not be asked."""
        if not self._ask_for or self._consent is None:
            return True
        operation = self._asked(application, command)
        has_yes = _part_of(application, command) == self._begun or _without_le(command) == self._put_off
        return operation is None or has_yes or self._consent(operation)

    def _pass(self, selected: Selected, command: Command) -> bytes | Refusal:
        pins = self._pins
        try:
            if pins is not None and pins.concerns(selected.application, command):
                answer = pins.transmit(selected, command, self._card.transmit)
            else:
                answer = self._card.transmit(command.raw)
        except CardError as error:
            self._failed(command, error)
            raise
        if isinstance(answer, bytes):
            self._note(selected.application, command, answer)
        return answer

    def _failed(self, command: Command, error: CardError) -> None:
        if isinstance(error, CardWasReset):
            self._forget()
        elif not isinstance(error, NotSent):
            self._channels.lost(command)
            self._begun = self._put_off = b""
            self._follow()

    def _note(self, application: Application, command: Command, response: bytes) -> None:
        before = self._lane
        self._channels.note(command, response)
        more = command.cls.chained or (application is Application.CAC and command.p1 == _MORE)
        self._begun = _part_of(application, command) if more and response[-2:] == _OK else b""
        self._put_off = _without_le(command) if self._ask_for and _wants_another_length(response) else b""
        self._follow()
        asked = Operation.READ in self._ask_for
        if is_select_by_name(command) and response[-2] in _DONE and before is not EMPTY and not asked:
            before.add_select(command.raw, self._channels.basic)

    def _follow(self) -> None:
        """The short way depends on what is selected, and there is none within a chain."""
        lane = self._lanes.setdefault(self._channels.basic.table, Lane())
        self._lane = EMPTY if self._channels.chaining else lane

    def _powered(self, atr: bytes) -> bytes:
        if self._pins is not None:
            self._pins.powered(atr)
        return atr

    def _forget(self) -> None:
        self._channels.forget()
        self._begun = self._put_off = b""
        if self._pins is not None:
            self._pins.forget()
        self._follow()


def _part_of(application: Application, command: Command) -> bytes:
    """What the parts of one operation have in common; a CAC's say by P1 whether more follow (GSC-IS 2.1, 5.3.3.7)."""
    p1 = 0 if application is Application.CAC else command.p1
    return bytes((command.cls.channel, command.ins, p1, command.p2))


def _without_le(command: Command) -> bytes:
    return command.header + command.data


def _wants_another_length(response: bytes) -> bool:
    """6Cxx or 6700: nothing was done (ISO 7816-4, 5.6)."""
    return response[-2] == WRONG_LE or response[-2:] == _WRONG_LENGTH
