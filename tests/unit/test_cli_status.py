"""`virtcard status`: the state of everything, and what to do where something went wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers.door import FEDORA, WIN11, FakeDoor
from virtcard.cli.run import run
from virtcard.cli.screen import clock
from virtcard.names import BRIDGE, DOMAIN, MANAGER, ROOT_PATH, bridge_path, domain_path

Capture = pytest.CaptureFixture[str]

STARTED, SINCE = 1_600_000_000_000_000, 1_700_000_000_000_000


def status(capsys: Capture, door: FakeDoor | None = None) -> Any:
    assert run(["status", "--json"], (door or FakeDoor()).choice()) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys: Capture, door: FakeDoor | None = None) -> list[str]:
    assert run(["status"], (door or FakeDoor()).choice()) == 0
    return capsys.readouterr().out.splitlines()


def door_with(**manager: Any) -> FakeDoor:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER].update(manager)
    return door


def troubled(**bridge: Any) -> FakeDoor:
    door = FakeDoor()
    door.world[bridge_path(WIN11, 0)][BRIDGE].update(bridge)
    return door


def test_json_counts_what_there_is(capsys: Capture) -> None:
    found = status(capsys)
    (bridge,) = found.pop("bridge_list")
    assert (bridge["name"], bridge["domain"], bridge["state"], bridge["since"]) == (
        "win11",
        str(WIN11),
        "inserted",
        SINCE,
    )
    assert found == {
        "version": "0.1.0",
        "uri": "qemu:///system",
        "libvirt": "connected",
        "pcsc": "connected",
        "instance": "system",
        "policy": "ok",
        "policy_error": "",
        "domains": 2,
        "enabled": 1,
        "readers": 1,
        "bridges": 1,
        "apdus": 12,
        "refused": 0,
        "pin_failures": 1,
        "traces": 0,
        "started": STARTED,
        "versions": {"virtcard": "0.1.0", "libvirt": "9.0.0", "qemu": "7.2.11", "pcsc-lite": "1.9.9"},
        "libvirt_error": "",
        "metrics": "",
        "agents": [],
        "problems": [],
    }


def test_it_reads_as_sentences_and_a_table_of_bridges(capsys: Capture) -> None:
    assert shown(capsys) == [
        f"virtcardd:  0.1.0 (system), since {clock(STARTED)}",
        "libvirt:    connected (qemu:///system), libvirt 9.0.0, QEMU 7.2.11",
        "pcscd:      connected, pcsc-lite 1.9.9",
        "Policy:     ok",
        "Agents:     none: what the policy asks is a no, but for root's own calls",
        "Domains:    2, 1 enabled",
        "Readers:    1",
        "Bridges:    1, 12 APDUs, 1 wrong PIN",
        "",
        "Domain  Card            State     Since                APDUs  Refused  Wrong PINs  Card errors",
        f"win11   reader:Yubico*  inserted  {clock(SINCE)}  12     0        1           0",
    ]


def test_a_second_reader_of_a_machine_is_told_by_its_slot(capsys: Capture) -> None:
    assert shown(capsys, troubled(Slot=1))[-1].startswith("win11 (1)  ")


def test_versions_that_nobody_knows_are_left_out(capsys: Capture) -> None:
    lines = shown(capsys, door_with(Versions={"virtcard": "0.1.0"}))
    assert lines[1:3] == ["libvirt:    connected (qemu:///system)", "pcscd:      connected"]


def test_who_can_be_asked_is_told(capsys: Capture) -> None:
    assert "Agents:     none: what the policy asks is a no, but for root's own calls" in shown(capsys)
    assert "Agents:     root, 4000000000" in shown(capsys, door_with(Agents=[0, 4_000_000_000]))


def test_the_file_of_metrics_is_named(capsys: Capture) -> None:
    path = "/run/virtcardd/metrics/virtcard.prom"
    assert f"Metrics:    {path}" in shown(capsys, door_with(Metrics=path))


def test_trouble_of_a_bridge_comes_with_what_to_do(capsys: Capture) -> None:
    door = troubled(LastError="The card does not answer.", Hint="Take it out.", State="ejecting")
    assert shown(capsys, door)[-2:] == ["warning: win11: The card does not answer.", "         hint: Take it out."]


def test_a_peer_that_is_not_to_be_trusted_is_an_error(capsys: Capture) -> None:
    (problem,) = status(capsys, troubled(LastError="It is not QEMU.", State="failed"))["problems"]
    assert problem == {
        "severity": "error",
        "about": "win11",
        "message": "It is not QEMU.",
        "hint": "'virtcard info win11' shows more.",
    }


def test_away_libvirt_says_why(capsys: Capture) -> None:
    reason = "Failed to connect socket to '/run/libvirt/libvirt-sock'."
    (problem,) = status(capsys, door_with(Libvirt="away", LibvirtError=reason))["problems"]
    assert (problem["severity"], problem["about"], problem["message"]) == ("error", "libvirt", reason)


def test_away_pcscd_is_a_warning(capsys: Capture) -> None:
    (problem,) = status(capsys, door_with(Pcsc="away"))["problems"]
    assert (problem["severity"], problem["about"]) == ("warning", "pcscd")
    assert "systemctl start pcscd.socket" in problem["hint"]


def test_a_bad_policy_is_an_error_with_its_place(capsys: Capture) -> None:
    door = door_with(Policy="degraded", PolicyError="/etc/virtcard/policy.d/1.toml:3: no")
    (problem,) = status(capsys, door)["problems"]
    assert (problem["severity"], problem["about"]) == ("error", "policy")
    assert problem["message"].endswith("1.toml:3: no")


@pytest.mark.parametrize(("reader", "severity"), [("conflict", "error"), ("present", "warning")])
def test_the_error_of_a_domain_is_told(reader: str, severity: str, capsys: Capture) -> None:
    door = FakeDoor()
    door.world[domain_path(FEDORA)][DOMAIN].update(Reader=reader, LastError="Undone again.", Hint="Talk to them.")
    (problem,) = status(capsys, door)["problems"]
    assert problem == {"severity": severity, "about": "fedora", "message": "Undone again.", "hint": "Talk to them."}


def test_a_reader_that_waits_for_a_power_cycle_is_told(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[domain_path(WIN11)][DOMAIN]["Reader"] = "pending-power-cycle"
    (problem,) = status(capsys, door)["problems"]
    assert "Shut the machine down" in problem["hint"]


def test_the_same_sentence_about_the_same_machine_comes_once(capsys: Capture) -> None:
    door = troubled(LastError="The card was pulled.", Hint="Put it in.")
    door.world[domain_path(WIN11)][DOMAIN].update(LastError="The card was pulled.")
    (problem,) = status(capsys, door)["problems"]
    assert problem["message"] == "The card was pulled."


def test_names_cannot_drive_the_terminal(capsys: Capture) -> None:
    door = troubled(LastError="Bad.")
    door.world[domain_path(WIN11)][DOMAIN]["Name"] = "\x1b[2Jboo"
    assert "\x1b" not in "".join(shown(capsys, door))
