"""Software cards of a whole virtcardd: seen on the bus as they come, change and go, and used by a machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from helpers.bus import private_bus
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.qemu_peer import QemuPeer
from helpers.virtcardd import Virtcardd, session_virtcardd
from helpers.waiting import wait_until
from virtcard.bus.address import BusKind
from virtcard.bus.client import Client
from virtcard.names import CARD, card_path, domain_path, socket_name

RUN = domain_uuid("run")
NEW = ("--pin-file", "-", "--puk-file", "-")
SECRETS = "123456\n12345678\n"
SELECT_PIV = bytes.fromhex("00a404000ba000000308000010000100")
"""SP 800-73-4 part 1, 2.2."""
WRONG_PIN = bytes.fromhex("0020008008") + b"000000\xff\xff"


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory for sockets and cards."""
    with TemporaryDirectory(prefix="vc-") as name:
        yield Path(name)


@contextmanager
def serving(home: Path, store: Path) -> Iterator[Virtcardd]:
    """A session instance whose libvirt has one running domain with a reader; its cards lie below `store`."""
    devices = XHCI + reader_xml(home / "virtcard" / socket_name(RUN))
    (home / "node.xml").write_text(f"<node>{domain_xml('run', devices=devices)}</node>")
    with private_bus() as bus:
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": str(home),
            "XDG_DATA_HOME": str(store),
            "PCSCLITE_CSOCK_NAME": str(home / "no-pcscd"),
        }
        with session_virtcardd(environment, home, "--connect", f"test://{home}/node.xml") as running:
            yield running
    assert "Traceback" not in running.log


@pytest.fixture
def daemon(home: Path) -> Iterator[Virtcardd]:
    with serving(home, home / "data") as running:
        yield running


@pytest.fixture
def other(home: Path) -> Iterator[tuple[Virtcardd, Path]]:
    """A second one, with a bus and a libvirt of its own, on the same store."""
    with TemporaryDirectory(prefix="vc-") as name, serving(Path(name), home / "data") as running:
        yield running, Path(name)


@pytest.fixture
def client(daemon: Virtcardd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Somebody who looks at the bus."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", daemon.environment["DBUS_SESSION_BUS_ADDRESS"])
    with Client.open(BusKind.SESSION) as opened:
        yield opened


def card(client: Client, name: str) -> dict[str, Any]:
    return client.objects().get(card_path(name), {}).get(CARD, {})


def test_a_card_that_another_process_makes_is_used_by_a_machine_and_seen_by_everybody(
    daemon: Virtcardd, client: Client, home: Path
) -> None:
    peer = QemuPeer(home / "virtcard" / socket_name(RUN))
    done = daemon.run("card", "create", "jane", "--type", "piv", "--key", "p256", *NEW, stdin=SECRETS)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: card(client, "jane"), 5, "the card is on the bus")
    assert [key["slot"] for key in card(client, "jane")["Keys"]] == ["9a", "9c", "9d", "9e"]
    daemon.virtcard("insert", "run", "card:jane")
    assert card(client, "jane")["Domains"] == [domain_path(RUN)]
    assert peer.exchange(SELECT_PIV)[0] in {0x61, 0x90}
    assert peer.exchange(WRONG_PIN) == bytes.fromhex("63C2")
    wait_until(lambda: card(client, "jane")["PinTries"] == 2, 5, "the try that the machine took is seen")
    daemon.virtcard("eject", "run")
    assert card(client, "jane")["Domains"] == []
    daemon.virtcard("card", "delete", "jane", "--yes")
    wait_until(lambda: not card(client, "jane"), 5, "the card is gone")
    peer.close()


def test_insert_without_a_source_takes_the_only_software_card_when_no_reader_holds_a_card(
    daemon: Virtcardd, client: Client, home: Path
) -> None:
    peer = QemuPeer(home / "virtcard" / socket_name(RUN))
    refused = daemon.run("insert", "run")
    assert (refused.returncode, "there is no software card" in refused.stderr) == (4, True)
    for name in ("jane", "joe"):
        daemon.run("card", "create", name, "--type", "piv", "--key", "p256", *NEW, stdin=SECRETS)
    wait_until(lambda: card(client, "jane") and card(client, "joe"), 5, "the cards are on the bus")
    refused = daemon.run("insert", "run")
    assert refused.returncode == 2
    assert "Name one of card:jane, card:joe." in refused.stderr
    daemon.virtcard("card", "delete", "joe", "--yes")
    wait_until(lambda: not card(client, "joe"), 5, "one card is left")
    assert "card:jane is in domain 'run'" in daemon.virtcard("insert", "run")
    peer.close()


def test_cards_that_are_there_when_the_daemon_starts_are_there_when_its_name_is(
    daemon: Virtcardd, client: Client
) -> None:
    daemon.run("card", "create", "jane", "--type", "piv", "--key", "p256", *NEW, stdin=SECRETS)
    daemon.stop()
    daemon.start()
    assert card(client, "jane")["Type"] == "piv"


def test_two_daemons_on_one_store_never_have_the_same_card_at_once(
    daemon: Virtcardd, other: tuple[Virtcardd, Path], home: Path
) -> None:
    second, second_home = other
    peers = [QemuPeer(each / "virtcard" / socket_name(RUN)) for each in (home, second_home)]
    daemon.run("card", "create", "jane", "--type", "piv", "--key", "p256", *NEW, stdin=SECRETS)
    daemon.virtcard("insert", "run", "card:jane")
    refused = second.run("insert", "run", "card:jane")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (1, "virtcard: The card jane is in use.")
    assert second.json("info", "run")["card"] == ""
    assert peers[0].exchange(SELECT_PIV)[0] in {0x61, 0x90}
    assert peers[0].exchange(WRONG_PIN) == bytes.fromhex("63C2")
    daemon.kill()
    second.virtcard("insert", "run", "card:jane")
    assert peers[1].exchange(SELECT_PIV)[0] in {0x61, 0x90}
    assert peers[1].exchange(WRONG_PIN) == bytes.fromhex("63C1")
    for peer in peers:
        peer.close()
