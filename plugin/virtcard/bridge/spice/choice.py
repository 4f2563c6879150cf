"""Whose SPICE session a card joins. Never does it throw out a viewer that nobody told it to."""

from __future__ import annotations

import time
from collections.abc import Callable

from virtcard import limits
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.spice.clients import Session
from virtcard.bridge.spice.settings import SpiceSettings
from virtcard.errors import Disconnected, PeerRefuses

OWN = 0
"""The connection id that asks for a session of our own. A server with another client's session ends that one."""


class Choice:
    """Remembers from one attempt to the next what is ours, and who was seen since when."""

    def __init__(
        self, endpoint: Endpoint, settings: SpiceSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._ours = OWN
        self._met = False
        self._server_was_away = False
        self._seen: dict[int, float] = {}

    @property
    def met(self) -> bool:
        """A card's channel was linked once."""
        return self._met

    def choose(self) -> int:
        """The connection id to link with. Disconnected to try again later, PeerRefuses when that would not help."""
        if self._settings.look is None:
            return self._blindly()
        sessions = self._settings.look()
        self._remember(sessions)
        others = [session for session in sessions if session.connection_id != self._ours]
        return self._beside(others[0]) if others else OWN

    def confirm(self) -> None:
        """The last look before the server is asked for a session of our own. Disconnected when somebody came."""
        if self._settings.look is None or (self._settings.take_over and not self._met):
            return
        if any(session.connection_id != self._ours for session in self._settings.look()):
            raise Disconnected("A viewer has just connected.")

    def linked(self, connection_id: int, *, own: bool) -> None:
        """The card's channel stands in this session."""
        self._met = True
        self._server_was_away = False
        self._ours = connection_id if own else OWN

    def denied(self) -> None:
        """The password was not accepted."""
        self._settings.denied.set()

    def unreachable(self) -> None:
        """Nobody listened: who is there next is another QEMU, or the same one started anew."""
        self._server_was_away = True

    def _blindly(self) -> int:
        if not self._settings.take_over:
            raise PeerRefuses(
                f"virtcard cannot see whether a viewer is connected to {self._endpoint}, and would throw it out.",
                hint="Let it look (--domain VM, or --qmp SOCKET), or say --take-over.",
            )
        if self._met and not self._server_was_away:
            raise PeerRefuses(
                "The session ended while the server goes on: a viewer has come.",
                hint="With --domain VM or --qmp SOCKET the card stays in beside a viewer.",
            )
        return OWN

    def _beside(self, viewer: Session) -> int:
        if viewer.has_card:
            if self._settings.take_over and not self._met:
                return OWN
            sentence = f"A viewer from {viewer.place} is connected and shares its own smart cards."
            if self._met:
                raise Disconnected(sentence)
            raise PeerRefuses(sentence, hint="Close it, or say --take-over to disconnect it.")
        if not self._is_settled(viewer):
            raise Disconnected(f"A viewer from {viewer.place} has just connected.")
        return viewer.connection_id

    def _is_settled(self, viewer: Session) -> bool:
        """Its own smart card channel would be there by now; with ours in its place a viewer may give up."""
        if not self._met and viewer.is_settled:
            return True
        return self._clock() - self._seen[viewer.connection_id] >= limits.SPICE_VIEWER_SETTLE

    def _remember(self, sessions: tuple[Session, ...]) -> None:
        now = self._clock()
        self._seen = {session.connection_id: self._seen.get(session.connection_id, now) for session in sessions}
