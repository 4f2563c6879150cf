"""The main job on real parts: libvirt, virtcardd on a bus, pcscd, and what the guest sees of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from helpers.guest import Guest
from helpers.host import Host, private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import Usb, domain_xml
from helpers.scripted_card import FCI, SELECT, ScriptedCard, echo, give, pattern
from helpers.waiting import wait_until

READER = "reader:Virtual PCD 00 00"
GUEST_PATIENCE = 40.0
"""Seconds; the ATR that we present keeps the guest waiting for 23."""
GUEST_ATR = bytes.fromhex("3b884001") + b"virtcard"
"""The card's own historical bytes behind a T=0 ATR with TC2 = 1."""


@pytest.fixture(scope="module")
def host(libvirtd: Libvirtd) -> Iterator[Host]:
    with private_host(libvirtd) as running:
        running.slots[0].plug(ScriptedCard())
        running.slots[1].plug(ScriptedCard(b"\x3b\x05other"))
        wait_until(lambda: _present(running) == 2, 10, "both cards are in their readers")
        yield running


def _present(host: Host) -> int:
    return sum(reader["present"] for reader in host.virtcardd.json("readers"))


@contextmanager
def _defined(host: Host, name: str, usb: Usb) -> Iterator[None]:
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(domain_xml(host.libvirtd.directory, name, usb))
    try:
        yield
    finally:
        with closing(host.libvirtd.open()) as connection:
            domain = connection.lookupByName(name)
            if domain.isActive():
                domain.destroy()
            domain.undefine()


@pytest.fixture(scope="module")
def vm(host: Host, usb: Usb) -> Iterator[str]:
    """A VM that virtcard gave its reader, off."""
    name = f"job-{usb}"
    with _defined(host, name, usb):
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 5, "the domain is on the bus")
        host.virtcardd.virtcard("enable", name)
        yield name


@pytest.fixture(scope="module")
def used(host: Host, vm: str) -> Iterator[Guest]:
    """The VM, running."""
    host.libvirtd.virsh("start", vm)
    with closing(Guest(Path(host.libvirtd.directory), vm)) as guest:
        guest.wait_until_up()
        guest.wait_for_readers(1)
        yield guest


@pytest.fixture
def inserted(host: Host, vm: str, used: Guest) -> Iterator[Guest]:
    """The VM with the card of the first host reader; empty again afterwards."""
    host.virtcardd.virtcard("insert", vm, READER)
    used.wait_reader_state("present")
    yield used
    host.virtcardd.virtcard("eject", vm)
    used.wait_reader_state("empty")


def test_the_guest_sees_the_card_with_its_own_historical_bytes(inserted: Guest) -> None:
    assert inserted.readers()[0].atr == GUEST_ATR


def test_the_guest_selects_and_fetches_with_get_response(inserted: Guest) -> None:
    first, second = inserted.transmit(SELECT, b"\x00\xc0\x00\x00" + bytes([len(FCI)]))
    assert first == bytes([0x61, len(FCI)])
    assert second == FCI + b"\x90\x00"


@pytest.mark.parametrize("size", [1, 52, 116, 180, 244, 256, 257, 373, 1000])
def test_answers_of_every_awkward_length_arrive_whole(inserted: Guest, size: int) -> None:
    """54 mod 64 shifts every later answer on xHCI, over 374 bytes vanish: neither may reach the guest."""
    assert _fetch(inserted, give(size)) == pattern(size)
    assert _fetch(inserted, give(3)) == pattern(3)


def test_a_chained_command_reaches_the_card_whole(inserted: Guest) -> None:
    parts = [b"a" * 200, b"b" * 200, b"c" * 100]
    commands = [echo(part, more=number < 2) for number, part in enumerate(parts)]
    assert inserted.transmit(*commands[:2]) == [b"\x90\x00"] * 2
    assert _fetch(inserted, commands[2]) == b"".join(parts)


def test_the_host_uses_the_card_at_the_same_time(host: Host, inserted: Guest) -> None:
    assert inserted.transmit(SELECT)[0][0] == 0x61
    readers = {reader["name"]: reader for reader in host.virtcardd.json("readers")}
    assert readers["Virtual PCD 00 00"]["present"]


def test_another_source_takes_the_place_of_the_first(host: Host, vm: str, inserted: Guest) -> None:
    host.virtcardd.virtcard("insert", vm, "reader:Virtual PCD 00 01")
    wait_until(lambda: b"other" in inserted.readers()[0].atr, 10, "the guest sees the other card")
    host.virtcardd.virtcard("insert", vm, READER)
    wait_until(lambda: inserted.readers()[0].atr == GUEST_ATR, 10, "the guest sees the first card again")


def test_the_card_leaves_and_comes_back_with_the_one_in_the_host_reader(host: Host, inserted: Guest) -> None:
    _swap(host, inserted, ScriptedCard())
    assert inserted.transmit(SELECT)[0][0] == 0x61


@pytest.fixture
def slow(host: Host, inserted: Guest) -> Iterator[ScriptedCard]:
    """A card in the reader whose command `80 14` does not end before its gate opens; the usual one is back after."""
    card = ScriptedCard()
    _swap(host, inserted, card)
    card.gate.clear()
    yield card
    card.gate.set()
    _swap(host, inserted, ScriptedCard())


def _swap(host: Host, guest: Guest, card: ScriptedCard) -> None:
    host.slots[0].unplug()
    guest.wait_reader_state("empty")
    host.slots[0].plug(card)
    guest.wait_reader_state("present")


@contextmanager
def _command_under_way(guest: Guest, card: ScriptedCard) -> Iterator[None]:
    """A command of the guest is at the card; at the end the guest must have got an error for it, in bounded time."""
    exit_codes: list[int] = []
    asking = threading.Thread(
        target=lambda: exit_codes.append(guest.scard("80140000", timeout=GUEST_PATIENCE).exit_code)
    )
    asking.start()
    assert card.waiting.wait(10)
    yield
    asking.join(GUEST_PATIENCE)
    assert exit_codes, "the guest's command hangs beyond its own patience"
    assert exit_codes[0] != 0


def test_a_card_that_goes_in_the_middle_of_an_apdu_is_a_clean_error_in_the_guest(
    host: Host, inserted: Guest, slow: ScriptedCard
) -> None:
    with _command_under_way(inserted, slow):
        host.slots[0].hang_up()
    slow.gate.set()
    _swap(host, inserted, ScriptedCard())
    assert inserted.transmit(SELECT)[0][0] == 0x61


def test_virtcardd_killed_in_the_middle_of_an_apdu_leaves_no_hang(
    host: Host, inserted: Guest, slow: ScriptedCard
) -> None:
    with _command_under_way(inserted, slow):
        host.virtcardd.kill()
        slow.gate.set()
        host.virtcardd.start()
    inserted.wait_reader_state("present", timeout=40)
    assert inserted.transmit(SELECT)[0][0] == 0x61


def test_virtcardd_stopped_in_order_ejects_and_its_next_start_inserts_again(host: Host, inserted: Guest) -> None:
    assert host.virtcardd.stop() == 0
    inserted.wait_reader_state("empty")
    host.virtcardd.start()
    inserted.wait_reader_state("present")
    assert inserted.transmit(SELECT)[0][0] == 0x61


def _fetch(guest: Guest, command: bytes) -> bytes:
    """What a guest's middleware gets: 61xx followed by GET RESPONSE until the end."""
    answer = guest.transmit(command)[0]
    data = answer[:-2]
    while answer[-2] == 0x61:
        answer = guest.transmit(b"\x00\xc0\x00\x00" + answer[-1:])[0]
        data += answer[:-2]
    assert answer[-2:] == b"\x90\x00"
    return data
