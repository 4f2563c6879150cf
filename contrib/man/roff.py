"""Writing man pages: text and Markdown in, the macros of man(7) out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 78
"""Columns of a source line; mandoc wants less than 80."""
_MARKS = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\([^)]*\)")


def escape(text: str) -> str:
    """Text in which nothing is a macro or an escape; a hyphen is one that can be copied."""
    clean = text.replace("\\", "\\e").replace("-", "\\-")
    return clean.translate({ord(letter): name for letter, name in _LETTERS.items()})


_LETTERS = {"ü": "\\(:u", "…": "...", "–": "\\(en", "→": "\\(->", "×": "\\(mu"}


def inline(markdown: str) -> str:
    """Code and bold in bold, links as their text."""
    out, last = [], 0
    for mark in _MARKS.finditer(markdown):
        strong = mark[1] or mark[2]
        out += [escape(markdown[last : mark.start()]), f"\\fB{escape(strong)}\\fR" if strong else escape(mark[3])]
        last = mark.end()
    return "".join([*out, escape(markdown[last:])])


def guarded(line: str) -> str:
    """A line that does not begin like a macro."""
    return f"\\&{line}" if line[:1] in (".", "'") else line


def filled(markdown: str) -> list[str]:
    """A paragraph's lines; each sentence begins a line, as man-pages(7) wants it."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z`\"'*\[])", " ".join(markdown.split()))
    wrapped = (textwrap.wrap(inline(each), WIDTH, break_long_words=False, break_on_hyphens=False) for each in sentences)
    return [guarded(line) for lines in wrapped for line in lines]


class Page:
    """One page, from top to bottom."""

    def __init__(self, name: str, section: int, what: str, *, date: str, source: str) -> None:
        self._lines = [f'.TH "{name.upper()}" "{section}" "{date}" "{source}"']
        self.section("NAME")
        self._lines.append(f"{escape(name)} \\- {inline(what)}")

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def section(self, title: str) -> None:
        """A heading."""
        self._lines.append(f".SH {_quoted(title.upper())}")

    def subsection(self, title: str) -> None:
        """A smaller one."""
        self._lines.append(f".SS {_quoted(title)}")

    def text(self, markdown: str) -> None:
        """A paragraph."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines += filled(markdown)

    def item(self, term: str, markdown: str) -> None:
        """A term, and behind it what it means."""
        self._lines += [".TP", guarded(inline(term)), *(filled(markdown) or ["\\&"])]

    def code(self, lines: Iterable[str]) -> None:
        """As it stands, with its line breaks."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines += [".nf", ".RS 4", *(guarded(escape(line.rstrip())) or "\\&" for line in lines), ".RE", ".fi"]

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """The first column is a term, and the others say something of it, by their titles."""
        for term, *cells in rows:
            named = zip(titles[1:], cells, strict=True)
            said = [f"{title}: {cell}" if len(cells) > 1 else cell for title, cell in named if cell]
            self.item(term, f"{'; '.join(said)}." if said else "")

    def markdown(self, text: str) -> None:
        """Paragraphs, code, tables, lists and smaller headings."""
        for block in re.split(r"\n\s*\n", text.strip("\n")):
            self._block(block.split("\n"))

    def _block(self, lines: list[str]) -> None:
        if all(line.startswith("    ") for line in lines):
            self.code(textwrap.dedent("\n".join(lines)).split("\n"))
        elif lines[0].startswith("|"):
            rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
            self.table(rows[0], rows[2:])
        elif lines[0].startswith("#"):
            self.subsection(lines[0].lstrip("# "))
        elif lines[0].startswith("- "):
            for entry in re.split(r"\n?- ", "\n".join(lines))[1:]:
                self._lines += [".IP \\(bu 2", *filled(entry)]
        else:
            self.text("\n".join(lines))


def _quoted(title: str) -> str:
    return '"' + title.replace('"', "\\(dq") + '"'
