"""Software cards on the service's shelf: a real store in a real directory, and whoever changes it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from helpers.bus import eventually, run_async
from helpers.fake_service import FEDORA, WIN11, bridge_view
from helpers.soft_cards import PIN_DIGITS, empty_card
from virtcard.bridge.status import BridgeState
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.store import Store
from virtcard.names import card_name, card_path
from virtcard.service import cards, threads
from virtcard.service.cards import Cards
from virtcard.service.registry import Registry
from virtcard.service.views import BridgeView, CardView


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[Registry]:
    """The shelves while somebody follows the store."""
    registry = Registry()
    cards = Cards(registry, store)
    await cards.look_at_all()
    task = asyncio.create_task(cards.run())
    try:
        yield registry
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def shown(registry: Registry) -> dict[str, CardView]:
    return dict(registry.cards.items())


async def names_become(registry: Registry, *names: str) -> None:
    await eventually(lambda: sorted(shown(registry)) == sorted(names), f"the shelf holds {names}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "virtcard" / "cards")


def test_cards_that_are_there_are_shown_at_once(store: Store) -> None:
    made = empty_card(store, "jane")

    async def test() -> None:
        registry = Registry()
        await Cards(registry, store).look_at_all()
        card = shown(registry)["jane"].card
        assert (card.type, card.serial, card.created) == ("piv", made.serial, made.created)
        assert (card.pin_tries, card.puk_tries, card.keys) == (3, 3, ())

    run_async(test())


def test_the_first_card_of_a_store_that_was_not_there_appears(store: Store, tmp_path: Path) -> None:
    async def test() -> None:
        async with following(store) as registry:
            assert not (tmp_path / "data").exists()
            empty_card(store, "jane")
            await names_become(registry, "jane")

    run_async(test())


def test_cards_come_and_go_with_their_files(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        async with following(store) as registry:
            empty_card(store, "john")
            await names_become(registry, "jane", "john")
            shutil.copy(store.directory / "john.card", store.directory / "copy.card")
            await names_become(registry, "jane", "john", "copy")
            store.delete("jane")
            (store.directory / "copy.card").rename(store.directory / "moved.card")
            await names_become(registry, "john", "moved")

    run_async(test())


def test_a_moment_without_a_thread_hides_no_card_for_good(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "RECONCILE_PERIOD", 0.1)
    tried: list[threading.Thread] = []

    def none_left(thread: threading.Thread) -> None:
        tried.append(thread)
        raise RuntimeError("can't start new thread")

    async def test() -> None:
        async with following(store) as registry:
            await eventually(lambda: not threads._idle, "no thread is at hand", 20)
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", none_left)
                empty_card(store, "jane")
                await eventually(lambda: len(tried) > 1, "it was tried again")
            await names_become(registry, "jane")

    run_async(test())


def test_a_try_of_the_pin_is_seen(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        async with following(store) as registry:
            with store.open("jane") as card:
                Pins(card).verify_pin(b"000000")
                await eventually(lambda: shown(registry)["jane"].card.pin_tries == 2, "a try less")
                Pins(card).verify_pin(PIN_DIGITS)
                await eventually(lambda: shown(registry)["jane"].card.pin_tries == 3, "all tries again")

    run_async(test())


def test_a_damaged_card_is_shown_with_what_is_wrong(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        async with following(store) as registry:
            (store.directory / "jane.card").write_text("junk")
            await eventually(lambda: shown(registry)["jane"].last_error, "the damage is seen")
            view = shown(registry)["jane"]
            assert view.last_error == "The file of the card jane is damaged."
            assert (view.card.name, view.card.type) == ("jane", "")

    run_async(test())


def test_files_that_are_no_cards_are_not_shown(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        (store.directory / "-rf.card").write_text("junk")
        async with following(store) as registry:
            for name in ("a b.card", ".hidden.card", "notes.txt", "x" * 65 + ".card"):
                (store.directory / name).write_text("junk")
            empty_card(store, "last")
            await names_become(registry, "jane", "last")

    run_async(test())


def test_a_store_that_goes_takes_its_cards_along_and_one_that_comes_back_brings_them(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        async with following(store) as registry:
            away = store.directory.with_name("away")
            store.directory.rename(away)
            await names_become(registry)
            assert not store.directory.exists()
            away.rename(store.directory)
            await names_become(registry, "jane")
            shutil.rmtree(store.directory.parent)
            await names_become(registry)
            empty_card(store, "john")
            await names_become(registry, "john")

    run_async(test())


def test_a_store_that_nobody_may_be_shown_is_logged_and_shows_nothing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        store.directory.chmod(0o755)
        async with following(store) as registry:
            assert shown(registry) == {}
            assert "Others than its owner may use" in caplog.text

    run_async(test())


def bridge(uuid: UUID, source: str, slot: int = 0) -> BridgeView:
    plain = bridge_view(uuid)
    return BridgeView(uuid, slot, source, plain.endpoint, BridgeState.INSERTED, plain.since)


def test_a_card_tells_which_domains_use_it(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        registry = Registry()
        cards = Cards(registry, store)
        registry.bridges.put((WIN11, 0), bridge(WIN11, "card:jane"))
        await cards.look_at_all()
        assert shown(registry)["jane"].domains == (WIN11,)
        registry.bridges.put((FEDORA, 0), bridge(FEDORA, "card:jane"))
        registry.bridges.put((WIN11, 0), bridge(WIN11, "reader:jane"))
        assert shown(registry)["jane"].domains == (FEDORA,)
        registry.bridges.drop((FEDORA, 0))
        assert shown(registry)["jane"].domains == ()

    run_async(test())


def test_a_card_that_two_readers_of_a_domain_show_is_used_by_it_until_neither_does(store: Store) -> None:
    async def test() -> None:
        empty_card(store, "jane")
        registry = Registry()
        await Cards(registry, store).look_at_all()
        for slot in (0, 1):
            registry.bridges.put((WIN11, slot), bridge(WIN11, "card:jane", slot))
        assert shown(registry)["jane"].domains == (WIN11,)
        registry.bridges.put((WIN11, 0), bridge(WIN11, ""))
        assert shown(registry)["jane"].domains == (WIN11,)
        registry.bridges.drop((WIN11, 1))
        assert shown(registry)["jane"].domains == ()

    run_async(test())


@pytest.mark.parametrize(
    ("name", "element"),
    [("jane", "jane"), ("jane-piv", "jane_2dpiv"), ("a_b.c", "a_5fb_2ec"), ("9a", "_39a"), ("_", "_5f")],
)
def test_a_name_in_an_object_path_is_escaped_as_systemd_does(name: str, element: str) -> None:
    assert card_path(name) == f"/org/virtcard1/card/{element}"
    assert card_name(card_path(name)) == name
