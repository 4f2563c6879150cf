"""The dynamic authentication template, 7C (SP 800-73-4 part 2, table 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from virtcard.wire.apdu import ResponseApdu
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import Tlv, build, parse

DYNAMIC_AUTHENTICATION: Final = 0x7C


class Field(IntEnum):
    """What stands in the template."""

    WITNESS = 0x80
    CHALLENGE = 0x81
    RESPONSE = 0x82
    EXPONENTIATION = 0x85


Fields = dict[int, bytes]


def fields_of(untrusted: bytes) -> Fields:
    """The fields of the one template in a command; Malformed when there is anything else, or one field twice."""
    match parse(untrusted):
        case (Tlv(tag=0x7C) as template,):
            return named(template.children())
        case _:
            raise Malformed("GENERAL AUTHENTICATE takes one template")


def named(found: tuple[Tlv, ...]) -> Fields:
    """Values by tag; Malformed when a tag stands there twice."""
    fields = {tlv.tag: tlv.value for tlv in found}
    if len(fields) != len(found):
        raise Malformed("a field stands there twice")
    return fields


def answer(field: Field, value: bytes) -> ResponseApdu:
    """A template with one field."""
    return ResponseApdu(build(DYNAMIC_AUTHENTICATION, (Tlv(field, value),)))
