"""Domain XML in the style of the tools that write it, and how two of them compare."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from uuid import UUID

from lxml import etree

DOMAINS = Path(__file__).parent.parent / "vectors" / "domains"
NAMES = sorted(path.stem for path in DOMAINS.glob("*.xml"))
SOCKET_DIR = "/run/virtcard/vm"


def vector(name: str) -> str:
    """The text of a vector, with its own line breaks."""
    return (DOMAINS / f"{name}.xml").read_bytes().decode()


def canonical(xml: str) -> bytes:
    """Canonical XML with comments: two texts that mean the same give the same bytes."""
    tree = etree.parse(BytesIO(xml.encode()), etree.XMLParser(encoding="utf-8", strip_cdata=False))
    out = BytesIO()
    tree.write_c14n(out, with_comments=True)
    return out.getvalue()


def socket_of(xml: str) -> str:
    """The socket path that belongs to a domain XML."""
    text = etree.fromstring(xml.encode(), etree.XMLParser(encoding="utf-8")).findtext("uuid") or ""
    return f"{SOCKET_DIR}/{UUID(text)}.sock"
