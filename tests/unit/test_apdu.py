"""APDUs. Shapes: ISO 7816-3, 12.1.3, table 13; the commands are those of SP 800-73-4 part 2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.wire import apdu
from virtcard.wire.apdu import Case, CommandApdu, ResponseApdu, Sw
from virtcard.wire.malformed import Malformed

SHAPES = [
    ("00A40400", Case.CASE_1, "", None),
    ("00C0000008", Case.CASE_2S, "", 8),
    ("00C0000000", Case.CASE_2S, "", 256),
    ("00A4040005A000000308", Case.CASE_3S, "A000000308", None),
    ("00A4040005A00000030800", Case.CASE_4S, "A000000308", 256),
    ("00CB3FFF055C035FC10508", Case.CASE_4S, "5C035FC105", 8),
    ("00C000000000FF", Case.CASE_2E, "", 255),
    ("00C00000000000", Case.CASE_2E, "", 65_536),
    ("00DB3FFF0000055C035FC105", Case.CASE_3E, "5C035FC105", None),
    ("00CB3FFF0000055C035FC1050000", Case.CASE_4E, "5C035FC105", 65_536),
    ("00CB3FFF0000055C035FC1050100", Case.CASE_4E, "5C035FC105", 256),
]

BROKEN = [
    "",
    "00A404",
    "00A4040005A0000003",
    "00A4040005A0000003080000",
    "00A404000000",
    "00A40400000005A0000003",
    "00A40400000005A00000030800",
    "00A404000000000000",
    "00A40400000000A0",
]

short_commands = st.builds(
    CommandApdu,
    *[st.integers(0, 255)] * 4,
    st.binary(max_size=255),
    st.none() | st.integers(1, 256),
)
extended_commands = st.builds(
    CommandApdu,
    *[st.integers(0, 255)] * 4,
    st.binary(max_size=700) | st.just(bytes(65_535)),
    st.none() | st.integers(1, 65_536),
    st.just(True),
).filter(lambda command: command.case is not Case.CASE_1)


@pytest.mark.parametrize(("wire", "case", "data", "le"), SHAPES)
def test_every_case_is_parsed_and_built(wire: str, case: Case, data: str, le: int | None) -> None:
    command = CommandApdu.parse(bytes.fromhex(wire))
    assert (command.case, command.data, command.le) == (case, bytes.fromhex(data), le)
    assert command.encode() == bytes.fromhex(wire)


@pytest.mark.parametrize("wire", BROKEN)
def test_lengths_that_do_not_add_up_are_malformed(wire: str) -> None:
    with pytest.raises(Malformed):
        CommandApdu.parse(bytes.fromhex(wire))


@given(short_commands | extended_commands)
def test_commands_survive_the_wire(command: CommandApdu) -> None:
    assert CommandApdu.parse(command.encode()) == command


@given(st.binary(max_size=600))
def test_any_bytes_are_malformed_or_built_again(wire: bytes) -> None:
    try:
        command = CommandApdu.parse(wire)
    except Malformed:
        return
    assert command.encode() == wire


@pytest.mark.parametrize(
    "command",
    [
        CommandApdu(0, 0xA4, data=bytes(256)),
        CommandApdu(0, 0xB0, le=257),
        CommandApdu(0, 0xB0, le=0),
        CommandApdu(0, 0xB0, le=65_537, extended=True),
        CommandApdu(0, 0xB0, data=bytes(65_536), extended=True),
    ],
)
def test_what_does_not_fit_is_not_built(command: CommandApdu) -> None:
    with pytest.raises(Malformed):
        command.encode()


def test_a_command_with_nothing_is_case_1_even_when_extended() -> None:
    command = CommandApdu(0, 0xA4, extended=True)
    assert (command.case, command.encode()) == (Case.CASE_1, bytes.fromhex("00A40000"))


@given(st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_responses_survive_the_wire(data: bytes, sw: int) -> None:
    response = ResponseApdu(data, sw)
    assert ResponseApdu.parse(response.encode()) == response
    assert response.sw1 << 8 | response.sw2 == sw


@pytest.mark.parametrize("wire", [b"", b"\x90"])
def test_a_response_without_status_word_is_malformed(wire: bytes) -> None:
    with pytest.raises(Malformed):
        ResponseApdu.parse(wire)


def test_status_words_with_a_number() -> None:
    assert apdu.more_data(1) == 0x6101
    assert apdu.more_data(255) == 0x61FF
    assert apdu.more_data(256) == apdu.more_data(4000) == 0x6100
    assert apdu.tries_left(3) == 0x63C3
    assert apdu.tries_left(99) == 0x63CF
    assert ResponseApdu(sw=0x6C00).length == 256
    assert ResponseApdu(sw=0x610D).length == 13


def test_unknown_status_words_survive() -> None:
    assert Sw(0x9000) is Sw.OK
    assert Sw(0x6101) == 0x6101


@pytest.mark.parametrize(
    ("cla", "channel", "chained", "secured"),
    [
        (0x00, 0, False, False),
        (0x03, 3, False, False),
        (0x10, 0, True, False),
        (0x0C, 0, False, True),
        (0x1C, 0, True, True),
        (0x40, 4, False, False),
        (0x4F, 19, False, False),
        (0x60, 4, False, True),
        (0x80, 0, False, False),
        (0x84, 0, False, False),
        (0x90, 0, True, False),
    ],
)
def test_the_bits_of_a_class(cla: int, channel: int, chained: bool, secured: bool) -> None:
    assert apdu.channel(cla) == channel
    assert apdu.is_chained(cla) is chained
    assert CommandApdu(cla, 0xCB).chained is chained
    assert apdu.is_secured(cla) is secured
    assert apdu.is_proprietary(cla) is (cla >= 0x80)


def test_data_stay_out_of_the_repr() -> None:
    assert "1234" not in repr(CommandApdu(0, 0x20, 0, 0x80, b"1234"))
    assert "1234" not in repr(ResponseApdu(b"1234"))
