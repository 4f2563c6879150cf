"""What a person is told without being asked: that the PIN guard had to step in."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from virtcard.service.question import Notice, NoticeKind
from virtcard.service.registry import Registry
from virtcard.service.views import BridgeView


class Notices:
    """Listens to the registry; lives on its thread. Whoever `tell`s sees to it that nobody is told too often."""

    def __init__(self, registry: Registry, tell: Callable[[Notice], None]) -> None:
        self._registry = registry
        self._tell = tell
        registry.bridges.listen(self._follow)

    def _follow(self, _key: tuple[UUID, int], old: BridgeView | None, new: BridgeView | None) -> None:
        if old is not None and new is not None and new.counts.pin_stops > old.counts.pin_stops:
            domain = self._registry.domains.get(new.uuid)
            name = domain.name if domain else str(new.uuid)
            self._tell(Notice(NoticeKind.PIN_GUARD, new.uuid, name, new.source))
