"""What goes wrong while a card is written: the machine stops, the disk is full."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch


class Crash(BaseException):
    """The machine stops here: nothing that follows happens, not even cleaning up."""


STEPS: Final = ("open", "write", "fsync", "replace", "unlink")
"""The system calls of files.py that change something."""


@contextmanager
def stopping_at(step: int, failure: Callable[[], BaseException]) -> Iterator[list[str]]:
    """Let the system calls of files.py up to number `step` happen, and none after; gives those that happened."""
    done: list[str] = []

    def stop_or(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            if len(done) >= step:
                raise failure()
            done.append(name)
            return real(*args, **kwargs)

        return call

    patches = [patch(f"virtcard.card.soft.files.os.{name}", stop_or(name)) for name in STEPS]
    for each in patches:
        each.start()
    try:
        yield done
    finally:
        for each in patches:
            each.stop()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file grows beyond that: what a full disk looks like, without one. (Python ignores SIGXFSZ.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
