"""A PIV card in a temporary store, and short words for its commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from virtcard.card.soft import keys
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.iso7816 import ATR, SoftCard
from virtcard.card.soft.layout import LAYOUTS
from virtcard.card.soft.make import Wanted, create_from
from virtcard.card.soft.model import Algorithm, CardType, Cost, Origin, PinPolicy
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.piv import PivApplet
from virtcard.card.soft.piv_objects import AID, certificate_name, certificate_object
from virtcard.card.soft.piv_session import default_policy
from virtcard.card.soft.sealing import seal_key
from virtcard.card.soft.store import OpenCard, Store
from virtcard.wire.apdu import CommandApdu, ResponseApdu
from virtcard.wire.tlv import build

PIN: Final = b"123456"
PUK: Final = b"12345678"
MANAGEMENT_KEY: Final = bytes(range(24))
CHEAP: Final = Cost(log2_n=1)
"""scrypt that takes no time."""

SELECT: Final = CommandApdu(0, 0xA4, 4, 0, AID, 256)


def block(pin: bytes) -> bytes:
    """A PIN or PUK as it stands on the wire."""
    return pin.ljust(8, b"\xff")


@dataclass(slots=True)
class PivCard:
    """A card and what it keeps. `ask` joins an answer in parts."""

    stored: OpenCard
    pins: Pins
    card: SoftCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = SoftCard((PivApplet(self.stored, self.pins),), ATR, self.stored.close)

    def select(self) -> PivCard:
        """A reset, and the applet selected."""
        self.card.reset()
        assert self.ask(SELECT).sw == 0x9000
        return self

    def ask(self, command: CommandApdu) -> ResponseApdu:
        """One command, long data with extended lengths."""
        return ResponseApdu.parse(self.card.transmit(command.encode()))

    def do(self, ins: int, p1: int = 0, p2: int = 0, data: bytes = b"") -> ResponseApdu:
        """A command that takes an answer of any length."""
        return self.ask(CommandApdu(0, ins, p1, p2, data, 65_536, extended=True))

    def verify(self, pin: bytes = PIN) -> int:
        """The status word of VERIFY."""
        return self.do(0x20, 0, 0x80, block(pin)).sw

    def use(self, slot: int, algorithm: int, number: bytes, tag: int = 0x81) -> ResponseApdu:
        """GENERAL AUTHENTICATE with a private key."""
        return self.do(0x87, algorithm, slot, build(0x7C, build(0x82) + build(tag, number)))

    def administrate(self) -> PivCard:
        """The applet in the state that the right management key leads to; the ways there have tests of their own."""
        self.card._applets[0]._session.is_administrator = True  # type: ignore[attr-defined]
        return self

    def put_pair(self, slot: int, algorithm: Algorithm, authority: Authority) -> None:
        """A new key in a slot, and its certificate."""
        key = keys.generate(algorithm)
        self.put_key(slot, key)
        purpose = LAYOUTS[CardType.PIV].slot(f"{slot:02x}").purpose
        der = authority.issue(key.public_key(), Holder(parse_subject(f"CN=Card Holder {slot:02X}")), purpose, 365)
        self.stored.save(self.stored.data.with_objects({certificate_name(slot): certificate_object(der)}))

    def put_key(self, slot: int, key: keys.PrivateKey, policy: PinPolicy | None = None) -> None:
        """A key in a slot."""
        record = seal_key(
            self.stored.data,
            self.stored.context,
            slot,
            key,
            pin_policy=policy or default_policy(slot),
            origin=Origin.IMPORTED,
        )
        self.stored.save(self.stored.data.with_key(record))


def new_card(directory: Path, name: str = "piv", algorithms: Iterable[tuple[int, Algorithm]] = ()) -> PivCard:
    """A card with these keys and certificates, selected."""
    store = Store(directory)
    wanted = Wanted(name=name, type=CardType.PIV, pin=PIN, puk=PUK, management_key=MANAGEMENT_KEY, cost=CHEAP)
    create_from(store, wanted, {})
    stored = store.open(name)
    made = PivCard(stored, Pins(stored))
    authority = Authority.new(parse_subject("CN=Test CA"), Algorithm.P256)
    for slot, algorithm in algorithms:
        made.put_pair(slot, algorithm, authority)
    return made.select()
