"""For all tests: a test that cannot run has failed, and a run that is ended cleans up."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from helpers.installed import is_current
from helpers.network import stay_on_loopback
from helpers.soak import fitting

stay_on_loopback()

settings.register_profile("virtcard", deadline=None)  # how long an example takes depends on what runs beside it
settings.load_profile("virtcard")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--minutes` is for `make soak MINUTES=10`."""
    parser.addoption("--minutes", type=float, help="of the soak tests, the shortest, as many as fit into this time")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--minutes`, leave the tests out that do not fit in."""
    minutes = config.getoption("--minutes")
    if minutes is not None:
        chosen = fitting(items, minutes)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_configure() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that the daemons and virtual machines of the fixtures end too.

    And let Ctrl-C be heard: a shell has what it starts in the background ignore it, and so would all programs here.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("ended by SIGTERM"))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart() -> None:
    """End at once when virtcard was installed from another pyproject.toml."""
    if not is_current():
        pytest.exit("pyproject.toml has changed since virtcard was installed here; run: make deps", 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into a failure."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a module into a failure."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason}\nA skipped test is a failure here: give it what it needs (make deps)."
