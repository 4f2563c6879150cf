"""Shows the main job: a guest uses a card that sits in a reader of the host, and the host keeps it. Then without any
reader: a software card is made, the guest signs with it, and the host verifies the signature.

Everything is private to the demo and gone afterwards: a libvirtd, a pcscd with a virtual card, a session bus, virtcardd
with its store of cards, and one small Linux guest. Run it with `make demo`.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.guest import Guest
from helpers.host import private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import domain_xml
from helpers.network import stay_on_loopback
from helpers.scripted_card import SELECT, ScriptedCard
from helpers.virtcardd import Virtcardd

VM = "demo"
STEPS = 13
CARD, SUBJECT = "jane", "CN=Jane Doe"
PIN, PUK = "123456", "12345678"
LETTER = b"Dear John, I was signed inside of a virtual machine.\n"
KEY = "02"
"""What OpenSC calls the key of slot 9C, Digital Signature."""
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


POLICY = f"""\
# The demo's machine may have every card without a question, and use it: read, log in, sign, but change nothing.
[[rule]]
vm = "{VM}"
action = "allow"
"""


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
        daemon.policy(POLICY)
        typed(show, daemon, "policy", "reload")
        show.typed(f"host$ cat {daemon.policy_file}", POLICY)
        with machine(show, host.libvirtd, daemon) as guest:
            use_the_card(show, daemon, guest)
            on_host(show, daemon, "opensc-tool", "--reader", "0", "--atr")
            eject_and_insert(show, daemon, guest)
            use_a_software_card(show, daemon, guest)
        show.step("Taking the virtual reader away again, and cleaning up.")
        typed(show, daemon, "disable", VM)
    print(
        "\nDone: the guest used the card of a host reader, saw it leave and come back, and signed with a software card."
    )
    print("Nothing is left behind.")
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


def use_a_software_card(show: Show, daemon: Virtcardd, guest: Guest) -> None:
    """Make a card, sign with it in the guest, and let the host judge the signature by the card's certificate."""
    show.step("No card at hand? Making a PIV card in software: keys, certificates, a PIN and a PUK.")
    words = ("create", CARD, "--type", "piv", "--subject", SUBJECT, "--pin-file", "-", "--puk-file", "-")
    typed(show, daemon, "card", *words, stdin=f"{PIN}\n{PUK}\n")
    typed(show, daemon, "card", "list")
    show.step("Inserting it in place of the card of the host reader; the guest lists its certificates.")
    typed(show, daemon, "eject", VM)
    guest.wait_reader_state("empty")
    typed(show, daemon, "insert", VM, f"card:{CARD}")
    guest.wait_reader_state("present")
    in_guest(show, guest, "opensc-tool --name")
    in_guest(show, guest, "pkcs11-tool --list-objects --type cert")
    show.step("The guest logs in with the PIN and signs a letter. The key stays in the card, and the card on the host.")
    guest.put("letter", LETTER)
    sign = f"pkcs11-tool --login --pin {PIN} --sign --mechanism SHA256-RSA-PKCS --id {KEY}"
    in_guest(show, guest, f"{sign} --input-file letter --output-file signature")
    show.step("The host fetches letter and signature, and verifies with openssl and the certificate of the card.")
    with TemporaryDirectory() as folder:
        for name in ("letter", "signature"):
            Path(folder, name).write_bytes(guest.get(name))
        typed(show, daemon, "card", "export", CARD, "--output", folder)
        verify(show, daemon, folder)


def verify(show: Show, daemon: Virtcardd, folder: str) -> None:
    """Let openssl judge; it must be content."""
    certificate = f"{folder}/{CARD}-9c.pem"
    on_host(show, daemon, "openssl", "x509", "-in", certificate, "-noout", "-subject", "-issuer")
    on_host(show, daemon, "openssl", "x509", "-in", certificate, "-noout", "-pubkey", "-out", f"{folder}/key.pem")
    signed = ("-verify", f"{folder}/key.pem", "-signature", f"{folder}/signature", f"{folder}/letter")
    on_host(show, daemon, "openssl", "dgst", "-sha256", *signed)


def typed(show: Show, daemon: Virtcardd, *words: str, stdin: str = "") -> None:
    """Run a virtcard command and show it; it must succeed."""
    done = daemon.run(*words, stdin=stdin)
    if done.returncode:
        raise AssertionError(f"virtcard {' '.join(words)}: {done.stderr}")
    show.typed("host$ virtcard " + shlex.join(words), done.stdout)


def on_host(show: Show, daemon: Virtcardd, *command: str) -> None:
    """Run a program of the host and show it; it must succeed."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=daemon.environment)
    show.typed("host$ " + shlex.join(command), done.stdout)


def in_guest(show: Show, guest: Guest, command: str) -> None:
    """Run a command in the guest and show it; it must succeed."""
    show.typed(f"guest# {command}", guest.run(command).check())


if __name__ == "__main__":
    sys.exit(main())
