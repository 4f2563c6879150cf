"""What a source of a call means now, for whoever decides about the call."""

from __future__ import annotations

import asyncio

import pytest

from helpers.bus import run_async
from virtcard.card.reader import ReaderInfo
from virtcard.card.reader_watcher import ReaderAdded
from virtcard.service.readers import Readers
from virtcard.service.registry import Registry

YUBIKEY = ReaderInfo("Yubico YubiKey [CCID] 00", True, b"\x3b\x00")
EMPTY = ReaderInfo("Alcor 01", False, b"")
OTHER = ReaderInfo("Alcor 02", True, b"\x3b\x01")


@pytest.mark.parametrize(
    ("there", "source", "meant"),
    [
        ((YUBIKEY, EMPTY), "reader:*ubi*", "reader:Yubico YubiKey [CCID] 00"),
        ((YUBIKEY, EMPTY), "reader:Yubico YubiKey [CCID] 00", "reader:Yubico YubiKey [CCID] 00"),
        ((YUBIKEY, EMPTY), "reader:*", "reader:Yubico YubiKey [CCID] 00"),
        ((YUBIKEY, EMPTY), "", "reader:Yubico YubiKey [CCID] 00"),
        ((YUBIKEY, EMPTY), "reader:Alcor*", "reader:Alcor 01"),
        ((YUBIKEY, OTHER), "", ""),
        ((YUBIKEY, OTHER), "reader:*", "reader:*"),
        ((), "", ""),
        ((EMPTY,), "", ""),
        ((EMPTY,), "reader:Yubico*", "reader:Yubico*"),
        ((YUBIKEY,), "card:jane", "card:jane"),
        ((YUBIKEY,), "rubbish", "rubbish"),
    ],
)
def test_a_glob_means_the_one_reader_that_an_insert_would_open(
    there: tuple[ReaderInfo, ...], source: str, meant: str
) -> None:
    async def test() -> None:
        readers = Readers(Registry().readers, on_change=lambda: None, on_service=lambda _state: None)
        for reader in there:
            readers.hear(ReaderAdded(reader))
        await asyncio.sleep(0)
        assert readers.meant(source) == meant

    run_async(test())
