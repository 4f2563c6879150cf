"""The JSON of every reading verb. These shapes only ever grow: keys are added, never renamed or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from virtcard.cli.advice import Problem, problems
from virtcard.cli.door import Objects, Properties
from virtcard.names import BRIDGE, CARD, DOMAIN, MANAGER, READER, ROOT_PATH

KINDS = {MANAGER: "manager", DOMAIN: "domain", READER: "reader", BRIDGE: "bridge", CARD: "card"}


class Domain(TypedDict):
    """One domain. `id` is None when it is off; "" means none in the texts. `hotplugged` are slots."""

    name: str
    uuid: str
    id: int | None
    state: str
    persistent: bool
    enabled: bool
    live: bool
    reader: str
    wish: str
    card: str
    foreign: str
    last_error: str
    mode: str
    tags: list[str]
    hint: str
    hotplugged: list[int]


class Reader(TypedDict):
    """One host reader. `atr` is upper-case hex, "" without a card; `domains` are UUIDs."""

    number: int
    name: str
    present: bool
    atr: str
    domains: list[str]


class Bridge(TypedDict):
    """One bridge. `since` tells when it came into its state, in microseconds since the epoch; `commands` counts by the
    name of the instruction."""

    domain: str
    slot: int
    source: str
    endpoint: str
    state: str
    since: int
    apdus: int
    last_error: str
    commands: dict[str, int]
    refused: int
    pin_failures: int
    pin_stops: int
    errors: int
    bytes_sent: int
    bytes_received: int
    traced_by: list[str]
    hint: str
    active: bool


class NamedBridge(Bridge):
    """One bridge among those of other domains: `name` is that of its domain."""

    name: str


class Finding(TypedDict):
    """One finding of a check: `severity` is "error" or "warning", `code` a stable word."""

    severity: str
    code: str
    message: str
    hint: str


class Info(Domain):
    """A domain with its bridges, and what would keep it from starting with a reader."""

    bridges: list[Bridge]
    findings: list[Finding]


class Grant(TypedDict):
    """What a person answered with "always". `when` is microseconds since the epoch."""

    id: str
    user: str
    uid: int
    when: int
    uuid: str
    domain: str
    source: str
    atr: str
    operations: list[str]


class Status(TypedDict):
    """The daemon: `libvirt` and `pcsc` are "connected", "connecting" or "away", `policy` "ok", "degraded" or "broken".

    The counts are of what there is now; `apdus`, `refused` and `pin_failures` are those of the bridges that run.
    `started` is microseconds since the epoch; `versions` has those that are known, by name; `metrics` is the file that
    is written for Prometheus; `agents` are the uids of the users who can be asked."""

    version: str
    uri: str
    libvirt: str
    pcsc: str
    instance: str
    policy: str
    policy_error: str
    domains: int
    enabled: int
    readers: int
    bridges: int
    apdus: int
    refused: int
    pin_failures: int
    traces: int
    started: int
    versions: dict[str, str]
    libvirt_error: str
    metrics: str
    agents: list[int]
    bridge_list: list[NamedBridge]
    problems: list[Problem]


class Change(TypedDict):
    """One line of `watch --json`. `event` is "added", "removed" or "changed"; `type` is domain, reader, bridge,
    card or manager.

    `properties` has the new values under the names of the shapes above."""

    event: str
    type: str
    path: str
    properties: dict[str, Any]


def domain(values: Properties) -> Domain:
    """The shape of one `.Domain`."""
    number = values["Id"]
    return Domain(
        name=values["Name"],
        uuid=values["Uuid"],
        id=None if number < 0 else number,
        state=values["State"],
        persistent=values["Persistent"],
        enabled=values["Enabled"],
        live=values["Live"],
        reader=values["Reader"],
        wish=values["Wish"],
        card=values["Card"],
        foreign=values["Foreign"],
        last_error=values["LastError"],
        mode=values["Mode"],
        tags=list(values["Tags"]),
        hint=values["Hint"],
        hotplugged=list(values["HotPlugged"]),
    )


def reader(path: str, values: Properties) -> Reader:
    """The shape of one `.Reader`."""
    return Reader(
        number=int(path.rpartition("/")[2]),
        name=values["Name"],
        present=values["Present"],
        atr=_plain(values["Atr"]),
        domains=[uuid_of(path) for path in values["Domains"]],
    )


def bridge(values: Properties) -> Bridge:
    """The shape of one `.Bridge`."""
    return Bridge(
        domain=uuid_of(values["Domain"]),
        slot=values["Slot"],
        source=values["Source"],
        endpoint=values["Endpoint"],
        state=values["State"],
        since=values["Since"],
        apdus=values["Apdus"],
        last_error=values["LastError"],
        commands=dict(values["Commands"]),
        refused=values["Refused"],
        pin_failures=values["PinFailures"],
        pin_stops=values["PinStops"],
        errors=values["Errors"],
        bytes_sent=values["BytesSent"],
        bytes_received=values["BytesReceived"],
        traced_by=list(values["TracedBy"]),
        hint=values["Hint"],
        active=values["Active"],
    )


def grant(values: Properties) -> Grant:
    """A grant of ListGrants."""
    return Grant(
        id=values["id"],
        user=values["user"],
        uid=values["uid"],
        when=values["when"],
        uuid=values["uuid"],
        domain=values["domain"],
        source=values["source"],
        atr=values["atr"],
        operations=list(values["operations"]),
    )


def finding(values: Mapping[str, str]) -> Finding:
    """The shape of one finding."""
    return Finding(
        severity=values.get("severity", "error"),
        code=values.get("code", ""),
        message=values.get("message", ""),
        hint=values.get("hint", ""),
    )


def status(manager: Properties, objects: Objects) -> Status:
    """The shape of the daemon as a whole."""
    every, running = domains(objects), bridges(objects)
    names = {each["uuid"]: each["name"] for each in every}
    return Status(
        version=manager["Version"],
        uri=manager["Uri"],
        libvirt=manager["Libvirt"],
        pcsc=manager["Pcsc"],
        instance=manager["Instance"],
        policy=manager["Policy"],
        policy_error=manager["PolicyError"],
        domains=len(every),
        enabled=sum(each["enabled"] for each in every),
        readers=len(readers(objects)),
        bridges=len(running),
        apdus=sum(each["apdus"] for each in running),
        refused=sum(each["refused"] for each in running),
        pin_failures=sum(each["pin_failures"] for each in running),
        traces=sum(len(each["traced_by"]) for each in running),
        started=manager["Started"],
        versions=dict(manager["Versions"]),
        libvirt_error=manager["LibvirtError"],
        metrics=manager["Metrics"],
        agents=list(manager["Agents"]),
        bridge_list=[NamedBridge(**each, name=names.get(each["domain"], "")) for each in running],
        problems=problems(manager, every, running),
    )


def change(kind: str, path: str, interface: str, values: Properties) -> Change:
    """The shape of one event."""
    return Change(
        event=kind,
        type=KINDS.get(interface, interface),
        path=path,
        properties={_snake(name): _value(name, value) for name, value in values.items()},
    )


def domains(objects: Objects) -> list[Domain]:
    """All domains, those that run first, as virsh sorts them."""
    found = [domain(values) for _, values in _with(objects, DOMAIN)]
    return sorted(found, key=lambda each: (each["id"] is None, each["id"] or 0, each["name"]))


def readers(objects: Objects) -> list[Reader]:
    """All host readers by number."""
    return sorted((reader(path, values) for path, values in _with(objects, READER)), key=lambda each: each["number"])


def soft_card_names(objects: Objects) -> list[str]:
    """The names of all software cards."""
    return sorted(values["Name"] for _, values in _with(objects, CARD))


def bridges(objects: Objects) -> list[Bridge]:
    """All bridges."""
    return sorted((bridge(values) for _, values in _with(objects, BRIDGE)), key=lambda b: (b["domain"], b["slot"]))


def uuid_of(path: str) -> str:
    """The UUID in the object path of a domain; a plain UUID stays one."""
    return path.removeprefix(f"{ROOT_PATH}/domain/").replace("_", "-")


def _with(objects: Objects, interface: str) -> Iterator[tuple[str, Properties]]:
    return ((path, interfaces[interface]) for path, interfaces in objects.items() if interface in interfaces)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(name))


def _value(name: str, value: Any) -> Any:
    if name == "Domain":
        return uuid_of(value)
    if name == "Domains":
        return [uuid_of(path) for path in value]
    if name == "Id" and value < 0:
        return None
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex().upper()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
