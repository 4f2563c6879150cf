"""PC/SC contexts whose cards fail in a chosen way."""

from __future__ import annotations

from typing import cast

from virtcard.card.base import Transmission
from virtcard.card.reader import Context, Disposition, Handle, PcscError
from virtcard.card.reader_contexts import ReaderContexts


class BrokenContexts(ReaderContexts):
    """Every reconnect fails with `code`, or the first `times` do. `users` counts those who did not let go."""

    def __init__(self, code: int, times: int = 1_000) -> None:
        super().__init__()
        self.users = 0
        self._code = code
        self._left = times

    def acquire(self, reader: str) -> Context:
        """This object plays the context too."""
        self.users += 1
        return cast(Context, self)

    def release(self, reader: str, context: Context) -> None:
        """One less."""
        self.users -= 1

    def connect(self, reader: str, *, exclusive: bool = False) -> Handle:
        """This object plays the handle too."""
        return cast(Handle, self)

    @property
    def transmission(self) -> Transmission:
        """T=0."""
        return Transmission.T0

    def reconnect(self, disposition: Disposition) -> None:
        """Fail."""
        self._left -= 1
        if self._left >= 0:
            raise PcscError(self._code)

    def atr(self) -> bytes:
        """The shortest one."""
        return b"\x3b\x00"

    def disconnect(self, disposition: Disposition) -> None:
        """Nothing to let go of."""
