"""On which line each key of a TOML document stands: tomllib does not say.

The document has been read by tomllib before, so only its structure is followed: whatever is between a key and the
next one is stepped over.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from typing import Any, Final

Path = tuple[str | int, ...]
"""The way to a value: ("rule", 0, "vm")."""

_SPACE: Final = " \t"
_BLANK: Final = " \t\n"
_AFTER_SCALAR: Final = ",]}#\n"
_QUOTES: Final = "\"'"


def key_lines(toml: str) -> dict[Path, int]:
    """The line of every table, key and array element of a valid document, from 1 on."""
    scanner = _Scanner(toml.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._ends = [at for at, character in enumerate(text) if character == "\n"]
        self._last: dict[Path, int] = {}
        """The index of the last table of each array of tables."""

    def document(self) -> None:
        table: Path = ()
        while self._skip(_BLANK):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        start = self._at
        is_array = self._text.startswith("[[", start)
        self._at += 2 if is_array else 1
        names = self._key("]")
        self._at += 2 if is_array else 1
        path: Path = ()
        for name in names:
            path = (*self._latest(path), name)
            self._note(path, start)
        if is_array:
            self._last[path] = self._last.get(path, -1) + 1
            path = (*path, self._last[path])
            self._note(path, start)
        return path

    def _latest(self, path: Path) -> Path:
        """The name of an array of tables means its last table."""
        return (*path, self._last[path]) if path in self._last else path

    def _pair(self, table: Path) -> None:
        start = self._at
        names = self._key("=")
        self._at += 1
        for length in range(1, len(names) + 1):
            self._note((*table, *names[:length]), start)
        self._value((*table, *names))

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case quote if quote in _QUOTES:
                self._string()
            case _:
                while self._at < len(self._text) and self._text[self._at] not in _AFTER_SCALAR:
                    self._at += 1

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._next_of("]"):
            self._note((*path, index), self._at)
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._next_of("}"):
            self._pair(path)

    def _next_of(self, end: str) -> bool:
        """At the next element, or behind the end."""
        while self._skip(_BLANK) and self._text[self._at] == ",":
            self._at += 1
        if self._text[self._at] != end:
            return True
        self._at += 1
        return False

    def _key(self, end: str) -> tuple[str, ...]:
        start = self._at
        while self._text[self._at] != end:
            if self._text[self._at] in _QUOTES:
                self._string()
            else:
                self._at += 1
        return _names(self._text[start : self._at])

    def _string(self) -> None:
        quote = self._text[self._at]
        closing = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(closing)
        while not self._text.startswith(closing, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(closing)
        while len(closing) == 3 and self._text.startswith(quote, self._at):
            self._at += 1  # one or two quotes may stand before the three that close

    def _skip(self, blank: str) -> bool:
        """Over blanks, and with line ends over comments too; False at the end of the document."""
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == "#" and "\n" in blank:
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif character in blank:
                self._at += 1
            else:
                return True
        return False

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect_left(self._ends, at) + 1)


def _names(key: str) -> tuple[str, ...]:
    """The names of a dotted key, with its quotes and escapes read by tomllib."""
    value: Any = tomllib.loads(f"{key} = 0")
    names = []
    while isinstance(value, dict):
        ((name, value),) = value.items()
        names.append(name)
    return tuple(names)
