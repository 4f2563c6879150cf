"""A CAC token whose certificates and keys stay in an NSS database: the PIN is the database's password."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from virtcard.card.soft.cac_token import CERTIFICATES_MAX
from virtcard.card.soft.nss import WrongPassword, opens_without_password, read_certificate, read_materials
from virtcard.card.soft.pins import Outcome
from virtcard.errors import Failed, InvalidArgument, LocalError

TRIES: Final = 3
"""Wrong PINs in a row; the database itself would let a guest try passwords for ever."""


class NssToken:
    """Certificates are read at once, and need no password; a key when it is used first, which takes about a second.

    The counter lives as long as this object: whoever starts it anew gives the guest new tries. A database without a
    password makes a card without a PIN: any is right, as libcacard has it.
    """

    def __init__(self, directory: Path, nicknames: Sequence[str], tries: int = TRIES) -> None:
        """Failed when a certificate is not there, InvalidArgument for none or too many."""
        if not 0 < len(nicknames) <= CERTIFICATES_MAX:
            raise InvalidArgument(f"A CAC card has one to {CERTIFICATES_MAX} certificates.")
        self._directory = directory
        self._nicknames = tuple(nicknames)
        self.certificates = {number: read_certificate(directory, name) for number, name in enumerate(nicknames)}
        self.identity = sha256(b"".join(self.certificates.values())).digest()
        self.tries_left = self._tries = tries
        self._keys: dict[int, RSAPrivateKey] = {}
        self._password: bytes | None = None
        self._logged_in = False
        self._open = opens_without_password(directory, self._nicknames[0])
        if self._open:
            self._password = b""

    @property
    def verified(self) -> bool:
        """The PIN was right, or there is none."""
        return self._logged_in or self._open

    def verify(self, untrusted_pin: bytes) -> Outcome:
        """Log in: the first time by unlocking the database, later by comparing. Failed when it cannot be read."""
        self.logout()
        if self._open:
            return Outcome(True, self.tries_left)
        if not self.tries_left:
            return Outcome(False, 0)
        left, self.tries_left = self.tries_left, self.tries_left - 1
        try:
            self._logged_in = self._is_right(untrusted_pin)
        except Failed:
            self.tries_left = left  # it was not compared
            raise
        if self._logged_in:
            self.tries_left = self._tries
        return Outcome(self._logged_in, self.tries_left)

    def key(self, number: int) -> RSAPrivateKey | None:
        """The key of that certificate; LocalError while nobody is logged in, Failed when it cannot be read."""
        if not self.verified or self._password is None:
            raise LocalError("a key without a verified PIN")
        if number not in self._keys and number < len(self._nicknames):
            self._keys[number] = self._read(number, self._password)
        return self._keys.get(number)

    def logout(self) -> None:
        """Forget the login; the password stays, for whoever brings it again."""
        self._logged_in = False

    def _is_right(self, untrusted_pin: bytes) -> bool:
        if self._password is not None:
            return hmac.compare_digest(self._password, untrusted_pin)
        try:
            self._keys[0] = self._read(0, untrusted_pin)
        except WrongPassword:
            return False
        self._password = untrusted_pin
        return True

    def _read(self, number: int, password: bytes) -> RSAPrivateKey:
        (material,) = read_materials(self._directory, (self._nicknames[number],), password)
        if not isinstance(material.key, RSAPrivateKey):
            raise Failed("A CAC card holds RSA keys only.")
        return material.key
