"""The Debian packages on a clean Debian: installed, used, upgraded, removed and purged.

The tests of a step stand on those before: pytest runs them in this order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.debian import build_packages
from helpers.debian_root import DebianRoot, as_version, debian_root
from helpers.system_host import SystemHost, boot
from helpers.waiting import wait_until
from virtcard.version import VERSION

pytestmark = pytest.mark.soak

BESIDE = ("libvirt-daemon-system", "libvirt-clients", "qemu-system-x86")
DAEMONS = ("dbus", "polkit", "virtlogd", "libvirtd", "pcscd")
LATER = "99.0"
STATE = ("/etc/virtcard", "/var/lib/virtcard", "/run/virtcard", "/run/virtcardd", "/usr/lib/virtcard")
LEFT = "/etc/tmpfiles.d/virtcard-left.conf"
SECRETS = "123456\n12345678\n"
POLICY = '[[rule]]\nvm = "job"\ncard = "card:jane"\naction = "allow"\n'
VM = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <controller type='usb' model='qemu-xhci'/>
    <video><model type='none'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
"""


@dataclass
class Debian:
    """The system, and what its package manager said at the last step."""

    root: DebianRoot
    host: SystemHost
    said: str = ""

    def apt(self, *words: str) -> str:
        """Do something with packages."""
        self.said = self.root.apt(*words)
        return self.said

    def define(self, name: str) -> str:
        """A domain that is off, and its configuration as libvirt has it."""
        self.host.virsh("define", "/dev/stdin", stdin=VM.format(name=name))
        wait_until(lambda: self.host.run("info", name).returncode == 0, 10, "the domain is on the bus")
        return self.xml(name)

    def xml(self, name: str) -> str:
        """The configuration of a domain."""
        return self.host.virsh("dumpxml", "--inactive", name)

    def files(self) -> set[str]:
        """Every file that could be ours, wherever it is."""
        places = ("/etc", "/usr", "/var", "/run", "/lib", "/root", "/opt", "/home", "/srv")
        found = self.root.check("find", *places, "-iname", "*virtcard*", "-not", "-path", "/var/cache/*")
        return set(found.split())


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages as `now`, and with a higher version as `later`."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "now").mkdir()
    (folder / "later").mkdir()
    for file in build_packages(folder / "now").values():
        as_version(file, LATER, folder / "later")
    return folder


@pytest.fixture(scope="module")
def clean(packages: Path) -> Iterator[DebianRoot]:
    with debian_root(packages) as root:
        yield root


@pytest.fixture(scope="module")
def installed(clean: DebianRoot) -> Debian:
    """The package and what it needs, and a host of virtual machines around it; its services run."""
    boot(clean)
    debian = Debian(clean, SystemHost(clean, needed=()))
    debian.apt("install", *BESIDE)
    debian.apt("install", *debs(clean, "now"))
    for daemon in DAEMONS:
        debian.host.start(daemon)
    debian.host.start_virtcardd()
    return debian


def debs(root: DebianRoot, folder: str) -> list[str]:
    """The files of the packages of a version."""
    return root.check("sh", "-c", f"ls /packages/{folder}/*.deb").split()


def test_it_brings_what_it_needs(installed: Debian) -> None:
    wanted = {"pcscd", "polkitd", "libpcsclite1", "libvirt0"}
    shown = installed.root.check("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n")
    assert {f"{name} installed" for name in (*wanted, "virtcard", "virtcard-gnome")} <= set(shown.splitlines())
    assert installed.root.check("dpkg", "--audit") == ""


def test_the_commands_run_as_anybody(installed: Debian) -> None:
    for command in ("virtcard", "virtcardd"):
        assert VERSION in installed.root.check(command, "--version", user="nobody")
    assert "vscclient" in installed.root.run("vscclient", user="nobody").stderr


def test_the_application_finds_its_libraries(installed: Debian) -> None:
    script = "import sys; sys.path.insert(0, '/usr/share/virtcard-gtk'); import virtcard_gtk.application"
    installed.root.check("python3", "-c", script, user="nobody")
    installed.root.check("sh", "-c", "ls /usr/share/virtcard-gtk/virtcard_gtk/__pycache__/application.*.pyc")


def test_modules_are_compiled_and_nobody_needs_to_write_there(installed: Debian) -> None:
    packages = "/usr/lib/virtcard/lib/python3.*/site-packages"
    assert installed.root.check("sh", "-c", f"ls {packages}/virtcard/daemon/__pycache__/run.*.pyc")
    assert installed.root.check("find", "/usr/lib/virtcard", "-perm", "/022", "-not", "-type", "l") == ""


def test_the_user_is_made_and_the_unit_is_to_start_at_boot(installed: Debian) -> None:
    assert installed.root.check("getent", "passwd", "virtcard").split(":")[5] == "/var/lib/virtcard"
    assert installed.root.check("stat", "--format=%U %G %a", "/run/virtcard/vm").split() == ["root", "virtcard", "2750"]
    wanted = "/etc/systemd/system/multi-user.target.wants/virtcardd.service"
    assert installed.root.check("readlink", wanted).strip().endswith("/systemd/system/virtcardd.service")


def test_the_agent_comes_with_the_desktop_and_a_users_daemon_when_it_is_called(installed: Debian) -> None:
    user = installed.root.check("find", "/etc/systemd/user", "-type", "l").split()
    assert user == ["/etc/systemd/user/graphical-session.target.wants/virtcard-agent.service"]


def test_the_doctor_finds_nothing(installed: Debian) -> None:
    """But that nobody is logged in there whom the vendor's rule could ask."""
    done = installed.host.run("doctor", "--json")
    bad = {each["check"]: each["message"] for each in json.loads(done.stdout) if each["result"] != "ok"}
    assert list(bad) == ["agents"], bad


def test_a_domain_gets_a_reader_and_a_card(installed: Debian) -> None:
    before = installed.define("job")
    assert "+    <smartcard mode='passthrough'" in installed.host.virtcard("enable", "job", "--dry-run")
    assert installed.xml("job") == before
    installed.host.virtcard("enable", "job")
    secrets = ("--pin-file", "-", "--puk-file", "-")
    words = ("card", "create", "jane", "--type", "piv", "--key", "p256", *secrets)
    installed.root.check("virtcard", *words, stdin=SECRETS)
    installed.root.check("tee", "/etc/virtcard/policy.d/10-job.toml", stdin=POLICY)
    installed.host.virsh("start", "job")
    installed.host.virtcard("insert", "job", "card:jane")
    wait_until(lambda: card_of(installed) == "card:jane", 20, "the card is in the machine")


def card_of(debian: Debian) -> str:
    card: str = debian.host.json("info", "job")["card"]
    return card


PLUGIN = """
cd /usr/local/lib
mkdir -p virtcard/plugins/toy-1.dist-info
cd virtcard/plugins
printf 'Metadata-Version: 2.1\nName: toy\nVersion: 1\n' >toy-1.dist-info/METADATA
printf '[virtcard.sources]\ntoy = toy:Toy\n' >toy-1.dist-info/entry_points.txt
printf 'def Toy(surroundings):\n    return lambda value: None\n' >toy.py
"""


def test_a_source_of_an_administrator_is_found_where_the_readme_says(installed: Debian) -> None:
    installed.root.shell(PLUGIN)
    sources = next(each for each in installed.host.json("doctor") if each["check"] == "sources")
    assert "toy" in sources["message"]
    installed.root.shell("rm -r /usr/local/lib/virtcard")


@pytest.fixture(scope="module")
def upgraded(installed: Debian) -> Debian:
    """The next version, while the daemon runs, which then is started again as the package's script wants of systemd."""
    installed.apt("install", *debs(installed.root, "later"))
    installed.host.restart_virtcardd()
    return installed


def test_an_upgrade_keeps_state_configuration_and_domains(upgraded: Debian) -> None:
    assert LATER in upgraded.root.check("virtcard", "--version")
    assert upgraded.host.json("status")["version"] == LATER
    assert upgraded.root.check("cat", "/etc/virtcard/policy.d/10-job.toml") == POLICY
    assert [card["name"] for card in upgraded.host.json("card", "list")] == ["jane"]
    assert upgraded.host.json("info", "job")["enabled"]
    assert "no virtual reader" not in upgraded.said


def test_an_upgrade_leaves_the_card_in_the_machine(upgraded: Debian) -> None:
    wait_until(lambda: card_of(upgraded) == "card:jane", 20, "the card is in the machine again")


@pytest.fixture(scope="module")
def removed(upgraded: Debian) -> Debian:
    """Removed while its daemon runs; systemd would have stopped that."""
    upgraded.define("other")
    upgraded.host.virtcard("enable", "other")
    upgraded.apt("remove", "virtcard")
    upgraded.host.stop("virtcardd")
    return upgraded


def test_the_removal_leaves_what_the_running_machine_needs(removed: Debian) -> None:
    assert "  job (runs)" in removed.said
    assert "  other (" not in removed.said
    assert LEFT in removed.files()


def test_the_removal_puts_every_domain_back(removed: Debian) -> None:
    assert "Domain 'job' has no virtual reader any more." in removed.said
    assert "<smartcard" not in removed.xml("job") + removed.xml("other")
    assert "virtcard" not in removed.xml("job") + removed.xml("other")


def test_the_running_machine_goes_on_and_starts_again_without_virtcard(removed: Debian) -> None:
    assert removed.host.virsh("domstate", "job").strip() == "running"
    removed.host.virsh("destroy", "job")
    removed.host.virsh("start", "job")
    removed.host.virsh("destroy", "job")


def test_the_removal_keeps_cards_and_rules(removed: Debian) -> None:
    kept = removed.files()
    assert "/var/lib/virtcard" in kept
    assert removed.root.check("ls", "/var/lib/virtcard/cards").split()
    assert removed.root.check("cat", "/etc/virtcard/policy.d/10-job.toml") == POLICY
    assert "/usr/bin/virtcard" not in kept
    assert "/usr/lib/virtcard" not in kept


def test_a_domain_is_put_back_by_libvirt_alone_when_the_daemon_does_not_run(removed: Debian) -> None:
    removed.apt("install", *debs(removed.root, "later"))
    removed.host.start_virtcardd()
    removed.host.virtcard("enable", "job")
    assert removed.host.stop("virtcardd") == 0
    removed.apt("remove", "virtcard")
    assert "trying once more, without virtcardd" in removed.said
    assert "Domain 'job' has no virtual reader any more." in removed.said
    assert "<smartcard" not in removed.xml("job")


def test_the_removal_succeeds_without_libvirt_and_names_what_is_left(removed: Debian) -> None:
    removed.apt("install", *debs(removed.root, "later"))
    removed.host.start_virtcardd()
    removed.host.virtcard("enable", "other")
    assert removed.host.stop("virtcardd") == 0
    removed.host.stop("libvirtd")
    removed.apt("remove", "virtcard")
    assert "these machines still have a virtual reader" in removed.said
    assert "  other (configuration)" in removed.said
    removed.host.start("libvirtd")
    removed.host.virsh("start", "other")
    removed.host.virsh("destroy", "other")
    removed.host.virsh("undefine", "other")


def test_the_purge_leaves_nothing(removed: Debian) -> None:
    removed.apt("purge", "virtcard", "virtcard-gnome")
    assert removed.files() == set()
    assert removed.root.run("getent", "passwd", "virtcard").returncode == 2
    assert removed.root.run("getent", "group", "virtcard").returncode == 2
    assert "virtcard" not in removed.root.check("dpkg-query", "--show")


@pytest.fixture(scope="module")
def again(removed: Debian) -> Debian:
    """Installed once more."""
    removed.apt("install", *debs(removed.root, "later"))
    return removed


def test_after_a_purge_it_can_be_installed_again(again: Debian) -> None:
    assert LATER in again.root.check("virtcard", "--version")
    assert LEFT not in again.files()


def test_a_purge_spares_what_a_saved_machine_needs_to_be_restored(again: Debian) -> None:
    again.host.start_virtcardd()
    again.host.virtcard("enable", "job")
    again.host.virsh("start", "job")
    again.host.virsh("managedsave", "job")
    again.apt("purge", "virtcard", "virtcard-gnome")
    again.host.stop("virtcardd")
    assert "  job (saved)" in again.said
    assert again.files() == {LEFT, "/run/virtcard"}
    assert again.root.check("stat", "--format=%U %G %a", "/run/virtcard/vm").split() == ["root", "root", "750"]
    again.host.virsh("start", "job")
    again.host.virsh("destroy", "job")


def test_a_later_purge_takes_that_as_well(again: Debian) -> None:
    again.apt("install", *debs(again.root, "later"))
    assert LEFT not in again.files()
    again.apt("purge", "virtcard", "virtcard-gnome")
    assert again.files() == set()
