"""Names of cards, and of persons on them. Pure."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
"""As Manager.CreateCard takes it."""


def is_name(text: str) -> bool:
    """A card can be called so."""
    return _NAME.fullmatch(text) is not None


def name_of(person: str) -> str:
    """A name for a card of this person; "" when nothing in theirs can be used."""
    return re.sub(r"[^a-z0-9]+", "-", person.lower()).strip("-")[:64].rstrip("-")


def subject_of(person: str) -> str:
    """The person as a distinguished name (RFC 4514, 2.4)."""
    escaped = re.sub(r'([,+"\\<>;=])', r"\\\1", person.strip())
    return "CN=" + (f"\\{escaped}" if escaped.startswith("#") else escaped)
