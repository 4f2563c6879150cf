"""The units, users and directories that systemd makes, judged by systemd's own tools."""

from __future__ import annotations

import grp
import os
import shutil
import stat
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from virtcard.domain.uri import SYSTEM_SOCKETS
from virtcard.names import BUS_NAME, SYSTEM_USER
from virtcard.settings import settings

SYSTEMD = Path(__file__).parents[2] / "contrib" / "systemd"
SERVICE = SYSTEMD / "virtcardd.service"
USER_SERVICE = SYSTEMD / "user" / "virtcardd.service"
AGENT_SERVICE = SYSTEMD / "user" / "virtcard-agent.service"
TMPFILES = SYSTEMD / "tmpfiles.d" / "virtcard.conf"

EXPOSURE_MAX = 20
"""Tenths, as `systemd-analyze security --threshold` counts: 2.0."""

TARGETS = ("sysinit.target", "basic.target", "shutdown.target", "graphical-session.target")


def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **more})


def read(unit: Path) -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the few units that ours refers to, and a virtcardd that can be executed."""
    daemon = tmp_path / "virtcardd"
    daemon.write_text("#!/bin/sh\n")
    daemon.chmod(0o755)
    folder = tmp_path / "units"
    folder.mkdir()
    for target in TARGETS:
        (folder / target).write_text("[Unit]\nDescription=stub\n")
    (folder / "dbus.socket").write_text("[Socket]\nListenStream=/run/stub\n")
    (folder / "dbus.service").write_text(f"[Service]\nExecStart={daemon}\n")
    return folder


def verify(units: Path, unit: Path, *options: str, changed: tuple[str, str] = ("", "")) -> str:
    """What `systemd-analyze verify` has to say; nothing when all is well (an unknown key is no failure to it)."""
    text = unit.read_text().replace("/usr/bin/virtcardd", str(units.parent / "virtcardd"))
    text = text.replace("/usr/bin/virtcard ", f"{units.parent / 'virtcardd'} ").replace(*changed)
    copy = units / unit.name
    copy.write_text(text)
    environment = {"SYSTEMD_UNIT_PATH": str(units), "XDG_RUNTIME_DIR": str(units.parent)}
    done = run("systemd-analyze", "verify", "--man=no", *options, str(copy), **environment)
    return done.stdout + done.stderr


def test_the_system_unit_is_valid(units: Path) -> None:
    assert verify(units, SERVICE) == ""


def test_the_user_unit_is_valid(units: Path) -> None:
    assert verify(units, USER_SERVICE, "--user") == ""


def test_the_unit_of_the_agent_is_valid_and_comes_and_goes_with_the_desktop(units: Path) -> None:
    assert verify(units, AGENT_SERVICE, "--user") == ""
    unit = read(AGENT_SERVICE)
    assert unit["Service"]["ExecStart"] == "/usr/bin/virtcard agent"
    assert {unit["Unit"]["PartOf"], unit["Install"]["WantedBy"]} == {"graphical-session.target"}


def test_a_misspelt_key_would_be_found(units: Path) -> None:
    assert "PrivatTmp" in verify(units, SERVICE, changed=("PrivateTmp", "PrivatTmp"))


def test_a_drop_in_may_load_a_credential(units: Path) -> None:
    more = ("[Service]\n", "[Service]\nLoadCredential=key:/etc/virtcard/key\n")
    assert verify(units, SERVICE, changed=more) == ""


def test_exposure_is_at_most_two() -> None:
    done = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(SERVICE)
    )
    assert done.returncode == 0, done.stdout


def test_the_units_own_the_bus_name_and_start_the_right_instance() -> None:
    system, user = read(SERVICE)["Service"], read(USER_SERVICE)["Service"]
    assert system["Type"] == user["Type"] == "dbus"
    assert system["BusName"] == user["BusName"] == BUS_NAME
    assert system["User"] == SYSTEM_USER
    assert system["ExecStart"] == "/usr/bin/virtcardd"
    assert user["ExecStart"] == "/usr/bin/virtcardd --session"


def test_nobody_who_is_away_keeps_the_daemon_from_starting() -> None:
    unit = read(SERVICE)["Unit"]
    assert {"libvirtd.service", "virtqemud.service", "pcscd.socket"} <= set(unit["After"].split())
    assert unit["Before"] == "libvirt-guests.service"
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & set(unit)


def test_the_socket_directory_is_never_a_runtime_directory() -> None:
    assert read(SERVICE)["Service"]["RuntimeDirectory"] == "virtcardd"
    assert "RuntimeDirectory" not in read(USER_SERVICE)["Service"]


def test_what_was_inserted_survives_a_restart_and_is_forgotten_at_a_stop() -> None:
    assert read(SERVICE)["Service"]["RuntimeDirectoryPreserve"] == "restart"


@pytest.mark.parametrize("file", [SERVICE, USER_SERVICE])
def test_a_daemon_that_crashes_or_hangs_is_started_again_however_often(file: Path) -> None:
    unit = read(file)
    assert unit["Service"]["Restart"] == "on-failure"
    assert unit["Service"]["RestartSec"] == "1s"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["WatchdogSec"] == "60s"


def test_there_is_room_for_a_thousand_bridges() -> None:
    service = read(SERVICE)["Service"]
    assert int(service["LimitNOFILE"]) >= 8 * 1000
    assert int(service["TasksMax"]) >= 2 * 1000


def test_apdus_in_memory_never_reach_a_core_file() -> None:
    assert read(SERVICE)["Service"]["LimitCORE"] == "0"


def test_stopping_the_user_unit_spares_the_machines_that_libvirt_put_in_it() -> None:
    """libvirt's client starts the session's libvirtd as its own child, so QEMU may live in this unit's cgroup."""
    service = read(USER_SERVICE)["Service"]
    assert service["KillMode"] == "process"
    assert service["SendSIGKILL"] == "no"
    inherited = {"NoNewPrivileges", "MemoryDenyWriteExecute", "RestrictAddressFamilies", "SystemCallFilter", "TasksMax"}
    assert not inherited & set(service)


def test_sysusers_makes_the_user_without_a_login(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "sysusers.d" / "virtcard.conf"))
    assert done.returncode == 0, done.stderr
    (entry,) = (tmp_path / "etc" / "passwd").read_text().splitlines()
    assert entry.split(":")[0] == SYSTEM_USER
    assert entry.endswith(":/var/lib/virtcard:/usr/sbin/nologin")


def test_tmpfiles_makes_a_socket_directory_that_only_the_group_may_use(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    user = f"{SYSTEM_USER}:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\n"
    (tmp_path / "etc" / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{user}")
    group = grp.getgrgid(os.getgid())
    (tmp_path / "etc" / "group").write_text(f"root:x:0:\n{SYSTEM_USER}:x:{group.gr_gid}:\n")
    inside = tmp_path / "virtcard.conf"
    shutil.copy(TMPFILES, inside)
    done = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", str(inside))
    assert (done.returncode, done.stderr) == (0, "")
    outer, inner = tmp_path / "run" / "virtcard", tmp_path / str(SYSTEM_SOCKETS).lstrip("/")
    assert stat.S_IMODE(outer.stat().st_mode) == 0o755
    assert stat.S_IMODE(inner.stat().st_mode) == 0o2750
    assert f"d {SYSTEM_SOCKETS} 2750 root {SYSTEM_USER} -" in TMPFILES.read_text().splitlines()
    assert stat.S_IMODE((outer / "hotplug").stat().st_mode) == 0o700


def test_hot_plugged_readers_have_a_place_that_the_daemon_may_write_and_that_outlives_it() -> None:
    chosen = settings(session=False, connect=None, socket_dir=None, environ={})
    assert f"d {chosen.hotplug_dir} 0700 {SYSTEM_USER} {SYSTEM_USER} -" in TMPFILES.read_text().splitlines()
    assert read(SERVICE)["Service"]["ReadWritePaths"] == f"-{chosen.hotplug_dir}"


def test_tmpfiles_never_removes_or_cleans_the_socket_directory() -> None:
    lines = [line.split() for line in TMPFILES.read_text().splitlines() if not line.startswith("#")]
    assert {line[0] for line in lines} == {"d"}
    assert {line[5] for line in lines} == {"-"}


def test_user_tmpfiles_makes_a_private_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    file = SYSTEMD / "user-tmpfiles.d" / "virtcard.conf"
    done = run("systemd-tmpfiles", "--user", "--create", str(file), XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert stat.S_IMODE((tmp_path / "virtcard").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "virtcard/hotplug").stat().st_mode) == 0o700


def test_everything_is_installed_where_its_owner_looks_for_it(tmp_path: Path) -> None:
    done = run(str(SYSTEMD / "install.sh"), str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    dbus = SYSTEMD.parents[1] / "dbus"
    installed = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    expected = {
        "lib/systemd/system/virtcardd.service",
        "lib/systemd/user/virtcardd.service",
        "lib/systemd/user/virtcard-agent.service",
        "lib/sysusers.d/virtcard.conf",
        "lib/tmpfiles.d/virtcard.conf",
        "share/user-tmpfiles.d/virtcard.conf",
        "share/dbus-1/system.d/org.virtcard1.conf",
        "share/dbus-1/system-services/org.virtcard1.service",
        "share/dbus-1/services/org.virtcard1.service",
        "share/polkit-1/actions/org.virtcard1.policy",
        "share/polkit-1/rules.d/50-virtcard.rules",
        "lib/virtcard/policy.d/50-virtcard.toml",
        *(f"share/dbus-1/interfaces/{path.name}" for path in dbus.glob("*.xml")),
    }
    assert installed == {Path("usr", path) for path in expected}


def test_every_file_beside_the_installer_is_installed(tmp_path: Path) -> None:
    run(str(SYSTEMD / "install.sh"), str(tmp_path))
    sources = [path for path in SYSTEMD.rglob("*") if path.is_file() and path.suffix != ".sh"]
    copies = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.read_bytes() in copies for path in sources)


@pytest.mark.parametrize(("activation", "unit"), [("", SERVICE), ("session", USER_SERVICE)])
def test_d_bus_starts_the_unit_that_is_installed(activation: str, unit: Path) -> None:
    file = SYSTEMD.parents[1] / "dbus" / activation / f"{BUS_NAME}.service"
    section = read(file)["D-BUS Service"]
    assert section["Name"] == BUS_NAME
    assert section["SystemdService"] == unit.name
