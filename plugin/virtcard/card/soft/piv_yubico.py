"""What yubikit's PivSession needs beside the standard: instructions of Yubico's PIV application.

They belong to a version, and programs go by it. We say 5.7.0: the first for which they offer RSA 3072, RSA 4096, and
moving and deleting keys. What 5.7.0 promises beyond that is refused: Ed25519, X25519 and RSA 1024 (6A80), touch
policies other than "never" (6A80), and attestation (6D00), since nobody stands behind our keys. The ATR and the serial
number name no product.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

from virtcard.card.soft.model import KeyRecord, Origin, PinPolicy, SecretRecord
from virtcard.card.soft.piv_auth import Symmetric
from virtcard.card.soft.piv_keys import PIN_POLICIES, algorithm_number, public_fields
from virtcard.card.soft.piv_objects import first_objects
from virtcard.card.soft.piv_session import KEY_SLOTS, KeyReference, Session, refuse
from virtcard.card.soft.sealing import management_key, seal_key, seal_management
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw
from virtcard.wire.tlv import build, parse_first

VERSION: Final = (5, 7, 0)

DEFAULT_PIN: Final = b"123456"
DEFAULT_PUK: Final = b"12345678"
DEFAULT_TRIES: Final = 3
DEFAULT_MANAGEMENT: Final = Symmetric.AES192
DEFAULT_MANAGEMENT_KEY: Final = bytes.fromhex("0102030405060708" * 3)
"""What programs expect after RESET (Yubico's PIV tool manual; AES-192 since version 5.7)."""

_DELETE: Final = 0xFF
_NO_TOUCH: Final = 1
_POLICY_NUMBERS: Final = {policy: number for number, policy in PIN_POLICIES.items()}
_ORIGINS: Final = {Origin.GENERATED: 1, Origin.IMPORTED: 2}
_ALGORITHM, _POLICY, _ORIGIN, _PUBLIC, _IS_DEFAULT, _TRIES = range(1, 7)
"""Tags of the metadata."""


def get_version(_session: Session, command: CommandApdu) -> ResponseApdu:
    """GET VERSION: three bytes."""
    return refuse(Sw.INCORRECT_P1_P2) if command.p1 or command.p2 else ResponseApdu(bytes(VERSION))


def get_serial(session: Session, command: CommandApdu) -> ResponseApdu:
    """GET SERIAL: four bytes."""
    if command.p1 or command.p2:
        return refuse(Sw.INCORRECT_P1_P2)
    return ResponseApdu((session.card.data.serial & 0xFFFF_FFFF).to_bytes(4, "big"))


def get_metadata(session: Session, command: CommandApdu) -> ResponseApdu:
    """GET METADATA of the PIN, the PUK, the management key or a key; nothing of it is secret."""
    data = session.card.data
    if command.p1:
        return refuse(Sw.INCORRECT_P1_P2)
    match command.p2:
        case KeyReference.PIN:
            return ResponseApdu(_of_secret(data.pin))
        case KeyReference.PUK:
            return ResponseApdu(_of_secret(data.puk))
        case KeyReference.MANAGEMENT if data.management is not None:
            return ResponseApdu(_of_management(session, data.management.algorithm))
    record = data.key(command.p2)
    return refuse(Sw.REFERENCE_NOT_FOUND) if record is None else ResponseApdu(_of_key(record))


def _of_secret(record: SecretRecord) -> bytes:
    """Whether it is the default cannot be told without trying it, so: no."""
    return build(_IS_DEFAULT, b"\0") + build(_TRIES, bytes((record.tries_max, record.tries_left)))


def _of_management(session: Session, algorithm: int) -> bytes:
    key = management_key(session.card.data, session.card.context) or b""
    is_default = compare_digest(key, DEFAULT_MANAGEMENT_KEY)
    fields = ((_ALGORITHM, algorithm), (_IS_DEFAULT, is_default))
    return b"".join(build(tag, bytes((value,))) for tag, value in fields) + build(_POLICY, bytes((0, _NO_TOUCH)))


def _of_key(record: KeyRecord) -> bytes:
    policies = bytes((_POLICY_NUMBERS[record.pin_policy], _NO_TOUCH))
    return b"".join(
        (
            build(_ALGORITHM, bytes((algorithm_number(record),))),
            build(_POLICY, policies),
            build(_ORIGIN, bytes((_ORIGINS[record.origin],))),
            build(_PUBLIC, public_fields(record)),
        )
    )


def set_management_key(session: Session, command: CommandApdu) -> ResponseApdu:
    """SET MANAGEMENT KEY: the algorithm, and the key behind tag 9B. P2 = FE would ask for a touch."""
    if (command.p1, command.p2) != (0xFF, 0xFF):
        return refuse(Sw.INCORRECT_P1_P2)
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    tlv, rest = parse_first(command.data[1:])
    number = command.data[0]
    if rest or tlv.tag != KeyReference.MANAGEMENT or number not in set(Symmetric):
        return refuse(Sw.INCORRECT_DATA)
    if len(tlv.value) != Symmetric(number).key_bytes:
        return refuse(Sw.INCORRECT_DATA)
    record = seal_management(session.card.context, number, tlv.value)
    session.card.save(session.card.data.replace(management=record))
    return ResponseApdu()


def set_pin_tries(session: Session, command: CommandApdu) -> ResponseApdu:
    """SET PIN RETRIES: P1 for the PIN, P2 for the PUK; both get their default value, too."""
    if command.data or not command.p1 or not command.p2:
        return refuse(Sw.INCORRECT_P1_P2)
    if not session.is_administrator or not session.pins.verified:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    session.pins.set_tries(command.p1, command.p2, new_pin=DEFAULT_PIN, new_puk=DEFAULT_PUK)
    return ResponseApdu()


def move_key(session: Session, command: CommandApdu) -> ResponseApdu:
    """MOVE KEY: P1 the empty slot it goes to, or FF to delete it; P2 where it is.

    A key is sealed for its slot: to move one that wants the PIN, the PIN must be verified.
    """
    data, target = session.card.data, command.p1
    if command.p2 not in KEY_SLOTS or (target != _DELETE and target not in KEY_SLOTS):
        return refuse(Sw.INCORRECT_P1_P2)
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    record = data.key(command.p2)
    if record is None:
        return refuse(Sw.REFERENCE_NOT_FOUND)
    if target == _DELETE:
        session.card.save(data.without_key(command.p2))
        return ResponseApdu()
    return _move(session, record, target)


def _move(session: Session, record: KeyRecord, target: int) -> ResponseApdu:
    data = session.card.data
    if data.key(target) is not None:
        return refuse(Sw.CONDITIONS_NOT_SATISFIED)
    if record.pin_policy is not PinPolicy.NEVER and not session.pins.verified:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    key = session.pins.unsealed(record)
    moved = seal_key(data, session.card.context, target, key, pin_policy=record.pin_policy, origin=record.origin)
    session.card.save(data.without_key(record.slot).with_key(moved))
    return ResponseApdu()


def reset(session: Session, command: CommandApdu) -> ResponseApdu:
    """RESET: the card as new, with the default PIN, PUK and management key; only when PIN and PUK are blocked."""
    if command.p1 or command.p2:
        return refuse(Sw.INCORRECT_P1_P2)
    if session.pins.pin_tries_left or session.pins.puk_tries_left:
        return refuse(Sw.CONDITIONS_NOT_SATISFIED)
    session.reset()
    data = session.pins.anew(DEFAULT_PIN, DEFAULT_PUK, DEFAULT_TRIES, DEFAULT_TRIES)
    management = seal_management(session.card.context, DEFAULT_MANAGEMENT, DEFAULT_MANAGEMENT_KEY)
    session.card.save(data.replace(management=management, objects=first_objects()))
    return ResponseApdu()
