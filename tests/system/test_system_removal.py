"""The end of a package while a machine has a virtual reader: it goes on, is saved, and is restored after a boot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.bus import REPOSITORY
from helpers.domains import qemu_xml
from helpers.system_host import SystemHost, system_host
from helpers.waiting import wait_until

PUT_BACK = REPOSITORY / "contrib/bundle/put-back"
LEFT = "/etc/tmpfiles.d/virtcard-left.conf"
OURS = "/usr/lib/tmpfiles.d/virtcard.conf"
VM = "lonely"


@pytest.fixture(scope="module")
def host() -> Iterator[SystemHost]:
    """A host of its own, since put-back takes the readers of all machines."""
    with system_host() as running:
        running.start_virtcardd()
        yield running


@pytest.fixture
def machine(host: SystemHost) -> Iterator[str]:
    """A machine with a virtual reader, that is off."""
    host.virsh("define", "/dev/stdin", stdin=qemu_xml(VM))
    wait_until(lambda: host.run("info", VM).returncode == 0, 10, "the domain is on the bus")
    host.virtcard("enable", VM)
    yield VM
    host.root.run("virsh", "-q", "-c", "qemu:///system", "destroy", VM)
    host.virsh("undefine", "--managed-save", VM)
    host.root.check("rm", "-f", LEFT)


def put_back(host: SystemHost) -> str:
    """What it says; it never fails."""
    done = host.root.run(str(PUT_BACK))
    assert done.returncode == 0
    return done.stdout + done.stderr


def boot_without_us(host: SystemHost) -> None:
    """What a boot makes after the package has gone; virtcardd is in nobody's way."""
    host.stop("libvirtd")
    host.root.shell(f"mv {OURS} /tmp; rm -r /run/virtcard; systemd-tmpfiles --create; mv /tmp/virtcard.conf {OURS}")
    host.start("libvirtd")


def test_a_machine_that_is_off_needs_nothing_any_more(host: SystemHost, machine: str) -> None:
    said = put_back(host)
    assert f"Domain '{machine}' has no virtual reader any more." in said
    assert "still have a virtual reader" not in said
    assert host.root.run("test", "-e", LEFT).returncode == 1


def test_a_machine_that_ran_can_be_saved_and_is_restored_after_a_boot(host: SystemHost, machine: str) -> None:
    host.virsh("start", machine)
    said = put_back(host)
    assert f"  {machine} (runs)" in said
    host.virsh("managedsave", machine)
    boot_without_us(host)
    host.virsh("start", machine)
    assert "<smartcard" in host.virsh("dumpxml", machine)


def test_a_machine_that_is_saved_is_restored_after_a_boot(host: SystemHost, machine: str) -> None:
    host.virsh("start", machine)
    host.virsh("managedsave", machine)
    said = put_back(host)
    assert f"  {machine} (saved)" in said
    boot_without_us(host)
    assert host.root.check("stat", "--format=%U %G %a", "/run/virtcard/vm").strip() == "root root 750"
    host.virsh("start", machine)
    host.virsh("destroy", machine)
    assert "<smartcard" not in host.virsh("dumpxml", machine)
