"""The same as roff.Page for readers of Markdown, as far as the D-Bus reference takes it."""

from __future__ import annotations

import re


class Document:
    """One file, from top to bottom."""

    def __init__(self, title: str) -> None:
        self._blocks = [f"# {title}"]

    def __str__(self) -> str:
        return "\n\n".join(self._blocks) + "\n"

    def section(self, title: str) -> None:
        """A heading."""
        self._blocks.append(f"## {title}")

    def subsection(self, title: str) -> None:
        """A smaller one."""
        kind, _, rest = title.partition(" ")
        self._blocks.append(f"### {kind} `{rest}`")

    def text(self, markdown: str) -> None:
        """A paragraph, on one line: nobody edits it here."""
        self._blocks.append(_escaped(" ".join(markdown.split())))

    def item(self, term: str, markdown: str) -> None:
        """A term, and behind it what it means."""
        self._blocks.append(f"- {term}: {_escaped(' '.join(markdown.split()))}")


def _escaped(markdown: str) -> str:
    """What looks like an element of HTML or a mark inside of a word is none."""
    return re.sub(r"(?<=\w)_(?=\w)", r"\\_", markdown.replace("<", "&lt;"))
