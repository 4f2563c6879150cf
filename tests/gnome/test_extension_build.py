"""The extension as it is built: two zips out of one source, and every word translated."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from helpers.gnome_shell import EXTENSION, builder

BUILD = builder()
STUBS = Path(__file__).parent / "stubs"


@pytest.mark.parametrize(
    ("module", "script"),
    [
        ("import Gio from 'gi://Gio';", "const Gio = imports.gi.Gio;"),
        ("import Gettext from 'gettext';", "const Gettext = imports.gettext;"),
        ("import * as Words from './words.js';", "const Words = Me.imports.words;"),
        ("import {Agent, Other} from './agent.js';", "const {Agent, Other} = Me.imports.agent;"),
        ("import * as Main from 'resource:///org/gnome/shell/ui/main.js';", "const Main = imports.ui.main;"),
        ("export const A = 1;", "var A = 1;"),
        ("export class A extends B {", "var A = class A extends B {"),
        ("export function a() {", "function a() {"),
    ],
)
def test_module_becomes_a_script(module: str, script: str) -> None:
    assert BUILD.to_script(module, "a.js").splitlines()[-1] == script


@pytest.mark.parametrize(
    "module",
    ["import A, {b} from './a.js';", "export default class A {", "export {a};", "import {a} from 'resource:///x.js';"],
)
def test_form_that_has_no_counterpart_is_refused_with_its_place(module: str) -> None:
    with pytest.raises(ValueError, match=r"a\.js:2"):
        BUILD.to_script(f"\n{module}\n", "a.js")


def test_only_scripts_that_need_it_look_for_their_extension() -> None:
    assert BUILD.to_script("const A = 1;\n", "a.js") == "'use strict';\nconst A = 1;\n"


@pytest.mark.parametrize("flavour", BUILD.FLAVOURS, ids=lambda flavour: flavour.name)
def test_zip_has_everything_and_is_the_same_each_time(tmp_path: Path, flavour: object) -> None:
    one, other = BUILD.pack(flavour, tmp_path / "one"), BUILD.pack(flavour, tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()
    with ZipFile(one) as archive:
        names = set(archive.namelist())
        metadata = json.loads(archive.read("metadata.json"))
        code = archive.read("extension.js").decode()
    scripts = {path.name for path in (EXTENSION / "src").glob("*.js")}
    assert names == scripts | {
        "metadata.json", "stylesheet.css", "icons/virtcard-symbolic.svg",
        "locale/de/LC_MESSAGES/virtcard-gnome-shell.mo",
    }  # fmt: skip
    assert one.name.startswith(metadata["uuid"])
    assert "session-modes" not in metadata, "it is disabled on the lock screen"
    assert ("43" in metadata["shell-version"]) == ("imports." in code)


def test_every_shell_has_one_flavour() -> None:
    versions = [shell for flavour in BUILD.FLAVOURS for shell in flavour.shells]
    assert len(versions) == len(set(versions))


def test_scripts_of_43_are_read_by_its_engine(tmp_path: Path) -> None:
    """The syntax alone; that they run is seen in the shell."""
    BUILD.unpack(BUILD.FLAVOURS[0], tmp_path)
    for script in tmp_path.glob("*.js"):
        wrapped = tmp_path / f"check-{script.stem}.txt"
        wrapped.write_text(f"new Function({json.dumps(script.read_text())});")
        done = subprocess.run(["gjs", wrapped], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), script.name


@pytest.mark.parametrize("version", ["45.0", "46.2", "48.7"])
def test_modules_run_on_stand_ins_for_later_shells(tmp_path: Path, version: str) -> None:
    BUILD.unpack(BUILD.FLAVOURS[1], tmp_path)
    for script in tmp_path.glob("*.js"):
        text = re.sub(r"'gi://(?:St|Clutter|Atk|Pango|Shell)'", f"'file://{STUBS}/gi.js'", script.read_text())
        text = re.sub(r"'resource:///org/gnome/shell/\w+/(\w+\.js)'", rf"'file://{STUBS}/\1'", text)
        script.write_text(text)
    program = Path(__file__).parent / "modern.js"
    done = subprocess.run(
        ["env", f"STUB_SHELL_VERSION={version}", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere",
         "DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere", "gjs", "-m", program, tmp_path],
        check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("language", sorted((EXTENSION / "po").glob("*.po")), ids=lambda path: path.stem)
def test_translation_has_every_word(tmp_path: Path, language: Path) -> None:
    template = tmp_path / "words.pot"
    template.write_text(BUILD.template())
    fresh = tmp_path / "fresh.po"
    merge = ["msgmerge", "--quiet", "--no-fuzzy-matching", "-o"]
    subprocess.run([*merge, fresh, language, template], check=True)
    told = subprocess.run(
        ["msgfmt", "--check-format", "--statistics", "-o", "/dev/null", fresh],
        check=True, capture_output=True, text=True,
    ).stderr  # fmt: skip
    assert re.fullmatch(r"\d+ translated messages\.\n", told), told


@pytest.mark.parametrize("language", sorted((EXTENSION / "po").glob("*.po")), ids=lambda path: path.stem)
def test_translation_fills_in_the_same_names(language: Path) -> None:
    text = language.read_text()
    pairs = re.findall(r'^msgid ((?:".*"\n)+)(?:msgid_plural ((?:".*"\n)+))?((?:msgstr.*\n(?:".*"\n)*)+)', text, re.M)
    assert len(pairs) > 40
    for one, many, translations in pairs:
        wanted = set(re.findall(r"\{\w+\}", one + many))
        for translation in re.split(r"^msgstr", translations, flags=re.M)[1:]:
            assert set(re.findall(r"\{\w+\}", translation)) == wanted, one


def test_the_template_is_printed(tmp_path: Path) -> None:
    assert '"Content-Type: text/plain; charset=UTF-8\\n"' in BUILD.template()
