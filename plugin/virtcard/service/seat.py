"""Who sits at the machine, as far as the service wants to know: `bus.logind` looks, and tells it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Listener = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Person:
    """Whose questions are answered. `session` is logind's word for it, "" when there is none."""

    uid: int
    session: str


@dataclass(frozen=True, slots=True)
class Presence:
    """`locked`: somebody is logged in, and nobody can see what is on the screen of the session."""

    person: Person | None
    locked: bool = False


class Seat:
    """Who is there now. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._presence = Presence(None)
        self._listeners: list[Listener] = []

    @property
    def presence(self) -> Presence:
        """Who can be asked now."""
        return self._presence

    def take(self, presence: Presence) -> None:
        """It is like this from now on."""
        if presence != self._presence:
            self._presence = presence
            for listener in tuple(self._listeners):
                listener()

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        self._listeners.remove(listener)
