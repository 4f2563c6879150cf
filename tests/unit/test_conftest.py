"""What tests/conftest.py sees to: skipped tests, runs that are ended, and soak tests that have little time."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import wait_until

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def pytest_command(folder: Path, body: str) -> list[str]:
    """What runs a folder of its own with that test in it, under our conftest."""
    shutil.copy(CONFTEST, folder)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {CONFTEST.parent}\n")
    (folder / "test_it.py").write_text(f"import pytest\n{body}\n")
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)]


def run_pytest(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(pytest_command(folder, body), check=False, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize(
    "body",
    [
        "def test_a(): pytest.skip('no card')",
        "@pytest.mark.skip(reason='no card')\ndef test_a(): pass",
        "@pytest.mark.skipif(True, reason='no card')\ndef test_a(): pass",
        "@pytest.fixture\ndef card(): pytest.skip('no card')\ndef test_a(card): pass",
        "pytest.skip('no card', allow_module_level=True)",
        "pytest.importorskip('no_such_module', reason='no card')",
    ],
)
def test_a_skip_is_a_failure_that_tells_its_reason(tmp_path: Path, body: str) -> None:
    ended = run_pytest(tmp_path, body)
    assert ended.returncode != 0
    assert "no card" in ended.stdout
    assert "A skipped test is a failure here" in ended.stdout


def test_a_passing_test_and_an_expected_failure_stay_what_they_are(tmp_path: Path) -> None:
    body = "def test_a(): pass\n@pytest.mark.xfail\ndef test_b(): assert False"
    ended = run_pytest(tmp_path, body)
    assert ended.returncode == 0, ended.stdout
    assert "1 passed, 1 xfailed" in ended.stdout


def test_sigterm_ends_a_run_with_its_fixtures(tmp_path: Path) -> None:
    body = """
import pathlib, threading
@pytest.fixture
def machine():
    pathlib.Path("up").touch()
    yield
    pathlib.Path("up").unlink()
def test_a(machine): threading.Event().wait(60)
"""
    running = subprocess.Popen(pytest_command(tmp_path, body), cwd=tmp_path, stdout=subprocess.DEVNULL)
    wait_until((tmp_path / "up").exists, 20, "the fixture is up")
    running.terminate()
    assert running.wait(20) != 0
    assert not (tmp_path / "up").exists()


SOAK_TESTS = """
@pytest.mark.soak(minutes=3)
def test_three(): pass
@pytest.mark.soak(minutes=1)
def test_one(): pass
@pytest.mark.soak
def test_any(): pass
def test_short(): pass
@pytest.mark.soak(minutes=5)
def test_five(): pass
"""


@pytest.mark.parametrize(
    ("minutes", "ran"),
    [("0.5", []), ("1", ["one"]), ("3.5", ["one"]), ("9", ["one", "three", "five"]), ("999", ["one", "three", "five"])],
)
def test_soak_tests_that_fit_into_the_time_are_the_shortest(tmp_path: Path, minutes: str, ran: list[str]) -> None:
    command = [*pytest_command(tmp_path, SOAK_TESTS), "-vv", "--minutes", minutes]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert re.findall(r"::test_(\w+) PASSED", ended.stdout) == ran
    assert f"{5 - len(ran)} deselected" in ended.stdout
