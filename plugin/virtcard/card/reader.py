"""PC/SC through pyscard: bytes and typed values above, lists and result codes below. The only `import smartcard`.

Raw `scard`, not pyscard's monitors: ReaderMonitor polls every second, and CardMonitor stops for good when pcscd does.
pyscard releases the GIL in every call. Numbers are those of pcsc-lite's pcsclite.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Final

from smartcard import scard

from virtcard.card.base import Transmission
from virtcard.errors import CardError

PNP_READER: Final = "\\\\?PnP?\\Notification"
"""The pseudo reader that reports readers coming and going."""

_UNSIGNED: Final = 0xFFFFFFFF
"""Result codes are 32 bits; older pyscard hands them out as negative numbers."""

_PROTOCOLS: Final = 1 | 2  # SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1
_SCOPE_USER: Final = 0
_SHARE_EXCLUSIVE: Final = 1
_SHARE_SHARED: Final = 2


class Result(IntEnum):
    """What a PC/SC call says. Only the values that we tell apart."""

    SUCCESS = 0
    CANCELLED = 0x80100002
    INVALID_HANDLE = 0x80100003
    UNKNOWN_READER = 0x80100009
    TIMEOUT = 0x8010000A
    SHARING_VIOLATION = 0x8010000B
    NO_SMARTCARD = 0x8010000C
    PROTO_MISMATCH = 0x8010000F
    SYSTEM_CANCELLED = 0x80100012
    COMM_ERROR = 0x80100013
    NOT_TRANSACTED = 0x80100016
    READER_UNAVAILABLE = 0x80100017
    NO_SERVICE = 0x8010001D
    SERVICE_STOPPED = 0x8010001E
    NO_READERS_AVAILABLE = 0x8010002E
    UNRESPONSIVE_CARD = 0x80100066
    UNPOWERED_CARD = 0x80100067
    RESET_CARD = 0x80100068
    REMOVED_CARD = 0x80100069
    SECURITY_VIOLATION = 0x8010006A


SERVICE_GONE: Final = frozenset(
    {Result.NO_SERVICE, Result.SERVICE_STOPPED, Result.COMM_ERROR, Result.INVALID_HANDLE, Result.SYSTEM_CANCELLED}
)
"""The context is worth nothing any more: pcscd ended, or it started again and does not know us."""

READER_GONE: Final = frozenset({Result.UNKNOWN_READER, Result.READER_UNAVAILABLE, Result.NO_READERS_AVAILABLE})
CARD_GONE: Final = frozenset({Result.NO_SMARTCARD, Result.REMOVED_CARD})


class Disposition(IntEnum):
    """What happens to the card when we let go of it or take it again."""

    LEAVE = 0
    RESET = 1
    UNPOWER = 2


class State(IntFlag):
    """Low word of a reader state; the high word counts insertions and removals."""

    UNAWARE = 0
    CHANGED = 0x0002
    UNKNOWN = 0x0004
    PRESENT = 0x0020


class PcscError(CardError):
    """A PC/SC call failed; `code` is its result, which `Result` may not know."""

    def __init__(self, code: int) -> None:
        super().__init__(f"The PC/SC service answered 0x{code:08X}.", hint="Look at the journal of pcscd.")
        self.code = code


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """A host reader as pcscd shows it. `atr` is empty without a card, or when the card is mute."""

    name: str
    present: bool
    atr: bytes
    events: int = 0
    """pcscd's count of insertions and removals, 16 bits: the one trace of a swap for a card of the same kind."""


class Context:
    """A PC/SC context. One call at a time: libpcsclite serialises them, but for `cancel`."""

    def __init__(self) -> None:
        """Reach pcscd; PcscError when it is away or has no room (it refuses the 200th context of a process)."""
        self._context = _call(scard.SCardEstablishContext, _SCOPE_USER)[0]

    def readers(self) -> list[str]:
        """Names of the readers, in pcscd's order."""
        try:
            return list(_call(scard.SCardListReaders, self._context, [])[0])
        except PcscError as failure:
            if failure.code == Result.NO_READERS_AVAILABLE:
                return []
            raise

    def wait(self, known: Mapping[str, int], patience: float) -> list[tuple[ReaderInfo, int]]:
        """Wait up to `patience` seconds for a reader to differ from its `known` state.

        Returns every reader asked for with the state to pass as `known` the next time, also after a time-out.
        """
        code, states = _raw(scard.SCardGetStatusChange, self._context, int(patience * 1000), list(known.items()))
        if code not in (Result.SUCCESS, Result.TIMEOUT):
            raise PcscError(code)
        # By int: ~ of a flag has the named bits alone, and would take the count of events out of the high word.
        return [(_info(name, state, atr), state & ~int(State.CHANGED)) for name, state, atr in states]

    def cancel(self) -> None:
        """End a `wait` of another thread. Lost when there is none, and harmless on a released context."""
        scard.SCardCancel(self._context)

    def connect(self, reader: str, *, exclusive: bool = False) -> Handle:
        """Share the card in `reader`, or have it alone. Blocks while another program holds a transaction.

        Only here is it an error that others share the card: SCardReconnect would wait for their end.
        """
        share = _SHARE_EXCLUSIVE if exclusive else _SHARE_SHARED
        handle, protocol = _call(scard.SCardConnect, self._context, reader, share, _PROTOCOLS)
        return Handle(handle, protocol, share)

    def release(self) -> None:
        """Give the context back; pcscd may be gone already."""
        scard.SCardReleaseContext(self._context)


class Handle:
    """A connection to one card."""

    def __init__(self, handle: int, protocol: int, share: int) -> None:
        self._handle = handle
        self._protocol = protocol
        """SCARD_PROTOCOL_T0 and SCARD_PROTOCOL_T1, which are SCARD_PCI_T0 and SCARD_PCI_T1 too."""
        self._share = share

    @property
    def transmission(self) -> Transmission:
        """The protocol that pcscd agreed on with the card."""
        return Transmission.T1 if self._protocol == scard.SCARD_PROTOCOL_T1 else Transmission.T0

    def atr(self) -> bytes:
        """The card's ATR."""
        return bytes(_call(scard.SCardStatus, self._handle)[3])

    def transmit(self, command: bytes) -> bytes:
        """One command, up to 65,544 bytes; one answer with its status word."""
        # Not by `_call`: this is the one call that is made for every APDU.
        code, answer = scard.SCardTransmit(self._handle, self._protocol, list(command))
        if code != Result.SUCCESS:
            raise PcscError(code & _UNSIGNED)
        return bytes(answer)

    def reconnect(self, disposition: Disposition) -> None:
        """Take the card again, after a reset by us (RESET) or by somebody else (LEAVE)."""
        arguments = (self._handle, self._share, _PROTOCOLS, int(disposition))
        self._protocol = _call(scard.SCardReconnect, *arguments)[0]

    def begin(self) -> None:
        """Start a transaction: other programs wait. Blocks while one of them holds theirs."""
        _call(scard.SCardBeginTransaction, self._handle)

    def end(self, disposition: Disposition) -> None:
        """End the transaction, and reset the card or leave it as it is."""
        _call(scard.SCardEndTransaction, self._handle, int(disposition))

    def disconnect(self, disposition: Disposition) -> None:
        """Let go; the handle is worth nothing afterwards, whatever pcscd says."""
        scard.SCardDisconnect(self._handle, int(disposition))


def _info(name: str, state: int, atr: list[int]) -> ReaderInfo:
    present = bool(state & State.PRESENT)
    return ReaderInfo(name, present, bytes(atr) if present else b"", state >> 16 & 0xFFFF)


def _raw(function: Any, *arguments: object) -> tuple[int, Any]:
    """Call and return the result code with what came with it: one value, or a tuple of several."""
    try:
        answer = function(*arguments)
    except SystemError:
        # pyscard 2.3.1 returns NULL without an exception when pcscd ends in the middle of SCardListReaders.
        return Result.NO_SERVICE, None
    code, *values = answer if isinstance(answer, list | tuple) else (answer,)
    return int(code) & _UNSIGNED, values[0] if len(values) == 1 else tuple(values)


def _call(function: Any, *arguments: object) -> tuple[Any, ...]:
    """Call, raise PcscError unless it succeeded, and return the values."""
    code, values = _raw(function, *arguments)
    if code != Result.SUCCESS:
        raise PcscError(code)
    return values if isinstance(values, tuple) else (values,)
