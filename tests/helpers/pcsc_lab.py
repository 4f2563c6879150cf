"""A pcscd with two slots, and our watcher on it: what tests of real readers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smartcard import scard

from helpers.pcscd import READERS, Pcscd
from helpers.vpcd import Slot, VirtualCard
from helpers.waiting import wait_until
from virtcard.card.reader_card import ReaderCard
from virtcard.card.reader_contexts import ReaderContexts
from virtcard.card.reader_watcher import ReaderEvent, ReaderWatcher


class Lab:
    """pcscd, its slots, a watcher and what it told."""

    def __init__(self, pcscd: Pcscd) -> None:
        self.pcscd = pcscd
        self.slots = [Slot(pcscd.port), Slot(pcscd.port + 1)]
        self.events: list[ReaderEvent] = []
        self.watcher = ReaderWatcher(self.events.append)
        self.contexts = ReaderContexts()

    def plug(self, card: VirtualCard, slot: int = 0) -> None:
        """Put a card in, in place of the one that is in, and wait until pcscd shows it."""
        if self.atr(slot):
            self.unplug(slot)
        self.slots[slot].plug(card)
        self.seen(card.atr, slot)

    def unplug(self, slot: int = 0) -> None:
        """Take a card out and wait until pcscd shows that."""
        self.slots[slot].unplug()
        self.seen(b"", slot)

    def seen(self, atr: bytes, slot: int = 0) -> None:
        """Wait until the watcher sees this ATR in the slot."""
        wait_until(lambda: self.atr(slot) == atr, 10, f"slot {slot} shows the ATR {atr.hex()}")

    def atr(self, slot: int) -> bytes | None:
        """The ATR that the watcher sees, None without the reader."""
        return next((reader.atr for reader in self.watcher.readers if reader.name == READERS[slot]), None)

    def card(self, slot: int = 0) -> ReaderCard:
        """The card in a slot."""
        return ReaderCard(READERS[slot], self.contexts, self.watcher)


@contextmanager
def running_lab() -> Iterator[Lab]:
    """Everything running, both slots empty."""
    with Pcscd() as pcscd:
        lab = Lab(pcscd)
        lab.watcher.start()
        assert lab.watcher.settle(5)
        try:
            yield lab
        finally:
            for slot in lab.slots:
                slot.unplug()
            lab.watcher.stop()


@contextmanager
def exclusive_holder(reader: str) -> Iterator[None]:
    """A host program that takes the card for itself."""
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    code, handle, _ = scard.SCardConnect(context, reader, scard.SCARD_SHARE_EXCLUSIVE, protocols)
    assert code == scard.SCARD_S_SUCCESS
    try:
        yield
    finally:
        scard.SCardDisconnect(handle, scard.SCARD_LEAVE_CARD)
        scard.SCardReleaseContext(context)
