"""The modes on the command line: what `enable` asks the daemon for, and what `inject-xml` makes."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

from helpers.domain_vectors import vector
from helpers.door import FEDORA, FakeDoor, changed
from virtcard.cli.modes import MODES
from virtcard.cli.run import run
from virtcard.domain.model import parse_domain
from virtcard.domain.setup import mode_of
from virtcard.names import DOMAIN, domain_path

Capture = pytest.CaptureFixture[str]


def asked(*words: str) -> dict[str, Any]:
    """The options of the D-Bus call that `virtcard enable` makes, beside the usual two."""
    door = FakeDoor(answers={"Enable": changed()})
    assert run(["enable", "fedora", *words], door.choice()) == 0
    options: dict[str, Any] = dict(door.calls[0][2][0])
    assert options.pop("dry-run") is False
    return options


def test_a_bridge_is_asked_for_in_no_word_that_an_older_daemon_does_not_know() -> None:
    assert asked() == asked("--mode", "bridge") == {}


def test_certificates_and_database_are_passed_on() -> None:
    words = ["--certificate", "a", "--certificate", "b", "--certificate", "c", "--database", "/srv/nss"]
    assert asked("--mode", "host-certificates", *words) == {
        "mode": "host-certificates",
        "certificates": ["a", "b", "c"],
        "database": "/srv/nss",
    }


@pytest.mark.parametrize(("place", "address"), [("127.0.0.1:7001", "127.0.0.1"), ("[::1]:7001", "::1")])
def test_a_place_becomes_address_and_port(place: str, address: str) -> None:
    assert asked("--mode", "tcp", "--tcp", place, "--role", "connect", "--tls", "--insecure") == {
        "mode": "tcp",
        "address": address,
        "port": 7001,
        "role": "connect",
        "tls": True,
        "insecure": True,
    }


@pytest.mark.parametrize("place", ["7001", ":7001", "a:", "::1:7001", "[::1]7001", "a:0", "a:65536", "a:x", "a:٣"])
def test_a_place_that_is_none_is_refused(place: str, capsys: Capture) -> None:
    door = FakeDoor()
    assert run(["enable", "fedora", "--mode", "tcp", "--tcp", place], door.choice()) != 0
    assert door.calls == []
    assert "virtcard: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--tcp", "127.0.0.1:7001"], "'virtcard connect tcp://127.0.0.1:7001 SOURCE'"),
        (["--tcp", "[::1]:7001", "--role", "connect"], "'virtcard listen tcp://[::1]:7001 SOURCE'"),
        (["--tcp", "vm.example:7001", "--tls"], "'virtcard connect tls://vm.example:7001 SOURCE'"),
        (["--tcp", "vm.example:7001", "--insecure"], "'virtcard connect tcp://vm.example:7001 SOURCE --insecure'"),
    ],
)
def test_enable_says_who_brings_the_card_over_tcp(words: list[str], command: str, capsys: Capture) -> None:
    asked("--mode", "tcp", *words)
    assert command in capsys.readouterr().out


def test_spice_is_one_word_and_enable_says_who_brings_the_card(capsys: Capture) -> None:
    assert asked("--mode", "spice") == {"mode": "spice"}
    assert "remote-viewer --spice-smartcard" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tcp", "127.0.0.1:7001"], "--tcp goes with --mode tcp."),
        (["--mode", "spice", "--role", "connect"], "--role goes with --mode tcp."),
        (["--mode", "host", "--tls"], "--tls goes with --mode tcp."),
        (["--mode", "host", "--database", "/etc/pki/nssdb"], "--database goes with --mode host-certificates."),
        (["--mode", "tcp"], "--mode tcp needs --tcp HOST:PORT."),
        (
            ["--mode", "host-certificates", "--certificate", "a"],
            "--mode host-certificates takes --certificate NAME three times.",
        ),
    ],
)
def test_options_that_do_not_go_together_are_told_in_the_words_of_the_command(
    words: list[str], sentence: str, capsys: Capture
) -> None:
    door = FakeDoor()
    assert run(["enable", "fedora", *words], door.choice()) == 2
    assert door.calls == []
    assert capsys.readouterr().err.splitlines()[0] == f"virtcard: {sentence}"


def test_list_and_info_tell_a_mode_that_is_no_bridge(capsys: Capture) -> None:
    door = FakeDoor()
    door.world[domain_path(FEDORA)][DOMAIN] |= {"Reader": "present", "Foreign": "", "Mode": "tcp"}
    run(["list"], door.choice())
    printed = capsys.readouterr().out
    assert "present (tcp)" in printed
    assert "(bridge)" not in printed
    run(["info", "fedora"], door.choice())
    assert "Mode:                 tcp" in capsys.readouterr().out


def injected(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(vector("virt-manager").encode())))
    return run(["inject-xml", *words], FakeDoor().choice())


def test_inject_xml_takes_the_same_options(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert injected(monkeypatch, "--mode", "tcp", "--tcp", "127.0.0.1:7001", "--role", "connect") == 0
    reader = parse_domain(capfdbinary.readouterr().out.decode()).reader
    assert reader is not None
    assert (mode_of(reader), reader.service, reader.bind) == ("tcp", "7001", False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--mode", "host-certificates", "--certificate", "a"], "--certificate NAME three times"),
        (["--mode", "tcp", "--tcp", "192.0.2.1:7001"], "carries PINs in clear"),
        (["--mode", "tcp"], "--mode tcp needs --tcp"),
        (["--mode", "host", "--tls"], "--tls goes with --mode tcp"),
    ],
)
def test_inject_xml_refuses_what_would_not_work(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: list[str], sentence: str
) -> None:
    assert injected(monkeypatch, *words) != 0
    assert sentence in capsys.readouterr().err


def test_the_help_tells_of_each_mode_where_its_card_lives(capsys: Capture) -> None:
    assert run(["enable", "--help"]) == 0
    told = re.findall(r"^  (\S+) {2,}\S", capsys.readouterr().out.split("lives:")[1].split("Options:")[0], re.MULTILINE)
    assert tuple(told) == MODES
