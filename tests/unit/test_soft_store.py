"""The files of software cards: whole or not at all, private, and for one opener at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.soft_cards import empty_card, leftovers, open_descriptors, wanted
from helpers.soft_crashes import Crash, file_limit, stopping_at
from virtcard import limits
from virtcard.card.soft import model
from virtcard.card.soft.cardfile import checked_name
from virtcard.card.soft.files import Folder
from virtcard.card.soft.store import Store
from virtcard.errors import Busy, Conflict, Failed, InvalidArgument, NoSuchCard, Unsupported, VirtcardError
from virtcard.limits import CARD_FILE_MAX


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cards")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_card_that_was_made_can_be_opened(store: Store) -> None:
    made = empty_card(store, "work")
    with store.open("work") as card:
        assert card.data == made
    assert store.names() == ("work",)


def test_a_store_without_directory_is_empty_and_stays_without(store: Store) -> None:
    assert store.names() == ()
    for use in (store.open, store.read, store.delete):
        with pytest.raises(NoSuchCard):
            use("work")
    assert not store.directory.exists()


def test_directory_is_0700_and_files_0600_whatever_the_umask(store: Store) -> None:
    before = os.umask(0)
    try:
        empty_card(store)
        with store.open("card") as card:
            card.save(card.data)
            modes = {path.name: mode(path) for path in store.directory.iterdir()}
    finally:
        os.umask(before)
    assert mode(store.directory) == 0o700
    assert modes == {"card.card": 0o600, "card.lock": 0o600, "store.key": 0o600}


def test_a_directory_that_others_may_read_is_refused(store: Store) -> None:
    empty_card(store)
    store.directory.chmod(0o750)
    with pytest.raises(Failed) as caught:
        store.open("card")
    assert "chmod 700" in caught.value.hint


@pytest.mark.parametrize("name", ["a", "A.b_c-d", "_x", "0", "x" * 64, "card.card", "store.key", "a.lock"])
def test_a_good_name_is_taken(store: Store, name: str) -> None:
    empty_card(store, name)
    assert store.names() == (name,)
    store.open(name).close()
    store.delete(name)
    assert store.names() == ()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "../x", "a/b", "a b", "ä", "x" * 65, "a\n", "a\0", "٣", "\ud800"]
)
def test_a_bad_name_is_refused_everywhere(store: Store, name: str) -> None:
    for use in (store.open, store.read, store.delete, checked_name, lambda name: empty_card(store, name)):
        with pytest.raises(InvalidArgument):
            use(name)
    assert not store.directory.exists()


@given(st.text(max_size=70))
def test_a_checked_name_stays_one_file_of_its_directory(name: str) -> None:
    try:
        checked = checked_name(name)
    except InvalidArgument:
        return
    assert Path("/cards", f"{checked}.card").parent == Path("/cards")
    assert checked.isascii()
    assert not checked.startswith((".", "-"))


def test_a_second_opener_is_told_busy_until_the_first_closes(store: Store) -> None:
    empty_card(store)
    first = store.open("card")
    with pytest.raises(Busy):
        store.open("card")
    with pytest.raises(Busy):
        store.delete("card")
    first.close()
    first.close()
    store.open("card").close()


def test_a_card_that_is_open_can_still_be_read(store: Store) -> None:
    made = empty_card(store)
    with store.open("card") as card:
        card.save(made.with_objects({"5FC102": b"x"}))
        assert store.read("card").objects["5FC102"] == b"x"


def test_a_closed_card_saves_nothing(store: Store) -> None:
    empty_card(store)
    card = store.open("card")
    card.close()
    with pytest.raises(Failed):
        card.save(card.data)


def test_a_name_that_is_taken_stays_with_its_card(store: Store) -> None:
    made = empty_card(store)
    with pytest.raises(Conflict):
        empty_card(store)
    assert store.read("card") == made


def test_delete_takes_the_files_of_that_card_only(store: Store) -> None:
    for name in ("a", "a.b", "b"):
        empty_card(store, name)
        store.open(name).close()
    (store.directory / "a.card.tmp").write_bytes(b"left by a crash")
    store.delete("a")
    assert sorted(path.name for path in store.directory.iterdir()) == [
        "a.b.card",
        "a.b.lock",
        "b.card",
        "b.lock",
        "store.key",
    ]


def test_a_damaged_card_can_be_deleted(store: Store) -> None:
    empty_card(store)
    (store.directory / "card.card").write_bytes(b"\0")
    store.delete("card")
    assert store.names() == ()


def test_a_card_that_is_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    empty_card(store)
    secret = tmp_path / "other"
    secret.write_bytes(b"of somebody else")
    (store.directory / "link.card").symlink_to(secret)
    with pytest.raises(Failed):
        store.open("link")
    (store.directory / "link.lock").symlink_to(secret)
    with pytest.raises(Failed):
        store.delete("link")
    assert secret.read_bytes() == b"of somebody else"


def test_a_pipe_in_place_of_a_card_does_not_hang(store: Store) -> None:
    empty_card(store)
    os.mkfifo(store.directory / "pipe.card")
    with pytest.raises(Failed):
        store.open("pipe")


def test_a_file_of_a_newer_version_is_refused_and_stays_as_it_is(store: Store) -> None:
    empty_card(store)
    path = store.directory / "card.card"
    newer = msgspec.json.decode(path.read_bytes()) | {"version": model.VERSION + 1, "pin": "kept in another way"}
    path.write_bytes(msgspec.json.encode(newer))
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(Unsupported) as caught:
        store.open("card")
    assert "newer virtcard" in caught.value.message
    with pytest.raises(Conflict):
        empty_card(store)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not (store.directory / "card.lock").exists()


@pytest.mark.parametrize("version", [0, -1, True, None, "1", 1.5])
def test_a_version_that_never_was_is_a_damaged_file(store: Store, version: object) -> None:
    empty_card(store)
    path = store.directory / "card.card"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"version": version}))
    with pytest.raises(Failed):
        store.open("card")


def test_a_field_that_we_do_not_know_is_refused(store: Store) -> None:
    # Otherwise the next write would lose it.
    empty_card(store)
    path = store.directory / "card.card"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"later": 1}))
    with pytest.raises(Failed):
        store.open("card")


@given(kept=st.floats(0, 1), place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_file_that_is_cut_or_changed_is_read_or_refused(
    kept: float, place: float, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("cards") / "cards")
    empty_card(store)
    path = store.directory / "card.card"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content[: int(kept * len(content))])
    try:
        store.open("card").close()
    except (Failed, Unsupported):
        assert store.names() == ("card",)


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff", b"null", b"{}", b'{"version":1}', b'{"x":' + b"[" * 500_000])
def test_a_file_that_is_no_card_is_failed(store: Store, content: bytes) -> None:
    empty_card(store)
    (store.directory / "card.card").write_bytes(content)
    for use in (store.open, store.read):
        with pytest.raises(Failed, match="damaged"):
            use("card")


def test_a_file_beyond_the_limit_is_not_read(store: Store) -> None:
    empty_card(store)
    with open(store.directory / "card.card", "r+b") as file:
        file.truncate(CARD_FILE_MAX + 1)
    with pytest.raises(Failed):
        store.open("card")


def test_a_card_that_would_get_too_large_stays_as_it_was(store: Store) -> None:
    made = empty_card(store)
    with store.open("card") as card:
        with pytest.raises(Failed, match="full"):
            card.save(made.with_objects({"5FFF00": bytes(CARD_FILE_MAX)}))
        assert card.data == made
    assert store.read("card") == made


@given(objects=st.dictionaries(st.sampled_from(["5FC102", "5FC105", "5FFF00"]), st.binary(max_size=100)))
def test_what_is_encoded_decodes(objects: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.mktemp("cards") / "cards")
    data = empty_card(store).with_objects(objects)
    assert model.decode(model.encode(data)) == data
    assert all(data.objects.values())


def test_a_card_shows_no_secret_in_its_repr(store: Store) -> None:
    data = empty_card(store)
    shown = repr((data, data.pin, data.management, data.keys, wanted(), store.context(b"x")))
    assert "123456" not in shown
    assert "wrapped" not in shown
    assert "sealed" not in shown
    assert "store_key" not in shown


def test_a_crash_at_any_step_of_a_write_leaves_the_old_card_or_the_new_one(store: Store) -> None:
    old = empty_card(store)
    for step in range(20):
        new = old.with_objects({"5FFF00": bytes([step + 1])})
        card = store.open("card")
        with stopping_at(step, Crash) as done:
            try:
                card.save(new)
                finished = True
            except Crash:
                finished = False
        card.close()
        with store.open("card") as again:
            assert again.data in (old, new)
            assert "replace" not in done or again.data == new
            again.save(old)
        assert leftovers(store.directory) == []
        if finished:
            return
    pytest.fail("a write has more steps than that")


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_at_any_step_of_a_write_is_failed_says_what_holds_and_leaves_nothing_behind(store: Store) -> None:
    old = empty_card(store)
    new = old.with_objects({"5FFF00": b"x"})
    for step in range(20):
        with store.open("card") as card, stopping_at(step, full_disk) as done:
            try:
                card.save(new)
            except Failed as caught:
                failure = caught
            else:
                return
            assert "No space left" in failure.message
            assert ("may not outlive a crash" in failure.message) == ("replace" in done)
            assert card.data == (new if "replace" in done else old)
        assert store.read("card") == card.data
        with store.open("card") as again:
            again.save(old)
        assert leftovers(store.directory) == []
    pytest.fail("a write has more steps than that")


def test_a_card_that_may_not_outlive_a_crash_is_not_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_card(store, "first")
    sync = os.fsync

    def not_directories(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise full_disk()
        sync(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", not_directories)
        with pytest.raises(Failed, match="may not outlive a crash"):
            empty_card(store)
    assert store.names() == ("first",)
    empty_card(store)


def test_a_removal_that_may_not_outlive_a_crash_is_failed(store: Store) -> None:
    empty_card(store)
    with Folder(store.directory) as folder, stopping_at(1, full_disk) as done:
        with pytest.raises(Failed, match="may not outlive a crash"):
            folder.remove("card.card")
        assert done == ["unlink"]


def test_a_new_directory_and_each_that_is_made_above_it_outlive_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: on_disk.append(os.readlink(f"/proc/self/fd/{fd}")))
    Folder(tmp_path / "data" / "cards", make=True).close()
    assert on_disk == [str(tmp_path), str(tmp_path / "data")]
    Folder(tmp_path / "data" / "cards", make=True).close()
    assert len(on_disk) == 2, "what is there already needs nothing"


@pytest.mark.parametrize("room", [0, 1, 100, 1000])
def test_a_full_disk_loses_neither_card_nor_descriptor(store: Store, room: int) -> None:
    made = empty_card(store)
    with store.open("card") as card:
        before = open_descriptors()
        with file_limit(room), pytest.raises(Failed):
            card.save(made.with_objects({"5FFF00": bytes(2000)}))
        assert open_descriptors() == before
        assert card.data == made
    assert store.read("card") == made
    assert leftovers(store.directory) == []


@pytest.mark.parametrize("room", [0, 31, 32, 100])
def test_a_full_disk_at_the_first_card_leaves_a_store_that_works(store: Store, room: int) -> None:
    with file_limit(room), pytest.raises(Failed):
        empty_card(store)
    assert store.names() == ()
    empty_card(store)
    store.open("card").close()
    assert leftovers(store.directory) == []


@pytest.mark.parametrize("damage", [lambda key: key.unlink(), lambda key: key.write_bytes(b"short")])
def test_a_store_whose_key_is_gone_says_so_and_makes_no_other(store: Store, damage: Callable[[Path], object]) -> None:
    empty_card(store)
    damage(store.directory / "store.key")
    for use in (lambda: store.open("card"), lambda: empty_card(store, "second")):
        with pytest.raises(Failed) as caught:
            use()
        assert "store.key" in caught.value.message
    assert store.names() == ("card",)


def test_a_card_of_another_store_is_refused_before_a_try_is_lost(store: Store, tmp_path: Path) -> None:
    empty_card(store)
    other = Store(tmp_path / "other")
    empty_card(other, "own")
    (other.directory / "card.card").write_bytes((store.directory / "card.card").read_bytes())
    with pytest.raises(Failed, match="another store key"):
        other.open("card")


def test_with_a_credential_there_is_no_key_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "cards", credential=b"sixteen bytes or more")
    empty_card(store)
    store.open("card").close()
    assert not (store.directory / "store.key").exists()
    with pytest.raises(Failed, match="another store key"):
        Store(store.directory, credential=b"another credential").open("card")


def test_a_short_credential_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        Store(tmp_path, credential=b"short")


def test_a_copied_card_has_the_name_of_its_file(store: Store) -> None:
    made = empty_card(store)
    (store.directory / "copy.card").write_bytes((store.directory / "card.card").read_bytes())
    with store.open("copy") as copy:
        copy.save(copy.data.with_objects({"5FFF00": b"x"}))
    assert store.read("card") == made
    assert store.read("copy").objects["5FFF00"] == b"x"


def test_a_lock_that_was_deleted_meanwhile_does_not_count(store: Store) -> None:
    empty_card(store)
    with Folder(store.directory) as folder:
        held = folder.lock("card.lock")
        assert held is not None
        (store.directory / "card.lock").unlink()
        fresh = folder.lock("card.lock")
        assert fresh is not None
        os.close(held)
        assert folder.lock("card.lock") is None
        os.close(fresh)


def test_cards_made_at_the_same_time_share_one_store_key(store: Store) -> None:
    names = [f"card{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: empty_card(store, name), names))
    assert store.names() == tuple(names)
    for name in names:
        store.open(name).close()


def test_of_those_who_make_the_same_card_one_succeeds(store: Store) -> None:
    def try_to_make(_: int) -> bool:
        try:
            empty_card(store)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_make, range(8))) == 1


def test_a_program_that_stays_in_the_store_makes_others_busy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_card(store)
    monkeypatch.setattr(limits, "CARD_STORE_PATIENCE", 0.05)
    with Folder(store.directory) as folder, folder.alone():
        for use in (lambda: empty_card(store, "second"), lambda: store.delete("card")):
            with pytest.raises(Busy):
                use()
        store.open("card").close()
    assert store.names() == ("card",)


def test_no_use_of_a_store_leaves_a_descriptor_open(store: Store) -> None:
    empty_card(store)
    before = open_descriptors()
    uses: tuple[Callable[[], object], ...] = (
        store.names,
        lambda: store.read("card"),
        lambda: store.open("card").close(),
        lambda: store.open("none"),
        lambda: empty_card(store),
        lambda: empty_card(store, "second"),
        lambda: store.delete("second"),
        lambda: store.delete("second"),
    )
    for use in uses:
        try:
            use()
        except VirtcardError:
            continue
    assert open_descriptors() == before


def test_what_root_makes_in_the_directory_of_another_user_belongs_to_that_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    theirs = os.geteuid() or 4321
    os.chown(tmp_path, theirs, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: given.append(uid))
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, **_: given.append(uid))
    Store(tmp_path, credential=bytes(16)).names()
    with Folder(tmp_path / "cards", make=True):
        pass
    tmp_path.chmod(0o700)
    with Folder(tmp_path) as folder:
        folder.write("file", b"")
    assert set(given) <= {theirs}
    assert given
