"""What the commands of one lease mean for whoever has the card next.

A login is what a reset ends: a verified PIN, an authenticated key, a secure channel. No list of the commands that log
in can be whole, so there is one of those that do not, and every other command that succeeds counts as a login.
"""

from __future__ import annotations

from typing import Final

from virtcard.wire.apdu import MORE_DATA, Sw, is_chained, is_proprietary, is_secured

_SUCCESS: Final = frozenset({0x90, 0x91, 0x9F, MORE_DATA, 0x62})
"""SW1 of what was done, GSM 11.11's and DESFire's too. Not 63: it counts the tries after a PIN that was wrong."""
_MORE: Final = frozenset({MORE_DATA, 0x9F})
"""SW1 of an answer that waits for GET RESPONSE (ISO 7816-4, 5.3.4; GSM 11.11, 9.4)."""
_DONE: Final = Sw.OK.to_bytes(2, "big")

_HARMLESS: Final = frozenset(
    {
        0x22,  # MANAGE SECURITY ENVIRONMENT
        0x46,  # GENERATE ASYMMETRIC KEY PAIR
        0x47,
        0x70,  # MANAGE CHANNEL
        0x84,  # GET CHALLENGE
        0x88,  # INTERNAL AUTHENTICATE
        0xA4,  # SELECT
        0xB0,  # READ BINARY
        0xB1,
        0xB2,  # READ RECORD
        0xB3,
        0xC0,  # GET RESPONSE
        0xCA,  # GET DATA
        0xCB,
        0xF7,  # YubiKey PIV: GET METADATA
        0xF8,  # GET SERIAL
        0xF9,  # ATTEST
        0xFD,  # GET VERSION
    }
)
"""INS of the interindustry classes that log nobody in (ISO 7816-4, table 4; Yubico's PIV extensions)."""
_HARMLESS_PROPRIETARY: Final = frozenset({0xA4, 0xB0, 0xB2, 0xC0, 0xCA, 0xF2})
"""INS of proprietary classes that mean the same to GlobalPlatform (2.3.1, 11), GSM 11.11 and others. F2 is GET STATUS
there, or STATUS."""

_PERFORM_SECURITY_OPERATION: Final = 0x2A
_VERIFIES: Final = 0x00
"""P1 of VERIFY CERTIFICATE and VERIFY DIGITAL SIGNATURE, by which a card comes to trust a key (ISO 7816-8)."""
_GENERAL_AUTHENTICATE: Final = 0x87
_PIV_KEYS: Final = frozenset({*range(0x82, 0x96), 0x9A, 0x9C, 0x9D, 0x9E, 0xF9})
"""P2 of the PIV keys that sign and decrypt (SP 800-73-4 part 1, table 4b); 9B is the one that authenticates the other
side, and other cards open channels by this command (PACE)."""

_WRITES: Final = frozenset(
    {
        0x04,  # DEACTIVATE FILE
        0x0E,  # ERASE BINARY
        0x0F,
        0x44,  # ACTIVATE FILE
        0x46,  # GENERATE ASYMMETRIC KEY PAIR
        0x47,
        0xD0,  # WRITE BINARY
        0xD1,
        0xD2,  # WRITE RECORD
        0xD6,  # UPDATE BINARY
        0xD7,
        0xD8,  # GlobalPlatform PUT KEY
        0xDA,  # PUT DATA
        0xDB,
        0xDC,  # UPDATE RECORD
        0xDD,
        0xE0,  # CREATE FILE
        0xE2,  # APPEND RECORD
        0xE4,  # DELETE
        0xE6,  # TERMINATE DF, INSTALL
        0xE8,  # LOAD
        0xF0,  # SET STATUS
        0xF6,  # YubiKey PIV: MOVE KEY
        0xFB,  # RESET
        0xFE,  # IMPORT KEY
    }
)
"""INS by which a guest changes what others may have read and kept."""
_GENERATE: Final = frozenset({0x46, 0x47})
_READS_PUBLIC_KEY: Final = 0x01
"""P1 bit of GENERATE ASYMMETRIC KEY PAIR that only reads the public key (ISO 7816-8, 5.1)."""


class Watch:
    """Watches the commands of one lease."""

    __slots__ = ("changed", "login", "open")

    def __init__(self) -> None:
        self.login = False
        """Somebody may be logged in."""
        self.open = False
        """More commands of a chain must come, or GET RESPONSE."""
        self.changed = False
        """Something was written to the card."""

    def was_reset(self) -> None:
        """Nobody is logged in any more, and nothing is under way."""
        self.login = self.open = False

    def note(self, command: bytes, response: bytes) -> None:
        """A command (at least 4 bytes) and its answer (at least 2)."""
        sw1 = response[-2]
        self.open = sw1 in _MORE or (is_chained(command[0]) and response[-2:] == _DONE)
        if sw1 in _SUCCESS:
            self._did(command)

    def unanswered(self, command: bytes) -> None:
        """A command whose answer was lost on the way: the card may have done what it says."""
        self.open = False
        self._did(command)

    def _did(self, command: bytes) -> None:
        self.login = self.login or not _is_harmless(command)
        self.changed = self.changed or _writes(command)


def _is_harmless(command: bytes) -> bool:
    cla, instruction, p1, p2 = command[:4]
    if is_proprietary(cla):
        return instruction in _HARMLESS_PROPRIETARY
    if is_secured(cla):
        return False
    if instruction == _PERFORM_SECURITY_OPERATION:
        return p1 != _VERIFIES
    if instruction == _GENERAL_AUTHENTICATE:
        return p2 in _PIV_KEYS
    return instruction in _HARMLESS


def _writes(command: bytes) -> bool:
    instruction = command[1]
    return instruction in _WRITES and not (instruction in _GENERATE and command[2] & _READS_PUBLIC_KEY)
