"""The per-VM wish in the domain's metadata: which card its reader shall hold.

    virsh metadata VM --uri https://virtcard.org/xmlns/domain/1 --key virtcard --set "<vm card='reader:Yubico*'/>"

A wish is never a permission: whoever may define the domain can write it, and clones copy it. The same element may carry
tags='work banking', by which the rules of a policy may name domains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lxml import etree

from virtcard.domain import xmlfile
from virtcard.domain.finding import Finding, Severity
from virtcard.domain.render import Renderer
from virtcard.errors import InvalidArgument
from virtcard.names import WISH_NAMESPACE

SOURCE_MAX: Final = 256
"""Characters of a source: a PC/SC reader name has 127 at most, the rest is patience."""

_WISHES_KEPT: Final = 8
"""XML texts whose wish is remembered: one look at a domain reads its two again and again."""

TAGS_MAX: Final = 32
"""Tags of a domain: rules look for one of them, and people read them."""

_SOURCE: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?P<rest>.+)", re.ASCII)
_CARD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HINT: Final = "Write reader:GLOB for the card in a host reader, or card:NAME for a software card."
_SET: Final = "Set it with virsh metadata VM --uri {uri} --key virtcard --set '<vm card=\"reader:NAME*\"/>'."


@dataclass(frozen=True, slots=True)
class Wish:
    """What the metadata asks for: a card source, or "". `findings` tell of what was not understood."""

    card: str
    tags: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()


def check_source(untrusted_text: str) -> str:
    """The text when it is a card source, `scheme:rest`; else InvalidArgument. Whether it exists is not asked."""
    shown = untrusted_text[:64]
    if len(untrusted_text) > SOURCE_MAX or not untrusted_text.isprintable():
        raise InvalidArgument(f"{shown!r} is too long or holds control characters for a card source.", hint=_HINT)
    named = _SOURCE.fullmatch(untrusted_text)
    if named is None:
        raise InvalidArgument(f"'{shown}' is not a card source.", hint=_HINT)
    if named["scheme"] == "card" and not _CARD_NAME.fullmatch(named["rest"]):
        raise InvalidArgument(
            f"'{shown}' does not name a software card.", hint="Names have letters, digits and . _ - only, 64 at most."
        )
    return untrusted_text


@lru_cache(_WISHES_KEPT)
def read_wish(xml: str) -> Wish | None:
    """The wish in a domain XML, or None without one; InvalidArgument when its source or a tag is bad."""
    elements = xmlfile.parse(xml).findall(f"./metadata/{{{WISH_NAMESPACE}}}*")
    if not elements:
        return None
    element = elements[0]
    card, tags = element.get("card"), element.get("tags")
    if etree.QName(element).localname != "vm" or (card is None and tags is None):
        raise InvalidArgument(
            "The domain's virtcard metadata is not <vm card='...'/>.", hint=_SET.format(uri=WISH_NAMESPACE)
        )
    return Wish("" if card is None else check_source(card), _tags(tags or ""), _unknown(element))


def tags_of(xml: str) -> frozenset[str]:
    """The tags in a domain XML, which outlive a wish; bad metadata has none."""
    try:
        wish = read_wish(xml)
    except InvalidArgument:
        return frozenset()
    return wish.tags if wish else frozenset()


def wish_element(card: str, renderer: Renderer | None = None, *, tags: frozenset[str] = frozenset()) -> str:
    """The XML that virDomainSetMetadata takes, with names.METADATA_KEY and names.WISH_NAMESPACE.

    `card` may be "" when there are tags."""
    return (renderer or Renderer()).wish(check_source(card) if card else "", " ".join(sorted(tags)))


def _tags(untrusted_text: str) -> frozenset[str]:
    words = untrusted_text.split()
    bad = next((word for word in words if not _TAG.fullmatch(word)), None)
    if bad is not None or len(words) > TAGS_MAX:
        raise InvalidArgument(
            f"'{(bad or '')[:32]}' is no tag." if bad is not None else f"The domain has more than {TAGS_MAX} tags.",
            hint="Tags have letters, digits and . _ - only, 64 at most, and spaces between them.",
        )
    return frozenset(words)


def _unknown(element: etree._Element) -> tuple[Finding, ...]:
    names = sorted(str(name) for name in element.attrib if name not in ("card", "tags"))
    return tuple(
        Finding(
            Severity.WARNING,
            "wish-attribute",
            f"The attribute '{name[:64]}' of the domain's virtcard metadata means nothing to this version.",
            "Only card='...' and tags='...' are known.",
        )
        for name in names
    )
