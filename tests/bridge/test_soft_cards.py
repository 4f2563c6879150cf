"""A software card behind a bridge: it is there again when its machine is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.bridges import Watched
from helpers.qemu_peer import QemuPeer
from helpers.soft_cards import PIN_DIGITS, empty_card
from virtcard.bridge.runner import BridgeState
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.errors import Busy

SELECT = bytes.fromhex("00A4040005A000000308")
VERIFY = bytes.fromhex("0020008008") + PIN_DIGITS + b"\xff\xff"
STATUS = bytes.fromhex("00200080")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cards")
    empty_card(store)
    return store


def test_a_machine_that_comes_back_finds_its_card_and_no_login(
    make_peer: Callable[..., QemuPeer], make_bridge: Callable[..., Watched], store: Store
) -> None:
    first, watched = make_peer(), make_bridge()
    watched.bridge.insert(SoftSource(store).open("card"))
    first.wait_card()
    assert first.atr is not None
    assert first.exchange(SELECT)[-2] in (0x61, 0x90)
    assert first.exchange(VERIFY) == b"\x90\x00"
    first.close()
    watched.wait(BridgeState.CONNECTING)
    second = make_peer()
    second.wait_card()
    second.exchange(SELECT)
    assert second.exchange(STATUS) == b"\x63\xc3"
    assert second.exchange(VERIFY) == b"\x90\x00"


def test_an_ejected_card_is_free_for_the_next_machine(
    make_peer: Callable[..., QemuPeer], make_bridge: Callable[..., Watched], store: Store
) -> None:
    peer, watched, source = make_peer(), make_bridge(), SoftSource(store)
    watched.bridge.insert(source.open("card"))
    peer.wait_card()
    with pytest.raises(Busy):
        source.open("card")
    watched.bridge.eject()
    watched.wait(BridgeState.EMPTY)
    source.open("card").power_off()
