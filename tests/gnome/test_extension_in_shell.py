"""The extension in GNOME Shell 43, on a headless screen, with a real virtcardd, libvirt, QEMU and pcscd behind it.

A person is a pointer here: it opens the menu and clicks on what is written there. Pictures are kept in .cache."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from helpers.domains import qemu_xml
from helpers.gnome_shell import UUID, GnomeShell, gnome_shell
from helpers.gtk_app import APPLICATION
from helpers.guest import Guest
from helpers.host import Host, private_host
from helpers.machines import domain_xml
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL, BIN
from helpers.waiting import wait_until

READER = "Virtual PCD"
RUNNING = ("fedora", "debian")
SELECT_PIV = bytes.fromhex("00A4040009A00000030800001000")
WRONG_PIN = b"\x00\x20\x00\x80\x08999999\xff\xff"
ASK = '[[rule]]\ncard = "reader:*"\naction = "ask"\nremember = "always"\n'
SPARE_THE_PIN = '[[rule]]\ncard = "card:jane"\naction = "allow"\ncommands = "full"\npin-reserve = 3\n'
COUNT = """
const quick = Main.panel.statusArea.quickSettings;
return [quick._indicators, quick.menu._grid, quick.menu._overlay].map(each => each.get_n_children());
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """A person's desktop, with machines: `fedora` and `debian` run nothing but firmware, `win11` is off, or a guest."""

    host: Host
    shell: GnomeShell

    def card_in(self, machine: str) -> str:
        """What is in its reader, by D-Bus."""
        bridges: list[dict[str, Any]] = self.host.virtcardd.json("info", machine)["bridges"]
        return str(bridges[0]["source"]) if bridges and bridges[0]["state"] == "inserted" else ""

    def has(self, machine: str, card: str) -> None:
        """Wait until this is in its reader."""
        try:
            wait_until(lambda: self.card_in(machine) == card, 20, f"{card!r} is in {machine}", 0.1)
        except AssertionError as error:
            self.shell.photograph("shell-failed")
            raise AssertionError(f"{error}; on the screen: {self.shell.texts()}") from None

    def choose(self, machine: str, action: str) -> None:
        """Click on an action in the menu of a machine."""
        self.shell.open_menu()
        self.shell.click(machine)
        self.shell.click(action)
        self.shell.misses(action)
        self.shell.close_menu()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """All of it, started once; every reader is empty."""
    with ExitStack() as stack:
        host = stack.enter_context(private_host())
        host.slots[0].plug(ScriptedCard())
        daemon = host.virtcardd
        words = ("card", "create", "jane", "--type", "piv", "--pin-file", "-", "--puk-file", "-")
        assert daemon.run(*words, stdin="123456\n12345678\n").returncode == 0
        with closing(host.libvirtd.open()) as connection:
            connection.defineXML(domain_xml(host.libvirtd.directory, "win11"))
            for name in RUNNING:
                connection.defineXML(qemu_xml(name))
        for name in (*RUNNING, "win11"):
            daemon.virtcard("enable", name)
        for name in RUNNING:
            host.libvirtd.virsh("start", name)
        home = Path(stack.enter_context(TemporaryDirectory(prefix="vc-")))
        install_application(home)
        yield Desk(host, stack.enter_context(gnome_shell(host.bus.address, home)))


@pytest.fixture(scope="module")
def guest(desk: Desk) -> Iterator[Guest]:
    """The inside of `win11`, booted."""
    desk.host.libvirtd.virsh("start", "win11")
    with closing(Guest(desk.host.libvirtd.directory, "win11")) as booted:
        booted.wait_until_up()
        booted.wait_for_readers(1)
        yield booted
    desk.host.libvirtd.virsh("destroy", "win11")


@pytest.fixture(autouse=True)
def tidy(desk: Desk) -> Iterator[None]:
    """Readers are empty before and after, the policy allows all, and nothing of ours is in the shell's log."""
    yield
    desk.host.virtcardd.policy(ALLOW_ALL)
    desk.host.virtcardd.virtcard("policy", "reload")
    for machine in (*RUNNING, "win11"):
        if desk.host.virtcardd.json("info", machine)["card"]:
            desk.host.virtcardd.virtcard("eject", machine)
    desk.shell.close_menu()
    assert desk.shell.troubles() == []


def install_application(home: Path) -> None:
    """The desktop file of the application, which starts something that leaves a trace instead."""
    text = (APPLICATION / "data/org.virtcard.Cards.desktop").read_text()
    target = home / "data/applications/org.virtcard.Cards.desktop"
    target.parent.mkdir(parents=True)
    started = f"touch {home / 'started'}"
    target.write_text(text.replace("Exec=virtcard-gtk", f"Exec={started}").replace("DBusActivatable=true\n", ""))


def policy(desk: Desk, rules: str) -> None:
    desk.host.virtcardd.policy(rules)
    desk.host.virtcardd.virtcard("policy", "reload")


@contextmanager
def call(desk: Desk, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Another program of the person calls meanwhile."""
    process = subprocess.Popen(
        [BIN / "virtcard", "--session", *words],
        env=desk.host.virtcardd.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_menu_shows_machines_and_what_is_in_their_readers(desk: Desk) -> None:
    desk.shell.open_menu()
    for text in ("fedora", "debian", "No card", "win11", "Off", "None inserted"):
        desk.shell.sees(text)
    desk.shell.click("fedora")
    desk.shell.sees("Insert jane (software card)")
    desk.shell.sees(f"Insert {READER} 00 00")
    desk.shell.photograph("shell-menu")
    assert desk.shell.indicator() == ""


def test_a_click_inserts_and_a_click_ejects(desk: Desk) -> None:
    desk.choose("fedora", "Insert jane (software card)")
    desk.has("fedora", "card:jane")
    desk.shell.open_menu()
    desk.shell.sees("jane")
    desk.shell.sees("1 inserted")
    desk.shell.photograph("shell-inserted")
    desk.shell.click("fedora")
    desk.shell.click("Eject jane")
    desk.has("fedora", "")
    desk.shell.open_menu()
    desk.shell.sees("None inserted")


def test_a_card_that_another_machine_has_is_marked(desk: Desk) -> None:
    desk.choose("fedora", f"Insert {READER} 00 00")
    desk.has("fedora", f"reader:{READER} 00 00")
    desk.shell.open_menu()
    desk.shell.click("debian")
    desk.shell.sees("also in fedora")
    desk.shell.photograph("shell-shared")


def test_the_top_bar_shows_while_a_machine_talks_to_a_card(desk: Desk, guest: Guest) -> None:
    desk.choose("win11", "Insert jane (software card)")
    guest.wait_reader_state("present")
    wait_until(lambda: desk.shell.indicator() == "", 20, "the card is only there", 0.2)
    guest.transmit(SELECT_PIV)
    wait_until(lambda: desk.shell.indicator() == "A smart card is used by win11", 10, "it is used", 0.1)
    desk.shell.open_menu()
    desk.shell.sees("jane · in use")
    desk.shell.photograph("shell-in-use")
    wait_until(lambda: desk.shell.indicator() == "", 20, "it is quiet again", 0.2)
    desk.shell.sees("1 inserted")


def test_a_refusal_is_told_in_the_words_of_virtcardd(desk: Desk) -> None:
    policy(desk, '[[rule]]\naction = "deny"\n')
    desk.choose("fedora", "Insert jane (software card)")
    desk.shell.sees("jane was not inserted in fedora")
    desk.shell.photograph("shell-refused")
    assert any("The policy does not let fedora have card:jane" in text for text in desk.shell.texts())
    desk.shell.run("Main.messageTray.getSources().forEach(source => source.destroy());")
    desk.shell.misses("jane was not inserted in fedora")


def test_a_question_is_answered_by_its_buttons(desk: Desk) -> None:
    policy(desk, ASK)
    with call(desk, "insert", "fedora", f"reader:{READER} 00 00") as asking:
        desk.shell.sees("May a virtual machine have a smart card?")
        desk.shell.sees(f"“fedora” wants to have the card “{READER} 00 00”.")
        desk.shell.photograph("shell-question")
        desk.shell.click("Allow Once")
        assert asking.wait(20) == 0
    desk.has("fedora", f"reader:{READER} 00 00")
    desk.shell.misses("May a virtual machine have a smart card?")


def test_a_no_is_a_no(desk: Desk) -> None:
    policy(desk, ASK)
    with call(desk, "insert", "debian", f"reader:{READER} 00 00") as asking:
        desk.shell.click("Deny")
        assert asking.wait(20) == 5
    assert desk.card_in("debian") == ""
    desk.shell.misses("Deny")


def test_a_click_beside_the_buttons_answers_nothing_and_a_question_that_is_over_disappears(desk: Desk) -> None:
    policy(desk, ASK.replace('card = "reader:*"', 'card = "card:*"'))
    with call(desk, "insert", "fedora", "card:jane") as asking:
        desk.shell.click("“fedora” wants to have the card “jane”.")
        desk.shell.sees("Allow Once")
        assert asking.poll() is None
        policy(desk, ALLOW_ALL)
        desk.host.virtcardd.kill()
        desk.shell.misses("Allow Once")
    desk.host.virtcardd.start()
    desk.shell.open_menu()
    desk.shell.sees("fedora")


def test_a_click_in_the_menu_is_its_own_answer(desk: Desk) -> None:
    policy(desk, '[[rule]]\naction = "ask"\n')
    desk.choose("fedora", "Insert jane (software card)")
    desk.has("fedora", "card:jane")
    assert "Allow Once" not in desk.shell.texts()


def test_a_warning_comes_when_the_pin_guard_stepped_in(desk: Desk, guest: Guest) -> None:
    policy(desk, SPARE_THE_PIN)
    desk.choose("win11", "Insert jane (software card)")
    guest.wait_reader_state("present")
    assert guest.transmit(SELECT_PIV, WRONG_PIN)[-1] == b"\x69\x83"
    desk.shell.sees("PIN attempts were stopped")
    desk.shell.sees("No more PINs of “win11” reach “jane”: its last tries are yours.")
    desk.shell.photograph("shell-pin-guard")
    desk.shell.run("Main.messageTray.getSources().forEach(source => source.destroy());")


def test_without_virtcardd_there_is_nothing_and_afterwards_all_is_there_again(desk: Desk) -> None:
    toggle = "walk(global.stage).find(each => each.name === 'virtcard-toggle')"
    desk.choose("fedora", "Insert jane (software card)")
    desk.has("fedora", "card:jane")
    for _ in range(2):
        desk.host.virtcardd.kill()
        desk.shell.wait(f"return !{toggle}.visible;", "the toggle is gone")
        desk.host.virtcardd.start()
        desk.shell.wait(f"return {toggle}.visible;", "the toggle is there")
    desk.has("fedora", "card:jane")
    desk.shell.open_menu()
    desk.shell.sees("jane")


def test_a_virtcardd_that_answers_late_holds_up_nobody(desk: Desk) -> None:
    desk.shell.open_menu()
    desk.shell.click("fedora")
    os.kill(desk.host.virtcardd.pid, signal.SIGSTOP)
    try:
        desk.shell.click("Insert jane (software card)")
        began = time.monotonic()
        desk.shell.enable(False)
        desk.shell.enable()
        desk.shell.open_and_close()
        assert time.monotonic() - began < 10, "the shell goes on"
    finally:
        os.kill(desk.host.virtcardd.pid, signal.SIGCONT)
    desk.has("fedora", "card:jane")
    desk.shell.open_menu()
    desk.shell.sees("jane")


def test_nothing_is_left_when_it_is_disabled(desk: Desk) -> None:
    policy(desk, ASK)
    desk.shell.enable(False)
    before = desk.shell.run(COUNT)
    desk.shell.enable()
    assert desk.shell.run(COUNT) == [each + 1 for each in before]
    desk.shell.open_menu()
    with call(desk, "insert", "fedora", f"reader:{READER} 00 00") as asking:
        desk.shell.sees("Allow Once")
        desk.shell.enable(False)
        assert asking.wait(20) == 5
    assert desk.shell.run(COUNT) == before
    desk.shell.misses("Allow Once")
    assert desk.shell.run("return Main.messageTray.getSources().length;") == 0
    desk.shell.enable()


def test_on_the_lock_screen_there_is_nothing(desk: Desk) -> None:
    desk.shell.run("Main.sessionMode.pushMode('unlock-dialog');")
    try:
        desk.shell.wait(f"return Main.extensionManager.lookup('{UUID}').state === 2;", "it is disabled")
        assert not desk.shell.run("return walk(global.stage).some(each => /^virtcard/.test(each.name));")
    finally:
        desk.shell.run("Main.sessionMode.popMode('unlock-dialog');")
    desk.shell.wait(f"return Main.extensionManager.lookup('{UUID}').state === 1;", "it is back")
    desk.shell.open_menu()


def test_the_application_is_opened_where_it_is_installed(desk: Desk) -> None:
    desk.shell.open_menu()
    desk.shell.click("All Machines and Cards")
    home = desk.shell.log_path.parent
    wait_until((home / "started").exists, 20, "it is started", 0.1)
    (home / "data/applications/org.virtcard.Cards.desktop").unlink()
    desk.shell.wait(
        "return !imports.gi.Shell.AppSystem.get_default().lookup_app('org.virtcard.Cards.desktop');", "gone"
    )
    desk.shell.enable(False)
    desk.shell.enable()
    desk.shell.open_menu()
    desk.shell.sees("fedora")
    assert "All Machines and Cards" not in desk.shell.texts()


def test_it_speaks_german(desk: Desk) -> None:
    desk.shell.speak("de")
    try:
        desk.shell.open_menu("Smartcards")
        desk.shell.click("fedora")
        desk.shell.sees("jane einlegen (Softwarekarte)")
        desk.shell.photograph("shell-german")
    finally:
        desk.shell.close_menu()
        desk.shell.speak("en")
