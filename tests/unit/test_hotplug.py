"""QMP commands as data, QEMU's answers, USB ports, and the list of hot-plugged readers in the live XML."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from helpers.domains import EHCI_ONLY, UHCI, XHCI, domain_xml
from virtcard.domain.hotplug import (
    SLOTS,
    HotReader,
    Reply,
    is_connected,
    read_reply,
    read_slots,
    send_break,
    slots_element,
)
from virtcard.domain.model import parse_domain
from virtcard.domain.usb import UsbPlace, free_places
from virtcard.names import HOTPLUG_NAMESPACE

PLACE = UsbPlace(0, 4)


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


@given(st.sets(st.sampled_from(SLOTS), min_size=1))
def test_slots_are_read_back_from_the_live_xml(slots: set[int]) -> None:
    element = slots_element(slots)
    assert element is not None
    assert read_slots(live(etree.fromstring(element).get("slots", ""))) == tuple(sorted(slots))


def test_no_reader_is_no_element() -> None:
    assert slots_element(()) is None
    assert read_slots(domain_xml("vm")) == ()
    assert read_slots(None) == ()


@pytest.mark.parametrize("slots", ["", "0", "9", "-1", "a 01 1.5", "\u0661", "1" * 5000])
def test_what_is_no_slot_of_ours_is_left_out(slots: str) -> None:
    assert read_slots(live(slots)) == ()
    assert read_slots(live(f"2 {slots} 1 2")) == (1, 2)
    assert read_slots(live("1", "others")) == ()


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
