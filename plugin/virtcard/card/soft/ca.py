"""Certificates: an authority of our own for tests, or one from a file, and what it says of a card's keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from virtcard.card.soft import keys
from virtcard.card.soft.layout import Purpose
from virtcard.card.soft.model import Algorithm
from virtcard.errors import InvalidArgument
from virtcard.wire.tlv import build

AUTHORITY_DAYS: Final = 3650
CARD_DAYS: Final = 1095
"""Three years, as real cards have."""
_SLOW_CLOCKS: Final = timedelta(hours=24)
"""A guest whose clock stands in another time zone believes the certificate, too."""

_PIV_CARD_AUTH: Final = ObjectIdentifier("2.16.840.1.101.3.6.8")
"""id-PIV-cardAuth (FIPS 201-3, appendix B)."""
_PKINIT_CLIENT: Final = ObjectIdentifier("1.3.6.1.5.2.3.4")
"""id-pkinit-KPClientAuth (RFC 4556, 3.2.2)."""
_UPN: Final = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING: Final = 0x0C

_EXTENDED: Final = {
    Purpose.AUTHENTICATION: (
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SMARTCARD_LOGON,
        _PKINIT_CLIENT,
    ),
    Purpose.SIGNATURE: (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
    Purpose.KEY_MANAGEMENT: (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
    Purpose.CARD_AUTHENTICATION: (_PIV_CARD_AUTH,),
}


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a certificate names. `email` and `upn` (Windows and Kerberos logon) may be empty."""

    subject: x509.Name
    email: str = ""
    upn: str = ""


@dataclass(frozen=True, slots=True)
class Authority:
    """Whoever signs certificates, with an RSA key or one on a curve."""

    certificate: x509.Certificate
    key: keys.PrivateKey = field(repr=False)

    @classmethod
    def new(cls, subject: x509.Name, algorithm: Algorithm = Algorithm.RSA2048, days: int = AUTHORITY_DAYS) -> Authority:
        """An authority that vouches for itself."""
        key = keys.generate(algorithm)
        names = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            _begun(subject, subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(names, critical=False)
        )
        return cls(builder.sign(key, _hash(key)), key)

    @classmethod
    def given(cls, certificate: x509.Certificate, key: keys.PrivateKey) -> Authority:
        """One from a file; InvalidArgument when it may not sign certificates, or not any more."""
        try:
            is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            is_authority = False
        if not is_authority:
            raise InvalidArgument("This certificate is not one of a certificate authority.")
        if not certificate.not_valid_before_utc <= datetime.now(UTC) < certificate.not_valid_after_utc:
            raise InvalidArgument("The certificate of the authority is not valid now.", hint="Renew it first.")
        return cls(certificate, key)

    def issue(self, public: keys.PublicKey, holder: Holder, purpose: Purpose, days: int = CARD_DAYS) -> bytes:
        """A certificate for a card's key, in DER. It does not outlive the authority's own."""
        builder = (
            _begun(holder.subject, self.certificate.subject, public, days, self.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage_of(public, purpose), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_EXTENDED[purpose]), critical=purpose is Purpose.CARD_AUTHENTICATION)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        others = _other_names(holder) if purpose is not Purpose.CARD_AUTHENTICATION else []
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        return builder.sign(self.key, _hash(self.key)).public_bytes(Encoding.DER)

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def parse_subject(untrusted: str) -> x509.Name:
    """A distinguished name as RFC 4514 writes it, most specific part first: "CN=Jane Doe,O=Example,C=SE"."""
    try:
        name = x509.Name.from_rfc4514_string(untrusted)
    except ValueError:
        name = x509.Name([])
    if not list(name):
        raise InvalidArgument("The subject is not a distinguished name.", hint="Write it like CN=Jane Doe,O=Example.")
    return name


def _begun(
    subject: x509.Name, issuer: x509.Name, public: keys.PublicKey, days: int, latest: datetime | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLOW_CLOCKS)
        .not_valid_after(min(end, latest) if latest else end)
    )


def _usage_of(public: keys.PublicKey, purpose: Purpose) -> x509.KeyUsage:
    """FIPS 201's certificate profiles: keys agree on a curve, and encipher with RSA."""
    if purpose is Purpose.KEY_MANAGEMENT:
        is_rsa = keys.algorithm_of(public).is_rsa
        return _key_usage(key_encipherment=is_rsa, key_agreement=not is_rsa)
    return _key_usage(digital_signature=True, content_commitment=purpose is Purpose.SIGNATURE)


def _key_usage(
    *,
    digital_signature: bool = False,
    content_commitment: bool = False,
    key_encipherment: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _other_names(holder: Holder) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    try:
        if holder.email:
            names.append(x509.RFC822Name(holder.email))
    except ValueError:
        raise InvalidArgument("The mail address cannot stand in a certificate.", hint="It is ASCII only.") from None
    if holder.upn:
        names.append(x509.OtherName(_UPN, build(_UTF8_STRING, holder.upn.encode())))
    return names


def _hash(key: keys.PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """As strong as the key: an authority's may be of another kind than a card's."""
    return hashes.SHA384() if isinstance(key, EllipticCurvePrivateKey) and key.key_size > 256 else hashes.SHA256()
