"""The Debian packages as they are built: nothing from the network, nothing forgotten, and lintian is content."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from helpers.bus import REPOSITORY
from helpers.debian import build_packages, control_field, listed
from virtcard.version import VERSION

pytestmark = pytest.mark.soak(minutes=0.04)
"""They are built once for all of these tests, which takes two minutes."""

DEBIAN = REPOSITORY / "contrib/debian"
HOME = "/usr/lib/virtcard"
PACKAGES = re.compile(rf"{HOME}/lib/python3\.\d+/site-packages/")
COMPLETIONS = {
    "bash": "/usr/share/bash-completion/completions/virtcard",
    "zsh": "/usr/share/zsh/vendor-completions/_virtcard",
    "fish": "/usr/share/fish/vendor_completions.d/virtcard.fish",
}
MAN_PAGES = ("man1/virtcard.1", "man5/org.virtcard1.5", "man5/virtcard-policy.5", "man8/virtcardd.8")
SHELL_SCRIPTS = sorted(
    path
    for path in (REPOSITORY / "contrib").glob("*/*")
    if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh\n")
)
INSTALLER = REPOSITORY / "contrib/systemd/install.sh"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built by somebody whom nothing but the loopback device connects to the world."""
    return build_packages(tmp_path_factory.mktemp("packages"), offline=True)


@pytest.fixture(scope="module")
def virtcard(packages: dict[str, Path]) -> Path:
    return packages["virtcard"]


@pytest.fixture(scope="module")
def tree(virtcard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in it, unpacked."""
    folder = tmp_path_factory.mktemp("tree")
    subprocess.run(["dpkg-deb", "--extract", str(virtcard), str(folder)], check=True)
    return folder


def as_on_debian(path: str) -> str:
    """Debian 12 has units below /lib."""
    return path.removeprefix("/usr") if path.startswith("/usr/lib/systemd/system/") else path


def test_lintian_is_content(packages: dict[str, Path]) -> None:
    options = ("--allow-root", "--fail-on=warning,error")
    words = ["lintian", *options, *map(str, packages.values())]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_package_has_what_the_installer_puts_and_the_bundle(virtcard: Path, tmp_path: Path) -> None:
    subprocess.run([str(INSTALLER), str(tmp_path)], check=True)
    installed = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()}
    beside = {path for path in listed(virtcard) if not PACKAGES.match(path) and not path.startswith("/usr/share/doc/")}
    bundle = {f"{HOME}/{name}" for name in ("bin/python", "pyvenv.cfg", "put-back", "with-reader.sh")}
    bundle |= {"/usr/share/lintian/overrides/virtcard"}
    bundle |= {*COMPLETIONS.values(), *(f"/usr/share/man/{page}.gz" for page in MAN_PAGES)}
    commands = {f"{place}/{name}" for place in (f"{HOME}/bin", "/usr/bin") for name in scripts()}
    assert beside == {as_on_debian(path) for path in installed} | bundle | commands


def test_the_gnome_package_has_the_application_and_the_extension_for_this_debian(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    extension = tmp_path / "usr/share/gnome-shell/extensions/virtcard@virtcard.org"
    subprocess.run([str(REPOSITORY / "contrib/gtk/install.sh"), str(tmp_path)], check=True)
    words = [sys.executable, str(REPOSITORY / "contrib/gnome-shell/build.py"), "unpack", "43", str(extension)]
    subprocess.run(words, check=True)
    put = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()}
    gnome = packages["virtcard-gnome"]
    beside = {path for path in listed(gnome) if not path.startswith("/usr/share/doc/")}
    assert beside == put | {"/usr/share/man/man1/virtcard-gtk.1.gz"}
    assert control_field(gnome, "Recommends") == "gnome-shell (>= 43), gnome-shell (<< 44)"
    assert json.loads((extension / "metadata.json").read_text())["shell-version"] == ["43"]


def scripts() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return set(project["scripts"])


def test_the_guide_and_examples_are_beside_it(virtcard: Path) -> None:
    inside = set(listed(virtcard))
    pages = {f"guide/{page.name}" for page in (REPOSITORY / "contrib/guide").glob("*.md")}
    wanted = {"README.md", "examples/example.toml", "examples/libvirt-qemu", "examples/virtcard.py", *pages}
    assert {f"/usr/share/doc/virtcard/{name}" for name in wanted} <= inside


def test_every_module_and_all_data_are_in_the_package(virtcard: Path) -> None:
    inside = {PACKAGES.sub("", path) for path in listed(virtcard) if PACKAGES.match(path)}
    plugin = REPOSITORY / "plugin"
    code = {str(path.relative_to(plugin)) for path in (plugin / "virtcard").rglob("*.py")}
    assert code <= inside
    assert {f"virtcard/data/dbus/{path.name}" for path in (REPOSITORY / "dbus").glob("*.xml")} <= inside


def test_the_commands_are_started_by_the_bundles_python_and_by_nothing_of_the_callers(tree: Path) -> None:
    for name in scripts():
        launcher = tree / f"usr/lib/virtcard/bin/{name}"
        assert launcher.read_text().splitlines()[0] == f"#!{HOME}/bin/python -I"
        assert (tree / "usr/bin" / name).resolve() == launcher
    assert (tree / "usr/lib/virtcard/bin/python").readlink() == Path("../../../bin/python3")
    assert (tree / "usr/lib/virtcard/pyvenv.cfg").read_text().splitlines()[0] == "home = /usr/bin"


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_the_completions_are_what_the_command_prints(shell: str, tree: Path) -> None:
    words = [sys.executable, "-m", "virtcard.cli", "completion", shell]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert printed
    assert (tree / COMPLETIONS[shell].lstrip("/")).read_text() == printed


def test_nothing_tells_of_the_place_where_it_was_built(tree: Path, virtcard: Path) -> None:
    build = str(REPOSITORY).encode()
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if build in path.read_bytes()] == []
    assert not [path for path in listed(virtcard) if path.endswith((".pyc", "/RECORD", "/direct_url.json"))]


def test_libraries_of_others_are_found_where_debian_has_them(tree: Path) -> None:
    libraries = [str(path) for path in tree.rglob("*.so")]
    assert libraries
    shown = subprocess.run(["readelf", "--dynamic", *libraries], check=True, capture_output=True, text=True).stdout
    assert "RUNPATH" not in shown
    assert "RPATH" not in shown


def test_it_depends_on_the_python_that_it_was_built_for(virtcard: Path, tree: Path) -> None:
    (folder,) = (tree / "usr/lib/virtcard/lib").iterdir()
    minor = int(folder.name.removeprefix("python3."))
    depends = control_field(virtcard, "Depends")
    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})" in depends
    assert {"pcscd", "polkitd", "libpcsclite1"} <= set(depends.split(", "))
    assert "libvirt0 (>=" in depends


def test_the_copyright_names_everything_that_is_bundled(tree: Path) -> None:
    known = (DEBIAN / "copyright").read_text()
    bundled = [path.name.partition("-")[0] for path in tree.rglob("*.dist-info")]
    assert "virtcard" in bundled
    assert [name for name in bundled if name != "virtcard" and f"wheels/{name.lower()}-*" not in known] == []


def test_the_changelog_has_this_version_on_top() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"virtcard ({VERSION}) ")


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_ones_that_dash_reads(script: Path) -> None:
    subprocess.run(["dash", "-n", str(script)], check=True)


def test_the_generated_scripts_make_the_user_before_its_directories(virtcard: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--control", str(virtcard), str(tmp_path / "control")], check=True)
    postinst = (tmp_path / "control/postinst").read_text()
    order = ["systemd-sysusers", "systemd-tmpfiles", "deb-systemd-invoke"]
    assert sorted(order, key=postinst.index) == order
    prerm = (tmp_path / "control/prerm").read_text()
    assert (REPOSITORY / "contrib/bundle/with-reader.sh").read_text() in (tmp_path / "control/postrm").read_text()
    assert prerm.index("/usr/lib/virtcard/put-back") < prerm.index("deb-systemd-invoke stop")
