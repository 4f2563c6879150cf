"""libvirt's blocking calls for programs without an event loop: a libvirtd that hangs must not hang them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from virtcard.domain.failure import silent
from virtcard.limits import LIBVIRT_DEADLINE

R = TypeVar("R")


def in_time(function: Callable[..., R], *args: object) -> R:
    """What `function(*args)` returns or raises; TimedOut after LIBVIRT_DEADLINE.

    Its thread is a daemon, so that a call that never comes back does not hold the process."""
    future: Future[R] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:  # noqa: BLE001 - every error belongs to the caller
            future.set_exception(error)

    threading.Thread(target=work, name="libvirt", daemon=True).start()
    if not wait((future,), timeout=LIBVIRT_DEADLINE).done:
        raise silent(LIBVIRT_DEADLINE)
    return future.result()
