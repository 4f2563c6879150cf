"""Grants: one file each, read as policy, listed and taken back."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch
from uuid import UUID

import pytest

from helpers.soft_crashes import file_limit, stopping_at
from virtcard.card.soft.files import Folder
from virtcard.errors import Failed, InvalidArgument, NoSuchGrant
from virtcard.policy.decide import Request, decide
from virtcard.policy.folders import Folders, load
from virtcard.policy.model import Action, AskFor, Commands, Profile, Rule, WhenLocked
from virtcard.policy.remember import remember
from virtcard.service.grants import Grant, Grants
from virtcard.service.question import Choice, Question

WIN11 = UUID("c9024a97-9b15-46cc-8341-38d75d5d421b")
ME = os.getuid()
NAME = pwd.getpwuid(ME).pw_name
NOW = datetime(2026, 11, 25, 7, 30, 15, 999, tzinfo=UTC)
RULE = Rule(Action.ASK, remember=remember("always"), commands=Commands(Profile.READ), when_locked=WhenLocked.EJECT)
READER = "Yubico YubiKey [OTP+FIDO+CCID] 00 00"
QUESTION = Question(WIN11, "win11", f"reader:{READER}", AskFor.INSERT, (Choice.ALWAYS,), 0, 60.0, b"\x3b\xf8", RULE)
REQUEST = Request(WIN11, "win11", user=NAME, source="reader:Yubico*", reader=READER, atr=b"\x3b\xf8")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A policy whose vendor asks for everything."""
    made = Folders(tmp_path / "admin", tmp_path / "state/policy.d", tmp_path / "vendor", frozenset({ME}))
    for folder in (made.admin, made.vendor):
        folder.mkdir(mode=0o755)
    (made.vendor / "50.toml").write_text('[[rule]]\naction = "ask"\nremember = "always"\n')
    return made


@pytest.fixture
def grants(folders: Folders) -> Grants:
    return Grants(folders.grants, lambda: NOW)


def rule_for(folders: Folders, request: Request) -> Rule:
    """The rule that decides; the policy must be without fault."""
    policy = load(folders)
    assert [str(problem) for problem in policy.problems if "/tmp" not in str(problem.place)] == []
    return decide(policy.rules, request).rule


def test_there_are_none_at_first(grants: Grants) -> None:
    assert grants.all() == ()
    assert not grants.holds(QUESTION, ME)


def test_a_grant_tells_who_gave_it_when_and_for_what(grants: Grants) -> None:
    written = grants.write(QUESTION, ME, NAME)
    assert grants.all() == (written,)
    assert grants.get(written.id) == written
    assert written == Grant(
        written.id, ME, NAME, WIN11, "win11", f"reader:{READER}", "3B:F8", frozenset({AskFor.INSERT}),
        datetime(2026, 11, 25, 7, 30, 15, tzinfo=UTC),
    )  # fmt: skip


def test_its_file_is_private_and_whole(grants: Grants, folders: Folders) -> None:
    grants.write(QUESTION, ME, NAME)
    (file,) = folders.grants.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folders.grants.stat().st_mode) == 0o700


def test_it_allows_with_the_limits_of_the_rule_that_asked(grants: Grants, folders: Folders) -> None:
    grants.write(QUESTION, ME, NAME)
    rule = rule_for(folders, REQUEST)
    assert rule.action is Action.ALLOW
    assert (rule.commands, rule.when_locked) == (RULE.commands, RULE.when_locked)


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, uuid=UUID(int=1)),
        replace(REQUEST, user="somebody"),
        replace(REQUEST, user=""),
        replace(REQUEST, atr=b"\x3b\xf9"),
        replace(REQUEST, reader="Yubico YubiKey O 00 00"),
        replace(REQUEST, reader="", source="card:jane"),
    ],
)
def test_it_allows_nothing_else(grants: Grants, folders: Folders, other: Request) -> None:
    grants.write(QUESTION, ME, NAME)
    assert rule_for(folders, other).action is Action.ASK


def test_a_reader_that_calls_itself_a_pattern_is_that_reader(grants: Grants, folders: Folders) -> None:
    grants.write(replace(QUESTION, source="reader:*"), ME, NAME)
    assert rule_for(folders, replace(REQUEST, reader="*")).action is Action.ALLOW
    assert rule_for(folders, REQUEST).action is Action.ASK


def test_an_administrators_deny_beats_it(grants: Grants, folders: Folders) -> None:
    grants.write(QUESTION, ME, NAME)
    (folders.admin / "10.toml").write_text('[[rule]]\ncard = "reader:Yubico*"\naction = "deny"\n')
    assert rule_for(folders, REQUEST).action is Action.DENY


def test_what_was_not_granted_is_asked_for_still(grants: Grants, folders: Folders) -> None:
    rule = replace(RULE, ask_for=frozenset({AskFor.INSERT, AskFor.SIGN, AskFor.PIN}))
    insert, sign, pin = (
        replace(QUESTION, rule=rule, operation=each) for each in (AskFor.INSERT, AskFor.SIGN, AskFor.PIN)
    )
    grants.write(insert, ME, NAME)
    assert rule_for(folders, REQUEST).ask_for == {AskFor.SIGN, AskFor.PIN}
    assert [grants.holds(each, ME) for each in (insert, sign, pin)] == [True, False, False]
    grants.write(sign, ME, NAME)
    grants.write(pin, ME, NAME)
    assert len(grants.all()) == 1
    assert rule_for(folders, REQUEST).action is Action.ALLOW


def test_it_holds_for_its_user_and_the_very_question(grants: Grants) -> None:
    grants.write(QUESTION, ME, NAME)
    assert grants.holds(QUESTION, ME)
    assert not grants.holds(QUESTION, ME + 1)
    assert not grants.holds(replace(QUESTION, atr=b"\x3b"), ME)
    assert not grants.holds(replace(QUESTION, source="card:jane"), ME)


def test_one_that_is_revoked_is_gone(grants: Grants, folders: Folders) -> None:
    written = grants.write(QUESTION, ME, NAME)
    grants.revoke(written.id)
    assert not grants.holds(QUESTION, ME)
    assert rule_for(folders, REQUEST).action is Action.ASK
    with pytest.raises(NoSuchGrant, match=written.id):
        grants.revoke(written.id)


@pytest.mark.parametrize("number", ["", "../50", "x\0", "*"])
def test_an_id_is_never_a_path(grants: Grants, number: str) -> None:
    grants.write(QUESTION, ME, NAME)
    with pytest.raises(NoSuchGrant):
        grants.revoke(number)


@pytest.mark.parametrize("source", ["reader:\x1b[2J", "nonsense", "reader:" + "x" * 300, "reader:\udc80"])
def test_a_card_that_no_rule_can_name_is_not_granted(grants: Grants, source: str) -> None:
    with pytest.raises((InvalidArgument, Failed)):
        grants.write(replace(QUESTION, source=source), ME, NAME)
    assert grants.all() == ()


def test_the_name_of_a_domain_cannot_add_rules(grants: Grants, folders: Folders) -> None:
    evil = 'x"\n[[rule]]\naction = "allow"\n#\x7f'
    grants.write(replace(QUESTION, domain=evil), ME, NAME)
    assert len(load(folders).rules) == 2
    assert grants.all()[0].domain == evil.replace("\n", "\ufffd").replace("\x7f", "\ufffd")


def test_a_user_without_a_name_grants_nothing(grants: Grants) -> None:
    with pytest.raises(Failed, match="has no name"):
        grants.write(QUESTION, 4_000_000_000, "")


@pytest.mark.parametrize(
    "content",
    ["", "not toml [", '[grant]\nuid = "x"\n', '[[rule]]\naction = "allow"\n', "[grant]\nuid = 0\n", b"\xff"],
)
def test_a_damaged_file_is_passed_over(grants: Grants, folders: Folders, content: str | bytes) -> None:
    written = grants.write(QUESTION, ME, NAME)
    damaged = folders.grants / "grant-abc.toml"
    damaged.write_bytes(content.encode() if isinstance(content, str) else content)
    assert grants.all() == (written,)


def test_there_is_a_bound(grants: Grants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtcard.service.grants.GRANTS_MAX", 2)
    for name in ("card:a", "card:b"):
        grants.write(replace(QUESTION, source=name, atr=b""), ME, NAME)
    with pytest.raises(Failed, match="There are 2 grants already"):
        grants.write(QUESTION, ME, NAME)
    grants.write(replace(QUESTION, source="card:a", atr=b""), ME, NAME)


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_at_any_step_of_a_write_is_failed_and_grants_nothing_more(grants: Grants, folders: Folders) -> None:
    """What was granted before still is."""
    before = grants.write(QUESTION, ME, NAME)
    done: list[str] = []
    errors: list[str] = []
    while "replace" not in done:
        with stopping_at(len(errors), full) as done, pytest.raises(Failed) as caught:
            grants.write(replace(QUESTION, source="reader:Other"), ME, NAME)
        errors.append(caught.value.message)
        if "replace" not in done:
            assert grants.all() == (before,)
            assert len(load(folders).rules) == 2, "that of the grant, and the vendor's"
    assert len(errors) >= 4
    assert all("No space left on device" in error for error in errors)


def test_a_grant_that_may_not_be_on_disk_is_taken_back(grants: Grants, folders: Folders) -> None:
    """The last step fails: the directory is not written."""
    with patch("os.fsync", side_effect=[None, full(), None]), pytest.raises(Failed, match="No space left"):
        grants.write(QUESTION, ME, NAME)
    assert grants.all() == ()
    assert list(folders.grants.iterdir()) == []


@pytest.mark.parametrize("room", [0, 100, 300])
def test_a_full_disk_at_any_byte_of_a_grant_changes_nothing(grants: Grants, folders: Folders, room: int) -> None:
    before = grants.write(QUESTION, ME, NAME)
    content = [path.read_bytes() for path in folders.grants.iterdir()]
    with file_limit(room):
        for question in (replace(QUESTION, source="reader:Other"), replace(QUESTION, operation=AskFor.SIGN)):
            with pytest.raises(Failed, match="Cannot write"):
                grants.write(question, ME, NAME)
    assert grants.all() == (before,)
    assert [path.read_bytes() for path in folders.grants.iterdir()] == content


def test_a_file_is_read_again_only_when_it_has_changed(grants: Grants, folders: Folders) -> None:
    """Everybody on the bus may ask for all of them, again and again."""
    first = grants.write(QUESTION, ME, NAME)
    second = grants.write(replace(QUESTION, uuid=UUID(int=1)), ME, NAME)
    assert {each.id for each in grants.all()} == {first.id, second.id}
    with patch.object(Folder, "read", autospec=True, side_effect=Folder.read) as read:
        assert len(grants.all()) == 2
        assert read.call_count == 0
        file = folders.grants / f"grant-{first.id}.toml"
        file.write_text(file.read_text().replace('domain = "win11"', 'domain = "win12"'))
        assert grants.get(first.id).domain == "win12"
        assert read.call_count == 1
        (folders.grants / f"grant-{second.id}.toml").unlink()
        assert grants.all() == (replace(first, domain="win12"),)
        assert read.call_count == 1


def test_one_that_cannot_be_read_is_told_of_once(
    grants: Grants, folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    grants.write(QUESTION, ME, NAME)
    (folders.grants / "grant-broken.toml").write_text("[grant]\n")
    for _ in range(3):
        assert len(grants.all()) == 1
    assert len(caplog.records) == 1
