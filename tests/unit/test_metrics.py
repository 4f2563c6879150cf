"""Metrics for Prometheus, judged by promtool and by the parser of the official client."""

from __future__ import annotations

import asyncio
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from helpers.bus import eventually
from helpers.fake_service import WIN11, FakeService, bridge_view, domain_view, reader_view
from virtcard import limits
from virtcard.card.audit import Counts
from virtcard.metrics.textfile import Textfile
from virtcard.service import threads
from virtcard.service.views import BridgeState

README = (Path(__file__).parents[2] / "README.md").read_text()
OF_WIN11 = {"uuid": str(WIN11), "domain": "win11", "slot": "0"}


def written(service: FakeService, path: Path) -> str:
    """The file of one turn."""

    async def turn() -> None:
        await Textfile(path, service.registry, service.status)._write()

    asyncio.run(turn())
    return path.read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "virtcard.prom"


@pytest.fixture
def service() -> FakeService:
    """One of each, and a bridge that was busy."""
    service = FakeService().fill()
    counts = Counts({"SELECT": 5, "VERIFY": 2}, refused=1, pin_failures=2, bytes_sent=70, bytes_received=14)
    service.registry.bridges.put((WIN11, 0), replace(bridge_view(), counts=counts))
    return service


def samples(text: str) -> Iterator[Sample]:
    return (sample for family in text_string_to_metric_families(text) for sample in family.samples)


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [each.value for each in samples(text) if each.name == f"virtcard_{name}" and each.labels == labels]
    return found


def test_promtool_has_nothing_to_say(service: FakeService, path: Path) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=written(service, path), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_there_is_now_is_told(service: FakeService, path: Path) -> None:
    text = written(service, path)
    assert value(text, "domains") == value(text, "domains_enabled") == value(text, "readers") == 1
    assert value(text, "libvirt_connected") == 1
    assert value(text, "pcsc_connected") == 0
    assert value(text, "policy_state", state="ok") == 1
    assert value(text, "policy_state", state="broken") == 0
    assert value(text, "bridges", state="inserted") == 1
    assert value(text, "bridges", state="failed") == 0
    assert value(text, "reader_card_present", reader="Yubico YubiKey 00") == 1


def test_counters_are_told_in_total_by_instruction_and_by_bridge(service: FakeService, path: Path) -> None:
    text = written(service, path)
    assert value(text, "apdus_total") == value(text, "bridge_apdus_total", **OF_WIN11) == 7
    assert value(text, "pin_failures_total") == value(text, "bridge_pin_failures_total", **OF_WIN11) == 2
    assert value(text, "commands_total", instruction="VERIFY") == 2
    assert (value(text, "sent_bytes_total"), value(text, "received_bytes_total")) == (70, 14)
    assert value(text, "bridge_state_since_seconds", **OF_WIN11) == 1_700_000_000


def test_the_daemon_tells_of_itself(service: FakeService, path: Path) -> None:
    text = written(service, path)
    assert value(text, "build_info", version="0.1.0", libvirt="", qemu="", pcsc_lite="") == 1
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "threads"):
        assert value(text, f"process_{name}") > 0


def test_the_readme_names_every_metric_and_no_other(service: FakeService, path: Path) -> None:
    table = README.split("| metric `virtcard_…` | tells |")[1].split("**Which virtcardd.**")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`(\w+)(?:\{[\w,]+\})?`", cell)]
    assert sorted(named) == sorted({each.name.removeprefix("virtcard_") for each in samples(written(service, path))})


def test_names_from_outside_are_escaped_and_cut(service: FakeService, path: Path) -> None:
    name = 'a"b\\c\nd\udc80' + "x" * 1000
    service.registry.domains.put(WIN11, domain_view(name=name))
    text = written(service, path)
    (label,) = {sample.labels["domain"] for sample in samples(text) if "domain" in sample.labels}
    assert label == name[: limits.METRICS_LABEL_MAX].replace("\udc80", "?")


def test_readers_whose_names_are_alike_after_the_cut_are_one_series(service: FakeService, path: Path) -> None:
    for number in range(2):
        long = replace(reader_view(number), name="r" * limits.METRICS_LABEL_MAX + str(number))
        service.registry.readers.put(number, long)
    value(written(service, path), "reader_card_present", reader="r" * limits.METRICS_LABEL_MAX)


def test_series_are_bounded_and_totals_are_not(service: FakeService, path: Path) -> None:
    for number in range(5):
        uuid = UUID(int=number)
        service.registry.bridges.put((uuid, 0), replace(bridge_view(uuid), apdus=1))
    with patch("virtcard.metrics.families.METRICS_BRIDGES_MAX", 3):
        text = written(service, path)
    assert sum(sample.name == "virtcard_bridge_apdus_total" for sample in samples(text)) == 3
    assert value(text, "bridges", state="inserted") == 6
    assert value(text, "apdus_total") == 7 + 5


def test_the_file_is_for_everybody_and_replaced_whole(service: FakeService, path: Path) -> None:
    written(service, path)
    before = path.stat()
    service.registry.bridges.put((WIN11, 0), replace(bridge_view(), state=BridgeState.FAILED))
    written(service, path)
    assert path.stat().st_ino != before.st_ino
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert [each.name for each in path.parent.iterdir()] == ["virtcard.prom"]


def test_it_is_written_again_and_gone_at_the_end(service: FakeService, path: Path) -> None:
    async def test() -> None:
        with patch("virtcard.metrics.textfile.METRICS_PERIOD", 0.01):
            task = asyncio.create_task(Textfile(path, service.registry, service.status).run())
            await eventually(path.exists, "it is written")
            path.unlink()
            await eventually(path.exists, "it is written again")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not path.exists()

    asyncio.run(test())


def test_a_place_that_cannot_be_written_is_told_once(service: FakeService, tmp_path: Path, caplog: Any) -> None:
    place = tmp_path / "file"
    place.write_text("")

    async def test() -> None:
        textfile = Textfile(place / "metrics" / "virtcard.prom", service.registry, service.status)
        await textfile._write()
        await textfile._write()
        assert [record.getMessage() for record in caplog.records] == [
            f"cannot write the metrics {place}/metrics/virtcard.prom: Not a directory"
        ]

    asyncio.run(test())


def test_without_a_thread_they_are_written_later(service: FakeService, path: Path, caplog: Any) -> None:
    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test() -> None:
        textfile = Textfile(path, service.registry, service.status)
        await eventually(lambda: not threads._idle, "no thread is at hand", 20)
        with patch.object(threading.Thread, "start", none_left):
            await textfile._write()
        assert "The system has no thread left." in caplog.text
        assert not path.exists()
        await textfile._write()
        assert path.exists()

    asyncio.run(test())
