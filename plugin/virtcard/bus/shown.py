"""What all interfaces that we export have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from dbus_next.constants import PropertyAccess
from dbus_next.service import ServiceInterface
from dbus_next.signature import Variant

V = TypeVar("V")


class Shown(ServiceInterface, Generic[V]):
    """An exported interface whose properties are read from a view, which is replaced when it changes."""

    silent: ClassVar[frozenset[str]] = frozenset()
    """Properties that change too often to be announced (EmitsChangedSignal=false)."""

    def __init__(self, name: str, view: V) -> None:
        super().__init__(name)
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
