"""One PC/SC context for each reader, shared by all who use it: pcscd refuses a process its 200th."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from virtcard.card.reader import Context


@dataclass(slots=True)
class _Shared:
    context: Context
    users: int = 0


class ReaderContexts:
    """Contexts by reader name, counted; the last user's release gives one back to pcscd."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[str, _Shared] = {}
        self._stale: list[_Shared] = []

    def acquire(self, reader: str) -> Context:
        """The reader's context, a new one for its first user; PcscError when pcscd is away."""
        with self._lock:
            shared = self._current.get(reader)
            if shared is None:
                shared = self._current[reader] = _Shared(Context())
            shared.users += 1
            return shared.context

    def release(self, reader: str, context: Context) -> None:
        """The end of one use."""
        with self._lock:
            shared = self._find(reader, context)
            shared.users -= 1
            if shared.users:
                return
            if shared in self._stale:
                self._stale.remove(shared)
            else:
                del self._current[reader]
        context.release()

    def discard(self, reader: str, context: Context) -> None:
        """This context died with pcscd: whoever acquires the reader next gets a new one. Release it all the same."""
        with self._lock:
            shared = self._current.get(reader)
            if shared is not None and shared.context is context:
                self._stale.append(self._current.pop(reader))

    def __len__(self) -> int:
        return len(self._current) + len(self._stale)

    def _find(self, reader: str, context: Context) -> _Shared:
        shared = self._current.get(reader)
        if shared is not None and shared.context is context:
            return shared
        return next(shared for shared in self._stale if shared.context is context)
