"""The one error of this package."""

from __future__ import annotations


class Malformed(ValueError):
    """Bytes that do not follow their standard. The sentence names the rule and never the bytes."""
