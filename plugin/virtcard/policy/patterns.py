"""Globs and AIDs: what a text must look like, and what it fits."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final
from uuid import UUID

from virtcard.limits import POLICY_PATTERN_MAX
from virtcard.policy.problem import Bad

_SOURCE: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*:.+", re.ASCII)
_ATR: Final = re.compile(r"(?:\*|[0-9A-Fa-f?]{2})(?::(?:\*|[0-9A-Fa-f?]{2}))*", re.ASCII)
_TAG: Final = re.compile(r"@[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
_AID: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){5,16}", re.ASCII)
_INSTRUCTION: Final = re.compile(r"[0-9A-Fa-fx]{2}(?:[0-9A-Fa-fx]{4})?", re.ASCII)


def fits(name: str, pattern: str) -> bool:
    """The very name, or a glob of it: readers are called "... [CCID Interface] 00 00", which a glob reads as a set."""
    return name == pattern or fnmatchcase(name, pattern)


def atr_text(atr: bytes) -> str:
    """An ATR as rules write it: "3B:F8:13"."""
    return atr.hex(":").upper()


def is_uuid(vm: str) -> bool:
    """The `vm` of a rule names a domain by its UUID."""
    return _UUID.fullmatch(vm) is not None


def vm(text: str) -> str:
    """A UUID in lower case, "@tag", or a glob of names."""
    try:
        return str(UUID(text)) if len(text) >= 32 else _vm_glob(text)
    except ValueError:
        return _vm_glob(text)


def _vm_glob(text: str) -> str:
    if text.startswith("@"):
        if not _TAG.fullmatch(text):
            raise Bad(f"{text[:32]!r} is not a tag.", "After the @ stand letters, digits and . _ - only, 64 at most.")
        return text
    return glob(text)


def source(text: str) -> str:
    """A glob of sources."""
    if not _SOURCE.fullmatch(text):
        raise Bad(f"{text[:32]!r} is no source of cards.", 'Write "reader:GLOB", "card:NAME", or "*" for every card.')
    return glob(text)


def glob(text: str) -> str:
    """Any glob but one that cannot be meant."""
    if not text or len(text) > POLICY_PATTERN_MAX or not text.isprintable():
        raise Bad("The pattern is empty, too long, or holds control characters.", "* fits everything.")
    if text.rfind("[") > text.rfind("]"):
        raise Bad(f"The [ in {text[:64]!r} is not closed.", "For a [ in a name write [[].")
    return text


def atr(text: str) -> str:
    """A glob of ATRs, in upper case."""
    if len(text) > POLICY_PATTERN_MAX or not _ATR.fullmatch(text):
        raise Bad(
            f"{text[:64]!r} is no pattern of an ATR.",
            'Write its bytes in hex with colons between; ?? is any byte and * the rest: "3B:F8:*".',
        )
    return text.upper()


def user(text: str) -> str:
    """The name of a user."""
    if not text or len(text) > POLICY_PATTERN_MAX or not text.isprintable() or set(text) & set("*?[]:/ "):
        raise Bad(f"{text[:32]!r} is no user's name.", "Names are written out: a rule has no patterns for users.")
    return text


def aid(text: str) -> str:
    """A prefix of an AID, in upper case."""
    if not _AID.fullmatch(text):
        raise Bad(f"{text[:32]!r} is not an AID.", 'Write 5 to 16 bytes in hex, or "other".')
    return text.upper()


def instruction(text: str) -> str:
    """INS, or INS P1 P2, in upper case but for x."""
    if not _INSTRUCTION.fullmatch(text):
        raise Bad(
            f"{text[:32]!r} is no command.",
            'Write INS, or INS P1 P2, in hex, with x for any digit: "87", "20xx80".',
        )
    return text.upper().replace("X", "x")


def is_suspicious(pattern: str) -> bool:
    """It has a set with a space, which rather is a part of a reader's name."""
    return any(" " in each for each in re.findall(r"\[([^]]*)\]", pattern))
