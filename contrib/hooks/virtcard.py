#!/usr/bin/python3
"""A hook for libvirt: machines with hot-plugged readers can be restored, and migrated to this host.

    sudo install -D contrib/hooks/virtcard.py /etc/libvirt/hooks/qemu.d/virtcard
    sudo systemctl restart libvirtd

libvirt knows nothing of readers that virtcardd has hot-plugged. It starts QEMU without them, and QEMU then refuses
what was saved of the machine, or what comes from the host that it leaves. libvirt has no hook that runs before it saves
or sends a machine, so that nobody can take the readers away in time; but it has one before it restores or takes one. So
this adds the readers to the command line of the new QEMU, at the USB ports where they were, with nothing behind them.
virtcardd then makes them anew, when a rule of its policy permits hot-plug, and they get sockets and cards again.

Which readers those are stands in the metadata of the machine's live XML. The hook needs the standard library alone.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import sys
from xml.etree import ElementTree

READERS = "{https://virtcard.org/xmlns/hotplug/1}readers"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
SLOT = re.compile(r"([1-8])@([0-9]{1,2})\.([0-9]{1,2})#([0-9]{1,3})", re.ASCII)
OURS = re.compile(r"virtcard(?:-reader|-card)?[1-8]")
MOMENTS = {("migrate", "begin"), ("restore", "begin")}
"""When libvirt lets a hook change the XML (hooks.html); what it prints is the new one, and nothing means no change."""


class Hopeless(Exception):
    """QEMU would not know the readers again."""


def devices(slot: int, bus: int, port: int) -> list[str]:
    """QEMU's arguments for one reader. As JSON, since QEMU makes devices in that form last, and USB is one of them."""
    reader = {"driver": "usb-ccid", "id": f"virtcard-reader{slot}", "bus": f"usb{bus or ''}.0", "port": str(port)}
    card = {
        "driver": "ccid-card-passthru",
        "id": f"virtcard-card{slot}",
        "bus": f"virtcard-reader{slot}.0",
        "chardev": f"virtcard{slot}",
    }
    return [
        *("-chardev", f"null,id=virtcard{slot}"),
        *("-device", json.dumps(reader)),
        *("-device", json.dumps(card)),
    ]


def is_ours(value: str) -> bool:
    """An argument that an earlier restore put there."""
    if value.startswith("null,id="):
        return OURS.fullmatch(value.removeprefix("null,id=")) is not None
    try:
        name = json.loads(value).get("id")
    except (ValueError, AttributeError):
        return False
    return isinstance(name, str) and OURS.fullmatch(name) is not None


def without_ours(line: ElementTree.Element) -> None:
    """Take our arguments out, each with the option before it."""
    arguments = line.findall(f"{{{QEMU}}}arg")
    for option, argument in itertools.pairwise(arguments):
        if is_ours(argument.get("value", "")):
            line.remove(option)
            line.remove(argument)


def in_order(words: list[str], first: int) -> list[tuple[int, int, int]]:
    """Slot, bus and port of each reader, in the order in which QEMU numbers their state; Hopeless when it would give
    them other numbers than they had, since one before them was taken away."""
    found = [[int(number) for number in match.groups()] for match in map(SLOT.fullmatch, words) if match]
    readers = sorted(found, key=lambda reader: reader[3])
    if [reader[3] for reader in readers] != list(range(first, first + len(readers))):
        raise Hopeless
    return [(slot, bus, port) for slot, bus, port, _ in readers]


def rewritten(xml: str) -> str:
    """The domain XML with its hot-plugged readers, and no others of ours; "" when there is nothing to change.

    It comes from libvirt, which has parsed it: no entities are in it."""
    for _, (prefix, namespace) in ElementTree.iterparse(io.BytesIO(xml.encode()), ["start-ns"]):  # noqa: S314
        if not re.fullmatch(r"ns\d+", prefix):
            ElementTree.register_namespace(prefix, namespace)
    root = ElementTree.fromstring(xml)  # noqa: S314
    found = root.find(f"./metadata/{READERS}")
    words = [] if found is None else found.get("slots", "").split()
    readers = in_order(words, len(root.findall("./devices/smartcard[@mode='passthrough']")))
    line = root.find(f"./{{{QEMU}}}commandline")
    if not readers and line is None:
        return ""
    if line is None:
        line = ElementTree.SubElement(root, f"{{{QEMU}}}commandline")
    without_ours(line)
    for argument in itertools.chain.from_iterable(itertools.starmap(devices, readers)):
        ElementTree.SubElement(line, f"{{{QEMU}}}arg", {"value": argument})
    return ElementTree.tostring(root, encoding="unicode")


def main(arguments: list[str]) -> int:
    """libvirt gives the name of the domain, the operation, its part, and the XML on standard input."""
    xml = sys.stdin.read()
    if tuple(arguments[2:4]) in MOMENTS and "virtcard" in xml:
        ElementTree.register_namespace("qemu", QEMU)
        try:
            sys.stdout.write(rewritten(xml))
        except Hopeless:
            sys.stderr.write(
                f"virtcard: one of the hot-plugged readers of {arguments[1]} was taken away, and QEMU cannot take over "
                f"those that came after it. Run 'virtcard prepare-migrate {arguments[1]}' before.\n"
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
