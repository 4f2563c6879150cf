"""The command line against a service on a real bus."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from helpers.bus import PrivateBus, Serving, private_bus
from helpers.fake_service import FEDORA, WIN11, FakeService, domain_view
from helpers.terminal import on_terminal
from helpers.waiting import wait_until
from virtcard.bus.address import BusKind
from virtcard.cli.run import run
from virtcard.cli.shapes import Bridge, Domain, Finding, Info, Reader, Status
from virtcard.errors import (
    Busy,
    DomainStateError,
    Internal,
    NoSuchReader,
    NotAuthorized,
    PolicyDenied,
    TimedOut,
    VirtcardError,
)
from virtcard.service.api import EnableOptions, InsertOptions
from virtcard.service.views import VirtualReader

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    with private_bus() as private:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
        yield private


@pytest.fixture
def service(bus: PrivateBus) -> Iterator[FakeService]:
    fake = FakeService().fill()
    fake.registry.domains.put(FEDORA, replace(domain_view(FEDORA, "fedora"), id=-1, state="shut off", enabled=False))
    with Serving(bus.address, fake):
        yield fake


def as_json(capsys: Capture, *words: str) -> Any:
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_reading_verb_gives_exactly_its_documented_keys(service: FakeService, capsys: Capture) -> None:
    assert {*as_json(capsys, "list")[0]} == {*Domain.__annotations__}
    assert {*as_json(capsys, "readers")[0]} == {*Reader.__annotations__}
    assert {*as_json(capsys, "status")} == {*Status.__annotations__}
    info = as_json(capsys, "info", "win11")
    assert {*info} == {*Info.__annotations__}
    assert {*info["bridges"][0]} == {*Bridge.__annotations__}
    assert {*info["findings"][0]} == {*Finding.__annotations__}


def test_values_arrive_as_they_are(service: FakeService, capsys: Capture) -> None:
    info = as_json(capsys, "info", "3")
    assert (info["name"], info["uuid"], info["id"], info["reader"]) == ("win11", str(WIN11), 3, "present")
    assert info["bridges"][0]["apdus"] == 7
    (reader,) = as_json(capsys, "readers")
    assert (reader["atr"], reader["domains"]) == ("3B0A", [str(WIN11)])
    assert as_json(capsys, "info", str(FEDORA))["id"] is None


def test_enable_passes_its_options_to_the_service(service: FakeService, capsys: Capture) -> None:
    assert run(["enable", "win11", "--dry-run", "--on-existing", "replace"]) == 0
    assert service.calls[-1] == ("enable", WIN11, EnableOptions(dry_run=True, on_existing="replace"))
    printed = capsys.readouterr()
    assert printed.out == "-old\n+new\n"
    assert printed.err == "warning: The domain has USB 1 only.\nhint: Add a qemu-xhci controller.\n"


def test_disable_all_disables_the_enabled_ones(service: FakeService) -> None:
    assert run(["disable", "--all"]) == 0
    assert [call for call in service.calls if call[0] == "disable"] == [("disable", WIN11, EnableOptions())]


def test_insert_and_eject_pass_their_options_to_the_service(service: FakeService, capsys: Capture) -> None:
    assert run(["insert", "win11", "reader:Yubi*", "--config"]) == 0
    assert ("insert", WIN11, "reader:Yubi*", InsertOptions(config=True)) in service.calls
    assert run(["insert", "fedora", "--config"]) == 0
    assert run(["eject", "win11"]) == 0
    assert ("eject", WIN11, InsertOptions()) in service.calls
    assert capsys.readouterr().out.splitlines() == [
        "reader:Yubico* is in domain 'win11', and its metadata asks for it.",
        "Domain 'fedora' is off; its metadata asks for the card now.",
        "The virtual reader of domain 'win11' is empty.",
    ]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (NotAuthorized("No.", hint="Ask root."), 3),
        (NoSuchReader("No.", hint="Plug it in."), 4),
        (PolicyDenied("No.", hint="Read the policy."), 5),
        (TimedOut("No.", hint="Try again."), 6),
        (Busy("No.", hint="Wait."), 1),
        (DomainStateError("No.", hint="Start it."), 1),
        (Internal("No.", hint="See the journal."), 1),
    ],
)
def test_the_daemons_errors_keep_their_sentence_hint_and_exit_code(
    service: FakeService, failure: VirtcardError, code: int, capsys: Capture
) -> None:
    async def always(text: str) -> UUID:
        return WIN11

    service.find_domain = always  # type: ignore[method-assign]
    service.failure = failure
    assert run(["eject", "win11"]) == code
    assert capsys.readouterr().err == f"virtcard: No.\nhint: {failure.hint}\n"


def test_an_unknown_domain_is_exit_code_4(service: FakeService, capsys: Capture) -> None:
    assert run(["info", "nobody"]) == 4
    assert "There is no domain 'nobody'." in capsys.readouterr().err


def test_without_a_daemon_the_error_says_how_to_start_it(bus: PrivateBus, capsys: Capture) -> None:
    assert run(["list"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("virtcard: virtcardd does not run.\nhint: ")


def test_without_a_bus_the_error_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    assert run(["list"]) == 1
    assert capsys.readouterr().err.startswith("virtcard: ")


@pytest.mark.parametrize("words", [["--session"], ["-c", "qemu:///session"]])
def test_the_session_has_a_bus_of_its_own(
    words: list[str], bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    with Serving(bus.address, FakeService().fill(), BusKind.SESSION):
        assert run([*words, "list"]) == 0
    assert "win11" in capsys.readouterr().out


def test_watch_prints_each_change_at_once_and_ends_with_ctrl_c(bus: PrivateBus) -> None:
    fake = FakeService().fill()
    with Serving(bus.address, fake) as serving:
        child = _watch()
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        pipe, heard = child.stdout.fileno(), bytearray()

        def seen() -> bool:
            card = f"reader:{len(heard)}"
            serving.run(lambda: fake.registry.domains.put(WIN11, replace(domain_view(), card=card)))
            serving.run(lambda: fake.registry.domains.put(WIN11, replace(domain_view(), reader=VirtualReader.CONFLICT)))
            with suppress(BlockingIOError):
                heard.extend(os.read(pipe, 65536))
            return heard.count(b"\n") > 1

        wait_until(seen, 20, "two changes on stdout")
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130
        child.stdout.close()
    whole = heard[: heard.rindex(b"\n")].splitlines()
    change = next(found for line in whole if "reader" in (found := json.loads(line))["properties"])
    assert (change["event"], change["type"]) == ("changed", "domain")
    assert change["properties"]["reader"] in ("present", "conflict")


def test_watch_ends_after_its_timeout(service: FakeService) -> None:
    assert run(["watch", "--timeout", "0.1"]) == 0


def test_watch_says_when_the_daemon_goes(bus: PrivateBus) -> None:
    with Serving(bus.address, FakeService().fill()) as serving:
        child = _watch()
        serving.stop()
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "virtcardd" in errors


def test_watch_live_follows_what_changes_and_ends_with_ctrl_c(bus: PrivateBus) -> None:
    fake = FakeService().fill()
    command = [sys.executable, "-m", "virtcard.cli", "watch", "--live"]
    with (
        Serving(bus.address, fake) as serving,
        on_terminal(command, {**os.environ, "TERM": "xterm"}, columns=120) as terminal,
    ):
        terminal.wait("win11")
        serving.run(lambda: fake.registry.domains.put(WIN11, replace(domain_view(), card="reader:another")))
        terminal.wait("reader:another")
        terminal.type("\x03")
        assert terminal.process.wait(10) == 130


def test_watch_live_says_when_the_daemon_goes(bus: PrivateBus) -> None:
    command = [sys.executable, "-m", "virtcard.cli", "watch", "--live"]
    with (
        Serving(bus.address, FakeService().fill()) as serving,
        on_terminal(command, {**os.environ, "TERM": "xterm"}, columns=120) as terminal,
    ):
        terminal.wait("win11")
        serving.stop()
        terminal.wait("virtcard: ")
        assert terminal.process.wait(10) == 1


def _watch() -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "virtcard.cli", "watch", "--json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
