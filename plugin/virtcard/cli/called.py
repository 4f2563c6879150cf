"""What a person calls the objects that change: domains and readers by their names, and bridges by their domain's."""

from __future__ import annotations

from typing import Any

from virtcard.cli.door import Objects
from virtcard.cli.screen import clock
from virtcard.cli.shapes import Change, domains, readers
from virtcard.names import card_name


class Called:
    """Knows the names that there are, and learns those that come."""

    def __init__(self, objects: Objects) -> None:
        self._names = {each["uuid"]: each["name"] for each in domains(objects)}
        self._names |= {str(each["number"]): each["name"] for each in readers(objects)}

    def label(self, change: Change) -> str:
        """Of what changed; without a name its UUID or number."""
        key = _key(change)
        if change["type"] in {"domain", "reader"} and "name" in change["properties"]:
            self._names[key] = change["properties"]["name"]
        if change["type"] == "bridge":
            uuid, _, slot = key.rpartition("-")
            name = self._names.get(uuid, uuid)
            return f"{name} ({slot})" if slot != "0" else name
        return card_name(change["path"]) if change["type"] == "card" else self._names.get(key, key)

    def value(self, name: str, value: Any) -> Any:
        """A property's value: domains by their names, and moments as a clock shows them."""
        if name == "domains":
            return [self._names.get(uuid, uuid) for uuid in value]
        if name == "domain":
            return self._names.get(value, value)
        return clock(value) if name in {"since", "started"} else value


def _key(change: Change) -> str:
    return change["path"].rpartition("/")[2].replace("_", "-")
