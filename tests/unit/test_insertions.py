"""The record of insert calls survives the daemon, and never invents anything."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import pytest

from helpers.soft_crashes import file_limit
from virtcard.domain.record import DomainRecord
from virtcard.domain.run import Run, run_of
from virtcard.errors import Failed
from virtcard.service.insertions import EJECTED, FILE_NAME, Insertion, Insertions


def test_an_insert_survives_a_new_start(tmp_path: Path) -> None:
    uuid = uuid4()
    Insertions(tmp_path).put(uuid, Insertion("reader:A*"))
    assert Insertions(tmp_path).get(uuid) == Insertion("reader:A*")


def test_an_eject_is_remembered_as_such(tmp_path: Path) -> None:
    uuid = uuid4()
    Insertions(tmp_path).put(uuid, Insertion(""))
    assert Insertions(tmp_path).get(uuid) == Insertion("")


def test_a_domain_without_a_call_has_none(tmp_path: Path) -> None:
    assert Insertions(tmp_path).get(uuid4()) is None


def test_dropping_forgets_only_that_domain(tmp_path: Path) -> None:
    one, other = uuid4(), uuid4()
    record = Insertions(tmp_path)
    record.put(one, Insertion("reader:A"))
    record.put(other, Insertion("reader:B"))
    record.drop(one)
    record.drop(uuid4())
    again = Insertions(tmp_path)
    assert (again.get(one), again.get(other)) == (None, Insertion("reader:B"))


def test_each_reader_of_a_domain_has_its_own_and_they_end_together(tmp_path: Path) -> None:
    one, other = uuid4(), uuid4()
    record = Insertions(tmp_path)
    for slot in (0, 1, 2):
        record.put(one, Insertion(f"reader:{slot}"), slot)
    record.put(other, Insertion("reader:B"), 1)
    record.drop_slot(one, 1)
    record.put_back(one, None, 2)
    again = Insertions(tmp_path)
    assert [again.get(one, slot) for slot in (0, 1, 2)] == [Insertion("reader:0"), None, None]
    again.put(one, Insertion("reader:2"), 2)
    again.forget_all_but({one})
    assert (again.get(one, 2), again.get(other, 1)) == (Insertion("reader:2"), None)
    again.drop(one)
    assert (again.get(one), again.get(one, 2)) == (None, None)


def test_the_file_is_for_us_alone(tmp_path: Path) -> None:
    Insertions(tmp_path / "new").put(uuid4(), Insertion("reader:A"))
    assert stat.S_IMODE((tmp_path / "new" / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 1}', b"\xff\xfe", b'["reader:A"]'])
def test_a_damaged_file_inserts_nothing(tmp_path: Path, damage: bytes) -> None:
    uuid = uuid4()
    Insertions(tmp_path).put(uuid, Insertion("reader:A"))
    (tmp_path / FILE_NAME).write_bytes(damage)
    assert Insertions(tmp_path).get(uuid) is None


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.put(uuid, Insertion("reader:A"))
    (tmp_path / "insertions.part").mkdir()
    with pytest.raises(Failed, match=r"insertions\.part|insertions\.json"):
        record.put(uuid, Insertion("reader:B"))
    assert record.get(uuid) == Insertion("reader:A")
    assert Insertions(tmp_path).get(uuid) == Insertion("reader:A")


def test_forgetting_works_without_room_and_leaves_nothing_for_the_next_start(tmp_path: Path) -> None:
    one, other = uuid4(), uuid4()
    record = Insertions(tmp_path)
    record.put(one, Insertion("reader:A"))
    record.put(other, Insertion("reader:B"))
    (tmp_path / "insertions.part").mkdir()
    record.drop(one)
    assert (record.get(one), record.get(other)) == (None, Insertion("reader:B"))
    assert Insertions(tmp_path).get(one) is None
    record.forget_all_but(())
    assert record.get(other) is None


def test_an_eject_needs_no_room_and_is_never_undone_by_a_restart(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.put(uuid, Insertion("reader:A"))
    with file_limit(0):
        record.note(uuid, EJECTED)
        assert record.get(uuid) == EJECTED
    assert Insertions(tmp_path).get(uuid) in {None, EJECTED}


@pytest.mark.parametrize("name", ["open", "fsync", "replace"])
def test_an_error_at_any_step_of_a_write_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.put(uuid, Insertion("reader:A"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with patch(f"os.{name}", side_effect=full), pytest.raises(Failed, match="No space left on device") as caught:
        record.put(uuid, Insertion("reader:B"))
    assert "Make room" in caught.value.hint
    assert record.get(uuid) == Insertions(tmp_path).get(uuid) == Insertion("reader:A")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_at_any_byte_of_a_write_leaves_what_was_there(tmp_path: Path, room: int) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.put(uuid, Insertion("reader:A"))
    with file_limit(room), pytest.raises(Failed, match="Cannot write"):
        record.put(uuid, Insertion("reader:B"))
    assert record.get(uuid) == Insertions(tmp_path).get(uuid) == Insertion("reader:A")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_the_old_record_leaves_room_for_a_shorter_one(tmp_path: Path) -> None:
    """The first write fails, the one after the old file has gone does not."""
    one, other = uuid4(), uuid4()
    record = Insertions(tmp_path)
    record.put(one, Insertion("reader:A"))
    record.put(other, Insertion("reader:B"))
    full = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), None]
    with patch("os.fsync", side_effect=full):
        record.drop(one)
    assert (Insertions(tmp_path).get(one), Insertions(tmp_path).get(other)) == (None, Insertion("reader:B"))


FIRST = Run(3, 4711, 1_000)


def test_what_was_for_one_run_of_a_machine_is_not_for_the_next(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    assert record.see(uuid, FIRST)
    record.put(uuid, Insertion("reader:A", "alice", "reader:A"))
    record.give(uuid, "card:jane")
    again = Insertions(tmp_path)
    assert again.see(uuid, FIRST)
    assert (again.get(uuid), again.consents(uuid)) == (
        Insertion("reader:A", "alice", "reader:A"),
        frozenset({"card:jane"}),
    )
    assert not Insertions(tmp_path).see(uuid, Run(4, 4712, 2_000))
    third = Insertions(tmp_path)
    assert (third.get(uuid), third.consents(uuid)) == (None, frozenset())


def test_a_machine_that_goes_on_in_another_run_keeps_what_there_is(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.see(uuid, FIRST)
    record.put(uuid, Insertion("reader:A"))
    record.go_on(uuid, other := Run(4, 4712, 2_000))
    again = Insertions(tmp_path)
    assert again.see(uuid, other)
    assert again.get(uuid) == Insertion("reader:A")


def test_a_run_that_was_found_out_later_is_kept_with_what_there_is(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.put(uuid, Insertion("reader:A"))
    assert record.see(uuid, Run(3))
    assert record.see(uuid, FIRST)
    assert not Insertions(tmp_path).see(uuid, Run(3, 4712, 1_000))


def test_what_was_said_yes_to_is_taken_back_without_what_was_put_in(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.give(uuid, "card:jane")
    record.put(uuid, Insertion("reader:A"))
    record.take_back(uuid)
    again = Insertions(tmp_path)
    assert (again.get(uuid), again.consents(uuid)) == (Insertion("reader:A"), frozenset())


def test_a_yes_needs_no_room_and_spoils_nothing_that_is_kept(tmp_path: Path) -> None:
    uuid = uuid4()
    record = Insertions(tmp_path)
    record.put(uuid, Insertion("reader:A"))
    with file_limit(0):
        record.give(uuid, "card:jane")
        assert record.consents(uuid) == {"card:jane"}
    assert Insertions(tmp_path).get(uuid) == Insertion("reader:A")


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (FIRST, False),
        (Run(3), False),
        (Run(4), True),
        (Run(4, 4711, 1_000), True),
        (Run(3, 4712, 1_000), True),
        (Run(3, 4711, 1_001), True),
    ],
)
def test_two_runs_are_two_when_the_id_or_the_process_differs(other: Run, *, differs: bool) -> None:
    assert other.is_other_than(FIRST) is FIRST.is_other_than(other) is differs


def test_a_run_is_told_by_libvirts_pid_file_or_else_by_its_id(tmp_path: Path) -> None:
    record = DomainRecord(uuid4(), "vm", 3, "running", True, True, False, "", None)
    assert run_of(record, None) == run_of(record, tmp_path) == Run(3)
    (tmp_path / "vm.pid").write_text("4711")
    os.utime(tmp_path / "vm.pid", ns=(1_000, 1_000))
    assert run_of(record, tmp_path) == FIRST
