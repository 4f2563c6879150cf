"""Waiting until a card is in a virtual reader, or out of it, by what its bridge shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from virtcard.bridge.status import BridgeState
from virtcard.errors import CardError, Conflict, Failed, TimedOut
from virtcard.service.bridges import Key
from virtcard.service.registry import Shelf
from virtcard.service.views import BridgeView

Bridged = Shelf[Key, BridgeView]


async def until_inserted(shelf: Bridged, key: Key, source: str, patience: float) -> None:
    """Wait for the card of `source` to be in the reader.

    CardError with the bridge's own sentence when it fails, Conflict when something else was put in meanwhile."""
    await _until(shelf, key, patience, lambda view: _inserted(view, source))


async def until_empty(shelf: Bridged, key: Key, patience: float) -> None:
    """Wait for the reader to be empty."""
    await _until(shelf, key, patience, _empty)


async def _until(shelf: Bridged, key: Key, patience: float, done: Callable[[BridgeView | None], bool]) -> None:
    changed = asyncio.Event()

    def listener(changed_key: Key, _old: BridgeView | None, _new: BridgeView | None) -> None:
        if changed_key == key:
            changed.set()

    shelf.listen(listener)
    try:
        async with asyncio.timeout(patience):
            while not done(shelf.get(key)):
                await changed.wait()
                changed.clear()
    except TimeoutError:
        raise TimedOut(
            "The virtual machine did not take notice in time.",
            hint="'virtcard info' shows the state of its bridge.",
        ) from None
    finally:
        shelf.unlisten(listener)


def _inserted(view: BridgeView | None, source: str) -> bool:
    if view is None:
        raise Failed("The virtual machine went away.")
    if view.source != source:
        raise Conflict("Another call changed at the same time what is in the reader.", hint="Try again.")
    if view.state is BridgeState.INSERTED:
        return True
    if view.last_error and view.state in {BridgeState.EMPTY, BridgeState.FAILED}:
        raise CardError(view.last_error, hint=view.hint)
    return False


def _empty(view: BridgeView | None) -> bool:
    return view is None or view.state not in {BridgeState.INSERTED, BridgeState.INSERTING, BridgeState.EJECTING}
