"""TLS with the files of QEMU and libvirt: one directory has the authority, a certificate and key for each side, and
what was revoked."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Final, NoReturn, Protocol, cast

from virtcard import limits
from virtcard.errors import Failed

PLACES: Final = (
    Path("~/.pki/virtcard"),
    Path("/etc/pki/virtcard"),
    Path("/etc/pki/libvirt-chardev"),
    Path("/etc/pki/qemu"),
)
"""Where the files are looked for; the last two are where libvirt has them for QEMU's character devices."""

_VERDICTS: Final = {
    3: "cannot be judged, since the list of revoked certificates is of another authority",
    9: "is not valid yet",
    10: "has expired",
    11: "cannot be judged, since the list of revoked certificates is not valid yet",
    12: "cannot be judged, since the list of revoked certificates has expired",
    18: "is of no authority that we trust",
    19: "is of no authority that we trust",
    20: "is of no authority that we trust",
    21: "is of no authority that we trust",
    23: "was revoked",
    26: "is for another purpose",
    62: "is for another host name",
    64: "is for another IP address",
}
"""By the numbers of openssl-verification-options(1), X509_V_ERR_*."""


_NAMES: Final = frozenset({"commonName", "DNS", "IP Address"})
"""What the ssl module calls them."""


class Side(StrEnum):
    """Who calls is the client; the name is also the beginning of the names of its files."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        """The one at the other end."""
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. Without a certificate a client is nobody; `revoked` is a CRL."""

    authority: Path
    certificate: Path | None = None
    key: Path | None = None
    revoked: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How an endpoint is secured: the directory of the files, and the name in the server's certificate, "" when it is
    that of the endpoint. The files are read for every connection, so that new ones take effect."""

    directory: Path
    hostname: str = ""
    peers: tuple[str, ...] = ()
    """Globs of the names of who may call; without any, everybody with a certificate of the authority."""

    def context(self, side: Side) -> ssl.SSLContext:
        """For one connection; Failed with a sentence about the file that is wrong."""
        return make_context(side, find_files(self.directory, side))


class Security(Protocol):
    """How a call is secured: with what, and for which name of the server, "" when it is that of the endpoint."""

    @property
    def hostname(self) -> str:
        """The name in the server's certificate."""

    def context(self, side: Side) -> ssl.SSLContext:
        """For one connection."""


def default_directory() -> Path:
    """The first of PLACES that is there, or else the first for root and the first for anybody else."""
    places = [place.expanduser() for place in PLACES]
    return next((place for place in places if place.is_dir()), places[1] if os.geteuid() == 0 else places[0])


def find_files(directory: Path, side: Side) -> TlsFiles:
    """By QEMU's names (docs/system/tls.rst), or libvirt's own (virnettlscontext.c)."""
    certificate = _either(directory, f"{side}-cert.pem", f"{side}cert.pem")
    key = _either(directory, f"{side}-key.pem", f"{side}key.pem")
    revoked = _either(directory, "ca-crl.pem", "cacrl.pem")
    anonymous = side is Side.CLIENT and not _is_there(certificate) and not _is_there(key)
    return TlsFiles(
        _either(directory, "ca-cert.pem", "cacert.pem"),
        None if anonymous else certificate,
        None if anonymous else key,
        revoked if _is_there(revoked) else None,
    )


def make_context(side: Side, files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later; the other end must have a certificate of the authority that is not revoked. Failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if side is Side.CLIENT else ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if side is Side.SERVER:
        context.num_tickets = 0  # each connection is a handshake of its own
        context.verify_mode = ssl.CERT_REQUIRED
    _load(context, files.authority)
    if files.revoked is not None:
        _load(context, files.revoked)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if files.certificate is not None and files.key is not None:
        _load_own(context, files.certificate, files.key)
    return context


def check_own(settings: TlsSettings, side: Side) -> None:
    """Judge our own certificate as the other end will, with our authority and list; Failed with a sentence."""
    files = find_files(settings.directory, side)
    own = make_context(side, files)
    if files.certificate is None:
        return
    own.check_hostname = False
    own.verify_mode = ssl.CERT_NONE
    judge = make_context(side.other, files)
    judge.check_hostname = False
    try:
        _meet(own, judge, side)
    except ssl.SSLError as error:
        raise Failed(f"The certificate {files.certificate} {verdict(error)}.", hint="Make a new one.") from None


def verdict(error: ssl.SSLError) -> str:
    """What is wrong with a certificate, as the end of a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _VERDICTS:
        return _VERDICTS[error.verify_code]
    return f"is not accepted ({reason(error)})"


def names(certificate: Mapping[str, object]) -> tuple[str, ...]:
    """Whom a certificate is for, in Python's form of it: its common names, its DNS names and its addresses."""
    subject = chain.from_iterable(cast("Iterable[Iterable[tuple[str, str]]]", certificate.get("subject", ())))
    others = cast("Iterable[tuple[str, str]]", certificate.get("subjectAltName", ()))
    found = [value for key, value in chain(subject, others) if key in _NAMES]
    return tuple(dict.fromkeys(found))


def reason(error: ssl.SSLError) -> str:
    """OpenSSL's own few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return (error.reason or "no reason given").replace("_", " ").lower()


def _meet(own: ssl.SSLContext, judge: ssl.SSLContext, side: Side) -> None:
    """A handshake in memory; the first error of either end, which is the judge's: it speaks before we hear of it."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        judge.wrap_bio(there, here, server_side=side is Side.CLIENT),
        own.wrap_bio(here, there, server_side=side is Side.SERVER),
    ]
    for _ in range(4):  # flights of the longest handshake, TLS 1.2's
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()


def _either(directory: Path, qemu: str, libvirt: str) -> Path:
    return directory / (libvirt if _is_there(directory / libvirt) and not _is_there(directory / qemu) else qemu)


def _is_there(path: Path) -> bool:
    """What cannot be seen counts as there: opening it tells why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _load(context: ssl.SSLContext, path: Path) -> None:
    _check(path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise Failed(f"{path} is no PEM file of a certificate or a list of revoked ones.") from None
    except OSError as error:
        _unreadable(path, error)


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _check(certificate)
    if _check(key).st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise Failed(f"The private key {key} is open to others.", hint=f"Close it: chmod 600 {key}")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Failed(f"The key {key} does not belong to the certificate {certificate}.") from None
        raise Failed(f"{certificate} and {key} are not a certificate and its key in PEM ({reason(error)}).") from None
    except OSError as error:
        _unreadable(key, error)


def _no_password() -> NoReturn:
    raise Failed("The private key is protected by a password.", hint="Use a key without one, in a file with mode 600.")


def _check(path: Path) -> os.stat_result:
    """A file of ordinary kind and size, before OpenSSL reads it whole."""
    try:
        about = path.stat()
    except OSError as error:
        _unreadable(path, error)
    if not stat.S_ISREG(about.st_mode) or about.st_size > limits.TLS_FILE_MAX:
        raise Failed(f"{path} is no PEM file.")
    return about


def _unreadable(path: Path, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        raise Failed(
            f"{path} is missing, without which there is no TLS.",
            hint="Put it there, or name another directory with --pki; the names are those of QEMU's manual.",
        ) from None
    raise Failed(f"{path} cannot be read: {error.strerror or 'unknown error'}.") from None
