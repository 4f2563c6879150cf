"""A service of which everything is a fake but the software cards: these have a real store and real sockets."""

from __future__ import annotations

from pathlib import Path

from helpers.fake_service import FakeService
from virtcard.card.soft.store import Store
from virtcard.service.cards import Cards
from virtcard.service.cardwork import CardWork
from virtcard.service.onetime import OneTimeSockets


class LivelyService(FakeService):
    """Cards that are in the store already come on the shelf by `shelf.look_at_all`."""

    def __init__(self, store: Store, sockets: Path) -> None:
        super().__init__()
        self.shelf = Cards(self.registry, store)
        self.cards = CardWork(store, self.shelf, OneTimeSockets(sockets))
