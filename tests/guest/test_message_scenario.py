"""The message scenario of QEMU's smart card chapter: what stands on the wire at each event of client and guest."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers import nss
from helpers.guest import Guest
from helpers.wire_recorder import (
    APDU,
    ATR,
    CARD_REMOVE,
    CLIENT,
    ERROR,
    INIT,
    QEMU,
    READER_ADD,
    READER_REMOVE,
    UNDEFINED,
    Passed,
    Recorder,
)
from virtcard.card.soft.nss import NICKNAMES

SOFT = f"use_hw=no soft=(,Test,CAC,,{','.join(NICKNAMES)})"
GREETING = b"VSCD" + struct.pack(">II", 2, 0)
GENERAL_ERROR = struct.pack(">I", 1)
SELECT_CCC = bytes.fromhex("00A4040007A000000116DB00")


def success(kind: int, payload: bytes = b"", reader_id: int = 0) -> list[Passed]:
    """A control message of the client, and VSC_Error with VSC_SUCCESS for reader 0, which QEMU answers."""
    return [Passed(CLIENT, kind, reader_id, payload), Passed(QEMU, ERROR, 0, bytes(4))]


START = [
    Passed(CLIENT, INIT, UNDEFINED, GREETING),
    Passed(QEMU, INIT, UNDEFINED, GREETING),
    # Ours: an APDU that an earlier client left unanswered fails, and its card is gone.
    Passed(CLIENT, ERROR, 0, GENERAL_ERROR),
    *success(READER_REMOVE),
    *success(READER_ADD, reader_id=UNDEFINED),
]
"""From the connection to the reader; the card's ATR follows."""


@pytest.fixture
def wire(card_socket: Path) -> Iterator[Recorder]:
    with closing(Recorder(card_socket)) as recorder:
        yield recorder


@pytest.fixture
def client(wire: Recorder) -> Iterator[subprocess.Popen[str]]:
    words = ("-e", f'db="sql:{nss.shared_database()}" {SOFT}', "127.0.0.1", str(wire.port))
    command = [sys.executable, "-m", "virtcard.cli.local.vscclient", *words]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    yield running
    running.kill()
    running.communicate()


def say(client: subprocess.Popen[str], word: str) -> None:
    assert client.stdin is not None
    client.stdin.write(f"{word}\n")
    client.stdin.flush()


def test_each_event_has_the_messages_of_the_table(wire: Recorder, client: subprocess.Popen[str], guest: Guest) -> None:
    atr = guest.wait_reader_state("present", timeout=40).atr
    assert wire.next(len(START) + 2) == START + success(ATR, atr)
    (answer,) = guest.transmit(SELECT_CCC)
    command = [Passed(QEMU, APDU, 0, SELECT_CCC), Passed(CLIENT, APDU, 0, answer)]
    assert wire.next(2) == command

    say(client, "remove")
    guest.wait_reader_state("empty")
    assert wire.next(2) == success(CARD_REMOVE)

    say(client, "insert")
    assert guest.wait_reader_state("present").atr == atr
    assert wire.next(2) == success(ATR, atr)
    assert guest.transmit(SELECT_CCC) == [answer]
    assert wire.next(2) == command

    say(client, "exit")
    assert client.wait(20) == 0
    guest.wait_reader_state("empty")
    assert wire.next(4) == success(CARD_REMOVE) + success(READER_REMOVE)
