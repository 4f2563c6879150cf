"""A card in the virtual reader of a test guest, by a bridge of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from helpers.guest import Guest
from helpers.opensc import LEGACY
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.base import Card

BYE: Final = 10.0


@contextmanager
def card_in_guest(guest: Guest, socket: Path, card: Card) -> Iterator[None]:
    """The card is in the guest's reader, which is empty again afterwards."""
    bridge = Bridge(Endpoint.unix(str(socket)), lambda status: None)
    bridge.start()
    bridge.insert(card)
    try:
        guest.wait_reader_state("present")
        yield
    finally:
        bridge.stop()
        ended = bridge.join(BYE)
    assert ended
    guest.wait_reader_state("empty")


def token_test(guest: Guest, pin: bytes) -> str:
    """What `pkcs11-tool --login --test` says in the guest."""
    guest.put("/tmp/legacy.cnf", LEGACY.encode())
    command = f"OPENSSL_CONF=/tmp/legacy.cnf pkcs11-tool --login --pin {pin.decode()} --test"
    return guest.run(command, 180).check()


def pkcs11(guest: Guest, words: str, given: bytes) -> bytes:
    """What pkcs11-tool in the guest makes of an input file."""
    guest.put("/tmp/given", given)
    guest.run(f"rm -f /tmp/made; pkcs11-tool {words} --input-file /tmp/given --output-file /tmp/made", 60).check()
    return guest.get("/tmp/made")


def nss_listing(guest: Guest) -> str:
    """What `certutil -L -h all` lists in the guest, through OpenSC's module."""
    guest.run("rm -rf /root/nss && mkdir /root/nss && certutil -N -d sql:/root/nss --empty-password").check()
    library = guest.run("find / -name opensc-pkcs11.so | head -1").check().strip()
    guest.run(f"printf 'library={library}\\nname=opensc\\n\\n' >> /root/nss/pkcs11.txt").check()
    return guest.run("certutil -L -h all -d sql:/root/nss", 60).check()
