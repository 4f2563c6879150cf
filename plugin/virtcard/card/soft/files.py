"""A private directory of small files: whole or not at all, on disk before anybody is told, and only by checked names.

Everything goes through a descriptor of the directory and never follows a symbolic link, so that root may work in the
directory of another user; what root writes there belongs to that user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from virtcard import limits
from virtcard.errors import Busy, Failed, Unsettled

Stamp = tuple[int, int, int]

TEMPORARY: Final = ".tmp"

_TURN: Final = 0.01
"""Seconds between two looks whether the directory is free: flock has no deadline of its own."""
_OPEN: Final = os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """The directory, held open. Its files are 0600. Errors are Failed, with the system's own words."""

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        if make:
            _make(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Failed(f"Cannot open the directory {path}: {error.strerror}.") from error
        try:
            self._owner = self._checked_owner()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return sorted(os.listdir(self._fd))

    def stamp(self, name: str) -> Stamp | None:
        """What changes with each change of the file, its owner and mode; None when there is none."""
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns, found.st_size

    def read(self, name: str, limit: int) -> bytes | None:
        """The content of a regular file of at most `limit` bytes; None when there is none."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _OPEN, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", name, error) from error
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Failed(f"{self.path / name} is not a file.")
            content = file.read(limit + 1)
        if len(content) > limit:
            raise Failed(f"{self.path / name} is longer than {limit} bytes.")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put the content in place of the file, at once and for good: a crash leaves the old one or the new one.

        Unsettled when it is in place, and not for good; any other Failed leaves what was there."""
        try:
            self._write_beside(name, content)
            os.replace(name + TEMPORARY, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError as error:
            with suppress(OSError):
                os.unlink(name + TEMPORARY, dir_fd=self._fd)
            raise self._failed("write", name, error) from error
        self._settle(name)

    def remove(self, *names: str) -> None:
        """Remove these files, as far as they are there. Unsettled when they are gone, and not for good."""
        for name in names:
            try:
                os.unlink(name, dir_fd=self._fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._failed("remove", name, error) from error
        self._settle(", ".join(names))

    def lock(self, name: str) -> int | None:
        """A descriptor that holds the file's lock while it is open; None when somebody else does."""
        while True:
            try:
                fd = os.open(name, os.O_RDWR | os.O_CREAT | _OPEN, 0o600, dir_fd=self._fd)
            except OSError as error:
                raise self._failed("lock", name, error) from error
            try:
                self._own(fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_still(fd, name):
                    return fd
            except OSError as error:
                os.close(fd)
                if error.errno == errno.EWOULDBLOCK:
                    return None
                raise self._failed("lock", name, error) from error
            os.close(fd)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One at a time in this directory, for what takes a moment. Busy when another one stays in."""
        deadline = time.monotonic() + limits.CARD_STORE_PATIENCE
        while not self._entered():
            if time.monotonic() > deadline:
                raise Busy(f"Another program changes {self.path} now.", hint="Try again.")
            time.sleep(_TURN)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _entered(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Failed(f"Cannot lock the directory {self.path}: {error.strerror}.") from error
        return True

    def _write_beside(self, name: str, content: bytes) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name + TEMPORARY, dir_fd=self._fd)  # what a crash left
        fd = os.open(name + TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o600, dir_fd=self._fd)
        try:
            self._own(fd)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        finally:
            os.close(fd)

    def _settle(self, names: str) -> None:
        """What was done to these names outlives a crash from now on."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise Unsettled(
                f"What was done to {names} in {self.path} may not outlive a crash: {error.strerror}.",
                hint="Look after the disk: the system's journal says what is wrong with it.",
            ) from error

    def _own(self, fd: int) -> None:
        if os.geteuid() != self._owner:
            os.fchown(fd, self._owner, -1)

    def _is_still(self, fd: int, name: str) -> bool:
        """Nobody removed the lock's file between our opening and locking it: who deletes a card removes it."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=self._fd, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _checked_owner(self) -> int:
        status = os.fstat(self._fd)
        if status.st_mode & 0o077:
            raise Failed(f"Others than its owner may use {self.path}.", hint=f"Run: chmod 700 {self.path}")
        if os.geteuid() not in (0, status.st_uid):
            raise Failed(f"{self.path} belongs to another user.", hint="Run the command as its owner or as root.")
        return status.st_uid

    def _failed(self, what: str, name: str, error: OSError) -> Failed:
        return Failed(f"Cannot {what} {self.path / name}: {error.strerror}.")


def _make(path: Path) -> None:
    """With what is missing above it. What root makes belongs to the owner of the directory around it."""
    if path.is_dir():
        return
    _make(path.parent)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        owner = path.parent.stat()
        if os.geteuid() == 0 and path.stat().st_uid == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        _settle(path.parent)
    except OSError as error:
        raise Failed(f"Cannot make the directory {path}: {error.strerror}.") from error


def _settle(path: Path) -> None:
    """What is new in this directory outlives a crash. Who may make something in it, and not open it, does without."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
