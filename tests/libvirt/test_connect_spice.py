"""`virtcard connect spice://... --domain VM` beside libvirt: its QEMU is asked who is connected."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.soft_cards import empty_card
from helpers.waiting import wait_until
from virtcard.bridge.spice.clients import Session
from virtcard.card.soft.store import Store
from virtcard.cli.local.monitor import DomainMonitor
from virtcard.errors import DomainStateError, NoSuchDomain


def machine(libvirtd: Libvirtd) -> str:
    return f"""
<domain type='qemu'>
  <name>desktop</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <graphics type='spice'><listen type='socket' socket='{libvirtd.directory / "spice"}'/></graphics>
    <smartcard mode='passthrough' type='spicevmc'/>
    <memballoon model='none'/>
  </devices>
</domain>"""


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[Libvirtd]:
    with private_libvirtd() as daemon:
        with closing(daemon.open()) as connection:
            connection.defineXML(machine(daemon)).create()
        store = Store(Path(daemon.environment()["XDG_DATA_HOME"]) / "virtcard/cards")
        for name in ("jane", "john"):
            empty_card(store, name)
        yield daemon


@contextmanager
def connecting(libvirtd: Libvirtd, domain: str, card: str = "jane") -> Iterator[subprocess.Popen[str]]:
    place = libvirtd.virsh("domdisplay", "desktop").strip()
    words = ["-m", "virtcard.cli", "--session", "connect", place, f"card:{card}", "--domain", domain]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*libvirtd.somebody(), sys.executable, *words], env=libvirtd.environment(), stdout=pipe, stderr=pipe, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def sessions(libvirtd: Libvirtd) -> tuple[Session, ...]:
    return DomainMonitor(libvirtd.uri, "desktop").clients()


def test_a_card_goes_in_over_libvirt_s_spice_server_and_out_again(libvirtd: Libvirtd) -> None:
    with connecting(libvirtd, "desktop") as child:
        assert child.stdout is not None
        said = [child.stdout.readline().rstrip() for _ in range(3)]
        assert said[2] == "card:jane is in the virtual reader."
        assert [session.channels for session in sessions(libvirtd)] == [{1, 8}]
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (0, "")
    wait_until(lambda: not sessions(libvirtd), 10, "the end of the session")


def test_a_second_one_finds_the_first_and_stops(libvirtd: Libvirtd) -> None:
    with connecting(libvirtd, "desktop") as first:
        assert first.stdout is not None
        assert any("is in the virtual reader" in line for line in first.stdout)
        with connecting(libvirtd, "desktop", "john") as second:
            _, errors = second.communicate(timeout=30)
        assert second.returncode == 1
        assert "shares its own smart cards" in errors
        assert "--take-over" in errors
        assert first.poll() is None


def test_a_domain_that_is_not_there_is_told_at_once(libvirtd: Libvirtd) -> None:
    with connecting(libvirtd, "nobody") as child:
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 4
    assert "There is no domain nobody" in errors


def test_a_domain_that_is_off_has_nobody_to_ask(libvirtd: Libvirtd) -> None:
    with closing(libvirtd.open()) as connection:
        connection.defineXML(machine(libvirtd).replace("desktop", "asleep").replace("spice'/>", "other'/>"))
    with pytest.raises(DomainStateError):
        DomainMonitor(libvirtd.uri, "asleep").clients()
    with pytest.raises(NoSuchDomain):
        DomainMonitor(libvirtd.uri, "nobody").clients()
