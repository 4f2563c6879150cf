"""What all interfaces that we export have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Generic, TypeVar

from dbus_next.constants import PropertyAccess
from dbus_next.service import ServiceInterface
from dbus_next.signature import Variant

V = TypeVar("V")

_LISTS: Final = tuple(f"_ServiceInterface__{kind}" for kind in ("methods", "properties", "signals"))
_BUSES: Final = "_ServiceInterface__buses"
_MEMBERS: Final[dict[type, dict[str, Any]]] = {}
"""What dbus-next finds in a class: it would look through all of it for each of a thousand objects, and keep as many
lists of the same."""


class Shown(ServiceInterface, Generic[V]):
    """An exported interface whose properties are read from a view, which is replaced when it changes."""

    silent: ClassVar[frozenset[str]] = frozenset()
    """Properties that change too often to be announced (EmitsChangedSignal=false)."""

    def __init__(self, name: str, view: V) -> None:
        known = _MEMBERS.get(type(self))
        if known is None:
            super().__init__(name)
            _MEMBERS[type(self)] = {attribute: getattr(self, attribute) for attribute in _LISTS}
        else:
            self.__dict__.update(known, name=name, **{_BUSES: set()})
        self.view = view

    def details(self, member: str, arguments: list[Any]) -> dict[str, str]:  # noqa: ARG002
        """What polkit rules may look at for a call of `member`."""
        return {}

    def values(self) -> dict[str, Variant]:
        """All properties as they are now."""
        return {
            prop.name: Variant(prop.signature, getattr(self, prop.prop_getter.__name__))
            for prop in ServiceInterface._get_properties(self)
            if prop.access is not PropertyAccess.WRITE
        }

    def announced(self) -> dict[str, Any]:
        """Those that are announced, as plain values, which take a fifth of the memory."""
        return {
            prop.name: getattr(self, prop.prop_getter.__name__)
            for prop in ServiceInterface._get_properties(self)
            if prop.access is not PropertyAccess.WRITE and prop.name not in self.silent
        }

    def wrapped(self, values: dict[str, Any]) -> dict[str, Variant]:
        """Some of these values as the bus wants them."""
        signatures = {prop.name: prop.signature for prop in ServiceInterface._get_properties(self)}
        return {name: Variant(signatures[name], value) for name, value in values.items()}
