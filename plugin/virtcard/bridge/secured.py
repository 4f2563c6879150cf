"""A link with TLS."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress

from virtcard.bridge.link import RECEIVE, Link
from virtcard.bridge.tls import reason
from virtcard.errors import Disconnected


class SecuredLink(Link):
    """A socket whose handshake is done. The worker receives while others send, and OpenSSL wants them one at a time."""

    def __init__(self, sock: ssl.SSLSocket, place: str) -> None:
        super().__init__(sock)
        self._tls = sock
        self._place = place
        self._turn = threading.Lock()
        self._unanswered = False
        """OpenSSL owes the peer something, such as a new key, before it reads on, and the socket is full."""
        self._heard = False
        self._ended = False

    @property
    def events(self) -> int:
        """What to poll for."""
        return select.POLLOUT if self._unanswered else super().events

    def certificate(self) -> Mapping[str, object]:
        """What the peer showed and we trust, in Python's own form."""
        return self._tls.getpeercert() or {}

    def receive(self) -> bytes | None:
        """What came, with all that OpenSSL holds: poll() does not see that."""
        with self._turn:
            data = b"" if self._ended else self._read()
        if data:
            self._heard = True
            self._quick_ack()
        elif data is not None and not self._heard and self.failure is None:
            self.failure = Disconnected(f"{self._place} hung up after the TLS handshake; it may not accept us.")
        return data

    def unread(self) -> bool:
        """Something came, or the peer went, that `receive` has not told yet; half a message counts."""
        try:
            socket.socket.recv(self._tls, 1, socket.MSG_PEEK)  # below TLS, whose own recv peeks at nothing
        except OSError:
            return False
        return True

    def flush(self) -> None:
        """Send more of what was kept."""
        self._unanswered = False
        super().flush()

    def shutdown(self) -> None:
        """Tell the peer that this is the end, then end it."""
        with self._turn:
            if not self._ended:
                self._ended = True  # what is received and sent after unwrap() is no TLS any more
                with suppress(OSError, ValueError):
                    self._tls.unwrap()
        super().shutdown()

    def _read(self) -> bytes | None:
        try:
            data = self._tls.recv(RECEIVE)
            while data and (more := self._tls.pending()):
                data += self._tls.recv(more)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._unanswered = True
            return None
        except ssl.SSLError as error:
            self.failure = refused(self._place, error)
            return b""
        except OSError:
            return b""
        return data

    def _write(self, data: bytes | bytearray) -> int:
        try:
            with self._turn:
                return self._tls.send(data) if data and not self._ended else len(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError:
            return len(data)


def refused(place: str, error: ssl.SSLError) -> Disconnected:
    """The peer ended it by an alert of TLS: what it says about us."""
    what = reason(error)
    for word in ("alert ", "sslv3 ", "tlsv1 ", "tlsv13 "):
        what = what.replace(word, "")
    return Disconnected(f"{place} ended TLS with us: {what}.")
