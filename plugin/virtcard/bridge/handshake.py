"""The TLS handshake, step by step, so that nobody waits for it."""

from __future__ import annotations

import errno
import select
import socket
import ssl

from virtcard.bridge.dial import Calling, Dial, failure
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.secured import SecuredLink, refused
from virtcard.bridge.tls import Security, Side, reason, verdict
from virtcard.errors import Disconnected


class Handshake:
    """With the peer of a connected socket, which it owns from now on, until the link stands. `place` names the peer in
    sentences. We are the client when we want a certificate for `hostname`, else the server."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, place: str, hostname: str = "") -> None:
        self.place = place
        self.events = select.POLLOUT if hostname else select.POLLIN
        sock.setblocking(False)
        try:
            self._sock = context.wrap_socket(
                sock, server_side=not hostname, server_hostname=hostname or None, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:  # a host name that is none, or a peer that is gone
            sock.close()
            raise Disconnected(f"{place} cannot be spoken to over TLS.") from error

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._sock.fileno()

    def proceed(self) -> SecuredLink | None:
        """The link when the handshake is done, None when there is more to wait for; Disconnected when it failed."""
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self.events = select.POLLIN
        except ssl.SSLWantWriteError:
            self.events = select.POLLOUT
        except ssl.SSLError as error:
            raise self._failure(error) from None
        except OSError as error:
            raise Disconnected(f"{self.place} hung up during the TLS handshake.") from error
        else:
            return SecuredLink(self._sock, self.place)
        return None

    def close(self) -> None:
        """Give up."""
        self._sock.close()

    def _failure(self, error: ssl.SSLError) -> Disconnected:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Disconnected(f"The certificate of {self.place} {verdict(error)}.")
        # Which of the two it is depends on the version of Python.
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or error.errno == ssl.SSL_ERROR_EOF:
            return Disconnected(f"{self.place} hung up during the TLS handshake.")
        if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return Disconnected(f"{self.place} has no certificate to show.")
        if "ALERT" in (error.reason or ""):
            return refused(self.place, error)
        return Disconnected(f"{self.place} does not speak TLS as we do ({reason(error)}).")


class Securing(Dial):
    """We connect, and then shake hands."""

    events = select.POLLOUT

    def __init__(self, endpoint: Endpoint, settings: Security) -> None:
        self._endpoint = endpoint
        self._hostname = settings.hostname or endpoint.host
        self._context = settings.context(Side.CLIENT)
        self._call = Calling(endpoint)
        self._handshake: Handshake | None = None
        self.until = self._call.until

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._handshake.fileno() if self._handshake else self._call.fileno()

    def proceed(self) -> SecuredLink | None:
        """The link when we are connected and trust each other."""
        if self._handshake is None:
            sock = self._call.connected()
            if sock is None:
                return None
            self._handshake = Handshake(sock, self._context, str(self._endpoint), self._hostname)
        link = self._handshake.proceed()
        self.events = self._handshake.events
        return link

    def overdue(self) -> None:
        """Nobody answered, or not in TLS."""
        if self._handshake is None:
            raise failure(self._endpoint, errno.ETIMEDOUT)
        raise Disconnected(f"{self._endpoint} does not finish the TLS handshake.")

    def close(self) -> None:
        """Give up."""
        self._call.close()
        if self._handshake is not None:
            self._handshake.close()
