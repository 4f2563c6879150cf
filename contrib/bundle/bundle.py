#!/usr/bin/python3
"""virtcard with all its Python packages as one folder, for distributions whose own are too old or missing.

    bundle.py gather WHEELS         what pyproject.toml asks for, as wheels; needs the network
    bundle.py install WHEELS ROOT   ROOT/usr/lib/virtcard and the commands in ROOT/usr/bin; needs no network

Run it with the Python that the folder is for. The folder is a venv that is right once it lies in /usr/lib/virtcard.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2]
HOME = Path("/usr/lib/virtcard")
EXTRAS = ("metrics",)
"""What of pyproject.toml's optional dependencies is in it."""
PLUGINS = "/usr/local/lib/virtcard/plugins"
"""Where an administrator puts packages with card sources of their own: pip install --target."""

LAUNCHER = """\
#!{python} -I
import sys

from {module} import {function}

sys.exit({function}())
"""
"""-I: neither PYTHONPATH nor a user's own packages get into what root runs."""


def main(words: list[str]) -> int:
    """The command line."""
    match words:
        case ["gather", wheels]:
            gather(Path(wheels))
        case ["install", wheels, root]:
            install(Path(wheels), Path(root))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def gather(wheels: Path) -> None:
    """Put the wheels there; done in a moment when they are those of this pyproject.toml and this Python already."""
    project = _project()
    parts = project["project"]
    extras = [package for extra in EXTRAS for package in parts["optional-dependencies"][extra]]
    wanted = [*parts["dependencies"], *extras, *project["build-system"]["requires"]]
    key = hashlib.sha256(repr((wanted, sys.version, sysconfig.get_platform())).encode()).hexdigest()
    stamp = wheels / "gathered"
    if stamp.exists() and stamp.read_text() == key:
        return
    shutil.rmtree(wheels, ignore_errors=True)
    with _pip() as pip:
        words = ("--quiet", "--no-cache-dir", "--wheel-dir", str(wheels))  # the cache may hold another Python's work
        subprocess.run([*pip, "wheel", *words, *wanted], check=True)
    stamp.write_text(key)


def install(wheels: Path, root: Path) -> None:
    """Make the folder and the commands below `root`."""
    home = root / HOME.relative_to("/")
    subprocess.run([_python(), "-m", "venv", "--symlinks", "--without-pip", str(home)], check=True)
    with _pip() as pip:
        offline = ("--no-index", "--find-links", str(wheels.resolve()))
        words = ("--quiet", "--isolated", "--no-compile", "--no-warn-script-location", *offline)
        subprocess.run(
            [*pip, "--python", str(home / "bin/python"), "install", *words, f"{SOURCE}[{','.join(EXTRAS)}]"], check=True
        )
    _strip(home)
    _launchers(root)


def _strip(home: Path) -> None:
    """Leave what Python needs: no tools, nothing that tells of the place of the build."""
    shutil.rmtree(home / "bin")
    for folder in ("include", "share"):
        shutil.rmtree(home / folder, ignore_errors=True)
    (home / "lib64").unlink(missing_ok=True)
    (home / ".gitignore").unlink(missing_ok=True)
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    packages = _packages(home)
    for name in ("RECORD", "direct_url.json", "INSTALLER", "REQUESTED"):
        for file in packages.glob(f"*.dist-info/{name}"):
            file.unlink()
    for module in packages.rglob("*.py"):
        text = module.read_bytes()
        if text.startswith(b"#!"):  # of another Python, for a program that is none here
            module.write_bytes(text.partition(b"\n")[2])
    (packages / "plugins.pth").write_text(f"{PLUGINS}\n")


def _launchers(root: Path) -> None:
    home, commands = root / HOME.relative_to("/"), root / "usr/bin"
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to("../../../bin/python3")
    commands.mkdir(parents=True, exist_ok=True)
    for name, place in _project()["project"]["scripts"].items():
        module, _, function = place.partition(":")
        file = home / "bin" / name
        file.write_text(LAUNCHER.format(python=HOME / "bin/python", module=module, function=function))
        file.chmod(0o755)
        (commands / name).symlink_to(f"../lib/virtcard/bin/{name}")


def _packages(home: Path) -> Path:
    return home / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


@contextmanager
def _pip() -> Iterator[list[str]]:
    """The words that run a pip of our own, of the version that this Python brings."""
    with tempfile.TemporaryDirectory(prefix="virtcard-") as folder:
        subprocess.run([_python(), "-m", "venv", folder], check=True)
        yield [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check"]


def _python() -> str:
    return os.path.realpath(sys.executable)


def _project() -> dict[str, Any]:
    return tomllib.loads((SOURCE / "pyproject.toml").read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
