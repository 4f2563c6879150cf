"""PIN and PUK of the PIV applet (SP 800-73-4 part 2, 3.2.1 to 3.2.3; their form is of 2.4.3).

Eight bytes count as a try whatever they are: the standard leaves the choice, and PIN blocks that a program fills with
FF cost a try on other cards, too. Any other length is 6A80 and costs nothing.
"""

from __future__ import annotations

from typing import Final

from virtcard.card.soft.pins import Outcome
from virtcard.card.soft.piv_session import KeyReference, Session, refuse
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw, tries_left

BLOCK: Final = 8
"""Bytes of a PIN or PUK on the wire."""
PAD: Final = b"\xff"
PIN_MIN: Final = 6
"""Digits."""
_LOGOUT: Final = 0xFF


def is_pin(block: bytes) -> bool:
    """Six to eight decimal digits, padded with FF to eight bytes."""
    digits = block.rstrip(PAD)
    return len(block) == BLOCK and len(digits) >= PIN_MIN and all(0x30 <= digit <= 0x39 for digit in digits)


def is_block(block: bytes) -> bool:
    """The form of a PUK: eight bytes of any value."""
    return len(block) == BLOCK


def secret(block: bytes) -> bytes:
    """A PIN or PUK without its padding, as `Pins` takes it."""
    return block.rstrip(PAD)


def verify(session: Session, command: CommandApdu) -> ResponseApdu:
    """VERIFY; without data it asks for the tries that are left, with P1 = FF it logs out."""
    if command.p1 not in (0, _LOGOUT):
        return refuse(Sw.INCORRECT_P1_P2)
    if command.p2 != KeyReference.PIN:
        return refuse(Sw.REFERENCE_NOT_FOUND)
    if command.p1 == _LOGOUT:
        return _log_out(session, command)
    if not command.data:
        return ResponseApdu() if session.pins.verified else _standing(session.pins.pin_tries_left)
    return _log_in(session, command.data)


def _log_out(session: Session, command: CommandApdu) -> ResponseApdu:
    if command.data:
        return refuse(Sw.INCORRECT_DATA)
    session.pins.logout()
    return ResponseApdu()


def _log_in(session: Session, untrusted_block: bytes) -> ResponseApdu:
    if len(untrusted_block) != BLOCK:
        return refuse(Sw.INCORRECT_DATA)
    if not session.pins.pin_tries_left:
        return refuse(Sw.AUTHENTICATION_BLOCKED)
    outcome = session.pins.verify_pin(secret(untrusted_block))
    session.verified_now = outcome.ok
    return _tried(outcome)


def change_reference_data(session: Session, command: CommandApdu) -> ResponseApdu:
    """CHANGE REFERENCE DATA: the old PIN or PUK and the new one. A new PIN of no form is 6A80 and costs no try."""
    pins = session.pins
    if command.p1:
        return refuse(Sw.INCORRECT_P1_P2)
    match command.p2:
        case KeyReference.PIN:
            left, is_fit, change = pins.pin_tries_left, is_pin, pins.change_pin
        case KeyReference.PUK:
            left, is_fit, change = pins.puk_tries_left, is_block, pins.change_puk
        case _:
            return refuse(Sw.REFERENCE_NOT_FOUND)
    old, new = command.data[:BLOCK], command.data[BLOCK:]
    if not is_fit(new):
        return refuse(Sw.INCORRECT_DATA)
    return _tried(change(secret(old), secret(new))) if left else refuse(Sw.AUTHENTICATION_BLOCKED)


def reset_retry_counter(session: Session, command: CommandApdu) -> ResponseApdu:
    """RESET RETRY COUNTER: the PUK and a new PIN. The PUK counts even when the PIN has no form."""
    if command.p1:
        return refuse(Sw.INCORRECT_P1_P2)
    if command.p2 != KeyReference.PIN:
        return refuse(Sw.REFERENCE_NOT_FOUND)
    puk, new = command.data[:BLOCK], command.data[BLOCK:]
    if not is_block(new):
        return refuse(Sw.INCORRECT_DATA)
    if not session.pins.puk_tries_left:
        return refuse(Sw.AUTHENTICATION_BLOCKED)
    if is_pin(new):
        return _tried(session.pins.unblock(secret(puk), secret(new)))
    outcome = session.pins.change_puk(secret(puk), secret(puk))
    return refuse(Sw.INCORRECT_DATA) if outcome.ok else _tried(outcome)


def _tried(outcome: Outcome) -> ResponseApdu:
    return ResponseApdu() if outcome.ok else refuse(tries_left(outcome.tries_left))


def _standing(left: int) -> ResponseApdu:
    return refuse(tries_left(left) if left else Sw.AUTHENTICATION_BLOCKED)
