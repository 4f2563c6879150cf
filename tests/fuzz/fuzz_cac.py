"""The CAC card: any bytes get a status word of ISO 7816-4, and nobody logs in by chance."""

from __future__ import annotations

from functools import cache
from typing import Final

from fuzz.choices import Choices
from fuzz.statuses import check_answer
from helpers.cac import ACA, CCC, PIN, TRIES, CacCard, pki
from virtcard.card.soft.cac_commands import Ins
from virtcard.wire.apdu import CommandApdu
from virtcard.wire.malformed import Malformed

NAMES: Final = (ACA, CCC, *map(pki, range(4)), bytes.fromhex("A000000116DB00"), bytes.fromhex("A0000000030000"))
INSTRUCTIONS: Final = (*Ins, 0xC0, 0x84, 0x70)
PROPRIETARY: Final = (Ins.SIGN_DECRYPT, Ins.GET_ACR, Ins.READ_BUFFER, Ins.GET_PROPERTIES, Ins.UPDATE_BUFFER)


@cache
def shared() -> CacCard:
    """One card for all inputs: its keys take seconds to make."""
    return CacCard()


def check(data: bytes) -> None:
    """A byte that says whether somebody is logged in, then commands."""
    card, choices = shared(), Choices(data)
    card.card.reset()
    card.token.tries_left = TRIES
    if choices.number() % 2:
        card.verify()
    chain = b""
    while choices.left:
        command = _command(choices)
        data, chained = _part(command)
        chain += data
        before = card.token.verified
        check_answer(card.card.transmit(command))
        assert card.token.verified <= (before or PIN in chain)
        chain = chain if chained else b""
    card.card.reset()
    assert not card.token.verified


def _part(command: bytes) -> tuple[bytes, bool]:
    """What a command brings to a chain, and whether that goes on."""
    try:
        parsed = CommandApdu.parse(command)
    except Malformed:
        return b"", False
    return parsed.data, parsed.chained


def _command(choices: Choices) -> bytes:
    """Any bytes, a SELECT, or a command of the card."""
    kind = choices.number() % 3
    if kind == 0:
        return choices.block()
    if kind == 1:
        return CommandApdu(0, 0xA4, 4, choices.one_of([0, 0x0C]), choices.one_of(NAMES), 256).encode()
    ins = choices.one_of(INSTRUCTIONS)
    cla = (0x80 if ins in PROPRIETARY else 0x00) | 0x10 * (choices.number() % 2)
    return CommandApdu(cla, ins, choices.number(), choices.number(), choices.block(), 256, extended=True).encode()
