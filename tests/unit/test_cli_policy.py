"""`virtcard policy`: what is wrong with rules, what they say and why, and whether that is what was expected."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import pytest

from helpers.door import ATR, WIN11, FakeDoor
from virtcard.bus.client import Client
from virtcard.cli.local.policy.expectations import expectations
from virtcard.cli.options import Choice
from virtcard.cli.run import run
from virtcard.errors import Disconnected, InvalidArgument, PolicyBroken
from virtcard.names import CARD, ROOT_PATH, card_path
from virtcard.policy.load import Document, parse

Capture = pytest.CaptureFixture[str]

READER = "reader:Yubico YubiKey CCID 00 00"
RULES = """
[[rule]]
vm = "linux*"
action = "deny"
[[rule]]
vm = "win11"
card = "reader:Yubico*"
action = "ask"
remember = "10m"
[[rule]]
card = "card:*"
action = "allow"
commands = "read"
"""
PIV = "00A4040005A000000308"
VERIFY = "0020008008313233343536FFFF"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return _file(tmp_path / "rules.toml", RULES)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The admin's folder of a session whose other folders are empty but for the vendor's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "config" / "virtcard" / "policy.d"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _explained(capsys: Capture, *words: str, door: FakeDoor | None = None) -> dict[str, Any]:
    assert run(["policy", "explain", *words, "--json"], (door or FakeDoor()).choice()) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# lint


def test_lint_counts_what_is_well(rules: Path, capsys: Capture) -> None:
    assert run(["policy", "lint", str(rules)]) == 0
    assert capsys.readouterr().out == "3 rules, 0 errors, 0 warnings.\n"


def test_lint_names_file_line_and_key(tmp_path: Path, capsys: Capture) -> None:
    bad = _file(tmp_path / "bad.toml", '[[rule]]\nvm = "a"\nactoin = "allow"\n')
    assert run(["policy", "lint", str(bad)]) == 1
    out = capsys.readouterr().out
    assert f"error: {bad}:3: rule.actoin: There is no such key." in out
    assert out.endswith("0 rules, 2 errors, 0 warnings.\n")


def test_lint_warns_of_a_rule_that_is_never_used_and_is_content(tmp_path: Path, capsys: Capture) -> None:
    file = _file(tmp_path / "a.toml", '[[rule]]\naction = "deny"\n[[rule]]\nvm = "b"\naction = "allow"\n')
    assert run(["policy", "lint", str(file)]) == 0
    assert f"warning: {file}:3: The rule at {file}:1 fits first, and it is never used." in capsys.readouterr().out


def test_lint_takes_a_folder_in_the_order_of_names(tmp_path: Path, capsys: Capture) -> None:
    _file(tmp_path / "20.toml", '[[rule]]\nvm = "b"\naction = "allow"\n')
    _file(tmp_path / "10.toml", "nonsense")
    assert run(["policy", "lint", "--json", str(tmp_path)]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["severity"], Path(found["file"]).name, found["line"]) == ("error", "10.toml", 1)


def test_lint_without_a_path_looks_at_who_may_write(session: Path, capsys: Capture) -> None:
    _file(session / "50.toml", RULES).chmod(0o666)
    assert run(["--session", "policy", "lint"]) == 1
    assert "50.toml: Everybody may write there." in capsys.readouterr().out


def test_lint_of_a_file_that_is_not_there_says_so(tmp_path: Path, capsys: Capture) -> None:
    assert run(["policy", "lint", str(tmp_path / "no.toml")]) == 1
    assert "It cannot be read: No such file or directory." in capsys.readouterr().out


# explain


def test_a_folder_without_files_is_not_the_policy_in_use(session: Path, tmp_path: Path, capsys: Capture) -> None:
    """Who names one wants that one looked at, and nothing else."""
    _file(session / "50-own.toml", RULES)
    empty = tmp_path / "empty"
    empty.mkdir()
    _file(empty / ".hidden.toml", RULES)
    assert run(["--session", "policy", "lint", str(empty)]) == 1
    assert capsys.readouterr().out.splitlines()[0] == f"error: {empty}: It has no files *.toml."
    assert run(["policy", "explain", "win11", READER, "--file", str(empty)], FakeDoor().choice()) == 1
    assert f"{empty}: It has no files *.toml." in capsys.readouterr().err


def test_what_may_not_be_read_says_who_may(session: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def closed(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", closed)
    assert run(["--session", "policy", "lint"]) == 1
    sentence, hint, *_ = capsys.readouterr().out.splitlines()
    assert sentence == f"error: {session}: It cannot be read: Permission denied."
    assert "use sudo" in hint


def test_explain_names_the_rule_and_why_by_no_earlier_one(rules: Path, capsys: Capture) -> None:
    words = ["policy", "explain", "win11", "reader:Yubico*", "--file", str(rules)]
    assert run(words, FakeDoor().choice()) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"win11 may have {READER} when a person agrees.\n{rules}:5 says so.\n")
    assert f'  {rules}:2 does not fit: "linux*" is not win11.\n' in out
    assert "Remembers:    10m" in out


def test_explain_asks_for_the_very_reader_and_its_card(tmp_path: Path, capsys: Capture) -> None:
    pattern = f"{ATR[:3].hex(':').upper()}:*"
    file = _file(tmp_path / "atr.toml", f'[[rule]]\natr = "{pattern}"\ncard = "{READER}"\naction = "allow"\n')
    found = _explained(capsys, "3", "reader:*", "--file", str(file))
    assert (found["domain"], found["uuid"], found["card"]) == ("win11", str(WIN11), READER)
    assert (found["action"], found["rule"]) == ("allow", f"{file}:1")


def test_explain_says_no_where_no_rule_fits(rules: Path, capsys: Capture) -> None:
    found = _explained(capsys, "fedora", "reader:Yubico*", "--file", str(rules))
    assert (found["action"], found["rule"], len(found["passed"])) == ("deny", "", 3)


def test_explain_takes_the_callers_name(tmp_path: Path, capsys: Capture) -> None:
    file = _file(tmp_path / "user.toml", '[[rule]]\nuser = "alice"\naction = "allow"\n')
    assert _explained(capsys, "win11", "card:a", "--file", str(file), "--user", "bob")["action"] == "deny"
    assert _explained(capsys, "win11", "card:a", "--file", str(file), "--user", "alice")["action"] == "allow"


def test_explain_takes_the_domains_tags(tmp_path: Path, capsys: Capture) -> None:
    file = _file(tmp_path / "tag.toml", '[[rule]]\nvm = "@lab"\naction = "allow"\n')
    door = FakeDoor()
    next(iter(each for each in door.world.values() if each.get("org.virtcard1.Domain", {}).get("Name") == "win11"))[
        "org.virtcard1.Domain"
    ]["Tags"] = ["lab"]
    assert _explained(capsys, "win11", "card:a", "--file", str(file), door=door)["action"] == "allow"
    assert _explained(capsys, "fedora", "card:a", "--file", str(file), door=door)["action"] == "deny"


def test_explain_judges_commands_one_after_the_other(rules: Path, capsys: Capture) -> None:
    words = ("win11", "card:jane", "--file", str(rules), "--command", PIV, "--command", VERIFY, "--command", "00200080")
    select, verify, question = _explained(capsys, *words)["commands"]
    assert select == {"command": PIV, "allowed": True, "reason": "", "response": ""}
    assert verify == {"command": VERIFY, "allowed": False, "reason": "parameters", "response": "6982"}
    assert question["allowed"]


def test_explain_tells_of_commands_in_sentences(rules: Path, capsys: Capture) -> None:
    words = ["policy", "explain", "win11", "card:jane", "--file", str(rules), "--command", PIV, "--command", "00DB3FFF"]
    assert run(words, FakeDoor().choice()) == 0
    out = capsys.readouterr().out
    assert f"{PIV} reaches the card.\n" in out
    assert "00DB3FFF is refused (instruction); the machine gets 6D00.\n" in out


@pytest.mark.parametrize("command", ["", "00A404", "nonsense"])
def test_explain_refuses_what_is_no_command(command: str, rules: Path, capsys: Capture) -> None:
    words = ["policy", "explain", "win11", "card:jane", "--file", str(rules), "--command", command]
    assert run(words, FakeDoor().choice()) == 2
    assert "is no command APDU" in capsys.readouterr().err


def test_explain_of_an_unknown_domain_is_not_found(rules: Path) -> None:
    assert run(["policy", "explain", "nobody", "card:a", "--file", str(rules)], FakeDoor().choice()) == 4


def test_explain_without_virtcardd_goes_by_the_name(rules: Path, capsys: Capture) -> None:
    def away(_bus: object) -> Client:
        raise Disconnected("virtcardd does not run.")

    choice = Choice(lambda: "system", away)
    assert run(["policy", "explain", "linux1", "card:a", "--file", str(rules)], choice) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("linux1 may not have card:a.\n")
    assert "taken by its name" in captured.err


def test_explain_of_a_broken_policy_says_where(session: Path, capsys: Capture) -> None:
    _file(session / "50.toml", "[[rule]]\n")
    choice = Choice(lambda: "session", lambda _bus: FakeDoor().open())
    assert run(["policy", "explain", "win11", "card:a"], choice) == 1
    assert "50.toml:1" in capsys.readouterr().err


# test


def _expecting(tmp_path: Path, text: str) -> list[str]:
    _file(tmp_path / "rules.toml", RULES)
    return ["policy", "test", str(_file(tmp_path / "expect.toml", 'policy = ["rules.toml"]\n' + text))]


def test_expectations_that_are_met(tmp_path: Path, capsys: Capture) -> None:
    text = f"""
[[expect]]
vm = "win11"
card = "{READER}"
action = "ask"
[[expect]]
vm = "linux1"
card = "card:a"
action = "deny"
[[expect]]
vm = "win11"
card = "card:a"
action = "allow"
allowed = ["{PIV}", "{PIV}, 00200080"]
refused = ["{PIV}, {VERIFY}", "00DB3FFF"]
"""
    assert run(_expecting(tmp_path, text)) == 0
    assert capsys.readouterr().out == "All 3 expectations are met.\n"


def test_an_expectation_that_is_not_met_is_told_with_both_places(tmp_path: Path, capsys: Capture) -> None:
    assert run(_expecting(tmp_path, '[[expect]]\nvm = "linux1"\ncard = "card:a"\naction = "allow"\n')) == 1
    out = capsys.readouterr().out
    rules = tmp_path / "rules.toml"
    place = f"{tmp_path / 'expect.toml'}:2"
    assert f"{place}: linux1 and card:a: allow was expected, and {rules}:2 says deny.\n" in out


def test_a_command_that_gets_through_against_expectation_is_told(tmp_path: Path, capsys: Capture) -> None:
    entry = f'[[expect]]\nvm = "a"\ncard = "card:a"\naction = "allow"\nrefused = ["{PIV}"]\nallowed = ["00DB3FFF"]\n'
    assert run(_expecting(tmp_path, entry)) == 1
    out = capsys.readouterr().out
    assert f"{PIV} reaches the card" in out
    assert "00DB3FFF is refused" in out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Nothing is expected"),
        ("[[expect]\n", ".toml:2: This is not TOML"),
        ('[[expect]]\nvm = "a"\ncard = "card:a"\n', ":2: expect.action: It is missing."),
        ('[[expect]]\nvm = "a"\ncard = "card:a"\naction = "maybe"\n', ":5: expect.action: 'maybe' is no action."),
        ('[[expect]]\nvm = 1\ncard = "card:a"\naction = "ask"\n', ":3: expect.vm: It must be a text"),
        ('[[expect]]\nvm = "a"\ncard = "b"\naction = "ask"\nuuid = "x"\n', ":6: expect.uuid: 'x' is no UUID."),
        ('[[expect]]\nvm = "a"\ncard = "b"\naction = "ask"\natr = "x"\n', ":6: expect.atr: 'x' is no ATR."),
        ('[[expect]]\nvm = "a"\ncard = "b"\naction = "ask"\ntags = ["a b"]\n', ":6: expect.tags: '@a b' is not a tag."),
        (
            '[[expect]]\nvm = "a"\ncard = "b"\naction = "ask"\nallowed = "00"\n',
            ":6: expect.allowed: It must be",
        ),
        ('[[expect]]\nvm = "a"\ncard = "b"\naction = "ask"\nallowed = ["00"]\n', "'00' is no command APDU."),
        ('[[expect]]\nvm = "a"\ncard = "b"\naction = "ask"\nwho = "me"\n', ":6: expect.who: There is no such key."),
        ("expect = 1\n", "Nothing is expected"),
    ],
)
def test_a_bad_file_of_expectations_is_a_wrong_argument(
    text: str, complaint: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run(_expecting(tmp_path, text)) == 2
    assert complaint in capsys.readouterr().err


def test_a_file_of_expectations_that_is_not_there_is_a_wrong_argument(tmp_path: Path) -> None:
    assert run(["policy", "test", str(tmp_path / "no")]) == 2


def test_all_that_an_expectation_may_say() -> None:
    text = f"""
[[expect]]
vm = "a"
card = "{READER}"
action = "ask"
uuid = "{WIN11}"
tags = ["lab"]
user = "alice"
atr = "3B:00"
"""
    (entry,) = expectations(Document("file", text)).entries
    request = entry.request
    assert (request.uuid, request.tags, request.user, request.atr) == (WIN11, frozenset({"lab"}), "alice", b"\x3b\x00")
    assert request.card == READER


def test_expectations_nested_beyond_reason_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="not TOML"):
        expectations(Document("file", "a = " + "[" * 5000))


# generate and reload


def test_generate_prints_rules_that_may_be_used_as_they_are(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[card_path("jane")] = {CARD: {"Name": "jane"}}
    assert run(["policy", "generate"], door.choice()) == 0
    out = capsys.readouterr().out
    policy = parse([Document("generated", out)])
    assert policy.problems == ()
    assert [(rule.vm, rule.card, rule.action) for rule in policy.rules] == [
        (str(WIN11), "reader:Yubico YubiKey CCID*", "ask"),
        (str(WIN11), "card:jane", "ask"),
    ]
    assert "# win11\n" in out


def test_generate_writes_whatever_a_reader_is_called(capsys: Capture) -> None:
    door = FakeDoor()
    (reader,) = [each["org.virtcard1.Reader"] for each in door.world.values() if "org.virtcard1.Reader" in each]
    reader["Name"] = 'Gemalto [CCID "x"] \\ 01 00'
    assert run(["policy", "generate"], door.choice()) == 0
    (rule,) = tomllib.loads(capsys.readouterr().out)["rule"]
    assert rule["card"] == 'reader:Gemalto [[]CCID "x"] \\*'


def test_reload_says_that_it_was_done(capsys: Capture) -> None:
    door = FakeDoor()
    assert run(["policy", "reload"], door.choice()) == 0
    assert door.calls == [(ROOT_PATH, "Reload", ({},))]
    assert capsys.readouterr().out == "The policy was read anew.\n"


def test_reload_of_a_bad_policy_says_what_is_wrong(capsys: Capture) -> None:
    door = FakeDoor(answers={"Reload": PolicyBroken("/etc/virtcard/policy.d/50.toml:3: rule.vm: No.")})
    assert run(["policy", "reload"], door.choice()) == 1
    assert "50.toml:3" in capsys.readouterr().err
