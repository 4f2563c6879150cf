"""Commands as they may be written down: what is secret in them is overwritten.

For traces. Whole data fields go, by the instruction alone: that holds for every part of a chain, for secured and for
malformed commands, and for applications that the guard does not know.
"""

from __future__ import annotations

from typing import Final

from virtcard.card.guard.commands import ENVELOPES, REFERENCE_DATA
from virtcard.wire.apdu import HEADER_BYTES, parse_body
from virtcard.wire.malformed import Malformed

MASK: Final = 0xFF
"""In place of each secret byte."""

_KEYS_AND_PASSWORDS: Final = frozenset(
    {
        0x01,  # Yubico: OATH PUT, OTP configuration, HSMAUTH PUT
        0x02,  # HSMAUTH DELETE carries its management key
        0x03,  # OATH SET CODE, HSMAUTH CALCULATE with its password
        0x08,  # HSMAUTH PUT MANAGEMENT KEY
        0x0B,  # HSMAUTH CHANGE CREDENTIAL PASSWORD
        0x10,  # FIDO's commands, PIN protocol included
        0x16,  # Yubico: mode, with the access code
        0x1C,  # configuration, with the lock code
        0xA3,  # OATH VALIDATE
        0xD8,  # GlobalPlatform: PUT KEY
        0xDA,  # PUT DATA: OpenPGP's resetting code, its private keys
        0xDB,
        0xE2,  # GlobalPlatform: STORE DATA
        0xFE,  # Yubico PIV: IMPORT KEY
        0xFF,  # SET MANAGEMENT KEY
    }
)
SECRET: Final = REFERENCE_DATA | ENVELOPES | _KEYS_AND_PASSWORDS
"""Instructions whose data may be a PIN or a key. An ENVELOPE has a whole command in it."""

_READER: Final = 0xFF
_UID: Final = 0xCA


def is_secret(command: bytes) -> bool:
    """There may be a PIN or a key in it."""
    if len(command) <= HEADER_BYTES:
        return False
    # What a reader's driver is asked (class FF) may be a template for a PIN pad, or the key of a memory card.
    return command[1] in SECRET or (command[0] == _READER and command[1] != _UID)


def mask(command: bytes) -> bytes:
    """The command as long as it was, with its lengths; only its data are overwritten, when they may be secret."""
    if not is_secret(command):
        return command
    start, end = _data(command)
    return command[:start] + bytes((MASK,)) * (end - start) + command[end:]


def _data(command: bytes) -> tuple[int, int]:
    """Where the data begin and end; all behind the header when the lengths do not add up."""
    try:
        data, _, extended = parse_body(command[HEADER_BYTES:])
    except Malformed:
        return HEADER_BYTES, len(command)
    start = HEADER_BYTES + (3 if extended else 1)
    return start, start + len(data)
