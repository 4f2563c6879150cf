"""What a command to a card in a host reader costs: pcscd and vpcd alone, through ReaderCard, through a whole bridge.

By turns in one run, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

from smartcard import scard

from helpers.pcsc_lab import Lab, running_lab
from helpers.pcscd import READERS
from helpers.scripted_card import ATR_T1, OK, VERIFY, ScriptedCard

ROUNDS = 40
COMMANDS = 50
"""Commands of one turn; every command is timed for itself."""


def run() -> dict[str, float]:
    """Medians in microseconds of one short command, and the ratios to a bare SCardTransmit."""
    with running_lab() as lab:
        lab.plug(ScriptedCard(ATR_T1))
        ways = {"reader": _reader(lab), "direct": _direct(lab)}  # in this order: power_on resets the card
        return _measure(ways)


def _measure(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, command in ways.items():
            times[name] += [_microseconds(command) for _ in range(COMMANDS)]
    medians = {name: median(values) for name, values in times.items()}
    direct = medians["direct"]
    return {f"pcsc_{name}_us": value for name, value in medians.items()} | {
        f"pcsc_{name}_ratio": value / direct for name, value in medians.items() if name != "direct"
    }


def _direct(lab: Lab) -> Callable[[], None]:
    """pyscard's raw call with its list of numbers, nothing of ours."""
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    _, handle, protocol = scard.SCardConnect(context, READERS[0], scard.SCARD_SHARE_SHARED, protocols)
    command = list(VERIFY)

    def transmit() -> None:
        code, answer = scard.SCardTransmit(handle, protocol, command)
        if code != scard.SCARD_S_SUCCESS or answer != list(OK):
            raise AssertionError("the card did not accept the PIN")

    return transmit


def _reader(lab: Lab) -> Callable[[], None]:
    card = lab.card()
    card.power_on()

    def transmit() -> None:
        if card.transmit(VERIFY) != OK:
            raise AssertionError("the card did not accept the PIN")

    return transmit


def _microseconds(command: Callable[[], None]) -> float:
    begin = perf_counter()
    command()
    return (perf_counter() - begin) * 1e6


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<20} {value:8.2f}")
