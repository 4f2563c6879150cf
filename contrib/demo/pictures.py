#!/usr/bin/env python3
"""The guide's pictures: what the tests of the desktop photographed, cut to what the text speaks of. `make pictures`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import gi

gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf  # noqa: E402 (after require_version)

Box = tuple[int, int, int, int]

TAKEN: Final = Path(__file__).parents[2] / ".cache/screenshots"
KEPT: Final = Path(__file__).parents[1] / "guide/pictures"
PICTURES: Final[dict[str, Box | None]] = {
    "shell-shared": (860, 0, 420, 520),
    "shell-question": (380, 0, 520, 170),
    "app-inserted": None,
    "app-activity": None,
}
"""Name -> left, top, width and height in pixels, or None for all of it."""


def main() -> int:
    KEPT.mkdir(exist_ok=True)
    for name, box in PICTURES.items():
        taken = TAKEN / f"{name}.png"
        if not taken.is_file():
            print(f"pictures: there is no {taken}; run 'make pictures', which takes it first", file=sys.stderr)
            return 1
        picture = GdkPixbuf.Pixbuf.new_from_file(str(taken))
        cut = picture.new_subpixbuf(*box) if box else picture
        cut.savev(str(KEPT / f"{name}.png"), "png", ["compression"], ["9"])
        print(f"pictures: {KEPT.name}/{name}.png, {cut.get_width()} x {cut.get_height()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
