"""What every answer of a software card looks like."""

from __future__ import annotations

from typing import Final

from virtcard import limits

STATUS_CLASSES: Final = frozenset({0x61, 0x62, 0x63, 0x65, 0x67, 0x68, 0x69, 0x6A, 0x6C, 0x6D, 0x6E, 0x90})
"""SW1 of ISO 7816-4, table 5, less 64, 66, 6B and 6F, which these cards have no use for."""
WITH_DATA: Final = frozenset({0x61, 0x62, 0x90})


def check_answer(answer: bytes) -> None:
    """A status word that the standard has, and data only when all went well or with a warning."""
    assert 2 <= len(answer) <= limits.CARD_ANSWER_MAX
    assert answer[-2] in STATUS_CLASSES
    assert len(answer) == 2 or answer[-2] in WITH_DATA
