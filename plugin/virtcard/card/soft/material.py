"""A key with its certificate out of somebody's file: PEM or PKCS #12."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from virtcard.card.soft import keys
from virtcard.errors import InvalidArgument, Unsupported

FILE_MAX: Final = 1024 * 1024
"""Bytes of a file with a key and a chain of certificates; they have a few thousand."""
_ENCRYPTED_HINT: Final = "Give the file's password."


@dataclass(frozen=True, slots=True)
class Material:
    """A key, the certificate that belongs to it, and the certificates of the authorities that came along."""

    key: keys.PrivateKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def authorities(self) -> tuple[bytes, ...]:
        """The chain, in DER."""
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in self.chain)

    @property
    def pem(self) -> str:
        """All of it, the key in the clear."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return b"".join((key, *(each.public_bytes(Encoding.PEM) for each in (self.certificate, *self.chain)))).decode()

    def warnings(self, now: datetime | None = None) -> tuple[str, ...]:
        """What is odd about it, a sentence each; none of it keeps it from being used."""
        now = now or datetime.now(UTC)
        end, begin = self.certificate.not_valid_after_utc, self.certificate.not_valid_before_utc
        if end < now:
            return (f"The certificate expired on {end:%Y-%m-%d}.",)
        if begin > now:
            return (f"The certificate is not valid before {begin:%Y-%m-%d}.",)
        return ()


def load_pem(untrusted: bytes, password: bytes | None = None) -> Material:
    """One key and its certificate, in any order, perhaps with more certificates; several files may be put together.

    InvalidArgument for a file that is broken or has not both, or a key that belongs to none of the certificates;
    Unsupported for other kinds of keys.
    """
    _check_size(untrusted)
    key = _pem_key(untrusted, password)
    try:
        certificates = x509.load_pem_x509_certificates(untrusted)
    except ValueError:
        raise InvalidArgument(
            "There is no certificate in the PEM file, or a broken one.", hint="Give the certificate and the key."
        ) from None
    return matched(key, certificates)


def load_pkcs12(untrusted: bytes, password: bytes | None = None) -> Material:
    """One key and its certificate from a PKCS #12 file (.p12, .pfx). Errors are those of `load_pem`."""
    _check_size(untrusted)
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(untrusted, password)
    except UnsupportedAlgorithm:
        raise Unsupported(
            "The PKCS #12 file is encrypted in a way that is not known here.", hint="openssl pkcs12 makes a newer one."
        ) from None
    except (ValueError, TypeError):
        raise InvalidArgument("The file is not PKCS #12, or its password is another.", hint=_ENCRYPTED_HINT) from None
    if key is None:
        raise InvalidArgument("There is no private key in the PKCS #12 file.")
    return matched(_fit(key), [*([certificate] if certificate else []), *chain])


def matched(key: keys.PrivateKey, certificates: list[x509.Certificate]) -> Material:
    """The key with its certificate out of several; InvalidArgument when it belongs to none."""
    public = keys.public_der(key.public_key())
    own = next((certificate for certificate in certificates if _public_of(certificate) == public), None)
    if own is None:
        raise InvalidArgument(
            "The private key does not belong to the certificate.", hint="Give the certificate that was made for it."
        )
    return Material(key, own, tuple(certificate for certificate in certificates if certificate != own))


def _pem_key(untrusted: bytes, password: bytes | None) -> keys.PrivateKey:
    try:
        return _fit(load_pem_private_key(untrusted, password))
    except TypeError:
        if password is None:
            raise InvalidArgument("The private key is encrypted.", hint=_ENCRYPTED_HINT) from None
        return _pem_key(untrusted, None)  # the password was for nothing: the key is not encrypted
    except UnsupportedAlgorithm:
        raise Unsupported("The private key is of a kind that is not known here.") from None
    except ValueError:
        wrong = ", or its password is another" if password is not None else ""
        raise InvalidArgument(f"There is no private key in the PEM file, or a broken one{wrong}.") from None


def _fit(key: object) -> keys.PrivateKey:
    """RSA or a curve. Whether a card can hold it is for the card to say: an authority may have a larger one."""
    if isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        return key
    raise Unsupported("The private key is neither RSA nor on a NIST curve.")


def _public_of(certificate: x509.Certificate) -> bytes | None:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return keys.public_der(public) if isinstance(public, keys.PublicKey) else None


def _check_size(untrusted: bytes) -> None:
    if len(untrusted) > FILE_MAX:
        raise InvalidArgument("The file is too long for a key and its certificates.")
