"""enable, disable, insert and eject: what they ask for, and what they say."""

from __future__ import annotations

import pytest

from helpers.door import FEDORA, WIN11, FakeDoor, changed, unchanged
from virtcard.cli.run import run
from virtcard.errors import DomainStateError, PolicyDenied
from virtcard.names import CARD, DOMAIN, MANAGER, ROOT_PATH, bridge_path, card_path, domain_path

Capture = pytest.CaptureFixture[str]

DIFF = "--- fedora\n+++ fedora\n@@ -1 +1 @@\n+<smartcard/>\n"


def test_enable_keeps_an_existing_smart_card_unless_told_otherwise() -> None:
    door = FakeDoor(answers={"Enable": changed()})
    assert run(["enable", "fedora"], door.choice()) == 0
    assert door.calls == [(domain_path(FEDORA), "Enable", ({"dry-run": False},))]


def test_enable_passes_on_existing_on() -> None:
    door = FakeDoor(answers={"Enable": changed()})
    assert run(["enable", "fedora", "--on-existing", "replace", "--config"], door.choice()) == 0
    assert door.calls[0][2] == ({"dry-run": False, "on-existing": "replace"},)


def test_enable_says_when_it_takes_effect(capsys: Capture) -> None:
    run(["enable", "win11"], FakeDoor(answers={"Enable": changed(pending=True)}).choice())
    assert "after the domain is fully powered off" in capsys.readouterr().out
    run(["enable", "win11"], FakeDoor(answers={"Enable": changed(pending=False)}).choice())
    assert capsys.readouterr().out == "Domain 'win11' has a virtual reader now.\n"


def test_enable_of_an_enabled_domain_says_so(capsys: Capture) -> None:
    assert run(["enable", "win11"], FakeDoor(answers={"Enable": unchanged()}).choice()) == 0
    assert capsys.readouterr().out == "Domain 'win11' has a virtual reader already.\n"


def test_enable_that_kept_a_spice_smart_card_says_so(capsys: Capture) -> None:
    assert run(["enable", "fedora"], FakeDoor(answers={"Enable": unchanged()}).choice()) == 0
    assert "keeps its other smart card device (spicevmc)" in capsys.readouterr().out


def test_dry_run_prints_the_diff_alone(capsys: Capture) -> None:
    door = FakeDoor(answers={"Enable": changed(diff=DIFF)})
    assert run(["enable", "fedora", "--dry-run"], door.choice()) == 0
    assert door.calls[0][2][0]["dry-run"] is True
    assert capsys.readouterr().out == DIFF


def test_a_dry_run_without_a_change_says_so_beside_the_diff(capsys: Capture) -> None:
    door = FakeDoor(answers={"Enable": unchanged()})
    assert run(["enable", "win11", "--dry-run"], door.choice()) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Domain 'win11' has a virtual reader already.\n")


def test_findings_go_to_stderr_so_that_the_diff_stays_a_diff(capsys: Capture) -> None:
    finding = {
        "severity": "warning",
        "code": "no-directory",
        "message": "No directory.",
        "hint": "Run systemd-tmpfiles.",
    }
    door = FakeDoor(answers={"Enable": changed(diff=DIFF, findings=(finding,))})
    assert run(["enable", "fedora", "--dry-run"], door.choice()) == 0
    printed = capsys.readouterr()
    assert printed.out == DIFF
    assert printed.err == "warning: No directory.\nhint: Run systemd-tmpfiles.\n"


@pytest.mark.parametrize("words", [["enable", "win11", "--live"], ["disable", "win11", "--live"]])
def test_live_is_refused_with_a_sentence(words: list[str], capsys: Capture) -> None:
    door = FakeDoor()
    assert run(words, door.choice()) == 1
    assert door.calls == []
    assert "takes effect at the next cold start" in capsys.readouterr().err


def test_disable_asks_for_one_domain(capsys: Capture) -> None:
    door = FakeDoor(answers={"Disable": changed(pending=False)})
    assert run(["disable", "win11"], door.choice()) == 0
    assert door.calls == [(domain_path(WIN11), "Disable", ({"dry-run": False},))]
    assert capsys.readouterr().out == "Domain 'win11' has no virtual reader any more.\n"


def test_disable_of_a_domain_without_a_reader_is_no_failure(capsys: Capture) -> None:
    assert run(["disable", "fedora"], FakeDoor(answers={"Disable": unchanged()}).choice()) == 0
    assert capsys.readouterr().out == "Domain 'fedora' has no virtual reader.\n"


def test_disable_all_takes_only_the_enabled_ones() -> None:
    door = FakeDoor(answers={"Disable": changed()})
    assert run(["disable", "--all"], door.choice()) == 0
    assert [path for path, _, _ in door.calls] == [domain_path(WIN11)]


def test_disable_all_goes_on_after_a_failure_and_ends_with_its_code(capsys: Capture) -> None:
    door = FakeDoor(
        answers={"Disable": {domain_path(WIN11): PolicyDenied("Not this one."), domain_path(FEDORA): changed()}}
    )
    door.world[domain_path(FEDORA)][DOMAIN]["Enabled"] = True
    assert run(["disable", "--all"], door.choice()) == 5
    printed = capsys.readouterr()
    assert printed.err == "virtcard: win11: Not this one.\n"
    assert "'fedora' has no virtual reader any more" in printed.out


def test_disable_all_with_nothing_enabled_says_so(capsys: Capture) -> None:
    assert run(["disable", "--all"], FakeDoor(world={}).choice()) == 0
    assert capsys.readouterr().out == "No domain has a virtual reader.\n"


@pytest.mark.parametrize("words", [["disable"], ["disable", "win11", "--all"]])
def test_disable_wants_a_domain_or_all_of_them(words: list[str]) -> None:
    assert run(words, FakeDoor().choice()) == 2


def test_insert_says_which_card_is_in(capsys: Capture) -> None:
    door = FakeDoor(answers={"Insert": [bridge_path(WIN11, 0)]})
    assert run(["insert", "win11", "reader:Yubi*"], door.choice()) == 0
    assert door.calls == [(domain_path(WIN11), "Insert", ("reader:Yubi*", {"config": False}))]
    assert capsys.readouterr().out == "reader:Yubico* is in domain 'win11'.\n"


def test_insert_without_a_source_leaves_the_choice_to_the_daemon() -> None:
    door = FakeDoor(answers={"Insert": [bridge_path(WIN11, 0)]})
    assert run(["insert", "win11"], door.choice()) == 0
    assert door.calls[0][2] == ("", {"config": False})


def test_insert_config_into_a_domain_that_runs_tells_of_the_wish(capsys: Capture) -> None:
    door = FakeDoor(answers={"Insert": [bridge_path(WIN11, 0)]})
    assert run(["insert", "win11", "--config"], door.choice()) == 0
    assert door.calls[0][2] == ("", {"config": True})
    assert capsys.readouterr().out == "reader:Yubico* is in domain 'win11', and its metadata asks for it.\n"


def test_insert_config_into_a_domain_that_is_off_waits_for_its_start(capsys: Capture) -> None:
    door = FakeDoor(answers={"Insert": ["/"]})
    door.world[ROOT_PATH][MANAGER]["Instance"] = "session"
    assert run(["insert", "fedora", "reader:Yubi*", "--config"], door.choice()) == 0
    printed = capsys.readouterr()
    assert printed.out == "Domain 'fedora' is off; its metadata asks for reader:Yubi* now.\n"
    assert printed.err == ""


@pytest.mark.parametrize(
    ("source", "warned"), [("card:jnae", True), ("card:jane", False), ("reader:Unplugged*", False)]
)
def test_a_wish_for_a_card_that_there_is_not_is_told(source: str, warned: bool, capsys: Capture) -> None:
    door = FakeDoor(answers={"Insert": ["/"]})
    door.world[card_path("jane")] = {CARD: {"Name": "jane"}}
    assert run(["insert", "fedora", source, "--config"], door.choice()) == 0
    assert ("There is no card jnae yet." in capsys.readouterr().err) is warned


def test_insert_without_a_source_says_which_card_is_asked_for_now(capsys: Capture) -> None:
    door = FakeDoor(answers={"Insert": ["/"]})
    door.world[domain_path(FEDORA)][DOMAIN]["Wish"] = "reader:Yubico 00"
    assert run(["insert", "fedora", "--config"], door.choice()) == 0
    assert capsys.readouterr().out == "Domain 'fedora' is off; its metadata asks for reader:Yubico 00 now.\n"


def test_insert_into_a_domain_that_is_off_fails_with_the_daemons_sentence(capsys: Capture) -> None:
    error = DomainStateError("The domain is off.", hint="Start it first.")
    assert run(["insert", "fedora", "reader:*"], FakeDoor(answers={"Insert": error}).choice()) == 1
    assert capsys.readouterr().err == "virtcard: The domain is off.\nhint: Start it first.\n"


def test_insert_with_an_empty_source_takes_no_card(capsys: Capture) -> None:
    """As `insert win11 "$CARD"` comes to when nobody set it."""
    door = FakeDoor(answers={"Insert": [bridge_path(WIN11, 0)]})
    assert run(["insert", "win11", ""], door.choice()) == 2
    assert door.calls == []
    assert "SOURCE is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "config", "later"),
    [
        (["eject", "win11"], False, "; its next start asks for reader:Yubico* again"),
        (["eject", "win11", "--config"], True, ", and its metadata asks for none"),
    ],
)
def test_eject_empties_the_reader_and_tells_of_the_next_start(
    words: list[str], config: bool, later: str, capsys: Capture
) -> None:
    door = FakeDoor()
    assert run(words, door.choice()) == 0
    assert door.calls == [(domain_path(WIN11), "Eject", ({"config": config},))]
    assert capsys.readouterr().out == f"The virtual reader of domain 'win11' is empty{later}.\n"


def test_eject_of_a_domain_that_runs_without_a_reader_speaks_of_no_reader(capsys: Capture) -> None:
    assert run(["eject", "fedora"], FakeDoor().choice()) == 0
    assert capsys.readouterr().out == "Domain 'fedora' has no card.\n"
