"""Virtual readers that come and go while a machine runs: QMP commands as data, and which of them there are.

libvirt has no call for it, so that it knows nothing of these devices. Which ones a running machine has, and at which
USB ports, stands in the metadata of its live XML, where it ends with the run; the configuration never has it. A hook of
libvirt's (contrib/hooks) reads it there when a machine is restored or migrated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from virtcard.domain import xmlfile
from virtcard.domain.model import DomainModel
from virtcard.domain.usb import UsbPlace
from virtcard.limits import HOTPLUG_MAX
from virtcard.names import HOTPLUG_NAMESPACE

SLOTS: Final = range(1, HOTPLUG_MAX + 1)
"""Slot 0 is the reader of the XML."""

XML_CHARDEV: Final = "charsmartcard0"
"""What libvirt calls the character device of the one smart card that it takes (qemu_alias.c)."""

DESCRIPTION_MAX: Final = 300
"""Characters of QEMU's words that we pass on."""

_SLOT: Final = re.compile(
    r"(?P<slot>[1-9])@(?P<bus>[0-9]{1,2})\.(?P<port>[0-9]{1,2})#(?P<instance>[0-9]{1,3})", re.ASCII
)
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


@dataclass(frozen=True, slots=True)
class Plugged:
    """What must be known of a reader to make the same again in another QEMU."""

    place: UsbPlace
    instance: int
    """QEMU numbers the state of all ccid-card-passthru of a machine, and each new one is one more than the highest
    (savevm.c, calculate_new_instance_id)."""


def next_instance(readers: Mapping[int, Plugged], model: DomainModel) -> int:
    """That of one more card, in a machine with these readers beside those of its XML."""
    in_xml = sum(card.mode == "passthrough" for card in model.smartcards)
    return max((in_xml - 1, *(reader.instance for reader in readers.values()))) + 1


def read_readers(live_xml: str | None) -> dict[int, Plugged]:
    """The hot-plugged readers of a running machine, by slot. Anybody may write metadata: what is none of ours is left
    out."""
    if live_xml is None or HOTPLUG_NAMESPACE not in live_xml:
        return {}
    element = xmlfile.parse(live_xml).find(f"./metadata/{_READERS}")
    words = () if element is None else element.get("slots", "").split()
    found = [_SLOT.fullmatch(word) for word in words[:HOTPLUG_MAX]]
    slots = {int(each["slot"]): _plugged(each) for each in found if each}
    return {slot: slots[slot] for slot in SLOTS if slot in slots}


def _plugged(match: re.Match[str]) -> Plugged:
    return Plugged(UsbPlace(int(match["bus"]), int(match["port"])), int(match["instance"]))


def read_slots(live_xml: str | None) -> tuple[int, ...]:
    """The slots of the hot-plugged readers of a running machine."""
    return tuple(read_readers(live_xml))


def readers_element(readers: Mapping[int, Plugged]) -> str | None:
    """For virDomainSetMetadata, which adds the namespace; None when there are none any more."""
    words = " ".join(_word(slot, reader) for slot, reader in sorted(readers.items()))
    return f"<readers slots='{words}'/>" if words else None


def _word(slot: int, reader: Plugged) -> str:
    return f"{slot}@{reader.place.bus}.{reader.place.port}#{reader.instance}"
