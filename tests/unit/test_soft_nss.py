"""NSS databases, by NSS's own programs."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from helpers import nss
from helpers.soft_cards import wanted
from helpers.soft_crashes import file_limit
from virtcard.card.soft import nss as database
from virtcard.card.soft.cac import applets_of
from virtcard.card.soft.make import certificates, create_from
from virtcard.card.soft.model import CardType
from virtcard.card.soft.nss import NICKNAMES, WrongPassword, create_nss, find_database, import_nss, read_certificate
from virtcard.card.soft.nss_token import NssToken
from virtcard.card.soft.store import Store
from virtcard.errors import Failed, InvalidArgument, LocalError, Unsupported


def subjects(directory: Path) -> list[str]:
    found = (x509.load_der_x509_certificate(read_certificate(directory, name)) for name in NICKNAMES)
    return [certificate.subject.rfc4514_string() for certificate in found]


# A new database.


def test_a_new_database_has_the_three_certificates_of_the_manual() -> None:
    assert subjects(nss.shared_database()) == ["CN=John Doe", "CN=John Doe (signing)", "CN=John Doe (encryption)"]


def test_every_certificate_has_a_serial_of_its_own() -> None:
    numbers = {x509.load_der_x509_certificate(der).serial_number for der in nss.certificates()}
    assert len(numbers) == 3


def test_a_subject_may_have_more_than_a_name(tmp_path: Path) -> None:
    create_nss(tmp_path / "card", "CN=Jane Roe,O=Example", b"secret")
    assert "O=Example" in subjects(tmp_path / "card")[1]
    assert "CN=Jane Roe (signing)" in subjects(tmp_path / "card")[1]
    assert stat.S_IMODE((tmp_path / "card").stat().st_mode) == 0o700


def test_a_database_is_not_made_over_another() -> None:
    with pytest.raises(Failed, match="already"):
        create_nss(nss.shared_database(), "CN=Jane Roe", b"secret")


def test_a_subject_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="common name"):
        create_nss(tmp_path / "card", "O=Example", b"secret")


def test_a_password_of_two_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="one line"):
        create_nss(tmp_path / "card", "CN=John Doe", b"one\ntwo")


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Failed):
        create_nss(tmp_path / "card", "CN=John Doe", b"secret")
    assert not (tmp_path / "card").exists()


@pytest.mark.parametrize("room", [0, 30_000])
def test_a_full_disk_leaves_no_half_of_a_database(tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second file finds no room, or the first one."""
    real = database._put

    def put(path: Path, content: bytes) -> None:
        if path.parent == tmp_path / "card":
            with file_limit(room):
                real(path, content)
        else:
            real(path, content)

    monkeypatch.setattr(database, "_put", put)
    with pytest.raises(Failed, match="Cannot write the NSS database"):
        create_nss(tmp_path / "card", "CN=John Doe", b"secret")
    assert list((tmp_path / "card").iterdir()) == []


def test_a_full_temporary_directory_is_said(tmp_path: Path) -> None:
    with file_limit(0), pytest.raises(Failed, match="temporary directory") as caught:
        create_nss(tmp_path / "card", "CN=John Doe", b"secret")
    assert "Make room" in caught.value.hint
    assert not (tmp_path / "card").exists()


# Import.


def test_import_brings_keys_and_certificates_that_belong_together() -> None:
    found = import_nss(f"sql:{nss.shared_database()}", NICKNAMES, nss.PASSWORD)
    assert [material.der for material in found] == nss.certificates()
    assert all(material.key.public_key() == material.certificate.public_key() for material in found)


def test_an_imported_database_makes_a_card_in_the_store(tmp_path: Path) -> None:
    found = import_nss(str(nss.shared_database()), NICKNAMES, nss.PASSWORD)
    slots = dict(zip(("id", "signing", "encryption"), found, strict=True))
    data = create_from(Store(tmp_path / "cards"), wanted("cac", CardType.CAC), slots)
    assert [exported.der for exported in certificates(data)] == nss.certificates()


def test_import_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_MEMORY", tmp_path)
    import_nss(str(nss.shared_database()), NICKNAMES[:1], nss.PASSWORD)
    with pytest.raises(WrongPassword):
        import_nss(str(nss.shared_database()), NICKNAMES[:1], b"wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("password", [b"wrong", b"", b"12345678\nmore", b"12345678\0", b"\xff\xfe"])
def test_a_wrong_password_says_so_and_is_not_repeated(password: bytes) -> None:
    with pytest.raises(WrongPassword) as refused:
        import_nss(str(nss.shared_database()), NICKNAMES, password)
    assert "password" in refused.value.message
    assert "12345678" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("text", ["/nowhere", "sql:/nowhere", "relative"])
def test_a_directory_without_a_database_says_so(text: str) -> None:
    with pytest.raises(Failed, match="There is no NSS database"):
        find_database(text)


def test_other_kinds_of_databases_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="dbm:"):
        find_database("dbm:/etc/pki/nssdb")


def test_a_certificate_that_is_not_there_is_named() -> None:
    with pytest.raises(Failed, match="'other-cert'"):
        import_nss(str(nss.shared_database()), ("other-cert",), nss.PASSWORD)


def test_a_certificate_without_its_key_says_so(tmp_path: Path) -> None:
    (tmp_path / "id.der").write_bytes(nss.certificates()[0])
    subprocess.run(["certutil", "-N", "-d", f"sql:{tmp_path}", "--empty-password"], check=True)
    imported = ["certutil", "-A", "-d", f"sql:{tmp_path}", "-n", "id-cert", "-t", ",,", "-i", str(tmp_path / "id.der")]
    subprocess.run(imported, check=True)
    with pytest.raises(Failed, match="private key"):
        import_nss(str(tmp_path), ("id-cert",), b"")


def test_a_damaged_database_is_a_sentence(tmp_path: Path) -> None:
    for file in database.FILES:
        (tmp_path / file).write_bytes(b"\xff" * 5000)
    with pytest.raises(Failed, match="NSS database"):
        import_nss(str(tmp_path), NICKNAMES, nss.PASSWORD)


@pytest.mark.parametrize("file", database.FILES[:2])
def test_a_database_that_another_program_has_locked_is_read_all_the_same(tmp_path: Path, file: str) -> None:
    """We read a copy, and NSS keeps its databases in SQLite, which locks them while somebody writes."""
    copy = tmp_path / "card"
    shutil.copytree(nss.shared_database(), copy)
    with closing(sqlite3.connect(copy / file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found = import_nss(str(copy), NICKNAMES, nss.PASSWORD)
    assert [material.der for material in found] == nss.certificates()


def test_no_library_that_a_database_names_is_loaded(tmp_path: Path) -> None:
    """pkcs11.txt names modules, and NSS loads them when it opens the database."""
    copy = tmp_path / "card"
    shutil.copytree(nss.shared_database(), copy)
    with (copy / "pkcs11.txt").open("a") as modules:
        modules.write(f"library={tmp_path / 'evil.so'}\nname=evil\n\n")
    source, ran = tmp_path / "evil.c", tmp_path / "ran"
    source.write_text(f'#include <stdio.h>\n__attribute__((constructor)) void f(void) {{ fopen("{ran}", "w"); }}\n')
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(tmp_path / "evil.so")], check=True)
    import_nss(str(copy), NICKNAMES[:1], nss.PASSWORD)
    assert not ran.exists()
    subprocess.run(["certutil", "-L", "-d", f"sql:{copy}"], check=False, capture_output=True)
    assert ran.exists()


def test_without_nss_tools_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Failed) as missing:
        read_certificate(nss.shared_database(), NICKNAMES[0])
    assert "libnss3-tools" in missing.value.hint


# The token behind vscclient's card.


@pytest.fixture
def token() -> NssToken:
    return NssToken(nss.shared_database(), NICKNAMES)


def test_certificates_need_no_password(token: NssToken) -> None:
    assert list(token.certificates.values()) == nss.certificates()
    assert not token.verified


def test_the_pin_is_the_password(token: NssToken) -> None:
    assert token.verify(nss.PASSWORD).ok
    keys = [token.key(number) for number in range(3)]
    assert all(isinstance(key, RSAPrivateKey) for key in keys)
    assert token.key(3) is None


def test_after_a_logout_the_pin_is_wanted_again(token: NssToken) -> None:
    token.verify(nss.PASSWORD)
    token.logout()
    assert not token.verified
    with pytest.raises(LocalError):
        token.key(0)
    assert [token.verify(b"wrong").tries_left, token.verify(nss.PASSWORD).tries_left] == [2, 3]


def test_wrong_pins_block_the_token_though_the_database_would_not_mind(token: NssToken) -> None:
    assert [token.verify(b"wrong").tries_left for _ in range(4)] == [2, 1, 0, 0]
    assert not token.verify(nss.PASSWORD).ok


def test_a_database_that_cannot_be_read_costs_no_try(token: NssToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Failed):
        token.verify(nss.PASSWORD)
    assert token.tries_left == 3


def test_a_database_without_a_password_makes_a_card_without_a_pin(tmp_path: Path) -> None:
    create_nss(tmp_path / "card", "CN=John Doe", b"")
    token = NssToken(tmp_path / "card", NICKNAMES)
    assert token.verified
    assert token.verify(b"anything").ok
    token.logout()
    assert isinstance(token.key(2), RSAPrivateKey)


@pytest.mark.parametrize("nicknames", [(), ("id-cert",) * 11])
def test_a_card_has_one_to_ten_certificates(nicknames: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="one to 10"):
        NssToken(nss.shared_database(), nicknames)


def test_a_key_on_a_curve_is_told_before_a_guest_sees_it(tmp_path: Path) -> None:
    subprocess.run(["certutil", "-N", "-d", f"sql:{tmp_path}", "--empty-password"], check=True)
    (tmp_path / "noise").write_bytes(bytes(100))
    made = ["certutil", "-S", "-d", f"sql:{tmp_path}", "-z", str(tmp_path / "noise"), "-x", "-t", ",,"]
    subprocess.run([*made, "-s", "CN=Curve", "-n", "ec", "-k", "ec", "-q", "secp256r1"], check=True)
    with pytest.raises(Failed, match="RSA keys only"):
        NssToken(tmp_path, ("ec",)).key(0)
    with pytest.raises(Unsupported, match="RSA keys only"):
        applets_of(NssToken(tmp_path, ("ec",)))
