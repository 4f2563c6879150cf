"""enable --hotplug, disable --hotplug, prepare-migrate and --slot: what they ask for, and what they say."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.door import FEDORA, WIN11, FakeDoor
from virtcard.cli.run import run
from virtcard.errors import DomainStateError, PolicyDenied
from virtcard.names import DOMAIN, bridge_path, domain_path

Capture = pytest.CaptureFixture[str]

WARNING = {"severity": "warning", "code": "tainted", "message": "It is tainted.", "hint": "Know it."}


def came(*slots: int) -> list[Any]:
    """The answer of Enable and Disable when readers came or went."""
    return [{"changed": bool(slots), "diff": "", "pending": False, "findings": [], "slots": list(slots)}]


def with_readers(**answers: Any) -> FakeDoor:
    """win11 has two hot-plugged readers, fedora has one."""
    door = FakeDoor(answers=answers)
    door.world[domain_path(WIN11)][DOMAIN]["HotPlugged"] = [1, 3]
    door.world[domain_path(FEDORA)][DOMAIN]["HotPlugged"] = [1]
    return door


def test_enable_hotplug_says_which_slot_and_what_it_costs(capsys: Capture) -> None:
    answer = came(2)
    answer[0]["findings"] = [WARNING]
    door = FakeDoor(answers={"Enable": answer})
    assert run(["enable", "win11", "--hotplug"], door.choice()) == 0
    assert door.calls == [(domain_path(WIN11), "Enable", ({"hotplug": True},))]
    printed = capsys.readouterr()
    assert printed.out == "Domain 'win11' has one more virtual reader, in slot 2.\n"
    assert printed.err == "warning: It is tainted.\nhint: Know it.\n"


@pytest.mark.parametrize(
    "words",
    [
        ["enable", "win11", "--hotplug", "--dry-run"],
        ["enable", "win11", "--hotplug", "--on-existing", "keep"],
        ["enable", "win11", "--hotplug", "--mode", "spice"],
        ["disable", "win11", "--hotplug", "--dry-run"],
        ["disable", "win11", "--slot", "1"],
        ["disable", "--all", "--hotplug", "--slot", "1"],
        ["disable", "win11", "--hotplug", "--slot", "9"],
        ["insert", "win11", "--slot", "-1"],
        ["prepare-migrate"],
        ["prepare-migrate", "win11", "--all"],
    ],
)
def test_words_that_do_not_go_together_are_refused(words: list[str]) -> None:
    door = FakeDoor()
    assert run(words, door.choice()) == 2
    assert door.calls == []


def test_a_policy_that_says_no_is_exit_code_5(capsys: Capture) -> None:
    door = FakeDoor(answers={"Enable": PolicyDenied("The policy says no.", hint="Write a rule.")})
    assert run(["enable", "win11", "--hotplug"], door.choice()) == 5
    assert capsys.readouterr().err == "virtcard: The policy says no.\nhint: Write a rule.\n"


def test_disable_hotplug_takes_all_of_them_or_one(capsys: Capture) -> None:
    door = with_readers(Disable=came(1, 3))
    assert run(["disable", "win11", "--hotplug"], door.choice()) == 0
    assert run(["disable", "win11", "--hotplug", "--slot", "3"], door.choice()) == 0
    assert [body for _, _, body in door.calls] == [({"hotplug": True},), ({"hotplug": True, "slot": 3},)]
    assert capsys.readouterr().out.splitlines()[0] == "Domain 'win11' has no reader in slots 1, 3 any more."


def test_a_machine_without_hot_plugged_readers_is_no_failure(capsys: Capture) -> None:
    for words in (["disable", "win11", "--hotplug"], ["prepare-migrate", "win11"]):
        assert run(words, FakeDoor(answers={"Disable": came()}).choice()) == 0
        assert capsys.readouterr().out == "Domain 'win11' has no hot-plugged reader.\n"


def test_disable_all_reaches_machines_that_have_hot_plugged_readers_alone() -> None:
    door = with_readers(Disable=came(1))
    assert run(["disable", "--all"], door.choice()) == 0
    assert [path for path, _, _ in door.calls] == [domain_path(WIN11), domain_path(FEDORA)]
    assert door.calls[0][2] == ({"dry-run": False},)


def test_disable_all_hotplug_leaves_configurations_alone(capsys: Capture) -> None:
    assert run(["disable", "--all", "--hotplug"], FakeDoor().choice()) == 0
    assert capsys.readouterr().out == "No domain has a hot-plugged reader.\n"


def test_prepare_migrate_takes_the_hot_plugged_readers_of_all_machines(capsys: Capture) -> None:
    failure = DomainStateError("It is away.")
    door = with_readers(Disable={domain_path(WIN11): failure, domain_path(FEDORA): came(1)})
    assert run(["prepare-migrate", "--all"], door.choice()) == 1
    assert [(path, body) for path, _, body in door.calls] == [
        (domain_path(WIN11), ({"hotplug": True},)),
        (domain_path(FEDORA), ({"hotplug": True},)),
    ]
    printed = capsys.readouterr()
    assert printed.err == "virtcard: win11: It is away.\n"
    assert printed.out == "Domain 'fedora' has no reader in slot 1 any more.\n"


def test_a_slot_goes_along_with_insert_and_eject(capsys: Capture) -> None:
    door = FakeDoor(answers={"Insert": [bridge_path(WIN11, 0)]})
    assert run(["insert", "win11", "card:jane", "--slot", "0"], door.choice()) == 0
    assert run(["eject", "win11", "--slot", "2"], door.choice()) == 0
    assert [body for _, _, body in door.calls] == [
        ("card:jane", {"config": False, "slot": 0}),
        ({"config": False, "slot": 2},),
    ]
    assert capsys.readouterr().out.splitlines()[1] == "The virtual reader in slot 2 of domain 'win11' is empty."
