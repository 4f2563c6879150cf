"""What is built: wheel, sdist and editable install all carry the code, and data: dbus/, xml/, the vendor's policy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest

from virtcard.version import VERSION

REPOSITORY = Path(__file__).parents[2]
PARTS = ("pyproject.toml", "LICENSE", "README.md", "plugin", "dbus", "xml", "contrib/policy")
LITTER = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")

EDITABLE = "import sys; from setuptools.build_meta import build_editable; print(build_editable(sys.argv[1]))"


def build(source: Path, *options: str) -> None:
    """Without a network: the build requirements are those of this environment."""
    words = [sys.executable, "-m", "build", "--no-isolation", *options, str(source)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, symlinks as symlinks, so that no build leaves anything in the repository."""
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (REPOSITORY / part).is_dir():
            shutil.copytree(REPOSITORY / part, folder / part, symlinks=True, ignore=LITTER)
        else:
            shutil.copy(REPOSITORY / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    build(source, "--outdir", str(folder))
    return folder


def wheel_names(folder: Path) -> set[str]:
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def sdist_names(folder: Path) -> set[str]:
    with tarfile.open(next(folder.glob("*.tar.gz"))) as sdist:
        return {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}


def data_files() -> set[str]:
    """What `virtcard/data` must hold, by the folders that people edit."""
    folders = (REPOSITORY / name for name in ("dbus", "xml", "contrib/policy"))
    every = ((folder, path) for folder in folders for path in folder.rglob("*") if path.is_file())
    return {f"virtcard/data/{path.relative_to(folder.parent)}" for folder, path in every}


def code_files() -> set[str]:
    plugin = REPOSITORY / "plugin"
    return {str(path.relative_to(plugin)) for path in (plugin / "virtcard").rglob("*.py")}


def below(prefix: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith(prefix)}


def test_there_is_data_to_carry() -> None:
    assert {
        "virtcard/data/dbus/org.virtcard1.conf",
        "virtcard/data/xml/devices.xml.j2",
        "virtcard/data/policy/session/50-virtcard.toml",
    } <= data_files()


def test_the_wheel_carries_code_and_data(built: Path) -> None:
    names = wheel_names(built)
    assert below("virtcard/data/", names) == data_files()
    assert code_files() | {"virtcard/py.typed"} <= names


def test_the_wheel_holds_one_package_and_nothing_beside_it(built: Path) -> None:
    assert {name.partition("/")[0] for name in wheel_names(built)} == {"virtcard", f"virtcard-{VERSION}.dist-info"}


def test_the_wheel_carries_the_license(built: Path) -> None:
    assert any(name.endswith("LICENSE") for name in below(f"virtcard-{VERSION}.dist-info/", wheel_names(built)))


def test_the_sdist_carries_code_data_and_license(built: Path) -> None:
    names = sdist_names(built)
    assert {f"plugin/{name}" for name in data_files() | code_files()} <= names
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_the_sdist_gives_the_same_wheel_as_the_repository(source: Path, built: Path, tmp_path: Path) -> None:
    build(source, "--wheel", "--outdir", str(tmp_path))
    assert wheel_names(tmp_path) == wheel_names(built)


def test_the_wheel_installs_both_commands(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        text = wheel.read(f"virtcard-{VERSION}.dist-info/entry_points.txt").decode()
    assert "virtcard = virtcard.cli:main" in text
    assert "virtcardd = virtcard.daemon:main" in text


def test_an_editable_install_sees_the_data_through_the_symlinks(source: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", EDITABLE, str(tmp_path)]
    subprocess.run(words, check=True, cwd=source, capture_output=True, timeout=60)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        (pointer,) = (name for name in wheel.namelist() if name.endswith(".pth"))
        root = Path(wheel.read(pointer).decode().strip())
    assert root == source / "plugin"
    seen = {str(path.relative_to(root)) for path in (root / "virtcard/data/dbus").rglob("*") if path.is_file()}
    assert seen == below("virtcard/data/dbus/", data_files())


def test_the_package_finds_its_data_by_its_own_name() -> None:
    assert (files("virtcard") / "data" / "xml" / "devices.xml.j2").is_file()


@pytest.mark.parametrize("folder", ["dbus", "xml"])
def test_no_python_stands_beside_the_data(folder: str) -> None:
    """An importable `xml` would hide the standard library's."""
    assert not list((REPOSITORY / folder).rglob("*.py"))


def test_no_debian_package_is_wanted_twice() -> None:
    """`make deps` would call it missing each time, and ask apt for it."""
    lines = (REPOSITORY / "contrib/deps/debian.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert sorted(set(wanted)) == sorted(wanted)
