"""What an operator sees of a real virtcardd: status with versions and what to do, and metrics."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from prometheus_client.parser import text_string_to_metric_families

from helpers.agents import AgentPeer, word
from helpers.bus import private_bus, run_async
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.qemu_peer import QemuPeer
from helpers.services import refused, running_lab, wish_metadata
from helpers.virtcardd import BIN, Virtcardd, session_virtcardd
from helpers.waiting import wait_until
from virtcard.daemon.compose import _metrics
from virtcard.errors import CardError, Unsupported
from virtcard.names import socket_name
from virtcard.settings import settings

RUN = domain_uuid("run")
SELECT = bytes.fromhex("00A4040009A00000030800001000")


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory for the sockets."""
    with TemporaryDirectory(prefix="vc-") as name:
        yield Path(name)


@contextmanager
def daemon(home: Path, *arguments: str, uri: str = "") -> Iterator[Virtcardd]:
    """A virtcardd on the test driver, with one running domain that has its reader."""
    devices = XHCI + reader_xml(home / "virtcard" / socket_name(RUN))
    (home / "node.xml").write_text(f"<node>{domain_xml('run', devices=devices)}</node>")
    with private_bus() as bus:
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": str(home),
            "PCSCLITE_CSOCK_NAME": str(home / "no-pcscd"),
        }
        with session_virtcardd(environment, home, "--connect", uri or f"test://{home}/node.xml", *arguments) as running:
            yield running


def metrics(path: Path) -> dict[str, float]:
    """The values that have no labels."""
    families = text_string_to_metric_families(path.read_text())
    return {each.name: each.value for family in families for each in family.samples if not each.labels}


def test_metrics_of_a_machine_in_use_are_written_and_end_with_the_daemon(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTCARDD_METRICS", "1")
    path = home / "virtcardd" / "metrics" / "virtcard.prom"
    (home / "virtcard").mkdir()
    peer = QemuPeer(home / "virtcard" / socket_name(RUN))
    with daemon(home) as running:
        assert running.json("status")["metrics"] == str(path)
        words = ("card", "create", "piv", "--type", "piv", "--key", "p256", "--pin-file", "-", "--puk-file", "-")
        assert running.run(*words, stdin="123456\n12345678\n").returncode == 0
        running.virtcard("insert", "run", "card:piv")
        peer.wait_card()
        assert peer.exchange(SELECT)[:1] == b"\x61"  # T=0: the answer waits for GET RESPONSE
        wait_until(lambda: metrics(path).get("virtcard_apdus_total") == 1, 40, "the command is in the metrics")
        assert metrics(path)["virtcard_insertions_total"] == 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        subprocess.run(["promtool", "check", "metrics"], check=True, input=path.read_bytes())
        checks = json.loads(running.run("doctor", "--json").stdout)
        assert f"virtcardd writes metrics to {path}." in [check["message"] for check in checks]
    peer.close()
    assert not path.exists()


def test_without_the_setting_nothing_is_written(home: Path) -> None:
    with daemon(home) as running:
        assert running.json("status")["metrics"] == ""
        assert not (home / "virtcardd" / "metrics").exists()


def test_metrics_without_their_library_are_refused_with_what_to_do(home: Path) -> None:
    chosen = settings(session=True, connect="test:///default", socket_dir=None, metrics=True)
    with patch.dict("sys.modules", {"virtcard.metrics.textfile": None}), pytest.raises(Unsupported) as refused:
        _metrics(chosen, None, None)  # type: ignore[arg-type]
    assert "pip install prometheus-client" in refused.value.hint


def test_virtcardd_says_what_metrics_are_for() -> None:
    said = subprocess.run([BIN / "virtcardd", "--help"], check=True, capture_output=True, text=True).stdout
    assert "--metrics" in said


def test_versions_are_those_of_the_parts(home: Path) -> None:
    with daemon(home) as running:
        found = running.json("status")
    virsh = subprocess.run(["virsh", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    assert found["versions"] == {"virtcard": found["version"], "libvirt": virsh}  # no QEMU here, and no pcscd
    assert found["started"] > 1_700_000_000_000_000


def test_libvirt_that_is_away_is_a_problem_with_its_reason(home: Path) -> None:
    with daemon(home, uri=f"qemu+unix:///session?socket={home}/nobody") as running:
        wait_until(lambda: running.json("status")["libvirt_error"], 10, "libvirt's reason is told")
        found = running.json("status")
        problem = found["problems"][0]
        assert (problem["severity"], problem["about"]) == ("error", "libvirt")
        assert problem["message"] == found["libvirt_error"]
        assert re.search(r"nobody", problem["message"])


def test_what_the_policy_denies_to_a_wish_says_what_to_do() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one"), policy="") as (lab, _):
            await lab.settled()
            assert "does not let run have reader:one" in lab.view("run").last_error
            assert "virtcard policy explain" in lab.view("run").hint

    run_async(scene())


def test_a_card_that_hangs_says_what_to_do() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _):
            lab.source.card("one").power_gate.clear()
            with patch("virtcard.limits.TRANSMIT_PATIENCE", 0.1):
                error = await refused(lab.insert("run", "reader:one"), CardError)
            lab.source.card("one").power_gate.set()
            assert error.hint == "Take it out of its reader and put it in again."

    run_async(scene())


def test_status_tells_who_can_be_asked(home: Path) -> None:
    async def register(address: str) -> None:
        agent = await AgentPeer.open(address, word("deny"))
        await agent.register()
        listed.append(await asyncio.to_thread(running.json, "status"))

    listed: list[dict[str, list[int]]] = []
    with daemon(home) as running:
        assert running.json("status")["agents"] == []
        run_async(register(running.environment["DBUS_SESSION_BUS_ADDRESS"]))
        assert listed[0]["agents"] == [os.getuid()]
        wait_until(lambda: running.json("status")["agents"] == [], 10, "the agent left with its connection")
