"""The application under Xvfb: with a real virtcardd, libvirt, QEMU and pcscd behind it, and where that would take a
guest, or trouble, with a virtcardd that says what a test wants. Pictures are kept in .cache."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest

from helpers.bus import PrivateBus, Serving, private_bus
from helpers.domains import qemu_xml
from helpers.fake_service import FEDORA, WIN11, FakeService, bridge_view, card_view, domain_view, reader_view
from helpers.gtk_app import APPLICATION, GtkApp, gtk_app
from helpers.host import Host, private_host
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.bus.address import BusKind
from virtcard.policy.model import Action, AskFor, Rule
from virtcard.service.grants import Grants
from virtcard.service.question import Question
from virtcard.service.views import BridgeState

READER = "Virtual PCD"
RUNNING = ("fedora", "debian")
ANOTHER = UUID(int=1)
OPEN_MENU = "named('Insert a card in fedora').get_popover().get_mapped()"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory."""
    with TemporaryDirectory(prefix="vc-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Two machines that run with a reader, one that is off and has none, and a card in the first reader."""
    with private_host() as running:
        running.slots[0].plug(ScriptedCard())
        words = ("card", "create", "jane", "--type", "piv", "--pin-file", "-", "--puk-file", "-")
        assert running.virtcardd.run(*words, stdin="123456\n12345678\n").returncode == 0
        with closing(running.libvirtd.open()) as connection:
            for name in (*RUNNING, "office"):
                connection.defineXML(qemu_xml(name))
        for name in RUNNING:
            running.virtcardd.virtcard("enable", name)
            running.libvirtd.virsh("start", name)
        yield running


@pytest.fixture(scope="module")
def real(host: Host) -> Iterator[GtkApp]:
    """The application beside it."""
    with TemporaryDirectory(prefix="vc-") as name, gtk_app(host.bus.address, Path(name)) as app:
        app.sees("fedora")
        yield app
        quiet(app)


@pytest.fixture
def app(host: Host, real: GtkApp) -> Iterator[GtkApp]:
    """The same, with empty readers, a policy that allows all, and no dialog open."""
    yield real
    host.virtcardd.policy(ALLOW_ALL)
    host.virtcardd.virtcard("policy", "reload")
    for machine in RUNNING:
        if host.virtcardd.json("info", machine)["card"]:
            host.virtcardd.virtcard("eject", machine)
    real.keys("alt+1")


def quiet(app: GtkApp) -> None:
    """Nothing of what it wrote to stderr is a fault."""
    faults = [
        line for line in app.log.splitlines() if "CRITICAL" in line or "Traceback" in line or "Gtk-WARNING" in line
    ]
    assert faults == [], app.log


def card_in(host: Host, machine: str) -> str:
    bridges: list[dict[str, Any]] = host.virtcardd.json("info", machine)["bridges"]
    return str(bridges[0]["source"]) if bridges and bridges[0]["state"] == "inserted" else ""


def has(host: Host, machine: str, card: str) -> None:
    wait_until(lambda: card_in(host, machine) == card, 20, f"{card!r} is in {machine}", 0.1)


def is_past(moment: float) -> bool:
    return time.monotonic() > moment


@contextmanager
def pretended(
    home: Path, kind: BusKind = BusKind.SESSION, **variables: str
) -> Iterator[tuple[GtkApp, Serving, FakeService]]:
    """The application beside a virtcardd that is told what to say."""
    service = FakeService().fill()
    service.registry.cards.put("jane", card_view())
    service.grants = Grants(home / "policy.d")
    with ExitStack() as stack:
        bus = stack.enter_context(private_bus())
        serving = stack.enter_context(Serving(bus.address, service, kind))
        app = stack.enter_context(gtk_app(bus.address, home, **variables))
        app.sees("win11")
        yield app, serving, service
        quiet(app)


def test_cards_are_on_one_side_and_machines_on_the_other(app: GtkApp) -> None:
    for text in ("Readers and Cards", f"{READER} 00 00", "Card in reader", "Empty reader", "jane",
                 "Software card, PIV · 3 PIN tries left", "Virtual Machines", *RUNNING, "No card", "office",
                 "No virtual reader"):  # fmt: skip
        app.sees(text)
    app.photograph("app-cards")
    assert app.run("nameless()") == []


def test_a_card_is_dragged_to_a_machine_and_ejected_by_a_button(host: Host, app: GtkApp) -> None:
    app.drag(f"{READER} 00 00", "fedora")
    has(host, "fedora", f"reader:{READER} 00 00")
    app.sees(f"Has {READER} 00 00")
    app.sees("Card in reader · in fedora")
    app.photograph("app-inserted")
    app.press(f"Eject {READER} 00 00 from fedora")
    has(host, "fedora", "")
    app.misses(f"Has {READER} 00 00")


def test_an_empty_reader_cannot_be_dragged(host: Host, app: GtkApp) -> None:
    app.drag(f"{READER} 00 01", "fedora")
    app.sees("Empty reader")
    assert card_in(host, "fedora") == ""


def test_a_card_is_inserted_from_the_menu_of_a_machine(host: Host, app: GtkApp) -> None:
    app.choose("Insert a card in debian", "jane")
    has(host, "debian", "card:jane")
    app.sees("Has jane")


def test_a_card_is_inserted_from_its_own_menu(host: Host, app: GtkApp) -> None:
    app.choose("Insert jane in a virtual machine", "fedora")
    has(host, "fedora", "card:jane")


def test_a_wizard_makes_a_software_card_and_a_question_comes_before_it_is_deleted(host: Host, app: GtkApp) -> None:
    app.keys("ctrl+n")
    app.sees("What Card?")
    app.type("Whose card? For example Jane Doe", "John Doe")
    app.run("named('Keys').set_selected(3)")
    app.photograph("app-wizard")
    app.press("Next")
    app.type("PIN, 6 to 8 digits", "123456")
    app.type("The PIN again", "123457")
    app.type("PUK, 8 characters, for when the PIN is blocked", "12345678")
    assert not app.run("can_press('Create')"), "the PINs differ"
    app.type("The PIN again", "123456")
    app.photograph("app-wizard-pin")
    assert app.run("nameless()") == []
    app.press("Create")
    app.sees("john-doe")
    app.misses("New Software Card")
    card = host.virtcardd.json("card", "show", "john-doe")
    assert {key["subject"] for key in card["keys"]} == {"CN=John Doe"}
    assert {key["algorithm"] for key in card["keys"]} == {"p256"}
    app.press("Delete john-doe")
    app.sees("Delete john-doe?")
    app.photograph("app-delete")
    app.press("Cancel")
    app.misses("Delete john-doe?")
    app.press("Delete john-doe")
    app.sees("Delete john-doe?")
    app.press("Delete")
    app.misses("john-doe")


def test_what_virtcardd_does_not_like_of_a_card_is_said_in_the_wizard(app: GtkApp) -> None:
    app.keys("ctrl+n")
    app.type("Name of the card", "jane")
    app.press("Next")
    app.type("PIN, 6 to 8 digits", "123456")
    app.type("The PIN again", "123456")
    app.type("PUK, 8 characters, for when the PIN is blocked", "12345678")
    app.press("Create")
    wait_until(lambda: any("jane" in text and "already" in text for text in app.texts()), 20, "it is said")
    app.photograph("app-wizard-error")
    app.press("Cancel")
    app.misses("New Software Card")


def test_a_refusal_is_explained(host: Host, app: GtkApp) -> None:
    host.virtcardd.policy('[[rule]]\nvm = "fedora"\naction = "deny"\n')
    host.virtcardd.virtcard("policy", "reload")
    app.choose("Insert a card in fedora", "jane")
    app.sees("The card was not inserted in fedora")
    told = next(text for text in app.texts() if text.startswith("The policy does not let fedora have card:jane."))
    assert "50-own.toml:1 says so" in told
    app.photograph("app-refused")
    app.press("Close")
    app.misses("The card was not inserted in fedora")


def test_a_machine_gets_a_virtual_reader(host: Host, app: GtkApp) -> None:
    app.press("Add Reader")
    app.misses("No virtual reader")
    app.sees("Off")
    assert host.virtcardd.json("info", "office")["enabled"]


def test_virtcardd_may_go_come_back_and_answer_late(host: Host, app: GtkApp) -> None:
    host.virtcardd.kill()
    app.sees("virtcardd Does Not Run")
    app.photograph("app-nobody")
    host.virtcardd.start()
    app.sees("fedora")
    os.kill(host.virtcardd.pid, signal.SIGSTOP)
    try:
        app.choose("Insert a card in fedora", "jane")
        app.sees("Please wait…")
        began = time.monotonic()
        app.keys("alt+2", "alt+3", "alt+1")
        app.photograph("app-late")
        assert time.monotonic() - began < 10, "the window goes on"
    finally:
        os.kill(host.virtcardd.pid, signal.SIGCONT)
    has(host, "fedora", "card:jane")
    app.misses("Please wait…")


def test_activity_is_plotted_second_by_second(home: Path) -> None:
    with pretended(home) as (app, serving, service):
        key = (WIN11, 0)
        app.keys("alt+2")
        app.sees("Activity")

        def talk(apdus: int) -> None:
            view = service.registry.bridges.get(key)
            assert view is not None
            service.registry.bridges.put(key, replace(view, apdus=view.apdus + apdus, active=True))

        for apdus in (3, 9, 4, 12, 2, 7, 1):
            serving.run(partial(talk, apdus))
            following = time.monotonic() + 1
            wait_until(partial(is_past, following), 5, "a second has passed")
        wait_until(lambda: any("at most 1" in text for text in app.texts()), 20, "the most of a second is told")
        app.photograph("app-activity")
        assert app.run("nameless()") == []


def test_grants_are_seen_and_revoked(home: Path) -> None:
    with pretended(home) as (app, _serving, service):
        question = Question(WIN11, "win11", "reader:Yubico", AskFor.SIGN, (), 0, 1.0, b"\x3b", Rule(Action.ASK))
        service.grants.write(question, os.getuid(), pwd.getpwuid(os.getuid()).pw_name)
        app.keys("alt+3")
        app.sees("win11 and Yubico")
        app.photograph("app-grants")
        assert app.run("nameless()") == []
        app.press("Revoke")
        app.sees("Nothing is allowed for always")
        assert service.grants.all() == ()


def test_trouble_of_a_machine_is_told_when_it_is_asked_for(home: Path) -> None:
    with pretended(home) as (app, serving, service):
        view = replace(domain_view(), last_error="Its socket is missing.", hint="Power it off and start it.")
        serving.run(lambda: service.registry.domains.put(WIN11, view))
        app.press("What is wrong with win11?")
        app.sees("Its socket is missing.\n\nPower it off and start it.")


def test_it_is_dark_where_the_desktop_is_and_narrow_where_there_is_little_room(home: Path) -> None:
    with pretended(home, ADW_DEBUG_COLOR_SCHEME="prefer-dark") as (app, _serving, _service):
        assert app.run("Adw.StyleManager.get_default().get_dark()")
        app.photograph("app-dark")
        app.run("windows()[0].set_default_size(400, 640)")
        wait_until(lambda: app.run("windows()[0].get_width()") < 500, 10, "it is narrow", 0.1)
        app.photograph("app-narrow")
        assert app.run("center('win11')[1]") > app.run("center('Readers and Cards')[1]") + 100


def test_the_keyboard_reaches_everything(home: Path) -> None:
    with pretended(home) as (app, _serving, _service):
        reached = set()
        for _ in range(20):
            app.keys("Tab")
            reached.add(app.run("focused()"))
        assert {"Eject Yubico YubiKey from win11", "Main menu", "New software card", "Delete jane"} <= reached


def test_an_open_menu_stays_open_while_others_change(home: Path) -> None:
    with pretended(home) as (app, serving, service):
        with_fedora(serving, service)
        app.sees("fedora")
        app.run("named('Insert a card in fedora').popup()")
        wait_until(lambda: app.run(OPEN_MENU), 10, "the menu is open", 0.1)
        changed = replace(domain_view(), last_error="It hangs.")
        serving.run(partial(service.registry.domains.put, WIN11, changed))
        wait_until(lambda: app.run("can_press('What is wrong with win11?')"), 10, "the change is seen", 0.1)
        assert app.run(OPEN_MENU)
        serving.run(partial(service.registry.domains.put, ANOTHER, domain_view(ANOTHER, "another")))
        app.sees("another")
        assert app.run(OPEN_MENU)


def with_fedora(serving: Serving, service: FakeService) -> None:
    """One more machine, with an empty reader."""
    empty = replace(bridge_view(FEDORA), source="", state=BridgeState.EMPTY)
    serving.run(partial(service.registry.domains.put, FEDORA, domain_view(FEDORA, "fedora")))
    serving.run(partial(service.registry.bridges.put, (FEDORA, 0), empty))


def test_the_focus_stays_where_it_is_while_rows_come_go_and_change_places(home: Path) -> None:
    with pretended(home) as (app, serving, service):
        app.run("named('Eject Yubico YubiKey from win11').grab_focus()")
        for uuid, name in ((FEDORA, "a-first"), (ANOTHER, "z-last")):
            serving.run(partial(service.registry.domains.put, uuid, domain_view(uuid, name)))
            app.sees(name)
            assert app.run("focused()") == "Eject Yubico YubiKey from win11"
        serving.run(partial(service.registry.domains.drop, FEDORA))
        app.misses("a-first")
        assert app.run("focused()") == "Eject Yubico YubiKey from win11"
        serving.run(partial(service.registry.domains.put, WIN11, domain_view(name="zz-renamed")))
        app.sees("zz-renamed")
        assert app.run("focused()") == "Eject Yubico YubiKey from zz-renamed"


def make_card(app: GtkApp) -> None:
    """Go through the wizard, up to the wait for the keys."""
    app.keys("ctrl+n")
    app.sees("What Card?")
    app.type("Name of the card", "new")
    app.press("Next")
    app.type("PIN, 6 to 8 digits", "123456")
    app.type("The PIN again", "123456")
    app.type("PUK, 8 characters, for when the PIN is blocked", "12345678")
    app.press("Create")


@contextmanager
def one_time_socket(home: Path, service: FakeService) -> Iterator[socket.socket]:
    """Where the secrets of a new card are to go."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "once"))
        listener.listen()
        listener.settimeout(20)
        service.pretended_cards.socket = str(home / "once")
        yield listener


@pytest.mark.parametrize("answer", [b"", b"5", b"[]"])
def test_a_wizard_that_gets_no_answer_that_it_knows_says_so(home: Path, answer: bytes) -> None:
    with pretended(home) as (app, _serving, service), one_time_socket(home, service) as listener:
        make_card(app)
        link, _ = listener.accept()
        with link:
            link.sendall(answer)
        app.sees("virtcardd did not answer.\nLook whether it runs, and into its journal.")
        app.press("Cancel")
        app.misses("New Software Card")


def test_a_wizard_that_is_cancelled_gives_no_secrets_away(home: Path) -> None:
    with pretended(home) as (app, serving, service), one_time_socket(home, service) as listener:
        serving.run(service.pretended_cards.begin_to_hold)
        make_card(app)
        wait_until(lambda: service.pretended_cards.calls, 10, "the call has come")
        app.press("Cancel")
        app.misses("New Software Card")
        serving.run(service.pretended_cards.let_go)
        with_fedora(serving, service)
        app.sees("fedora")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_wizard_may_be_closed_while_the_keys_are_made(home: Path) -> None:
    with pretended(home) as (app, _serving, service), one_time_socket(home, service) as listener:
        make_card(app)
        link, _ = listener.accept()
        with link:
            assert b"123456" in link.makefile("rb").read()
            app.press("Close")
            app.misses("New Software Card")
            link.sendall(b'{"error": "org.virtcard1.Error.Failed", "message": "Too late."}')
        app.sees("win11")


def test_two_virtcardds_are_chosen_between(home: Path) -> None:
    with pretended_twice(home) as app:
        app.sees("Machines of the System")
        app.sees("win11")
        app.run("[each for each in everything() if isinstance(each, Gtk.DropDown)][0].set_selected(1)")
        app.sees("my-own")
        app.misses("win11")
        app.photograph("app-two")


@contextmanager
def pretended_twice(home: Path) -> Iterator[GtkApp]:
    """One virtcardd on each bus; the session's has a machine of its own."""
    system, own = FakeService().fill(), FakeService()
    own.registry.domains.put(WIN11, domain_view(name="my-own"))
    own.registry.readers.put(0, reader_view())
    with ExitStack() as stack:
        buses: list[PrivateBus] = [stack.enter_context(private_bus()) for _ in range(2)]
        for bus, service, kind in zip(buses, (system, own), (BusKind.SYSTEM, BusKind.SESSION), strict=True):
            stack.enter_context(Serving(bus.address, service, kind))
        app = stack.enter_context(gtk_app(buses[1].address, home, system=buses[0].address))
        yield app
        quiet(app)


def test_it_speaks_german(home: Path) -> None:
    folder = home / "locale/de/LC_MESSAGES"
    folder.mkdir(parents=True)
    subprocess.run(["msgfmt", "-o", folder / "virtcard-gtk.mo", APPLICATION / "po/de.po"], check=True)
    with pretended(home, LANGUAGE="de", VIRTCARD_GTK_LOCALES=str(home / "locale")) as (app, _serving, _service):
        app.sees("Virtuelle Maschinen")
        app.photograph("app-german")
