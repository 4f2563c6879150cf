"""Beginning to look for the peer of an endpoint, whatever it is reached by."""

from __future__ import annotations

from virtcard.bridge.dial import Calling, Dial, Waiting, failure
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.handshake import Securing
from virtcard.bridge.reception import Reception
from virtcard.bridge.tls import TlsSettings
from virtcard.errors import LocalError


def dial(endpoint: Endpoint, tls: TlsSettings | None = None) -> Dial:
    """Begin an attempt; Disconnected when it fails at once, Failed when a file of TLS is wrong."""
    try:
        if endpoint.scheme is not Scheme.TLS:
            return Waiting(endpoint) if endpoint.listen else Calling(endpoint)
        if tls is None:
            raise LocalError("an endpoint with TLS needs its settings")
        return Reception(endpoint, tls) if endpoint.listen else Securing(endpoint, tls)
    except UnicodeError as error:
        raise failure(endpoint, None) from error
    except OSError as error:
        raise failure(endpoint, error.errno) from error
