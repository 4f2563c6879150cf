"""The `a{sv} options` of our methods: known keys with the right types, or InvalidArgument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dbus_next.signature import Variant

from virtcard.errors import InvalidArgument
from virtcard.service.api import CardWish, EnableOptions, reader_setup

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
_TYPES: Final = {"dry-run": "b", "on-existing": "s", "config": "b", **_SETUP, **_CARD}


def enable_options(untrusted_options: Mapping[str, Variant]) -> EnableOptions:
    """Options of Enable: `dry-run` b, `on-existing` s, and those of the reader's mode."""
    given = _checked(untrusted_options, "dry-run", "on-existing", *_SETUP)
    on_existing = given.get("on-existing", "")
    if "on-existing" in given and on_existing not in ON_EXISTING:
        raise InvalidArgument(
            "The option 'on-existing' has no such value.", hint=f"It takes one of {', '.join(ON_EXISTING)}."
        )
    setup = reader_setup(**{key: value for key, value in given.items() if key in _SETUP})
    return EnableOptions(given.get("dry-run", False), on_existing, setup)


def disable_options(untrusted_options: Mapping[str, Variant]) -> EnableOptions:
    """Options of Disable: `dry-run` b."""
    return EnableOptions(dry_run=_checked(untrusted_options, "dry-run").get("dry-run", False))


def config_option(untrusted_options: Mapping[str, Variant]) -> bool:
    """Options of Insert and Eject: `config` b."""
    return bool(_checked(untrusted_options, "config").get("config", False))


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
