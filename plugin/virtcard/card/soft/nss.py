"""NSS databases: certificates and keys out of one, and a new one with the three certificates of QEMU's manual.

All of it is done by NSS's own certutil and pk12util; what is read of their work is the exit code, DER and PKCS #12.
They see a copy of certificates and keys without pkcs11.txt, so that no library that a database names is loaded.
Passwords go through files (0600). All that is in a private directory in memory, which is gone a moment later.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from virtcard.card.soft.ca import parse_subject
from virtcard.card.soft.material import Material, load_pkcs12
from virtcard.errors import Failed, InvalidArgument
from virtcard.limits import NSS_LONG_PATIENCE, NSS_PATIENCE

NICKNAMES: Final = ("id-cert", "signing-cert", "encryption-cert")
"""The three certificates of the QEMU manual's smart card chapter, in the order of a CAC's applets."""
AUTHORITY: Final = "fake-smartcard-ca"

FILES: Final = ("cert9.db", "key4.db")
PASSWORD: Final = "password"  # noqa: S105 (a file's name)

_LOCKED_SENTENCE: Final = "The password does not open the NSS database in {}."
_LOCKED: Final = 13
"""Exit code of pk12util: the password does not open the database (pk12util.h, PK12UERR_PK11GETSLOT)."""
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (a private directory is made in it)
_NOISE_BYTES: Final = 256
_SUFFIXES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("", ()),
    (" (signing)", ("--nsCertType", "smime")),
    (" (encryption)", ("--nsCertType", "sslClient")),
)


class WrongPassword(InvalidArgument):
    """The password does not open the database."""


def find_database(untrusted: str) -> Path:
    """The directory of a database, given as certutil takes it: DIR or sql:DIR."""
    kind, colon, rest = untrusted.partition(":")
    if not colon or "/" in kind:
        kind, rest = "sql", untrusted
    if kind != "sql":
        raise InvalidArgument(f"NSS databases of the kind '{kind}:' are not read.", hint="Write sql:DIRECTORY.")
    directory = Path(rest)
    if not all((directory / file).is_file() for file in FILES):
        raise Failed(
            f"There is no NSS database in {directory}.",
            hint="It has the files cert9.db and key4.db; certutil -N -d sql:DIRECTORY makes one.",
        )
    return directory.absolute()


def read_certificate(directory: Path, nickname: str) -> bytes:
    """The certificate of that nickname, in DER; no password is needed. Failed when it is not there."""
    with _private() as folder:
        done = _run("certutil", "-L", "-r", "-d", _copied(directory, folder), "-n", nickname)
    if done.returncode:
        raise _missing(directory, nickname)
    return done.stdout


def read_materials(
    directory: Path, nicknames: Sequence[str], password: bytes, patience: float = NSS_PATIENCE
) -> tuple[Material, ...]:
    """Certificates with their keys. WrongPassword, or Failed for one that is not there or has no key.

    `patience` is seconds for each."""
    if not _fits(password):
        raise WrongPassword(_LOCKED_SENTENCE.format(directory))
    with _private() as folder:
        _put(folder / PASSWORD, password + b"\n")
        copied = _copied(directory, folder)
        return tuple(_material(directory, nickname, copied, folder, patience) for nickname in nicknames)


def import_nss(database: str, nicknames: Sequence[str], password: bytes) -> tuple[Material, ...]:
    """`read_materials` of a database as a person names it, with every mistake told: what a card is made from."""
    directory = find_database(database)
    for nickname in nicknames:
        read_certificate(directory, nickname)
    return read_materials(directory, nicknames, password, NSS_LONG_PATIENCE)


def opens_without_password(directory: Path, nickname: str) -> bool:
    """Nobody set a password for the database."""
    try:
        read_materials(directory, (nickname,), b"")
    except WrongPassword:
        return False
    return True


def create_nss(directory: Path, subject: str, password: bytes) -> None:
    """Make a database with an authority and the three certificates, as QEMU's manual does by five certutil calls.

    `subject` is a distinguished name (CN=John Doe); the directory is made, 0700. Failed when there is a database
    already, InvalidArgument for a subject without a CN.
    """
    name = parse_subject(subject)
    if not name.get_attributes_for_oid(NameOID.COMMON_NAME):
        raise InvalidArgument("The subject has no common name.", hint="Write for example CN=John Doe.")
    if not _fits(password):
        raise InvalidArgument("A password of an NSS database is one line.")
    if any((directory / file).exists() for file in FILES):
        raise Failed(f"There is an NSS database in {directory} already.", hint="Choose another directory.")
    with _private() as folder:
        made = folder / "made"
        made.mkdir()
        _put(folder / PASSWORD, password + b"\n")
        for words in _creation(name, folder):
            place = ("-d", f"sql:{made}", "-f", str(folder / PASSWORD))
            done = _run("certutil", words[0], *place, *words[1:], patience=NSS_LONG_PATIENCE)
            if done.returncode:
                raise Failed("certutil could not make an NSS database.", hint="Look at the subject's spelling.")
        _place(made, directory)


def _fits(password: bytes) -> bool:
    """NSS takes the first line of a password file, so nobody can have set any other password by one."""
    return not any(end in password for end in (b"\n", b"\r", b"\0"))


def _place(made: Path, directory: Path) -> None:
    """Only a whole database comes to its place."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in made.iterdir():
            _put(directory / file.name, file.read_bytes())
    except OSError as error:
        for file in made.iterdir():
            with suppress(OSError):
                (directory / file.name).unlink()
        raise Failed(f"Cannot write the NSS database to {directory}: {error.strerror}.") from error


def _creation(name: x509.Name, folder: Path) -> Iterator[tuple[str, ...]]:
    yield ("-N",)
    noise = folder / "noise"
    authority = ("-x", "-t", "TC,TC,TC", "-s", "CN=Fake Smart Card CA", "-n", AUTHORITY)
    issued = (
        ("-t", ",,", "-s", _suffixed(name, suffix), *kind, "-n", nickname, "-c", AUTHORITY)
        for nickname, (suffix, kind) in zip(NICKNAMES, _SUFFIXES, strict=True)
    )
    for number, words in enumerate((authority, *issued), 1):
        _put(noise, os.urandom(_NOISE_BYTES))
        yield ("-S", "-m", str(number), "-z", str(noise), *words)


def _suffixed(name: x509.Name, suffix: str) -> str:
    parts = [
        x509.NameAttribute(part.oid, f"{part.value!s}{suffix}") if part.oid == NameOID.COMMON_NAME else part
        for part in name
    ]
    return x509.Name(parts).rfc4514_string()


def _material(directory: Path, nickname: str, copied: str, folder: Path, patience: float) -> Material:
    target, once = folder / "exported", folder / "once"
    password = secrets.token_hex(32).encode()
    _put(once, password)
    place = ("-d", copied, "-k", str(folder / PASSWORD))
    words = ("-o", str(target), "-n", nickname, *place, "-w", str(once), "-c", "AES-256-CBC")
    done = _run("pk12util", *words, patience=patience)
    if done.returncode == _LOCKED:
        raise WrongPassword(_LOCKED_SENTENCE.format(directory))
    if done.returncode or not target.is_file():
        raise _missing(directory, nickname, "a certificate with a private key called")
    content = target.read_bytes()
    target.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # NSS writes BER, and cryptography tells everybody
        return load_pkcs12(content, password)


def _copied(directory: Path, folder: Path) -> str:
    """A copy, as certutil's -d takes it."""
    copy = folder / "copy"
    copy.mkdir(mode=0o700)
    try:
        for file in FILES:
            shutil.copyfile(directory / file, copy / file)
    except OSError as error:
        raise Failed(f"Cannot read the NSS database in {directory}: {error.strerror}.") from error
    return f"sql:{copy}"


def _run(program: str, *words: str, patience: float = NSS_PATIENCE) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [program, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=patience
        )
    except FileNotFoundError:
        raise Failed(
            f"{program} is not installed.", hint="Install libnss3-tools (Debian) or nss-tools (Fedora)."
        ) from None
    except (OSError, subprocess.TimeoutExpired):
        raise Failed(f"{program} does not run, or does not come to an end.") from None


@contextmanager
def _private() -> Iterator[Path]:
    """A directory for passwords and keys, in memory where that is possible."""
    try:
        with tempfile.TemporaryDirectory(prefix="virtcard-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            yield Path(folder)
    except OSError as error:
        raise Failed(
            f"Cannot use a temporary directory: {error.strerror}.", hint="Make room, and try again."
        ) from error


def _put(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _missing(directory: Path, nickname: str, what: str = "a certificate called") -> Failed:
    return Failed(
        f"The NSS database in {directory} does not have {what} {nickname!r}.",
        hint=f"certutil -L -d sql:{directory} lists its certificates.",
    )
