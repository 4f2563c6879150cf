"""Why a command is refused, and with which status word.

The words are those that programs know from real cards. OpenSC (libopensc/iso7816.c) takes 6982 for "log in first", 6983
for a blocked PIN, 6D00 and 6E00 for "this card cannot do that", and goes on without it; so an instruction that an
application does not get at all is 6D00, and one that it gets with other parameters is 6982, as cards say it of keys and
objects that are out of reach (ISO 7816-4, table 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard.card.guard.table import Verdict
from virtcard.wire.apdu import Sw


class Reason(StrEnum):
    """Why; for the journal."""

    LENGTH = "length"
    CLASS = "class"
    INSTRUCTION = "instruction"
    PARAMETERS = "parameters"
    DATA = "data"
    CHANNEL = "channel"
    CHAINING = "chaining"
    SECURE_MESSAGING = "secure messaging"
    UNKNOWN_APPLICATION = "unknown application"
    CONSENT = "consent"
    PIN = "pin"


_WORDS: Final = {
    Reason.LENGTH: Sw.WRONG_LENGTH,
    Reason.CLASS: Sw.CLA_NOT_SUPPORTED,
    Reason.INSTRUCTION: Sw.INS_NOT_SUPPORTED,
    Reason.PARAMETERS: Sw.SECURITY_STATUS_NOT_SATISFIED,
    Reason.DATA: Sw.INCORRECT_DATA,
    Reason.CHANNEL: Sw.CHANNEL_NOT_SUPPORTED,
    Reason.CHAINING: Sw.CHAINING_NOT_SUPPORTED,
    Reason.SECURE_MESSAGING: Sw.SECURE_MESSAGING_NOT_SUPPORTED,
    Reason.UNKNOWN_APPLICATION: Sw.CONDITIONS_NOT_SATISFIED,
    Reason.CONSENT: Sw.SECURITY_STATUS_NOT_SATISFIED,
    Reason.PIN: Sw.AUTHENTICATION_BLOCKED,
}
"""ISO 7816-4, table 6."""

OF_VERDICT: Final = {
    Verdict.CLASS: Reason.CLASS,
    Verdict.INSTRUCTION: Reason.INSTRUCTION,
    Verdict.PARAMETERS: Reason.PARAMETERS,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that does not reach the card."""

    reason: Reason
    tries: int = 0
    """With `PIN`: how many are left on the card."""

    @property
    def response(self) -> bytes:
        """What the guest gets."""
        return _WORDS[self.reason].to_bytes(2, "big")
