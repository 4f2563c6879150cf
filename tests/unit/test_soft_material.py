"""Keys and certificates out of other people's files, as OpenSSL writes them, into software cards."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from helpers.openssl import openssl
from helpers.soft_cards import PIN_DIGITS, empty_card, wanted
from virtcard.card.soft import keys, make
from virtcard.card.soft.ca import Authority, parse_subject
from virtcard.card.soft.layout import CERTIFICATE_MAX, PIV
from virtcard.card.soft.material import FILE_MAX, Material, load_pem, load_pkcs12, matched
from virtcard.card.soft.model import Algorithm, CardType, Origin, PinPolicy
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.store import Store
from virtcard.errors import InvalidArgument, Unsupported
from virtcard.wire.tlv import build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cards")


def files(tmp_path: Path, algorithm: str = "RSA:2048", days: int = 30) -> tuple[Path, Path, Path]:
    """CA, key and certificate as `openssl` makes them, in PEM."""
    ca, ca_key, key, cert = (tmp_path / name for name in ("ca.pem", "ca.key", "key.pem", "cert.pem"))
    kind, _, detail = algorithm.partition(":")
    new = (
        ["-newkey", f"rsa:{detail}"] if kind == "RSA" else ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{detail}"]
    )
    openssl("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=CA", "-keyout", ca_key, "-out", ca)
    openssl("req", "-nodes", *new, "-subj", "/CN=Jane", "-keyout", key, "-out", tmp_path / "csr")
    signing = ("-CA", ca, "-CAkey", ca_key, "-set_serial", "1", "-days", str(days))
    openssl("x509", "-req", "-in", tmp_path / "csr", *signing, "-out", cert)
    return ca, key, cert


@pytest.mark.parametrize("algorithm", ["RSA:2048", "RSA:3072", "EC:P-256", "EC:P-384"])
def test_openssls_pem_files_become_a_card(store: Store, tmp_path: Path, algorithm: str) -> None:
    ca, key, cert = files(tmp_path, algorithm)
    material = load_pem(key.read_bytes() + cert.read_bytes() + ca.read_bytes())
    assert material.warnings() == ()
    data = make.create_from(store, wanted(), {"9a": material})
    assert [exported.pem for exported in make.certificates(data)] == [cert.read_bytes()]
    assert [exported.pem for exported in make.authorities(data)] == [ca.read_bytes()]
    record = data.key(0x9A)
    assert record is not None
    assert record.origin is Origin.IMPORTED
    with store.open("card") as card:
        pins = Pins(card)
        pins.verify_pin(PIN_DIGITS)
        assert keys.dump(pins.unsealed(record)) == keys.dump(material.key)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_pem_blocks_does_not_matter(tmp_path: Path, order: tuple[int, ...]) -> None:
    parts = [path.read_bytes() for path in files(tmp_path)]
    material = load_pem(b"text in between\n".join(parts[number] for number in order))
    assert material.certificate.subject.rfc4514_string() == "CN=Jane"
    assert [each.subject.rfc4514_string() for each in material.chain] == ["CN=CA"]


@pytest.mark.parametrize("command", [("rsa", "-traditional"), ("pkcs8", "-topk8", "-nocrypt")])
def test_other_pem_forms_of_a_key_are_read(tmp_path: Path, command: tuple[str, ...]) -> None:
    _, key, cert = files(tmp_path)
    other = tmp_path / "other.pem"
    openssl(*command, "-in", key, "-out", other)
    assert load_pem(other.read_bytes() + cert.read_bytes()).key.key_size == 2048


def test_an_encrypted_key_wants_its_password(tmp_path: Path) -> None:
    _, key, cert = files(tmp_path)
    locked = tmp_path / "locked.pem"
    openssl("pkcs8", "-topk8", "-in", key, "-passout", "pass:secret word", "-out", locked)
    content = locked.read_bytes() + cert.read_bytes()
    with pytest.raises(InvalidArgument, match="encrypted") as caught:
        load_pem(content)
    assert "password" in caught.value.hint
    with pytest.raises(InvalidArgument) as wrong:
        load_pem(content, b"wrong word")
    assert "wrong word" not in wrong.value.message
    assert load_pem(content, b"secret word").key.key_size == 2048


def test_a_password_for_an_open_key_does_no_harm(tmp_path: Path) -> None:
    _, key, cert = files(tmp_path)
    assert load_pem(key.read_bytes() + cert.read_bytes(), b"secret word").key.key_size == 2048


@pytest.mark.parametrize("legacy", [(), ("-legacy",), ("-keypbe", "AES-256-CBC", "-certpbe", "NONE")])
def test_openssls_pkcs12_files_are_read(store: Store, tmp_path: Path, legacy: tuple[str, ...]) -> None:
    ca, key, cert = files(tmp_path)
    path = tmp_path / "card.p12"
    openssl(
        "pkcs12", "-export", *legacy, "-inkey", key, "-in", cert, "-certfile", ca, "-passout", "pass:word", "-out", path
    )
    material = load_pkcs12(path.read_bytes(), b"word")
    assert material.der == x509.load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER)
    assert len(material.chain) == 1
    make.create_from(store, wanted(kind=CardType.CAC), {"id": material, "encryption": material})
    for password in (None, b"", b"wrong"):
        with pytest.raises(InvalidArgument, match="password"):
            load_pkcs12(path.read_bytes(), password)


def test_a_pkcs12_file_without_key_is_refused(tmp_path: Path) -> None:
    _, _, cert = files(tmp_path)
    path = tmp_path / "card.p12"
    openssl("pkcs12", "-export", "-nokeys", "-in", cert, "-passout", "pass:word", "-out", path)
    with pytest.raises(InvalidArgument, match="no private key"):
        load_pkcs12(path.read_bytes(), b"word")


def test_a_key_that_does_not_belong_to_the_certificate_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    _, key, _ = files(tmp_path / "a")
    _, _, cert = files(tmp_path / "b")
    with pytest.raises(InvalidArgument, match="does not belong"):
        load_pem(key.read_bytes() + cert.read_bytes())


def test_files_with_one_half_are_refused(tmp_path: Path) -> None:
    _, key, cert = files(tmp_path)
    with pytest.raises(InvalidArgument, match="certificate"):
        load_pem(key.read_bytes())
    with pytest.raises(InvalidArgument, match="private key"):
        load_pem(cert.read_bytes())


LOADERS: Final[tuple[Callable[[bytes, bytes | None], Material], ...]] = (load_pem, load_pkcs12)


@pytest.mark.parametrize("load", LOADERS)
@given(content=st.binary(max_size=200), password=st.none() | st.binary(max_size=5))
def test_any_bytes_are_refused_with_a_sentence(
    load: Callable[[bytes, bytes | None], Material], content: bytes, password: bytes | None
) -> None:
    for untrusted in (content, b"-----BEGIN PRIVATE KEY-----\n" + content + b"\n-----END PRIVATE KEY-----\n"):
        with pytest.raises((InvalidArgument, Unsupported)):
            load(untrusted, password)


@pytest.mark.parametrize("load", LOADERS)
def test_a_file_that_is_too_long_is_refused(load: Callable[[bytes, bytes | None], Material]) -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        load(bytes(FILE_MAX + 1), None)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    _, key, cert = files(tmp_path)
    path = tmp_path / "card.p12"
    openssl("pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", "pass:word", "-out", path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        with pytest.raises(InvalidArgument):
            load_pkcs12(whole[:end], b"word")
    pem = cert.read_bytes() + key.read_bytes()
    for end in range(0, len(pem) - 30, 97):
        with pytest.raises(InvalidArgument):
            load_pem(pem[:end])


Signer = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def self_signed(key: Signer, begin: int = -1, end: int = 1) -> x509.Certificate:
    """A certificate that holds from `begin` to `end`, in days from now."""
    name, now = parse_subject("CN=Jane"), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now + timedelta(begin)).not_valid_after(now + timedelta(end))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(key: Signer) -> bytes:
    certificate = self_signed(key).public_bytes(Encoding.PEM)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate


@pytest.mark.parametrize(
    ("begin", "end", "warning"),
    [(-2, -1, "expired"), (1, 2, "not valid before"), (-1, 1, "")],
    ids=["expired", "not yet", "now"],
)
def test_a_certificate_out_of_its_time_is_taken_with_a_warning(
    store: Store, begin: int, end: int, warning: str
) -> None:
    key = keys.generate(Algorithm.P256)
    material = matched(key, [self_signed(key, begin, end)])
    empty_card(store)
    with store.open("card") as card:
        warnings = make.import_key(card, "9A", material)
        assert len(warnings) == bool(warning)
        assert all(warning in each and each.endswith(".") for each in warnings)
        assert card.data.key(0x9A) is not None


def test_a_key_takes_the_place_of_the_one_before(store: Store) -> None:
    empty_card(store)
    with store.open("card") as card:
        for _ in range(2):
            key = keys.generate(Algorithm.P256)
            make.import_key(card, "9c", matched(key, [self_signed(key)]))
        assert len(card.data.keys) == 1
        assert card.data.keys[0].public == keys.public_der(key.public_key())
        assert card.data.keys[0].pin_policy is PinPolicy.ALWAYS


def test_retired_key_slots_are_filled_by_import(store: Store) -> None:
    empty_card(store)
    key = keys.generate(Algorithm.P256)
    with store.open("card") as card:
        make.import_key(card, "82", matched(key, [self_signed(key)]))
        make.import_key(card, "95", matched(key, [self_signed(key)]))
        assert {"5FC10D", "5FC120"} <= set(card.data.objects)
        assert [exported.name for exported in make.certificates(card.data)] == ["82", "95"]


@pytest.mark.parametrize("slot", ["", "9b", "id", "9a ", "81", "96"])
def test_a_slot_that_is_not_there_names_those_that_are(store: Store, slot: str) -> None:
    empty_card(store)
    key = keys.generate(Algorithm.P256)
    with store.open("card") as card, pytest.raises(InvalidArgument) as caught:
        make.import_key(card, slot, matched(key, [self_signed(key)]))
    assert "9a" in caught.value.hint


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP521R1())],
    ids=["rsa1024", "p521"],
)
def test_a_key_that_no_card_holds_is_refused(store: Store, key: keys.PrivateKey) -> None:
    before = empty_card(store)
    with store.open("card") as card:
        with pytest.raises(Unsupported):
            make.import_key(card, "9a", load_pem(pem(key)))
        assert card.data == before


def test_a_key_that_is_neither_rsa_nor_on_a_curve_is_refused() -> None:
    with pytest.raises(Unsupported):
        load_pem(pem(ed25519.Ed25519PrivateKey.generate()))


def test_a_cac_takes_no_key_on_a_curve(store: Store) -> None:
    material = load_pem(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(Unsupported, match="CAC"):
        make.create_from(store, wanted(kind=CardType.CAC), {"id": material})
    assert store.names() == ()


def test_an_authority_comes_from_a_file(tmp_path: Path) -> None:
    ca, key, cert = files(tmp_path)
    material = load_pem(ca.read_bytes() + (tmp_path / "ca.key").read_bytes())
    assert Authority.given(material.certificate, material.key).certificate == material.certificate
    ordinary = load_pem(cert.read_bytes() + key.read_bytes())
    with pytest.raises(InvalidArgument, match="authority"):
        Authority.given(ordinary.certificate, ordinary.key)


def test_an_authority_whose_time_is_over_signs_nothing() -> None:
    old = Authority.new(parse_subject("CN=old"), Algorithm.P256, days=0)
    with pytest.raises(InvalidArgument, match="not valid now"):
        Authority.given(old.certificate, old.key)


def test_a_packed_certificate_of_a_guest_is_unpacked_and_a_bomb_is_not(store: Store) -> None:
    data, slot = empty_card(store), PIV.slot("9a")
    der = self_signed(keys.generate(Algorithm.P256)).public_bytes(Encoding.DER)
    for content, expected in ((der, der), (bytes(CERTIFICATE_MAX * 4), bytes(CERTIFICATE_MAX))):
        value = build(0x70, gzip.compress(content)) + build(0x71, b"\x01") + build(0xFE)
        assert PIV.certificate(data.with_objects({slot.tag: value}), slot) == expected


@given(value=st.binary(min_size=1, max_size=40))
def test_whatever_a_guest_writes_in_place_of_a_certificate_is_harmless(value: bytes) -> None:
    for content in (value, build(0x70, value) + build(0x71, b"\x01")):
        PIV.unwrap(content)
