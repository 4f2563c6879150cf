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

WISH_NAMESPACE: Final = "https://virtcard.org/xmlns/domain/1"
"""Namespace of the per-VM wish, the one `virsh metadata --uri` takes."""
SAVED_NAMESPACE: Final = "https://virtcard.org/xmlns/saved/1"
"""Namespace of what we replaced: apart from the wish, since `virsh metadata --set` overwrites a whole element."""
METADATA_KEY: Final = "virtcard"

SYSTEM_USER: Final = "virtcard"


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
