"""virtcardd that hangs when it is told to: SIGUSR1 stops its event loop, SIGUSR2 the thread of the bridges' timeouts.

Its other threads go on, as they do when something waits for a lock that nobody gives back.
"""

from __future__ import annotations

import signal
import sys
import threading

from virtcard.bridge.timers import SHARED
from virtcard.daemon import main


def hang(*_: object) -> None:
    """For ever."""
    threading.Event().wait()


def hang_timers(*_: object) -> None:
    """From a thread of its own: a signal may come while this one holds the lock of the timers."""
    threading.Thread(target=lambda: SHARED.schedule(0, hang), daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, hang)
    signal.signal(signal.SIGUSR2, hang_timers)
    sys.exit(main())
