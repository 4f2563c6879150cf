"""A real QEMU with SPICE, and real viewers of Debian's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from helpers.network import free_port
from helpers.pki import Authority, Issued, lay_out
from helpers.waiting import wait_until
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.spice.clients import Session
from virtcard.bridge.spice.qmp import QmpSocket
from virtcard.bridge.spice.security import SpiceSecurity
from virtcard.bridge.spice.settings import SpiceSettings

PASSWORD = "a ticket"
Way = Literal["tcp", "tls", "unix"]
Viewer = Literal["spicy", "remote-viewer"]


@dataclass(frozen=True)
class SpiceHost:
    """Where a QEMU's SPICE server is, and its monitor."""

    directory: Path
    name: str
    port: int
    tls_port: int

    @classmethod
    def make(
        cls, directory: Path, name: str = "guest", server: Issued | None = None, authority: Authority | None = None
    ) -> SpiceHost:
        authority = authority or Authority()
        lay_out(directory / "pki", authority, server=server or authority.issue())
        return cls(directory, name, free_port(), free_port())

    @property
    def ca_file(self) -> Path:
        return self.directory / "pki" / "ca-cert.pem"

    @property
    def monitor(self) -> QmpSocket:
        return QmpSocket(str(self.directory / f"{self.name}.qmp"))

    def arguments(self, *, unix: bool = False) -> list[str]:
        """For QEMU: a server on TCP and TLS, or on a unix socket, and a reader whose card comes over it."""
        where = (
            f"unix=on,addr={self.directory / 'spice'}"
            if unix
            else f"addr=127.0.0.1,port={self.port},tls-port={self.tls_port},x509-dir={self.directory / 'pki'}"
        )
        return [
            *("-object", f"secret,id=ticket,data={PASSWORD}", "-spice", f"{where},password-secret=ticket"),
            *("-device", "VGA", "-device", "usb-ccid,id=ccid", "-chardev", "spicevmc,id=card,name=smartcard"),
            *("-device", "ccid-card-passthru,chardev=card,bus=ccid.0"),
        ]

    def endpoint(self, way: Way) -> Endpoint:
        if way == "unix":
            return Endpoint(Scheme.SPICE_UNIX, path=str(self.directory / "spice"))
        scheme, port = (Scheme.SPICE, self.port) if way == "tcp" else (Scheme.SPICE_TLS, self.tls_port)
        return Endpoint(scheme, host="127.0.0.1", port=port)

    def settings(self, **changes: object) -> SpiceSettings:
        """What a bridge needs, which asks the monitor."""
        chosen: dict[str, object] = {
            "password": PASSWORD.encode(), "look": self.monitor.clients, "security": SpiceSecurity(self.ca_file)
        }  # fmt: skip
        return SpiceSettings(**(chosen | changes))  # type: ignore[arg-type]

    def sessions(self) -> tuple[Session, ...]:
        """Who is connected."""
        return self.monitor.clients()

    def wait_sessions(self, condition: Callable[[tuple[Session, ...]], object], what: str, timeout: float = 30) -> None:
        wait_until(lambda: condition(self.sessions()), timeout, what, 0.1)


@contextmanager
def paused_qemu(host: SpiceHost, *, unix: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A machine before its first instruction."""
    process = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"),
            *("-qmp", f"unix:{host.directory / host.name}.qmp,server=on,wait=off", "-device", "qemu-xhci"),
            *host.arguments(unix=unix),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(host), 20, "QEMU's monitor")
        yield process
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def viewer(host: SpiceHost, program: Viewer, *options: str) -> Iterator[int]:
    """A viewer of Debian's on a screen that nobody sees; the number of its session, once its channels are open."""
    with _screen() as display:
        words = {
            "spicy": ["spicy", "-h", "127.0.0.1", "-p", str(host.port), "-w", PASSWORD],
            "remote-viewer": ["remote-viewer", str(_connection_file(host))],
        }[program]
        before = {session.connection_id for session in host.sessions()}
        environment = os.environ | {"DISPLAY": display, "GDK_BACKEND": "x11", "HOME": str(host.directory)}
        with (host.directory / "viewer.log").open("wb") as log:
            process = subprocess.Popen([*words, *options], env=environment, stdout=log, stderr=log)
        try:
            found: list[int] = []

            def connected() -> bool:
                assert process.poll() is None, (host.directory / "viewer.log").read_text(errors="replace")
                found[:] = [
                    session.connection_id
                    for session in host.sessions()
                    if session.connection_id not in before and session.is_settled
                ]
                return bool(found)

            wait_until(connected, 60, "the viewer's channels", 0.1)
            yield found[0]
        finally:
            process.kill()
            process.wait(10)


def _connection_file(host: SpiceHost) -> Path:
    """What remote-viewer opens."""
    path = host.directory / "console.vv"
    path.write_text(f"[virt-viewer]\ntype=spice\nhost=127.0.0.1\nport={host.port}\npassword={PASSWORD}\n")
    return path


@contextmanager
def _screen() -> Iterator[str]:
    """An X server that draws nowhere."""
    with subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            yield f":{server.stdout.readline().strip()}"
        finally:
            server.terminate()
            server.wait(10)


def _answers(host: SpiceHost) -> bool:
    try:
        host.sessions()
    except Exception:  # noqa: BLE001 (not yet)
        return False
    return True
