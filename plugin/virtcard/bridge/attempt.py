"""Beginning to look for the peer of an endpoint, whatever it is reached by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from virtcard.bridge.dial import Calling, Dial, Waiting, failure
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.handshake import Securing
from virtcard.bridge.reception import Reception
from virtcard.bridge.spice.choice import Choice
from virtcard.bridge.spice.dial import SpiceDial
from virtcard.bridge.spice.security import Judging
from virtcard.bridge.spice.settings import SpiceSettings
from virtcard.bridge.tls import TlsSettings
from virtcard.errors import LocalError


def attempts(
    endpoint: Endpoint, tls: TlsSettings | None = None, spice: SpiceSettings | None = None
) -> Callable[[], Dial]:
    """What begins one attempt after the other; each is Disconnected when it fails at once, Failed when a file of TLS is
    wrong."""
    if not endpoint.scheme.is_spice:
        return partial(dial, endpoint, tls)
    if spice is None:
        raise LocalError("an endpoint of SPICE needs its settings")
    carrier = replace(endpoint, scheme=endpoint.scheme.carrier)
    return partial(SpiceDial, endpoint, partial(_carry, carrier, spice), spice.password, Choice(endpoint, spice))


def dial(endpoint: Endpoint, tls: TlsSettings | None = None) -> Dial:
    """Begin an attempt without SPICE; Disconnected when it fails at once, Failed when a file of TLS is wrong."""
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


def _carry(carrier: Endpoint, spice: SpiceSettings) -> Dial:
    """The connection below one channel."""
    if carrier.scheme is not Scheme.TLS:
        return dial(carrier)
    if spice.security is None:
        raise LocalError("an endpoint of SPICE with TLS needs its security")
    return Judging(carrier, spice.security)
