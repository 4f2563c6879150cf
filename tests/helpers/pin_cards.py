"""Small cards with a PIN and a counter, each with the manners of its kind; for tests of the PIN guard.

`host` is what a program of the host does to the counter behind the guard's back.
"""

from __future__ import annotations

from helpers.fake_card import FakeCard
from virtcard.wire.tlv import build

PIN = b"1234"


class PinCard(FakeCard):
    """ISO 7816-4: VERIFY without data tells the tries, and costs none. One PIN, whatever P2 is."""

    def __init__(self, tries: int = 3) -> None:
        super().__init__()
        self.most = self.left = tries
        self.lowest = tries
        self.verified = False
        self.questions = 0

    def reset(self) -> bytes:
        self.verified = False
        return super().reset()

    def host_fails(self, count: int = 1) -> None:
        """Wrong PINs from a host's program."""
        self.left -= count
        self.verified = False
        self.lowest = self.left

    def host_logs_in(self) -> None:
        """The right one, and a reset, so that nobody profits."""
        self.left = self.most
        self.verified = False

    def transmit(self, command: bytes) -> bytes:
        self.commands.append(command)
        if command[1] & 0xFE in (0x20, 0x24, 0x26, 0x28):
            return self.verify(command)
        return b"\x90\0"

    def verify(self, command: bytes) -> bytes:
        """VERIFY, and whatever else compares a PIN."""
        data = data_of(command)
        return self.compare(data) if data else self.asked()

    def asked(self) -> bytes:
        """VERIFY without data."""
        self.questions += 1
        if self.verified:
            return b"\x90\0"
        return self.status()

    def compare(self, untrusted: bytes) -> bytes:
        """A try."""
        if not self.left:
            return b"\x69\x83"
        self.verified = untrusted.startswith(PIN)
        self.left = self.most if self.verified else self.left - 1
        self.lowest = min(self.lowest, self.left)
        return b"\x90\0" if self.verified else self.failed()

    def status(self) -> bytes:
        """63Cx, or blocked."""
        return bytes((0x63, 0xC0 | self.left)) if self.left else b"\x69\x83"

    def failed(self) -> bytes:
        """The answer to a wrong PIN."""
        return bytes((0x63, 0xC0 | self.left))


class CostlyCard(PinCard):
    """It takes a question for a wrong PIN (OpenSC's iso7816.c knows of such cards)."""

    def asked(self) -> bytes:
        self.questions += 1
        return self.compare(b"")


class SilentCard(PinCard):
    """It tells nothing: neither when asked, nor when a PIN was wrong."""

    def asked(self) -> bytes:
        self.questions += 1
        return b"\x67\0"

    def failed(self) -> bytes:
        return b"\x63\0" if self.left else b"\x69\x83"


class OpenPgpCard(PinCard):
    """OpenPGP card 3.4, 4.4.1: the PW status bytes tell of PW1, the resetting code and PW3."""

    def transmit(self, command: bytes) -> bytes:
        if command[1] == 0xCA and command[2:4] == b"\0\xc4":
            self.questions += 1
            answer = bytes((0, 32, 32, 32, *self.counters()))
            return answer + b"\x90\0" if command[4:] == b"\x07" else b"\x6c\x07"
        return super().transmit(command)

    def counters(self) -> tuple[int, int, int]:
        """Tries of PW1, of the resetting code and of PW3."""
        return self.left, 3, 3


_WITHOUT_CODE = (0x02, 0x03)
"""P1 of RESET RETRY COUNTER with new reference data only, and with nothing (ISO 7816-4, 11.5.10)."""


class CarelessCard(OpenPgpCard):
    """Looks at nothing but INS: whatever might be a PIN or a PUK is one, and each costs a try of its counter."""

    def __init__(self) -> None:
        super().__init__()
        self.puk = PinCard()

    def transmit(self, command: bytes) -> bytes:
        if command[1] in (0xC2, 0xC3):
            return self.compare(b"")
        if len(command) > 5 and command[1] in (0x2C, 0x2D) and command[2] not in _WITHOUT_CODE:
            return self.puk.compare(b"")
        if len(command) > 5 and command[1] in (*range(0x20, 0x22), *range(0x24, 0x2A)):
            return self.compare(command[5:])
        return super().transmit(command)

    def counters(self) -> tuple[int, int, int]:
        return self.left, self.puk.left, self.left

    def least(self) -> int:
        return min(self.lowest, self.puk.lowest)


class SimCard(PinCard):
    """GSM 11.11, 9.2.1: STATUS tells the tries of CHV1 in its byte 19, its bit 8 says that it is initialized."""

    def transmit(self, command: bytes) -> bytes:
        if command[:2] == b"\xa0\xf2":
            self.questions += 1
            return bytes(18) + bytes((0x80 | self.left, 0x8A, 0x83, 0x8A)) + b"\x90\0"
        return super().transmit(command)

    def failed(self) -> bytes:
        return b"\x98\x04" if self.left else b"\x98\x40"


class PaceCard(PinCard):
    """BSI TR-03110: MSE:SET AT names the password and tells its tries; the last GENERAL AUTHENTICATE compares."""

    def transmit(self, command: bytes) -> bytes:
        self.commands.append(command)
        if command[1:4] == b"\x22\xc1\xa4":
            return b"\x90\0" if self.left == self.most else self.status()
        if command[1] == 0x86:
            return b"\x90\0" if command[0] & 0x10 else self.compare(data_of(command))
        return b"\x90\0"


class KeyCard(FakeCard):
    """EXTERNAL AUTHENTICATE with a key that is always wrong; it says 6300, and locks itself after ten."""

    left = 10

    def transmit(self, command: bytes) -> bytes:
        if command[1] == 0x82:
            self.left -= 1
            return b"\x63\0"
        return b"\x90\0"


class HsmauthCard(FakeCard):
    """A YubiKey's HSMAUTH (yubikit, hsmauth.py) whose management key and password nobody knows: eight tries of each."""

    def __init__(self) -> None:
        super().__init__()
        self.left = {"password": 8, "management key": 8}
        self.others: dict[bytes, int] = {}
        """Tries of credentials beside the one that is called "a"."""

    def transmit(self, command: bytes) -> bytes:
        self.commands.append(command)
        ins, by_password = command[1], command[1] == 0x03 or command[1:3] == b"\x0b\x00"
        if ins == 0x05:
            listed = {**self.others, b"a": self.left["password"]}
            return b"".join(build(0x72, b"\x26\0" + name + bytes((left,))) for name, left in listed.items()) + b"\x90\0"
        if ins == 0x09:
            return bytes((self.left["management key"],)) + b"\x90\0"
        if ins in (0x01, 0x02, 0x03, 0x08, 0x0B):
            return self._tried("password" if by_password else "management key")
        return b"\x90\0"

    def _tried(self, secret: str) -> bytes:
        if not self.left[secret]:
            return b"\x69\x83"
        self.left[secret] -= 1
        return bytes((0x63, 0xC0 | self.left[secret]))


def data_of(command: bytes) -> bytes:
    """The data of a command of any case."""
    if len(command) <= 5:
        return b""
    if command[4]:
        return command[5 : 5 + command[4]]
    return command[7 : 7 + int.from_bytes(command[5:7])] if len(command) > 7 else b""


def yubico_metadata(left: int, most: int = 3) -> bytes:
    """The answer to GET METADATA of a PIN or PUK."""
    return build(0x05, b"\0") + build(0x06, bytes((most, left))) + b"\x90\0"
