"""A virtual reader whose input a dead client left stuck: freed over QEMU's monitor, where a rule says so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from helpers.domains import domain_uuid, qemu_xml
from helpers.host import Host, private_host
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.names import hotplug_socket_name, socket_name
from virtcard.service.healing import ADVICE
from virtcard.wire.vscard import Init, MessageType, encode

NUMBERS = count()
READER = "reader:Virtual PCD 00 00"
GREETING = encode(MessageType.INIT, Init().encode())
HALF_A_MESSAGE = encode(MessageType.ATR, bytes(40))[:-20]
"""What a client that dies leaves in QEMU's buffer; the next one's greeting is taken for its end."""
TOO_LONG = b"\0\0\0\7" + bytes(4) + b"\0\1\0\0" + bytes(66_000)
"""A payload that QEMU's buffer does not hold: it reads no more, from nobody."""
PATIENCE = 60.0


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with private_host() as running:
        running.slots[0].plug(ScriptedCard())
        wait_until(lambda: any(reader["present"] for reader in running.virtcardd.json("readers")), 10, "the card")
        yield running


@contextmanager
def _machine(host: Host, slot: int) -> Iterator[tuple[str, Path]]:
    """A machine that runs with a card in that reader, and the socket of the reader."""
    name, directory = f"stuck{next(NUMBERS)}", host.libvirtd.directory / "virtcard"
    with closing(host.libvirtd.open()) as connection:
        domain = connection.defineXML(qemu_xml(name))
        if slot:
            domain.create()
            wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is known", 0.1)
            host.virtcardd.policy(ALLOW_ALL + 'monitor = "hotplug"\n')
            host.virtcardd.virtcard("policy", "reload")
            host.virtcardd.virtcard("enable", name, "--hotplug")
        else:
            wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is known", 0.1)
            host.virtcardd.virtcard("enable", name)
            host.libvirtd.virsh("start", name)
        uuid = domain_uuid(name)
        path = directory / "hotplug" / hotplug_socket_name(uuid, slot) if slot else directory / socket_name(uuid)
        wait_until(lambda: _bridge(host, name).get("state") == "empty", 20, "the bridge is there", 0.1)
        host.virtcardd.virtcard("insert", name, READER)
        yield name, path
        domain.destroy()
        domain.undefine()


def _bridge(host: Host, vm: str) -> dict[str, Any]:
    bridges: list[dict[str, Any]] = host.virtcardd.json("info", vm)["bridges"]
    return bridges[0] if bridges else {}


def _policy(host: Host, monitor: str) -> None:
    host.virtcardd.policy(f'{ALLOW_ALL}monitor = "{monitor}"\n')
    host.virtcardd.virtcard("policy", "reload")


@contextmanager
def _client(path: Path) -> Iterator[socket.socket]:
    """Another client of the reader; it leaves with a shutdown, or QEMU keeps its place."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        yield client
        client.shutdown(socket.SHUT_RDWR)


def _spoil(path: Path, rest: bytes) -> None:
    with _client(path) as client:
        client.sendall(GREETING)
        assert client.recv(24)
        client.settimeout(2)
        try:
            client.sendall(rest)
        except TimeoutError:
            return  # QEMU reads no more


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("rest", [HALF_A_MESSAGE, TOO_LONG], ids=["half a message", "one too long"])
def test_a_stuck_reader_is_freed_and_gets_its_card_again(host: Host, slot: int, rest: bytes) -> None:
    with _machine(host, slot) as (vm, path):
        _policy(host, "heal")
        host.virtcardd.kill()
        _spoil(path, rest)
        host.virtcardd.start()
        wait_until(lambda: _bridge(host, vm).get("state") == "inserted", PATIENCE, "the card is in again", 0.2)
        assert f"The virtual reader of {vm} was stuck, and is free." in host.virtcardd.log


def test_without_a_rule_the_status_says_what_to_do_and_the_monitor_is_left_alone(host: Host) -> None:
    with _machine(host, 0) as (vm, path):
        _policy(host, "none")
        host.virtcardd.kill()
        _spoil(path, TOO_LONG)
        host.virtcardd.start()
        wait_until(lambda: "monitor =" in _bridge(host, vm)["hint"], PATIENCE, "it says so", 0.2)
        assert _bridge(host, vm)["hint"] == ADVICE.format(name=vm)
        assert f"hint: {ADVICE.format(name=vm)}" in host.virtcardd.virtcard("status")
        with closing(host.libvirtd.open()) as connection:
            assert connection.lookupByName(vm).messages(0) == []
        assert _bridge(host, vm)["state"] != "inserted"


def test_a_reader_that_another_client_holds_is_not_broken_for_it(host: Host) -> None:
    with _machine(host, 0) as (vm, path):
        _policy(host, "heal")
        host.virtcardd.kill()
        with _client(path) as other:
            other.sendall(GREETING[:10])
            host.virtcardd.start()
            wait_until(lambda: f"of {vm} stays stuck" in host.virtcardd.log, PATIENCE, "it was looked at", 0.2)
            other.sendall(GREETING[10:])
            with other.makefile("rb") as answers:
                assert len(answers.read(24)) == 24, "what it had begun was still there"
        wait_until(lambda: _bridge(host, vm).get("state") == "inserted", PATIENCE, "the card is in again", 0.2)


def test_the_log_tells_of_no_fault_of_our_own(host: Host) -> None:
    assert "Traceback" not in host.virtcardd.log
