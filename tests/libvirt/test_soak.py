"""Machines that start and stop, cards that go in and out, readers that are plugged in and pulled: nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.crowd import Crowd, crowd
from helpers.hosted import Figures, Hosted, card_store, hosted, sockets, write_node
from helpers.soft_cards import empty_card
from helpers.waiting import wait_until
from virtcard.card.soft.store import Store

ROUND_PATIENCE = 120.0
SETTLE_PATIENCE = 60.0


class Soak:
    """Of ten machines, four start and stop, four have cards put in and taken out, and two have a reader each."""

    def __init__(self, daemon: Hosted, machines: Crowd, size: int) -> None:
        self.daemon = daemon
        self._machines = machines
        self._size = size
        self._starting, self._inserting, self._plugging = parts(size)

    def round(self) -> int:
        """One cycle of every machine: everything out, and everything in again. How many cycles that were."""
        self.out()
        self.back()
        return self._size

    def out(self) -> None:
        """No machine has a card any more."""
        self.daemon.ask_all(
            [
                *(("stop", {"name": f"vm{number}"}) for number in self._starting),
                *(("eject", {"name": f"vm{number}"}) for number in self._inserting),
                *(("unplug", {"reader": number}) for number in self._plugging),
            ]
        )
        self._machines.wait_for(0, ROUND_PATIENCE)

    def back(self, *, first: bool = False) -> None:
        """Every machine has a card."""
        self.daemon.ask_all(
            [
                *(("start", {"name": f"vm{number}"}) for number in self._starting if not first),
                *(("insert", {"name": f"vm{n}", "source": f"card:vm{n}"}) for n in self._inserting),
                *(("plug", {"reader": number}) for number in self._plugging),
            ]
        )
        self._machines.wait_for(self._size, ROUND_PATIENCE)

    def settled(self, before: Figures | None = None) -> Figures:
        """What the daemon takes when all is quiet; as many threads and descriptors as `before`."""
        last: list[Figures] = []

        def quiet() -> bool:
            last.append(self.daemon.figures())
            now = (last[-1].threads, last[-1].descriptors)
            if before is not None:
                return now == (before.threads, before.descriptors)
            return len(last) > 1 and now == (last[-2].threads, last[-2].descriptors)

        wait_until(quiet, SETTLE_PATIENCE, f"threads and descriptors as before ({before})", interval=5)
        return last[-1]


def parts(size: int) -> tuple[range, range, range]:
    """The numbers of those that start, those with insertions, and those with a reader."""
    first, second = size * 4 // 10, size * 8 // 10
    return range(first), range(first, second), range(second, size)


@contextmanager
def soaking(size: int) -> Iterator[Soak]:
    """All machines run and have a card."""
    starting, inserting, plugging = parts(size)
    wishes = {f"vm{number}": f"card:vm{number}" for number in starting}
    wishes |= {f"vm{number}": "" for number in inserting}
    wishes |= {f"vm{number}": f"reader:Soak Reader {number:02} *" for number in plugging}
    with TemporaryDirectory(prefix="vc-") as directory:
        home = Path(directory)
        write_node(home, wishes)
        for number in (*starting, *inserting):
            empty_card(Store(card_store(home)), f"vm{number}")
        with crowd(sockets(home, list(wishes))) as machines, hosted(home) as daemon:
            daemon.ask("first_pass")
            soak = Soak(daemon, machines, size)
            soak.back(first=True)
            yield soak


def soak(size: int, warm_up: int, cycles: int, growth: float) -> None:
    """After `cycles` the daemon has the descriptors and threads that it had after the first, and hardly more memory."""
    with soaking(size) as lab:
        done = 0
        while done < warm_up:
            done += lab.round()
        before = lab.settled()
        while done < cycles:
            done += lab.round()
        after = lab.settled(before)
        held = lab.daemon.ask("handles")
    print(f"{done} cycles: {before} after {warm_up}, {after} at the end")
    assert held == len(parts(size)[2])
    assert after.resident <= growth * before.resident


def test_three_hundred_cycles_leave_nothing_behind() -> None:
    soak(20, 60, 300, 1.05)


@pytest.mark.soak
def test_twenty_thousand_cycles_leave_nothing_behind() -> None:
    soak(100, 1_000, 20_000, 1.02)
