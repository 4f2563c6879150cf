"""The files of TLS: where they are, and what is said of those that are wrong."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from helpers.openssl import openssl
from helpers.pki import DAY, Authority, Issued, lay_out
from virtcard import limits
from virtcard.bridge import tls
from virtcard.bridge.tls import Side, TlsSettings, check_own, default_directory, find_files
from virtcard.errors import Failed


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def good(authority: Authority) -> Issued:
    return authority.issue()


@pytest.fixture
def pki(tmp_path: Path, authority: Authority, good: Issued) -> Path:
    """A directory in which nothing is wrong."""
    return lay_out(tmp_path / "pki", authority, server=good, client=good)


def refusal(pki: Path, side: Side = Side.CLIENT) -> Failed:
    with pytest.raises(Failed) as caught:
        check_own(TlsSettings(pki), side)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("side", Side)
def test_good_files_are_good(pki: Path, side: Side) -> None:
    check_own(TlsSettings(pki), side)
    context = TlsSettings(pki).context(side)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname is (side is Side.CLIENT)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("kind", ["cert", "key"])
def test_each_missing_file_is_named(pki: Path, side: Side, kind: str) -> None:
    path = pki / f"{side}-{kind}.pem"
    path.unlink()
    error = refusal(pki, side)
    assert error.message.startswith(f"{path} is missing")
    assert "--pki" in error.hint


def test_the_authority_is_needed_by_everybody(pki: Path) -> None:
    (pki / "ca-cert.pem").unlink()
    for side in Side:
        assert refusal(pki, side).message.startswith(f"{pki / 'ca-cert.pem'} is missing")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert "ca-cert.pem is missing" in refusal(tmp_path / "nowhere").message


def test_a_client_without_certificate_and_key_is_nobody_as_in_qemu(pki: Path) -> None:
    (pki / "client-cert.pem").unlink()
    (pki / "client-key.pem").unlink()
    check_own(TlsSettings(pki), Side.CLIENT)


def test_libvirts_own_names_are_taken_too(pki: Path) -> None:
    names = {"ca-cert": "cacert", "client-cert": "clientcert", "client-key": "clientkey"}
    for qemu, libvirt in names.items():
        (pki / f"{qemu}.pem").rename(pki / f"{libvirt}.pem")
    check_own(TlsSettings(pki), Side.CLIENT)
    files = find_files(pki, Side.CLIENT)
    assert [path and path.name for path in (files.authority, files.certificate, files.key)] == [
        "cacert.pem", "clientcert.pem", "clientkey.pem",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o620, 0o601])
def test_a_key_that_is_open_to_others_is_refused(pki: Path, mode: int) -> None:
    key = pki / "client-key.pem"
    key.chmod(mode)
    error = refusal(pki)
    assert error.message == f"The private key {key} is open to others."
    assert error.hint == f"Close it: chmod 600 {key}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_key_that_a_group_may_read_is_as_distributions_have_it(pki: Path, mode: int) -> None:
    (pki / "client-key.pem").chmod(mode)
    check_own(TlsSettings(pki), Side.CLIENT)


@pytest.mark.parametrize(
    ("begins", "ends", "verdict"),
    [(-2 * DAY, -DAY, "has expired"), (timedelta(hours=1), DAY, "is not valid yet")],
)
def test_our_own_certificate_must_be_valid_now(
    tmp_path: Path, authority: Authority, begins: timedelta, ends: timedelta, verdict: str
) -> None:
    stale = authority.issue(begins=begins, ends=ends)
    pki = lay_out(tmp_path, authority, server=stale, client=stale)
    for side in Side:
        assert refusal(pki, side).message == f"The certificate {pki / f'{side}-cert.pem'} {verdict}."


def test_our_own_certificate_must_be_of_our_authority(tmp_path: Path, authority: Authority) -> None:
    pki = lay_out(tmp_path, authority, client=Authority("another").issue())
    assert "is of no authority that we trust" in refusal(pki).message


def test_our_own_certificate_must_not_be_revoked(tmp_path: Path, authority: Authority, good: Issued) -> None:
    lay_out(tmp_path, authority, client=good, revoked=authority.revocation_pem(good))
    assert "was revoked" in refusal(tmp_path).message


def test_a_list_of_revoked_certificates_must_be_fresh(tmp_path: Path, authority: Authority, good: Issued) -> None:
    lay_out(tmp_path, authority, client=good, revoked=authority.revocation_pem(ends=-timedelta(hours=1)))
    assert "the list of revoked certificates has expired" in refusal(tmp_path).message


def test_a_list_of_another_authority_judges_nothing(tmp_path: Path, authority: Authority, good: Issued) -> None:
    lay_out(tmp_path, authority, client=good, revoked=Authority("another").revocation_pem())
    assert "the list of revoked certificates is of another authority" in refusal(tmp_path).message


@pytest.mark.parametrize(("side", "purpose"), [(Side.CLIENT, "server"), (Side.SERVER, "client")])
def test_a_certificate_for_the_other_side_is_refused(
    tmp_path: Path, authority: Authority, side: Side, purpose: str
) -> None:
    wrong = authority.issue(purpose="server" if purpose == "server" else "client")
    pki = lay_out(tmp_path, authority, server=wrong, client=wrong)
    assert "is for another purpose" in refusal(pki, side).message


def test_a_key_of_another_certificate_is_named(pki: Path, authority: Authority) -> None:
    (pki / "client-key.pem").write_bytes(authority.issue().key_pem)
    assert "does not belong to the certificate" in refusal(pki).message


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(pki: Path) -> None:
    """OpenSSL would ask on the terminal."""
    key = pki / "client-key.pem"
    plain = key.rename(pki / "plain.pem")
    openssl("pkcs8", "-topk8", "-in", plain, "-out", key, "-passout", "pass:secret")
    assert "protected by a password" in refusal(pki).message


@pytest.mark.parametrize("name", ["ca-cert.pem", "client-cert.pem", "client-key.pem", "ca-crl.pem"])
@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_pem_is_named(pki: Path, name: str, content: bytes) -> None:
    (pki / name).write_bytes(content)
    assert str(pki / name) in refusal(pki).message


def test_what_is_no_ordinary_file_or_too_large_is_not_read(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pki / "ca-cert.pem"
    monkeypatch.setattr(limits, "TLS_FILE_MAX", 10)
    assert refusal(pki).message == f"{path} is no PEM file."
    path.unlink()
    path.mkdir()
    assert refusal(pki).message == f"{path} is no PEM file."


def test_a_file_that_cannot_be_read(pki: Path) -> None:
    path = pki / "ca-cert.pem"
    path.unlink()
    path.symlink_to(path)
    assert refusal(pki).message == f"{path} cannot be read: Too many levels of symbolic links."


def test_the_directory_is_ones_own_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    places = (Path("~/.pki/virtcard"), tmp_path / "etc/virtcard", tmp_path / "etc/qemu")
    monkeypatch.setattr(tls, "PLACES", places)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_directory() == tmp_path / ".pki/virtcard"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_directory() == tmp_path / "etc/virtcard"
    places[2].mkdir(parents=True)
    assert default_directory() == places[2]
    (tmp_path / ".pki/virtcard").mkdir(parents=True)
    assert default_directory() == tmp_path / ".pki/virtcard"
