"""QMP commands as data, QEMU's answers, USB ports, and the list of hot-plugged readers in the live XML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from helpers.domains import EHCI_ONLY, UHCI, XHCI, domain_xml
from virtcard.domain.hotplug import (
    SLOTS,
    HotReader,
    Plugged,
    Reply,
    is_connected,
    next_instance,
    read_readers,
    read_reply,
    read_slots,
    readers_element,
    send_break,
)
from virtcard.domain.model import parse_domain
from virtcard.domain.usb import UsbPlace, free_places
from virtcard.names import HOTPLUG_NAMESPACE

PLACE = UsbPlace(0, 4)
SCHEMA = Path(__file__).parents[2] / "xml" / "virtcard-metadata.rng"
XMLNS = f" xmlns='{HOTPLUG_NAMESPACE}' "


def places(devices: str) -> list[tuple[int, int]]:
    return [(place.bus, place.port) for place in free_places(parse_domain(domain_xml("vm", devices=devices)))]


def live(slots: str, name: str = "readers") -> str:
    return domain_xml("vm", metadata=f"<h:{name} xmlns:h='{HOTPLUG_NAMESPACE}' slots='{slots}'/>")


def test_a_reader_is_a_chardev_on_our_socket_a_reader_and_a_card() -> None:
    reader = HotReader(2)
    commands = [*reader.listen(), reader.add_reader(PLACE), reader.add_card()]
    assert [command.execute for command in commands] == ["getfd", "chardev-add", "device_add", "device_add"]
    assert [command.takes_socket for command in commands] == [True, False, False, False]
    _, chardev, usb, card = (json.loads(command.text)["arguments"] for command in commands)
    assert chardev["backend"]["data"] == {
        "addr": {"type": "fd", "data": {"str": "virtcard2"}}, "server": True, "wait": False
    }  # fmt: skip
    assert usb == {"driver": "usb-ccid", "id": "virtcard-reader2", "bus": "usb.0", "port": "4"}
    assert card["bus"] == "virtcard-reader2.0"
    assert card["chardev"] == chardev["id"] == "virtcard2"


def test_what_is_removed_is_what_was_made() -> None:
    reader = HotReader(1)
    assert reader.remove_reader().arguments == {"id": reader.add_reader(PLACE).arguments["id"]}
    assert reader.remove_chardev().arguments == {"id": reader.chardev}


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ('{"return": {}, "id": "libvirt-1"}', Reply({})),
        ('{"return": [1]}', Reply([1])),
        ('{"error": {"class": "GenericError", "desc": "no\\nport"}}', Reply(None, "no port", "GenericError")),
        ('{"error": {}}', Reply(error="no reason")),
        ('{"error": 3}', Reply(error="no QMP answer")),
        ("[]", Reply(error="no QMP answer")),
        ("", Reply(error="no QMP answer")),
        ("[" * 100_000, Reply(error="no QMP answer")),
    ],
)
def test_answers_of_the_monitor(text: str, reply: Reply) -> None:
    assert read_reply(text) == reply


def test_words_of_the_monitor_are_bounded() -> None:
    assert len(read_reply(json.dumps({"error": {"desc": "x" * 10_000}})).error) == 300


@given(st.text())
def test_no_answer_of_the_monitor_is_a_fault_of_ours(text: str) -> None:
    read_reply(text)


PLUGGED = st.builds(Plugged, st.builds(UsbPlace, st.integers(0, 99), st.integers(0, 99)), st.integers(0, 999))


@given(st.dictionaries(st.sampled_from(SLOTS), PLUGGED, min_size=1))
def test_readers_are_read_back_from_the_live_xml(readers: dict[int, Plugged]) -> None:
    element = readers_element(readers)
    assert element is not None
    text = live(etree.fromstring(element).get("slots", ""))
    assert read_readers(text) == readers
    assert read_slots(text) == tuple(sorted(readers))
    assert etree.RelaxNG(etree.parse(SCHEMA)).validate(etree.fromstring(element.replace(" ", XMLNS, 1)))


def test_no_reader_is_no_element() -> None:
    assert readers_element({}) is None
    assert read_slots(domain_xml("vm")) == ()
    assert read_slots(None) == ()


@pytest.mark.parametrize(
    "slots",
    ["", "1", "0@0.1#0", "9@0.1#0", "-1@0.1#0", "1@0", "1@0.1", "a@0.1#0 1.5", "\u0661@0.1#0", "1@0.123#0", "1" * 5000],
)
def test_what_is_no_reader_of_ours_is_left_out(slots: str) -> None:
    assert read_slots(live(slots)) == ()
    assert read_slots(live(f"2@0.3#1 {slots} 1@1.2#0")) == (1, 2)
    assert read_slots(live("1@0.1#0", "others")) == ()


@pytest.mark.parametrize(
    ("devices", "instances", "expected"),
    [
        ("", [], 0),
        ("", [0, 1], 2),
        ("", [1], 2),
        ("<smartcard mode='passthrough' type='spicevmc'/>", [], 1),
        ("<smartcard mode='passthrough' type='spicevmc'/>", [1, 4], 5),
        ("<smartcard mode='host'/>", [], 0),
    ],
)
def test_qemu_numbers_a_card_one_higher_than_the_highest(devices: str, instances: list[int], expected: int) -> None:
    readers = {slot: Plugged(PLACE, instance) for slot, instance in enumerate(instances, 1)}
    assert next_instance(readers, parse_domain(domain_xml("vm", devices=devices))) == expected


def test_the_last_ports_come_first_since_libvirt_begins_with_the_first() -> None:
    assert places(XHCI) == [(0, 4), (0, 3), (0, 2), (0, 1)]
    assert places("<controller type='usb' index='1' model='qemu-xhci' ports='2'/>") == [(1, 2), (1, 1)]
    assert places(UHCI) == [(0, 2), (0, 1)]


def test_ports_that_libvirt_has_given_away_are_left_out() -> None:
    tablet = "<input type='tablet' bus='usb'><address type='usb' bus='0' port='4'/></input>"
    on_hub = "<input type='mouse' bus='usb'><address type='usb' bus='0' port='3.1'/></input>"
    assert places(XHCI + tablet + on_hub) == [(0, 2), (0, 1)]


def test_buses_that_take_no_full_speed_device_are_left_out() -> None:
    assert places(EHCI_ONLY) == []
    assert places(EHCI_ONLY + UHCI.replace("'0'", "'1'")) == [(1, 2), (1, 1)]
    assert places("<controller type='usb' model='none'/>") == []
    assert places("<controller type='usb' index='0' model='strange'/>") == []


def test_a_bus_has_the_name_that_libvirt_gives_it() -> None:
    assert [UsbPlace(bus, 1).qemu_bus for bus in (0, 1)] == ["usb.0", "usb1.0"]


def test_who_is_connected_to_a_chardev_is_read_from_its_name() -> None:
    rows = [{"label": "a", "filename": "disconnected:unix:/x"}, {"label": "b", "filename": "unix:/y"}, {}, 3]
    assert not is_connected(Reply(rows), "a")
    assert is_connected(Reply(rows), "b")
    assert not is_connected(Reply(rows), "c")
    assert not is_connected(Reply(error="no"), "b")


def test_a_break_is_for_one_chardev() -> None:
    assert send_break("virtcard1").arguments == {"id": "virtcard1"}
