"""What may be written down of a command: nothing of a PIN, in whatever form it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.card.guard.mask import is_secret, mask

PIN = "313233343536"


@pytest.mark.parametrize(
    ("command", "masked"),
    [
        (f"0020008008{PIN}FFFF", "0020008008" + "FF" * 8),
        (f"0020008008{PIN}FFFF00", "0020008008" + "FF" * 8 + "00"),
        (f"00200080000006{PIN}", "00200080000006" + "FF" * 6),
        (f"00200080000006{PIN}0000", "00200080000006" + "FF" * 6 + "0000"),
        ("1020008003313233", "1020008003FFFFFF"),  # a part of a chain
        (f"0C20008006{PIN}", "0C20008006" + "FF" * 6),
        (f"A020000106{PIN}", "A020000106" + "FF" * 6),
        (f"B020000106{PIN}", "B020000106" + "FF" * 6),
        (f"0020008004{PIN}", "00200080" + "FF" * 7),  # lengths that do not add up
        (f"00200080{PIN}", "00200080" + "FF" * 6),
        ("002000800031323334", "00200080" + "FF" * 5),
        (f"002400810C{PIN}{PIN}", "002400810C" + "FF" * 12),
        (f"002C008006{PIN}", "002C008006" + "FF" * 6),
        (f"0026008006{PIN}", "0026008006" + "FF" * 6),
        (f"00DA00D306{PIN}", "00DA00D306" + "FF" * 6),  # OpenPGP's resetting code
        ("00FE079A020102", "00FE079A02FFFF"),
        ("00FFFFFF03030103", "00FFFFFF03FFFFFF"),
        ("80D8000102" + "0102", "80D8000102FFFF"),
        (f"00C200000B0020008006{PIN}", "00C200000B" + "FF" * 11),
        (f"FFC2010606{PIN}", "FFC2010606" + "FF" * 6),
        ("00A4040005A000000308", "00A4040005A000000308"),
        ("0087079A0401020304", "0087079A0401020304"),
        ("00200080", "00200080"),
        ("0020008000", "0020008000"),
        ("FFCA000000", "FFCA000000"),
        ("0020", "0020"),
        ("", ""),
    ],
)
def test_data_that_may_be_secret_are_overwritten(command: str, masked: str) -> None:
    assert mask(bytes.fromhex(command)).hex().upper() == masked


@given(st.binary(max_size=300))
def test_a_masked_command_is_as_long_and_its_header_the_same(command: bytes) -> None:
    masked = mask(command)
    assert len(masked) == len(command)
    assert masked[:4] == command[:4]
    assert masked == command or is_secret(command)


@given(
    cla=st.integers(0, 255),
    ins=st.sampled_from([0x20, 0x21, 0x24, 0x25, 0x26, 0x28, 0x2C, 0x2D]),
    parameters=st.binary(min_size=2, max_size=2),
    head=st.binary(max_size=4),
    tail=st.binary(max_size=4),
)
def test_no_bytes_around_a_pin_bring_it_out(cla: int, ins: int, parameters: bytes, head: bytes, tail: bytes) -> None:
    pin = b"Geheimzahl"
    assert pin not in mask(bytes((cla, ins)) + parameters + head + pin + tail)
