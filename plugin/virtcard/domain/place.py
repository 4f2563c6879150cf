"""Where elements go in a domain XML, and what goes with them."""

from __future__ import annotations

from typing import Final

from lxml import etree

from virtcard.domain.xmlfile import Document

_HEAD: Final = ("name", "uuid", "genid", "title", "description")


def nest(start: str, pieces: list[str], end: str) -> str:
    """Elements inside a new one, a level deeper."""
    lines = [f"  {line}" for piece in pieces for line in piece.split("\n")]
    return "\n".join([start, *lines, end])


def add_to_head(document: Document, piece: str) -> None:
    """Where libvirt writes it: behind name, UUID, title and description."""
    head = [element for element in document.root if element.tag in _HEAD]
    if head:
        document.insert_after(head[-1], piece)
    else:
        document.append(document.root, piece)


def remove(document: Document, elements: list[etree._Element], *, created: bool) -> None:
    """Remove elements, and their parent when we had created it and nothing else is in it now."""
    parent = elements[0].getparent() if elements else None
    if created and parent is not None and _holds_only(parent, elements):
        document.remove(parent)
        return
    for element in elements:
        document.remove(element)


def _holds_only(parent: etree._Element, elements: list[etree._Element]) -> bool:
    texts = [parent.text, *(child.tail for child in parent)]
    return all(child in elements for child in parent) and not any(text and text.strip() for text in texts)
