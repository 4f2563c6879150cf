"""One-time sockets: one user, one document, one answer; and nothing is left, whatever the other end does."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from helpers.bus import NOBODY, OTHER, eventually, run_async
from helpers.once import confide, confide_as
from helpers.soft_cards import open_descriptors
from virtcard import limits
from virtcard.errors import Busy, Failed, InvalidArgument
from virtcard.service.onetime import OneTimeSockets

ME = os.geteuid()
SENT = {"pin": "123456"}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A runtime directory through which everybody may pass, as pytest's own are not."""
    with TemporaryDirectory(prefix="vc-") as name:
        place = Path(name)
        place.chmod(0o711)
        yield place


class Offered:
    """One socket; `documents` are those that its work was given."""

    def __init__(self, directory: Path, user: int = ME, failure: Exception | None = None) -> None:
        self.directory = directory
        self.documents: list[bytes] = []
        self.sockets = OneTimeSockets(directory)
        self._failure = failure
        self.path = str(self.sockets.offer(user, self._work))

    async def _work(self, untrusted: bytes) -> dict[str, object]:
        self.documents.append(untrusted)
        if self._failure is not None:
            raise self._failure
        return {"card": "/org/virtcard1/card/jane"}

    async def gone(self) -> None:
        """Nothing is left of it."""
        await eventually(lambda: not self.sockets._open, "its task has ended")
        assert list(self.directory.iterdir()) == []


def offered(
    directory: Path, peer: Callable[[str], Any], *, user: int = ME, failure: Exception | None = None
) -> tuple[Any, list[bytes]]:
    """What the peer, on a thread, was answered, and what documents came; nothing is left afterwards."""

    async def scene() -> tuple[Any, list[bytes]]:
        before = open_descriptors()
        one = Offered(directory, user, failure)
        answer = await asyncio.to_thread(peer, one.path)
        await one.gone()
        assert open_descriptors() == before
        return answer, one.documents

    return run_async(scene())


def test_one_document_gets_one_answer_and_the_socket_is_gone(directory: Path) -> None:
    answer, documents = offered(directory, lambda path: confide(path, SENT))
    assert answer == {"card": "/org/virtcard1/card/jane"}
    assert documents == [b'{"pin": "123456"}']


def test_a_document_in_many_pieces_is_one(directory: Path) -> None:
    def peer(path: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            for number in range(100):
                link.send(bytes([number]))
            link.shutdown(socket.SHUT_WR)
            return link.recv(65536)

    answer, documents = offered(directory, peer)
    assert answer.endswith(b"\n")
    assert documents == [bytes(range(100))]


def test_the_socket_is_for_the_users_alone(directory: Path) -> None:
    """Needs root, for another user."""

    async def scene() -> None:
        one = Offered(directory, NOBODY)
        mode = os.stat(one.path).st_mode
        assert stat.S_ISSOCK(mode)
        assert not mode & stat.S_IRWXO
        refused = await asyncio.to_thread(confide_as, OTHER, one.path, SENT)
        assert refused == {"refused": "Permission denied"}
        answer = await asyncio.to_thread(confide_as, NOBODY, one.path, SENT)
        assert answer == {"card": "/org/virtcard1/card/jane"}
        await one.gone()

    run_async(scene())


def test_root_that_opens_the_socket_of_another_user_is_refused_and_ends_it(directory: Path) -> None:
    answer, documents = offered(directory, lambda path: confide(path, SENT), user=NOBODY)
    assert answer["error"] == "org.virtcard1.Error.NotAuthorized"
    assert answer["message"] == "This socket is for another user."
    assert documents == []


def test_the_owners_own_socket_is_0600_and_opens_to_nobody_else(directory: Path) -> None:
    async def scene() -> None:
        one = Offered(directory)
        assert stat.S_IMODE(os.stat(one.path).st_mode) == 0o600
        assert await asyncio.to_thread(confide_as, NOBODY, one.path, SENT) == {"refused": "Permission denied"}
        await one.sockets.close()
        await one.gone()

    run_async(scene())


def test_only_one_connection_is_taken(directory: Path) -> None:
    async def scene() -> None:
        one = Offered(directory)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(one.path)
            await eventually(lambda: not os.path.exists(one.path), "the socket is gone with its first connection")
            with socket.socket(socket.AF_UNIX) as second, pytest.raises(FileNotFoundError):
                second.connect(one.path)
            first.shutdown(socket.SHUT_WR)
            await one.gone()

    run_async(scene())


def test_who_sends_too_much_is_told_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECRETS_MAX", 1_000_000)
    answer, documents = offered(directory, lambda path: confide(path, b"x" * 1_500_000))
    assert answer["error"] == "org.virtcard1.Error.InvalidArgument"
    assert answer["message"] == "More than 1000000 bytes came over the socket."
    assert documents == []


def test_who_sends_too_slowly_is_told_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECRETS_SEND_PATIENCE", 0.1)

    def peer(path: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            link.send(b'{"pin"')
            return link.recv(65536)

    answer, documents = offered(directory, peer)
    assert b"org.virtcard1.Error.Timeout" in answer
    assert documents == []


def test_a_socket_to_which_nobody_comes_goes_away(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECRETS_CONNECT_PATIENCE", 0.1)
    assert offered(directory, lambda path: None) == (None, [])


def test_who_vanishes_after_it_sent_all_gets_its_work_done(directory: Path) -> None:
    def peer(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            link.send(b"{}")

    assert offered(directory, peer) == (None, [b"{}"])


def test_a_failure_of_the_work_is_the_answer(directory: Path) -> None:
    answer, _ = offered(
        directory, lambda path: confide(path, SENT), failure=InvalidArgument("It is wrong.", hint="Mend it.")
    )
    assert answer == {"error": "org.virtcard1.Error.InvalidArgument", "message": "It is wrong.", "hint": "Mend it."}


def test_a_bug_in_the_work_shows_nothing_of_what_was_sent(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer, _ = offered(directory, lambda path: confide(path, SENT), failure=KeyError("123456"))
    assert answer["error"] == "org.virtcard1.Error.Internal"
    assert "KeyError in the work of a one-time socket" in caplog.text
    assert "123456" not in caplog.text


def test_one_user_has_only_so_many_at_a_time(directory: Path) -> None:
    async def scene() -> None:
        one = Offered(directory)
        for _ in range(limits.SECRETS_PER_USER - 1):
            one.sockets.offer(ME, one._work)
        with pytest.raises(Busy, match="Too many calls wait"):
            one.sockets.offer(ME, one._work)
        one.sockets.offer(NOBODY, one._work)
        await one.sockets.close()
        await one.gone()

    run_async(scene())


def test_all_users_have_only_so_many_at_a_time(directory: Path) -> None:
    async def scene() -> None:
        one = Offered(directory)
        for user in range(1, limits.SECRETS_OPEN_MAX):
            one.sockets.offer(user, one._work)
        with pytest.raises(Busy):
            one.sockets.offer(NOBODY, one._work)
        await one.sockets.close()
        await one.gone()

    run_async(scene())


def test_what_a_crash_left_is_tidied_away_and_nothing_else(directory: Path) -> None:
    async def scene() -> None:
        Offered(directory)
        (directory / "insertions.json").write_text("{}")
        OneTimeSockets(directory).tidy()
        assert [path.name for path in directory.iterdir()] == ["insertions.json"]

    run_async(scene())


@pytest.mark.parametrize("name", ["file/run", "x" * 200])
def test_a_directory_that_holds_no_socket_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    async def scene() -> None:
        with pytest.raises(Failed, match="Cannot make a socket in"):
            Offered(tmp_path / name)

    run_async(scene())


def test_a_connection_that_is_handed_over_is_somebody_elses(directory: Path) -> None:
    async def scene() -> None:
        sockets, taken = OneTimeSockets(directory), list[socket.socket]()
        path = str(sockets.hand_over(ME, taken.append))
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            await eventually(lambda: taken, "it is handed over")
            assert not os.path.exists(path)
            await sockets.close()
            taken[0].send(b"still open")
            assert link.recv(64) == b"still open"
            taken[0].close()
            assert link.recv(64) == b""

    run_async(scene())


def test_a_connection_of_another_user_is_not_handed_over(directory: Path) -> None:
    async def scene() -> None:
        sockets, taken = OneTimeSockets(directory), list[socket.socket]()
        path = str(sockets.hand_over(NOBODY, taken.append))
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            assert await asyncio.to_thread(link.recv, 64) == b""
        assert taken == []

    run_async(scene())


def test_a_connection_that_nobody_wants_any_more_is_closed(directory: Path) -> None:
    def refuse(_link: socket.socket) -> None:
        raise Failed("It is over.")

    async def scene() -> None:
        before = open_descriptors()
        path = str(OneTimeSockets(directory).hand_over(ME, refuse))
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            assert await asyncio.to_thread(link.recv, 64) == b""
        assert open_descriptors() == before

    run_async(scene())
