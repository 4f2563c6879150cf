"""The snippets for AppArmor and SELinux, judged by the compilers of their policies: no kernel here loads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.bus import REPOSITORY
from virtcard.domain.uri import SYSTEM_SOCKETS

APPARMOR = REPOSITORY / "contrib/apparmor/libvirt-qemu"
SELINUX = REPOSITORY / "contrib/selinux"
SYSTEM = Path("/etc/apparmor.d")
PROFILE = """
#include <tunables/global>
profile a-machine {
  #include <abstractions/libvirt-qemu>
}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """AppArmor's folder with libvirt's abstraction, and our rules where an administrator puts them."""
    for part in ("abi", "abstractions", "tunables", "local/abstractions"):
        shutil.copytree(SYSTEM / part, tmp_path / part)
    shutil.copy(APPARMOR, tmp_path / "local/abstractions/libvirt-qemu")
    (tmp_path / "profile").write_text(PROFILE)
    return tmp_path


def parse(policy: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--base", str(policy), *options]
    return subprocess.run([*words, str(policy / "profile")], check=False, capture_output=True, text=True, timeout=60)


def test_a_machines_profile_with_our_rules_is_valid(policy: Path) -> None:
    done = parse(policy)
    assert done.returncode == 0, done.stderr
    assert f"{SYSTEM_SOCKETS}/*.sock rw," in parse(policy, "--preprocess").stdout


def test_a_mistake_in_our_rules_would_be_found(policy: Path) -> None:
    snippet = policy / "local/abstractions/libvirt-qemu"
    snippet.write_text(snippet.read_text().replace(" rw,", " everything"))
    assert "syntax error" in parse(policy).stderr


def compile_module(folder: Path) -> subprocess.CompletedProcess[str]:
    """As the comment in the module says."""
    (text,) = re.findall(r"# +(checkmodule.*)\n# +(semodule_package.*)\n", (SELINUX / "virtcard.te").read_text())
    return subprocess.run(" && ".join(text), shell=True, cwd=folder, check=False, capture_output=True, text=True)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The sources of the module."""
    for file in SELINUX.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


def test_the_selinux_module_compiles_with_its_file_contexts(module: Path) -> None:
    done = compile_module(module)
    assert done.returncode == 0, done.stderr
    unpack = ["semodule_unpackage", "virtcard.pp", "unpacked.mod", "unpacked.fc"]
    subprocess.run(unpack, cwd=module, check=True)
    assert (module / "unpacked.fc").read_text() == (SELINUX / "virtcard.fc").read_text()


def test_a_type_that_nobody_declared_would_be_found(module: Path) -> None:
    text = (module / "virtcard.te").read_text()
    (module / "virtcard.te").write_text(text.replace("allow svirt_t", "allow svirt_of_mine_t"))
    done = compile_module(module)
    assert done.returncode != 0
    assert "svirt_of_mine_t" in done.stdout + done.stderr


def test_the_label_is_for_the_sockets_and_what_is_below(module: Path) -> None:
    (pattern, label) = (SELINUX / "virtcard.fc").read_text().split()
    assert re.fullmatch(pattern, str(SYSTEM_SOCKETS))
    assert re.fullmatch(pattern, f"{SYSTEM_SOCKETS}/x.sock")
    assert not re.fullmatch(pattern, "/run/virtcardd")
    assert label.split(":")[2] in (module / "virtcard.te").read_text()
