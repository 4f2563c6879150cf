"""The PIN guard: no machine brings a card below its reserve of tries.

Before an attempt reaches the card, the card is asked how many tries are left, since the host's programs may have
lowered its counter. Of one that does not tell, attempts are counted. A question that is ISO 7816-4's alone costs a try
on some cards (OpenSC's iso7816.c asks only cards that it knows); so it is put twice when there is room for it, and a
card whose answers differ is not asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from virtcard import limits
from virtcard.card.guard.applications import Application
from virtcard.card.guard.attempts import (
    ALL,
    MANAGEMENT_KEY,
    NO_KEY,
    PACE,
    Attempt,
    Told,
    attempt_of,
    by_status,
    is_pace,
    lowest_set,
    may_be_hsmauth,
    pace_of,
)
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.commands import ENVELOPES, GENERAL_AUTHENTICATE, REFERENCE_DATA, Command, Ins
from virtcard.card.guard.ledger import PinLedger, PinLedgers
from virtcard.card.guard.refusal import Reason, Refusal
from virtcard.card.guard.table import Selected
from virtcard.errors import CardError, CardWasReset, NotSent
from virtcard.wire.apdu import HEADER_BYTES, MORE_DATA, WRONG_LE, Sw
from virtcard.wire.malformed import Malformed

Send = Callable[[bytes], bytes]
Keep = Callable[[], AbstractContextManager[object]]
"""As long as it lasts, nobody else comes to the card."""

_UID: Final = 0xCA
_OK: Final = Sw.OK.to_bytes(2, "big")
_FAILED: Final = 0x63
_FIRST_PARAMETERS: Final = {
    0x20: frozenset({0x00, 0xFF}),
    0x21: frozenset({0x00}),
    0x24: frozenset({0x00, 0x01}),
    0x25: frozenset({0x00, 0x01}),
    0x2C: frozenset({0x00, 0x01, 0x02, 0x03}),
    0x2D: frozenset({0x00, 0x01, 0x02, 0x03}),
}
"""P1 as ISO 7816-4 has it, and FF, which logs out (SP 800-73-4 part 2, 3.2.1). Any other might name another PIN."""
_LOG_OUT: Final = 0xFF


class PinGuard:
    """For one bridge. `place` is the reader's name or the software card's source: who share it share the ledger.

    Between a question and the try that it allows nobody may lower the counter: no other bridge, which is the ledger's
    matter, and no program of the host, which is the matter of `keep`. `ask` sends the questions, which are not the
    guest's; without it they go the way of the attempt."""

    def __init__(
        self, ledgers: PinLedgers, place: str, reserve: int, keep: Keep = nullcontext, ask: Send | None = None
    ) -> None:
        self.reserve = reserve
        self._keep = keep
        self._ask_by = ask
        self._ledgers = ledgers
        self._place = place
        self._ledger = PinLedger()
        self._pace: dict[int, Attempt] = {}

    def powered(self, atr: bytes) -> None:
        """The card came up with this ATR."""
        self._ledger = self._ledgers.of(self._place, atr)
        self._pace.clear()

    def forget(self) -> None:
        """The card was reset."""
        self._pace.clear()

    def left_reader(self) -> None:
        """The card was taken out."""
        self._ledger.left_reader()

    def concerns(self, application: Application, command: Command) -> bool:
        """A command like this one, whatever its data are, is to be looked at each time."""
        return (
            command.ins in REFERENCE_DATA
            or command.ins in ENVELOPES
            or (command.ins in GENERAL_AUTHENTICATE and command.p2 in (NO_KEY, MANAGEMENT_KEY))
            or command.ins in (Ins.EXTERNAL_AUTHENTICATE, Ins.MANAGE_SECURITY_ENVIRONMENT)
            or command.cls.kind is Kind.READER
            or lowest_set(application, command) is not None
            or may_be_hsmauth(application, command)
        )

    def transmit(self, selected: Selected, command: Command, send: Send) -> bytes | Refusal:
        """The card's answer, or the refusal of an attempt or of the way it is made."""
        application = selected.application
        reason = self._objection(application, command)
        if reason is not None:
            return Refusal(reason)
        attempt = self._attempt(application, command)
        if attempt is None:
            return self._watch_pace(application, command, send)
        if application is Application.UNKNOWN:
            return Refusal(Reason.UNKNOWN_APPLICATION)
        if command.cls.secured:
            return Refusal(Reason.SECURE_MESSAGING)
        if command.cls.chained and attempt.reference.kind != PACE:
            return Refusal(Reason.CHAINING)
        return self._try(attempt, command, send)

    def _objection(self, application: Application, command: Command) -> Reason | None:
        """To whatever could hide a PIN, or be read in two ways."""
        if command.cls.kind is Kind.READER and command.ins != _UID:
            return Reason.CLASS
        if command.ins in ENVELOPES:
            return Reason.INSTRUCTION
        lowest = lowest_set(application, command)
        if lowest is not None and lowest < self.reserve:
            return Reason.PARAMETERS
        if command.ins in REFERENCE_DATA and not command.cls.secured:
            return _objection_to_form(command)
        return None

    def _attempt(self, application: Application, command: Command) -> Attempt | None:
        if command.ins in GENERAL_AUTHENTICATE and not command.parameters:
            return self._pace.get(command.cls.channel)
        return attempt_of(application, command)

    def _watch_pace(self, application: Application, command: Command, send: Send) -> bytes | Refusal:
        """Which password the next GENERAL AUTHENTICATEs are about, and how many tries of it are left."""
        if not is_pace(command):
            return send(command.raw)
        if command.seen is None:
            return Refusal(Reason.SECURE_MESSAGING)
        try:
            attempt = pace_of(application, command)
        except Malformed:
            return Refusal(Reason.DATA)
        self._pace.pop(command.cls.channel, None)
        response = send(command.raw)
        if attempt is not None:
            self._pace[command.cls.channel] = attempt
            left = by_status(response)
            if left is not None and left != ALL:
                self._ledger.tell(attempt, left)
        return response

    def _try(self, attempt: Attempt, command: Command, send: Send) -> bytes | Refusal:
        if attempt.query and self._ledger.is_free(attempt):
            return send(command.raw)
        # First the card and then the turn: who waits for the card has no turn that others wait for.
        with self._keep(), self._ledger.turn():
            left = self._least(attempt, self._ask_by or send)
            if left > self.reserve:
                return self._sent(attempt, command, send)
        return Refusal(Reason.PIN, max(left, 0))

    def _sent(self, attempt: Attempt, command: Command, send: Send) -> bytes:
        try:
            response = send(command.raw)
        except (CardWasReset, NotSent):
            raise
        except CardError:
            self._ledger.note(attempt, None)
            raise
        if not (command.cls.chained and response[-2:] == _OK):
            self._ledger.note(attempt, response)
        return response

    def _least(self, attempt: Attempt, ask: Send) -> int:
        """Of all that it may be a try of."""
        left = self._left(attempt, ask)
        if attempt.perhaps is None or left <= self.reserve:
            return left
        return min(left, self._left(attempt.perhaps, ask))

    def _left(self, attempt: Attempt, ask: Send) -> int:
        """Tries left: what the card says, or else what is known."""
        ledger = self._ledger
        left = self._ask(attempt, ask) if ledger.may_ask(attempt) else None
        if left is None:
            return ledger.estimate(attempt)
        if left == ALL:
            return ledger.undiminished(attempt)
        if left > self.reserve and not ledger.is_free(attempt):
            again = self._ask(attempt, ask)
            ledger.learn(attempt, free=again == left)
            return ledger.undiminished(attempt)
        return left

    def _ask(self, attempt: Attempt, send: Send) -> Told:
        try:
            response = _whole(send, attempt.question)
        except (CardWasReset, NotSent):
            raise
        except CardError:
            self._asked_in_vain(attempt)
            raise
        left = attempt.told(response)
        if left == ALL:
            return ALL
        self._ledger.asked(attempt)
        if left is not None:
            self._ledger.tell(attempt, left)
        elif response[-2] == _FAILED and not self._ledger.is_free(attempt):
            self._ledger.note(attempt, response)
        return left

    def _asked_in_vain(self, attempt: Attempt) -> None:
        """No answer came to a question; it may have cost a try all the same."""
        self._ledger.asked(attempt)
        if not self._ledger.is_free(attempt):
            self._ledger.note(attempt, None)


def _objection_to_form(command: Command) -> Reason | None:
    if command.p1 not in _FIRST_PARAMETERS.get(command.ins, range(3)):
        return Reason.PARAMETERS
    if command.data:
        return Reason.PARAMETERS if command.p1 == _LOG_OUT else None
    # A T=0 card takes a P3 for the number of bytes that follow (ISO 7816-3, 10.3.2).
    return None if command.raw[HEADER_BYTES:] in (b"", b"\0") else Reason.LENGTH


def _whole(send: Send, question: bytes) -> bytes:
    """The answer to a question, fetched as T=0 cards want it."""
    response = send(question)
    if response[-2] == WRONG_LE:
        response = send(question[:HEADER_BYTES] + response[-1:])
    for _ in range(limits.PIN_QUESTION_PARTS_MAX):
        if response[-2] != MORE_DATA:
            break
        response = response[:-2] + send(bytes((question[0], Ins.GET_RESPONSE, 0, 0, response[-1])))
    return response
