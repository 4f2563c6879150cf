"""Jinja2, and the templates that it fills in: the package's, or an admin's own.

Loaded with the first domain that is changed: a daemon whose domains all have their readers needs none of it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final

from jinja2 import (
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from virtcard.errors import Failed

_HINT: Final = "Correct it, or remove it to use virtcard's own; nothing was changed."


class Templates:
    """A broken template raises Failed with its file and line."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` has an admin's own; what is missing there, or everything without it, comes from the package."""
        self._folder = folder
        own = PackageLoader("virtcard", "data/xml")
        loader = own if folder is None else ChoiceLoader([FileSystemLoader(folder), own])
        self._environment = ImmutableSandboxedEnvironment(loader=loader, undefined=StrictUndefined, autoescape=True)

    def fill(self, name: str, **values: object) -> str:
        """The text of a template with these values."""
        try:
            return self._load(name).render(values).strip()
        except TemplateSyntaxError as error:
            raise self.broken(name, f"is not a template: {error.message}", error.lineno) from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise self.broken(name, f"cannot be rendered: {error}", _line(error.__traceback__)) from None

    def broken(self, name: str, what: str, line: int = 0) -> Failed:
        """The error that says so."""
        place = f"{self._file(name)}, line {line}," if line else self._file(name)
        return Failed(f"The template {place} {' '.join(what.split()).rstrip('.')}.", hint=_HINT)

    def _load(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except (OSError, UnicodeDecodeError) as error:
            where = "" if self._folder is None else f" in {self._folder}"
            raise Failed(f"The template {name}{where} cannot be read: {error}.", hint=_HINT) from None

    def _file(self, name: str) -> str:
        loader = self._environment.loader
        return name if loader is None else loader.get_source(self._environment, name)[1] or name


def as_it_is(xml: str) -> Markup:
    """Elements of the domain itself, and not text that would have to be escaped."""
    return Markup(xml)  # noqa: S704


def _line(traceback: TracebackType | None) -> int:
    """The line of the template: Jinja2 puts frames with the template's own file and lines into the traceback."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.endswith(".j2"):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
