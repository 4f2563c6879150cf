"""`virtcard card` for a user who is not root: everything through a daemon, on a real bus, store and sockets."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.bus import PrivateBus, Serving
from helpers.lively import LivelyService
from helpers.nss import PASSWORD, shared_database
from helpers.openssl import openssl
from virtcard.card.soft.store import Store
from virtcard.cli.options import Choice
from virtcard.cli.run import run

Card = Callable[..., int]
NEW = ("--pin-file", "-", "--puk-file", "-")
SECRETS = "123456\n12345678\n"
CREATE = ("create", "jane-piv", "--type", "piv", "--key", "p256", *NEW)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cards")


@pytest.fixture
def card(private: PrivateBus, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """Runs `virtcard card WORDS` as if by somebody who is not root; the daemon of the test lets everybody in."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
    monkeypatch.setattr("virtcard.cli.local.card.place.own_files", lambda choice: False)

    def invoke(*words: str | Path, lines: str = "") -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        return run(["card", *map(str, words)], Choice(lambda: "system"))

    with Serving(private.address, LivelyService(store, tmp_path / "run")):
        yield invoke


def certificate(folder: Path) -> tuple[Path, Path]:
    key, file = folder / "own.key", folder / "own.pem"
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Own", "-keyout", key, "-out", file)
    openssl(*words)
    return key, file


def shown(card: Card, capsys: pytest.CaptureFixture[str], name: str = "jane-piv") -> dict[str, object]:
    capsys.readouterr()
    assert card("show", name, "--json") == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_every_verb_works_through_the_daemon(
    card: Card, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file = certificate(tmp_path)
    assert card(*CREATE, "--subject", "CN=Jane", lines=SECRETS) == 0
    assert shown(card, capsys)["pin_tries"] == 3
    assert card("passwd", "jane-piv", "--pin-file", "-", "--new-pin-file", "-", lines="000000\n654321\n") == 1
    assert "The PIN is wrong; 2 tries are left." in capsys.readouterr().err
    words = ("passwd", "jane-piv", "--puk", "--puk-file", "-", "--new-puk-file", "-")
    assert card(*words, lines="12345678\n87654321\n") == 0
    assert card("unblock", "jane-piv", "--puk-file", "-", "--pin-file", "-", lines="87654321\n654321\n") == 0
    assert card("passwd", "jane-piv", "--pin-file", "-", "--new-pin-file", "-", lines="654321\n123456\n") == 0
    assert card("import", "jane-piv", "--cert", file, "--key", key, "--slot", "82") == 0
    assert card("export", "jane-piv", "--output", tmp_path) == 0
    assert (tmp_path / "jane-piv-82.pem").read_bytes() == file.read_bytes()
    assert card("export", "jane-piv", "--ca", "--output", tmp_path) == 0
    openssl("verify", "-CAfile", tmp_path / "jane-piv-ca.pem", tmp_path / "jane-piv-9a.pem")
    assert card("delete", "jane-piv", "--yes") == 0
    assert store.names() == ()


def test_an_authority_and_a_card_from_files(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, file = certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + file.read_bytes())
    assert card(*CREATE, "--ca", both, lines=SECRETS) == 0
    assert card("export", "jane-piv", "--output", tmp_path) == 0
    openssl("verify", "-CAfile", file, tmp_path / "jane-piv-9a.pem")
    database = f"sql:{shared_database()}"
    words = ("import", "john", "--nss", database, "--password-file", "-", *NEW)
    assert card(*words, lines=f"{PASSWORD.decode()}\n{SECRETS}") == 0
    assert shown(card, capsys, "john")["type"] == "cac"


def test_a_card_that_was_damaged_meanwhile_is_told(
    card: Card, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card(*CREATE, lines=SECRETS) == 0
    assert card("create", "bad", "--type", "piv", "--key", "p256", *NEW, lines=SECRETS) == 0
    (store.directory / "bad.card").write_text("junk")
    assert card("passwd", "bad", "--pin-file", "-", "--new-pin-file", "-", lines="123456\n654321\n") == 1
    assert "The file of the card bad is damaged." in capsys.readouterr().err


@pytest.mark.parametrize("words", [("show",), ("export",), ("delete", "--yes"), ("passwd",), ("unblock",)])
def test_an_unknown_card_is_exit_code_4(card: Card, words: tuple[str, ...]) -> None:
    assert card(*words, "nobody") == 4


def test_a_taken_name_is_told_before_a_pin_is_asked_for(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert card(*CREATE, lines=SECRETS) == 0
    assert card(*CREATE[:4]) == 1
    assert "There is a card jane-piv already." in capsys.readouterr().err


def test_a_puk_that_is_no_text_is_told(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "puk").write_bytes(b"1234567\xe9")
    words = ("create", "jane", "--type", "piv", "--key", "p256", "--pin-file", "-", "--puk-file", tmp_path / "puk")
    assert card(*words, lines="123456\n") == 2
    assert "no text in UTF-8" in capsys.readouterr().err
