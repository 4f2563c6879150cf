"""Three machines that never pause, and a program of the host: nobody starves, and everybody waits within the bound."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import pytest

from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.scripted_card import OK
from helpers.waiting import wait_until
from helpers.witness import Program, WitnessCard
from virtcard.card.lease.rules import STANDARD, LeaseTimes
from virtcard.card.reader import Context
from virtcard.card.reader_source import ReaderSource
from virtcard.card.selection import Selection
from virtcard.errors import CardError

MACHINES = ("one", "two", "three")
TIMES = LeaseTimes(idle=0.05, idle_logged_in=0.15, last_call=0.3, longest=0.4, patience=5.0)
"""A lease in a hundred and fiftieth of its time, with the real pause."""
MARGIN = 0.6
"""Seconds: pcscd's 100 ms, a reset, and a busy test machine."""


class ObservedCard(WitnessCard):
    """Notes who logs in, in the order in which it happens."""

    def __init__(self) -> None:
        super().__init__(*MACHINES, "host")
        self.order: list[str] = []

    def _verify(self, pin: bytes) -> bytes:
        answer = super()._verify(pin)
        self.order.append(self._login)
        return answer


def busy(name: str, source: ReaderSource, over: threading.Event, refused: Counter[str]) -> None:
    """A machine that logs in and goes on without a pause."""
    card = Selection(source.open(READERS[0]))
    card.power_on()
    verify = b"\x00\x20\x00\x80\x08" + name.encode().ljust(8, b"\xff")
    while not over.is_set():
        try:
            assert card.transmit(verify) == OK
        except CardError:
            refused[name] += 1
    card.power_off()


@contextmanager
def busy_machines(lab: Lab, times: LeaseTimes) -> Iterator[tuple[ObservedCard, Counter[str]]]:
    """All three at work; how often each was refused."""
    card, over, refused = ObservedCard(), threading.Event(), Counter[str]()
    lab.plug(card)
    source = ReaderSource(lab.watcher, lab.contexts, times)
    threads = [threading.Thread(target=busy, args=(name, source, over, refused)) for name in MACHINES]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: card.order, 10, "the first of them works")
        yield card, refused
    finally:
        over.set()
        for thread in threads:
            thread.join(times.patience + times.longest + 5)
            assert not thread.is_alive()


def turns(card: ObservedCard) -> list[str]:
    """The machines in the order of their leases."""
    return [name for name, _ in groupby(name for name in card.order if name in MACHINES)]


def test_machines_have_their_turns_in_order(lab: Lab) -> None:
    with busy_machines(lab, TIMES) as (card, refused):
        threading.Event().wait(6)
    order = turns(card)
    print(f"{len(order)} leases: {Counter(order)}")
    assert len(order) >= 6
    assert all(len(set(order[at : at + 3])) == 3 for at in range(2, len(order) - 3)), order
    assert not refused


def test_host_program_waits_one_lease_at_most(lab: Lab) -> None:
    with busy_machines(lab, TIMES) as (card, _):
        context = Context()
        program = Program(context.connect(READERS[0]), seed=1)
        for _ in range(10):
            program.turn()
            threading.Event().wait(TIMES.pause)
        context.release()
    print(f"the host waited {max(program.waits):.2f} s at most, beside {len(turns(card))} leases")
    assert max(program.waits) <= TIMES.longest + TIMES.pause + MARGIN
    assert not program.user.mistakes


def test_opensc_tool_in_a_loop_is_served_beside_three_busy_machines(lab: Lab) -> None:
    waits = []
    with busy_machines(lab, TIMES) as (card, _):
        for _ in range(8):
            began = time.monotonic()
            command = ["opensc-tool", "-c", "default", "-s", "00:2A:9E:9A:04:01:02:03:04:00"]
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env=lab.pcscd.environment, timeout=60
            )
            waits.append(time.monotonic() - began)
            assert "01 02 03 04" in done.stdout.partition("Received")[2], done.stdout + done.stderr
            threading.Event().wait(TIMES.pause)
    print(f"opensc-tool took {max(waits):.2f} s at most, beside {len(turns(card))} leases")


@pytest.mark.soak(minutes=5)
def test_host_program_waits_a_minute_at_most_with_the_real_times(lab: Lab) -> None:
    """The numbers of README: 60 s and one command, however busy the machines are."""
    with busy_machines(lab, STANDARD) as (card, refused):
        context = Context()
        program = Program(context.connect(READERS[0]), seed=1)
        for _ in range(4):
            program.turn()
        context.release()
    order = turns(card)
    print(f"the host waited {program.waits} s; leases {order}; refused {refused}")
    assert max(program.waits) <= STANDARD.longest + STANDARD.pause + MARGIN
    assert set(order[:3]) == set(MACHINES)
