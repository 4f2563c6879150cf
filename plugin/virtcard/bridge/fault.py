"""Unexpected exceptions for the journal, without their text: it could hold APDU data."""

from __future__ import annotations

import traceback


def describe(error: BaseException) -> str:
    """The class of an exception and where it came from: files, lines and source, never a value."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__qualname__}\n{frames}"
