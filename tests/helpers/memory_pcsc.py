"""The module `smartcard.scard` in memory: readers that are plugged in and pulled out thousands of times a minute.

Only what `virtcard.card.reader` calls, with results as pcsc-lite gives them. A card answers every command with 9000.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import Any, Final

from smartcard import scard

ATR: Final = [0x3B, 0x80, 0x01, 0x81]
PNP: Final = "\\\\?PnP?\\Notification"


@dataclass
class _Reader:
    name: str
    events: int = 1

    @property
    def state(self) -> int:
        return int(scard.SCARD_STATE_PRESENT | self.events << 16)


class MemoryPcsc:
    """Takes the place of the module: what is not here is the module's own."""

    def __init__(self) -> None:
        self.handles: dict[int, str] = {}
        self._readers: dict[str, _Reader] = {}
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._cancelled: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(scard, name)

    def plug(self, name: str) -> None:
        """A reader with a card in it is there."""
        with self._changed:
            self._readers[name] = _Reader(name)
            self._changed.notify_all()

    def unplug(self, name: str) -> None:
        """It is gone."""
        with self._changed:
            del self._readers[name]
            self._changed.notify_all()

    def SCardEstablishContext(self, _scope: int) -> tuple[int, int]:  # noqa: N802
        return scard.SCARD_S_SUCCESS, next(self._numbers)

    def SCardReleaseContext(self, _context: int) -> int:  # noqa: N802
        return int(scard.SCARD_S_SUCCESS)

    def SCardListReaders(self, _context: int, _groups: list[str]) -> tuple[int, list[str]]:  # noqa: N802
        with self._changed:
            names = list(self._readers)
        return (scard.SCARD_S_SUCCESS, names) if names else (scard.SCARD_E_NO_READERS_AVAILABLE, [])

    def SCardCancel(self, context: int) -> int:  # noqa: N802
        with self._changed:
            self._cancelled.add(context)
            self._changed.notify_all()
        return int(scard.SCARD_S_SUCCESS)

    def SCardGetStatusChange(  # noqa: N802
        self, context: int, milliseconds: int, known: list[tuple[str, int]]
    ) -> tuple[int, list[tuple[str, int, list[int]]]]:
        """As pcsc-lite: the pseudo reader changes with the number of readers, others with their state."""
        with self._changed:

            def differs() -> bool:
                return context in self._cancelled or any(self._state(name) != state for name, state in known)

            changed = self._changed.wait_for(differs, milliseconds / 1000)
            if context in self._cancelled:
                self._cancelled.discard(context)
                return scard.SCARD_E_CANCELLED, []
            states = [(name, self._state(name), ATR if name in self._readers else []) for name, _ in known]
        return (scard.SCARD_S_SUCCESS if changed else scard.SCARD_E_TIMEOUT), states

    def _state(self, name: str) -> int:
        if name == PNP:
            return len(self._readers) << 16
        reader = self._readers.get(name)
        return reader.state if reader else int(scard.SCARD_STATE_UNKNOWN)

    def SCardConnect(self, _context: int, name: str, _share: int, _protocols: int) -> tuple[int, int, int]:  # noqa: N802
        with self._changed:
            if name not in self._readers:
                return scard.SCARD_E_UNKNOWN_READER, 0, 0
            handle = next(self._numbers)
            self.handles[handle] = name
        return scard.SCARD_S_SUCCESS, handle, scard.SCARD_PROTOCOL_T0

    def SCardReconnect(self, handle: int, _share: int, _protocols: int, _initialization: int) -> tuple[int, int]:  # noqa: N802
        return self._result(handle), scard.SCARD_PROTOCOL_T0

    def SCardStatus(self, handle: int) -> tuple[int, str, int, int, list[int]]:  # noqa: N802
        return self._result(handle), self.handles.get(handle, ""), 0, scard.SCARD_PROTOCOL_T0, ATR

    def SCardTransmit(self, handle: int, _protocol: int, _command: list[int]) -> tuple[int, list[int]]:  # noqa: N802
        return self._result(handle), [0x90, 0x00]

    def SCardBeginTransaction(self, handle: int) -> int:  # noqa: N802
        return self._result(handle)

    def SCardEndTransaction(self, handle: int, _disposition: int) -> int:  # noqa: N802
        return self._result(handle)

    def SCardDisconnect(self, handle: int, _disposition: int) -> int:  # noqa: N802
        self.handles.pop(handle, None)
        return int(scard.SCARD_S_SUCCESS)

    def _result(self, handle: int) -> int:
        name = self.handles.get(handle)
        if name is None:
            return int(scard.SCARD_E_INVALID_HANDLE)
        return int(scard.SCARD_S_SUCCESS if name in self._readers else scard.SCARD_E_READER_UNAVAILABLE)
