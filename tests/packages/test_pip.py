"""virtcard as pip installs it for one user: a wheel in a fresh venv, whose virtcardd the user's own bus starts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.bus import REPOSITORY, private_bus
from helpers.waiting import wait_until
from virtcard.names import BUS_NAME
from virtcard.version import VERSION

INSTALLER = REPOSITORY / "contrib/systemd/install-user.sh"
WHEELS = REPOSITORY / ".cache/wheels"
SERVICES = "<type>session</type><standard_session_servicedirs/>"


def run(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its commands; of the network it has nothing."""
    folder = tmp_path_factory.mktemp("pip")
    source = folder / "source"
    assert run(REPOSITORY / "contrib/bundle/stage.sh", source).returncode == 0
    assert run("/usr/bin/python3", "-m", "venv", folder / "venv").returncode == 0
    pip = (folder / "venv/bin/pip", "install", "--isolated", "--no-index", "--find-links", WHEELS)
    done = run("unshare", "--net", *pip, source)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "venv/bin"


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """A user's directories, as the variables that tell of them. Short, for sockets."""
    with TemporaryDirectory(prefix="vp-") as name:
        folder = Path(name)
        places = {"HOME": folder, "XDG_RUNTIME_DIR": folder / "run"}
        places |= {"XDG_CONFIG_HOME": folder / "config", "XDG_DATA_HOME": folder / "data"}
        (folder / "run").mkdir(mode=0o700)
        yield {key: str(path) for key, path in places.items()}


def install(venv: Path, home: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return run(INSTALLER, *options, **home, PATH=f"{venv}:{os.environ['PATH']}")


def files(home: dict[str, str]) -> set[str]:
    folder = Path(home["HOME"])
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_commands_are_there(venv: Path) -> None:
    assert run(venv / "virtcard", "--version").stdout == f"virtcard {VERSION}\n"
    assert run(venv / "virtcardd", "--version").stdout == f"virtcardd, version {VERSION}\n"


def test_the_users_own_bus_starts_its_daemon(venv: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = install(venv, home)
    assert (done.returncode, done.stderr) == (0, "")
    away = {"LIBVIRT_AUTOSTART": "0", **home}
    for key, value in away.items():
        monkeypatch.setenv(key, value)  # the bus hands it on to whom it starts
    with private_bus(extra=SERVICES) as bus:
        asked = run(venv / "virtcard", "--session", "status", "--json", DBUS_SESSION_BUS_ADDRESS=bus.address)
        assert asked.returncode == 0, asked.stderr
        status = json.loads(asked.stdout)
        assert (status["version"], status["instance"]) == (VERSION, "session")
        words = ("busctl", f"--address={bus.address}", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus")
        pid = int(run(*words, "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", BUS_NAME).stdout.split()[1])
        assert str(venv) in Path(f"/proc/{pid}/cmdline").read_text()
        bus.stop()
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 15, "the daemon has ended with its bus")


def test_the_units_start_what_pip_has_installed_and_are_valid(venv: Path, home: dict[str, str]) -> None:
    install(venv, home)
    for name, command in (("virtcardd", "virtcardd --session"), ("virtcard-agent", "virtcard agent")):
        unit = Path(home["XDG_CONFIG_HOME"]) / f"systemd/user/{name}.service"
        assert f"ExecStart={venv}/{command}\n" in unit.read_text()
        assert run("systemd-analyze", "verify", "--man=no", "--user", unit, **home).stderr == ""


def test_the_socket_directory_is_made_at_once(venv: Path, home: dict[str, str]) -> None:
    install(venv, home)
    assert (Path(home["XDG_RUNTIME_DIR"]) / "virtcard").is_dir()


def test_it_can_be_undone(venv: Path, home: dict[str, str]) -> None:
    install(venv, home)
    assert len(files(home)) == 4
    assert install(venv, home, "--remove").returncode == 0
    assert files(home) == set()


def test_without_virtcardd_in_the_path_it_says_so(home: dict[str, str]) -> None:
    done = run(INSTALLER, **home, PATH="/usr/bin:/bin")
    assert done.returncode == 1
    assert done.stderr == "install-user.sh: virtcardd is not in your PATH\n"
    assert files(home) == set()
