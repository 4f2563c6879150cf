"""Who may do what on the system bus: the real polkit, with our actions, rules and bus policy."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from helpers.guest import Guest
from helpers.login_session import login_session
from helpers.machines import domain_xml
from helpers.system_host import SystemHost
from helpers.waiting import wait_until
from virtcard.names import (
    ACTION_EJECT,
    ACTION_ENABLE,
    ACTION_INSERT,
    ACTION_TRACE,
    BUS_NAME,
    DOMAIN,
    MANAGER,
    domain_path,
)

READER = "reader:Virtual PCD 00 00"
POLKIT_ACTIVATION = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
POLICY = "/etc/virtcard/policy.d/50-test.toml"
ADMIN_RULES = "/etc/polkit-1/rules.d/10-admin.rules"


PCSC_HEAD = (
    "<!DOCTYPE policyconfig PUBLIC '-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN' "
    "'http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd'><policyconfig>"
)
PCSC_ACTION = """
<action id="{name}">
  <description>Use a card</description><message>Authentication is required to use a card</message>
  <defaults><allow_any>no</allow_any><allow_inactive>no</allow_inactive><allow_active>yes</allow_active></defaults>
</action>
"""
CALL = """
import sys
from gi.repository import Gio, GLib
path, interface, member, value = sys.argv[1:]
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
try:
    arguments = GLib.Variant.parse(None, value, None, None)
    bus.call_sync("org.virtcard1", path, interface, member, arguments, None, 0, 5000, None)
except GLib.Error as error:
    print(Gio.DBusError.get_remote_error(error))
"""


def error_for_nobody(host: SystemHost, vm: str, member: str, arguments: str) -> str:
    """The name of the error that a bare call of user nobody gets on the bus, "" for none."""
    path = domain_path(UUID(host.virsh("domuuid", vm).strip()))
    return host.root.check("/usr/bin/python3", "-c", CALL, path, DOMAIN, member, arguments, user="nobody").strip()


@pytest.fixture
def empty(host: SystemHost, vm: str, guest: Guest) -> Iterator[Guest]:
    """The guest with an empty reader, before and after."""
    yield guest
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")


@pytest.fixture
def rule(host: SystemHost, vm: str) -> Iterator[None]:
    """An administrator lets user nobody put one card in one machine."""
    uuid = host.virsh("domuuid", vm).strip()
    condition = (
        f'action.id == "{ACTION_INSERT}" && subject.user == "nobody" && action.lookup("uuid") == "{uuid}" && '
        f'action.lookup("domain") == "{vm}" && action.lookup("source") == "{READER}"'
    )
    text = f"polkit.addRule(function(action, subject) {{ if ({condition}) return polkit.Result.YES; }});\n"
    host.root.check("tee", ADMIN_RULES, stdin=text)
    yield
    host.root.check("rm", ADMIN_RULES)


@pytest.fixture
def no_polkit(host: SystemHost) -> Iterator[None]:
    """As if it was not installed."""
    host.root.shell(f"mv {POLKIT_ACTIVATION} /run/activation")
    host.reload_bus()
    host.stop("polkit")
    yield
    host.root.shell(f"mv /run/activation {POLKIT_ACTIVATION}")
    host.reload_bus()
    host.start("polkit")


@pytest.mark.parametrize(
    "words",
    [("status",), ("list",), ("readers",), ("info", "job")],
)
def test_everybody_may_look(host: SystemHost, vm: str, words: tuple[str, ...]) -> None:
    host.virtcard(*words, user="nobody")


@pytest.mark.parametrize(
    "words",
    [
        ("insert", "job", READER),
        ("eject", "job"),
        ("enable", "job"),
        ("disable", "job"),
        ("enable", "job", "--dry-run"),
    ],
)
def test_nobody_may_change_anything(host: SystemHost, vm: str, guest: Guest, words: tuple[str, ...]) -> None:
    done = host.run(*words, user="nobody")
    assert (done.returncode, done.stdout) == (3, "")
    assert "You are not authorized to do that" in done.stderr
    assert guest.readers()[0].state == "empty"


def test_the_refusal_has_its_name_on_the_bus(host: SystemHost, vm: str) -> None:
    error = error_for_nobody(host, vm, "Insert", f"('{READER}', @a{{sv}} {{}})")
    assert error == "org.virtcard1.Error.NotAuthorized"


def test_everybody_may_check_a_machine(host: SystemHost, vm: str) -> None:
    assert error_for_nobody(host, vm, "Check", "(@a{sv} {},)") == ""


@pytest.fixture
def all_allowed(host: SystemHost) -> Iterator[None]:
    """The policy has nothing against it."""
    host.root.check("tee", POLICY, stdin='[[rule]]\naction = "allow"\ncommands = "full"\n')
    host.root.check("busctl", "call", BUS_NAME, "/org/virtcard1", MANAGER, "Reload", "a{sv}", "0")
    yield
    host.root.check("rm", POLICY)


def test_a_rule_of_the_administrator_decides_by_machine_and_card(
    host: SystemHost,
    vm: str,
    empty: Guest,
    rule: None,
    all_allowed: None,
) -> None:
    """polkit takes details from the action's owner alone, who is the daemon's user."""
    wait_until(lambda: host.run("insert", vm, READER, user="nobody").returncode == 0, 10, "polkit has read the rule")
    empty.wait_reader_state("present")
    assert host.run("insert", vm, "reader:Virtual PCD 00 01", user="nobody").returncode == 3


def test_whom_polkit_lets_is_asked_by_the_policy_and_denied_when_nobody_is_there(
    host: SystemHost, vm: str, empty: Guest, rule: None
) -> None:
    wait_until(lambda: host.run("insert", vm, READER, user="nobody").returncode == 5, 10, "polkit has read the rule")
    denied = host.run("insert", vm, READER, user="nobody")
    assert "Nobody is logged in at the machine who could be asked." in denied.stderr
    assert "/usr/lib/virtcard" not in denied.stderr
    assert empty.readers()[0].state == "empty"


def test_whoever_sits_at_the_machine_may_eject_and_is_asked_before_a_card_goes_in(
    host: SystemHost, vm: str, empty: Guest
) -> None:
    """polkit lets them insert; the vendor's rule asks, and here is no logind that tells who could be asked."""
    host.virtcard("insert", vm, READER)
    with login_session(host, "nobody", active=False) as session:
        assert session.virtcard("eject", vm).returncode == 3
        assert session.virtcard("insert", vm, READER).returncode == 3
    empty.wait_reader_state("present")
    with login_session(host, "nobody", active=True) as session:
        assert session.virtcard("disable", vm).returncode == 3
        asked = session.virtcard("insert", vm, READER)
        assert asked.returncode == 5
        assert "Nobody is logged in at the machine who could be asked." in asked.stderr
        done = session.virtcard("eject", vm)
        assert (done.returncode, done.stderr) == (0, "")
    empty.wait_reader_state("empty")


@pytest.fixture
def plain(host: SystemHost) -> Iterator[str]:
    """A machine that is off, and has no virtual reader."""
    host.virsh("define", "/dev/stdin", stdin=domain_xml(host.root.directory, "plain"))
    wait_until(lambda: host.run("info", "plain").returncode == 0, 5, "the domain is on the bus")
    yield "plain"
    host.virsh("undefine", "plain")


def test_whoever_sits_at_the_machine_may_not_give_one_a_reader_by_a_wish(host: SystemHost, plain: str) -> None:
    before = host.virsh("dumpxml", "--inactive", plain)
    with login_session(host, "nobody", active=True) as session:
        for words in (("insert", plain, READER, "--config"), ("eject", plain, "--config")):
            refused = session.virtcard(*words)
            assert (refused.returncode, ACTION_ENABLE in refused.stderr) == (3, True)
    assert host.virsh("dumpxml", "--inactive", plain) == before
    host.virtcard("insert", plain, READER, "--config")
    assert host.json("info", plain)["enabled"]


def test_a_rule_that_forbids_a_reader_is_not_passed_by_with_a_glob(
    host: SystemHost, vm: str, empty: Guest, all_allowed: None
) -> None:
    forbidden = f'action.id == "{ACTION_INSERT}" && action.lookup("source") == "{READER}"'
    allowed = f'action.id == "{ACTION_INSERT}" && subject.user == "nobody"'
    host.root.check(
        "tee",
        ADMIN_RULES,
        stdin=f"polkit.addRule(function(action, subject) {{ if ({forbidden}) return polkit.Result.NO; "
        f"if ({allowed}) return polkit.Result.YES; }});\n",
    )
    try:
        other = "reader:*00 01"
        wait_until(lambda: host.run("insert", vm, other, user="nobody").returncode == 0, 10, "polkit has read the rule")
        for glob in (READER, "reader:*00 00", "reader:Virtual PCD 0? 00"):
            assert host.run("insert", vm, glob, user="nobody").returncode == 3
    finally:
        host.root.check("rm", ADMIN_RULES)


def test_polkit_knows_every_action_and_whose_it_is(host: SystemHost) -> None:
    shown = host.root.check("pkaction", "--verbose")
    described = {part.split(":\n")[0]: part for part in shown.split("\n\n")}
    for action in (ACTION_ENABLE, ACTION_INSERT, ACTION_EJECT, ACTION_TRACE):
        assert "org.freedesktop.policykit.owner -> unix-user:virtcard" in described[action]


@pytest.mark.parametrize(("user", "exit_code"), [("virtcard", 0), ("nobody", 1)])
def test_the_rule_opens_libvirt_to_the_daemon_and_to_nobody_else(host: SystemHost, user: str, exit_code: int) -> None:
    assert host.root.run("virsh", "-c", "qemu:///system", "list", user=user).returncode == exit_code


@pytest.fixture
def pcsc_actions(host: SystemHost) -> Iterator[tuple[str, ...]]:
    """Debian's pcscd asks polkit from 13 on: for those who sit at the machine, and nobody else."""
    names = ("org.debian.pcsc-lite.access_pcsc", "org.debian.pcsc-lite.access_card")
    actions = "".join(PCSC_ACTION.format(name=name) for name in names)
    file = "/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy"
    before = host.root.run("cat", file).stdout
    host.root.check("tee", file, stdin=PCSC_HEAD + actions + "</policyconfig>\n")
    yield names
    host.root.check("tee" if before else "rm", file, stdin=before)


def test_the_rule_opens_pcscd_to_the_daemon_and_to_nobody_else(host: SystemHost, pcsc_actions: tuple[str, ...]) -> None:
    known = lambda: set(pcsc_actions) <= set(host.root.check("pkaction").split())  # noqa: E731
    wait_until(known, 10, "polkit has read the actions")
    for action in pcsc_actions:
        ask = f"pkcheck --action-id {action} --process $$"
        assert host.root.run("sh", "-c", ask, user="virtcard").returncode == 0
        assert host.root.run("sh", "-c", ask, user="nobody").returncode == 1


def test_without_polkit_only_root_may(host: SystemHost, vm: str, empty: Guest, no_polkit: None) -> None:
    done = host.run("insert", vm, READER, user="nobody")
    assert done.returncode == 3
    assert "Only root may do that while polkit is not there." in done.stderr
    host.virtcard("status", user="nobody")
    host.virtcard("insert", vm, READER)
    empty.wait_reader_state("present")


def test_nobody_may_take_the_name_of_the_daemon(host: SystemHost) -> None:
    words = ["call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su"]
    done = host.root.run("busctl", *words, BUS_NAME, "3", user="nobody")
    assert "Access denied" in done.stderr
