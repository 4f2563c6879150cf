"""The process virtcardd hears from logind that the host goes to sleep: logins end, and the cards stay in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.bus import private_bus, run_async
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.logind import MockLogind, mock_logind
from helpers.qemu_peer import QemuPeer
from helpers.soft_cards import PIN_DIGITS, empty_card
from helpers.virtcardd import session_virtcardd
from helpers.waiting import wait_until
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.card.soft.store import Store
from virtcard.names import socket_name

SELECT = bytes.fromhex("00a404000ba000000308000010000100")
VERIFY = bytes.fromhex("0020008008") + PIN_DIGITS + b"\xff\xff"
VERIFIED = bytes.fromhex("00200080")
OK = b"\x90\x00"
NOT_VERIFIED = b"\x63\xc3"


@pytest.fixture
def logged_in(logind: str) -> Iterator[QemuPeer]:
    """A machine that has verified the PIN of its card."""
    with TemporaryDirectory(prefix="vc-") as name, private_bus() as session:
        home = Path(name)
        (home / "virtcard").mkdir(mode=0o700)
        socket = home / "virtcard" / socket_name(domain_uuid("vm"))
        (home / "node.xml").write_text(f"<node>{domain_xml('vm', devices=XHCI + reader_xml(socket))}</node>")
        empty_card(Store(home / "data/virtcard/cards"), "work")
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": session.address,
            "DBUS_SYSTEM_BUS_ADDRESS": logind,
            "XDG_RUNTIME_DIR": name,
            "PCSCLITE_CSOCK_NAME": f"{name}/no-pcscd",
        }
        uri = f"test://{home}/node.xml"
        with (
            closing(QemuPeer(socket)) as peer,
            session_virtcardd(environment, home, "--connect", uri) as daemon,
        ):
            daemon.virtcard("insert", "vm", "card:work")
            assert peer.exchange(SELECT)[-2] in {0x61, 0x90}
            assert peer.exchange(VERIFY) == peer.exchange(VERIFIED) == OK
            yield peer


@pytest.fixture
def logind() -> Iterator[str]:
    """The address of a system bus with logind on it."""
    with private_bus() as system, mock_logind(system.address):
        run_async(_tell(system.address))
        yield system.address


async def _tell(address: str, *sleeps: bool) -> None:
    bus = await Bus.open(BusKind.SYSTEM, address=address)
    mock = await MockLogind(bus).ready()
    for sleep in sleeps:
        await mock.sleep(sleep)
    await bus.close()


@pytest.mark.parametrize("sleeps", [(True,), (False,), (True, False)])
def test_a_login_ends_with_the_hosts_sleep_and_the_card_stays_in(
    logind: str, logged_in: QemuPeer, sleeps: tuple[bool, ...]
) -> None:
    """Also when only the waking is heard of in time."""
    run_async(_tell(logind, *sleeps))
    wait_until(lambda: logged_in.exchange(VERIFIED) == NOT_VERIFIED, 10, "the PIN is to be entered again")
    assert logged_in.exchange(VERIFY) == OK
    assert logged_in.connections == 1
    assert logged_in.atr is not None
