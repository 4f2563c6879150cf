"""Traces of a bridge in a daemon that serves a software card, judged by tshark."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.bus import run_async
from helpers.domains import domain_uuid
from helpers.qemu_peer import QemuPeer
from helpers.services import FakeSource, ServiceLab, refused, running_lab
from helpers.soft_cards import PIN_DIGITS, empty_card
from virtcard import limits
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.cli.capture import Capture
from virtcard.errors import Busy, DomainStateError
from virtcard.service.record import Event

RUN = domain_uuid("run")
SELECT = bytes.fromhex("00A4040005A000000308")
PIN = PIN_DIGITS + b"\xff\xff"
VERIFY = bytes.fromhex("0020008008") + PIN
WRONG = bytes.fromhex("0020008008") + b"765432\xff\xff"
CHANGE = bytes.fromhex("0024008010") + PIN + b"24681357"
GET_DATA = bytes.fromhex("00CB3FFF055C035FC10200")
PINS = (PIN_DIGITS, b"765432", b"24681357")


class Reader:
    """Who reads a trace, on a thread of its own. `data` is what came so far."""

    def __init__(self, path: Path) -> None:
        self.data = b""
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(20)
        self._link.connect(str(path))

    def read(self) -> bytes:
        """All of it, to its end."""
        with self._link:
            while more := self._link.recv(65536):
                self.data += more
        return self.data

    def end(self) -> bytes:
        """Say that it is enough, and read the rest."""
        self._link.shutdown(socket.SHUT_WR)
        return self.read()

    def vanish(self) -> None:
        self._link.close()


class Traced:
    """A domain with a PIV card in it, and readers of its traces."""

    def __init__(self, lab: ServiceLab, peer: QemuPeer) -> None:
        self.lab = lab
        self.peer = peer

    async def reader(self, user: str = "alice") -> Reader:
        before = self.by()
        path = self.lab.service.tracing.open(RUN, 0, user)
        reader = await asyncio.to_thread(Reader, path)
        await self.lab.until(lambda: len(self.by()) == len(before) + 1, "the trace is shown")
        return reader

    def by(self) -> tuple[str, ...]:
        bridge = self.lab.bridge("run")
        return bridge.traced_by if bridge else ()

    async def over(self) -> None:
        await self.lab.until(lambda: self.by() == (), "the trace is over")

    async def exchange(self, *commands: bytes) -> list[bytes]:
        return await asyncio.to_thread(lambda: [self.peer.exchange(command) for command in commands])


@asynccontextmanager
async def traced(tmp_path: Path) -> AsyncIterator[Traced]:
    store = Store(tmp_path / "cards")
    empty_card(store)
    source = FakeSource()
    source.open = SoftSource(store).open  # type: ignore[method-assign]
    async with running_lab(source=source) as (lab, peer):
        await lab.insert("run", "reader:card")
        await lab.inserted("run", peer)
        yield Traced(lab, peer)


def tshark(folder: Path, capture: bytes, *words: str) -> list[str]:
    """What tshark prints of it; it must not complain."""
    file = folder / "it.pcapng"
    file.write_bytes(capture)
    done = subprocess.run(["tshark", "-r", file, *words], check=True, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    assert complaints == []
    return done.stdout.splitlines()


def fields(folder: Path, capture: bytes, *names: str) -> list[list[str]]:
    words = [word for name in names for word in ("-e", name)]
    return [line.split("\t") for line in tshark(folder, capture, "-T", "fields", *words)]


def scene(test: Callable[[Traced], Any], tmp_path: Path) -> Any:
    async def run() -> Any:
        async with traced(tmp_path) as lab:
            return await test(lab)

    return run_async(run())


async def used(lab: Traced) -> bytes:
    """The capture of a guest that selects, verifies wrongly and rightly, changes its PIN, and reads an object."""
    reader = await lab.reader()
    await lab.exchange(SELECT, WRONG, VERIFY, CHANGE, GET_DATA)
    capture = await asyncio.to_thread(reader.end)
    await lab.over()
    return capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of `used`."""
    taken: bytes = scene(used, tmp_path_factory.mktemp("cards"))
    return taken


def test_tshark_shows_commands_and_answers_as_apdus(capture: bytes, tmp_path: Path) -> None:
    shown = tshark(tmp_path, capture)
    assert len(shown) == 10
    assert all("ISO 7816" in line for line in shown)
    assert "Interface → Card" in shown[0]
    assert "Select file" in shown[0]
    assert "Card → Interface" in shown[1]
    assert "Response APDU (to Select file)" in shown[1]
    assert [line.split()[-1] for line in shown[2::2]][:2] == ["Verify", "Verify"]


def test_tshark_finds_instruction_and_status_in_their_fields(capture: bytes, tmp_path: Path) -> None:
    rows = fields(tmp_path, capture, "iso7816.apdu.ins", "iso7816.apdu.sw1", "iso7816.apdu.sw2")
    assert [row[0] for row in rows[::2]] == ["0xa4", "0x20", "0x20", "0x24", "0xcb"]
    assert rows[3][1:] == ["0x63", "0xc2"]
    assert [row[1:] for row in rows[5:8:2]] == [["0x90", "0x00"], ["0x90", "0x00"]]


def test_every_packet_says_in_words_what_it_is(capture: bytes, tmp_path: Path) -> None:
    comments = [row[0] for row in fields(tmp_path, capture, "frame.comment")]
    assert comments[2:6] == ["VERIFY", "VERIFY: 63C2", "VERIFY", "VERIFY: 9000 OK"]
    assert comments[6:8] == ["CHANGE REFERENCE DATA", "CHANGE REFERENCE DATA: 9000 OK"]
    assert comments[8] == "GET DATA"


def test_tshark_knows_the_machine_by_the_name_of_the_interface(capture: bytes, tmp_path: Path) -> None:
    assert {row[0] for row in fields(tmp_path, capture, "frame.interface_name")} == {"run"}


def test_capinfos_finds_a_capture_of_ours_with_its_statistics(capture: bytes, tmp_path: Path) -> None:
    (tmp_path / "it.pcapng").write_bytes(capture)
    shown = subprocess.run(["capinfos", tmp_path / "it.pcapng"], check=True, capture_output=True, text=True).stdout
    assert "Number of packets:   10" in shown
    assert "Capture application: virtcard" in shown
    assert "Number of stat entries = 1" in shown
    assert "wireshark-upper-pdu" in shown


def test_no_pin_is_in_the_file_in_any_spelling(capture: bytes, tmp_path: Path) -> None:
    """Not in its bytes, and not in anything that tshark makes of it."""
    shown = "\n".join(tshark(tmp_path, capture, "-V", "-x")).encode()
    told = json.dumps(tshark(tmp_path, capture, "-T", "json", "-x")).encode()
    for pin in PINS:
        for spelled in spellings(pin):
            assert spelled not in capture
            assert spelled not in shown.replace(b" ", b"")
            assert spelled not in told


def spellings(pin: bytes) -> list[bytes]:
    text = pin.decode()
    hexed = pin.hex()
    return [
        pin, hexed.encode(), hexed.upper().encode(), ":".join(f"{byte:02x}" for byte in pin).encode(),
        text.encode("utf-16-le"), text.encode("utf-16-be"), base64.b64encode(pin).rstrip(b"="), pin[::-1],
        bytes.fromhex(text if len(text) % 2 == 0 else text + "F"), bytes(int(digit) for digit in text),
    ]  # fmt: skip


def test_the_same_search_finds_what_is_not_masked(capture: bytes) -> None:
    assert SELECT in capture


def test_a_trace_is_shown_and_on_record_with_who_it_is(tmp_path: Path) -> None:
    async def test(lab: Traced) -> list[str]:
        records: list[Any] = []
        lab.lab.service.tracing._record = records.append
        first = await lab.reader("alice")
        second = await lab.reader("bob")
        assert lab.by() == ("alice", "bob")
        await lab.exchange(SELECT)
        await asyncio.to_thread(first.end)
        await lab.lab.until(lambda: lab.by() == ("bob",), "alice's trace is over")
        second.vanish()
        await lab.over()
        assert {record.event for record in records} == {Event.TRACE_STARTED, Event.TRACE_ENDED}
        assert all((record.uuid, record.name) == (RUN, "run") for record in records)
        return [record.sentence for record in records]

    assert scene(test, tmp_path) == [
        "alice traces run.",
        "bob traces run.",
        "alice has traced 1 command of run.",
        "bob has traced 1 command of run.",
    ]


def test_a_trace_ends_with_its_machine(tmp_path: Path) -> None:
    async def test(lab: Traced) -> bytes:
        reader = await lab.reader()
        await lab.exchange(SELECT)
        await lab.lab.act("run", "destroy")
        return await asyncio.to_thread(reader.read)

    reader = Capture()
    reader.feed(scene(test, tmp_path))
    assert reader.commands == 1


def test_a_trace_goes_on_from_one_card_to_the_next(tmp_path: Path) -> None:
    async def test(lab: Traced) -> bytes:
        reader = await lab.reader()
        await lab.lab.eject("run")
        await lab.lab.insert("run", "reader:card")
        await lab.exchange(SELECT)
        return await asyncio.to_thread(reader.end)

    comments = fields(tmp_path, scene(test, tmp_path), "frame.comment")
    assert ["ATR"] in comments
    assert ["SELECT"] in comments


def test_a_reader_that_reads_nothing_loses_packets_and_slows_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TRACE_PACKETS_MAX", 50)

    async def test(lab: Traced) -> bytes:
        reader = await lab.reader()
        await lab.exchange(*[SELECT] * 3000)
        return await asyncio.to_thread(reader.end)

    taken = scene(test, tmp_path)
    counted = Capture()
    counted.feed(taken)
    assert counted.lost > 0
    assert counted.commands < 3000
    assert len(tshark(tmp_path, taken)) == 6000 - counted.lost


def test_a_machine_without_a_bridge_cannot_be_traced(tmp_path: Path) -> None:
    async def test(lab: Traced) -> str:
        await lab.lab.act("run", "destroy")
        await lab.lab.until(lambda: lab.lab.bridge("run") is None, "its bridge has ended")
        error = await refused(opened(lab), DomainStateError)
        return error.message

    assert scene(test, tmp_path) == "run has no bridge that could be traced."


async def opened(lab: Traced) -> Path:
    return lab.lab.service.tracing.open(RUN, 0, "alice")


def test_a_bridge_is_traced_by_a_few_at_most(tmp_path: Path) -> None:
    async def test(lab: Traced) -> None:
        readers = [await lab.reader() for _ in range(limits.TRACES_MAX)]
        await refused(opened(lab), Busy)
        for reader in readers:
            reader.vanish()
        await lab.over()

    scene(test, tmp_path)


def test_the_end_of_the_daemon_is_the_end_of_a_trace(tmp_path: Path) -> None:
    async def test(lab: Traced) -> Reader:
        reader = await lab.reader()
        await lab.exchange(SELECT)
        return reader

    counted = Capture()
    counted.feed(scene(test, tmp_path).read())
    assert counted.commands == 1
