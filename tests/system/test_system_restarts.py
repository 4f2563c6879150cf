"""What the daemon talks to is killed and started again, as at an upgrade: the guest's card stays in, or comes back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from helpers.guest import Guest
from helpers.scripted_card import SELECT
from helpers.system_host import SystemHost
from helpers.waiting import wait_until
from virtcard.names import ACTION_EJECT

READER = "reader:Virtual PCD 00 00"
RULES = "/etc/polkit-1/rules.d/10-restarts.rules"
LETS_NOBODY_EJECT = f"""\
polkit.addRule(function(action, subject) {{
    if (action.id == "{ACTION_EJECT}" && subject.user == "nobody") return polkit.Result.YES;
}});
"""
POLKIT_ACTIVATION = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
"""A bus that finds this file starts polkit by itself."""
BACK = 10.0
"""Seconds in which a daemon of a busy machine is back; the figures are printed (pytest -rP)."""


@pytest.fixture
def inserted(host: SystemHost, vm: str, guest: Guest) -> Iterator[Guest]:
    host.virtcard("insert", vm, READER)
    guest.wait_reader_state("present")
    yield guest
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")


def works(guest: Guest) -> bool:
    return guest.transmit(SELECT)[0][0] == 0x61


def since(host: SystemHost, vm: str) -> int:
    """When the bridge got into the state that it is in."""
    (bridge,) = host.json("info", vm)["bridges"]
    assert bridge["state"] == "inserted"
    return int(bridge["since"])


def test_a_libvirtd_that_crashes_and_comes_back_takes_no_card(host: SystemHost, vm: str, inserted: Guest) -> None:
    before = since(host, vm)
    host.stop("libvirtd", signal.SIGKILL)
    wait_until(lambda: host.json("status")["libvirt"] != "connected", BACK, "libvirt is told to be away")
    assert works(inserted)
    host.start("libvirtd")
    wait_until(lambda: host.json("status")["libvirt"] == "connected", 2 * BACK, "libvirt is back")
    host.virsh("suspend", vm)
    wait_until(lambda: host.json("info", vm)["state"] == "paused", BACK, "its events come again")
    host.virsh("resume", vm)
    assert works(inserted)
    assert since(host, vm) == before, "the card stayed in all the time"


def test_a_pcscd_that_is_restarted_takes_the_card_out_and_brings_it_back(host: SystemHost, inserted: Guest) -> None:
    host.stop("pcscd")
    inserted.wait_reader_state("empty")
    began = time.monotonic()
    host.start("pcscd")
    inserted.wait_reader_state("present")
    print(f"from the start of pcscd to the card in the guest: {time.monotonic() - began:.2f} s")
    assert works(inserted)


def test_a_polkitd_that_is_restarted_is_asked_again_and_takes_no_card(
    host: SystemHost, vm: str, inserted: Guest
) -> None:
    before = since(host, vm)
    eject = ("eject", vm)
    host.root.shell(f"mv {POLKIT_ACTIVATION} /run/activation")
    host.reload_bus()
    host.stop("polkit", signal.SIGKILL)
    refused = host.run(*eject, user="nobody")
    host.root.shell(f"mv /run/activation {POLKIT_ACTIVATION}")
    host.reload_bus()
    host.root.check("tee", RULES, stdin=LETS_NOBODY_EJECT)
    try:
        host.start("polkit")
        assert refused.returncode == 3, "without polkit only root may"
        assert works(inserted)
        assert since(host, vm) == before
        host.virtcard(*eject, user="nobody")
        inserted.wait_reader_state("empty")
    finally:
        host.root.check("rm", RULES)


def test_without_a_bus_the_daemon_ends_in_order_and_its_next_start_brings_the_card_back(
    host: SystemHost, inserted: Guest
) -> None:
    """libvirtd ends with its bus too (GDBus, exit-on-close); its machines go on."""
    host.stop("polkit")
    host.stop("dbus", signal.SIGKILL)
    daemon = host.running("virtcardd")
    assert daemon.wait(BACK) == 1, "systemd starts it again (Restart=on-failure)"
    inserted.wait_reader_state("empty")
    assert "The bus closed the connection." in host.root.log("virtcardd")
    assert host.spawn_virtcardd().wait(BACK) == 1, "as often as there is no bus"
    assert "The system bus cannot be reached." in host.root.log("virtcardd")
    host.start("dbus")
    host.start("polkit")
    host.running("libvirtd").wait(BACK)
    host.start("libvirtd")
    began = time.monotonic()
    host.spawn_virtcardd()
    inserted.wait_reader_state("present")
    print(f"from the start of virtcardd to the card in the guest: {time.monotonic() - began:.2f} s")
    assert works(inserted)


def test_nothing_of_that_is_a_fault_of_the_daemon(host: SystemHost) -> None:
    assert "Traceback" not in host.root.log("virtcardd")
