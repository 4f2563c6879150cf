"""A certificate's subject as SPICE clients write it (`host-subject`): C=IL,O=Red Hat,CN=my server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from virtcard.errors import InvalidArgument

_PART: Final = re.compile(r"\s*([A-Za-z]+)=((?:[^\\,]|\\.)+)(?:,|$)")
_LONG: Final = {
    "C": "countryName",
    "ST": "stateOrProvinceName",
    "L": "localityName",
    "O": "organizationName",
    "OU": "organizationalUnitName",
    "CN": "commonName",
    "DC": "domainComponent",
    "UID": "userId",
    "E": "emailAddress",
}
"""OpenSSL's short names and long ones; Python's ssl tells the long ones."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Its parts in order."""

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Subject:
        """A comma in a value stands behind a backslash. InvalidArgument."""
        parts, at = [], 0
        while match := _PART.match(text, at):
            parts.append((_LONG.get(match[1], match[1]), re.sub(r"\\(.)", r"\1", match[2])))
            at = match.end()
        if not parts or at != len(text) or text.endswith(","):
            raise InvalidArgument(
                f"{text!r} is no subject of a certificate.", hint="Write it as C=IL,O=Red Hat,CN=host."
            )
        return cls(tuple(parts))

    def is_of(self, certificate: Mapping[str, object]) -> bool:
        """The certificate, as `SSLSocket.getpeercert` tells it, has this subject and no other part."""
        names = certificate.get("subject", ())
        found = [pair for name in names for pair in name] if isinstance(names, tuple) else []
        return tuple(found) == self.parts
