"""A whole host with the system's instances of everything: bus, polkit, libvirt, pcscd, and virtcardd as its unit says.

The daemons are the machine's own programs with their own configuration, started by hand since there is no systemd.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from helpers.pcscd import DRIVER, free_pair
from helpers.system_root import NEEDED, SystemRoot, inside, system_root
from helpers.system_unit import make_directories, read_unit, start_command
from helpers.vpcd import Slot
from helpers.waiting import wait_until

PATIENCE = 20.0

DAEMONS = {
    "journald": ("/lib/systemd/systemd-journald",),
    "dbus": ("dbus-daemon", "--system", "--nofork", "--nopidfile"),
    "polkit": ("/usr/lib/polkit-1/polkitd", "--no-debug"),
    "virtlogd": ("virtlogd",),
    "libvirtd": ("libvirtd",),
    "pcscd": ("pcscd", "--foreground", "--info"),
}
READY = {
    "journald": "test -S /run/systemd/journal/socket",
    "dbus": "busctl --no-pager list",
    "polkit": "busctl --no-pager list | grep -q '^org.freedesktop.PolicyKit1 *[0-9]'",
    "virtlogd": "test -S /run/libvirt/virtlogd-sock",
    "libvirtd": "virsh -q -c qemu:///system list",
    "pcscd": "test -S /run/pcscd/pcscd.comm",
}
"""What succeeds when the daemon serves."""


class SystemHost:
    """What runs. `slots` are the two readers "Virtual PCD 00 00" and "00 01", both empty at first."""

    def __init__(self, root: SystemRoot, slots: tuple[Slot, ...] = (), needed: Sequence[Path] = NEEDED) -> None:
        """`needed` is where virtcard is run from."""
        self.root = root
        self.slots = slots
        self._needed = needed
        self._unit = read_unit()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start one of DAEMONS; returns when it serves."""
        self._running[name] = self.root.spawn(name, *DAEMONS[name])
        self._wait_for(name, READY[name])

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """End a daemon as systemd does; its exit code."""
        process = self._running.pop(name)
        os.kill(inside(process), number)
        return process.wait(PATIENCE)

    def running(self, name: str) -> subprocess.Popen[bytes]:
        """The process of a daemon that was started; it may have ended by itself."""
        return self._running[name]

    def start_virtcardd(self) -> None:
        """Start it as its unit does; returns when it is on the bus. Its runtime directory outlives a `stop`, as in a
        restart by systemd."""
        self.spawn_virtcardd()
        self._wait_for("virtcardd", "busctl --no-pager list | grep -q '^org.virtcard1 *[0-9]'")

    def spawn_virtcardd(self) -> subprocess.Popen[bytes]:
        """Start it as its unit does, whatever comes of it."""
        self.root.shell(make_directories(self._unit))
        self._running["virtcardd"] = self.root.spawn(
            "virtcardd", *start_command(self._unit, "--verbose", needed=self._needed)
        )
        return self._running["virtcardd"]

    def restart_virtcardd(self) -> None:
        """As `systemctl restart` does."""
        assert self.stop("virtcardd") == 0, self.root.log("virtcardd")
        self.start_virtcardd()

    def run(self, *arguments: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run the virtcard command, whatever comes of it."""
        return self.root.run("virtcard", *arguments, user=user)

    def virtcard(self, *arguments: str, user: str = "root") -> str:
        """What the virtcard command prints; the test fails when it does not succeed."""
        done = self.run(*arguments, user=user)
        words = f"virtcard {' '.join(arguments)} as {user}"
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.root.log('virtcardd')[-4000:]}"
        return done.stdout

    def json(self, *arguments: str, user: str = "root") -> Any:
        """The JSON that a reading verb prints."""
        return json.loads(self.virtcard(*arguments, "--json", user=user))

    def virsh(self, *arguments: str, stdin: str = "") -> str:
        """What virsh prints to root; the test fails when it does not succeed."""
        return self.root.check("virsh", "--quiet", "-c", "qemu:///system", *arguments, stdin=stdin)

    def reload_bus(self) -> None:
        """As `systemctl reload dbus` does."""
        bus = "org.freedesktop.DBus"
        self.root.check("busctl", "call", bus, "/org/freedesktop/DBus", bus, "ReloadConfig")

    def _wait_for(self, name: str, ready: str) -> None:
        process = self._running[name]

        def serves() -> bool:
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            return self.root.run("sh", "-c", ready).returncode == 0

        try:
            wait_until(serves, PATIENCE, f"{name} serves", 0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends with:\n{self.root.log(name)[-4000:]}") from None


@contextmanager
def system_host() -> Iterator[SystemHost]:
    """Start everything but virtcardd; nothing is left of it afterwards."""
    with ExitStack() as stack:
        root = stack.enter_context(system_root())
        port = free_pair()
        boot(root)
        _add_readers(root, port)
        host = SystemHost(root, (Slot(port), Slot(port + 1)))
        for daemon in DAEMONS:
            host.start(daemon)
        for slot in host.slots:
            stack.enter_context(slot)
        yield host


def boot(root: SystemRoot) -> None:
    """What systemd, logind and the machine's boot make."""
    folders = ("dbus", "pcscd", *(f"systemd/{name}" for name in ("seats", "sessions", "users", "machines")))
    root.check("mkdir", "--parents", *(f"/run/{folder}" for folder in folders))


def _add_readers(root: SystemRoot, port: int) -> None:
    device = f"DEVICENAME /dev/null:{port:#x}\nLIBPATH {DRIVER}\nCHANNELID {port:#x}\n"
    root.check("tee", "/etc/reader.conf.d/vpcd", stdin=f'FRIENDLYNAME "Virtual PCD"\n{device}')
