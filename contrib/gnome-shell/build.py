"""Builds the extension for GNOME Shell 43 and for 45 and later, out of one source.

GNOME Shell 45 loads ECMAScript modules, and 43 scripts of gjs's own kind. What is in `src` is written as modules, and
ships as it is for 45; for 43 the few forms of `import` and `export` that it uses are put into the old words here, and
`extension-43.js` takes the place of the entry point. `python3 build.py` makes two zips for `gnome-extensions install`;
`python3 build.py unpack 43 FOLDER` puts the one for 43 (or 45) into a folder, for packages, and `python3 build.py pot`
prints the template for a new translation, and brings those in `po` up to date.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

HERE: Final = Path(__file__).resolve().parent
DOMAIN: Final = "virtcard-gnome-shell"
SHELL: Final = "resource:///org/gnome/shell/"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Files in a zip are as old as can be: the same source makes the same zip."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """What one family of GNOME Shells loads."""

    name: str
    shells: tuple[str, ...]
    modules: bool
    """ECMAScript modules."""


FLAVOURS: Final = (Flavour("43", ("43",), False), Flavour("45", ("45", "46", "47", "48"), True))

_IMPORTS: Final = (
    (re.compile(r"import (\w+) from 'gi://(\w+)';"), r"const \1 = imports.gi.\2;"),
    (re.compile(r"import Gettext from 'gettext';"), "const Gettext = imports.gettext;"),
    (re.compile(r"import \* as (\w+) from '\./(\w+)\.js';"), r"const \1 = Me.imports.\2;"),
    (re.compile(r"import \{([\w, ]+)\} from '\./(\w+)\.js';"), r"const {\1} = Me.imports.\2;"),
)
_SHELL_IMPORT: Final = re.compile(rf"import \* as (\w+) from '{SHELL}([\w/]+)\.js';")
_EXPORTS: Final = (
    (re.compile(r"export (?:const|let) (\w+) ="), r"var \1 ="),
    (re.compile(r"export class (\w+)"), r"var \1 = class \1"),
    (re.compile(r"export (async function|function) "), r"\1 "),
)
_ME: Final = "const Me = imports.misc.extensionUtils.getCurrentExtension();\n"


def to_script(module: str, name: str) -> str:
    """A module as a script of GNOME Shell 43; ValueError for a form of import or export that is not known here."""
    lines = [_line(line, f"{name}:{number}") for number, line in enumerate(module.splitlines(keepends=True), 1)]
    script = "".join(lines)
    return "'use strict';\n" + (_ME if "Me.imports" in script else "") + script


def _line(line: str, place: str) -> str:
    if line.startswith("import "):
        shell = _SHELL_IMPORT.fullmatch(line.rstrip("\n"))
        if shell:
            return f"const {shell[1]} = imports.{shell[2].replace('/', '.')};\n"
        return _replaced(line, _IMPORTS, place)
    return _replaced(line, _EXPORTS, place) if line.startswith("export ") else line


def _replaced(line: str, forms: tuple[tuple[re.Pattern[str], str], ...], place: str) -> str:
    for pattern, replacement in forms:
        changed, count = pattern.subn(replacement, line)
        if count:
            return changed
    raise ValueError(f"{place}: no such form for GNOME Shell 43: {line.strip()}")


def files(flavour: Flavour) -> Iterator[tuple[str, bytes]]:
    """Name and contents of all files of an extension."""
    metadata = json.loads((HERE / "metadata.json").read_text())
    metadata["shell-version"] = list(flavour.shells)
    yield "metadata.json", json.dumps(metadata, indent=2).encode()
    for path in sorted((HERE / "src").glob("*.js")):
        if flavour.modules:
            yield path.name, path.read_bytes()
        elif path.name == "extension.js":
            yield path.name, (HERE / "extension-43.js").read_bytes()
        else:
            yield path.name, to_script(path.read_text(), path.name).encode()
    yield "stylesheet.css", (HERE / "stylesheet.css").read_bytes()
    for icon in sorted((HERE / "icons").glob("*.svg")):
        yield f"icons/{icon.name}", icon.read_bytes()
    for language in sorted((HERE / "po").glob("*.po")):
        yield f"locale/{language.stem}/LC_MESSAGES/{DOMAIN}.mo", _compiled(language)


def unpack(flavour: Flavour, folder: Path) -> None:
    """Put the files of an extension into its folder."""
    for name, contents in files(flavour):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)


def pack(flavour: Flavour, target: Path) -> Path:
    """Make the zip of an extension, and give its path."""
    uuid = json.loads((HERE / "metadata.json").read_text())["uuid"]
    path = target / f"{uuid}.shell-extension-{flavour.name}.zip"
    target.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, contents in files(flavour):
            info = ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, contents, ZIP_DEFLATED)
    return path


def template() -> str:
    """The template of the translations, of the words in the source as it is now."""
    sources = sorted(path.name for path in (HERE / "src").glob("*.js"))
    return subprocess.run(
        ["xgettext", "--language=JavaScript", "--from-code=UTF-8", "--keyword=_", "--keyword=_n:1,2", "--output=-",
         "--package-name=virtcard", "--no-location", *sources],
        cwd=HERE / "src", check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def update_translations(pot: str) -> None:
    """Bring all translations up to date with a template; what is new in them is empty."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "words.pot")
        path.write_text(pot)
        for language in (HERE / "po").glob("*.po"):
            merge = ["msgmerge", "--quiet", "--update", "--backup=none", "--no-fuzzy-matching"]
            subprocess.run([*merge, language, path], check=True)


def _compiled(language: Path) -> bytes:
    with TemporaryDirectory() as folder:
        target = Path(folder, "messages.mo")
        subprocess.run(["msgfmt", "--check", "-o", target, language], check=True)
        return target.read_bytes()


def main() -> int:
    """Make both zips in `dist`, put one extension into a folder, or print the template and update the translations."""
    match sys.argv[1:]:
        case ["pot"]:
            pot = template()
            update_translations(pot)
            print(pot, end="")
        case ["unpack", name, folder]:
            unpack(next(flavour for flavour in FLAVOURS if flavour.name == name), Path(folder))
        case _:
            for flavour in FLAVOURS:
                path = pack(flavour, HERE.parents[1] / "dist")
                print(f"{path} is for GNOME Shell {', '.join(flavour.shells)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
