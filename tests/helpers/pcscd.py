"""A pcscd of our own with two vpcd readers, whatever pcscd the machine may run.

pcscd writes /run/pcscd/pcscd.pid and looks for /run/pcscd/pcscd.comm: both belong to the machine's own instance. So
ours gets its socket the way systemd hands it over (LISTEN_FDS), below a temporary directory, and a mount namespace
with an empty /run. Clients find it through PCSCLITE_CSOCK_NAME, which libpcsclite reads once per process: all
instances of one test process share one socket path, one after the other.

vpcd listens on every address (vpcd.c, opensock: INADDR_ANY); its other mode, connecting out, ends pcscd with SIGABRT
when nobody listens. The ports are private ones, picked anew for every instance.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

READERS: Final = ("Virtual PCD 00 00", "Virtual PCD 00 01")
DRIVER: Final = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
PATIENCE: Final = 10.0
"""Seconds that pcscd gets to start or to end; it takes about 20 ms."""

_EXEC: Final = (
    "mount -t tmpfs tmpfs /run && mkdir /run/pcscd"
    ' && LISTEN_PID=$$ exec /usr/sbin/pcscd --foreground --info --config "$CONF" $OPTIONS'
)

SOCKET: Final = Path(tempfile.gettempdir()) / f"pcscd-{os.getpid()}-{secrets.token_hex(4)}" / "pcscd.comm"
"""The one socket of this process."""

os.environ["PCSCLITE_CSOCK_NAME"] = str(SOCKET)


class Pcscd:
    """A running pcscd; a context manager. `port` is slot 0's, the next one is slot 1's.

    The directory of `path` is its own, and goes with it.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self.path = path
        self.port = 0
        self.name = "Virtual PCD"
        """Of its readers, at the next start: with another one, those that there were have been unplugged."""
        self.process: subprocess.Popen[bytes] | None = None
        self._log = path.with_suffix(".log")
        self._config = path.with_suffix(".conf")
        atexit.register(shutil.rmtree, path.parent, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """For a client process of its own."""
        return {**os.environ, "PCSCLITE_CSOCK_NAME": str(self.path)}

    @property
    def log(self) -> str:
        """What pcscd wrote since its last start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it and return when it serves both readers."""
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        for _ in range(10):
            self.port = self.port if self.port and _free(self.port) else free_pair()
            self._spawn()
            if self._ready():
                return
            self.stop()
        raise AssertionError(f"pcscd does not start:\n{self.log}")

    def stop(self) -> None:
        """End it by its pid and take the socket away, as if the package was removed."""
        self.path.unlink(missing_ok=True)
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.process = None

    def restart(self) -> None:
        """Stop and start again: on the same ports, with the same socket path."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if error is not None:
            print(self.log)
        shutil.rmtree(self.path.parent)

    def _spawn(self) -> None:
        self._config.write_text(
            f'FRIENDLYNAME "{self.name}"\nDEVICENAME /dev/null:{self.port:#x}\n'
            f"LIBPATH {DRIVER}\nCHANNELID {self.port:#x}\n"
        )
        namespace = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, self._log.open("wb") as log:
            listener.bind(str(self.path))
            listener.listen(64)
            self.process = subprocess.Popen(
                # sd_listen_fds() looks for the socket at descriptor 3. bash, since dash knows none above 9.
                ["unshare", *namespace, "bash", "-c", f"exec 3<&{listener.fileno()}; {_EXEC}"],
                pass_fds=[listener.fileno()],
                env={**os.environ, "LISTEN_FDS": "1", "CONF": str(self._config), "OPTIONS": _options()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _ready(self) -> bool:
        deadline = time.monotonic() + PATIENCE
        while self.process is not None and self.process.poll() is None and time.monotonic() < deadline:
            if "daemon ready" in self.log:
                return "Could not initialize" not in self.log
            time.sleep(0.005)
        return False


@cache
def _options() -> str:
    """Built with polkit (not so on Debian 12) pcscd must not ask it: the bus is in /run, out of its sight."""
    shown = subprocess.run(["/usr/sbin/pcscd", "--help"], capture_output=True, text=True, check=False)
    return "--disable-polkit" if "--disable-polkit" in shown.stdout + shown.stderr else ""


def free_pair() -> int:
    """Two free ports in a row, below the range that the kernel hands out for outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000, 2)
        if _free(port):
            return port


def _free(port: int) -> bool:
    try:
        for one in (port, port + 1):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("0.0.0.0", one))
    except OSError:
        return False
    return True
