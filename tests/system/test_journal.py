"""Our records judged by systemd's journald and read by journalctl, and what `virtcard log` makes of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from helpers.door import WIN11, FakeDoor
from helpers.journald import Journald, journald
from helpers.system_root import become
from helpers.waiting import wait_until
from virtcard.card.audit import Counts
from virtcard.cli.options import Choice
from virtcard.cli.run import run
from virtcard.errors import Disconnected
from virtcard.journal import SOCKET, Journal, datagram, entry
from virtcard.service.record import Event, Record

Capture = pytest.CaptureFixture[str]

GONE = UUID("99999999-2222-3333-4444-555555555555")
COUNTS = Counts({"SELECT": 1, "VERIFY": 2}, 3, 1, 0, 42, 6)
INSERTED = Record(Event.INSERTED, "reader:Yubico* is in win11.", WIN11, "win11", "reader:Yubico*", "", "alice")
EJECTED = replace(INSERTED, event=Event.EJECTED, sentence="reader:Yubico* is out of win11.", counts=COUNTS)
OF_ANOTHER = Record(Event.INSERTED, "card:x is in another.", GONE, "another", "card:x")
AWKWARD = replace(INSERTED, sentence="Two\nlines \x1b[2J.", reason="\x07")


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journald]:
    """A journal with four records of ours."""
    with journald(tmp_path_factory.mktemp("journal")) as running:
        ours = Journal(running.socket)
        for record in (INSERTED, EJECTED, OF_ANOTHER, AWKWARD):
            ours.record(record)
        wait_until(lambda: len(read(running)) == 4, 10, "journald has them all")
        yield running


@pytest.fixture(autouse=True)
def _path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "journal" in request.fixturenames:
        running: Journald = request.getfixturevalue("journal")
        monkeypatch.setenv("PATH", str(running.commands), prepend=":")


def read(running: Journald, *wanted: str) -> list[dict[str, Any]]:
    words = [str(running.commands / "journalctl"), "--output=json", "--all", "SYSLOG_IDENTIFIER=virtcardd", *wanted]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def log(capsys: Capture, *words: str, door: FakeDoor | None = None) -> list[str]:
    assert run(["log", *words], (door or FakeDoor()).choice()) == 0
    return capsys.readouterr().out.splitlines()


def test_journald_keeps_every_field_as_it_was_sent(journal: Journald) -> None:
    (found,) = read(journal, "VIRTCARD_EVENT=ejected")
    assert found["MESSAGE_ID"] == "87fe14cd330c406aa0b2ad0b682b99c5"
    assert found["PRIORITY"] == "5"
    assert found.items() >= EJECTED.fields().items()


def test_journalctl_finds_records_by_domain_and_by_message_id(journal: Journald) -> None:
    assert len(read(journal, f"VIRTCARD_DOMAIN={WIN11}")) == 3
    assert [each["VIRTCARD_DOMAIN_NAME"] for each in read(journal, f"VIRTCARD_DOMAIN={GONE}")] == ["another"]
    assert len(read(journal, "MESSAGE_ID=88cd8d673f6744e1a85ff0eb5ae73d2d")) == 3


def test_a_line_break_in_a_record_stays_within_its_field(journal: Journald) -> None:
    assert "Two\nlines \x1b[2J." in [bytes(each["MESSAGE"]).decode() for each in read(journal) if is_raw(each)]


def prepend_journalctl(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Another journalctl comes first."""
    (folder / "journalctl").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def is_raw(found: dict[str, Any]) -> bool:
    return isinstance(found["MESSAGE"], list)


def test_log_shows_the_records_of_a_domain_as_sentences(journal: Journald, capsys: Capture) -> None:
    lines = log(capsys, "win11")
    assert [line[21:] for line in lines[:2]] == ["reader:Yubico* is in win11.", "reader:Yubico* is out of win11."]
    assert lines[2].endswith("Two lines \\x1b[2J.")


def test_log_json_has_the_documented_keys(journal: Journald, capsys: Capture) -> None:
    shown = json.loads(log(capsys, "win11", "--json")[1])
    assert shown.pop("time") > 1_600_000_000_000_000
    assert shown == {
        "event": "ejected",
        "message": "reader:Yubico* is out of win11.",
        "uuid": str(WIN11),
        "name": "win11",
        "source": "reader:Yubico*",
        "rule": "",
        "user": "alice",
        "reason": "",
        "commands": {"SELECT": 1, "VERIFY": 2},
        "refused": 3,
        "pin_failures": 1,
        "pin_stops": 0,
        "errors": 0,
        "bytes_sent": 42,
        "bytes_received": 6,
    }


@pytest.mark.parametrize("name", ["another", str(GONE)])
def test_a_domain_that_is_gone_is_found_by_its_name_or_uuid(journal: Journald, capsys: Capture, name: str) -> None:
    assert [line[21:] for line in log(capsys, name)] == ["card:x is in another."]


def test_log_needs_no_daemon(journal: Journald, capsys: Capture) -> None:
    def away(bus: str) -> Any:
        raise Disconnected("virtcardd does not run.")

    assert run(["log", "win11"], Choice(lambda: "system", away)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_domain_without_records_has_an_empty_log(journal: Journald, capsys: Capture) -> None:
    assert log(capsys, "fedora") == []


def test_a_name_that_nobody_ever_had_is_not_found(journal: Journald, capsys: Capture) -> None:
    assert run(["log", "nobody"], FakeDoor().choice()) == 4
    assert capsys.readouterr().err.startswith("virtcard: There is no domain 'nobody'.\n")


def test_since_leaves_out_what_is_older(journal: Journald, capsys: Capture) -> None:
    assert log(capsys, "win11", "--since", "+1h") == []
    assert len(log(capsys, "win11", "--since=-1h")) == 3


def test_a_time_that_is_none_is_a_usage_error(journal: Journald, capsys: Capture) -> None:
    assert run(["log", "win11", "--since", "soon"], FakeDoor().choice()) == 2
    assert capsys.readouterr().err.startswith("virtcard: 'soon' is no time.\nhint: ")


def test_records_that_another_user_forged_are_not_shown(journal: Journald, capsys: Capture) -> None:
    forged = datagram(entry(replace(INSERTED, sentence="A lie.")))
    send = "import socket, sys; socket.socket(1, 2).sendto(sys.stdin.buffer.read(), sys.argv[1])"
    words = journal.entering(*become("nobody"), "/usr/bin/python3", "-c", send, SOCKET)
    subprocess.run(words, input=forged, check=True)
    wait_until(lambda: "A lie." in str(read(journal)), 10, "journald has the lie")
    assert "A lie." not in str(log(capsys, "win11"))


def test_who_may_not_read_the_journal_is_told_so(
    journal: Journald, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    command = " ".join(journal.entering(*become("nobody"), "/usr/bin/journalctl"))
    prepend_journalctl(tmp_path, monkeypatch, command)
    assert run(["log", "win11"], FakeDoor().choice()) == 3
    assert capsys.readouterr().err == (
        "virtcard: This user may not read the journal of the system.\n"
        "hint: Run it as root (sudo), or as a member of the group systemd-journal.\n"
    )


def test_without_a_journal_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with journald(tmp_path) as empty:
        (empty.commands / "journalctl").write_text(f'#!/bin/sh\nexec /usr/bin/journalctl --directory={tmp_path} "$@"\n')
        monkeypatch.setenv("PATH", str(empty.commands), prepend=":")
        assert run(["log", "win11"], FakeDoor().choice()) == 1
    printed = capsys.readouterr().err
    assert printed == (
        "virtcard: There is no journal on this machine.\nhint: virtcardd's records are on its stderr then.\n"
    )


def test_without_journalctl_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["log", "win11"], FakeDoor().choice()) == 1
    assert capsys.readouterr().err.startswith("virtcard: There is no journalctl here, and so no journal.\n")


def test_follow_goes_on_with_what_comes(journal: Journald) -> None:
    """Read to the third record that comes after the start, by a process that a person would end with Ctrl-C."""
    script = (
        "from virtcard.cli.records import *; import sys\n"
        "for entry in read(sys.argv[1:], None, follow=True): print(entry['message'], flush=True)"
    )
    words = [sys.executable, "-c", script, "SYSLOG_IDENTIFIER=virtcardd", "VIRTCARD_EVENT=asked"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as following:
        ours = Journal(journal.socket)
        for number in range(3):
            ours.record(Record(Event.ASKED, f"Question {number}"))
            assert following.stdout is not None
            assert following.stdout.readline() == f"Question {number}\n"
        following.send_signal(signal.SIGINT)
