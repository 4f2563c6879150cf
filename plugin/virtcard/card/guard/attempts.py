"""Which commands may cost a try of a PIN or key, of which one, and how the card is asked how many are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from virtcard import limits
from virtcard.card.guard.applications import Application
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.commands import GENERAL_AUTHENTICATE, REFERENCE_DATA, Command, Ins
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import parse

ALL: Final = -1
"""The card says that nothing is missing: the PIN is verified, so its counter is at its maximum."""

KEY: Final = "key"
"""The kind of references that a symmetric key is for."""
CREDENTIAL: Final = "credential"
"""The kind of references that the password of a credential is for, which has a counter of its own."""
PACE: Final = "pace"
"""The kind of references that a password is for which never leaves the reader's side (BSI TR-03110-3)."""

Told = int | None
"""Tries left, ALL, or None when the card does not tell."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a try is counted for."""

    application: Application
    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A command that may cost a try of `reference`."""

    reference: Reference
    question: bytes = b""
    """The command that asks for the tries left; empty when there is none."""
    told: Callable[[bytes], Told] = lambda _response: None
    """What the answer to it says."""
    free: bool = False
    """It is known that asking costs no try."""
    assumed: int = limits.PIN_TRIES_ASSUMED
    """Tries of a card that does not tell."""
    query: bool = False
    """The command itself is such a question."""
    perhaps: Attempt | None = None
    """What a card takes it for that looks at less of a command than it should; that must be left, too."""


_LOG_OUT: Final = 0xFF
MANAGEMENT_KEY: Final = 0x9B
"""P2 of a GENERAL AUTHENTICATE that tries PIV's key of the administrator."""
NO_KEY: Final = 0x00
"""P2 of one that goes by a MANAGE SECURITY ENVIRONMENT before it."""
_PIN, _PUK = 0x80, 0x81
_RESET: Final = frozenset({0x2C, 0x2D})
_CHANGE: Final = frozenset({0x24, 0x25})


def attempt_of(application: Application, command: Command) -> Attempt | None:
    """The attempt that a command is, or None when it costs nothing."""
    if command.ins in REFERENCE_DATA:
        return _with_reference_data(application, command)
    if command.ins == Ins.EXTERNAL_AUTHENTICATE:
        number = 0 if application is Application.CARD_MANAGER else command.p2
        return _key(application, number)
    if command.ins in GENERAL_AUTHENTICATE and command.p2 == MANAGEMENT_KEY:
        return None if _asks_only(command) else _key(application, MANAGEMENT_KEY)
    return _hsmauth(command) if may_be_hsmauth(application, command) else None


def _with_reference_data(application: Application, command: Command) -> Attempt | None:
    if command.ins == Ins.VERIFY and command.seen == b"":
        return None if command.p1 == _LOG_OUT else _query(application, command)
    match application:
        case Application.PIV:
            return _piv(command)
        case Application.OPENPGP:
            return _openpgp(command)
        case _:
            return _iso(application, command)


def _query(application: Application, command: Command) -> Attempt | None:
    """VERIFY without data. Where the standard of the application has it, it costs nothing."""
    if application in (Application.PIV, Application.OPENPGP, Application.CAC):
        return None
    return Attempt(Reference(application, "pin", command.p2), command.raw, by_status, query=True)


def _piv(command: Command) -> Attempt:
    """SP 800-73-4 part 2, 3.2.1 to 3.2.3: RESET RETRY COUNTER tries the PUK; only Yubico's metadata tell of that."""
    number = _PUK if command.ins in _RESET and command.p2 == _PIN else command.p2
    cla = _clear(command)
    pin = Attempt(Reference(Application.PIV, "pin", number), bytes((cla, Ins.VERIFY, 0, number)), by_status, free=True)
    unblock = Reference(Application.PIV, "unblock", number)
    if number == _PUK and command.ins in _RESET | _CHANGE:
        perhaps = pin if command.ins in _CHANGE else None
        return Attempt(unblock, bytes((cla, 0xF7, 0, _PUK)), by_metadata, free=True, perhaps=perhaps)
    return Attempt(unblock) if command.ins in _RESET else pin


_PW1, _RESETTING_CODE, _PW3 = range(3)
_PASSWORDS: Final = {0x81: _PW1, 0x82: _PW1, 0x83: _PW3}
_BY_ADMIN: Final = 0x02


def _openpgp(command: Command) -> Attempt | None:
    """OpenPGP card 3.4, 4.4.1: the PW status bytes count PW1, the resetting code and PW3, verified or not."""
    if command.ins in _RESET:
        if command.p1 == _BY_ADMIN:
            return None
        number: int | None = _RESETTING_CODE
    else:
        number = _PASSWORDS.get(command.p2)
    question = bytes((_clear(command), Ins.GET_DATA, 0x00, 0xC4, 0x00))
    if number is None:
        reference = Reference(Application.OPENPGP, "pin", 0x100 | command.p2)
        return Attempt(reference, question, _lowest_by_pw_status, free=True)
    kind = "unblock" if number == _RESETTING_CODE else "pin"
    return Attempt(Reference(Application.OPENPGP, kind, number), question, _by_pw_status(number), free=True)


def _iso(application: Application, command: Command) -> Attempt:
    """ISO 7816-4, 11.5.6: VERIFY without data. What unblocks has a counter of its own, which nothing tells."""
    if command.cls.kind is Kind.GSM:
        return _gsm(application, command)
    if command.ins in _RESET:
        return Attempt(Reference(application, "unblock", command.p2))
    question = bytes((_clear(command), Ins.VERIFY, 0, command.p2))
    free = application is Application.CAC
    return Attempt(Reference(application, "pin", command.p2), question, by_status, free=free)


_GSM_STATUS: Final = bytes.fromhex("A0F2000016")
_CHV2: Final = 2


def _gsm(application: Application, command: Command) -> Attempt:
    """GSM 11.11, 9.2.1: the bytes 19 to 22 of STATUS are CHV1, UNBLOCK CHV1, CHV2 and UNBLOCK CHV2."""
    second, unblocks = command.p2 == _CHV2, command.ins in _RESET
    index = 18 + 2 * second + unblocks
    reference = Reference(application, "unblock" if unblocks else "pin", 0x200 | command.p2)
    return Attempt(reference, _GSM_STATUS, _by_gsm_status(index), free=True)


def _key(application: Application, number: int) -> Attempt:
    return Attempt(Reference(application, KEY, number), assumed=limits.KEY_TRIES_ASSUMED)


_PUT, _DELETE, _CALCULATE, _LIST, _PUT_MANAGEMENT_KEY, _MANAGEMENT_KEY_RETRIES, _CHANGE_PASSWORD = 1, 2, 3, 5, 8, 9, 11
_LABEL, _LISTED = 0x71, 0x72
"""A credential's name in a command, and what the list has of it: algorithm, touch, name, and the tries left."""
_OF_HSMAUTH: Final = frozenset({_PUT, _DELETE, _CALCULATE, _PUT_MANAGEMENT_KEY, _CHANGE_PASSWORD})
"""Instructions that try its management key, or the password of a credential (yubikit, hsmauth.py)."""
_BY_PASSWORD: Final = 0x00
"""P1 of CHANGE CREDENTIAL PASSWORD; any other goes by the management key."""


def may_be_hsmauth(application: Application, command: Command) -> bool:
    """An attempt at one of HSMAUTH's secrets, where it is selected or may be."""
    return application in (Application.YUBIKEY_HSMAUTH, Application.UNKNOWN) and command.ins in _OF_HSMAUTH


def _hsmauth(command: Command) -> Attempt:
    """Of passwords its list tells, and of the management key an instruction of its own."""
    application, assumed = Application.YUBIKEY_HSMAUTH, limits.KEY_TRIES_ASSUMED
    if command.ins == _CALCULATE or (command.ins == _CHANGE_PASSWORD and command.p1 == _BY_PASSWORD):
        question = bytes((_clear(command), _LIST, 0, 0))
        return Attempt(Reference(application, CREDENTIAL, 0), question, _by_list(command), free=True, assumed=assumed)
    question = bytes((_clear(command), _MANAGEMENT_KEY_RETRIES, 0, 0))
    return Attempt(Reference(application, KEY, 0), question, _by_number, free=True, assumed=assumed)


def _by_list(command: Command) -> Callable[[bytes], Told]:
    """Of the credentials that the command names; of all when it names none that is there."""

    def told(response: bytes) -> Told:
        try:
            labels = {part.value for part in parse(command.data) if part.tag == _LABEL}
            listed = [part.value for part in parse(response[:-2]) if part.tag == _LISTED and len(part.value) > 2]
        except Malformed:
            return None
        named = [one for one in listed if one[2:-1] in labels]
        return min((one[-1] for one in named or listed), default=None)

    return told


def _by_number(response: bytes) -> Told:
    """The answer is the number of tries left."""
    left, status = response[:-2], response[-2:]
    return int.from_bytes(left, "big") if left and status == b"\x90\x00" else None


def _asks_only(command: Command) -> bool:
    """GENERAL AUTHENTICATE that asks for a challenge or a witness, and shows nothing."""
    return command.seen in (bytes.fromhex("7C028100"), bytes.fromhex("7C028000"))


_PACE: Final = (0xC1, 0xA4)
_PACE_PASSWORDS: Final = frozenset({3, 4})
_PASSWORD_TAG: Final = 0x83


def is_pace(command: Command) -> bool:
    """MANAGE SECURITY ENVIRONMENT: SET AT for a mutual authentication (BSI TR-03110-3, B.11.1)."""
    return command.ins == Ins.MANAGE_SECURITY_ENVIRONMENT and (command.p1, command.p2) == _PACE


def pace_of(application: Application, command: Command) -> Attempt | None:
    """The attempt that the GENERAL AUTHENTICATEs after such a command make; None unless it is with PIN or PUK.

    Malformed when its data hide which it is. The card tells the tries left in its answer (B.11.1: 63Cx).
    """
    numbers = {int.from_bytes(part.value, "big") for part in parse(command.data) if part.tag == _PASSWORD_TAG}
    if len(numbers) > 1:
        raise Malformed("one password at a time")
    number = next((number for number in numbers if number in _PACE_PASSWORDS), None)
    return None if number is None else Attempt(Reference(application, PACE, number))


def lowest_set(application: Application, command: Command) -> int | None:
    """The least of the maxima that a command sets: Yubico's SET PIN RETRIES, for PIV and for OpenPGP."""
    if application is Application.PIV and command.ins == 0xFA:
        return min(command.p1, command.p2)
    if application is Application.OPENPGP and command.ins == 0xF2:
        return min(command.seen or b"\0")
    return None


def _clear(command: Command) -> int:
    """The command's class, for a question: neither chained nor secured."""
    cla = command.raw[0]
    if command.cls.kind is Kind.INTERINDUSTRY:
        return cla & (0x4F if cla & 0x40 else 0x03)
    return cla & 0x83 if command.cls.kind is Kind.PROPRIETARY else cla


def by_status(response: bytes) -> Told:
    """63Cx, 6983, or 9000 when it is verified."""
    sw1, sw2 = response[-2:]
    if sw1 == 0x63 and sw2 & 0xF0 == 0xC0:
        return sw2 & 0x0F
    return {b"\x90\x00": ALL, b"\x69\x83": 0}.get(response[-2:])


def by_metadata(response: bytes) -> Told:
    """Yubico's GET METADATA: tag 06 has the maximum and what is left of it."""
    try:
        parts = parse(response[:-2])
    except Malformed:
        return None
    return next((part.value[1] for part in parts if part.tag == 0x06 and len(part.value) == 2), None)


def _by_pw_status(number: int) -> Callable[[bytes], Told]:
    def told(response: bytes) -> Told:
        status = response[:-2]
        return status[4 + number] if len(status) == 7 else None

    return told


def _lowest_by_pw_status(response: bytes) -> Told:
    """For a password that the standard does not have: a careless card may take it for any."""
    told = [_by_pw_status(number)(response) for number in (_PW1, _PW3)]
    return min((one for one in told if one is not None), default=None)


def _by_gsm_status(index: int) -> Callable[[bytes], Told]:
    def told(response: bytes) -> Told:
        status = response[:-2]
        return status[index] & 0x0F if len(status) > index and status[index] & 0x80 else None

    return told
