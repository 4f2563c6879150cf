"""`python contrib/man/reference.py`: write contrib/guide/dbus.md, the D-Bus reference, anew out of dbus/*.xml."""

from __future__ import annotations

from pathlib import Path

from man_pages import HOUSE, describe_interfaces
from markdown_page import Document

TARGET = HOUSE / "contrib/guide/dbus.md"
NOTE = "This file is made of the comments in [dbus](../../dbus) by `python contrib/man/reference.py`: change those."


def reference() -> str:
    """The text of the reference."""
    document = Document("D-Bus reference")
    document.text(NOTE)
    describe_interfaces(document)
    return str(document)


def write(target: Path = TARGET) -> None:
    """Put it where it belongs."""
    target.write_text(reference())


if __name__ == "__main__":
    write()
