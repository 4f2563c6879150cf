"""`virtcard card export NAME`: the certificates of a card, or those that a guest must trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtcard.cli.complete import cards
from virtcard.cli.local.card.place import chosen
from virtcard.cli.options import Choice
from virtcard.cli.screen import say
from virtcard.errors import Failed

if TYPE_CHECKING:
    from virtcard.card.soft.make import Exported


@click.command("export")
@click.argument("name", shell_complete=cards)
@click.option("--ca", is_flag=True, help="The certificates of the authorities instead, which a guest must trust.")
@click.option("--pem/--der", default=True, help="The form of the files; PEM as if not said.")
@click.option("--output", metavar="DIR", default=".", help="Where they go, made when it is missing; else here.")
@click.pass_obj
def verb(choice: Choice, name: str, ca: bool, pem: bool, output: str) -> None:
    """Write a card's certificates to files.

    They are called NAME-SLOT.pem or .der. Private keys never leave a card.
    """
    found = chosen(choice).certificates(name, authorities=ca)
    if not found:
        raise Failed(
            f"The card {name} has no such certificates.", hint=f"'virtcard card show {name}' tells what it has."
        )
    files = _files(Path(output), name, found, pem=pem)
    _check(files)
    for path, content in files.items():
        _write(path, content)
        say(str(path))


def _files(folder: Path, name: str, found: tuple[Exported, ...], *, pem: bool) -> dict[Path, bytes]:
    """Several authorities are numbered."""
    end = "pem" if pem else "der"
    names = [each.name for each in found]
    files = {}
    for number, each in enumerate(found, 1):
        which = each.name if names.count(each.name) == 1 else f"{each.name}{number}"
        files[folder / f"{name}-{which}.{end}"] = _pem(each) if pem else each.der
    return files


def _pem(exported: Exported) -> bytes:
    try:
        return exported.pem
    except ValueError:
        raise Failed(
            f"What is in slot {exported.name} is not a certificate.", hint="--der writes what is there."
        ) from None


def _check(files: dict[Path, bytes]) -> None:
    for path in files:
        if path.exists():
            raise Failed(f"There is a file {path} already.", hint="Move it away, or choose another --output.")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise Failed(f"Cannot write {path}: {error.strerror}.", hint="Choose another --output.") from error
