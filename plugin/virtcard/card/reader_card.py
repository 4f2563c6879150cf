"""The card in a host reader: raw APDUs through PC/SC, shared with the host's programs."""

from __future__ import annotations

import threading
from typing import Final

from virtcard.card.base import CardListener, Transmission
from virtcard.card.reader import (
    CARD_GONE,
    READER_GONE,
    SERVICE_GONE,
    Context,
    Disposition,
    Handle,
    PcscError,
    Result,
)
from virtcard.card.reader_contexts import ReaderContexts
from virtcard.card.reader_watcher import ReaderEvent, ReaderWatcher, card_events
from virtcard.errors import CardAbsent, CardError, CardWasReset, ReaderGone
from virtcard.limits import R_APDU_MIN


class ReaderCard:
    """A Card over SCardConnect: shared, with T=0 or T=1 as the card likes.

    It stays with the reader of that name: after CardAbsent or ReaderGone, `power_on` takes what is there then.
    """

    def __init__(self, reader: str, contexts: ReaderContexts, watcher: ReaderWatcher) -> None:
        self.reader = reader
        self._contexts = contexts
        self._watcher = watcher
        self._context: Context | None = None
        self._handle: Handle | None = None
        self._transmission = Transmission.T0
        self._exclusive = False
        self._heard: _Events | None = None

    def __repr__(self) -> str:
        return f"ReaderCard({self.reader!r})"

    @property
    def transmission(self) -> Transmission:
        """The protocol in use since the last `power_on`."""
        return self._transmission

    def power_on(self, *, exclusive: bool = False) -> bytes:
        """Take the card, reset it and return its ATR; blocks while a host program holds a transaction.

        `exclusive`: host programs get SCARD_E_SHARING_VIOLATION until `power_off`; CardError when one is connected.
        """
        if exclusive is not self._exclusive:
            self._let_go(Disposition.LEAVE)
            self._exclusive = exclusive
        try:
            return self._start()
        except PcscError as failure:
            error = self._failed(failure)
            if failure.code not in SERVICE_GONE and not isinstance(error, CardWasReset):
                raise error from None
        try:
            # Once more: pcscd ended while nobody looked and is perhaps back, or two programs reset at the same time.
            return self._start()
        except PcscError as failure:
            raise self._failed(failure) from None

    def transmit(self, command: bytes) -> bytes:
        """Send one command, 4 to 65,544 bytes. After CardWasReset the card is ours again, and knows nobody."""
        handle = self._handle
        if handle is None:
            raise _absent(self.reader)
        try:
            answer = handle.transmit(command)
        except PcscError as failure:
            raise self._failed(failure) from None
        if len(answer) < R_APDU_MIN:
            # pcscd calls it a success when a reader driver brings nothing (vpcd does when its card goes meanwhile).
            raise CardError(f'The card in "{self.reader}" gave no answer.', hint="Look whether it is still in.")
        return answer

    def reset(self) -> bytes:
        """Reset the card and return its ATR."""
        return self.power_on(exclusive=self._exclusive)

    def power_off(self) -> None:
        """Reset the card and let go of it; waits for the end of a host program's transaction, as pcscd does."""
        # RESET, not LEAVE: a PIN that a guest verified must not serve a host program. Not UNPOWER either: those who
        # share the card would find it dead instead of reset.
        self._let_go(Disposition.RESET)

    def leave(self) -> None:
        """Let go of the card as it is."""
        self._let_go(Disposition.LEAVE)

    def listen(self, listener: CardListener | None) -> None:
        """Report insertions and removals as the watcher sees them.

        INSERTED may come after a `power_on` that already found the card, and REMOVED after a CardAbsent.
        """
        if self._heard is not None:
            self._heard.end()
        self._heard = None if listener is None else _Events(self.reader, self._watcher, listener)

    def begin(self) -> None:
        """Start a PC/SC transaction: host programs wait. Blocks while one of them holds its own."""
        try:
            self._powered().begin()
        except PcscError as failure:
            raise self._failed(failure) from None

    def end(self, *, reset: bool) -> None:
        """End the transaction; with `reset`, so that no PIN stays verified for the next one."""
        handle = self._powered()
        try:
            try:
                if reset:
                    # Not by SCardEndTransaction: pcscd would report that reset to our own handle as another's.
                    handle.reconnect(Disposition.RESET)
            finally:
                handle.end(Disposition.LEAVE)
        except PcscError as failure:
            raise self._failed(failure) from None

    def _start(self) -> bytes:
        if self._handle is None:
            self._handle = self._connected()
        # On purpose also after a fresh connect: whoever used the card before us may have left a PIN verified.
        self._handle.reconnect(Disposition.RESET)
        self._transmission = self._handle.transmission
        return self._handle.atr()

    def _connected(self) -> Handle:
        """With the reader's context, which is held as long as the handle, and no longer."""
        self._context = self._contexts.acquire(self.reader)
        try:
            return self._context.connect(self.reader, exclusive=self._exclusive)
        except PcscError as failure:
            if failure.code in SERVICE_GONE:
                self._contexts.discard(self.reader, self._context)
            self._let_go(Disposition.LEAVE)
            raise

    def _powered(self) -> Handle:
        if self._handle is None:
            raise _absent(self.reader)
        return self._handle

    def _failed(self, failure: PcscError) -> CardError:
        """Put ourselves in order after a failure, and say it in our words."""
        code = failure.code
        if code in SERVICE_GONE:
            return self._lost_service()
        if code in READER_GONE:
            self._let_go(Disposition.LEAVE)  # there is no card to reset
            return ReaderGone(f'The reader "{self.reader}" is gone.', hint="Plug it in again.")
        if code in CARD_GONE:
            # LEAVE: ours is out, and a card that may have come meanwhile was never touched by us.
            self._let_go(Disposition.LEAVE)
            return _absent(self.reader)
        if code in (Result.RESET_CARD, Result.UNPOWERED_CARD):
            return self._was_reset(code)
        if code == Result.SHARING_VIOLATION and self._exclusive:
            self._let_go(Disposition.LEAVE)
            return CardError(
                f'Another program uses the card in "{self.reader}", so nobody can have it alone.',
                hint="End that program, or share the card.",
            )
        return _broken(self.reader, code)

    def _was_reset(self, code: int) -> CardError:
        if self._handle is None:
            return _absent(self.reader)
        try:
            # LEAVE: somebody reset it already and may be at work with it. A card without power comes up by RESET only.
            self._handle.reconnect(Disposition.LEAVE if code == Result.RESET_CARD else Disposition.RESET)
        except PcscError as failure:
            if failure.code in (Result.RESET_CARD, Result.UNPOWERED_CARD):
                return _broken(self.reader, failure.code)
            return self._failed(failure)
        self._transmission = self._handle.transmission
        return CardWasReset(
            f'Another program reset the card in "{self.reader}".', hint="Log in to the card again in the machine."
        )

    def _lost_service(self) -> ReaderGone:
        if self._context is not None:
            self._contexts.discard(self.reader, self._context)
        self._let_go(Disposition.LEAVE)  # pcscd is not there to reset the card; it powers it up anew when it comes
        return ReaderGone("The PC/SC service (pcscd) went away.", hint="Start it: systemctl start pcscd.socket")

    def _let_go(self, disposition: Disposition) -> None:
        handle, self._handle = self._handle, None
        context, self._context = self._context, None
        if handle is not None:
            handle.disconnect(disposition)
        if context is not None:
            self._contexts.release(self.reader, context)


class _Events:
    """Tells one listener of the card in one reader."""

    def __init__(self, reader: str, watcher: ReaderWatcher, listener: CardListener) -> None:
        self._reader = reader
        self._watcher = watcher
        self._listener = listener
        self._ended = threading.Event()
        watcher.subscribe(self._hear)

    def end(self) -> None:
        """Tell nobody any more."""
        self._ended.set()
        self._watcher.unsubscribe(self._hear)

    def _hear(self, event: ReaderEvent) -> None:
        for card_event in card_events(event, self._reader):
            if not self._ended.is_set():
                self._listener(card_event)


def _absent(reader: str) -> CardAbsent:
    return CardAbsent(f'There is no card in "{reader}".', hint="Insert one.")


def _broken(reader: str, code: int) -> CardError:
    if code not in _SENTENCES:
        return CardError(
            f'The card in "{reader}" failed (PC/SC 0x{code:08X}).', hint="Take it out and put it in again."
        )
    sentence, hint = _SENTENCES[code]
    return CardError(sentence.format(reader=reader), hint=hint)


_SENTENCES: Final[dict[int, tuple[str, str]]] = {
    Result.UNRESPONSIVE_CARD: ('The card in "{reader}" does not answer.', "Look whether it is the right way round."),
    Result.SHARING_VIOLATION: ('Another program holds the card in "{reader}" for itself.', "End that program."),
    Result.PROTO_MISMATCH: (
        'The card in "{reader}" speaks neither T=0 nor T=1 with us.',
        "Another program may hold it with another protocol: end that program.",
    ),
    Result.SECURITY_VIOLATION: (
        'The PC/SC service (pcscd) keeps the card in "{reader}" from us.',
        "Allow org.debian.pcsc-lite.access_card in polkit.",
    ),
}
