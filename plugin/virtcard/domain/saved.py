"""What enable remembers in a domain's metadata, so that disable leaves the XML as it was found.

The element has a namespace of its own, since `virsh metadata --set` overwrites the whole element of the wish.
A domain that had neither a smart card nor a CCID controller needs none, when a bridge's reader was put in: that is
known by its socket. Any other device is remembered, so that one that a user made is never taken for ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from virtcard.domain.xmlfile import Document
from virtcard.names import SAVED_NAMESPACE

TAG: Final = f"{{{SAVED_NAMESPACE}}}saved"
PUT: Final = f"{TAG}/{{{SAVED_NAMESPACE}}}put"
"""From the metadata to the copy of the device that enable put in."""

_CREATED: Final = ("devices", "metadata")


@dataclass(frozen=True, slots=True)
class Saved:
    """Elements verbatim, with their addresses; `absent` names what was not there: "devices", "metadata"."""

    smartcard: str = ""
    """The smart card device that ours replaced."""
    controller: str = ""
    """The CCID controller 0 that was there before ours was needed."""
    absent: frozenset[str] = frozenset()
    put: str = ""
    """The smart card device that we put in, when it does not say so itself."""

    @property
    def needed(self) -> bool:
        """There is something to remember."""
        return bool(self.smartcard or self.controller or self.absent or self.put)


def saved_element(root: etree._Element) -> etree._Element | None:
    """Our memory in a domain's metadata, or None."""
    return root.find(f"./metadata/{TAG}")


def read_saved(document: Document, element: etree._Element | None) -> Saved:
    """The record of a `<saved>` element; the empty one for None. Unknown parts are left out."""
    if element is None:
        return Saved()
    words = element.get("absent", "").split()
    return Saved(
        smartcard=_child(document, element, "smartcard"),
        controller=_child(document, element, "controller"),
        absent=frozenset(word for word in words if word in _CREATED),
        put=_child(document, element, f"{{{SAVED_NAMESPACE}}}put/smartcard"),
    )


def _child(document: Document, element: etree._Element, name: str) -> str:
    child = element.find(name)
    return "" if child is None else document.source(child)
