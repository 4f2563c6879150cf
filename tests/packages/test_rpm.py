"""The RPM package: its spec as rpmbuild reads it, with the distribution's Python packages and our own, and built."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from helpers.bus import REPOSITORY
from virtcard.version import VERSION

SPEC = REPOSITORY / "contrib/rpm/virtcard.spec"
BUILD = REPOSITORY / "contrib/rpm/build.sh"
INSTALLER = REPOSITORY / "contrib/systemd/install.sh"
HOME = "/usr/lib/virtcard"

FEDORA = {
    "pyproject_install": "echo install",
    "pyproject_wheel": "echo wheel",
    "pyproject_save_files()": "echo save",
    "pyproject_buildrequires": "echo requires",
    "pyproject_files": "files",
    "systemd_post()": "echo post %1",
    "systemd_preun()": "echo preun %1",
}
"""Stand-ins for the macros of pyproject-rpm-macros and systemd-rpm-macros, which Debian does not have."""


def parse(macros: dict[str, str]) -> str:
    """The spec with its macros expanded, as rpmbuild does it; warnings too."""
    defines = [word for name, body in macros.items() for word in ("--define", f"{name} {body}")]
    done = subprocess.run(["rpmspec", "--parse", *defines, str(SPEC)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def section(text: str, name: str) -> str:
    others = r"(?m)^%(?:build|changelog|description|files|install|post|postun|prep|preun)\b"
    return re.split(others, text.split(f"\n%{name}\n", 1)[1], maxsplit=1)[0]


def test_without_the_macros_of_fedora_python_packages_are_brought_along() -> None:
    text = parse({})
    assert "bundle.py install wheels" in section(text, "install")
    assert re.search(r"(?m)^Requires: +python\(abi\) = 3\.\d+$", text)
    assert f"\n{HOME}/lib\n" in section(text, "files")
    assert "pyproject" not in text


def test_with_the_macros_of_fedora_the_distributions_are_used() -> None:
    text = parse(FEDORA)
    assert "bundle.py" not in section(text, "install")
    assert "echo wheel" in section(text, "build")
    assert "echo requires" in text
    assert "\n%files -f files\n" in text
    assert f"{HOME}/lib\n" not in text


def test_domains_are_put_back_before_the_daemon_is_stopped_and_not_at_an_upgrade() -> None:
    preun = section(parse(FEDORA), "preun")
    assert preun.index(f'[ "$1" != 0 ] || {HOME}/put-back') < preun.index("echo preun virtcardd.service")


def test_what_the_installer_puts_is_listed_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run([str(INSTALLER), str(tmp_path)], check=True)
    installed = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()}
    listed = [line for line in section(parse({}), "files").splitlines() if line.startswith("/")]
    beside = {f"{HOME}/{name}" for name in ("bin", "lib", "pyvenv.cfg", "put-back", "with-reader.sh", "policy.d")}
    share = "/usr/share"
    beside |= {f"{share}/bash-completion/completions/virtcard", f"{share}/zsh/site-functions/_virtcard"}
    beside.add(f"{share}/man/man?/*virtcard*")
    beside.add(f"{share}/fish/vendor_completions.d/virtcard.fish")
    commands = {f"/usr/bin/{name}" for name in ("virtcard", "virtcardd", "vscclient")}
    patterns = set(listed) - beside - commands
    matched = {path for path in installed for pattern in patterns if Path(path).match(pattern)}
    assert installed - matched == {f"{HOME}/policy.d/50-virtcard.toml"}
    assert [pattern for pattern in patterns if not any(Path(path).match(pattern) for path in installed)] == []


def test_the_guide_and_examples_are_those_of_the_debian_package() -> None:
    words = [
        word for line in section(parse({}), "files").splitlines() if line.startswith("%doc ") for word in line.split()
    ]
    debian = [
        path for kind in ("docs", "examples")
        for path in (REPOSITORY / f"contrib/debian/virtcard.{kind}").read_text().split()
    ]  # fmt: skip
    assert set(debian) <= set(words)


def test_the_version_is_ours() -> None:
    text = parse({})
    assert re.search(rf"(?m)^Version: +{re.escape(VERSION)}$", text)
    assert f"<maintainers@virtcard.org> - {VERSION}-1" in text


@pytest.mark.soak(minutes=0.5)
def test_it_is_built_here_without_the_macros(tmp_path: Path) -> None:
    """What it needs is Debian's, of which rpm knows nothing: --nodeps."""
    words = ["unshare", "--net", str(BUILD), str(tmp_path), "--nodeps"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = tmp_path.glob("virtcard-0*.rpm")
    (selinux,) = tmp_path.glob("virtcard-selinux-*.rpm")
    files = query(package, "--list")
    assert {"/usr/bin/virtcard", f"{HOME}/bin/python", "/usr/lib/systemd/system/virtcardd.service"} <= files
    compiled = re.compile(rf"{HOME}/lib/python3\.\d+/site-packages/virtcard/daemon/__pycache__/run\.cpython-\d+\.pyc")
    assert any(compiled.fullmatch(file) for file in files)
    assert "libvirt.so.0()(64bit)" in query(package, "--requires")
    assert not {name for name in query(package, "--provides") if not name.startswith("virtcard")}
    (gnome,) = tmp_path.glob("virtcard-gnome-*.rpm")
    documents = {str(Path(file).relative_to("/usr/share/doc")) for file in files if file.startswith("/usr/share/doc/")}
    assert {"guide/README.md", "virtcard.py"} <= {name.partition("/")[2] for name in documents}
    extension = "/usr/share/gnome-shell/extensions/virtcard@virtcard.org/extension.js"
    assert {"/usr/bin/virtcard-gtk", extension} <= query(gnome, "--list")
    assert query(selinux, "--list") == {"/usr/share/selinux/packages/virtcard.pp"}


def query(package: Path, what: str) -> set[str]:
    shown = subprocess.run(
        ["rpm", "--query", "--package", what, str(package)], check=True, capture_output=True, text=True
    )
    return set(shown.stdout.splitlines())
