"""ATRs: what can be read is written the same again, and what QEMU gets is one that QEMU takes."""

from __future__ import annotations

from helpers.ccid import check_atr
from virtcard.wire.atr import parse, t0_atr
from virtcard.wire.malformed import Malformed


def check(data: bytes) -> None:
    """`data` as a card's ATR."""
    try:
        presented = t0_atr(data)
    except Malformed:
        presented = b""
    try:
        atr = parse(data)
    except Malformed:
        atr = None
    if presented:
        assert check_atr(presented)
        assert parse(presented).protocols == (0,)
        assert t0_atr(presented) == presented
    if atr is not None:
        assert atr.encode() == data
        assert parse(presented).historical == atr.historical
