"""What a T=0 guest behind usb-ccid gets to see of any card."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.bridge.tpdu import Ask, Give, TpduAdapter, is_forbidden
from virtcard.card.base import Transmission

READ = bytes.fromhex("00CB3FFF055C035FC105")
FETCH = bytes.fromhex("00C0000000")
OK = b"\x90\x00"

# usb-ccid drops answers over 374 bytes; on xHCI those that fill a packet shift every later one.
forbidden = [54, 118, 182, 246]
status_words = st.sampled_from([OK, b"\x62\x83", b"\x63\xc2", b"\x6a\x82", b"\x69\x82", b"\x61\x08", b"\x61\x00"])
lengths = st.integers(0, 300) | st.integers(300, 4096) | st.sampled_from([52, 116, 180, 244, 308, 65_536])
transmissions = st.sampled_from(list(Transmission))


@dataclass
class ScriptedCard:
    """Answers by script, in order, and keeps what it was asked."""

    script: list[bytes]
    asked: list[bytes] = field(default_factory=list)

    def transmit(self, command: bytes) -> bytes:
        self.asked.append(command)
        return self.script.pop(0)


def data_of(length: int) -> bytes:
    """Bytes that show where they stand."""
    return bytes((position * 7 + position // 256) % 256 for position in range(length))


def exchange(adapter: TpduAdapter, card: ScriptedCard, command: bytes) -> bytes:
    """One command of the guest, and what it gets."""
    step = adapter.command(command)
    while isinstance(step, Ask):
        step = adapter.answer(card.transmit(step.command))
    assert_deliverable(step.response)
    return step.response


def assert_deliverable(response: bytes) -> None:
    assert 2 <= len(response) <= 258
    assert len(response) % 64 != 54


def fetch(le: int, ins: int = 0xC0) -> bytes:
    return bytes((0, ins, 0, 0, le % 256))


@given(transmissions, lengths, status_words, st.lists(st.integers(1, 256), max_size=400))
def test_what_the_guest_fetches_is_what_the_card_said(
    transmission: Transmission, length: int, sw: bytes, expected: list[int]
) -> None:
    card = ScriptedCard([data_of(length) + sw])
    adapter = TpduAdapter(transmission)
    response = exchange(adapter, card, READ)
    fetched = response[:-2]
    while len(fetched) < length:
        assert response[-2] == 0x61
        response = exchange(adapter, card, fetch(expected.pop() if expected else 256))
        assert len(response) > 2
        fetched += response[:-2]
    assert (fetched, response[-2:]) == (data_of(length), sw)
    assert len(card.asked) == 1


@given(lengths)
def test_61xx_says_how_much_is_left(length: int) -> None:
    card = ScriptedCard([data_of(length) + OK])
    adapter = TpduAdapter(Transmission.T0)
    response = exchange(adapter, card, READ)
    left = length - len(response[:-2])
    while left:
        assert response[-1] == (left if left < 256 else 0)
        response = exchange(adapter, card, fetch(response[-1]))
        left -= len(response[:-2])


@given(transmissions, st.lists(st.binary(min_size=4, max_size=12), max_size=30), st.data())
def test_no_guest_and_no_card_bring_out_a_forbidden_length(
    transmission: Transmission, commands: list[bytes], data: st.DataObject
) -> None:
    adapter = TpduAdapter(transmission)
    for command in [*commands, FETCH, fetch(52), fetch(1)]:
        step = adapter.command(command)
        asked = 0
        while isinstance(step, Ask):
            asked += 1
            step = adapter.answer(data_of(data.draw(lengths)) + data.draw(status_words))
        assert asked <= 2
        assert_deliverable(step.response)


@pytest.mark.parametrize("length", forbidden)
def test_an_answer_of_54_bytes_is_split(length: int) -> None:
    card = ScriptedCard([data_of(length - 2) + OK])
    adapter = TpduAdapter(Transmission.T0)
    assert exchange(adapter, card, READ) == data_of(length - 2)[:-1] + b"\x61\x01"
    assert exchange(adapter, card, fetch(1)) == data_of(length - 2)[-1:] + OK
    assert len(card.asked) == 1


def test_the_forbidden_lengths_are_those_of_usb_ccid() -> None:
    assert [length for length in range(259) if is_forbidden(length)] == forbidden
    assert is_forbidden(310)
    assert is_forbidden(374)


@pytest.mark.parametrize("length", [2, 53, 55, 255, 256, 257, 258])
def test_every_other_short_answer_goes_out_as_it_is(length: int) -> None:
    answer = data_of(length - 2) + OK
    assert exchange(TpduAdapter(Transmission.T1), ScriptedCard([answer]), READ) == answer


def test_more_than_256_bytes_wait_for_get_response() -> None:
    card = ScriptedCard([data_of(600) + OK])
    adapter = TpduAdapter(Transmission.T1)
    assert exchange(adapter, card, READ) == data_of(600)[:256] + b"\x61\x00"
    assert exchange(adapter, card, FETCH) == data_of(600)[256:512] + b"\x61\x58"
    assert exchange(adapter, card, fetch(0x58)) == data_of(600)[512:] + OK


def test_get_response_gets_no_more_than_it_asks_for() -> None:
    card = ScriptedCard([data_of(300) + OK])
    adapter = TpduAdapter(Transmission.T0)
    exchange(adapter, card, READ)
    assert exchange(adapter, card, fetch(4)) == data_of(300)[256:260] + b"\x61\x28"
    assert exchange(adapter, card, fetch(0xFF)) == data_of(300)[260:] + OK


def test_get_response_that_would_give_a_forbidden_length_gives_a_byte_less() -> None:
    card = ScriptedCard([data_of(356) + OK])
    adapter = TpduAdapter(Transmission.T0)
    exchange(adapter, card, READ)
    assert exchange(adapter, card, fetch(52)) == data_of(356)[256:307] + b"\x61\x31"
    assert exchange(adapter, card, fetch(0x31)) == data_of(356)[307:] + OK


@pytest.mark.parametrize(
    ("command", "got"),
    [("00C00000000000", 256), ("00C00000000008", 8), ("00C00000000200", 256), ("00C00000", 256), ("10C0000000", 256)],
)
def test_every_form_of_get_response_fetches(command: str, got: int) -> None:
    card = ScriptedCard([data_of(2000) + OK])
    adapter = TpduAdapter(Transmission.T0)
    exchange(adapter, card, READ)
    assert len(exchange(adapter, card, bytes.fromhex(command))) == got + 2
    assert len(card.asked) == 1


@pytest.mark.parametrize(
    "command", ["00A40400", "00C0000100", "01C0000000", "00C0000001AA", "00C0000002AABB", "00B0000000"]
)
def test_another_command_drops_what_was_held(command: str) -> None:
    card = ScriptedCard([data_of(300) + OK, b"\x6d\x00", b"\x69\x85"])
    adapter = TpduAdapter(Transmission.T0)
    exchange(adapter, card, READ)
    assert exchange(adapter, card, bytes.fromhex(command)) == b"\x6d\x00"
    assert exchange(adapter, card, FETCH) == b"\x69\x85"
    assert card.asked == [READ, bytes.fromhex(command), FETCH]


def test_get_response_on_the_channel_of_its_command_fetches() -> None:
    on_channel_1 = bytes.fromhex("01CB3FFF055C035FC105")
    card = ScriptedCard([data_of(300) + OK])
    adapter = TpduAdapter(Transmission.T0)
    exchange(adapter, card, on_channel_1)
    assert exchange(adapter, card, bytes.fromhex("01C000002C")) == data_of(300)[256:] + OK


def test_get_response_goes_to_the_card_when_we_hold_nothing() -> None:
    card = ScriptedCard([b"\x61\x08", data_of(8) + OK])
    adapter = TpduAdapter(Transmission.T1)
    assert exchange(adapter, card, READ) == b"\x61\x08"
    assert exchange(adapter, card, fetch(8)) == data_of(8) + OK
    assert card.asked[1] == fetch(8)


def test_a_card_that_has_more_is_asked_when_our_part_is_gone() -> None:
    card = ScriptedCard([data_of(52) + b"\x61\x08", data_of(8) + OK])
    adapter = TpduAdapter(Transmission.T1)
    assert exchange(adapter, card, READ)[-2:] == b"\x61\x01"
    assert exchange(adapter, card, fetch(1)) == data_of(52)[-1:] + b"\x61\x08"
    assert exchange(adapter, card, fetch(8)) == data_of(8) + OK
    assert card.asked[1:] == [fetch(8)]


def test_yubico_oath_fetches_with_send_remaining() -> None:
    # YKOATH protocol: 61xx is answered with A5, not with GET RESPONSE.
    card = ScriptedCard([data_of(52) + OK, b"\x69\x85"])
    adapter = TpduAdapter(Transmission.T1)
    exchange(adapter, card, bytes.fromhex("00A10000"))
    assert exchange(adapter, card, fetch(0, ins=0xA5)) == data_of(52)[-1:] + OK
    assert exchange(adapter, card, fetch(0, ins=0xA5)) == b"\x69\x85"


@pytest.mark.parametrize("length", range(4))
def test_a_command_without_a_header_never_reaches_the_card(length: int) -> None:
    assert TpduAdapter(Transmission.T0).command(bytes(length)) == Give(b"\x67\x00")


def test_a_failed_card_leaves_nothing_to_fetch() -> None:
    adapter = TpduAdapter(Transmission.T0)
    exchange(adapter, ScriptedCard([data_of(300) + OK]), READ)
    adapter.drop()
    assert adapter.command(FETCH) == Ask(FETCH)


def test_data_stay_out_of_the_reprs() -> None:
    assert "1234" not in repr(Ask(b"1234")) + repr(Give(b"1234"))
