"""A client of the port as a card of virtcard's."""

from __future__ import annotations

import threading
from typing import Final

from virtcard.card.base import CardEvent, CardListener, Transmission
from virtcard.errors import Busy, CardAbsent, CardError
from virtcard_vpicc.slot import Slot
from virtcard_vpicc.wire import Order, Peer

CALL_PATIENCE: Final = 3.0
"""Seconds that `power_on` waits for a client, which can call no earlier than the port is open: `virtcard insert` fails
for a card that is not there."""
_TD1: Final = 0x80
"""The bit of T0 that announces TD1 (ISO 7816-3, 8.2.2)."""


class VpiccCard:
    """A `virtcard.card.base.Card`. Its port is open while somebody listens to it or has it powered on."""

    def __init__(self, port: int) -> None:
        """Busy when the port is taken. It is open from now on, until `power_off`."""
        self._port = port
        self._listener: CardListener | None = None
        self._lock = threading.Lock()
        self._transmission = Transmission.T0
        self._slot: Slot | None = Slot(port, self._tell)

    @property
    def transmission(self) -> Transmission:
        """The protocol that the ATR offers first."""
        return self._transmission

    def power_on(self) -> bytes:
        """The ATR; CardAbsent when nobody calls on the port within CALL_PATIENCE."""
        peer = self._open().wait_for_peer(CALL_PATIENCE)
        if peer is None:
            raise self._absent()
        peer.order(Order.ON)
        return self._start(peer)

    def transmit(self, command: bytes) -> bytes:
        """One command APDU, and its answer."""
        return self._called().transmit(command)

    def reset(self) -> bytes:
        """Reset the card, and its ATR."""
        return self._start(self._called())

    def power_off(self) -> None:
        """Power off; the client stays connected while somebody listens, since the machine may start again."""
        slot = self._slot
        try:
            if slot is not None and slot.peer is not None:
                slot.peer.order(Order.OFF)
        except CardError:
            pass  # it is gone, which is as good
        finally:
            self._close_unless_heard()

    def listen(self, listener: CardListener | None) -> None:
        """Tell `listener` when clients come and go, or nobody. CardError when the port is taken meanwhile."""
        with self._lock:
            self._listener = listener
        if listener is not None:
            self._open()

    def _tell(self, event: CardEvent) -> None:
        with self._lock:
            listener = self._listener
        if listener is not None:
            listener(event)

    def _open(self) -> Slot:
        if self._slot is None:
            try:
                self._slot = Slot(self._port, self._tell)
            except Busy as error:
                raise CardError(error.message, hint=error.hint) from None
        return self._slot

    def _close_unless_heard(self) -> None:
        with self._lock:
            heard = self._listener is not None
        slot = self._slot
        if slot is not None and not heard:
            self._slot = None
            slot.close()

    def _called(self) -> Peer:
        peer = self._slot.peer if self._slot is not None else None
        if peer is None:
            raise self._absent()
        return peer

    def _absent(self) -> CardAbsent:
        return CardAbsent(f"Nobody calls on port {self._port}.", hint="Start a vpicc client for this port.")

    def _start(self, peer: Peer) -> bytes:
        peer.order(Order.RESET)
        atr = peer.atr()
        self._transmission = first_protocol(atr)
        return atr


def first_protocol(atr: bytes) -> Transmission:
    """What TD1 says: T=1, or T=0 as without a TD1 (ISO 7816-3, 8.2.3)."""
    if not atr[1] & _TD1:
        return Transmission.T0
    td1 = 2 + (atr[1] & 0x70).bit_count()
    return Transmission.T1 if len(atr) > td1 and atr[td1] & 0x0F == Transmission.T1 else Transmission.T0
