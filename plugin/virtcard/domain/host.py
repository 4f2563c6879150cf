"""Looks at this host: the files that QEMU will need. Blocking, and the one place of the checks that is not pure."""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from virtcard.domain.emulated import NssFacts
from virtcard.domain.setup import NSS_DATABASE, Mode, ReaderSetup, Role
from virtcard.domain.spiceserver import spice_subtypes
from virtcard.domain.uri import Instance, LibvirtUri
from virtcard.limits import CERTUTIL_PATIENCE, NSS_DATABASE_MAX

QEMU_USERS: Final = ("libvirt-qemu", "qemu")
"""Who the system's QEMU runs as: Debian's name, and Fedora's."""
SYSTEM_CONF: Final = Path("/etc/libvirt/qemu.conf")
PKI: Final = Path("/etc/pki")

_NSS_FILES: Final = ("cert9.db", "key4.db", "pkcs11.txt")
_TLS_FILES: Final = {Role.BIND: ("ca-cert.pem", "server-cert.pem", "server-key.pem"), Role.CONNECT: ("ca-cert.pem",)}
"""QEMU's names (docs/system/tls.rst); a client's own certificate is wanted by some servers only."""
_OWN_FILES: Final = ("client-cert.pem", "client-key.pem")
"""What `virtcard listen` wants to see."""
_SETTING: Final = re.compile(r'^\s*(\w+)\s*=\s*"([^"]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class QemuHost:
    """How libvirt runs QEMU here: its user, "" for our own, and libvirt's qemu.conf, which only root may read."""

    user: str = ""
    conf: Path = SYSTEM_CONF


@dataclass(frozen=True, slots=True)
class HostFiles:
    """What was seen. `nss` is None when QEMU needs no NSS database, `spice_subtypes` when it needs no SPICE."""

    nss: NssFacts | None = None
    tls_missing: tuple[str, ...] = ()
    tls_unshown: tuple[str, ...] = ()
    spice_subtypes: tuple[str, ...] | None = None


def qemu_host(uri: LibvirtUri, environ: Mapping[str, str]) -> QemuHost:
    """For the QEMUs of a libvirt connection."""
    if uri.instance is Instance.SYSTEM:
        return QemuHost(next(filter(_exists, QEMU_USERS), ""), SYSTEM_CONF)
    config = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/"), ".config"))
    return QemuHost("", Path(config, "libvirt/qemu.conf"))


def look(setup: ReaderSetup, host: QemuHost) -> HostFiles:
    """What a reader of this setup needs, and whether it is there."""
    nss = nss_facts(setup.database or NSS_DATABASE, setup.certificates, host.user) if setup.mode.in_qemu else None
    spice = spice_subtypes() if setup.mode is Mode.SPICE else None
    if not setup.tls:
        return HostFiles(nss, spice_subtypes=spice)
    return HostFiles(nss, tls_missing(setup.role, host.conf), tls_unshown(setup.role, host.conf), spice)


def nss_facts(database: str, certificates: tuple[str, ...], user: str = "") -> NssFacts:
    """What stands in an NSS database, and whether `user` can read it."""
    directory = Path(database)
    try:
        if not stat.S_ISREG((directory / _NSS_FILES[0]).stat().st_mode):
            return NssFacts(exists=False, user=user)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return NssFacts(exists=False, user=user)
    except OSError:
        return NssFacts(asked=False, user=user)
    missing = _missing(directory, certificates)
    return NssFacts(
        asked=missing is not None, missing=missing or (), unreadable=tuple(_unreadable(directory, user)), user=user
    )


def tls_missing(role: Role, conf: Path, pki: Path = PKI) -> tuple[str, ...]:
    """The files that libvirt makes QEMU read for TLS and that are not there; what cannot be seen counts as there."""
    return _absent(_TLS_FILES[role], conf, pki)


def tls_unshown(role: Role, conf: Path, pki: Path = PKI) -> tuple[str, ...]:
    """The files that are not there and without which QEMU calls as nobody."""
    return _absent(_OWN_FILES, conf, pki) if role is Role.CONNECT else ()


def _absent(names: tuple[str, ...], conf: Path, pki: Path) -> tuple[str, ...]:
    directory = tls_directory(conf, pki)
    return tuple(str(directory / name) for name in names if _is_missing(directory / name))


def tls_directory(conf: Path, pki: Path = PKI) -> Path:
    """Where libvirt has it, in its own order (qemu_conf.c, virQEMUDriverConfigSetDefaults)."""
    said: dict[str, str] = {}
    with suppress(OSError, UnicodeDecodeError):
        said = dict(_SETTING.findall(conf.read_text()))
    if chosen := said.get("chardev_tls_x509_cert_dir"):
        return Path(chosen)
    own = pki / "libvirt-chardev"
    return own if own.is_dir() else Path(said.get("default_tls_x509_cert_dir") or pki / "qemu")


def _missing(directory: Path, certificates: tuple[str, ...]) -> tuple[str, ...] | None:
    """The certificates that are not there, by certutil's exit codes; None when certutil cannot tell.

    certutil loads every PKCS#11 library that a database's pkcs11.txt names. We look on behalf of others, so it gets a
    database of our own with their certificates in it."""
    try:
        with tempfile.TemporaryDirectory(prefix="virtcard-") as copy:
            _certutil(copy, "-N", "--empty-password")
            Path(copy, _NSS_FILES[0]).write_bytes(_read(directory / _NSS_FILES[0]))
            if _certutil(copy, "-L"):
                return None
            return tuple(name for name in dict.fromkeys(certificates) if _certutil(copy, "-L", "-n", name))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _read(path: Path) -> bytes:
    """The whole file; OSError for one that is no ordinary file, or too large."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > NSS_DATABASE_MAX:
            raise OSError(errno.EFBIG, "not an NSS database", str(path))
        return file.read(NSS_DATABASE_MAX)


def _certutil(directory: str, *arguments: str) -> int:
    return subprocess.run(
        ["certutil", "-d", directory, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=CERTUTIL_PATIENCE,
        check=False,
    ).returncode


def _unreadable(directory: Path, user: str) -> Iterator[str]:
    place = directory.resolve()
    files = [place / name for name in _NSS_FILES]
    for path in [*reversed(place.parents), place, *(file for file in files if file.exists())]:
        if not _may(path, user):
            yield str(path)


def _may(path: Path, user: str) -> bool:
    """Read a file, or pass a directory. An ACL is believed to be there for a reason."""
    wanted = os.X_OK if path.is_dir() else os.R_OK
    if not user:
        return os.access(path, wanted)
    try:
        about = path.stat()
        if "system.posix_acl_access" in os.listxattr(path):
            return True
    except OSError:
        return True
    who = pwd.getpwnam(user)
    shift = 6 if about.st_uid == who.pw_uid else 3 if about.st_gid in os.getgrouplist(user, who.pw_gid) else 0
    return bool(about.st_mode >> shift & wanted)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
