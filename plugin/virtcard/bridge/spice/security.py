"""TLS as SPICE clients do it: an authority, and either the host's name or a whole subject in the certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from virtcard.bridge.dial import Dial
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.handshake import Securing
from virtcard.bridge.secured import SecuredLink
from virtcard.bridge.spice.subject import Subject
from virtcard.bridge.tls import Side, TlsFiles, make_context
from virtcard.errors import PeerRefuses

PLACES: Final = (Path("~/.spicec/spice_truststore.pem"), Path("/etc/pki/libvirt-spice/ca-cert.pem"))
"""Where the authority is looked for: where SPICE clients have it, and where libvirt has it for its own servers."""


@dataclass(frozen=True, slots=True)
class SpiceSecurity:
    """`subject` replaces the host name: who has it in a certificate of the authority is the server, whatever it is
    called."""

    authority: Path
    subject: Subject | None = None
    hostname: str = ""

    def context(self, side: Side) -> ssl.SSLContext:
        """For one connection; Failed when the file is wrong."""
        context = make_context(side, TlsFiles(self.authority))
        context.check_hostname = self.subject is None
        return context


class Judging(Dial):
    """A call with TLS, whose certificate is judged by its subject, too."""

    def __init__(self, endpoint: Endpoint, security: SpiceSecurity) -> None:
        self._place = str(endpoint)
        self._subject = security.subject
        self._call = Securing(endpoint, security)
        self.until = self._call.until
        self.events = self._call.events

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._call.fileno()

    def proceed(self) -> SecuredLink | None:
        """The link to a server that is the right one."""
        link = self._call.proceed()
        self.events = self._call.events
        if link is not None and self._subject is not None and not self._subject.is_of(link.certificate()):
            link.close()
            raise PeerRefuses(f"The certificate of {self._place} is for another subject.")
        return link

    def overdue(self) -> None:
        """Nobody answered, or not in TLS."""
        self._call.overdue()

    def close(self) -> None:
        """Give up."""
        self._call.close()


def default_authority() -> Path:
    """The first of PLACES that is there, or else the first."""
    places = [place.expanduser() for place in PLACES]
    return next((place for place in places if place.is_file()), places[0])
