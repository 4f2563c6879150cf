"""What the verbs need of a D-Bus client: `bus.client.Client` fits, and so does a test's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

Properties = Mapping[str, Any]
Objects = Mapping[str, Mapping[str, Properties]]
"""Path -> interface -> property -> plain value."""


class Happening(Protocol):
    """One change on the bus."""

    @property
    def kind(self) -> str:
        """What happened, for example "added", "removed" or "changed"."""

    @property
    def path(self) -> str:
        """The object it happened to."""

    @property
    def interface(self) -> str:
        """The interface that came, went or changed."""

    @property
    def properties(self) -> Properties:
        """New values; empty when the object went."""


class Door(Protocol):
    """Synchronous calls to virtcardd. Errors are VirtcardErrors."""

    def find_domain(self, text: str) -> str:
        """Object path of the domain with this name, UUID or id."""

    def objects(self) -> Objects:
        """Everything that there is."""

    def properties(self, path: str, interface: str) -> Properties:
        """All properties of one interface of one object."""

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        *,
        timeout: float = 25.0,
    ) -> list[Any]:
        """Call a method; its results in order. `timeout` in seconds."""

    def confide(
        self,
        path: str,
        interface: str,
        member: str,
        *,
        signature: str,
        body: tuple[Any, ...],
        secrets: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Call a method that takes secrets over a one-time socket, and tell them there; its outcome."""

    def events(self, timeout: float | None = None) -> Iterator[Happening]:
        """Changes as they come; ends after `timeout` seconds in all."""
