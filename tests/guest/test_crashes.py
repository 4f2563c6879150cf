"""virtcardd killed with -9 while a guest uses its card: an error or the card again, at once, and no shifted answer."""

from __future__ import annotations

import statistics
import time
from random import Random

import pytest

from helpers.askings import PROMPT, Asking, in_an_apdu, is_error
from helpers.jobs import Job, fetch
from helpers.scripted_card import OK, echo
from helpers.waiting import slowness, wait_until
from virtcard.limits import GUEST_PATIENCE


def crash(one: Job, rng: Random) -> float:
    """virtcardd dies somewhere in a stream of APDUs; seconds from its return to the guest's next right answer."""
    stream = [step for at in range(200) for step in (echo(b"%04d" % at), fetch(b"%04d" % at))]
    before = one.first.commands
    asking = Asking(lambda: one.guest.scard(*(step.hex() for step in stream)))
    wait_until(lambda: one.first.commands > before, 10, "the stream begins", 0.005)
    time.sleep(rng.uniform(0, 0.3))
    one.host.virtcardd.kill()
    one.host.virtcardd.start()
    began = time.monotonic()
    output = asking.end().output
    for at, line in enumerate(output.splitlines()):
        answer = line.partition(" ")[2]
        right = b"%04d" % (at // 2) + OK if at % 2 else b"\x61\x04"
        assert is_error(answer) or bytes.fromhex(answer) == right, f"{at}: {line}"
    one.wait_card()
    one.exchange()
    assert one.lives()
    return time.monotonic() - began


def test_virtcardd_killed_in_a_stream_of_apdus_is_back_at_once(running: Job, rng: Random, times: list[float]) -> None:
    for _ in range(3):
        times.append(crash(running, rng))
    _is_prompt(times)


@pytest.mark.soak
def test_virtcardd_killed_a_hundred_times_in_a_stream_of_apdus(running: Job, rng: Random, times: list[float]) -> None:
    for _ in range(100):
        times.append(crash(running, rng))
    _is_prompt(times)


def _is_prompt(times: list[float]) -> None:
    """At once, in the quarter of the rounds in which others kept the machine least busy. A guest that never pauses may
    send an APDU in the moment in which QEMU takes the card out, and loses it: then its own patience is the bound."""
    quarter, *_ = statistics.quantiles(times)
    assert quarter < 2 * slowness()
    assert max(times) < GUEST_PATIENCE + PROMPT * slowness()


def crash_in_an_apdu(one: Job, rng: Random) -> tuple[float, float]:
    """virtcardd dies in an APDU: seconds from its start to the guest's error, and from its return to the card."""
    asking = in_an_apdu(one, rng)
    one.host.virtcardd.kill()
    one.first.gate.set()
    began = time.monotonic()
    one.host.virtcardd.start()
    started = time.monotonic()
    result = asking.end()
    failed = time.monotonic() - began
    one.wait_card()
    usable = time.monotonic() - started
    assert result.exit_code != 0, result.output
    one.exchange()
    return failed, usable


def test_virtcardd_killed_with_an_apdu_at_the_card_costs_the_guest_no_more_than_its_start(
    running: Job, rng: Random
) -> None:
    """ReaderRemove alone would leave the guest waiting for 23 s, since QEMU forgets what it holds for the dead one."""
    for _ in range(3):
        failed, usable = crash_in_an_apdu(running, rng)
        print(f"from the start: error {failed:.2f} s; from being on the bus: card {usable:.2f} s")
        assert failed < PROMPT * slowness()
        assert usable < 2 * slowness()


@pytest.mark.soak
def test_virtcardd_killed_a_hundred_times_with_an_apdu_at_the_card(running: Job, rng: Random) -> None:
    for _ in range(100):
        failed, usable = crash_in_an_apdu(running, rng)
        assert max(failed, usable) < PROMPT * slowness()
    assert running.lives()
