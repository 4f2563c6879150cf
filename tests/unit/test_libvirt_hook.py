"""libvirt's hook: what it adds to the XML of a machine that is restored or migrated, and when it adds nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from helpers.domains import domain_xml
from virtcard.domain.hotplug import HotReader, Plugged, read_readers, readers_element
from virtcard.domain.usb import UsbPlace
from virtcard.names import HOTPLUG_NAMESPACE

HOOK = Path(__file__).parents[2] / "contrib/hooks/virtcard.py"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
OSINFO = "<libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'/>"
READERS = {1: Plugged(UsbPlace(0, 4), 0), 2: Plugged(UsbPlace(1, 3), 1)}


def live(readers: dict[int, Plugged], extra: str = "", devices: str = "") -> str:
    element = readers_element(readers) or ""
    memory = element.replace("<readers", f"<virtcard-hotplug:readers xmlns:virtcard-hotplug='{HOTPLUG_NAMESPACE}'")
    return domain_xml("vm", metadata=OSINFO + memory, extra=extra, devices=devices)


def hook(xml: str, *words: str) -> str:
    done = subprocess.run(
        ["/usr/bin/python3", HOOK, "vm", *words, "-"], input=xml, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def canonical(root: etree._Element) -> bytes:
    """Without namespaces where nobody uses them."""
    return etree.tostring(root, method="c14n", exclusive=True)


def arguments(xml: str) -> list[str]:
    found = etree.fromstring(xml).findall(f"{{{QEMU}}}commandline/{{{QEMU}}}arg")
    return [each.get("value", "") for each in found]


@pytest.mark.parametrize("operation", ["migrate", "restore"])
def test_the_readers_are_added_at_the_ports_where_they_were(operation: str) -> None:
    added = arguments(hook(live(READERS), operation, "begin"))
    assert added[::2] == ["-chardev", "-device", "-device"] * 2
    for number, (slot, plugged) in enumerate(READERS.items()):
        reader = HotReader(slot)
        chardev, usb, card = added[6 * number + 1 : 6 * number + 6 : 2]
        assert chardev == f"null,id={reader.chardev}"
        assert json.loads(usb) == reader.add_reader(plugged.place).arguments
        assert json.loads(card) == reader.add_card().arguments


def test_the_rest_of_the_xml_stays_as_it_means() -> None:
    before = live(READERS)
    after = hook(before, "restore", "begin")
    root = etree.fromstring(after)
    line = root.find(f"{{{QEMU}}}commandline")
    assert line is not None
    root.remove(line)
    assert canonical(root) == canonical(etree.fromstring(before))
    assert read_readers(after) == READERS


def test_a_second_time_nothing_is_there_twice() -> None:
    once = hook(live(READERS), "restore", "begin")
    assert arguments(hook(once, "restore", "begin")) == arguments(once)


def test_arguments_of_readers_that_were_taken_away_meanwhile_go_and_others_stay() -> None:
    words = ("-device", '{"id": 1}', "-x")
    line = "".join(f"<q:arg value='{word}'/>" for word in words)
    own = f"<q:commandline xmlns:q='{QEMU}'>{line}</q:commandline>"
    both = hook(live(READERS, own), "restore", "begin")
    one = etree.fromstring(both)
    memory = one.find(f"./metadata/{{{HOTPLUG_NAMESPACE}}}readers")
    assert memory is not None
    memory.set("slots", "2@1.3#0")
    left = arguments(hook(etree.tostring(one, encoding="unicode"), "restore", "begin"))
    assert left[:3] == list(words)
    assert left[3:] == arguments(both)[9:]


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (live({}), ("restore", "begin")),
        (domain_xml("vm"), ("migrate", "begin")),
        (live(READERS), ("start", "begin")),
        (live(READERS), ("prepare", "begin")),
        (live(READERS), ("restore", "end")),
        (live(READERS).replace("@", "!"), ("restore", "begin")),
        ("", ("release", "end")),
    ],
)
def test_it_has_nothing_to_say_to_other_machines_and_moments(xml: str, words: tuple[str, ...]) -> None:
    assert hook(xml, *words) == ""


def test_readers_come_in_the_order_in_which_they_were_made_and_after_that_of_the_xml() -> None:
    made = {1: Plugged(UsbPlace(0, 3), 2), 2: Plugged(UsbPlace(0, 4), 1)}
    xml = live(made, devices="<smartcard mode='passthrough' type='spicevmc'/>")
    added = arguments(hook(xml, "restore", "begin"))
    assert [each for each in added if each.startswith("null")] == ["null,id=virtcard2", "null,id=virtcard1"]


@pytest.mark.parametrize("instances", [(1,), (0, 2), (1, 2)])
def test_readers_whose_state_qemu_would_not_know_are_refused_with_a_sentence(instances: tuple[int, ...]) -> None:
    xml = live({slot: Plugged(UsbPlace(0, slot), instance) for slot, instance in enumerate(instances, 1)})
    done = subprocess.run([HOOK, "vm", "restore", "begin", "-"], input=xml, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "virtcard prepare-migrate vm" in done.stderr


def test_it_can_be_installed_as_it_is() -> None:
    assert os.access(HOOK, os.X_OK), "libvirt runs executable files alone"
