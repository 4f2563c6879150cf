"""The PIV card: any bytes get a status word of ISO 7816-4, and nobody logs in or administrates by chance."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final
from unittest.mock import patch

from fuzz.choices import Choices
from fuzz.statuses import check_answer
from helpers.piv import MANAGEMENT_KEY, PIN, PUK, PivCard, block, new_card
from virtcard.card.soft import keys
from virtcard.card.soft.model import Algorithm, CardData
from virtcard.card.soft.piv import HANDLERS
from virtcard.card.soft.piv_session import KEY_SLOTS
from virtcard.wire.apdu import DATA_MAX, CommandApdu
from virtcard.wire.tlv import build

INSTRUCTIONS: Final = (*HANDLERS, 0xA4, 0xC0, 0x84)
REFERENCES: Final = (0x00, 0x80, 0x81, 0x9B, 0xF9, 0xFF, *KEY_SLOTS)
TAGS: Final = (0x5C, 0x53, 0x7C, 0x80, 0x81, 0x82, 0x85, 0xAA, 0xAB, 0xAC, 0x9B, 0x01, 0x06, 0x7E, 0x7F49)
SECRETS: Final = (block(PIN), PUK, PUK + block(PIN), block(PIN) + block(PIN), MANAGEMENT_KEY)

generated = cache(keys.generate)
"""The card's new keys are always the same one: to make them is not what is tried here."""


@cache
def shared() -> tuple[PivCard, CardData]:
    """One card for all inputs, and what it holds at first."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    card = new_card(folder, algorithms=[(0x9A, Algorithm.P256), (0x9D, Algorithm.P384), (0x9E, Algorithm.RSA2048)])
    return card, card.stored.data


def check(data: bytes) -> None:
    """A byte that says how the card begins, then commands."""
    card, fresh = shared()
    if card.stored.data is not fresh:
        card.stored.save(fresh)
    choices = Choices(data)
    start = choices.number() % 8
    card.card.reset()
    if start & 1:
        card.select()
    if start & 2:
        card.verify()
    if start & 4:
        card.administrate()
    with patch.object(keys, "generate", generated):
        while choices.left:
            check_answer(card.card.transmit(_command(choices)))
    card.card.reset()
    assert not card.pins.verified


def _command(choices: Choices) -> bytes:
    """Any bytes, or a command with data of any bytes, of a secret, or of data objects."""
    kind = choices.number() % 4
    if kind == 0:
        return choices.block()
    cla, ins = (0x10, 0x00)[min(1, choices.number())], choices.one_of(INSTRUCTIONS)
    p1, p2 = choices.number(), choices.one_of([*REFERENCES, choices.number()])
    data = choices.block() if kind == 1 else choices.one_of(SECRETS) if kind == 2 else _objects(choices, 3)
    return CommandApdu(cla, ins, p1, p2, data[:DATA_MAX], 256, extended=True).encode()


def _objects(choices: Choices, depth: int) -> bytes:
    value = choices.block() if depth == 0 or choices.number() % 2 else _objects(choices, depth - 1)
    found = build(choices.one_of(TAGS), value)
    return found + _objects(choices, depth - 1) if depth and choices.number() % 2 else found
