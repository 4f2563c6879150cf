"""Domain XML as text: safe to read, and edited so that every byte that is not ours stays.

lxml says what the text means and expat where each element stands in it, so a change is a splice: quotes, comments,
CDATA, prefixes and indentation of the rest survive. (A serializer would rewrite libvirt's quotes on every line.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from lxml import etree

from virtcard.errors import InvalidXml
from virtcard.limits import DOMAIN_XML_MAX

_SPACE: Final = b" \t\r\n"
_KEPT_BREAK: Final = "\0"
"""Stands for a line break that stays as it is; XML itself can hold no NUL."""
_NAME: Final = re.compile(rb"<([^\s/>]+)")
_START_TAG: Final = re.compile(rb"""<(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>""")
_GAP: Final = re.compile(rb"\r?\n[ \t]*\Z")
_AFTER_TAG: Final = re.compile(rb"(?<=>)\s*\n\s*")
_AFTER_TAG_INDENT: Final = re.compile(rb"(?<=>)\n")


@dataclass(frozen=True, slots=True)
class Span:
    """Byte offsets of an element: its start tag, where its content ends, and its end."""

    start: int
    content: int
    content_end: int
    end: int

    @property
    def self_closing(self) -> bool:
        """It is written `<a/>`."""
        return self.content == self.end


def parse(text: str) -> etree._Element:
    """The root element. InvalidXml when the text is too long, not well-formed, or has a DOCTYPE."""
    return _parse(_encode(text))


def _encode(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise InvalidXml("The domain XML holds a character that XML does not allow.") from None
    if len(data) > DOMAIN_XML_MAX:
        raise InvalidXml(f"The domain XML is {len(data)} bytes long; libvirt takes {DOMAIN_XML_MAX}.")
    return data


def _parse(data: bytes) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, strip_cdata=False, huge_tree=False
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise InvalidXml(f"The domain XML is not well-formed: {_printable(error.msg)}.") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise InvalidXml("The domain XML has a DOCTYPE, which no domain needs.", hint="Remove it.")
    return root


def _printable(text: str | None) -> str:
    """libxml2 quotes the names it stumbles over, whatever they are made of."""
    return "".join(character if character.isprintable() else "?" for character in text or "")


class Document:
    """An XML text with its elements. Edits are collected against the original text and made by `result`."""

    def __init__(self, text: str) -> None:
        self._data = _encode(text)
        self.root = _parse(self._data)
        elements = self.root.iter("*")
        self._spans = dict(zip(elements, _spans(self._data), strict=True))
        self._edits: list[tuple[int, int, bytes]] = []

    @property
    def changed(self) -> bool:
        """An edit was asked for."""
        return bool(self._edits)

    def source(self, element: etree._Element) -> str:
        """The element as it is written, so that it can stand elsewhere: with the prefixes it inherits if need be."""
        span = self._spans[element]
        text = self._data[span.start : span.end].decode()
        try:
            parse(text)
        except InvalidXml:
            return etree.tostring(element, encoding="unicode", with_tail=False)
        return text

    def append(self, parent: etree._Element, *pieces: str) -> None:
        """Add elements as the last children of `parent`, indented like their new siblings."""
        span = self._spans[parent]
        gap = self._gap_inside(parent)
        added = b"".join(gap + _indent(piece, gap) for piece in pieces)
        if span.self_closing:
            self._expand(span, added)
        else:
            end = len(self._data[: span.content_end].rstrip(_SPACE))
            at = max(end, span.content)
            self._edits.append((at, at, added))

    def insert_after(self, element: etree._Element, piece: str) -> None:
        """Add an element as the next sibling of `element`."""
        gap = self._gap_before(element)
        end = self._spans[element].end
        self._edits.append((end, end, gap + _indent(piece, gap)))

    def replace(self, element: etree._Element, piece: str) -> None:
        """Put another element in the place of `element`."""
        span = self._spans[element]
        self._edits.append((span.start, span.end, _indent(piece, self._gap_before(element))))

    def remove(self, element: etree._Element) -> None:
        """Take an element away with the white space before it: what `append` and `insert_after` added, to the byte."""
        span = self._spans[element]
        start = len(self._data[: span.start].rstrip(_SPACE))
        self._edits.append((start, span.end, b""))

    def result(self) -> str:
        """The text with all edits made."""
        out, done = [], 0
        for start, end, added in sorted(self._edits, key=lambda edit: edit[:2]):
            out += [self._data[done:start], added]
            done = end
        return (b"".join(out) + self._data[done:]).decode()

    def _expand(self, span: Span, added: bytes) -> None:
        tag = self._data[span.start : span.end]
        named = _NAME.match(tag)
        name = named.group(1) if named else b""
        open_end = span.start + len(tag.removesuffix(b"/>").rstrip(_SPACE))
        self._edits.append((open_end, span.end, b">" + added + b"</" + name + b">"))

    def _gap_before(self, element: etree._Element) -> bytes:
        """Line break and indentation in front of an element, or nothing when it follows on the same line."""
        before = self._data[: self._spans[element].start]
        gap = _GAP.search(before, len(before.rstrip(_SPACE)))
        return gap.group() if gap else b""

    def _gap_inside(self, parent: etree._Element) -> bytes:
        for child in parent.iterfind("*"):
            return self._gap_before(child)
        gap = self._gap_before(parent)
        return gap + b"  " if gap else b""


def verbatim(text: str) -> str:
    """A part of a piece that keeps its own line breaks and indentation when the piece is put into a document."""
    return text.replace("\n", _KEPT_BREAK)


def _indent(piece: str, gap: bytes) -> bytes:
    """The piece at the depth of `gap`; on one line when the text around it is."""
    data = piece.strip().encode()
    data = _AFTER_TAG_INDENT.sub(lambda _: gap, data) if gap else _AFTER_TAG.sub(b"", data)
    return data.replace(_KEPT_BREAK.encode(), b"\n")


def _spans(data: bytes) -> list[Span]:
    """The span of every element in document order. `data` has no DOCTYPE, so expat has nothing to expand."""
    finder = _SpanFinder(data)
    try:
        finder.run()
    except expat.ExpatError as error:
        raise InvalidXml(f"The domain XML is not well-formed: {expat.ErrorString(error.code)}.") from None
    return [Span(*offsets) for offsets in finder.found]


class _SpanFinder:
    def __init__(self, data: bytes) -> None:
        self.found: list[tuple[int, int, int, int]] = []
        self._data = data
        self._open: list[int] = []
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended

    def run(self) -> None:
        self._parser.Parse(self._data, True)

    def _started(self, _name: str, _attributes: dict[str, str]) -> None:
        start = self._parser.CurrentByteIndex
        tag = _START_TAG.match(self._data, start)
        end = tag.end() if tag else start
        self._open.append(len(self.found))
        self.found.append((start, end, end, end))

    def _ended(self, _name: str) -> None:
        number = self._open.pop()
        start, content, _, end = self.found[number]
        if not self._data.endswith(b"/>", start, content):
            close = self._parser.CurrentByteIndex
            end = self._data.index(b">", close) + 1
            self.found[number] = (start, content, close, end)
