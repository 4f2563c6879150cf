"""Authorities and certificates for TLS, laid out as QEMU's tls-creds-x509 wants them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
Purpose = Literal["server", "client", "both"]
_OTHER_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "encipher_only", "decipher_only",
)  # fmt: skip
_USAGES = {"server": [ExtendedKeyUsageOID.SERVER_AUTH], "client": [ExtendedKeyUsageOID.CLIENT_AUTH]}


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in PEM."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Authority:
    """Signs certificates, and lists of revoked ones."""

    name: str = "authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def certificate_pem(self) -> bytes:
        usage = dict.fromkeys(_OTHER_USES, False)
        signed = (
            self._begin(self.subject, self.key.public_key(), self.now - 10 * DAY, self.now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        return signed.public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str = "localhost",
        *,
        addresses: Sequence[str] = ("127.0.0.1",),
        ends: timedelta = DAY,
        begins: timedelta = -2 * DAY,
        purpose: Purpose = "both",
    ) -> Issued:
        """A certificate for a host; `begins` and `ends` count from now."""
        key = _key()
        names = [x509.DNSName(name), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            self._begin(subject, key.public_key(), self.now + begins, self.now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        if purpose != "both":
            builder = builder.add_extension(x509.ExtendedKeyUsage(_USAGES[purpose]), critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def revocation_pem(self, *revoked: Issued, ends: timedelta = DAY) -> bytes:
        """The list of what was revoked."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject)
            .last_update(self.now - 2 * DAY)
            .next_update(self.now + ends)
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(self.now - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _begin(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )


def lay_out(
    directory: Path,
    authority: Authority,
    *,
    server: Issued | None = None,
    client: Issued | None = None,
    revoked: bytes | None = None,
) -> Path:
    """A directory with the files of QEMU's names; keys are for their owner alone."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ca-cert.pem").write_bytes(authority.certificate_pem())
    if revoked is not None:
        (directory / "ca-crl.pem").write_bytes(revoked)
    for side, issued in (("server", server), ("client", client)):
        if issued is not None:
            (directory / f"{side}-cert.pem").write_bytes(issued.certificate_pem)
            key = directory / f"{side}-key.pem"
            key.touch(0o600)
            key.write_bytes(issued.key_pem)
    return directory
