"""Bus policy, activation, polkit actions and rules: well-formed, and about the names that we use."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dbus_next.errors import DBusError

from helpers.bus import NOBODY, REPOSITORY, SYSTEM_POLICY, connect_as, private_bus, run_async
from helpers.fake_service import FakeService
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.export import serve
from virtcard.bus.standard import INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES
from virtcard.errors import NotAuthorized
from virtcard.names import (
    ACTION_EJECT,
    ACTION_ENABLE,
    ACTION_INSERT,
    ACTION_MANAGE_CARDS,
    ACTION_POLICY,
    ACTION_TRACE,
    BRIDGE,
    BUS_NAME,
    CARD,
    DOMAIN,
    MANAGER,
    READER,
    ROOT_PATH,
    SYSTEM_USER,
)

DBUS = REPOSITORY / "dbus"
CONF = DBUS / "org.virtcard1.conf"
POLICY = DBUS / "org.virtcard1.policy"
RULES = DBUS / "50-virtcard.rules"


@pytest.mark.parametrize("path", [*sorted(DBUS.glob("*.xml")), CONF, POLICY], ids=lambda path: path.name)
def test_xml_files_are_well_formed(path: Path) -> None:
    subprocess.run(["xmllint", "--noout", "--nonet", path], check=True)


def test_polkit_actions_are_valid_and_ours() -> None:
    dtd = "/usr/share/polkit-1/policyconfig-1.dtd"
    subprocess.run(["xmllint", "--noout", "--nonet", "--dtdvalid", dtd, POLICY], check=True)
    actions = {action.get("id") for action in ElementTree.parse(POLICY).iter("action")}
    assert actions == {
        ACTION_ENABLE,
        ACTION_INSERT,
        ACTION_EJECT,
        ACTION_MANAGE_CARDS,
        ACTION_POLICY,
        ACTION_TRACE,
    }


def test_every_action_belongs_to_the_daemons_user() -> None:
    for action in ElementTree.parse(POLICY).iter("action"):
        (owner,) = [each.text for each in action.iter("annotate")]
        assert owner == f"unix-user:{SYSTEM_USER}"


def defaults(action: str) -> list[str | None]:
    (found,) = [each for each in ElementTree.parse(POLICY).iter("action") if each.get("id") == action]
    return [found.findtext(f"defaults/allow_{who}") for who in ("any", "inactive", "active")]


def test_whoever_sits_at_the_machine_may_insert_and_eject_and_others_need_an_administrator() -> None:
    assert defaults(ACTION_EJECT) == defaults(ACTION_INSERT) == ["auth_admin", "auth_admin", "yes"]
    assert defaults(ACTION_ENABLE) == defaults(ACTION_MANAGE_CARDS) == ["auth_admin_keep"] * 3
    assert defaults(ACTION_POLICY) == defaults(ACTION_TRACE) == ["auth_admin"] * 3


def test_bus_policy_names_our_interfaces_and_the_standard_ones() -> None:
    default = {
        (rule.get("send_destination"), rule.get("send_interface"))
        for policy in ElementTree.parse(CONF).iter("policy")
        if policy.get("context") == "default"
        for rule in policy.iter("allow")
    }
    ours = {MANAGER, DOMAIN, READER, BRIDGE, CARD, PROPERTIES, OBJECT_MANAGER, INTROSPECTABLE, PEER}
    assert default == {(BUS_NAME, interface) for interface in ours}


def test_only_root_and_the_daemons_user_may_own_the_name() -> None:
    owners = {
        policy.get("user")
        for policy in ElementTree.parse(CONF).iter("policy")
        for rule in policy.iter("allow")
        if rule.get("own") == BUS_NAME
    }
    assert owners == {"root", SYSTEM_USER}


def test_bus_policy_works_on_a_bus_as_strict_as_the_system_bus() -> None:
    async def test() -> None:
        with private_bus(policy=SYSTEM_POLICY, extra=f"<include>{CONF}</include>") as private:
            stranger = await connect_as(private.address, NOBODY)
            with pytest.raises(NotAuthorized):
                await stranger.claim(BUS_NAME)
            daemon = await Bus.open(BusKind.SYSTEM, address=private.address)
            await serve(daemon, FakeService().fill())
            objects = await stranger.ask(BUS_NAME, ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")
            assert len(objects[0]) == 3
            with pytest.raises(DBusError) as refused:
                await stranger.ask(BUS_NAME, ROOT_PATH, "com.example.Other", "Method")
            assert refused.value.type == "org.freedesktop.DBus.Error.AccessDenied"

    run_async(test())


def test_a_daemon_without_our_bus_policy_says_so() -> None:
    async def test() -> None:
        with private_bus(policy=SYSTEM_POLICY) as private:
            daemon = await Bus.open(BusKind.SYSTEM, address=private.address)
            with pytest.raises(NotAuthorized, match="This user may not own") as refused:
                await serve(daemon, FakeService())
            assert "org.virtcard1.conf" in refused.value.hint

    run_async(test())


@pytest.mark.parametrize("path", [DBUS / "org.virtcard1.service", DBUS / "session/org.virtcard1.service"])
def test_activation_files_start_our_service(path: Path) -> None:
    parsed = configparser.ConfigParser()
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(path)
    service = parsed["D-BUS Service"]
    assert service["Name"] == BUS_NAME
    assert service["SystemdService"] == "virtcardd.service"
    assert path.parent.name != "session" or service["Exec"].endswith("virtcardd --session")


def decision(user: str, action: str) -> str:
    """What the rules file answers, run by JavaScript as polkitd runs it."""
    program = (
        "var rule; var polkit = {addRule: function(f) { rule = f; },"
        " Result: {YES: 'yes', NOT_HANDLED: 'not handled'}};"
        f"{RULES.read_text()}; print(rule({{id: '{action}'}}, {{user: '{user}'}}));"
    )
    return subprocess.run(["gjs", "-c", program], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("user", "action", "answer"),
    [
        (SYSTEM_USER, "org.debian.pcsc-lite.access_pcsc", "yes"),
        (SYSTEM_USER, "org.debian.pcsc-lite.access_card", "yes"),
        (SYSTEM_USER, "org.libvirt.unix.manage", "yes"),
        (SYSTEM_USER, "org.freedesktop.login1.reboot", "not handled"),
        ("alice", "org.libvirt.unix.manage", "not handled"),
    ],
)
def test_rules_let_the_daemon_reach_pcscd_and_libvirt_and_nobody_else(user: str, action: str, answer: str) -> None:
    assert decision(user, action) == answer
