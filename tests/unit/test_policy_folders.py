"""Which files are read, in which order, and which are not believed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from virtcard.limits import POLICY_FILE_MAX
from virtcard.policy.folders import SHIPPED, Folders, files, hidden, load, read, session_folders, system_folders
from virtcard.policy.keys import KEYS
from virtcard.policy.lint import lint
from virtcard.policy.load import Document, Policy, parse
from virtcard.policy.model import Action
from virtcard.policy.problem import Problem, Severity

STRANGER = 12345


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    found = Folders(tmp_path / "admin", tmp_path / "grants", tmp_path / "vendor", frozenset({os.getuid()}))
    for folder in found.all:
        folder.mkdir(mode=0o755)
    return found


def put(folder: Path, name: str, vm: str, action: str = "allow") -> Path:
    path = folder / name
    path.write_text(f'[[rule]]\nvm = "{vm}"\naction = "{action}"\n')
    return path


def vms(policy: Policy) -> list[str]:
    assert policy.problems == ()
    return [rule.vm for rule in policy.rules]


def refused(folders: Folders) -> str:
    """The one reason why the policy is not used."""
    (problem,) = load(folders).errors
    return str(problem)


def test_the_admin_comes_before_the_grants_and_these_before_the_vendor(folders: Folders) -> None:
    put(folders.vendor, "00.toml", "vendor")
    put(folders.grants, "00.toml", "grant")
    put(folders.admin, "90.toml", "admin 90")
    put(folders.admin, "10.toml", "admin 10")
    assert vms(load(folders)) == ["admin 10", "admin 90", "grant", "vendor"]
    assert [path.parent.name for path in files(folders)] == ["admin", "admin", "grants", "vendor"]


def test_other_files_are_left_alone(folders: Folders) -> None:
    for name in (".50.toml.swp", ".hidden.toml", "50.toml~", "README", "50.toml.bak"):
        (folders.admin / name).write_text("nonsense")
    put(folders.admin, "50.toml", "a")
    assert vms(load(folders)) == ["a"]


def test_directories_that_are_not_there_are_empty(folders: Folders) -> None:
    for folder in folders.all:
        folder.rmdir()
    assert load(folders) == Policy()
    assert list(files(folders)) == []


def test_a_link_is_followed(folders: Folders, tmp_path: Path) -> None:
    (folders.admin / "50.toml").symlink_to(put(tmp_path, "kept-elsewhere", "a"))
    assert vms(load(folders)) == ["a"]


def test_one_bad_file_is_told_beside_the_good_ones(folders: Folders) -> None:
    put(folders.admin, "10.toml", "a")
    put(folders.admin, "20.toml", "a", action="maybe")
    policy = load(folders)
    assert [rule.vm for rule in policy.rules] == ["a"]
    assert f"{folders.admin}/20.toml:3: rule.action: " in str(policy.errors[0])


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [(0o646, "Everybody may write there."), (0o666, "Everybody may write there.")],
)
def test_a_file_that_everybody_may_write_is_refused(folders: Folders, mode: int, sentence: str) -> None:
    put(folders.admin, "50.toml", "a").chmod(mode)
    assert sentence in refused(folders)


def test_a_file_of_somebody_else_is_refused(folders: Folders) -> None:
    os.chown(put(folders.admin, "50.toml", "a"), STRANGER, -1)
    assert f"It belongs to the user with the id {STRANGER}." in refused(folders)


def test_a_file_that_a_strange_group_may_write_is_refused(folders: Folders) -> None:
    path = put(folders.admin, "50.toml", "a")
    path.chmod(0o664)
    assert vms(load(folders)) == ["a"]
    os.chown(path, -1, STRANGER)
    assert f"The group {STRANGER} may write there." in refused(folders)


@pytest.mark.parametrize("above", [False, True])
def test_a_directory_that_everybody_may_write_is_refused(folders: Folders, above: bool) -> None:
    put(folders.admin, "50.toml", "a")
    folder = folders.admin.parent if above else folders.admin
    folder.chmod(0o757)
    assert refused(folders).startswith(f"{folder}: Everybody may write there.")


def test_a_directory_of_somebody_else_is_refused(folders: Folders) -> None:
    put(folders.admin, "50.toml", "a")
    os.chown(folders.admin, STRANGER, -1)
    assert refused(folders).startswith(f"{folders.admin}: It belongs to")


def test_a_sticky_directory_above_is_no_danger(folders: Folders) -> None:
    put(folders.admin, "50.toml", "a")
    folders.admin.parent.chmod(0o777 | stat.S_ISVTX)
    assert vms(load(folders)) == ["a"]


def test_the_daemons_own_user_writes_grants(folders: Folders) -> None:
    os.chown(put(folders.grants, "50.toml", "a"), STRANGER, -1)
    owned = Folders(*folders.all, frozenset({STRANGER}))
    assert vms(load(owned)) == ["a"]


def test_what_is_no_file_is_refused(folders: Folders) -> None:
    os.mkfifo(folders.admin / "50.toml")
    assert "It is no file." in refused(folders)
    (folders.admin / "50.toml").unlink()
    (folders.admin / "50.toml").mkdir()
    assert "Is a directory." in refused(folders)


def test_a_link_to_nowhere_is_told(folders: Folders) -> None:
    (folders.admin / "50.toml").symlink_to(folders.admin / "nowhere")
    assert "It cannot be read: No such file or directory." in refused(folders)


def test_a_folder_that_is_a_file_or_a_link_to_nowhere_is_told_and_not_taken_for_an_empty_one(
    folders: Folders, tmp_path: Path
) -> None:
    folders.admin.rmdir()
    folders.admin.write_text("")
    assert f"{folders.admin}: It cannot be read: Not a directory." in refused(folders)
    folders.admin.unlink()
    folders.admin.symlink_to(tmp_path / "not-mounted")
    assert f"{folders.admin}: It cannot be read: No such file or directory." in refused(folders)


def test_a_file_that_is_too_long_or_no_text_is_refused(folders: Folders) -> None:
    path = folders.admin / "50.toml"
    path.write_bytes(b"#" * (POLICY_FILE_MAX + 1))
    assert "It is longer than" in refused(folders)
    path.write_bytes(b"#\xff")
    assert "It is not UTF-8 text." in refused(folders)


def test_a_file_that_a_person_names_is_read_whoever_may_write_it(folders: Folders) -> None:
    path = put(folders.admin, "50.toml", "a")
    path.chmod(0o666)
    assert not isinstance(read(path), Problem)


def test_the_session_follows_the_base_directories() -> None:
    found = session_folders({"HOME": "/home/jane", "XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "relative"})
    assert (str(found.admin), str(found.grants)) == ("/home/jane/.config/virtcard/policy.d", "/data/virtcard/policy.d")
    assert found.vendor == SHIPPED / "session"


def test_the_system_has_its_places() -> None:
    found = system_folders()
    assert str(found.admin) == "/etc/virtcard/policy.d"
    assert str(found.grants) == "/var/lib/virtcard/policy.d"


def test_the_example_has_every_key_and_no_fault() -> None:
    text = (SHIPPED / "example.toml").read_text()
    policy = parse([Document("example.toml", text)])
    assert policy.problems == ()
    assert lint(policy.rules) == ()
    assert all(f"{key} = " in text or f"[rule.{key}]" in text for key in KEYS)


@pytest.mark.parametrize(("instance", "actions"), [("system", [Action.ASK]), ("session", [Action.ALLOW, Action.ASK])])
def test_the_rules_that_we_ship_are_good(instance: str, actions: list[Action], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    policy = load(Folders(nowhere, nowhere, SHIPPED / instance, frozenset()))
    assert policy.problems == ()
    assert [rule.action for rule in policy.rules] == actions
    assert lint(policy.rules) == ()


# What root reads, and the daemon does not.


@pytest.fixture
def strangers(folders: Folders) -> Iterator[Folders]:
    """The same for a daemon of another user, below directories that everybody may pass through."""
    with TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        admin, grants, vendor = (Path(place, each.name) for each in folders.all)
        found = Folders(admin, grants, vendor, frozenset({STRANGER}))
        for folder in found.all:
            folder.mkdir(mode=0o755)
        yield found


def test_a_file_that_root_alone_may_read_is_told(strangers: Folders) -> None:
    put(strangers.admin, "10.toml", "a")
    closed = put(strangers.admin, "20.toml", "b")
    closed.chmod(0o600)
    assert load(strangers).problems == ()
    (problem,) = hidden(strangers)
    assert str(problem) == f"{closed}: The user virtcard may not read it, and virtcardd takes that for a bad policy."
    assert (problem.severity, "0644" in problem.hint) == (Severity.WARNING, True)


def test_a_directory_that_root_alone_may_enter_is_told_once(strangers: Folders) -> None:
    for name in ("10.toml", "20.toml"):
        put(strangers.admin, name, "a").chmod(0o600)
    strangers.admin.chmod(0o700)
    assert [problem.place.file for problem in hidden(strangers)] == [str(strangers.admin)]


def test_what_the_daemons_user_may_read_is_not_told(strangers: Folders) -> None:
    own = put(strangers.grants, "10.toml", "a")
    own.chmod(0o600)
    os.chown(own, STRANGER, STRANGER)
    (strangers.admin / "gone.toml").symlink_to("nowhere")
    assert list(hidden(strangers)) == []


def test_a_daemon_of_root_reads_everything(folders: Folders) -> None:
    put(folders.admin, "10.toml", "a").chmod(0o600)
    folders.admin.chmod(0o700)
    assert list(hidden(replace(folders, owners=frozenset({0})))) == []
