"""A virtcardd with many machines in a process of its own: the side of whoever measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.bus import private_bus
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.services import wish_metadata
from helpers.virtcardd import ALLOW_ALL
from virtcard.names import socket_name

RUNNING, OFF = 1, 5
"""virDomainState."""
STATE = "<test:runstate xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>{}</test:runstate>"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """What a process takes at one moment. `resident` is bytes, `processor` seconds since its start."""

    resident: int
    threads: int
    descriptors: int
    processor: float


class Hosted:
    """Made by `hosted`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return self._process.pid

    def figures(self) -> Figures:
        """As the kernel has them."""
        folder = Path(f"/proc/{self.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return Figures(
            resident=1024 * int(status["VmRSS"].split()[0]),
            threads=int(status["Threads"]),
            descriptors=len(os.listdir(folder / "fd")),
            processor=(int(fields[11]) + int(fields[12])) / TICKS,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """A method of `hosted_process.Host`."""
        return self.ask_all([(do, arguments)])[0]

    def ask_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        """Several at the same time; all that they return."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for number, (do, arguments) in enumerate(requests):
            self._process.stdin.write(json.dumps({"number": number, "do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        found: dict[int, Any] = {}
        while len(found) < len(requests):
            line = self._process.stdout.readline()
            assert line, "the daemon has ended"
            answer = json.loads(line)
            assert "error" not in answer, answer["error"]
            found[answer["number"]] = answer["value"]
        return [found[number] for number in range(len(requests))]


def sockets(home: Path, names: Sequence[str]) -> list[Path]:
    """Where the machines of these names listen."""
    return [home / "virtcard" / socket_name(domain_uuid(name)) for name in names]


def write_node(home: Path, wishes: dict[str, str], *, state: int = RUNNING) -> None:
    """Machines by name, each with its reader and a wish ("" for none)."""
    domains = [
        domain_xml(
            name,
            devices=XHCI + reader_xml(home / "virtcard" / socket_name(domain_uuid(name))),
            metadata=wish_metadata(wish) if wish else "",
            extra=STATE.format(state),
        )
        for name, wish in wishes.items()
    ]
    (home / "node.xml").write_text(f"<node>{''.join(domains)}</node>")
    (home / "virtcard").mkdir(exist_ok=True)


def card_store(home: Path) -> Path:
    """Where its software cards are."""
    return home / "data" / "virtcard" / "cards"


@contextmanager
def hosted(home: Path) -> Iterator[Hosted]:
    """virtcardd on HOME/node.xml; its policy allows everything."""
    policy = home / "config" / "virtcard" / "policy.d" / "50-own.toml"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(ALLOW_ALL)
    with private_bus() as bus, (home / "virtcardd.log").open("ab") as log:
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
        }
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hosted_process.py")), str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        ) as process:
            try:
                yield Hosted(process)
            finally:
                assert process.stdin is not None
                process.stdin.close()
