"""Where policy files lie, and whether they may be believed.

A file counts as much as whoever can write it: it and every directory on its way must belong to root or to the
daemon's user, and nobody else may write there.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from virtcard.limits import POLICY_FILE_MAX, POLICY_FILES_MAX
from virtcard.names import SYSTEM_USER
from virtcard.policy.load import Document, Policy, parse
from virtcard.policy.model import Place
from virtcard.policy.problem import Problem, Severity

SUFFIX: Final = ".toml"
FOLDER: Final = "virtcard/policy.d"

ADMIN: Final = Path("/etc", FOLDER)
GRANTS: Final = Path("/var/lib", FOLDER)
VENDOR: Final = Path("/usr/lib", FOLDER)
SHIPPED: Final = Path(__file__).parents[1] / "data" / "policy"
"""The vendor's rules as the package has them: `system` and `session`. Who writes there writes our code too."""

OWNERS: Final = (
    "A policy belongs to root or to the user of virtcardd, and nobody else may write it: see chown and chmod."
)
READERS: Final = "The system's policy is for root and the user of virtcardd to read: use sudo, or see chmod."


@dataclass(frozen=True, slots=True)
class Folders:
    """The directories of one instance in the order in which they count; those that are not there are empty."""

    admin: Path
    grants: Path
    vendor: Path
    owners: frozenset[int]
    """Users whose files are believed, beside root."""

    @property
    def all(self) -> tuple[Path, Path, Path]:
        """In order."""
        return (self.admin, self.grants, self.vendor)


def system_folders() -> Folders:
    """Those of the system's virtcardd; its own user writes grants."""
    try:
        owner = pwd.getpwnam(SYSTEM_USER).pw_uid
    except KeyError:
        owner = 0
    return Folders(ADMIN, GRANTS, VENDOR if VENDOR.is_dir() else SHIPPED / "system", frozenset({owner}))


def session_folders(environ: Mapping[str, str] = os.environ) -> Folders:
    """Those of this user's own virtcardd (XDG base directories: a relative one does not count)."""
    return Folders(
        _xdg(environ, "XDG_CONFIG_HOME", ".config") / FOLDER,
        _xdg(environ, "XDG_DATA_HOME", ".local/share") / FOLDER,
        SHIPPED / "session",
        frozenset({os.getuid()}),
    )


def _xdg(environ: Mapping[str, str], variable: str, default: str) -> Path:
    given = Path(environ.get(variable, ""))
    return given if given.is_absolute() else Path(environ.get("HOME", "/"), default)


def load(folders: Folders) -> Policy:
    """The policy of all folders; every problem is in it, and nothing is raised."""
    read_in: list[Document] = []
    problems: list[Problem] = []
    for folder in folders.all:
        for found in documents(folder, None if folder.is_relative_to(SHIPPED) else folders.owners):
            if isinstance(found, Problem):
                problems.append(found)
            else:
                read_in.append(found)
    policy = parse(read_in)
    return Policy(policy.rules, tuple(dict.fromkeys((*problems, *policy.problems))))


def files(folders: Folders) -> Iterator[Path]:
    """Every policy file that is there now, in order; unreadable folders have none."""
    for folder in folders.all:
        try:
            yield from _named(folder)
        except OSError:
            continue


def hidden(folders: Folders) -> Iterator[Problem]:
    """What root reads, and what the daemon's own user does not, as far as modes tell: to it the policy is a bad one."""
    if 0 in folders.owners:
        return
    for folder in folders.all:
        if folder.is_dir() and not folder.is_relative_to(SHIPPED):
            closed = [each for each in _way(folder) if not _open_to(each, folders.owners, os.X_OK)]
            yield from map(_hidden, closed or [each for each in _named(folder) if not _open_to(each, folders.owners)])


def read(path: Path, owners: frozenset[int] | None = None) -> Document | Problem:
    """One file; with `owners`, only when it may be believed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return _refused(path, "It is no file.", "Take it away, or name another.")
            if owners is not None and (wrong := _distrusted(status, owners)):
                return _refused(path, wrong)
            content = file.read(POLICY_FILE_MAX + 1)
        if len(content) > POLICY_FILE_MAX:
            return _refused(path, f"It is longer than {POLICY_FILE_MAX} bytes.", "Make several files of it.")
        return Document(str(path), content.decode())
    except UnicodeDecodeError:
        return _refused(path, "It is not UTF-8 text.", "Save it as UTF-8.")
    except OSError as error:
        return _unread(path, error)


def documents(folder: Path, owners: frozenset[int] | None = None) -> Iterator[Document | Problem]:
    """The files of a directory in the order of their names, as `read` has them; none of one that is not there."""
    try:
        named = _named(folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return
        yield _unread(folder, error)
        return
    if len(named) > POLICY_FILES_MAX:
        yield _refused(folder, f"It has more than {POLICY_FILES_MAX} files.", "Put rules together in fewer.")
        return
    wrong = None if owners is None else _wrong_way(folder, owners)
    if wrong is not None:
        yield wrong
        return
    for path in named:
        yield read(path, owners)


def _named(folder: Path) -> list[Path]:
    """Hidden files are what editors leave behind while they work."""
    return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))


def _wrong_way(folder: Path, owners: frozenset[int]) -> Problem | None:
    """What is wrong with the directory, or with one above it: who may rename there could put another in its place."""
    real, *_ = way = _way(folder)
    for each in way:
        try:
            status = each.stat()
        except OSError as error:
            return _refused(each, f"It cannot be looked at: {error.strerror}.")
        is_sticky = bool(status.st_mode & stat.S_ISVTX) and each != real
        wrong = _strange_owner(status, owners) if is_sticky else _distrusted(status, owners)
        if wrong:
            return _refused(each, wrong)
    return None


def _way(folder: Path) -> tuple[Path, ...]:
    """The directory and all above it, whatever leads there."""
    real = folder.resolve()
    return (real, *real.parents)


def _open_to(path: Path, owners: frozenset[int], wanted: int = os.R_OK) -> bool:
    """One of the owners may read it, or pass through it, by its mode; what is not there is told by others."""
    try:
        status = path.stat()
    except OSError:
        return True
    groups = _own_groups(owners) - {0}
    shift = 6 if status.st_uid in owners else 3 if status.st_gid in groups else 0
    return bool(status.st_mode >> shift & wanted)


def _distrusted(status: os.stat_result, owners: frozenset[int]) -> str:
    """Why its content says nothing about what somebody who is trusted wants, or ""."""
    if strange := _strange_owner(status, owners):
        return strange
    if status.st_mode & stat.S_IWOTH:
        return "Everybody may write there."
    if status.st_mode & stat.S_IWGRP and status.st_gid not in _own_groups(owners):
        return f"The group {status.st_gid} may write there."
    return ""


def _strange_owner(status: os.stat_result, owners: frozenset[int]) -> str:
    return "" if status.st_uid in {0, *owners} else f"It belongs to the user with the id {status.st_uid}."


def _own_groups(owners: frozenset[int]) -> set[int]:
    """root's group and the private groups of the owners, which many systems let write by default."""
    groups = {0}
    for owner in owners:
        try:
            groups.add(pwd.getpwuid(owner).pw_gid)
        except KeyError:
            continue
    return groups


def _hidden(path: Path) -> Problem:
    message = f"The user {SYSTEM_USER} may not read it, and virtcardd takes that for a bad policy."
    return Problem(Severity.WARNING, Place(str(path)), "", message, "See chmod: 0644 for a file, 0755 for a directory.")


def _unread(path: Path, error: OSError) -> Problem:
    hint = READERS if isinstance(error, PermissionError) else "Look at its name."
    return _refused(path, f"It cannot be read: {error.strerror}.", hint)


def _refused(path: Path, wrong: str, hint: str = OWNERS) -> Problem:
    return Problem(Severity.ERROR, Place(str(path)), "", wrong, hint)
