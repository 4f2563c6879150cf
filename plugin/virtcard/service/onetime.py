"""One-time sockets: what must not travel on the bus comes in or goes out here, for one user, once.

For a document (`offer`): who connects sends it, ends the sending side (shutdown(2), SHUT_WR), and reads the answer: one
line of JSON. For anything else (`hand_over`) the connected socket is given to somebody.
The socket is 0600, with an entry for the one user in its access list (acl(5)), which its owner may make without any
privilege; its name cannot be guessed; and the peer is asked for its user all the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from virtcard import limits
from virtcard.errors import Busy, Failed, Internal, InvalidArgument, NotAuthorized, TimedOut, VirtcardError

log = logging.getLogger(__name__)

Work = Callable[[bytes], Awaitable[dict[str, object]]]
"""What is done with the document; what it returns is the answer."""

Hand = Callable[[socket.socket], None]
"""Takes a connected socket over; it does not block, and closes it some time."""

_Talk = Callable[[socket.socket], Awaitable[None]]
"""What is done with a connection; it is closed afterwards, unless its descriptor has been taken away."""

_PREFIX: Final = "once-"
_CREDENTIALS: Final = struct.Struct("3i")
"""struct ucred: pid, uid, gid (unix(7))."""
_CHUNK: Final = 64 * 1024


class OneTimeSockets:
    """In one directory, through which everybody may pass. Belongs to the event loop's thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[asyncio.Task[None], int] = {}

    def tidy(self) -> None:
        """Remove what a crash left."""
        for left in self._directory.glob(f"{_PREFIX}*"):
            left.unlink(missing_ok=True)

    def offer(self, user: int, work: Work) -> Path:
        """A socket for that user, open for a moment. Busy when too many are open, Failed when none can be made."""
        return self._open_for(user, lambda link: _exchange(link, user, work))

    def hand_over(self, user: int, hand: Hand) -> Path:
        """The same for a connection that is `hand`'s from then on. A VirtcardError of it closes the connection."""
        return self._open_for(user, lambda link: _hand_over(link, user, hand))

    def _open_for(self, user: int, talk: _Talk) -> Path:
        open_for_user = sum(other == user for other in self._open.values())
        if open_for_user >= limits.SECRETS_PER_USER or len(self._open) >= limits.SECRETS_OPEN_MAX:
            raise Busy("Too many calls wait for their secrets.", hint="Send them, or try again in a minute.")
        path = self._directory / f"{_PREFIX}{secrets.token_urlsafe(16)}"
        listener = self._listener(path, user)
        task = asyncio.get_running_loop().create_task(_serve(listener, path, talk))
        self._open[task] = user
        task.add_done_callback(partial(self._ended, listener, path))
        return path

    def _ended(self, listener: socket.socket, path: Path, task: asyncio.Task[None]) -> None:
        """Also of one that was cancelled before its first step."""
        del self._open[task]
        _remove(listener, path)

    async def close(self) -> None:
        """End all of them; nothing is left in the directory."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listener(self, path: Path, user: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.fchmod(listener.fileno(), 0o600)  # the mode of the file that bind() makes
            listener.bind(str(path))
            _let_in(path, user)
            listener.listen(1)
        except OSError as error:
            _remove(listener, path)
            raise Failed(
                f"Cannot make a socket in {self._directory}: {error.strerror or error}.",
                hint="systemd makes this directory: systemctl restart virtcardd",
            ) from error
        return listener


def _let_in(path: Path, user: int) -> None:
    """The user may open it, beside its owner and root."""
    if user not in {0, os.geteuid()}:
        os.setxattr(path, "system.posix_acl_access", _access_list(user), follow_symlinks=False)


def _access_list(user: int) -> bytes:
    """u::rw-,u:USER:rw-,g::---,m::rw-,o::--- as the kernel takes it (linux/posix_acl_xattr.h, linux/posix_acl.h)."""
    nobody = 0xFFFF_FFFF
    entries = ((0x01, 6, nobody), (0x02, 6, user), (0x04, 0, nobody), (0x10, 6, nobody), (0x20, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


async def _serve(listener: socket.socket, path: Path, talk: _Talk) -> None:
    """One connection."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.SECRETS_CONNECT_PATIENCE):
            link, _ = await loop.sock_accept(listener)
    except (TimeoutError, OSError):
        log.info("nobody came to a one-time socket")
        return
    finally:
        _remove(listener, path)
    with link:
        await talk(link)


async def _exchange(link: socket.socket, user: int, work: Work) -> None:
    """One document, one answer."""
    answer = await _answer(link, user, work)
    with suppress(OSError, TimeoutError):  # who does not wait for the answer finds the outcome on the bus
        async with asyncio.timeout(limits.SECRETS_SEND_PATIENCE):
            await _tell(link, answer)


async def _hand_over(link: socket.socket, user: int, hand: Hand) -> None:
    own = link
    try:
        _check_peer(link, user)
        own = socket.socket(fileno=link.detach())
        own.setblocking(False)
        hand(own)
    except VirtcardError as error:
        log.info("a one-time socket: %s", error.message)
        own.close()


async def _tell(link: socket.socket, answer: dict[str, object]) -> None:
    """The answer, and then what the peer may still be sending: closed before, the connection would break for it."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(link, json.dumps(answer).encode() + b"\n")
    link.shutdown(socket.SHUT_WR)
    ignored = 0
    while ignored < limits.SECRETS_MAX and (more := await loop.sock_recv(link, _CHUNK)):
        ignored += len(more)


def _remove(listener: socket.socket, path: Path) -> None:
    listener.close()
    with suppress(OSError):
        path.unlink(missing_ok=True)


async def _answer(link: socket.socket, user: int, work: Work) -> dict[str, object]:
    try:
        _check_peer(link, user)
        return await work(await _document(link))
    except VirtcardError as error:
        return _failure(error)
    except Exception as error:  # noqa: BLE001 - its text may hold what was sent: only the places are logged
        places = "".join(traceback.format_tb(error.__traceback__))
        log.error("%s in the work of a one-time socket:\n%s", type(error).__name__, places)
        return _failure(Internal("Internal error; see the journal."))


def _check_peer(link: socket.socket, user: int) -> None:
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, peer, _ = _CREDENTIALS.unpack(credentials)
    if peer != user:
        raise NotAuthorized("This socket is for another user.", hint="The user who made the call opens it.")


async def _document(link: socket.socket) -> bytes:
    """All that the peer sends before it ends its sending side; TimedOut or InvalidArgument for too slow or too much."""
    loop = asyncio.get_running_loop()
    untrusted = bytearray()
    try:
        async with asyncio.timeout(limits.SECRETS_SEND_PATIENCE):
            while more := await loop.sock_recv(link, _CHUNK):
                untrusted += more
                if len(untrusted) > limits.SECRETS_MAX:
                    raise InvalidArgument(f"More than {limits.SECRETS_MAX} bytes came over the socket.")
    except TimeoutError:
        raise TimedOut("The secrets did not come in time.", hint="Send them at once, and then end sending.") from None
    except OSError:
        raise Failed("The connection broke.") from None
    return bytes(untrusted)


def _failure(error: VirtcardError) -> dict[str, object]:
    return {"error": error.dbus_name(), "message": error.message, "hint": error.hint}
