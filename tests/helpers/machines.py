"""Boots the test guest, in a domain of libvirt's or in a plain QEMU."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

import libvirt

from helpers.guest import Guest, agent_path, console_path
from helpers.guest_agent import GuestError
from helpers.libvirtd import Libvirtd
from helpers.waiting import wait_until

IMAGES = Path(__file__).resolve().parents[2] / ".cache" / "guest"
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests nokaslr tsc=reliable audit=0 lsm="
"""The last six spare an emulated processor a seventh of the work of a boot."""
MEMORY = 256
"""MiB; the guest's files take 35 of them."""

Usb = Literal["xhci", "uhci"]
MACHINES: dict[Usb, tuple[str, str, str]] = {
    "xhci": ("q35", "qemu-xhci", "qemu-xhci"),
    "uhci": ("pc", "piix3-uhci", "piix3-usb-uhci"),
}
"""Machine, libvirt's name of the USB controller, QEMU's name of it. usb-ccid answers differently on the two."""


def kernel() -> Path:
    """The guest's kernel; a test that needs the guest fails when it has not been built."""
    path = IMAGES / "vmlinux"
    if not path.is_file():
        raise GuestError("the test guest has not been built; build it with: make deps")
    return path


def smartcard_xml(path: Path) -> str:
    """A virtual reader whose card is behind that unix socket, on which QEMU listens."""
    return f"<smartcard mode='passthrough' type='unix'><source mode='bind' path={quoteattr(str(path))}/></smartcard>"


def domain_xml(directory: Path, name: str, usb: Usb = "xhci", devices: str = "") -> str:
    """A domain that boots the test guest: what the guest needs and `devices`, but no virtual reader of its own."""
    machine, controller, _ = MACHINES[usb]
    return f"""
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{MEMORY}</memory>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel()}</kernel>
    <initrd>{IMAGES / "initrd.img"}</initrd>
    <cmdline>{KERNEL_ARGUMENTS}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <controller type='usb' index='0' model='{controller}'/>
    <serial type='file'><source path={quoteattr(str(console_path(directory, name)))}/><target port='0'/></serial>
    <serial type='unix'>
      <source mode='bind' path={quoteattr(str(agent_path(directory, name)))}/><target port='1'/>
    </serial>
    <video><model type='none'/></video>
    <memballoon model='none'/>
    {devices}
  </devices>
</domain>"""


@contextmanager
def libvirt_guest(libvirtd: Libvirtd, name: str, usb: Usb = "xhci", devices: str = "") -> Iterator[Guest]:
    """A guest booted in a domain of that libvirtd; both are gone afterwards."""
    with closing(libvirtd.open()) as connection:
        connection.defineXML(domain_xml(libvirtd.directory, name, usb, devices)).create()
    try:
        with closing(Guest(libvirtd.directory, name)) as guest:
            yield guest.wait_until_up()
    finally:
        # A new connection, since a test may have ended libvirtd in between.
        with closing(libvirtd.open()) as connection:
            domain = connection.lookupByName(name)
            with suppress(libvirt.libvirtError):  # a libvirtd that has just come back may still be looking at it
                domain.destroy()
            wait_until(lambda: not domain.isActive(), 10, "the guest's domain is off", 0.1)
            domain.undefine()


class QemuGuest(Guest):
    """A guest that QEMU runs without libvirt."""

    def __init__(self, directory: Path, name: str, process: subprocess.Popen[bytes]) -> None:
        super().__init__(directory, name)
        self.process = process
        self._qmp_path = directory / f"{name}.qmp"

    def qmp(self, execute: str, **arguments: object) -> object:
        """What a QMP command returns; GuestError with QEMU's words when it fails."""
        with closing(socket.socket(socket.AF_UNIX)) as monitor:
            monitor.settimeout(30)
            monitor.connect(str(self._qmp_path))
            with monitor.makefile("r") as answers:
                answers.readline()
                _qmp_call(monitor, answers, "qmp_capabilities", {})
                return _qmp_call(monitor, answers, execute, arguments)


@contextmanager
def qemu_guest(
    directory: Path,
    usb: Usb = "xhci",
    arguments: Sequence[str] = (),
    name: str = "guest",
    *,
    prefix: Sequence[str] = (),
) -> Iterator[QemuGuest]:
    """A guest booted in a QEMU of its own; `directory` must be short, for the sockets in it.

    `arguments` go to QEMU after the USB controller: `-chardev` and `-device` of a virtual reader.
    `prefix` are words before the command, which put it into another namespace.
    """
    with (directory / f"{name}.log").open("wb") as log:
        command = [*prefix, *qemu_command(directory, usb, arguments, name)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(
            lambda: agent_path(directory, name).exists() or process.poll() is not None,
            20,
            "QEMU opens the agent's port",
        )
        if process.poll() is not None:
            raise GuestError(f"QEMU does not start: {(directory / f'{name}.log').read_text(errors='replace')}")
        with closing(QemuGuest(directory, name, process)) as guest:
            guest.wait_until_up()
            yield guest
    finally:
        process.kill()
        process.wait(10)


def reader_arguments(path: Path, number: int = 0) -> list[str]:
    """QEMU arguments of a virtual reader whose card is behind that unix socket, on which QEMU listens."""
    return [
        *("-chardev", f"socket,id=card{number},path={path},server=on,wait=off"),
        *("-device", f"usb-ccid,id=ccid{number}"),
        *("-device", f"ccid-card-passthru,chardev=card{number},bus=ccid{number}.0"),
    ]


def qemu_command(directory: Path, usb: Usb, arguments: Sequence[str], name: str) -> list[str]:
    """The command line of a plain QEMU with the guest."""
    machine, _, controller = MACHINES[usb]
    return [
        *("qemu-system-x86_64", "-machine", machine, "-accel", "tcg", "-m", str(MEMORY), "-nodefaults"),
        *("-display", "none", "-device", f"{controller},id=usb"),
        *("-kernel", str(kernel()), "-initrd", str(IMAGES / "initrd.img"), "-append", KERNEL_ARGUMENTS),
        *("-serial", f"file:{console_path(directory, name)}"),
        *("-serial", f"unix:{agent_path(directory, name)},server=on,wait=off"),
        *("-qmp", f"unix:{directory / f'{name}.qmp'},server=on,wait=off"),
        *arguments,
    ]


def _qmp_call(monitor: socket.socket, answers: Iterable[str], execute: str, arguments: dict[str, object]) -> object:
    """Send one command; events that come before its answer are dropped."""
    monitor.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
    for line in answers:
        answer = json.loads(line)
        if "error" in answer:
            raise GuestError(f"QMP {execute}: {answer['error']['desc']}")
        if "return" in answer:
            return answer["return"]
    raise GuestError(f"QMP {execute}: QEMU has ended")
