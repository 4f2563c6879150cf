"""The change of a domain XML as people read it."""

from __future__ import annotations

from difflib import unified_diff


def diff(before: str, after: str, name: str = "domain") -> str:
    """A unified diff with a line break at its end, or "" when nothing changes."""
    if before == after:
        return ""
    lines = unified_diff(before.splitlines(), after.splitlines(), f"{name}.xml", f"{name}.xml (changed)", lineterm="")
    return "".join(f"{line}\n" for line in lines)
