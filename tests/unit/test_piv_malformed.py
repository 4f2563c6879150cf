"""Whatever a guest sends, the PIV card answers with a status word, and what makes no sense changes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.piv import MANAGEMENT_KEY, PIN, PUK, PivCard, block, new_card
from virtcard.card.soft.model import Algorithm, CardData
from virtcard.card.soft.piv import HANDLERS
from virtcard.card.soft.piv_session import KEY_SLOTS
from virtcard.limits import C_APDU_MAX
from virtcard.wire.apdu import CommandApdu
from virtcard.wire.tlv import build

STATUS_CLASSES = {0x61, 0x62, 0x63, 0x65, 0x67, 0x68, 0x69, 0x6A, 0x6C, 0x6D, 0x6E, 0x90}
"""SW1 of ISO 7816-4, table 5, less 64, 66, 6B and 6F, which this card has no use for."""

OK = {0x90, 0x61}


@dataclass(frozen=True, slots=True)
class State:
    """What a command must not change when it is refused."""

    data: CardData
    is_verified: bool
    is_administrator: bool


def state(card: PivCard) -> State:
    session = card.card._applets[0]._session  # type: ignore[attr-defined]
    return State(card.stored.data, card.pins.verified, session.is_administrator)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def card(folder: Path) -> PivCard:
    return new_card(folder, algorithms=[(0x9A, Algorithm.RSA2048), (0x9C, Algorithm.P256), (0x9D, Algorithm.P384)])


VALID = {
    "verify": (0x20, 0, 0x80, block(PIN)),
    "change PIN": (0x24, 0, 0x80, block(PIN) + block(PIN)),
    "change PUK": (0x24, 0, 0x81, PUK + PUK),
    "reset retry counter": (0x2C, 0, 0x80, PUK + block(PIN)),
    "sign with RSA": (0x87, 0x07, 0x9A, build(0x7C, build(0x82) + build(0x81, bytes(256)))),
    "sign with a curve": (0x87, 0x11, 0x9C, build(0x7C, build(0x82) + build(0x81, bytes(32)))),
    "external": (0x87, 0x0A, 0x9B, build(0x7C, build(0x81))),
    "mutual": (0x87, 0x0A, 0x9B, build(0x7C, build(0x80))),
    "generate": (0x47, 0, 0x9D, build(0xAC, build(0x80, b"\x11"))),
    "get data": (0xCB, 0x3F, 0xFF, build(0x5C, b"\x5f\xc1\x02")),
    "put data": (0xDB, 0x3F, 0xFF, build(0x5C, b"\x5f\xc1\x09") + build(0x53, bytes(100))),
    "import": (0xFE, 0x11, 0x9D, build(0x06, bytes(31) + b"\1")),
    "set management key": (0xFF, 0xFF, 0xFF, b"\x0a" + build(0x9B, MANAGEMENT_KEY)),
}


@pytest.mark.parametrize("name", VALID)
def test_a_command_with_data_cut_anywhere_is_refused_and_changes_nothing(card: PivCard, name: str) -> None:
    ins, p1, p2, data = VALID[name]
    card.select().administrate()
    # Nothing at all is a question to VERIFY; a private key wants its PIN fresh, which the next test gives it.
    for length in range(1 if ins == 0x20 else 0, len(data)):
        card.verify()
        before = state(card)
        answer = card.do(ins, p1, p2, data[:length])
        assert answer.sw == 0x6A80
        assert answer.data == b""
        assert state(card) == before


@pytest.mark.parametrize("name", VALID)
def test_a_command_with_a_byte_too_many_is_refused_and_changes_nothing(card: PivCard, name: str) -> None:
    ins, p1, p2, data = VALID[name]
    card.select().administrate()
    card.verify()
    before = state(card)
    assert card.do(ins, p1, p2, data + b"\0").sw == 0x6A80
    assert state(card) == before


@pytest.mark.parametrize("name", VALID)
def test_a_command_with_parameters_of_nobody_is_refused_and_changes_nothing(card: PivCard, name: str) -> None:
    ins, p1, p2, data = VALID[name]
    card.select().administrate()
    card.verify()
    before = state(card)
    for other in ((p1 ^ 0x40, p2), (p1, p2 ^ 0x40)):
        assert card.do(ins, *other, data).sw in (0x6A86, 0x6A88)
    assert state(card) == before


@pytest.mark.parametrize("ins", sorted(HANDLERS))
@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x7c", b"\x53"])
def test_the_longest_command_of_each_kind_is_refused(card: PivCard, ins: int, filler: bytes) -> None:
    card.select().administrate()
    before = card.stored.data
    for p1, p2 in ((0x3F, 0xFF), (0x00, 0x80), (0x07, 0x9A), (0x0A, 0x9B), (0x00, 0x9D), (0x00, 0x00)):
        command = CommandApdu(0, ins, p1, p2, filler * 65_535, 65_536, extended=True).encode()
        assert len(command) == C_APDU_MAX
        answer = card.ask(CommandApdu.parse(command))
        assert answer.sw1 in STATUS_CLASSES
    assert card.stored.data == before


@pytest.mark.parametrize("ins", sorted(HANDLERS))
def test_a_command_of_no_shape_is_6700_and_changes_nothing(card: PivCard, ins: int) -> None:
    card.select().administrate()
    card.verify()
    before = state(card)
    for body in (b"\x05\x01", b"\0\0", b"\0\0\0\0", b"\0\xff\xff\x01", b"\x01\xaa\0\0\0", b"\xff" + bytes(300)):
        assert card.card.transmit(bytes((0, ins, 0, 0x80)) + body) == b"\x67\x00"
    assert state(card) == before


references = st.sampled_from([0x00, 0x80, 0x81, 0x9B, 0xF9, 0xFF, *KEY_SLOTS]) | st.integers(0, 255)
algorithms = st.sampled_from([0x00, 0x03, 0x0A, 0x07, 0x11, 0x14, 0x3F, 0xFF]) | st.integers(0, 255)
tags = st.sampled_from([0x5C, 0x53, 0x7C, 0x80, 0x81, 0x82, 0x85, 0xAA, 0xAB, 0xAC, 0x9B, 0x01, 0x06, 0x7E, 0x7F49])
objects = st.recursive(
    st.binary(max_size=40),
    lambda inner: st.lists(st.builds(build, tags, inner), max_size=3).map(b"".join),
    max_leaves=5,
)
commands = st.builds(
    CommandApdu,
    cla=st.sampled_from([0x00, 0x10]),
    ins=st.sampled_from([*HANDLERS, 0xA4, 0xC0, 0x84]),
    p1=algorithms,
    p2=references,
    data=objects.filter(lambda data: len(data) < 256),
    le=st.none() | st.integers(1, 256),
)


@settings(max_examples=300)
@given(st.lists(commands, min_size=1, max_size=8), st.booleans())
def test_any_commands_get_a_status_word(folder: Path, sent: list[CommandApdu], as_administrator: bool) -> None:
    card = shared(folder).select()
    if as_administrator:
        card.administrate()
    for command in sent:
        answer = card.ask(command)
        assert answer.sw1 in STATUS_CLASSES
        assert answer.sw1 in OK or answer.data == b""


@settings(max_examples=300)
@given(st.lists(commands, min_size=1, max_size=8))
def test_nobody_becomes_administrator_or_logs_in_by_chance(folder: Path, sent: list[CommandApdu]) -> None:
    card = shared(folder).select()
    objects = card.stored.data.objects
    for command in sent:
        card.ask(command)
        assert not state(card).is_administrator
        assert not state(card).is_verified
    assert card.stored.data.objects == objects


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_bytes_get_a_status_word(folder: Path, sent: list[bytes]) -> None:
    card = shared(folder).select()
    for command in sent:
        assert card.card.transmit(command)[-2] in STATUS_CLASSES


CARDS: dict[Path, PivCard] = {}


def shared(folder: Path) -> PivCard:
    """One card for all examples: to make one costs more than to ask it."""
    if folder not in CARDS:
        CARDS[folder] = new_card(folder, "shared", [(0x9A, Algorithm.P256), (0x9E, Algorithm.P256)])
    return CARDS[folder]
