"""What keeps QEMU's ccid-card-emulated, and libcacard in it, from making a card of NSS certificates. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from virtcard.domain.finding import Finding, Severity
from virtcard.domain.setup import NSS_DATABASE, Mode, ReaderSetup
from virtcard.limits import EMULATED_CARD_MAX

CERTIFICATES: Final = 3

_ARGUMENTS: Final = 'db="{}" use_hw=no soft=(,Virtual Reader,CAC,,{},{},{})'
"""What ccid-card-emulated.c tells libcacard (CERTIFICATES_ARGS_TEMPLATE)."""
_NO_NAME: Final = frozenset(",)")
"""libcacard ends a nickname there (vcard_emul_nss.c, NEXT_TOKEN)."""


@dataclass(frozen=True, slots=True)
class NssFacts:
    """What the host knows of the NSS database that QEMU will read."""

    exists: bool = True
    asked: bool = True
    """certutil could be asked for the certificates."""
    missing: tuple[str, ...] = ()
    """Nicknames that are not in it."""
    unreadable: tuple[str, ...] = ()
    """Paths that QEMU's user cannot read, the directories above it among them."""
    user: str = ""
    """QEMU's user, "" for one's own."""


def certificate_findings(setup: ReaderSetup) -> Iterator[Finding]:
    """What is wrong with the certificates and the database as they were named."""
    if setup.mode is not Mode.HOST_CERTIFICATES:
        return
    names, database = setup.certificates, setup.database or NSS_DATABASE
    if len(names) != CERTIFICATES:
        yield _error(
            "certificates-three",
            f"The mode host-certificates takes exactly three certificates, not {len(names)}.",
            "Name three of the NSS database; one may be named more than once.",
        )
    yield from (_bad_name(name) for name in names if not _is_nickname(name))
    if not database.startswith("/") or '"' in database or not database.isprintable():
        yield _error(
            "nss-database-path",
            f"{_shown(database)} is not an absolute directory that QEMU can be told.",
            "Give the whole path, without quotation marks and control characters.",
        )
    yield from _length(names, database)


def nss_findings(setup: ReaderSetup, nss: NssFacts) -> Iterator[Finding]:
    """What is wrong with the database as it is."""
    database = setup.database or NSS_DATABASE
    if not nss.exists:
        yield _error(
            "nss-database-missing",
            f"virtcard sees no NSS database in {database}, without which QEMU does not start.",
            f"Make one with certutil -N -d {database}; the system's virtcardd sees none in /home, /root and /tmp.",
        )
        return
    if nss.missing:
        yield _error(
            "certificate-missing",
            f"The NSS database {database} has no certificate {', '.join(map(_shown, nss.missing))}.",
            f"See certutil -L -d {database} for those that it has.",
        )
    if nss.unreadable:
        yield _error(
            "nss-database-unreadable",
            f"QEMU cannot read {nss.unreadable[0]}: it runs as {nss.user or 'you'}.",
            _mend(nss.unreadable[0], database.rstrip("/"), nss.user),
        )
    if not nss.asked:
        yield Finding(
            Severity.WARNING,
            "nss-database-unknown",
            f"virtcard could not look into the NSS database {database}.",
            "Install certutil (Debian: libnss3-tools; Fedora: nss-tools), and let virtcardd's user read the database.",
        )


def _mend(path: str, database: str, user: str) -> str:
    if not user:
        return "Mend its permissions."
    inside = path == database or path.startswith(f"{database}/")
    return f"Run setfacl -R -m u:{user}:rX {database}." if inside else f"Run setfacl -m u:{user}:rX {path}."


def _is_nickname(name: str) -> bool:
    return bool(name) and name.isprintable() and name == name.strip() and not _NO_NAME & set(name)


def _bad_name(name: str) -> Finding:
    return _error(
        "certificate-name",
        f"{_shown(name)} is not a certificate name that ccid-card-emulated can take.",
        "Rename it: no comma, no closing parenthesis, no blank at its ends.",
    )


def _length(names: tuple[str, ...], database: str) -> Iterator[Finding]:
    if len(names) != CERTIFICATES:
        return
    size = len(os.fsencode(_ARGUMENTS.format(database, *names)))
    if size > EMULATED_CARD_MAX:
        over = size - EMULATED_CARD_MAX
        yield _error(
            "certificates-long",
            f"The database's path and the certificate names are {over} bytes too long for ccid-card-emulated.",
            "Use a shorter path, or shorter names.",
        )


def _shown(text: str) -> str:
    return repr(text[:64])


def _error(code: str, message: str, hint: str) -> Finding:
    return Finding(Severity.ERROR, code, message, hint)
