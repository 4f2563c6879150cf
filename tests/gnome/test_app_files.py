"""What is installed of the application: judged by the desktop's own tools, complete, and translated."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from helpers.gtk_app import APPLICATION
from virtcard.version import VERSION

DATA = APPLICATION / "data"
ID = "org.virtcard.Cards"


def run(*command: str | Path) -> str:
    """What a program prints; the test fails when it does not succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that it was installed on."""
    folder = tmp_path_factory.mktemp("root")
    run(APPLICATION / "install.sh", folder)
    return folder


def test_the_desktop_file_is_valid() -> None:
    assert run("desktop-file-validate", DATA / f"{ID}.desktop") == ""


def test_the_metainfo_is_valid() -> None:
    assert "Validation was successful" in run("appstreamcli", "validate", "--no-net", DATA / f"{ID}.metainfo.xml")


def test_metainfo_and_application_have_the_version_of_virtcard() -> None:
    release = ElementTree.parse(DATA / f"{ID}.metainfo.xml").find("releases/release")
    assert release is not None
    assert release.get("version") == VERSION
    assert f'VERSION: Final = "{VERSION}"' in (APPLICATION / "virtcard_gtk/application.py").read_text()


def test_the_service_file_starts_what_the_desktop_file_names(root: Path) -> None:
    desktop = (root / f"usr/share/applications/{ID}.desktop").read_text()
    service = (root / f"usr/share/dbus-1/services/{ID}.service").read_text()
    assert "DBusActivatable=true" in desktop
    assert f"Name={ID}\nExec=/usr/bin/virtcard-gtk " in service
    assert (root / "usr/bin/virtcard-gtk").stat().st_mode & 0o111


@pytest.mark.parametrize("icon", [f"scalable/apps/{ID}.svg", f"symbolic/apps/{ID}-symbolic.svg"])
def test_icons_are_drawings_that_need_nothing_else(root: Path, icon: str) -> None:
    drawing = ElementTree.parse(root / "usr/share/icons/hicolor" / icon).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert {each.tag.rpartition("}")[2] for each in drawing.iter()} <= {"svg", "path", "rect"}


def test_every_module_is_installed_and_found_by_the_launcher(root: Path) -> None:
    installed = root / "usr/share/virtcard-gtk/virtcard_gtk"
    assert {path.name for path in installed.glob("*.py")} == {
        path.name for path in (APPLICATION / "virtcard_gtk").glob("*.py")
    }
    launcher = (root / "usr/bin/virtcard-gtk").read_text().replace("sys.exit(main())", "print(main.__module__)")
    (root / "usr/bin/look").write_text(launcher)
    assert run("/usr/bin/python3", "-B", root / "usr/bin/look").strip() == "virtcard_gtk.application"


def test_the_installed_application_finds_its_translations(root: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, '{root}/usr/share/virtcard-gtk'); from virtcard_gtk import words;"
        "print(words._('Virtual Machines'))"
    )
    command = ("env", "LC_ALL=C.UTF-8", "LANGUAGE=de", "/usr/bin/python3", "-B", "-c", program)
    assert run(*command).strip() == "Virtuelle Maschinen"


@pytest.mark.parametrize("language", sorted((APPLICATION / "po").glob("*.po")), ids=lambda path: path.stem)
def test_translation_has_every_word(tmp_path: Path, language: Path) -> None:
    here = tmp_path / "contrib/po"
    here.mkdir(parents=True)
    (here.parent / "virtcard_gtk").symlink_to(APPLICATION / "virtcard_gtk")
    for name in (language, APPLICATION / "po/update.sh"):
        (here / name.name).write_bytes(name.read_bytes())
    assert "Virtual Machines" in run("sh", here / "update.sh")
    told = run("msgfmt", "--check-format", "--statistics", "-o", "/dev/null", here / language.name)
    assert re.fullmatch(r"\d+ translated messages\.\n", told), told
