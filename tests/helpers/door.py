"""A virtcardd that lives in a dictionary, for tests of the command line alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from virtcard.cli.door import Objects, Properties
from virtcard.cli.options import Choice
from virtcard.errors import NoSuchDomain, VirtcardError
from virtcard.names import BRIDGE, DOMAIN, MANAGER, READER, ROOT_PATH, bridge_path, domain_path, reader_path

WIN11 = UUID("c9024a97-9b15-46cc-8341-38d75d5d421b")
FEDORA = UUID("11111111-2222-3333-4444-555555555555")
ATR = bytes.fromhex("3BF81300008131FE15597562696B657934D4")


def domain_properties(uuid: UUID, name: str, **changed: object) -> dict[str, Any]:
    """A domain that is off and has nothing, with changes."""
    plain: dict[str, Any] = {
        "Name": name,
        "Uuid": str(uuid),
        "Id": -1,
        "State": "shut off",
        "Persistent": True,
        "Enabled": False,
        "Live": False,
        "Reader": "absent",
        "Mode": "",
        "Wish": "",
        "Tags": [],
        "HotPlugged": [],
        "Card": "",
        "Foreign": "",
        "LastError": "",
        "Hint": "",
    }
    return plain | changed


def two_domains() -> dict[str, dict[str, dict[str, Any]]]:
    """win11 runs with the card of a YubiKey in it; fedora is off, with a SPICE smart card."""
    return {
        ROOT_PATH: {
            MANAGER: {
                "Version": "0.1.0",
                "Uri": "qemu:///system",
                "Libvirt": "connected",
                "Pcsc": "connected",
                "Instance": "system",
                "Policy": "ok",
                "PolicyError": "",
                "Started": 1_600_000_000_000_000,
                "LibvirtError": "",
                "Versions": {"virtcard": "0.1.0", "libvirt": "9.0.0", "qemu": "7.2.11", "pcsc-lite": "1.9.9"},
                "Metrics": "",
                "Agents": [],
            }
        },
        domain_path(FEDORA): {DOMAIN: domain_properties(FEDORA, "fedora", Reader="foreign", Foreign="spicevmc")},
        domain_path(WIN11): {
            DOMAIN: domain_properties(
                WIN11,
                "win11",
                Id=3,
                State="running",
                Enabled=True,
                Live=True,
                Reader="present",
                Mode="bridge",
                Wish="reader:Yubico*",
                Card="reader:Yubico*",
            )
        },
        reader_path(0): {
            READER: {
                "Name": "Yubico YubiKey CCID 00 00",
                "Present": True,
                "Atr": ATR,
                "Domains": [domain_path(WIN11)],
            }
        },
        bridge_path(WIN11, 0): {
            BRIDGE: {
                "Domain": domain_path(WIN11),
                "Slot": 0,
                "Source": "reader:Yubico*",
                "Endpoint": f"unix:///run/virtcard/vm/{WIN11}.sock",
                "State": "inserted",
                "Since": 1_700_000_000_000_000,
                "Apdus": 12,
                "Commands": {"SELECT": 3, "VERIFY": 9},
                "Refused": 0,
                "PinFailures": 1,
                "Active": False,
                "PinStops": 0,
                "Errors": 0,
                "BytesSent": 140,
                "BytesReceived": 96,
                "TracedBy": [],
                "LastError": "",
                "Hint": "",
            }
        },
    }


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of the fake."""

    kind: str
    path: str
    interface: str
    properties: Properties


@dataclass
class FakeDoor:
    """Answers from `world`; `answers` by member, an exception is raised; `calls` remembers (path, member, body)."""

    world: dict[str, dict[str, dict[str, Any]]] = field(default_factory=two_domains)
    answers: dict[str, Any] = field(default_factory=dict)
    happened: list[Happened] = field(default_factory=list)
    calls: list[tuple[str, str, tuple[Any, ...]]] = field(default_factory=list)
    closed: bool = False

    def find_domain(self, text: str) -> str:
        """By name, UUID or id."""
        for path, interfaces in self.world.items():
            values = interfaces.get(DOMAIN, {})
            if text in (values.get("Name"), values.get("Uuid"), str(values.get("Id"))):
                return path
        raise NoSuchDomain(f"There is no domain '{text}'.", hint="See 'virtcard list'.")

    def objects(self) -> Objects:
        """The whole world."""
        return self.world

    def properties(self, path: str, interface: str) -> Properties:
        """One interface."""
        return self.world[path][interface]

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        timeout: float = 25.0,
    ) -> list[Any]:
        """The prepared answer of `member`; an answer per path when it is a dictionary of paths."""
        self.calls.append((path, member, body))
        answer = self.answers.get(member, [[]])
        if isinstance(answer, dict):
            answer = answer[path]
        if isinstance(answer, VirtcardError):
            raise answer
        return list(answer)

    def confide(
        self,
        path: str,
        interface: str,
        member: str,
        *,
        signature: str,
        body: tuple[Any, ...],
        secrets: Mapping[str, Any],
    ) -> dict[str, Any]:
        """As a call, with the secrets behind its arguments."""
        (outcome,) = self.call(path, interface, member, signature, (*body, secrets)) or ({},)
        return dict(outcome)

    def events(self, timeout: float | None = None) -> Iterator[Happened]:
        """What happened."""
        return iter(self.happened)

    def choice(self) -> Choice:
        """What the command line takes instead of a bus."""
        return Choice(lambda: "system", lambda bus: self.open())

    @contextmanager
    def open(self) -> Iterator[FakeDoor]:
        """Like `Client.open`, and `closed` afterwards."""
        try:
            yield self
        finally:
            self.closed = True


def changed(*, diff: str = "", pending: bool = True, findings: tuple[dict[str, str], ...] = ()) -> list[Any]:
    """The answer of Enable and Disable when they changed something."""
    return [{"changed": True, "diff": diff, "pending": pending, "findings": list(findings)}]


def unchanged() -> list[Any]:
    """Their answer when there was nothing to do."""
    return [{"changed": False, "diff": "", "pending": False, "findings": []}]
