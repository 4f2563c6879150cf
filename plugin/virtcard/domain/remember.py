"""Writes what enable must remember into a domain's metadata."""

from __future__ import annotations

from dataclasses import replace

from lxml import etree

from virtcard.domain.place import add_to_head, nest, remove
from virtcard.domain.render import Renderer
from virtcard.domain.saved import Saved, read_saved, saved_element
from virtcard.domain.xmlfile import Document, verbatim


def put_saved(document: Document, saved: Saved, renderer: Renderer) -> None:
    """Write the memory; one that was left over from an earlier enable is overwritten."""
    root = document.root
    old = saved_element(root)
    if old is not None:
        _overwrite(document, old, saved, renderer)
    elif saved.needed and (parent := root.find("./metadata")) is not None:
        document.append(parent, _memory(saved, renderer))
    elif saved.needed:
        piece = _memory(replace(saved, absent=saved.absent | {"metadata"}), renderer)
        add_to_head(document, nest("<metadata>", [piece], "</metadata>"))


def _overwrite(document: Document, old: etree._Element, saved: Saved, renderer: Renderer) -> None:
    created = read_saved(document, old).absent & {"metadata"}
    if saved.needed:
        document.replace(old, _memory(replace(saved, absent=saved.absent | created), renderer))
    else:
        remove(document, [old], created=bool(created))


def _memory(saved: Saved, renderer: Renderer) -> str:
    """The element of the memory, in which the remembered elements keep their own line breaks."""
    piece = renderer.saved(saved)
    for element in filter(None, (saved.smartcard, saved.controller)):
        piece = piece.replace(element, verbatim(element))
    return piece
