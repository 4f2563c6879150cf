"""The documented introspection in dbus/ against the code, and against the bouncer's table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from dbus_next.service import ServiceInterface

from helpers.bus import REPOSITORY
from helpers.fake_service import FakeService, bridge_view, card_view, domain_view, reader_view
from virtcard.bus.agents import AgentDoor
from virtcard.bus.bouncer import LOOK, OPEN, TABLE
from virtcard.bus.bridge import BridgeInterface
from virtcard.bus.card import CardInterface
from virtcard.bus.domain import DomainInterface
from virtcard.bus.manager import ManagerInterface
from virtcard.bus.reader import ReaderInterface
from virtcard.bus.shown import Shown
from virtcard.names import (
    ACTION_EJECT,
    ACTION_ENABLE,
    ACTION_INSERT,
    ACTION_MANAGE_CARDS,
    ACTION_POLICY,
    ACTION_TRACE,
    AGENT,
    BRIDGE,
    CARD,
    DOMAIN,
    MANAGER,
    READER,
)

CALLED_BACK = {AGENT}
"""What others export and the daemon calls."""
FILES = sorted((REPOSITORY / "dbus").glob("*.xml"))
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def interfaces() -> list[Shown[Any]]:
    service = FakeService()
    return [
        ManagerInterface(service, service.status(), cast("AgentDoor", None)),
        DomainInterface(service, domain_view()),
        ReaderInterface(reader_view()),
        BridgeInterface(bridge_view()),
        CardInterface(service.cards, card_view()),
    ]


def documented() -> Iterator[ElementTree.Element]:
    for path in FILES:
        yield from ElementTree.parse(path).iter("interface")


def members(interface: ElementTree.Element) -> set[tuple[str, ...]]:
    """Methods with their signatures, and properties with type and access; names of out arguments do not count:
    dbus-next knows none."""
    found: set[tuple[str, ...]] = set()
    for method in interface.iter("method"):
        arguments = [(each.get("direction", "in"), each.get("type", "")) for each in method.iter("arg")]
        ins = [type_ for direction, type_ in arguments if direction == "in"]
        outs = [type_ for direction, type_ in arguments if direction == "out"]
        found.add(("method", method.get("name", ""), " ".join(ins), " ".join(outs)))
    for each in interface.iter("property"):
        found.add(("property", each.get("name", ""), each.get("type", ""), each.get("access", "")))
    return found


def test_each_interface_has_its_file() -> None:
    assert {path.stem for path in FILES} == {MANAGER, DOMAIN, READER, BRIDGE, CARD} | CALLED_BACK
    assert {path.stem: each.get("name") for path, each in zip(FILES, documented(), strict=True)} == {
        path.stem: path.stem for path in FILES
    }


@pytest.mark.parametrize("exported", interfaces(), ids=lambda each: each.name)
def test_introspection_is_what_is_documented(exported: Shown[Any]) -> None:
    (file,) = [each for each in documented() if each.get("name") == exported.name]
    assert members(exported.introspect().to_xml()) == members(file)


def test_in_arguments_have_the_documented_names() -> None:
    for exported in interfaces():
        (file,) = [each for each in documented() if each.get("name") == exported.name]
        for method in file.iter("method"):
            expected = [each.get("name") for each in method.iter("arg") if each.get("direction") == "in"]
            (code,) = [each for each in exported.introspect().methods if each.name == method.get("name")]
            assert [each.name for each in code.in_args] == expected


def test_silent_properties_are_documented_so() -> None:
    for exported in interfaces():
        (file,) = [each for each in documented() if each.get("name") == exported.name]
        silent = {
            each.get("name")
            for each in file.iter("property")
            for annotation in each.iter("annotation")
            if (annotation.get("name"), annotation.get("value")) == (EMITS, "false")
        }
        assert silent == exported.silent


def test_every_member_and_argument_has_documentation() -> None:
    for path in FILES:
        text = path.read_text()
        for interface in ElementTree.parse(path).iter("interface"):
            for member in [*interface.iter("method"), *interface.iter("property")]:
                assert f"{member.get('name')}:" in text
            for argument in interface.iter("arg"):
                assert f"@{argument.get('name')}:" in text


def test_the_bouncer_knows_every_method() -> None:
    served = [each for each in documented() if each.get("name") not in CALLED_BACK]
    methods = {f"{each.get('name')}.{method.get('name')}" for each in served for method in each.iter("method")}
    assert set(TABLE) == methods


def test_the_bouncer_asks_for_actions_of_ours() -> None:
    actions = {ACTION_ENABLE, ACTION_INSERT, ACTION_EJECT, ACTION_MANAGE_CARDS, ACTION_POLICY, ACTION_TRACE}
    assert set(TABLE.values()) == actions | {OPEN, LOOK}
    assert TABLE[f"{DOMAIN}.Insert"] == ACTION_INSERT
    assert TABLE[f"{DOMAIN}.Trace"] == ACTION_TRACE
    assert [member for member, action in TABLE.items() if action == OPEN] == [
        f"{MANAGER}.FindDomain",
        f"{MANAGER}.UnregisterAgent",
    ]
    assert [member for member, action in TABLE.items() if action == LOOK] == [
        f"{MANAGER}.RegisterAgent",
        f"{MANAGER}.ListGrants",
        f"{DOMAIN}.Check",
        f"{CARD}.GetCertificates",
    ]


def test_no_property_can_be_written() -> None:
    for exported in interfaces():
        assert not [prop for prop in ServiceInterface._get_properties(exported) if prop.access.writable()]


def test_the_documented_files_are_in_the_package() -> None:
    shipped = REPOSITORY / "plugin/virtcard/data/dbus"
    assert {path.name for path in Path(shipped).glob("*.xml")} == {path.name for path in FILES}
