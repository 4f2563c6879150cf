"""The test guest: what the other guest tests stand on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from helpers.guest import Guest
from helpers.guest_agent import GuestError
from helpers.libvirtd import Libvirtd
from helpers.machines import Usb, qemu_guest, reader_arguments
from helpers.waiting import wait_until


def test_pcscd_in_the_guest_lists_the_virtual_reader_and_no_card(guest: Guest) -> None:
    (reader,) = guest.readers()
    assert reader.name.startswith("Gemalto Gemplus USB SmartCard Reader 433-Swap [CCID Interface]")
    assert (reader.state, reader.atr) == ("empty", b"")


def test_usb_controller_is_the_one_that_was_asked_for(guest: Guest, usb: Usb) -> None:
    driver = guest.run("readlink /sys/bus/usb/devices/usb1/../driver").check().strip()
    assert driver.endswith(f"/{usb}_hcd")


def test_outside_judges_run_in_the_guest(guest: Guest) -> None:
    assert "433-Swap" in guest.run("opensc-tool --list-readers").check()
    assert "(empty)" in guest.run("pkcs11-tool --list-slots").check()
    assert "legacy" in guest.run("openssl list -providers -provider legacy").check()
    guest.run("mkdir /tmp/nss && certutil -N -d sql:/tmp/nss --empty-password && rm -r /tmp/nss").check()


def test_exit_code_and_output_of_a_command_come_back(guest: Guest) -> None:
    result = guest.run("echo one; echo two >&2; exit 7")
    assert (result.exit_code, result.output) == (7, "one\ntwo\n")


def test_a_failing_command_that_must_succeed_shows_its_output(guest: Guest) -> None:
    with pytest.raises(GuestError, match="No such file"):
        guest.run("cat /nowhere").check()


def test_a_command_that_takes_too_long_is_ended_and_the_agent_goes_on(guest: Guest) -> None:
    with pytest.raises(GuestError, match="not done in the guest within 1 s"):
        guest.run("echo begun; sleep 1234", timeout=1)
    assert guest.run("ps | grep '[s]leep 1234'").exit_code == 1


def test_a_background_command_outlives_its_request(guest: Guest) -> None:
    started = time.monotonic()
    guest.run("(sleep 2; echo done > /tmp/later) > /dev/null 2>&1 &").check()
    assert time.monotonic() - started < 2
    wait_until(lambda: guest.run("cat /tmp/later").output == "done\n", 20, "the background command ends", 0.2)
    guest.run("rm /tmp/later").check()


def test_a_file_goes_into_the_guest_and_comes_back_unchanged(guest: Guest) -> None:
    data = bytes(range(256)) * 200
    guest.put("/tmp/a file", data)
    assert guest.get("/tmp/a file") == data
    guest.run("rm '/tmp/a file'").check()


def test_pcscd_in_the_guest_can_be_restarted_with_a_full_log(guest: Guest) -> None:
    guest.restart_pcscd("--debug", "--apdu")
    guest.wait_for_readers(1)
    assert "debug level=debug" in guest.pcscd_log()
    guest.restart_pcscd()
    guest.wait_for_readers(1)


def test_a_handle_on_an_empty_reader_is_refused_with_its_pcsc_code(guest: Guest) -> None:
    result = guest.scard("00A40000")
    assert result.exit_code == 1
    assert "0x8010000C" in result.output  # SCARD_E_NO_SMARTCARD


@pytest.mark.parametrize("usb", ["xhci"], indirect=True, scope="session")
def test_a_guest_lives_through_a_crash_of_libvirtd(guest: Guest, libvirtd: Libvirtd) -> None:
    libvirtd.kill()
    assert guest.run("echo alive").output == "alive\n"
    libvirtd.start()
    assert "guest-xhci" in libvirtd.virsh("list", "--name")


def test_a_reader_that_is_plugged_in_later_appears_and_goes(tmp_path: Path) -> None:
    with qemu_guest(tmp_path, "xhci", reader_arguments(tmp_path / "0.card")) as guest:
        guest.wait_for_readers(1)
        guest.qmp("device_add", driver="usb-ccid", id="later")
        guest.wait_for_readers(2)
        guest.qmp("device_del", id="later")
        guest.wait_for_readers(1)
