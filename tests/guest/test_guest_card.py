"""A card that a bridge inserts, seen from inside the guest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.guest import Guest
from helpers.scripted_card import ATR_T0, ATR_T1, OK, SELECT, ScriptedCard, give, pattern
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.base import CardListener, Transmission

BYE = 10.0


class BridgedCard:
    """A ScriptedCard at the card seam."""

    def __init__(self, atr: bytes) -> None:
        self.scripted = ScriptedCard(atr)
        self.transmission = Transmission.T1 if atr == ATR_T1 else Transmission.T0

    def power_on(self) -> bytes:
        self.scripted.reset()
        return self.scripted.atr

    def transmit(self, command: bytes) -> bytes:
        return self.scripted.transmit(command)

    def reset(self) -> bytes:
        return self.power_on()

    def power_off(self) -> None:
        self.scripted.reset()

    def listen(self, listener: CardListener | None) -> None:
        pass


@pytest.fixture
def bridge(guest: Guest, card_socket: Path) -> Iterator[Bridge]:
    """A bridge to the guest's virtual reader, which it leaves empty."""
    running = Bridge(Endpoint.unix(str(card_socket)), lambda status: None)
    running.start()
    yield running
    running.stop()
    assert running.join(BYE)
    guest.wait_reader_state("empty")


def test_guest_sees_a_card_come_and_go(guest: Guest, bridge: Bridge) -> None:
    for _ in range(3):
        bridge.insert(BridgedCard(ATR_T0))
        assert guest.wait_reader_state("present").atr.endswith(b"virtcard")
        bridge.eject()
        assert guest.wait_reader_state("empty").atr == b""


@pytest.mark.soak(minutes=3)
def test_a_card_comes_and_goes_a_hundred_times_with_commands_in_between(guest: Guest, bridge: Bridge) -> None:
    for _ in range(100):
        bridge.insert(BridgedCard(ATR_T0))
        guest.wait_reader_state("present")
        assert guest.transmit(give(20)) == [pattern(20) + OK]
        bridge.eject()
        guest.wait_reader_state("empty")


@pytest.mark.parametrize("atr", [ATR_T0, ATR_T1], ids=["T=0", "T=1"])
def test_apdus_of_the_guest_reach_the_card(guest: Guest, bridge: Bridge, atr: bytes) -> None:
    bridge.insert(BridgedCard(atr))
    guest.wait_reader_state("present")
    selected, given = guest.transmit(SELECT, give(20))
    assert selected[-2:] == OK or selected[-2] == 0x61
    assert given == pattern(20) + OK


def test_answers_around_every_multiple_of_a_usb_packet_arrive_whole(guest: Guest, bridge: Bridge) -> None:
    """On xHCI an answer that fills its last packet (54 bytes with the status word, and each 64 more) shifts all later
    answers by one, unless the bridge splits it."""
    bridge.insert(BridgedCard(ATR_T0))
    guest.wait_reader_state("present")
    for size in (51, 52, 53, 115, 116, 117, 180, 244, 256):
        assert whole(guest, give(size)) == pattern(size) + OK, size


def whole(guest: Guest, command: bytes) -> bytes:
    """The answer to a command, with the rest that 61xx announces (ISO 7816-4, 5.1.3)."""
    (answer,) = guest.transmit(command)
    if answer[-2] == 0x61:
        return answer[:-2] + whole(guest, bytes([0x00, 0xC0, 0x00, 0x00, answer[-1]]))
    return answer
