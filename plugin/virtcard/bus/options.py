"""The `a{sv} options` of our methods: known keys with the right types, or InvalidArgument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dbus_next.signature import Variant

from virtcard.errors import InvalidArgument
from virtcard.limits import HOTPLUG_MAX
from virtcard.service.api import CardWish, EnableOptions, InsertOptions, reader_setup

ON_EXISTING: Final = ("keep", "replace", "fail")

_SETUP: Final = {
    "mode": "s",
    "certificates": "as",
    "database": "s",
    "address": "s",
    "port": "x",
    "role": "s",
    "tls": "b",
    "insecure": "b",
}
"""What `domain.setup.reader_setup` takes."""
_INTEGERS: Final = frozenset("nqiuxt")
"""Any of them will do for a number: which one a language's own integer becomes is its library's matter."""
_CARD: Final = {"type": "s", "subject": "s", "key": "s", "replace": "b", "authorities": "b"}
_TYPES: Final = {"dry-run": "b", "on-existing": "s", "config": "b", "hotplug": "b", "slot": "x", **_SETUP, **_CARD}


def enable_options(untrusted_options: Mapping[str, Variant]) -> EnableOptions:
    """Options of Enable: `dry-run` b, `on-existing` s, those of the reader's mode; or `hotplug` b alone."""
    given = _checked(untrusted_options, "dry-run", "on-existing", "hotplug", *_SETUP)
    if given.get("hotplug", False) and len(given) > 1:
        raise InvalidArgument(
            "A hot-plugged reader takes no other options.", hint="It changes no XML, and virtcardd serves its card."
        )
    on_existing = given.get("on-existing", "")
    if "on-existing" in given and on_existing not in ON_EXISTING:
        raise InvalidArgument(
            "The option 'on-existing' has no such value.", hint=f"It takes one of {', '.join(ON_EXISTING)}."
        )
    setup = reader_setup(**{key: value for key, value in given.items() if key in _SETUP})
    return EnableOptions(given.get("dry-run", False), on_existing, setup, hotplug=given.get("hotplug", False))


def disable_options(untrusted_options: Mapping[str, Variant]) -> EnableOptions:
    """Options of Disable: `dry-run` b; or `hotplug` b, `slot` an integer."""
    given = _checked(untrusted_options, "dry-run", "hotplug", "slot")
    hotplug = given.get("hotplug", False)
    if ("slot" in given and not hotplug) or ("dry-run" in given and hotplug):
        raise InvalidArgument("These options do not go together.", hint="A slot goes with 'hotplug', 'dry-run' alone.")
    slot = _slot(given)
    if slot == 0:
        raise InvalidArgument("Slot 0 is the reader of the configuration.", hint="Leave out 'hotplug' and 'slot'.")
    return EnableOptions(dry_run=given.get("dry-run", False), hotplug=hotplug, slot=slot)


def insert_options(untrusted_options: Mapping[str, Variant]) -> InsertOptions:
    """Options of Insert and Eject: `config` b, `slot` an integer."""
    given = _checked(untrusted_options, "config", "slot")
    return InsertOptions(given.get("config", False), _slot(given))


def changes_config(untrusted_options: Mapping[str, Variant]) -> bool:
    """Insert or Eject with these would change the configuration; `insert_options` tells whether they are good."""
    return "config" in untrusted_options and untrusted_options["config"].value is not False


def slot_option(untrusted_options: Mapping[str, Variant]) -> int | None:
    """Options of Trace: `slot` an integer."""
    return _slot(_checked(untrusted_options, "slot"))


def _slot(given: Mapping[str, Any]) -> int | None:
    slot: int | None = given.get("slot")
    if slot is not None and not 0 <= slot <= HOTPLUG_MAX:
        raise InvalidArgument("There is no such slot.", hint=f"Slots are numbers from 0 to {HOTPLUG_MAX}.")
    return slot


def create_options(untrusted_options: Mapping[str, Variant]) -> CardWish:
    """Options of CreateCard: `type`, `subject`, `key` s."""
    given = _checked(untrusted_options, "type", "subject", "key")
    plain = CardWish()
    return CardWish(
        given.get("type", plain.type), given.get("subject", plain.subject), given.get("key", plain.algorithm)
    )


def import_options(untrusted_options: Mapping[str, Variant]) -> CardWish:
    """Options of ImportCard: `type` s."""
    return CardWish(_checked(untrusted_options, "type").get("type", CardWish().type))


def replace_option(untrusted_options: Mapping[str, Variant]) -> bool:
    """Options of ImportKey: `replace` b."""
    return bool(_checked(untrusted_options, "replace").get("replace", False))


def authorities_option(untrusted_options: Mapping[str, Variant]) -> bool:
    """Options of GetCertificates: `authorities` b."""
    return bool(_checked(untrusted_options, "authorities").get("authorities", False))


def no_options(untrusted_options: Mapping[str, Variant]) -> None:
    """For a method that takes none yet."""
    _checked(untrusted_options)


def _checked(untrusted_options: Mapping[str, Variant], *known: str) -> dict[str, Any]:
    for key, value in untrusted_options.items():
        if key not in known:
            raise InvalidArgument("There is no such option.", hint=f"Known here: {', '.join(known) or 'none'}.")
        if value.signature != _TYPES[key] and not (_TYPES[key] == "x" and value.signature in _INTEGERS):
            raise InvalidArgument(f"The option '{key}' has the wrong type.", hint=f"It is a '{_TYPES[key]}'.")
    return {key: value.value for key, value in untrusted_options.items()}
