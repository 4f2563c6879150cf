"""APDUs: what can be read is written the same again, and the guard reads the same lengths."""

from __future__ import annotations

from virtcard import limits
from virtcard.card.guard.lane import adds_up
from virtcard.wire.apdu import Case, CommandApdu, ResponseApdu
from virtcard.wire.malformed import Malformed


def check(data: bytes) -> None:
    """`data` as a command, and as an answer."""
    _check_command(data)
    try:
        response = ResponseApdu.parse(data)
    except Malformed:
        assert len(data) < 2
    else:
        assert response.encode() == data
        assert 1 <= response.length <= 256


def _check_command(data: bytes) -> None:
    try:
        command = CommandApdu.parse(data)
    except Malformed:
        assert len(data) < 4 or len(data) > limits.C_APDU_MAX or not adds_up(data)
        return
    assert command.encode() == data
    assert (command.case is Case.CASE_1) == (len(data) == 4)
    assert len(data) > limits.C_APDU_MAX or adds_up(data)
