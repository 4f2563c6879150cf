"""A second, small and slow filter, written without the guard's code: what must never reach a card under a profile.

It knows only denials, and reads bytes as the most careless card might: it looks at INS, and forgives everything else.
"""

from __future__ import annotations

from typing import Final

from helpers.guard_table import CAC, CARD_MANAGER, FOREIGN, HSMAUTH, MANAGEMENT, OATH, OPENPGP, OTP, PIV

CHANGES: Final = {
    PIV: {0x24, 0x25, 0x2C, 0x2D, 0x46, 0x47, 0xDA, 0xDB, 0xF6, 0xFA, 0xFB, 0xFE, 0xFF},
    CAC: {0x24, 0x25, 0x2C, 0x2D, 0x46, 0x47, 0x58, 0xD6, 0xDA, 0xDB, 0xE0, 0xE4},
    OPENPGP: {0x24, 0x25, 0x2C, 0x2D, 0xDA, 0xDB, 0xE6, 0x44, 0xF2, 0xFB},
    CARD_MANAGER: {0x50, 0x82, 0xD8, 0xE2, 0xE4, 0xE6, 0xE8, 0xF0},
    MANAGEMENT: {0x16, 0x1C, 0x1F},
    OATH: {0x01, 0x02, 0x03, 0x04, 0x05},
    HSMAUTH: {0x01, 0x02, 0x06, 0x08, 0x0B},
    OTP: {0x1C},
    FOREIGN: {
        *(0x04, 0x0C, 0x0E, 0x0F, 0x24, 0x25, 0x26, 0x28, 0x2C, 0x2D, 0x44, 0x46, 0x47),
        *(0xD0, 0xD1, 0xD2, 0xD6, 0xD7, 0xD8, 0xDA, 0xDB, 0xDC, 0xDD, 0xE0, 0xE2, 0xE4, 0xE6, 0xE8, 0xF0, 0xFE),
    },
}
"""Instructions that change an application, by its name, whatever their class and parameters."""

WRAPS: Final = {0xC2, 0xC3}
SECRETS: Final = {0x20, 0x21, 0x2A, 0x42, 0x82, 0x86, 0x87, 0x88, 0x89}
"""PINs and private keys. A PIV or CAC may be asked for the tries that are left."""


def must_not_pass(name: str, profile: str, command: bytes) -> bool:
    """Under `use` or `read`, with this application selected."""
    if len(command) < 4:
        return True
    ins = command[1]
    if ins in WRAPS or ins in CHANGES[name] or not _lengths_are_plain(command):
        return True
    return profile == "read" and ins in SECRETS and not (ins == 0x20 and len(command) <= 5)


def _lengths_are_plain(command: bytes) -> bool:
    """It is one of the seven cases, worked out from the far end: how long a command of these lengths would be."""
    body = len(command) - 4
    shapes = {0, 1}
    if body >= 2:
        shapes |= {1 + command[4], 2 + command[4]} if command[4] else set()
    if body >= 3 and not command[4]:
        lc = 256 * command[5] + command[6]
        shapes |= {3} if body == 3 else ({3 + lc, 5 + lc} if lc else set())
    return body in shapes
