"""Decisions out of the bytes of a fuzzer, taken from front to back; behind the end all of them are 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """What a target is asked to do."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        """There are bytes that were not taken."""
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        found = self._data[self._at : self._at + count]
        self._at += count
        return found

    def number(self, size: int = 1) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"))

    def one_of(self, values: Sequence[T]) -> T:
        """One of at most 256 values."""
        return values[self.number() % len(values)]

    def block(self) -> bytes:
        """Bytes behind a length of one byte; FF stands for a longer block, of one byte again and again."""
        length = self.number()
        return self.take(1) * self.number(2) if length == 0xFF else self.take(length)

    def blocks(self) -> Iterator[bytes]:
        """Blocks to the end."""
        while self.left:
            yield self.block()
