"""Viewers that share smart cards of their own, for rules that let these go before the host's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from virtcard.domain.finding import Finding, Severity
from virtcard.domain.viewers import Crowd, ViewerEvent

WORDS = "The policy lets a viewer's card go before the host's, and virtcardd cannot see"


class Viewers:
    """One crowd for each running domain. `shares_card` may be asked from any thread."""

    def __init__(self, on_change: Callable[[UUID], None]) -> None:
        """`on_change` is called when a domain's answer has become another."""
        self.told = True
        """libvirt tells of viewers."""
        self._on_change = on_change
        self._crowds: dict[UUID, Crowd] = {}
        self._unseen: set[UUID] = set()
        self._expected: set[UUID] = set()

    def shares_card(self, uuid: UUID, *, is_in: bool = False) -> bool:
        """A viewer shares its smart cards with this domain, as far as it was seen. Until it is known who came before
        us, a card that is in stays in, and another waits."""
        crowd = self._crowds.get(uuid)
        return (crowd is not None and crowd.shares_card) or (uuid in self._expected and not is_in)

    def take(self, uuid: UUID, events: Iterable[ViewerEvent]) -> None:
        """Viewers came or went."""
        before = self.shares_card(uuid)
        crowd = self._crowds.setdefault(uuid, Crowd())
        for event in events:
            crowd.take(event)
        if self.shares_card(uuid) != before:
            self._on_change(uuid)

    def expect(self, uuid: UUID) -> None:
        """It runs already, and `met` comes with who came before us."""
        self._expected.add(uuid)

    def met(self, uuid: UUID, came: Iterable[ViewerEvent] | None) -> None:
        """Who came before us; None when nobody may ask, or got no answer."""
        expected = uuid in self._expected
        self._expected.discard(uuid)
        if came is None:
            self._unseen.add(uuid)
        else:
            self.take(uuid, came)
        if expected:
            self._on_change(uuid)

    def begin(self) -> None:
        """The events begin anew: what happened before is not known."""
        self._crowds.clear()
        self._unseen.clear()
        self._expected.clear()

    def forget(self, uuid: UUID) -> None:
        """Its QEMU has ended."""
        self._unseen.discard(uuid)
        self._expected.discard(uuid)
        if self._crowds.pop(uuid, Crowd()).shares_card:
            self._on_change(uuid)

    def findings(self, uuid: UUID) -> tuple[Finding, ...]:
        """What a rule for viewers' cards cannot see of this domain."""
        if not self.told:
            sentence = f"{WORDS} any viewer: libvirt does not tell of them."
            hint = "It takes libvirt's QEMU driver, and a right to write there."
        elif uuid in self._unseen:
            sentence = f"{WORDS} viewers that were connected before it started."
            hint = 'Connect the viewer anew, or let a rule say monitor = "heal".'
        else:
            return ()
        return (Finding(Severity.WARNING, "viewers-unseen", sentence, hint),)
