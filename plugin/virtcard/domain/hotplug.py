"""Virtual readers that come and go while a machine runs: QMP commands as data, and which of them there are.

libvirt has no call for it, so that it knows nothing of these devices. Which ones a running machine has stands in the
metadata of its live XML, where it ends with the run; the configuration never has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from virtcard.domain import xmlfile
from virtcard.domain.usb import UsbPlace
from virtcard.limits import HOTPLUG_MAX
from virtcard.names import HOTPLUG_NAMESPACE

SLOTS: Final = range(1, HOTPLUG_MAX + 1)
"""Slot 0 is the reader of the XML."""

XML_CHARDEV: Final = "charsmartcard0"
"""What libvirt calls the character device of the one smart card that it takes (qemu_alias.c)."""

DESCRIPTION_MAX: Final = 300
"""Characters of QEMU's words that we pass on."""

_READERS: Final = f"{{{HOTPLUG_NAMESPACE}}}readers"


@dataclass(frozen=True, slots=True)
class Command:
    """One QMP command. With `takes_socket` a descriptor goes along."""

    execute: str
    arguments: Mapping[str, object]
    takes_socket: bool = False

    @property
    def text(self) -> str:
        """As QEMU's monitor reads it."""
        return json.dumps({"execute": self.execute, "arguments": self.arguments})


@dataclass(frozen=True, slots=True)
class Reply:
    """What QEMU answered: a value, or `error` in QEMU's words with its class."""

    value: object = None
    error: str = ""
    error_class: str = ""


@dataclass(frozen=True, slots=True)
class HotReader:
    """The names of one reader's three devices, and what makes and removes them."""

    slot: int

    @property
    def chardev(self) -> str:
        """The character device that listens for us."""
        return f"virtcard{self.slot}"

    @property
    def _reader(self) -> str:
        return f"virtcard-reader{self.slot}"

    def listen(self) -> tuple[Command, ...]:
        """QEMU takes a bound socket and listens on it: it needs no right to make one, and who connects sees its pid."""
        address = {"type": "fd", "data": {"str": self.chardev}}
        backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
        return (
            Command("getfd", {"fdname": self.chardev}, takes_socket=True),
            Command("chardev-add", {"id": self.chardev, "backend": backend}),
        )

    def add_reader(self, place: UsbPlace) -> Command:
        """The reader at a USB port that we choose: QEMU's own choice could be a hub, which would stay."""
        return Command(
            "device_add", {"driver": "usb-ccid", "id": self._reader, "bus": place.qemu_bus, "port": str(place.port)}
        )

    def add_card(self) -> Command:
        """The card in it."""
        bus = f"{self._reader}.0"
        name = f"virtcard-card{self.slot}"
        return Command("device_add", {"driver": "ccid-card-passthru", "id": name, "bus": bus, "chardev": self.chardev})

    def remove_reader(self) -> Command:
        """The reader and the card in it; the guest is not asked."""
        return Command("device_del", {"id": self._reader})

    def remove_chardev(self) -> Command:
        """Refused as busy until QEMU is done with the card."""
        return Command("chardev-remove", {"id": self.chardev})


QUERY_CHARDEVS: Final = Command("query-chardev", {})


def send_break(chardev: str) -> Command:
    """The device forgets what it has read of an unfinished message (ccid-card-passthru.c, CHR_EVENT_BREAK)."""
    return Command("chardev-send-break", {"id": chardev})


def is_connected(reply: Reply, chardev: str) -> bool:
    """Somebody is connected to the character device, by the answer to QUERY_CHARDEVS."""
    rows = reply.value if isinstance(reply.value, list) else []
    names = (str(row.get("filename", "")) for row in rows if isinstance(row, dict) and row.get("label") == chardev)
    return any(not name.startswith("disconnected:") for name in names)


def read_reply(untrusted_text: str) -> Reply:
    """QEMU's answer; a text that is none is an error too."""
    try:
        answer = json.loads(untrusted_text)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and "return" in answer:
        return Reply(answer["return"])
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return Reply(error="no QMP answer")
    words = "".join(letter if letter.isprintable() else " " for letter in str(error.get("desc", "")))
    return Reply(error=words[:DESCRIPTION_MAX] or "no reason", error_class=str(error.get("class", ""))[:64])


def read_slots(live_xml: str | None) -> tuple[int, ...]:
    """The hot-plugged readers of a running machine. Anybody may write metadata: what is no slot of ours is left out."""
    if live_xml is None or HOTPLUG_NAMESPACE not in live_xml:
        return ()
    element = xmlfile.parse(live_xml).find(f"./metadata/{_READERS}")
    words = set() if element is None else set(element.get("slots", "").split())
    return tuple(slot for slot in SLOTS if str(slot) in words)


def slots_element(slots: Iterable[int]) -> str | None:
    """For virDomainSetMetadata, which adds the namespace; None when there are none any more."""
    words = " ".join(str(slot) for slot in sorted(slots))
    return f"<readers slots='{words}'/>" if words else None
