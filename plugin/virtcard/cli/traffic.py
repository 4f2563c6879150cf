"""The counters of bridges in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def traffic(counts: Mapping[str, Any]) -> str:
    """How many APDUs, and of what went wrong what there was: "12 APDUs, 1 wrong PIN"."""
    parts = [
        counted(counts["apdus"], "APDU"),
        *([f"{counts['refused']} refused"] if counts["refused"] else []),
        *([counted(counts["pin_failures"], "wrong PIN")] if counts["pin_failures"] else []),
        *([counted(counts["errors"], "card error")] if counts.get("errors") else []),
    ]
    return ", ".join(parts)


def commands(counts: Mapping[str, int]) -> str:
    """The commands by name, the most frequent first: "GET DATA 9, SELECT 2"."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def counted(number: int, noun: str) -> str:
    """ "1 APDU", "2 APDUs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
