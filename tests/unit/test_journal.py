"""Records on their way to the journal: fields, bounds, and what happens without a journal."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from uuid import UUID

import pytest

from virtcard import names
from virtcard.card.audit import Counts
from virtcard.journal import Journal, datagram, entry, line
from virtcard.limits import JOURNAL_VALUE_MAX
from virtcard.service.record import UNUSUAL, Event, Record, in_words
from virtcard.wire.instructions import instruction_name

WIN11 = UUID("c9024a97-9b15-46cc-8341-38d75d5d421b")
INSERTED = Record(Event.INSERTED, "reader:Yubico* is in win11.", WIN11, "win11", "reader:Yubico*", user="alice")


def test_a_record_has_the_fields_that_are_promised() -> None:
    assert entry(INSERTED) == {
        "MESSAGE": "reader:Yubico* is in win11.",
        "MESSAGE_ID": "88cd8d673f6744e1a85ff0eb5ae73d2d",
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "virtcardd",
        "VIRTCARD_EVENT": "inserted",
        "VIRTCARD_DOMAIN": str(WIN11),
        "VIRTCARD_DOMAIN_NAME": "win11",
        "VIRTCARD_SOURCE": "reader:Yubico*",
        "VIRTCARD_USER": "alice",
    }


def test_counts_are_fields_of_their_own() -> None:
    fields = entry(Record(Event.EJECTED, "Out.", WIN11, counts=Counts({"VERIFY": 2}, 3, 1, 0, 28, 4)))
    assert json.loads(fields["VIRTCARD_COMMANDS"]) == {"VERIFY": 2}
    assert (fields["VIRTCARD_REFUSED"], fields["VIRTCARD_PIN_FAILURES"], fields["VIRTCARD_ERRORS"]) == ("3", "1", "0")
    assert (fields["VIRTCARD_BYTES_SENT"], fields["VIRTCARD_BYTES_RECEIVED"]) == ("28", "4")


@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_message_id_and_a_priority(event: Event) -> None:
    fields = entry(Record(event, "It happened."))
    assert re.fullmatch("[0-9a-f]{32}", fields["MESSAGE_ID"])
    assert fields["PRIORITY"] == ("4" if event in UNUSUAL else "5")


def test_message_ids_are_those_of_the_events_and_no_two_are_alike() -> None:
    assert set(names.MESSAGE_IDS) == set(Event)
    assert len(set(names.MESSAGE_IDS.values())) == len(names.MESSAGE_IDS)


def test_field_names_are_ones_that_the_journal_takes() -> None:
    fields = {value for name, value in vars(names).items() if name.startswith("FIELD_")}
    assert all(re.fullmatch("VIRTCARD_[A-Z_]{1,50}", field) for field in fields)


def test_a_value_goes_as_a_line_and_one_with_a_line_break_by_its_length() -> None:
    assert datagram({"A": "b=c"}) == b"A=b=c\n"
    assert datagram({"A": "b\nC=d"}) == b"A\n\x05\0\0\0\0\0\0\0b\nC=d\n"


def test_a_name_with_a_line_break_makes_no_field_of_its_own() -> None:
    sent = datagram(entry(Record(Event.INSERTED, "In.", name="win\nVIRTCARD_USER=root")))
    assert b"\nVIRTCARD_DOMAIN_NAME\n" in sent


def test_a_value_is_cut_where_its_bound_is() -> None:
    assert len(datagram({"A": "x" * 100_000})) == JOURNAL_VALUE_MAX + len("A=\n")


def test_counts_of_all_instructions_fit_into_a_value() -> None:
    commands = {instruction_name(instruction): 2**40 for instruction in range(256)}
    value = Record(Event.EJECTED, "", counts=Counts(commands)).fields()["VIRTCARD_COMMANDS"]
    assert len(value) <= JOURNAL_VALUE_MAX


def test_a_lone_surrogate_is_replaced() -> None:
    assert datagram({"A": "x\udcff"}) == b"A=x?\n"


def test_a_record_is_one_datagram(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        Journal(str(tmp_path / "socket")).record(INSERTED)
        assert server.recv(65536) == datagram(entry(INSERTED))


def test_without_a_journal_a_record_is_a_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal(str(tmp_path / "nobody")).record(INSERTED)
    assert capsys.readouterr().err == line(INSERTED) + "\n"
    assert line(INSERTED).startswith("reader:Yubico* is in win11. VIRTCARD_EVENT=inserted VIRTCARD_DOMAIN=c9024a97")


def test_a_journal_that_takes_nothing_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        journal = Journal(str(tmp_path / "socket"))
        for _ in range(2000):
            journal.record(INSERTED)
        assert line(INSERTED) in capsys.readouterr().err


def test_a_line_cannot_drive_a_terminal() -> None:
    assert "\x1b" not in line(Record(Event.INSERTED, "In.", name="\x1b[2J\n"))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (Counts(), "no commands"),
        (Counts({"SELECT": 1}), "1 command"),
        (Counts({"SELECT": 1, "VERIFY": 11}, 3, 2, 1), "12 commands, 2 wrong PINs, 1 without an answer, 3 refused"),
        (Counts({"VERIFY": 2}, pin_failures=1), "2 commands, 1 wrong PIN"),
    ],
)
def test_counts_in_words(counts: Counts, words: str) -> None:
    assert in_words(counts) == words
