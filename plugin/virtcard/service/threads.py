"""Blocking work on threads that never hold the process; asyncio's own pool waits for its threads at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

R = TypeVar("R")


def start(function: Callable[..., R], *args: object) -> Future[R]:
    """Call `function(*args)` on a new thread; `asyncio.wrap_future` waits for it."""
    future: Future[R] = Future()
    future.set_running_or_notify_cancel()  # whoever waits may give up; the work goes on, and ends like any other

    def work() -> None:
        try:
            result = function(*args)
        except BaseException as error:  # noqa: BLE001 - every error belongs to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="virtcard-work", daemon=True).start()
    return future
