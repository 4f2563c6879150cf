"""Who may import whom. The table is the house's plan: a new room gets a row, and a row grows only on purpose."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

HOUSE: Final = Path(__file__).parents[2]
IMPORT_ROOT: Final = HOUSE / "plugin"
PACKAGE: Final = "virtcard"

FOR_EVERYONE: Final = frozenset({"names", "errors", "limits", "version"})
EVERYTHING: Final = frozenset({"*"})

ROOMS: Final[dict[str, frozenset[str]]] = {
    "daemon": EVERYTHING,
    "settings": frozenset({"domain.uri", "policy.folders"}),  # a part of the daemon: which libvirt, which directories
    "notify": frozenset(),
    "watchdog": frozenset({"notify", "bridge.timers"}),  # a part of the daemon: whether it lives
    "journal": frozenset({"service.record"}),  # a part of the daemon: where its records go
    "metrics": frozenset({"metrics", "service"}),  # another: what it shows, for Prometheus
    "agent": frozenset({"agent", "bus.client"}),
    "cli": frozenset({"cli", "cli.local", "bus.client", "agent"}),  # the verb that runs the agent
    "cli.local": frozenset({"cli", "cli.local", "bus.client", "bridge", "card", "domain", "policy"}),
    "bus": frozenset({"bus", "service", "domain.finding"}),  # findings are what the service's checks answer
    "service": frozenset({"service", "bridge", "card", "domain", "policy"}),
    "bridge": frozenset({"bridge", "card", "wire"}),
    "bridge.spice.ticket": frozenset({"bridge", "card", "wire"}),  # of the bridge, and the one that may encrypt
    "card": frozenset({"card", "wire"}),
    "domain": frozenset({"domain"}),
    "policy": frozenset({"policy"}),
    "wire": frozenset({"wire"}),
    "names": frozenset(),
    "errors": frozenset(),
    "limits": frozenset(),
    "version": frozenset(),
    "": frozenset(),
}
"""Each room and the rooms it may import; the longest name that fits counts, and a row ends at a dot."""

PLAIN_ROOMS: Final = frozenset(
    {"wire", "bridge", "names", "errors", "limits", "version", "notify", "watchdog", "journal", ""}
)
"""Rooms that use the standard library alone."""

DOORS: Final = {
    "libvirt": ["domain.libvirt"],
    "libvirt_qemu": ["domain.libvirt"],
    "smartcard": ["card.reader"],
    "dbus_next": ["bus"],
    "lxml": ["domain"],
    "jinja2": ["domain"],
    "markupsafe": ["domain"],
    "cryptography": ["card", "bridge.spice.ticket"],
    "asyncinotify": ["card.soft.watch"],
    "msgspec": ["policy", "service", "card.soft"],
    "click": ["cli", "daemon"],
    "prometheus_client": ["metrics"],
    "rich": ["cli"],
}
"""Libraries from outside, and the modules or rooms that may import each."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of ours, named from below the package: `bridge.session`, "" for the package itself."""

    name: str
    path: Path

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    """The row of the table that a module belongs to."""
    parts = name.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((candidate for candidate in candidates if candidate in ROOMS), name)


def modules() -> list[Module]:
    found = []
    for path in sorted((IMPORT_ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(IMPORT_ROOT / PACKAGE).with_suffix("").parts
        found.append(Module(".".join(part for part in parts if part != "__init__"), path))
    return found


def imports(source: str) -> Iterator[str]:
    """Every imported name in full: `virtcard.wire.atr.t0_atr`, `dbus_next.service.method`, `.sibling`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from ("." * level + f"{module or ''}.{alias.name}".lstrip(".") for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if called(func) in DYNAMIC:
                yield name


DYNAMIC: Final = frozenset({"import_module", "__import__"})


def called(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def is_allowed(room: str, imported: str) -> bool:
    """The room may import this name of ours, given from below the package."""
    wanted = ROOMS[room] | FOR_EVERYONE
    return wanted >= EVERYTHING or is_within(imported, wanted)


def is_within(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


MODULES: Final = modules()
by_name = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or PACKAGE)


def of_ours(module: Module) -> list[str]:
    prefix = PACKAGE + "."
    return [name.removeprefix(prefix) for name in imports(module.path.read_text()) if name.startswith(prefix)]


def of_others(module: Module) -> set[str]:
    tops = {name.split(".")[0] for name in imports(module.path.read_text())}
    return tops - sys.stdlib_module_names - {PACKAGE}


@by_name
def test_every_module_lives_in_a_room_of_the_plan(module: Module) -> None:
    assert module.room in ROOMS


@by_name
def test_a_module_imports_only_the_rooms_that_it_may(module: Module) -> None:
    assert [name for name in of_ours(module) if not is_allowed(module.room, name)] == []


@by_name
def test_a_library_from_outside_comes_in_by_its_door(module: Module) -> None:
    assert [library for library in of_others(module) if not is_within(module.name, DOORS.get(library, []))] == []


@by_name
def test_a_plain_room_uses_the_standard_library_alone(module: Module) -> None:
    assert module.room not in PLAIN_ROOMS or of_others(module) == set()


@by_name
def test_imports_are_written_in_full(module: Module) -> None:
    assert [name for name in imports(module.path.read_text()) if name.startswith(".")] == []


@by_name
def test_annotations_are_not_evaluated_except_where_dbus_next_reads_them(module: Module) -> None:
    source = module.path.read_text()
    reads_annotations = module.room == "bus" and "dbus_next.service" in source
    is_only_docstring = all(isinstance(node, ast.Expr) for node in ast.parse(source).body)
    assert (
        reads_annotations
        or is_only_docstring
        or "__future__.annotations" in set(imports(source))
        or (module.name == "version")
    )


@pytest.mark.parametrize("folder", ["dbus", "xml"])
def test_data_folders_hold_no_python(folder: str) -> None:
    # An importable `xml` breaks the standard library.
    assert sorted((HOUSE / folder).rglob("*.py*")) == []


def test_the_rules_are_those_of_the_plan() -> None:
    assert is_allowed("bridge", "wire.atr.t0_atr")
    assert is_allowed("wire", "limits")
    assert not is_allowed("bridge", "service.api.Service")
    assert not is_allowed("card", "policy.model")
    assert not is_allowed("cli", "bus.clientele")
    assert not is_allowed("cli", "domain.plan")
    assert room_of("cli.local.doctor.verb") == "cli.local"
    assert room_of("cli.list") == "cli"


def test_the_reader_of_imports_sees_them_all() -> None:
    source = """
import os.path, libvirt
from virtcard import limits
from virtcard.wire.atr import t0_atr as rewrite
from . import sibling
from ..far import away
def late():
    import smartcard
    importlib.import_module("dbus_next.aio")
    __import__("rich")
"""
    assert set(imports(source)) == {
        "os.path",
        "libvirt",
        "virtcard.limits",
        "virtcard.wire.atr.t0_atr",
        ".sibling",
        "..far.away",
        "smartcard",
        "dbus_next.aio",
        "rich",
    }
