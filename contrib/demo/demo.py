"""Shows the main job: a guest uses a card that sits in a reader of the host, and the host keeps it.

Everything is private to the demo and gone afterwards: a libvirtd, a pcscd with a virtual card, a session bus, virtcardd
and one small Linux guest. Run it with `make demo`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from helpers.guest import Guest
from helpers.host import private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import domain_xml
from helpers.network import stay_on_loopback
from helpers.scripted_card import SELECT, ScriptedCard
from helpers.virtcardd import Virtcardd

VM = "demo"
STEPS = 9
SELECT_WITH_ANSWER = (SELECT + b"\0").hex(":")
WATCHER = (
    "{ scard wait 60 0 empty && echo 'the card left';"
    " scard wait 60 0 present && echo 'a card came'; } > /tmp/watch 2>&1 &"
)
"""Runs in the guest meanwhile, waiting in PC/SC."""


class Show:
    """Numbered steps with what was typed and what came of it."""

    def __init__(self) -> None:
        self._step = 0
        self._began = time.monotonic()

    def step(self, sentence: str) -> None:
        """The next step begins."""
        self._step += 1
        print(f"\n[{self._step}/{STEPS}] {sentence}  ({time.monotonic() - self._began:.0f} s)", flush=True)

    def typed(self, command: str, output: str) -> None:
        """A command and what it printed."""
        print(f"    {command}")
        for line in output.strip().splitlines():
            print(f"    {line}")
        sys.stdout.flush()


def main() -> int:
    """Run the demo; an exception of a step ends it with everything cleaned up."""
    stay_on_loopback()
    show = Show()
    show.step("Starting a private libvirtd, a pcscd with a virtual card, a bus and virtcardd.")
    with private_host() as host:
        daemon = host.virtcardd
        host.slots[0].plug(ScriptedCard())
        typed(show, daemon, "status")
        typed(show, daemon, "readers")
        with machine(show, host.libvirtd, daemon) as guest:
            use_the_card(show, daemon, guest)
            on_host(show, daemon, "opensc-tool", "--reader", "0", "--atr")
            eject_and_insert(show, daemon, guest)
        show.step("Taking the virtual reader away again, and cleaning up.")
        typed(show, daemon, "disable", VM)
    print("\nDone: the guest used the card of a host reader, saw it leave and come back, and nothing is left behind.")
    return 0


@contextmanager
def machine(show: Show, libvirtd: Libvirtd, daemon: Virtcardd) -> Iterator[Guest]:
    """The VM, from its definition to its end."""
    show.step("Defining a VM, as virt-install or virsh would.")
    with closing(libvirtd.open()) as connection:
        domain = connection.defineXML(domain_xml(libvirtd.directory, VM))
        typed(show, daemon, "list")
        show.step("Giving it a virtual reader: the change of its XML, and then the change itself.")
        typed(show, daemon, "enable", VM, "--dry-run")
        typed(show, daemon, "enable", VM)
        show.step("Starting the VM (software emulation: some seconds).")
        domain.create()
        try:
            with closing(Guest(libvirtd.directory, VM)) as guest:
                guest.wait_until_up()
                reader = guest.wait_for_readers(1)[0]
                show.typed("guest# pcsc readers", f"{reader.name}: {reader.state}")
                yield guest
        finally:
            domain.destroy()


def use_the_card(show: Show, daemon: Virtcardd, guest: Guest) -> None:
    """Insert, and look from inside."""
    show.step("Inserting the card of the host reader.")
    typed(show, daemon, "insert", VM)
    show.step(
        "The guest's own view: its reader, the ATR, and an APDU that the card answers. The host has its card too."
    )
    reader = guest.wait_reader_state("present")
    show.typed("guest# pcsc readers", f"{reader.name}: {reader.state}, ATR {reader.atr.hex(' ')}")
    in_guest(show, guest, "opensc-tool --atr")
    in_guest(show, guest, "opensc-tool -s " + SELECT_WITH_ANSWER)


def eject_and_insert(show: Show, daemon: Virtcardd, guest: Guest) -> None:
    """The guest watches its reader meanwhile."""
    show.step("Ejecting the card while the guest watches its reader.")
    guest.run(WATCHER).check()
    typed(show, daemon, "eject", VM)
    show.typed("guest# pcsc readers", f"reader 0: {guest.wait_reader_state('empty').state}")
    show.step("Inserting it again.")
    typed(show, daemon, "insert", VM)
    show.typed("guest# pcsc readers", f"reader 0: {guest.wait_reader_state('present').state}")
    in_guest(show, guest, "opensc-tool -s " + SELECT_WITH_ANSWER)
    in_guest(show, guest, "cat /tmp/watch")
    typed(show, daemon, "info", VM)


def typed(show: Show, daemon: Virtcardd, *words: str) -> None:
    """Run a virtcard command and show it."""
    show.typed("host$ virtcard " + " ".join(words), daemon.virtcard(*words))


def on_host(show: Show, daemon: Virtcardd, *command: str) -> None:
    """Run a PC/SC program of the host and show it; it must succeed."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=daemon.environment)
    show.typed("host$ " + " ".join(command), done.stdout)


def in_guest(show: Show, guest: Guest, command: str) -> None:
    """Run a command in the guest and show it; it must succeed."""
    show.typed(f"guest# {command}", guest.run(command).check())


if __name__ == "__main__":
    sys.exit(main())
