"""Waiting for a peer that speaks TLS, while strangers may call as well."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase

from virtcard import limits
from virtcard.bridge.dial import Dial, Waiting
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.handshake import Handshake
from virtcard.bridge.secured import SecuredLink
from virtcard.bridge.tls import Side, TlsSettings, names
from virtcard.errors import Disconnected, VirtcardError


@dataclass(frozen=True, slots=True)
class _Guest:
    """Somebody who called, and has not shown yet who it is."""

    handshake: Handshake
    until: float


class Reception(Dial):
    """The first who finishes the handshake is the peer, and the rest is sent away. One descriptor stands for all:
    that of an epoll, which poll() can wait for."""

    def __init__(self, endpoint: Endpoint, settings: TlsSettings) -> None:
        self._settings = settings
        self._door = Waiting(endpoint)
        self._epoll = select.epoll()
        self._epoll.register(self._door.fileno(), select.EPOLLIN)
        self._guests: dict[int, _Guest] = {}

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._epoll.fileno()

    def proceed(self) -> SecuredLink | None:
        """The link to the first who is trusted."""
        for number, _ in self._epoll.poll(0):
            if number == self._door.fileno():
                self._admit()
            elif number in self._guests:
                link = self._listen_to(number)
                if link is not None:
                    self.close()
                    return link
        return None

    def overdue(self) -> None:
        """Send away who takes too long."""
        now = time.monotonic()
        for number in [number for number, guest in self._guests.items() if guest.until <= now]:
            self._send_away(number)
        self._look_at_clock()

    def close(self) -> None:
        """Send everybody away, and stop listening."""
        for number in list(self._guests):
            self._send_away(number)
        self._door.close()
        self._epoll.close()

    def _admit(self) -> None:
        sock = self._door.accepted()
        if sock is None:
            return
        if len(self._guests) >= limits.HANDSHAKES_MAX:
            self._send_away(next(iter(self._guests)))
        try:
            handshake = Handshake(sock, self._settings.context(Side.SERVER), _name(sock))
        except VirtcardError as error:
            sock.close()
            self.remark = error
            return
        self._guests[handshake.fileno()] = _Guest(handshake, time.monotonic() + limits.HANDSHAKE_PATIENCE)
        self._epoll.register(handshake.fileno(), handshake.events)
        self._look_at_clock()

    def _listen_to(self, number: int) -> SecuredLink | None:
        handshake = self._guests[number].handshake
        try:
            link = handshake.proceed()
        except Disconnected as error:
            self.remark = error
            self._send_away(number)
            return None
        if link is None:
            self._epoll.modify(number, handshake.events)
            return None
        known = names(link.certificate())
        if not self._expects(known):
            whom = ", ".join(known[:4]) or "nobody"
            self.remark = Disconnected(f"The certificate of {handshake.place} is for {whom}, and another is expected.")
            self._send_away(number)
            return None
        del self._guests[number]
        self._epoll.unregister(number)
        return link

    def _expects(self, known: tuple[str, ...]) -> bool:
        globs = self._settings.peers
        return not globs or any(fnmatchcase(name, glob) for name in known for glob in globs)

    def _send_away(self, number: int) -> None:
        guest = self._guests.pop(number)
        self._epoll.unregister(number)
        guest.handshake.close()
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        self.until = min((guest.until for guest in self._guests.values()), default=None)


def _name(sock: socket.socket) -> str:
    """The address of a caller."""
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "a caller"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
