"""The PIV applet (NIST SP 800-73-4 parts 1 and 2, contact interface): which instruction goes where."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from virtcard.card.soft import piv_auth, piv_keys, piv_objects, piv_pins, piv_yubico
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.piv_objects import AID
from virtcard.card.soft.piv_session import ALGORITHMS, Session, refuse
from virtcard.card.soft.store import OpenCard
from virtcard.errors import InvalidArgument, Unsupported
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import Tlv, build

RID_BYTES: Final = 5
"""A name may be cut down to its RID; shorter ones name nothing."""

LABEL: Final = b"virtcard PIV"


class Ins(IntEnum):
    """SP 800-73-4 part 2, table 2; from F6 on Yubico's."""

    VERIFY = 0x20
    CHANGE_REFERENCE_DATA = 0x24
    RESET_RETRY_COUNTER = 0x2C
    GENERATE_ASYMMETRIC_KEY_PAIR = 0x47
    GENERAL_AUTHENTICATE = 0x87
    GET_DATA = 0xCB
    PUT_DATA = 0xDB
    MOVE_KEY = 0xF6
    GET_METADATA = 0xF7
    GET_SERIAL = 0xF8
    SET_PIN_RETRIES = 0xFA
    RESET = 0xFB
    GET_VERSION = 0xFD
    IMPORT_KEY = 0xFE
    SET_MANAGEMENT_KEY = 0xFF


Handler = Callable[[Session, CommandApdu], ResponseApdu]

HANDLERS: Final[dict[int, Handler]] = {
    Ins.VERIFY: piv_pins.verify,
    Ins.CHANGE_REFERENCE_DATA: piv_pins.change_reference_data,
    Ins.RESET_RETRY_COUNTER: piv_pins.reset_retry_counter,
    Ins.GENERATE_ASYMMETRIC_KEY_PAIR: piv_keys.generate,
    Ins.GENERAL_AUTHENTICATE: piv_auth.general_authenticate,
    Ins.GET_DATA: piv_objects.get_data,
    Ins.PUT_DATA: piv_objects.put_data,
    Ins.MOVE_KEY: piv_yubico.move_key,
    Ins.GET_METADATA: piv_yubico.get_metadata,
    Ins.GET_SERIAL: piv_yubico.get_serial,
    Ins.SET_PIN_RETRIES: piv_yubico.set_pin_tries,
    Ins.RESET: piv_yubico.reset,
    Ins.GET_VERSION: piv_yubico.get_version,
    Ins.IMPORT_KEY: piv_keys.import_key,
    Ins.SET_MANAGEMENT_KEY: piv_yubico.set_management_key,
}


def _template() -> bytes:
    """The application property template (SP 800-73-4 part 2, table 3): who it is, and what it computes."""
    algorithms = (*piv_auth.Symmetric, *ALGORITHMS)
    mechanisms = (*(Tlv(0x80, bytes((number,))) for number in sorted(algorithms)), Tlv(0x06, b"\0"))
    parts = (
        Tlv(0x4F, AID[RID_BYTES:]),
        Tlv(0x79, build(0x4F, AID[:RID_BYTES])),
        Tlv(0x50, LABEL),
        Tlv(0xAC, b"".join(map(bytes, mechanisms))),
    )
    return build(0x61, parts)


TEMPLATE: Final = _template()


class PivApplet:
    """A PIV card on what a store holds; a `virtcard.card.soft.iso7816.Applet`."""

    def __init__(self, card: OpenCard, pins: Pins) -> None:
        self._session = Session(card, pins)

    def matches(self, untrusted_aid: bytes) -> bool:
        """The full AID, with or without its version, or cut further down to the RID."""
        return len(untrusted_aid) >= RID_BYTES and AID.startswith(untrusted_aid)

    def select(self) -> ResponseApdu:
        """The application property template. Selected again it keeps its status (SP 800-73-4 part 2, 3.1.1)."""
        self._session.next_command()
        return ResponseApdu(TEMPLATE)

    def command(self, command: CommandApdu) -> ResponseApdu:
        """One command; data that do not follow their form are 6A80."""
        self._session.next_command()
        if command.cla:
            return refuse(Sw.CLA_NOT_SUPPORTED)
        handler = HANDLERS.get(command.ins)
        if handler is None:
            return refuse(Sw.INS_NOT_SUPPORTED)
        try:
            return handler(self._session, command)
        except (Malformed, InvalidArgument, Unsupported):
            return refuse(Sw.INCORRECT_DATA)

    def reset(self) -> None:
        """Forget PIN, management key and challenges."""
        self._session.reset()
