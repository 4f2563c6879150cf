"""Wrong PINs, PUKs and keys in every form that a card may take for one; never the right one."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from helpers.guard_table import CAC, CARD_MANAGER, FOREIGN, OPENPGP, PIV

ENCODINGS: Final = {
    "plain": "0020008008393939393939FFFF",
    "with Le": "0020008008393939393939FFFF00",
    "extended": "00200080000008393939393939FFFF",
    "extended with Le": "00200080000008393939393939FFFF0000",
    "short": "002000800439393939",
    "not padded": "0020008006393939393939",
    "padded with 00": "00200080083939393939390000",
    "long": "0020008010" + "39" * 16,
    "a block of FF": "0020008008" + "FF" * 8,
    "first part of a chain": "1020008004 39393939",
    "secured": "0C20008008393939393939FFFF",
    "secured, without data": "0C200080",
    "proprietary secured": "8420008008393939393939FFFF",
    "channel 1": "0120008008393939393939FFFF",
    "channel 4": "4020008008393939393939FFFF",
    "proprietary": "8020008008393939393939FFFF",
    "SIM": "A020008008393939393939FFFF",
    "strange class": "B020008008393939393939FFFF",
    "reserved class": "2020008008393939393939FFFF",
    "GlobalPlatform's channel 4": "C020008008393939393939FFFF",
    "odd instruction": "00210080 0A 81083939393939FFFFFF",
    "P1": "0020018008393939393939FFFF",
    "P1 of a logout, with data": "0020FF8008393939393939FFFF",
    "global": "0020000008393939393939FFFF",
    "other reference": "0020000108393939393939FFFF",
    "Lc too short": "0020008004393939393939FFFF",
    "Lc too long": "0020008010393939393939FFFF",
    "Lc of nothing": "0020008008",
    "P3 alone": "0020008001",
    "extended Lc of nothing": "00200080000000",
    "change": "0024008010393939393939FFFF393939393939FFFF",
    "change, P1": "0024018008393939393939FFFF",
    "odd change": "0025008010393939393939FFFF393939393939FFFF",
    "disable": "0026008008393939393939FFFF",
    "odd disable": "0027008008393939393939FFFF",
    "enable": "0028008008393939393939FFFF",
    "odd enable": "0029008008393939393939FFFF",
    "unblock": "002C008010393939393939FFFF393939393939FFFF",
    "unblock, P1": "002C018008393939393939FFFF",
    "odd unblock": "002D008010393939393939FFFF393939393939FFFF",
    "enveloped": "00C200000D0020008008393939393939FFFF",
}
ATTEMPTS: Final = [bytes.fromhex(command) for command in ENCODINGS.values()]

_CLASSES: Final = bytes.fromhex(
    "00010203 04080C0F 1011181C1F 2030 4041434F 50 60 6F 7F 8081 84888C 90919C A0 A4 B0 C0C1 E0 F0 FE FF"
)
"""ISO 7816-4, 5.4.1: channels of both kinds, chaining, secure messaging, reserved, proprietary; GSM's,
GlobalPlatform's, and the reader's own."""
_INSTRUCTIONS: Final = bytes.fromhex("20202020 2122 24242526272829 2C2C2D 8282 868787 C2C3 DB F0 FA")
"""What carries a PIN, PUK or key, and some that could wrap one or set a counter; the commonest more often."""
_P1: Final = bytes.fromhex("0000000001020380FF")
_P2: Final = bytes.fromhex("00010280808081828396989BFF")
"""PIV's, CAC's, OpenPGP's 81 to 83, PIV's management key."""
_NINES: Final = b"9" * 6
_BLOCKS: Final = (
    b"9999",
    _NINES,
    _NINES + b"\xff\xff",
    _NINES + bytes(2),
    b"9" * 8,
    b"\xff" * 8,
    (_NINES + b"\xff\xff") * 2,
    b"9" * 8 + _NINES + b"\xff\xff",
    b"9" * 12,
    b"\x81\x08" + _NINES + b"\xff\xff",
    b"\x7c\x0a\x82\x08" + b"9" * 8,
    b"9" * 200,
    b"",
)
"""A PIN as PIV, CAC, SIM and OpenPGP pad it or not, two of them, in TLV, as the answer to a challenge, none."""
_SELECTS: Final = [
    bytes.fromhex(f"00A40400{len(name) // 2:02X}{name}")
    for name in (PIV, PIV, CAC, OPENPGP, CARD_MANAGER, FOREIGN, "A0000003", "")
]
_ELSEWHERE: Final = [
    *_SELECTS,
    *(
        bytes.fromhex(command)
        for command in ("0070000001", "00700001", "00708001", "01A4040005A000000308", "00840000 08")
    ),
]
"""What changes where the next one goes: another application, another channel, a challenge."""


def guesses(seed: int) -> Iterator[list[bytes]]:
    """Each is one guess, with what makes it so; for ever."""
    rng = Random(seed)
    while True:
        kind = rng.random()
        if kind < 0.02:
            yield [rng.choice(_ELSEWHERE), rng.choice(ATTEMPTS)]
        elif kind < 0.05:
            yield [_SELECTS[0], rng.choice(ATTEMPTS)]
        elif kind < 0.5:
            yield [rng.choice(ATTEMPTS)]
        elif kind < 0.6:
            yield _chain(rng)
        else:
            yield [_any(rng)]


def _any(rng: Random) -> bytes:
    header = bytes(rng.choice(table) for table in (_CLASSES, _INSTRUCTIONS, _P1, _P2))
    return header + _body(rng, rng.choice(_BLOCKS))


def _chain(rng: Random) -> list[bytes]:
    """One PIN in parts (ISO 7816-4, 5.3.3), now and then with another command between them, or with no end."""
    header = bytes((rng.choice(_INSTRUCTIONS), rng.choice(_P1), rng.choice(_P2)))
    block = rng.choice(_BLOCKS)
    cut = rng.randint(0, len(block))
    cla = rng.choice((0x00, 0x01, 0x80))
    first = bytes((cla | 0x10,)) + header + _short(block[:cut])
    last = bytes((cla,)) + header + _short(block[cut:])
    return rng.choice(([first, last], [first, rng.choice(ATTEMPTS), last], [first], [first, first, last]))


def _short(block: bytes) -> bytes:
    return bytes((len(block),)) + block if block else b""


def _body(rng: Random, block: bytes) -> bytes:
    """With lengths as they should be, or not (ISO 7816-3, 12.1.3)."""
    short, extended = bytes((len(block),)) + block, b"\0" + len(block).to_bytes(2) + block
    return rng.choice(
        (
            *(short, short, short + b"\0", extended, extended + bytes(2)),
            *(bytes((max(0, len(block) - 1),)) + block, bytes((len(block) + 1,)) + block, block, short[:1]),
        )
    )
