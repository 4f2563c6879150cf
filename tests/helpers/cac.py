"""A CAC card for tests: its token lives in memory, its keys are made once a process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from virtcard.card.soft.ca import parse_subject
from virtcard.card.soft.cac import applets_of
from virtcard.card.soft.iso7816 import ATR, SoftCard
from virtcard.card.soft.pins import Outcome
from virtcard.wire.apdu import CommandApdu, ResponseApdu

PIN: Final = b"1234"
TRIES: Final = 3
SIZES: Final = (2048, 1024, 4096)
"""Bits of the keys 0, 1 and 2."""
CCC: Final = bytes.fromhex("A000000116DB00")
ACA: Final = bytes.fromhex("A0000000790300")


def pki(number: int) -> bytes:
    """The name of a PKI applet."""
    return bytes.fromhex("A00000007901") + bytes((number,))


@cache
def keys() -> tuple[RSAPrivateKey, ...]:
    """One of each size."""
    return tuple(generate_private_key(65537, size) for size in SIZES)


@cache
def certificates() -> dict[int, bytes]:
    """One for each key, in DER, by its own hand."""
    return {number: _self_signed(key) for number, key in enumerate(keys())}


def _self_signed(key: RSAPrivateKey) -> bytes:
    name, now = parse_subject("CN=Card Holder"), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


class MemoryToken:
    """A CacToken with one PIN."""

    identity = bytes(range(16))

    def __init__(self) -> None:
        self.certificates = certificates()
        self.verified = False
        self.tries_left = TRIES

    def verify(self, untrusted_pin: bytes) -> Outcome:
        self.verified = untrusted_pin == PIN
        self.tries_left = TRIES if self.verified else self.tries_left - 1
        return Outcome(self.verified, self.tries_left)

    def key(self, number: int) -> RSAPrivateKey | None:
        assert self.verified
        return keys()[number]

    def logout(self) -> None:
        self.verified = False


class CacCard:
    """The card, and short words for its commands."""

    def __init__(self) -> None:
        self.token = MemoryToken()
        self.card = SoftCard(applets_of(self.token), ATR, lambda: None)

    def ask(self, ins: int, p1: int = 0, p2: int = 0, data: bytes = b"", le: int | None = 65_536) -> ResponseApdu:
        """A command that takes an answer of any length."""
        command = CommandApdu(0x80 if ins in (0x42, 0x4C, 0x52, 0x56) else 0, ins, p1, p2, data, le, extended=True)
        return ResponseApdu.parse(self.card.transmit(command.encode()))

    def select(self, name: bytes) -> ResponseApdu:
        return self.ask(0xA4, 4, 0, name)

    def verify(self, pin: bytes = PIN) -> int:
        return self.ask(0x20, data=pin.ljust(8, b"\xff"), le=None).sw

    def read(self, which: int) -> bytes:
        """A whole buffer, in parts as OpenSC reads it."""
        size = int.from_bytes(self._part(which, 0, 2), "little")
        parts = (self._part(which, start, min(240, size + 2 - start)) for start in range(2, size + 2, 240))
        return b"".join(parts)

    def _part(self, which: int, offset: int, count: int) -> bytes:
        answer = self.ask(0x52, offset >> 8, offset & 0xFF, bytes((which, count)))
        assert answer.sw == 0x9000
        return answer.data

    def fields(self) -> list[tuple[int, bytes]]:
        """Tags and values of the current object."""
        heads, values = self.read(1), self.read(2)
        found = []
        while heads:
            tag, length, heads = heads[0], heads[1], heads[2:]
            if length == 0xFF:
                length, heads = int.from_bytes(heads[:2], "little"), heads[2:]
            value, values = values[:length], values[length:]
            assert len(value) == length
            found.append((tag, value))
        assert not values
        return found

    def sign(self, block: bytes, part: int = 240) -> ResponseApdu:
        """A block in as many commands as it takes."""
        while len(block) > part:
            answer = self.ask(0x42, 0x80, 0, block[:part])
            if answer.sw != 0x9000:
                return answer
            block = block[part:]
        return self.ask(0x42, 0, 0, block)
