"""What a command does to the card, in the words of a person who is asked for a permission."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from virtcard.card.guard.applications import Application
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.commands import ENVELOPES, GENERAL_AUTHENTICATE, REFERENCE_DATA, Command, Ins
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import parse


class Operation(StrEnum):
    """The kinds of operations."""

    READ = "read"
    PIN = "pin"
    SIGN = "sign"
    DECRYPT = "decrypt"
    AUTHENTICATE = "authenticate"
    ADMIN = "admin"


Operations = tuple[Operation, ...]
"""Everything that a command may be: a block given to an RSA key is a signature or a decipherment, and only the guest
knows. The likeliest comes first."""

_READ: Final = (Operation.READ,)
_AUTHENTICATE: Final = (Operation.AUTHENTICATE,)
_KEY: Final = (Operation.SIGN, Operation.DECRYPT)
_KEY_FOR_DECRYPTION: Final = (Operation.DECRYPT, Operation.SIGN)
_ADMIN: Final = (Operation.ADMIN,)

_READING: Final = frozenset({*range(0xA0, 0xA6), *range(0xB0, 0xB4), 0xC0, 0xC1, 0xCA, 0xCB, 0xCC, 0x22, 0x70, 0x84})
_INTERNAL_AUTHENTICATE: Final = frozenset({0x88, 0x89})
"""They sign what they are given."""
_ENTERING: Final = frozenset({0x20, 0x21})
"""Of those with reference data: they change nothing."""
_LOG_OUT: Final = 0xFF

_MANAGEMENT_KEY: Final = 0x9B
_SECURE_MESSAGING_KEY: Final = 0x04
_FOR_DECRYPTION: Final = frozenset({0x9D, *range(0x82, 0x96)})
"""PIV's key management keys, the current one and those retired."""
_CURVES: Final = frozenset({0x11, 0x14, 0xE0, 0xE1})
"""P-256 and P-384 (SP 800-78-4, table 6-2); Yubico's Ed25519 and X25519."""
_DYNAMIC_TEMPLATE: Final = 0x7C
_EXPONENTIATION: Final = 0x85
_CHALLENGE: Final = 0x81

_OTP_SLOT: Final = 0x01
_OTP_READING: Final = frozenset({0x10, 0x13})
_OTP_CHALLENGES: Final = frozenset({0x20, 0x28, 0x30, 0x38})
"""P1 of the one instruction that Yubico's OTP application has for everything (yubikit, yubiotp.py: CONFIG_SLOT)."""

_OF_CAC: Final = {0x36: _READ, 0x42: _KEY, 0x4C: _READ, 0x52: _READ, 0x56: _READ}
"""GSC-IS 2.1, chapter 5.3, in class 80, and in 00 as OpenSC sends them."""

_OF_APPLICATION: Final[dict[tuple[Application, Kind, int], Operations]] = {
    **{(Application.CAC, Kind.INTERINDUSTRY, ins): operations for ins, operations in _OF_CAC.items()},
    **{(Application.CAC, Kind.PROPRIETARY, ins): operations for ins, operations in _OF_CAC.items()},
    (Application.PIV, Kind.INTERINDUSTRY, 0xF7): _READ,
    (Application.PIV, Kind.INTERINDUSTRY, 0xF8): _READ,
    (Application.PIV, Kind.INTERINDUSTRY, 0xF9): _READ,
    (Application.PIV, Kind.INTERINDUSTRY, 0xFD): _READ,
    (Application.OPENPGP, Kind.INTERINDUSTRY, 0xF1): _READ,
    (Application.YUBIKEY_MANAGEMENT, Kind.INTERINDUSTRY, 0x1D): _READ,
    (Application.YUBIKEY_OTP, Kind.INTERINDUSTRY, 0x03): _READ,
    (Application.YUBIKEY_OATH, Kind.INTERINDUSTRY, 0xA2): _AUTHENTICATE,
    (Application.YUBIKEY_OATH, Kind.INTERINDUSTRY, 0xA3): (Operation.PIN,),
    (Application.YUBIKEY_HSMAUTH, Kind.INTERINDUSTRY, 0x03): (Operation.AUTHENTICATE, Operation.PIN),
    (Application.YUBIKEY_HSMAUTH, Kind.INTERINDUSTRY, 0x04): _READ,
    (Application.YUBIKEY_HSMAUTH, Kind.INTERINDUSTRY, 0x05): _READ,
    (Application.YUBIKEY_HSMAUTH, Kind.INTERINDUSTRY, 0x07): _READ,
    (Application.YUBIKEY_HSMAUTH, Kind.INTERINDUSTRY, 0x09): _READ,
    (Application.YUBIKEY_HSMAUTH, Kind.INTERINDUSTRY, 0x0A): _READ,
    (Application.OTHER, Kind.PROPRIETARY, 0xF2): _READ,
    (Application.OTHER, Kind.GSM, 0xF2): _READ,
}


_ADMINISTERING: Final = frozenset(
    {0x04, 0x44, *range(0x0E, 0x10), *range(0x46, 0x48), *range(0xD0, 0xE0), 0xE0, 0xE2, 0xE4, 0xE6, 0xE8, 0xFE}
)
"""What ISO 7816-4 (table 4), 7816-8 and 7816-9 have for writing, making and deleting, and GSM 11.11 with them."""
_OF_CARDS: Final = frozenset({Kind.INTERINDUSTRY, Kind.PROPRIETARY})
"""Classes whose instructions in a known application are known."""
_ANYTHING: Final = (Operation.SIGN, Operation.DECRYPT, Operation.PIN, Operation.ADMIN)
_KNOWN: Final = tuple(application for application in Application if application is not Application.UNKNOWN)


def classify(application: Application, command: Command) -> Operations:
    """What a command may be. What is not known is administration in an application that is known, and may be the use of
    a key elsewhere: a card may sign by an instruction of its own, and a CAC does."""
    if application is Application.UNKNOWN:
        return tuple(dict.fromkeys(one for known in _KNOWN for one in classify(known, command)))
    if command.ins in ENVELOPES or (command.cls.kind is Kind.READER and command.ins != Ins.GET_DATA):
        return _ANYTHING  # a command with another one in it, which the card or the reader's driver takes out
    operations = _classify(application, command)
    if operations != _ADMIN or (application is not Application.OTHER and command.cls.kind in _OF_CARDS):
        return operations
    administers = command.cls.kind in (Kind.INTERINDUSTRY, Kind.GSM) and command.ins in _ADMINISTERING
    return _ADMIN if administers else _KEY + _ADMIN


def _classify(application: Application, command: Command) -> Operations:
    own = _OF_APPLICATION.get((application, command.cls.kind, command.ins))
    if own is not None:
        return own
    if command.ins in REFERENCE_DATA:
        return _with_reference_data(command)
    if command.ins in GENERAL_AUTHENTICATE:
        return _general_authenticate(command)
    if command.ins == Ins.PERFORM_SECURITY_OPERATION:
        return _security_operation(command)
    if application is Application.YUBIKEY_OTP and command.ins == _OTP_SLOT:
        return _READ if command.p1 in _OTP_READING else _AUTHENTICATE if command.p1 in _OTP_CHALLENGES else _ADMIN
    return _of_instruction(application, command)


def _of_instruction(application: Application, command: Command) -> Operations:
    ins = command.ins
    if ins in _INTERNAL_AUTHENTICATE:
        return (Operation.AUTHENTICATE, Operation.SIGN)
    calculates_all = application is Application.YUBIKEY_OATH and ins == Ins.SELECT and command.p1 == 0
    if ins == Ins.EXTERNAL_AUTHENTICATE or calculates_all:
        return _AUTHENTICATE
    tells_public_key = application is Application.OPENPGP and ins == 0x47 and command.p1 == 0x81
    return _READ if ins in _READING or tells_public_key else _ADMIN


def _with_reference_data(command: Command) -> Operations:
    if command.ins not in _ENTERING:
        return (Operation.PIN, Operation.ADMIN)
    return _READ if command.seen == b"" else (Operation.PIN,)


def _general_authenticate(command: Command) -> Operations:
    """By key reference (SP 800-73-4 part 2, 3.2.4). None at all: PACE and the like (BSI TR-03110-3, B.14)."""
    if command.p2 == _MANAGEMENT_KEY:
        return _ADMIN
    if command.p2 in (0, _SECURE_MESSAGING_KEY):
        return _AUTHENTICATE
    likeliest = _KEY_FOR_DECRYPTION if command.p2 in _FOR_DECRYPTION else _KEY
    if command.p1 not in _CURVES or not command.seen:
        return likeliest
    try:
        tags = {
            part.tag for whole in parse(command.data) if whole.tag == _DYNAMIC_TEMPLATE for part in whole.children()
        }
    except Malformed:
        return likeliest
    if _EXPONENTIATION in tags:
        return likeliest if _CHALLENGE in tags else (Operation.DECRYPT,)
    return (Operation.SIGN,) if _CHALLENGE in tags else likeliest


def _security_operation(command: Command) -> Operations:
    """By P1 and P2 (ISO 7816-8, 5)."""
    match command.p1, command.p2:
        case (0x9E, _) | (0x8E, 0x80):
            return (Operation.SIGN,)
        case (0x80 | 0x86, _):
            return (Operation.DECRYPT,)
        case (0x90 | 0x00, _):  # HASH, and certificates and signatures of others that are verified
            return _READ
        case _:
            return _KEY
