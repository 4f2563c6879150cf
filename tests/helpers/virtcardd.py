"""A real virtcardd on a private session bus, and the virtcard command beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.waiting import wait_until

BIN = Path(sys.executable).parent
START_PATIENCE = 60.0
"""Seconds; on a machine that does much else its imports alone take ten."""
STOP_PATIENCE = 10.0

ALLOW_ALL = """\
# Every machine may use every card, with every command, to the last try of its PIN, and nobody is asked.
[[rule]]
action = "allow"
commands = "full"
pin-reserve = 0
"""


class Virtcardd:
    """A running daemon. `environment` is that of its clients too."""

    def __init__(self, environment: Mapping[str, str], directory: Path, *arguments: str) -> None:
        self.environment = dict(environment)
        self._log = directory / "virtcardd.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._answer: subprocess.CompletedProcess[str] | None = None

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        assert self._process is not None, "virtcardd is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged since its first start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it and return when it is on the bus."""
        self.spawn()
        try:
            wait_until(self._serves, START_PATIENCE, "virtcardd serves the bus")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._answer}; its log:\n{self.log[-4000:]}") from None

    def spawn(self) -> None:
        """Start it and do not wait."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "virtcardd", "--verbose", *self._arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
            )  # fmt: skip

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as systemd does; its exit code."""
        return self._end(signal.SIGTERM)

    @property
    def policy_file(self) -> Path:
        """Where its user writes rules."""
        return Path(self.environment["XDG_CONFIG_HOME"], "virtcard/policy.d/50-own.toml")

    def policy(self, rules: str) -> None:
        """These are the user's rules from now on."""
        self.policy_file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.policy_file.with_suffix(".part")
        partial.write_text(rules)
        partial.rename(self.policy_file)

    def hang_up(self) -> None:
        """SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the virtcard command, whatever comes of it."""
        return subprocess.run(
            [BIN / "virtcard", "--session", *arguments],
            check=False, capture_output=True, text=True, input=stdin, env=self.environment, timeout=timeout,
        )  # fmt: skip

    def virtcard(self, *arguments: str) -> str:
        """What the virtcard command prints; the test fails when it does not succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"virtcard {' '.join(arguments)}: {done.stderr}\n{self.log[-4000:]}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The JSON that a reading verb prints."""
        return json.loads(self.virtcard(*arguments, "--json"))

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"virtcardd ended with {self._process.returncode}"
        self._answer = self.run("status")
        return self._answer.returncode == 0

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(STOP_PATIENCE)


@contextmanager
def session_virtcardd(environment: Mapping[str, str], directory: Path, *arguments: str) -> Iterator[Virtcardd]:
    """A session instance, running; ended afterwards. Its user's policy allows everything."""
    places = {"XDG_CONFIG_HOME": str(directory / "config"), "XDG_DATA_HOME": str(directory / "data")}
    daemon = Virtcardd({**places, **environment}, directory, "--session", *arguments)
    daemon.policy(ALLOW_ALL)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
