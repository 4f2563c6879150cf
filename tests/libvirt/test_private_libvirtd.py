"""The private libvirtd that other tests stand on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import libvirt
import pytest

from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.machines import smartcard_xml


def machine(libvirtd: Libvirtd, name: str) -> str:
    return f"""
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <memballoon model='none'/>
    {smartcard_xml(libvirtd.directory / f"{name}.card")}
  </devices>
</domain>"""


def start(libvirtd: Libvirtd, name: str) -> None:
    with closing(libvirtd.open()) as connection:
        connection.defineXML(machine(libvirtd, name)).create()


def alive(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes())


def test_two_of_them_do_not_see_each_other() -> None:
    with private_libvirtd() as first, private_libvirtd() as second:
        start(first, "one")
        assert (first.virsh("list", "--name").split(), second.virsh("list", "--name").split()) == (["one"], [])


def test_qemu_belongs_to_the_user_who_runs_the_tests() -> None:
    with private_libvirtd() as libvirtd:
        start(libvirtd, "one")
        (pid,) = libvirtd.qemu_pids()
        assert Path(f"/proc/{pid}").stat().st_uid == Path("/proc/self").stat().st_uid
        assert (libvirtd.directory / "one.card").is_socket()


@pytest.mark.parametrize("crashed", [False, True], ids=["running", "crashed"])
def test_nothing_is_left_of_it(crashed: bool) -> None:
    with private_libvirtd() as libvirtd:
        start(libvirtd, "one")
        pids = [libvirtd.pid, *libvirtd.qemu_pids()]
        assert len(pids) == 2
        if crashed:
            libvirtd.kill()
    assert not libvirtd.directory.exists()
    assert not any(alive(pid) for pid in pids)


def test_a_vm_outlives_a_crash_and_is_found_again() -> None:
    with private_libvirtd() as libvirtd:
        start(libvirtd, "one")
        before = libvirtd.qemu_pids()
        libvirtd.kill()
        libvirtd.start()
        assert libvirtd.virsh("list", "--name").split() == ["one"]
        assert libvirtd.qemu_pids() == before


def test_a_running_vm_migrates_from_one_to_the_other() -> None:
    with private_libvirtd("here") as first, private_libvirtd("there") as second:
        start(first, "one")
        with closing(first.open()) as source, closing(second.open()) as target:
            flags = libvirt.VIR_MIGRATE_LIVE
            moved = source.lookupByName("one").migrate(target, flags, None, "tcp://127.0.0.1", 0)
            assert moved.isActive()
        assert first.virsh("list", "--name").split() == []
        assert len(second.qemu_pids()) == 1
