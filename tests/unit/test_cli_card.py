"""`virtcard card`: every verb on a real store, with openssl and NSS's own tools as judges."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.nss import PASSWORD, shared_database
from helpers.openssl import openssl
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.source import own_store
from virtcard.cli.local.card.group import CARD_VERBS
from virtcard.cli.local.card.shapes import moment
from virtcard.cli.run import run

Card = Callable[..., int]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """Runs `virtcard --session card WORDS` with these lines as standard input, which is no terminal."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    def invoke(*words: str | Path, lines: str = "") -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        return run(["--session", "card", *map(str, words)])

    return invoke


NEW = ("--pin-file", "-", "--puk-file", "-")
SECRETS = "123456\n12345678\n"


@pytest.fixture
def jane(card: Card, capsys: pytest.CaptureFixture[str]) -> Card:
    """There is a PIV card jane."""
    assert card("create", "jane", "--type", "piv", "--key", "p256", "--subject", "CN=Jane", *NEW, lines=SECRETS) == 0
    capsys.readouterr()
    return card


def cards() -> tuple[str, ...]:
    return own_store(session=True).names()


def pin_tries() -> int:
    return own_store(session=True).read("jane").pin.tries_left


def certificate(folder: Path) -> tuple[Path, Path]:
    key, file = folder / "own.key", folder / "own.pem"
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Own", "-keyout", key, "-out", file)
    openssl(*words)
    return key, file


@pytest.mark.parametrize("verb", CARD_VERBS)
def test_every_verb_has_help(card: Card, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert card(verb, "--help") == 0
    assert f"virtcard card {verb}" in capsys.readouterr().out


def test_a_new_card_is_listed_and_shown(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert jane("list", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["type"], listed["pin_tries"]) == ("jane", "piv", 3)
    assert jane("show", "jane", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [key["slot"] for key in shown["keys"]] == ["9a", "9c", "9d", "9e"]
    assert {(key["algorithm"], key["subject"]) for key in shown["keys"]} == {("p256", "CN=Jane")}


def test_people_see_tables(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert jane("list") == jane("show", "jane") == 0
    listed, *shown = capsys.readouterr().out.splitlines()[1:]
    data = own_store(session=True).read("jane")
    created = moment(data.created)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", created)
    assert f"  {created}  3          3" in listed
    assert f"Created:    {created}" in shown
    (key,) = (line for line in shown if line.startswith("Key 9a:"))
    assert re.fullmatch(r"Key 9a:     p256, generated, CN=Jane, until \d{4}-\d\d-\d\d", key)


def test_a_blocked_pin_is_called_so_in_the_list(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert jane(*CHANGE, lines="999999\n111111\n") == 1
    capsys.readouterr()
    assert jane("list") == 0
    assert "blocked" in capsys.readouterr().out
    assert jane("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["pin_tries"] == 0


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert moment("long ago") == "long ago"


def test_openssl_believes_the_exported_certificates(jane: Card, tmp_path: Path) -> None:
    assert jane("export", "jane", "--output", tmp_path) == 0
    assert jane("export", "jane", "--ca", "--output", tmp_path) == 0
    openssl("verify", "-CAfile", tmp_path / "jane-ca.pem", tmp_path / "jane-9a.pem")
    assert jane("export", "jane", "--der", "--output", tmp_path / "der") == 0
    assert "CN = Jane" in openssl("x509", "-inform", "DER", "-in", tmp_path / "der" / "jane-9c.der", "-text")


def test_export_overwrites_nothing(jane: Card, tmp_path: Path) -> None:
    (tmp_path / "jane-9d.pem").write_text("mine")
    assert jane("export", "jane", "--output", tmp_path) == 1
    assert not (tmp_path / "jane-9a.pem").exists()


def test_an_authority_from_a_file_signs(card: Card, tmp_path: Path) -> None:
    key, file = certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + file.read_bytes())
    assert card("create", "jane", "--type", "piv", "--key", "p256", "--ca", both, *NEW, lines=SECRETS) == 0
    assert card("export", "jane", "--output", tmp_path) == 0
    openssl("verify", "-CAfile", file, tmp_path / "jane-9a.pem")


def test_a_taken_name_is_told_before_a_pin_is_asked_for(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert jane("create", "jane", "--type", "piv") == 1
    assert "There is a card jane already." in capsys.readouterr().err


@pytest.mark.parametrize("lines", ["12345\n12345678\n", "123456\n1234\n", "123456\n", "letter\n12345678\n", ""])
def test_a_secret_of_another_form_makes_no_card(card: Card, tmp_path: Path, lines: str) -> None:
    assert card("create", "jane", "--type", "piv", *NEW, lines=lines) == 2
    assert not (tmp_path / "data").exists()


def test_without_a_terminal_the_option_is_named(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert card("create", "jane", "--type", "piv") == 2
    assert "--pin-file" in capsys.readouterr().err


def test_a_pin_in_place_of_its_file_is_not_repeated(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert card("create", "jane", "--type", "piv", "--pin-file", "987654") == 1
    assert "987654" not in capsys.readouterr().err


def test_a_cac_holds_no_curve(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert card("create", "jane", "--type", "cac", "--key", "p256", *NEW, lines=SECRETS) == 1
    assert "no p256 key" in capsys.readouterr().err


CHANGE = ("passwd", "jane", "--pin-file", "-", "--new-pin-file", "-")
UNBLOCK = ("unblock", "jane", "--puk-file", "-", "--pin-file", "-")


def test_passwd_changes_the_pin(jane: Card) -> None:
    assert jane(*CHANGE, lines="123456\n654321\n") == 0
    assert jane(*CHANGE, lines="123456\n111111\n") == 1
    assert jane(*CHANGE, lines="654321\n111111\n") == 0


def test_a_wrong_pin_tells_what_is_left_and_blocks_at_last(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    for told in ("2 tries are left", "1 try is left", "is blocked now", "The PIN is blocked."):
        assert jane(*CHANGE, lines="000000\n654321\n") == 1
        assert told in capsys.readouterr().err
    assert jane(*UNBLOCK, lines="12345678\n654321\n") == 0
    assert jane(*CHANGE, lines="654321\n111111\n") == 0


def test_a_new_pin_of_another_form_costs_no_try(jane: Card) -> None:
    assert jane(*CHANGE, lines="000000\n12\n") == 2
    assert pin_tries() == 3


def test_a_wrong_puk_tells_what_is_left(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert jane(*UNBLOCK, lines="00000000\n654321\n") == 1
    assert "The PUK is wrong; 2 tries are left." in capsys.readouterr().err


def test_a_puk_that_a_guest_made_shorter_unblocks(jane: Card) -> None:
    with own_store(session=True).open("jane") as opened:
        assert Pins(opened).change_puk(b"12345678", b"1234").ok
    assert jane(*UNBLOCK, lines="1234\n654321\n") == 0


def test_what_no_puk_can_be_costs_no_try(jane: Card) -> None:
    assert jane(*UNBLOCK, lines="123456789\n654321\n") == 2
    assert own_store(session=True).read("jane").puk.tries_left == 3


@pytest.mark.parametrize("words", [("show",), ("export",), ("delete", "--yes"), ("passwd",), ("unblock",)])
def test_an_unknown_card_is_exit_code_4(card: Card, words: tuple[str, ...]) -> None:
    assert card(*words, "nobody") == 4


def test_a_card_in_use_is_busy(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    with own_store(session=True).open("jane"):
        for words in (CHANGE, UNBLOCK, ("delete", "jane", "--yes")):
            assert jane(*words, lines="12345678\n654321\n") == 1
            assert "The card jane is in use." in capsys.readouterr().err
        assert jane("show", "jane") == 0
    assert cards() == ("jane",)


def test_delete_asks_or_is_told(jane: Card) -> None:
    assert jane("delete", "jane") == 2
    assert cards() == ("jane",)
    assert jane("delete", "jane", "--yes") == 0
    assert cards() == ()


def test_pem_files_make_a_card(card: Card, tmp_path: Path) -> None:
    key, file = certificate(tmp_path)
    words = ("import", "own", "--cert", file, "--key", key, "--slot", "9c", *NEW)
    assert card(*words, lines=SECRETS) == 0
    assert card("export", "own", "--output", tmp_path) == 0
    assert (tmp_path / "own-9c.pem").read_bytes() == file.read_bytes()


def test_a_pkcs12_file_needs_its_password(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, file = certificate(tmp_path)
    p12 = tmp_path / "own.p12"
    openssl("pkcs12", "-export", "-in", file, "-inkey", key, "-passout", "pass:secret", "-out", p12)
    assert card("import", "own", "--pkcs12", p12, *NEW, lines=SECRETS) == 2
    assert "--password-file" in capsys.readouterr().err
    assert cards() == ()
    words = ("import", "own", "--pkcs12", p12, "--password-file", "-", *NEW)
    assert card(*words, lines="secret\n" + SECRETS) == 0
    assert cards() == ("own",)


def test_an_nss_database_makes_a_cac(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("import", "john", "--nss", f"sql:{shared_database()}", "--password-file", "-", *NEW)
    assert card(*words, lines=f"wrong\n{SECRETS}") == 2
    assert card(*words, lines=f"{PASSWORD.decode()}\n{SECRETS}") == 0
    capsys.readouterr()
    assert card("show", "john", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["type"], [key["slot"] for key in shown["keys"]]) == ("cac", ["id", "signing", "encryption"])


def test_an_nss_database_without_that_certificate_is_told(card: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert card("import", "john", "--nss", f"sql:{shared_database()}", "--certs", "nobody") == 1
    assert "'nobody'" in capsys.readouterr().err


def test_create_nss_makes_a_database(card: Card, tmp_path: Path) -> None:
    words = ("create-nss", tmp_path / "nss", "--subject", "CN=John Doe", "--password-file", "-")
    assert card(*words, lines="12345678\n") == 0
    assert (tmp_path / "nss" / "cert9.db").is_file()
    assert card(*words, lines="12345678\n") == 1


@pytest.mark.parametrize("words", [(), ("--cert", "a"), ("--pkcs12", "a", "--nss", "b"), ("--nss", "a", "--slot", "b")])
def test_import_takes_one_source(card: Card, words: tuple[str, ...]) -> None:
    assert card("import", "own", *words) == 2


def test_a_file_that_is_not_there_is_told(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert card("import", "own", "--pkcs12", tmp_path / "none") == 1
    assert "Cannot read" in capsys.readouterr().err


def test_what_a_guest_wrote_in_place_of_a_certificate_is_told(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    with own_store(session=True).open("jane") as opened:
        opened.save(opened.data.with_objects({"5FC105": bytes.fromhex("7003414243710100FE00")}))
    assert jane("show", "jane") == 0
    assert "p256, generated, no certificate" in capsys.readouterr().out
    assert jane("export", "jane") == 1
    assert "slot 9a is not a certificate" in capsys.readouterr().err


def test_an_unknown_slot_is_told(card: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, file = certificate(tmp_path)
    assert card("import", "own", "--cert", file, "--key", key, "--slot", "zz") == 2
    assert "no such slot" in capsys.readouterr().err


def test_a_damaged_card_does_not_hide_the_others(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    (own_store(session=True).directory / "bad.card").write_text("junk")
    assert jane("list", "--json") == 1
    told = capsys.readouterr()
    assert [each["name"] for each in json.loads(told.out)] == ["jane"]
    assert "The file of the card bad is damaged." in told.err


PUK_CHANGE = ("passwd", "jane", "--puk", "--puk-file", "-", "--new-puk-file", "-")


def test_passwd_changes_the_puk(jane: Card, capsys: pytest.CaptureFixture[str]) -> None:
    assert jane(*PUK_CHANGE, lines="12345678\n87654321\n") == 0
    assert jane(*PUK_CHANGE, lines="12345678\n11111111\n") == 1
    assert "The PUK is wrong; 2 tries are left." in capsys.readouterr().err
    assert jane(*UNBLOCK, lines="87654321\n654321\n") == 0


@pytest.mark.parametrize("words", [("--puk", "--pin-file", "-"), ("--new-puk-file", "-")])
def test_files_of_a_pin_do_not_change_a_puk_nor_the_other_way_round(jane: Card, words: tuple[str, ...]) -> None:
    assert jane("passwd", "jane", *words) == 2


def test_a_key_goes_into_a_slot_of_a_card_that_is_there(
    jane: Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file = certificate(tmp_path)
    words = ("import", "jane", "--cert", file, "--key", key, "--slot")
    assert jane(*words, "82") == 0
    assert jane(*words, "9c") == 1
    assert "There is a key in slot 9c of the card jane already." in capsys.readouterr().err
    assert jane(*words, "9c", "--replace") == 0
    assert jane(*words, "zz") == 2
    assert jane("export", "jane", "--output", tmp_path) == 0
    assert (tmp_path / "jane-82.pem").read_bytes() == (tmp_path / "jane-9c.pem").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("words", [("--pin-file", "-"), ("--type", "piv")])
def test_a_card_that_is_there_keeps_its_type_pin_and_puk(jane: Card, tmp_path: Path, words: tuple[str, ...]) -> None:
    key, file = certificate(tmp_path)
    assert jane("import", "jane", "--cert", file, "--key", key, "--slot", "82", *words) == 2


def test_a_card_that_is_there_takes_a_key_only_with_its_slot(jane: Card, tmp_path: Path) -> None:
    key, file = certificate(tmp_path)
    assert jane("import", "jane", "--cert", file, "--key", key) == 1
