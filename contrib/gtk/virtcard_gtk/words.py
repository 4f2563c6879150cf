"""What a person reads, in the person's language."""

from __future__ import annotations

import gettext
import os
import unicodedata
from pathlib import Path
from typing import Final

DOMAIN: Final = "virtcard-gtk"
LOCALES: Final = os.environ.get("VIRTCARD_GTK_LOCALES") or str(Path(__file__).resolve().parents[2] / "locale")
"""Beside the folder that the application is installed in: /usr/share/virtcard-gtk, /usr/share/locale."""

_translation = gettext.translation(DOMAIN, LOCALES, fallback=True)
_ = _translation.gettext
_n = _translation.ngettext

TEXT_MAX: Final = 300


def line(untrusted_text: str) -> str:
    """A text from domain XML, a reader or a bus as one line, without control and direction characters."""
    text = "".join("\ufffd" if unicodedata.category(each)[0] == "C" else each for each in untrusted_text).strip()
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "\u2026"
