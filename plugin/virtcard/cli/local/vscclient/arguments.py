"""The command line of vscclient, and the grammar of its -e (vcard_emul_nss.c, vcard_emul_options).

-e holds words separated by blanks or commas: db="sql:DIR", use_hw=no|yes|removable, hw_type=CAC|PASSTHRU, hw_params=X,
nssemul, passthru, and soft=(SLOT,NAME,CAC,PARAMETERS,CERTIFICATE,...) once for each card.
"""

from __future__ import annotations

import getopt
import re
from dataclasses import dataclass, field, replace
from typing import Final

DATABASE: Final = "/etc/pki/nssdb"
"""Where libcacard looks when nobody says db=."""
CERTIFICATES_MAX: Final = 100
"""Times that -c may be given."""
VIRTUAL_READER: Final = "Virtual Reader"

USAGE: Final = """\
usage: vscclient [-e ARGS] [-c CERTIFICATE]... [-d LEVEL] [-p] [--reconnect] HOST PORT
  -e ARGS    db="sql:DIR" use_hw=no soft=(,NAME,CAC,,CERTIFICATE,CERTIFICATE,CERTIFICATE)
             or use_hw=yes, nssemul, passthru: the card in the first host reader
  -c NAME    a certificate of the card, by its nickname; at most 100 times
  -d LEVEL   more words, from 1 on
  -p         the card in the first host reader
  --reconnect  wait for QEMU, and for its return, in place of ending
Commands on standard input: insert, remove, select N, list, debug [N], exit."""

_WORD: Final = re.compile(
    r'(?P<name>[A-Za-z_]+)(?:=(?:"(?P<quoted>[^"]*)"|\((?P<list>[^()]*)\)|(?P<plain>[^\s,"()]*)))?(?=[\s,]|$)'
)
_NO: Final = ("0", "n", "N", "f", "F")
_HARDWARE_TYPES: Final = ("CAC", "PASSTHRU")
_PORT_MAX: Final = 65_535


class UsageError(Exception):
    """The command line is wrong; one sentence says why."""


@dataclass(frozen=True, slots=True)
class SoftReader:
    """One soft=(...): a card with these certificates, by nickname."""

    name: str
    certificates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emulation:
    """What -e says. `hardware` is None when it does not say."""

    database: str = DATABASE
    hardware: bool | None = None
    as_cac: bool = True
    """hw_type=CAC: libcacard would show the host's card as a CAC."""
    readers: tuple[SoftReader, ...] = ()


@dataclass(frozen=True, slots=True)
class Arguments:
    """The whole command line."""

    host: str
    port: int
    emulation: Emulation = field(default_factory=Emulation)
    debug: int = 0
    reconnect: bool = False

    @property
    def uses_hardware(self) -> bool:
        """The card in a host reader is meant: it was asked for, or there is no other."""
        return bool(self.emulation.hardware) or (self.emulation.hardware is None and not self.emulation.readers)


def parse(words: list[str]) -> Arguments:
    """The command line; UsageError when it is none."""
    try:
        options, rest = getopt.gnu_getopt(words, "e:c:d:p", ["reconnect"])
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg.capitalize()}.") from None
    if len(rest) != 2:
        raise UsageError("Name the host and the port of QEMU's chardev.")
    given = dict(options)
    emulation = parse_emulation(given.get("-e", ""))
    if certificates := tuple(value for option, value in options if option == "-c"):
        emulation = replace(emulation, readers=(*emulation.readers, _of_certificates(certificates)))
    if "-p" in given:
        emulation = replace(emulation, hardware=True, as_cac=False)
    return Arguments(rest[0], _port(rest[1]), emulation, _level(given.get("-d", "0")), "--reconnect" in given)


def parse_emulation(text: str) -> Emulation:
    """What -e says; UsageError for a word that it cannot hold."""
    found = Emulation()
    position = 0
    while position < len(text):
        if text[position] in ", \t\n":
            position += 1
            continue
        word = _WORD.match(text, position)
        if word is None:
            raise UsageError(f"'{text[position:]}' is not understood in -e.")
        found = _with_word(found, word)
        position = word.end()
    return found


def _with_word(so_far: Emulation, word: re.Match[str]) -> Emulation:
    quoted, listed, plain = word["quoted"], word["list"], word["plain"]
    match word["name"]:
        case "db" if quoted:
            return replace(so_far, database=quoted)
        case "use_hw" if plain:
            return replace(so_far, hardware=not plain.startswith(_NO))
        case "hw_type" if plain in _HARDWARE_TYPES:
            return replace(so_far, as_cac=plain == "CAC")
        case "hw_params" if plain is not None:
            return so_far
        case "nssemul" | "passthru" if quoted is listed is plain is None:
            return replace(so_far, hardware=True, as_cac=word["name"] == "nssemul")
        case "soft" if listed is not None:
            return replace(so_far, readers=(*so_far.readers, _soft_reader(listed)))
    raise UsageError(f"'{word[0]}' is not understood in -e." + (_DATABASE_HINT if word["name"] == "db" else ""))


_DATABASE_HINT: Final = ' The path stands in quotation marks: db="sql:DIR".'


def _soft_reader(listed: str) -> SoftReader:
    parts = [part.strip() for part in listed.split(",")]
    if len(parts) < 5 or parts[2] != "CAC":
        raise UsageError(f"soft=({listed}) is not (SLOT,NAME,CAC,PARAMETERS,CERTIFICATE,...).")
    certificates = tuple(part for part in parts[4:] if part)
    if not certificates:
        raise UsageError(f"soft=({listed}) names no certificate.")
    return SoftReader(parts[1] or VIRTUAL_READER, certificates)


def _of_certificates(nicknames: tuple[str, ...]) -> SoftReader:
    if len(nicknames) > CERTIFICATES_MAX:
        raise UsageError(f"-c may be given {CERTIFICATES_MAX} times.")
    return SoftReader(VIRTUAL_READER, nicknames)


def _port(untrusted: str) -> int:
    if not (untrusted.isascii() and untrusted.isdigit() and 0 < int(untrusted[:6]) <= _PORT_MAX):
        raise UsageError(f"'{untrusted}' is not a port.")
    return int(untrusted)


def _level(untrusted: str) -> int:
    if not (untrusted.isascii() and untrusted.isdigit() and len(untrusted) < 4):
        raise UsageError(f"'{untrusted}' is not a debug level.")
    return int(untrusted)
