"""The data objects of a PIV card (SP 800-73-4 part 1, section 3 and appendix A): names, rules, contents, GET and PUT.

A card keeps of each the content of its 53 template, by the tag of table 3 in upper-case hex.
"""

from __future__ import annotations

import os
import uuid
from datetime import date
from typing import Final

from virtcard.card.soft.model import CardData
from virtcard.card.soft.piv_session import RETIRED, KeyReference, Session, refuse
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import Tlv, build, parse, parse_first

AID: Final = bytes.fromhex("A000000308000010000100")
"""SP 800-73-4 part 1, section 2.2: the RID of NIST, the application, version 01 00."""

CCC: Final = 0x5FC107
CHUID: Final = 0x5FC102
FINGERPRINTS: Final = 0x5FC103
FACIAL_IMAGE: Final = 0x5FC108
PRINTED_INFORMATION: Final = 0x5FC109
KEY_HISTORY: Final = 0x5FC10C
FIRST_RETIRED_CERTIFICATE: Final = 0x5FC10D
IRIS_IMAGES: Final = 0x5FC121
PAIRING_CODE: Final = 0x5FC123
DISCOVERY: Final = 0x7E

CERTIFICATES: Final[dict[int, int]] = {
    KeyReference.AUTHENTICATION: 0x5FC105,
    KeyReference.SIGNATURE: 0x5FC10A,
    KeyReference.KEY_MANAGEMENT: 0x5FC10B,
    KeyReference.CARD_AUTHENTICATION: 0x5FC101,
    **{slot: FIRST_RETIRED_CERTIFICATE + number for number, slot in enumerate(RETIRED)},
}
"""Where the certificate of each key is."""

PIN_PROTECTED: Final = frozenset({FINGERPRINTS, FACIAL_IMAGE, PRINTED_INFORMATION, IRIS_IMAGES, PAIRING_CODE})
"""Objects with the read access rule PIN (SP 800-73-4 part 1, table 2)."""

STANDARD: Final = range(0x5FC101, 0x5FC124)
PROPRIETARY: Final = range(0x5FFF00, 0x5FFF16)
"""Yubico's tools keep notes of their own here: 5FFF00 is "PIVMAN data"."""

OBJECT_MAX: Final = 16_000
"""Bytes: what fits into the longest chain with its tags. The largest that NIST knows has 12,710."""

TAG_LIST: Final = 0x5C
DATA: Final = 0x53
_P1, _P2 = 0x3F, 0xFF

DISCOVERY_OBJECT: Final = build(DISCOVERY, (Tlv(0x4F, AID), Tlv(0x5F2F, b"\x40\x00")))
"""SP 800-73-4 part 1, 3.3.2: the PIN of the application alone satisfies the access rules."""

_FASC_N: Final = bytes.fromhex("D4E739DA739CED39CE739D836858210842108421C84210C3EB")
"""9999-9999-999999-0-1-0000000000-3-0000-1: agency 9999 is nobody's (PACS TIG 2.4, section 2.1)."""
_EXPIRY: Final = date(2099, 12, 31)
_CARD_IDENTIFIER: Final = bytes.fromhex("A000000116FF02")
"""GSC-RID, no manufacturer, a file system card (GSC-IS 2.1, table 8-1); 14 bytes of the card's own follow."""


def tag_name(tag: int) -> str:
    """The key of an object in `CardData.objects`."""
    return f"{tag:X}"


def certificate_name(slot: int) -> str:
    """The object that holds the certificate of the key in `slot`."""
    return tag_name(CERTIFICATES[slot])


def certificate_object(der: bytes) -> bytes:
    """A certificate, not compressed (SP 800-73-4 part 1, table 10)."""
    return build(0x70, der) + build(0x71, b"\0") + build(0xFE)


def chuid(expiry: date = _EXPIRY) -> bytes:
    """A Card Holder Unique Identifier that no issuer signed, with a new GUID (SP 800-73-4 part 1, table 9)."""
    fields = (
        (0x30, _FASC_N),
        (0x34, uuid.uuid4().bytes),
        (0x35, f"{expiry:%Y%m%d}".encode()),
        (0x3E, b""),
        (0xFE, b""),
    )
    return b"".join(build(tag, value) for tag, value in fields)


def ccc() -> bytes:
    """A Card Capability Container with a new card identifier (SP 800-73-4 part 1, table 8)."""
    fields = {0xF0: _CARD_IDENTIFIER + os.urandom(14), 0xF1: b"\x21", 0xF2: b"\x21", 0xF4: b"\0", 0xF5: b"\x10"}
    tags = (0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE)
    return b"".join(build(tag, fields.get(tag, b"")) for tag in tags)


def first_objects() -> dict[str, bytes]:
    """What a card holds before it has keys: CHUID and CCC, both new."""
    return {tag_name(CHUID): chuid(), tag_name(CCC): ccc()}


def get_data(session: Session, command: CommandApdu) -> ResponseApdu:
    """GET DATA (SP 800-73-4 part 2, 3.1.2)."""
    if (command.p1, command.p2) != (_P1, _P2):
        return refuse(Sw.INCORRECT_P1_P2)
    tag = _named(command.data)
    if tag == DISCOVERY:
        return ResponseApdu(DISCOVERY_OBJECT)
    if tag in PIN_PROTECTED and not session.pins.verified:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    content = session.card.data.objects.get(tag_name(tag))
    if content is None and tag == KEY_HISTORY:
        content = _key_history(session.card.data)
    return refuse(Sw.FILE_NOT_FOUND) if content is None else ResponseApdu(build(DATA, content))


def put_data(session: Session, command: CommandApdu) -> ResponseApdu:
    """PUT DATA (SP 800-73-4 part 2, 3.3.2). An empty object takes it away."""
    if (command.p1, command.p2) != (_P1, _P2):
        return refuse(Sw.INCORRECT_P1_P2)
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    first, rest = parse_first(command.data)
    if first.tag != TAG_LIST:
        return refuse(Sw.FUNCTION_NOT_SUPPORTED)  # discovery object and biometric group: ours never change
    tag, content = _tag(first.value), _content(rest)
    if tag not in STANDARD and tag not in PROPRIETARY:
        return refuse(Sw.FILE_NOT_FOUND)
    if len(content) > OBJECT_MAX:
        return refuse(Sw.NOT_ENOUGH_MEMORY)
    session.card.save(session.card.data.with_objects({tag_name(tag): content}))
    return ResponseApdu()


def _named(untrusted: bytes) -> int:
    """The tag in a tag list of one."""
    match parse(untrusted):
        case (Tlv(tag=0x5C, value=name),):
            return _tag(name)
        case _:
            raise Malformed("a tag list has one tag")


def _tag(name: bytes) -> int:
    if not name or not name[0]:
        raise Malformed("this is no tag")
    return int.from_bytes(name, "big")


def _content(untrusted: bytes) -> bytes:
    match parse(untrusted):
        case (Tlv(tag=0x53, value=content),):
            return content
        case _:
            raise Malformed("an object comes in one 53 template")


def _key_history(data: CardData) -> bytes | None:
    """How many retired keys have their certificate here (SP 800-73-4 part 1, 3.3.3); None without any."""
    count = sum(certificate_name(slot) in data.objects for slot in RETIRED)
    return build(0xC1, bytes((count,))) + build(0xC2, b"\0") + build(0xFE) if count else None
