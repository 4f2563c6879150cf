"""Every public name: bus names, object paths, interfaces, XML namespaces, file names."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote
from uuid import UUID

BUS_NAME: Final = "org.virtcard1"
ROOT_PATH: Final = "/org/virtcard1"

MANAGER: Final = "org.virtcard1.Manager"
DOMAIN: Final = "org.virtcard1.Domain"
READER: Final = "org.virtcard1.Reader"
BRIDGE: Final = "org.virtcard1.Bridge"
CARD: Final = "org.virtcard1.Card"
AGENT: Final = "org.virtcard1.Agent"

ERROR_PREFIX: Final = "org.virtcard1.Error."

ACTION_ENABLE: Final = "org.virtcard1.enable"
ACTION_INSERT: Final = "org.virtcard1.insert"
ACTION_EJECT: Final = "org.virtcard1.eject"
ACTION_MANAGE_CARDS: Final = "org.virtcard1.manage-cards"
ACTION_TRACE: Final = "org.virtcard1.trace"
ACTION_POLICY: Final = "org.virtcard1.policy"

WISH_NAMESPACE: Final = "https://virtcard.org/xmlns/domain/1"
"""Namespace of the per-VM wish, the one `virsh metadata --uri` takes."""
SAVED_NAMESPACE: Final = "https://virtcard.org/xmlns/saved/1"
"""Namespace of what we replaced: apart from the wish, since `virsh metadata --set` overwrites a whole element."""
HOTPLUG_NAMESPACE: Final = "https://virtcard.org/xmlns/hotplug/1"
"""Namespace of what stands in the live XML alone: which readers a running machine got over QEMU's monitor."""
METADATA_KEY: Final = "virtcard"
HOTPLUG_KEY: Final = "virtcard-hotplug"

SYSTEM_USER: Final = "virtcard"

SYSLOG_IDENTIFIER: Final = "virtcardd"

MESSAGE_IDS: Final = {
    "bridge-started": "ad3ee82bd4d1402c8c60865cbbcb7b2e",
    "bridge-ended": "d5443f6d90e24c098da5024845f6d479",
    "inserted": "88cd8d673f6744e1a85ff0eb5ae73d2d",
    "ejected": "87fe14cd330c406aa0b2ad0b682b99c5",
    "admitted": "c34dcbcb9c544e55965726532daaaccc",
    "turned-away": "06c15bbb80024677a92d5b69c0e714c3",
    "decided": "44d46b502f8a4acab57f884730cde900",
    "asked": "4baf8f7c82be43648674751505b876e6",
    "answered": "ddf133e103524511afe07bc4bae7f488",
    "refused": "d896c32ff00b41fc8a99a3d4366963c3",
    "pin-failed": "2660ff949c7e4f389a8f0df2f507f67a",
    "pin-stopped": "eef142e97a9646feb7d38b2e1c248e68",
    "healed": "68d9bd42726d42dab680f93280469e82",
    "trace-started": "cb40132154a64596924073a841a3a220",
    "trace-ended": "4286e9858041430f81651c8e7993264d",
}
"""MESSAGE_ID of each kind of record in the journal; they never change (systemd.journal-fields(7))."""

FIELD_EVENT: Final = "VIRTCARD_EVENT"
"""A word of MESSAGE_IDS."""
FIELD_DOMAIN: Final = "VIRTCARD_DOMAIN"
"""UUID."""
FIELD_NAME: Final = "VIRTCARD_DOMAIN_NAME"
FIELD_SOURCE: Final = "VIRTCARD_SOURCE"
FIELD_RULE: Final = "VIRTCARD_RULE"
"""File and line of the rule that decided."""
FIELD_USER: Final = "VIRTCARD_USER"
FIELD_REASON: Final = "VIRTCARD_REASON"
FIELD_COMMANDS: Final = "VIRTCARD_COMMANDS"
"""A JSON object: how many commands by the name of their instruction."""
FIELD_REFUSED: Final = "VIRTCARD_REFUSED"
FIELD_PIN_STOPS: Final = "VIRTCARD_PIN_STOPS"
FIELD_PIN_FAILURES: Final = "VIRTCARD_PIN_FAILURES"
FIELD_ERRORS: Final = "VIRTCARD_ERRORS"
FIELD_BYTES_SENT: Final = "VIRTCARD_BYTES_SENT"
FIELD_BYTES_RECEIVED: Final = "VIRTCARD_BYTES_RECEIVED"


def domain_path(uuid: UUID) -> str:
    """Object path of a domain: its UUID with `_` for `-`, as libvirt-dbus spells it."""
    return f"{ROOT_PATH}/domain/{str(uuid).replace('-', '_')}"


def reader_path(number: int) -> str:
    """Object path of a host reader."""
    return f"{ROOT_PATH}/reader/{number}"


def card_path(name: str) -> str:
    """Object path of a software card: what is no letter or digit is `_` and its hex, as sd_bus_path_encode(3) does."""
    escaped = (letter if letter.isascii() and letter.isalnum() else _escaped(letter) for letter in name[1:])
    first = name[:1] if name[:1].isascii() and name[:1].isalpha() else _escaped(name[:1])
    return f"{ROOT_PATH}/card/{first}{''.join(escaped)}"


def card_name(path: str) -> str:
    """The name of the card with this object path."""
    return unquote(path.rpartition("/")[2].replace("_", "%"))


def _escaped(letter: str) -> str:
    return "".join(f"_{byte:02x}" for byte in letter.encode())


def bridge_path(uuid: UUID, slot: int) -> str:
    """Object path of the bridge of one virtual reader of a domain."""
    return f"{ROOT_PATH}/bridge/{str(uuid).replace('-', '_')}_{slot}"


def socket_name(uuid: UUID) -> str:
    """File name of a domain's VSCard socket below the socket directory."""
    return f"{uuid}.sock"


def hotplug_socket_name(uuid: UUID, slot: int) -> str:
    """File name of the VSCard socket of a hot-plugged reader, below the directory of those."""
    return f"{uuid}.{slot}.sock"
