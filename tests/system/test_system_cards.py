"""The system's software cards for somebody who is not root: real polkit, and a daemon that is nobody special."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.guest import Guest
from helpers.system_host import SystemHost
from helpers.waiting import wait_until
from virtcard.names import ACTION_MANAGE_CARDS, BUS_NAME, CARD, MANAGER, ROOT_PATH, card_path

ADMIN_RULES = "/etc/polkit-1/rules.d/10-cards.rules"
NEW = ("--pin-file", "-", "--puk-file", "-")
SECRETS = "123456\n12345678\n"
CREATE = ("create", "jane", "--type", "piv", "--key", "p256", *NEW)
SELECT_PIV = bytes.fromhex("00a404000ba000000308000010000100")
"""SP 800-73-4 part 1, 2.2."""
NEW_PIN = bytes.fromhex("0020008008") + b"654321\xff\xff"


def card(host: SystemHost, *words: str, user: str = "nobody", lines: str = "") -> str:
    """What `virtcard card` prints to that user; the test fails when it does not succeed."""
    done = host.root.run("virtcard", "card", *words, user=user, stdin=lines)
    assert done.returncode == 0, f"{words}: {done.stderr}\n{host.root.log('virtcardd')[-2000:]}"
    return done.stdout


def offered(host: SystemHost, user: str, path: str, interface: str, *call: str) -> str:
    """The one-time socket for which a bare call of that user answers."""
    return host.root.check("busctl", "call", BUS_NAME, path, interface, *call, user=user).split('"')[1]


@pytest.fixture
def rule(host: SystemHost) -> Iterator[None]:
    """An administrator lets user nobody manage the card jane; whatever a test made of it is gone afterwards."""
    condition = f'action.id == "{ACTION_MANAGE_CARDS}" && subject.user == "nobody" && action.lookup("card") == "jane"'
    text = f"polkit.addRule(function(action, subject) {{ if ({condition}) return polkit.Result.YES; }});\n"
    host.root.check("tee", ADMIN_RULES, stdin=text)
    probe = ("busctl", "call", BUS_NAME, ROOT_PATH, MANAGER, "CreateCard", "sa{sv}", "jane", "1", "type", "s", "visa")
    wait_until(lambda: "no such type" in host.root.run(*probe, user="nobody").stderr, 10, "polkit has read the rule")
    yield
    host.root.check("rm", ADMIN_RULES)
    host.root.run("virtcard", "card", "delete", "jane", "--yes")
    host.root.check("rm", "--recursive", "--force", "/var/lib/virtcard/cards")


def test_without_a_rule_nobody_makes_a_card(host: SystemHost) -> None:
    done = host.root.run("virtcard", "card", *CREATE, user="nobody", stdin=SECRETS)
    assert done.returncode == 3
    assert f"You are not authorized to do that ({ACTION_MANAGE_CARDS})." in done.stderr
    assert card(host, "list", "--json").strip() == "[]"


def test_a_card_that_somebody_made_through_the_daemon_works_in_a_guest(
    host: SystemHost, vm: str, guest: Guest, rule: None
) -> None:
    card(host, *CREATE, lines=SECRETS)
    assert '"pin_tries": 3' in card(host, "show", "jane", "--json")
    card(host, "passwd", "jane", "--pin-file", "-", "--new-pin-file", "-", lines="123456\n111111\n")
    words = ("passwd", "jane", "--puk", "--puk-file", "-", "--new-puk-file", "-")
    card(host, *words, lines="12345678\n87654321\n")
    card(host, "unblock", "jane", "--puk-file", "-", "--pin-file", "-", lines="87654321\n654321\n")
    host.virtcard("insert", vm, "card:jane")
    guest.wait_reader_state("present")
    assert guest.transmit(SELECT_PIV, NEW_PIN)[1] == b"\x90\x00"
    done = host.root.run("virtcard", "card", "delete", "jane", "--yes", user="nobody")
    assert "The card jane is in use." in done.stderr
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")
    card(host, "delete", "jane", "--yes")
    assert card(host, "list", "--json").strip() == "[]"
    assert host.root.check("find", "/var/lib/virtcard", "-not", "-user", "virtcard") == ""
    assert host.root.check("find", "/run/virtcardd", "-type", "s") == ""


def test_a_card_that_root_made_on_the_files_is_seen_by_everybody(host: SystemHost, rule: None) -> None:
    card(host, *CREATE, user="root", lines=SECRETS)
    wait_until(lambda: "jane" in card(host, "list"), 5, "the daemon has seen it")
    host.root.check("busctl", "get-property", BUS_NAME, card_path("jane"), CARD, "PinTries", user="nobody")


def test_the_socket_belongs_to_the_daemon_and_opens_to_its_user_alone(host: SystemHost, rule: None) -> None:
    path = offered(host, "nobody", ROOT_PATH, MANAGER, "CreateCard", "sa{sv}", "jane", "0")
    assert host.root.check("stat", "--format=%U %F", path).strip() == "virtcard socket"
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    refused = host.root.run("/usr/bin/python3", "-c", connect, path, user="daemon")
    assert "PermissionError" in refused.stderr
    assert host.root.run("ls", "/run/virtcardd", user="daemon").returncode != 0
    host.root.check("/usr/bin/python3", "-c", connect, path, user="nobody")
    wait_until(lambda: host.root.run("test", "-e", path).returncode == 1, 5, "the socket is gone")
    assert card(host, "list", "--json").strip() == "[]"
