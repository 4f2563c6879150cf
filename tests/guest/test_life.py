"""What happens to a machine while its guest uses a card: no login outlives it, no command hangs, the card is back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from helpers.guest_agent import Result
from helpers.host import private_host
from helpers.libvirtd import Libvirtd
from helpers.life import Life, life
from helpers.machines import Usb
from helpers.waiting import wait_until

pytestmark = pytest.mark.parametrize("usb", ["xhci"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def machine(libvirtd: Libvirtd, usb: Usb) -> Iterator[Life]:
    with private_host(libvirtd) as host, life(host, "life", usb) as one:
        yield one


@pytest.fixture
def used(machine: Life) -> Life:
    """The machine with its guest logged in to the card."""
    machine.wait_card()
    machine.login()
    assert machine.is_logged_in()
    return machine


def _login_has_ended(machine: Life) -> None:
    wait_until(lambda: not machine.card.is_logged_in, 10, "the card was reset")


def _goes_on(machine: Life) -> None:
    """The guest has its card, is not logged in, and can be."""
    machine.wait_card()
    assert not machine.is_logged_in()
    machine.works()
    machine.login()


def test_suspend_keeps_the_card_in_and_ends_the_login(used: Life) -> None:
    since = used.bridge()["since"]
    used.virsh("suspend")
    _login_has_ended(used)
    assert used.state() == "inserted"
    used.virsh("resume")
    _goes_on(used)
    assert used.bridge()["since"] == since, "it was in all the time"


def test_a_command_over_a_suspend_is_answered(used: Life) -> None:
    with used.in_a_command() as asked:
        used.virsh("suspend")
    used.virsh("resume")
    assert isinstance(asked.end(), Result)
    _goes_on(used)


def test_save_and_restore_bring_the_card_back_without_the_login(used: Life) -> None:
    image = str(used.host.libvirtd.directory / "life.save")
    used.virsh("save", image)
    _login_has_ended(used)
    wait_until(lambda: used.state() == "", 10, "there is no bridge", 0.1)
    used.host.libvirtd.virsh("restore", image)
    used.reconnect()
    _goes_on(used)


def test_a_command_over_save_and_restore_ends_in_time(used: Life) -> None:
    """The answer is lost with the old QEMU, and the guest that comes back still waits for it."""
    image = str(used.host.libvirtd.directory / "life.save")
    used.guest.run("rm -f /tmp/said; (scard run 0 80140000; echo ended) > /tmp/said 2>&1 &").check()
    used.card.gate.clear()
    assert used.card.waiting.wait(10)
    used.virsh("save", image)
    used.card.gate.set()
    used.host.libvirtd.virsh("restore", image)
    used.reconnect()
    wait_until(lambda: "ended" in used.guest.run("cat /tmp/said").output, 60, "the guest's command ends", 0.2)
    _goes_on(used)


def test_managed_save_and_the_next_start_bring_the_card_back_without_the_login(used: Life) -> None:
    used.virsh("managedsave")
    _login_has_ended(used)
    used.virsh("start")
    used.reconnect()
    _goes_on(used)


def test_a_snapshot_ends_the_login_and_leaves_the_card_in(used: Life) -> None:
    used.virsh("snapshot-create-as", "seen")
    _login_has_ended(used)
    used.virsh("snapshot-delete", "seen")
    _goes_on(used)


def test_a_guest_that_is_set_back_to_where_it_was_logged_in_is_not(used: Life) -> None:
    used.virsh("snapshot-create-as", "before")
    _goes_on(used)
    used.virsh("snapshot-revert", "before")
    _login_has_ended(used)
    used.reconnect()
    used.virsh("snapshot-delete", "before")
    _goes_on(used)


def test_reset_ends_the_login_and_leaves_the_card_in(used: Life) -> None:
    since = used.bridge()["since"]
    used.virsh("reset")
    _login_has_ended(used)
    used.reconnect()
    _goes_on(used)
    assert used.bridge()["since"] == since, "the card itself was in all the time"


def test_a_guest_that_reboots_is_not_logged_in_any_more(used: Life) -> None:
    used.guest.run("(sleep 0.2; reboot -f) > /dev/null 2>&1 &").check()
    _login_has_ended(used)
    used.reconnect()
    _goes_on(used)


def test_a_command_that_the_reset_cut_off_shifts_no_answer(used: Life) -> None:
    with used.in_a_command():
        used.virsh("reset")
    used.reconnect()
    _goes_on(used)


def test_a_qemu_that_crashes_takes_the_login_along_and_the_next_start_has_the_card(used: Life) -> None:
    (pid,) = used.host.libvirtd.qemu_pids()
    with used.in_a_command():
        os.kill(pid, signal.SIGKILL)
    _login_has_ended(used)
    wait_until(lambda: used.state() == "", 10, "there is no bridge", 0.1)
    wait_until(lambda: "shut off" in used.virsh("domstate"), 10, "libvirt knows", 0.1)
    used.virsh("start")
    used.reconnect()
    _goes_on(used)


def test_a_guest_that_powers_off_leaves_the_card_to_others(used: Life) -> None:
    used.guest.run("(sleep 0.2; poweroff -f) > /dev/null 2>&1 &").check()
    _login_has_ended(used)
    wait_until(lambda: used.state() == "", 10, "there is no bridge", 0.1)
    readers = {reader["name"]: reader for reader in used.host.virtcardd.json("readers")}
    assert readers["Virtual PCD 00 00"]["domains"] == []
    used.virsh("start")
    used.reconnect()
    _goes_on(used)


def test_the_log_tells_of_no_fault_of_our_own(machine: Life) -> None:
    assert "Traceback" not in machine.host.virtcardd.log
