"""Logs in to the card of a host reader as a bridge does, says so, and waits to be killed: `login_victim.py READER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

from helpers.scripted_card import OK, PROTECTED, VERIFY  # noqa: E402 (a process of its own)
from virtcard.card.lease.rules import LeaseRules  # noqa: E402
from virtcard.card.reader_contexts import ReaderContexts  # noqa: E402
from virtcard.card.reader_source import ReaderSource  # noqa: E402
from virtcard.card.reader_watcher import ReaderWatcher  # noqa: E402
from virtcard.card.selection import Selection  # noqa: E402


def main(reader: str) -> None:
    """Until somebody kills us."""
    watcher = ReaderWatcher()
    watcher.start()
    assert watcher.settle(5)
    leased = ReaderSource(watcher, ReaderContexts()).open(reader)
    leased.agree(LeaseRules())
    card = Selection(leased)
    card.power_on()
    assert card.transmit(VERIFY) == card.transmit(PROTECTED) == OK
    os.write(1, b"logged in\n")
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
