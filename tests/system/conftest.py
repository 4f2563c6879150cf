"""One host with the system's instances of everything, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from helpers.guest import Guest
from helpers.machines import domain_xml
from helpers.scripted_card import ScriptedCard
from helpers.system_host import SystemHost, system_host
from helpers.waiting import wait_until

VM = "job"


@pytest.fixture(scope="session")
def host() -> Iterator[SystemHost]:
    """The host, with virtcardd as its unit says, and a card in each of the two readers."""
    with system_host() as running:
        running.start_virtcardd()
        running.slots[0].plug(ScriptedCard())
        running.slots[1].plug(ScriptedCard(b"\x3b\x05other"))
        wait_until(lambda: _present(running) == 2, 10, "both cards are in their readers")
        yield running


def _present(host: SystemHost) -> int:
    return sum(reader["present"] for reader in host.json("readers"))


@pytest.fixture(scope="session")
def vm(host: SystemHost) -> Iterator[str]:
    """A VM of qemu:///system that root gave a reader with the plain command, and that runs."""
    host.virsh("define", "/dev/stdin", stdin=domain_xml(host.root.directory, VM))
    wait_until(lambda: host.run("info", VM).returncode == 0, 5, "the domain is on the bus")
    host.virtcard("enable", VM)
    host.virsh("start", VM)
    yield VM
    host.virsh("destroy", VM)
    host.virsh("undefine", VM)


@pytest.fixture(scope="session")
def guest(host: SystemHost, vm: str) -> Iterator[Guest]:
    """The VM's inside, booted; its reader is empty between tests."""
    with closing(Guest(host.root.directory, vm)) as booted:
        booted.wait_until_up()
        booted.wait_for_readers(1)
        yield booted
