"""Packages of third parties, as pip leaves them: a module, and beside it what its entry points are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path

FLOPPY = """
from virtcard.errors import NoSuchCard

class Floppy:
    transmission = 0
    def __init__(self, name): self.name = name
    def power_on(self): return bytes([0x3B, len(self.name)]) + self.name.encode()
    def transmit(self, command): return bytes.fromhex("9000")
    reset = power_on
    def power_off(self): pass
    def listen(self, listener): pass

class Source:
    def __init__(self, surroundings): self.session = surroundings.session
    def open(self, rest):
        if rest == "none": raise NoSuchCard("There is no such floppy.")
        if rest == "broken": raise KeyError(rest)
        return None if rest == "nothing" else Floppy(rest)
"""
"""A source whose cards have their names in the ATR."""


def plugin(site: Path, scheme: str, code: str = FLOPPY, *, package: str = "", value: str = "Source") -> str:
    """Install a package that registers a source in a folder for `sys.path`; its name."""
    package = package or f"virtcard-{scheme}"
    module = package.replace("-", "_")
    (site / f"{module}.py").write_text(code)
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[virtcard.sources]\n{scheme} = {module}:{value}\n")
    return package


@contextmanager
def on_path(site: Path) -> Iterator[Path]:
    """The folder on `sys.path`; afterwards, what was loaded from it is forgotten."""
    before = set(sys.modules)
    sys.path.insert(0, str(site))
    invalidate_caches()
    try:
        yield site
    finally:
        sys.path.remove(str(site))
        for name in set(sys.modules) - before:
            if str(site) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]
