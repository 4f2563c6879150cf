"""list, info, readers, status and watch: what they print, and the JSON that scripts rely on."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from helpers.door import ATR, FEDORA, WIN11, FakeDoor, Happened
from virtcard.cli.run import run
from virtcard.cli.screen import clock
from virtcard.names import (
    BRIDGE,
    CARD,
    DOMAIN,
    MANAGER,
    READER,
    ROOT_PATH,
    bridge_path,
    card_path,
    domain_path,
    reader_path,
)

Capture = pytest.CaptureFixture[str]

WIN11_SHAPE: dict[str, Any] = {
    "name": "win11",
    "uuid": str(WIN11),
    "id": 3,
    "state": "running",
    "persistent": True,
    "enabled": True,
    "live": True,
    "reader": "present",
    "wish": "reader:Yubico*",
    "card": "reader:Yubico*",
    "foreign": "",
    "last_error": "",
    "mode": "bridge",
    "tags": [],
    "hint": "",
    "hotplugged": [],
}
BRIDGE_SHAPE = {
    "domain": str(WIN11),
    "slot": 0,
    "source": "reader:Yubico*",
    "endpoint": f"unix:///run/virtcard/vm/{WIN11}.sock",
    "state": "inserted",
    "since": 1_700_000_000_000_000,
    "apdus": 12,
    "last_error": "",
    "commands": {"SELECT": 3, "VERIFY": 9},
    "refused": 0,
    "pin_failures": 1,
    "pin_stops": 0,
    "errors": 0,
    "bytes_sent": 140,
    "bytes_received": 96,
    "traced_by": [],
    "hint": "",
    "active": False,
}


def as_json(capsys: Capture, *words: str, door: FakeDoor | None = None) -> Any:
    assert run([*words, "--json"], (door or FakeDoor()).choice()) == 0
    return json.loads(capsys.readouterr().out)


def test_list_shows_running_domains_first(capsys: Capture) -> None:
    assert run(["list"], FakeDoor().choice()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Id  Name    State     Reader              Card",
        "3   win11   running   present             reader:Yubico*",
        "-   fedora  shut off  foreign (spicevmc)  -",
    ]


def test_list_marks_machines_with_hot_plugged_readers_and_shows_all_their_cards(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[domain_path(WIN11)][DOMAIN]["HotPlugged"] = [1, 2]
    first = door.world[bridge_path(WIN11, 0)][BRIDGE]
    door.world[bridge_path(WIN11, 1)] = {BRIDGE: {**first, "Slot": 1, "Source": ""}}
    door.world[bridge_path(WIN11, 2)] = {BRIDGE: {**first, "Slot": 2, "Source": "card:jane"}}
    assert run(["list"], door.choice()) == 0
    _, line, _ = capsys.readouterr().out.splitlines()
    assert line == "3   win11   running   present +2 hot-plugged  0: reader:Yubico*, 2: card:jane"
    assert run(["info", "win11"], door.choice()) == 0
    out = capsys.readouterr().out
    assert "slots 1, 2" in out
    assert "Bridge of slot 2" in out


def test_list_json_has_every_domain_in_its_documented_shape(capsys: Capture) -> None:
    first, second = as_json(capsys, "list")
    assert first == WIN11_SHAPE
    assert second["name"] == "fedora"
    assert second["uuid"] == str(FEDORA)
    assert second["id"] is None


def test_list_of_nothing_is_an_empty_json_list(capsys: Capture) -> None:
    manager = FakeDoor().world[ROOT_PATH]
    assert as_json(capsys, "list", door=FakeDoor(world={ROOT_PATH: manager})) == []


def test_a_name_with_control_characters_cannot_drive_the_terminal(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[domain_path(FEDORA)][DOMAIN]["Name"] = "\x1b[2Jboo\n"
    run(["list"], door.choice())
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[2Jboo" in printed


@pytest.mark.parametrize("name", ["win11", str(WIN11), "3"])
def test_info_takes_name_uuid_or_id(name: str, capsys: Capture) -> None:
    found = as_json(capsys, "info", name)
    assert found == {**WIN11_SHAPE, "bridges": [BRIDGE_SHAPE], "findings": []}


def test_info_tells_what_would_keep_the_domain_from_starting(capsys: Capture) -> None:
    found = {"severity": "error", "code": "usb-ehci-only", "message": "Only EHCI is there.", "hint": "Add qemu-xhci."}
    door = FakeDoor(answers={"Check": [[found]]})
    assert as_json(capsys, "info", "fedora", door=door)["findings"] == [found]
    assert run(["info", "fedora"], door.choice()) == 0
    assert capsys.readouterr().err == "warning: Only EHCI is there.\nhint: Add qemu-xhci.\n"


def test_info_says_what_a_reader_waits_for(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[domain_path(WIN11)][DOMAIN]["Reader"] = "pending-power-cycle"
    assert run(["info", "win11"], door.choice()) == 0
    assert "hint: Shut the machine down and start it again" in capsys.readouterr().err


def test_info_prints_fields_as_virsh_does(capsys: Capture) -> None:
    assert run(["info", "win11"], FakeDoor().choice()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Name:                 win11" in lines
    since = clock(1_700_000_000_000_000)
    assert f"Bridge:               inserted since {since}, reader:Yubico*, 12 APDUs, 1 wrong PIN" in lines
    assert "Commands:             VERIFY 9, SELECT 3" in lines


def test_info_tells_what_to_do_about_trouble(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[bridge_path(WIN11, 0)][BRIDGE].update(LastError="The card does not answer.", Hint="Take it out.")
    assert run(["info", "win11"], door.choice()) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("Bridge error:         The card does not answer.")
    assert lines[at + 1] == "                      hint: Take it out."


def test_info_shows_last_errors_only_when_there_are_some(capsys: Capture) -> None:
    door = FakeDoor()
    run(["info", "win11"], door.choice())
    assert "error" not in capsys.readouterr().out
    door.world[domain_path(WIN11)][DOMAIN]["LastError"] = "The card was pulled."
    run(["info", "win11"], door.choice())
    assert "Last error:           The card was pulled." in capsys.readouterr().out


def test_readers_json_has_the_atr_as_hex_and_domains_as_uuids(capsys: Capture) -> None:
    assert as_json(capsys, "readers") == [
        {
            "number": 0,
            "name": "Yubico YubiKey CCID 00 00",
            "present": True,
            "atr": ATR.hex().upper(),
            "domains": [str(WIN11)],
        }
    ]


@pytest.mark.parametrize(
    ("verb", "state", "warned"),
    [
        (
            "readers",
            {"Pcsc": "away"},
            "warning: virtcardd has not reached pcscd: no card in a host reader can be used.",
        ),
        ("list", {"Libvirt": "away", "LibvirtError": "libvirt is down."}, "warning: libvirt is down."),
    ],
)
def test_a_list_that_may_lack_something_says_why(
    verb: str, state: dict[str, str], warned: str, capsys: Capture
) -> None:
    door = FakeDoor()
    assert run([verb], door.choice()) == 0
    assert capsys.readouterr().err == ""
    door.world[ROOT_PATH][MANAGER] |= state
    for words in ([verb], [verb, "--json"]):
        assert run(words, door.choice()) == 0
        assert capsys.readouterr().err.splitlines()[0] == warned


def test_readers_names_the_domains_that_use_them(capsys: Capture) -> None:
    assert run(["readers"], FakeDoor().choice()) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[-1] == "win11"


def test_watch_json_is_one_object_per_line_with_the_names_of_the_shapes(capsys: Capture) -> None:
    door = FakeDoor(
        happened=[
            Happened("changed", domain_path(WIN11), DOMAIN, {"Id": -1, "LastError": "", "Reader": "absent"}),
            Happened("added", reader_path(1), READER, {"Atr": ATR, "Domains": [domain_path(WIN11)]}),
            Happened("removed", reader_path(1), READER, {}),
        ]
    )
    assert run(["watch", "--json"], door.choice()) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {
            "event": "changed",
            "type": "domain",
            "path": domain_path(WIN11),
            "properties": {"id": None, "last_error": "", "reader": "absent"},
        },
        {
            "event": "added",
            "type": "reader",
            "path": reader_path(1),
            "properties": {"atr": ATR.hex().upper(), "domains": [str(WIN11)]},
        },
        {"event": "removed", "type": "reader", "path": reader_path(1), "properties": {}},
    ]


def test_watch_prints_one_line_per_change(capsys: Capture) -> None:
    changed = {"State": "shut off", "Live": False, "Card": ""}
    door = FakeDoor(happened=[Happened("changed", domain_path(WIN11), DOMAIN, changed)])
    assert run(["watch"], door.choice()) == 0
    assert capsys.readouterr().out == "domain win11 changed state='shut off' live=no card=-\n"


def test_watch_calls_everything_by_its_name_and_moments_by_the_clock(capsys: Capture) -> None:
    other = UUID("22222222-2222-3333-4444-555555555555")
    since = 1_700_000_000_000_000
    door = FakeDoor(
        happened=[
            Happened("changed", bridge_path(WIN11, 0), BRIDGE, {"State": "empty", "Since": since}),
            Happened("changed", bridge_path(WIN11, 2), BRIDGE, {"State": "empty"}),
            Happened("added", domain_path(other), DOMAIN, {"Name": "new one"}),
            Happened("changed", reader_path(0), READER, {"Domains": [domain_path(WIN11), domain_path(other)]}),
            Happened("removed", domain_path(other), DOMAIN, {}),
            Happened("removed", reader_path(7), READER, {}),
        ]
    )
    assert run(["watch"], door.choice()) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"bridge win11 changed state=empty since='{clock(since)}'",
        "bridge 'win11 (2)' changed state=empty",
        "domain 'new one' added name='new one'",
        "reader 'Yubico YubiKey CCID 00 00' changed domains='win11,new one'",
        "domain 'new one' removed",
        "reader 7 removed",
    ]


def test_watch_calls_a_software_card_by_its_name(capsys: Capture) -> None:
    properties = {"PinTries": 2, "Keys": [{"slot": "9a", "algorithm": "p256"}, {"slot": "9c", "algorithm": "p256"}]}
    door = FakeDoor(happened=[Happened("changed", card_path("jane-piv"), CARD, properties)])
    assert run(["watch"], door.choice()) == 0
    assert capsys.readouterr().out == "card jane-piv changed pin_tries=2 keys=9a,9c\n"


def test_every_verb_leaves_the_bus_when_it_is_done() -> None:
    for words in (["list"], ["info", "win11"], ["readers"], ["status"], ["watch"]):
        door = FakeDoor()
        assert run(words, door.choice()) == 0
        assert door.closed
