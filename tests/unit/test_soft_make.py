"""Software cards made from nothing and from other people's files, judged by OpenSSL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from helpers.openssl import openssl
from helpers.soft_cards import CHEAP, PIN_DIGITS, PUK_DIGITS, wanted
from helpers.soft_crashes import file_limit
from virtcard.card.soft import keys, make
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.layout import LAYOUTS, Purpose
from virtcard.card.soft.model import Algorithm, CardData, CardType, Origin, PinPolicy
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.sealing import management_key
from virtcard.card.soft.store import Store
from virtcard.card.soft.testca import FILE, own_authority
from virtcard.errors import Conflict, Failed, InvalidArgument, Unsupported

JOHN: Final = Holder(parse_subject("CN=John Doe,O=Example"), "john@example.org", "john@EXAMPLE.ORG")
AUTHORITY: Final = Authority.new(parse_subject("CN=Fake Smart Card CA"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cards")


def john(
    store: Store, name: str = "card", kind: CardType = CardType.PIV, algorithm: Algorithm = Algorithm.P256
) -> CardData:
    return make.create(store, wanted(name, kind), JOHN, AUTHORITY, algorithm=algorithm)


def certificate(data: CardData, slot: str) -> x509.Certificate:
    ders = {exported.name: exported.der for exported in make.certificates(data)}
    return x509.load_der_x509_certificate(ders[slot])


def usages(found: x509.Certificate) -> set[str]:
    usage = found.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return {name for name in names if getattr(usage.value, name)}


def extended(found: x509.Certificate) -> set[str]:
    return {each.dotted_string for each in found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}


MADE = [(CardType.PIV, algorithm) for algorithm in Algorithm] + [(CardType.CAC, Algorithm.RSA2048)]


@pytest.mark.parametrize(("kind", "algorithm"), MADE)
def test_openssl_verifies_every_certificate_of_a_made_card(
    store: Store, tmp_path: Path, kind: CardType, algorithm: Algorithm
) -> None:
    data = john(store, kind=kind, algorithm=algorithm)
    (tmp_path / "ca.pem").write_bytes(make.authorities(data)[0].pem)
    for exported in make.certificates(data):
        (tmp_path / "cert.pem").write_bytes(exported.pem)
        (tmp_path / "cert.der").write_bytes(exported.der)
        assert "OK" in openssl("verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "cert.pem")
        assert "CN = John Doe" in openssl("x509", "-inform", "DER", "-in", tmp_path / "cert.der", "-noout", "-subject")


@pytest.mark.parametrize(("kind", "algorithm"), MADE)
def test_every_key_belongs_to_its_certificate_and_opens_with_the_pin(
    store: Store, kind: CardType, algorithm: Algorithm
) -> None:
    made = john(store, kind=kind, algorithm=algorithm)
    with store.open("card") as card:
        assert card.data == made
        pins = Pins(card)
        assert pins.verify_pin(PIN_DIGITS).ok
        for slot in LAYOUTS[kind].slots:
            record = made.key(slot.number)
            assert record is not None
            key = pins.unsealed(record)
            assert keys.algorithm_of(key) is record.algorithm is algorithm
            assert keys.public_der(key.public_key()) == record.public
            public = certificate(made, slot.name).public_key()
            assert isinstance(public, keys.PublicKey)
            assert keys.public_der(public) == record.public
    assert len({record.public for record in made.keys}) == len(LAYOUTS[kind].slots)


def test_a_piv_card_has_the_four_keys_with_their_pin_policies(store: Store) -> None:
    data = john(store)
    assert {record.slot: record.pin_policy for record in data.keys} == {
        0x9A: PinPolicy.ONCE,
        0x9C: PinPolicy.ALWAYS,
        0x9D: PinPolicy.ONCE,
        0x9E: PinPolicy.NEVER,
    }
    assert {record.origin for record in data.keys} == {Origin.GENERATED}
    assert {"5FC102", "5FC107", "5FC105", "5FC10A", "5FC10B", "5FC101"} <= set(data.objects)


@pytest.mark.parametrize(
    ("algorithm", "management"), [(Algorithm.RSA2048, "key_encipherment"), (Algorithm.P256, "key_agreement")]
)
def test_piv_key_usages_are_those_of_the_profiles(store: Store, algorithm: Algorithm, management: str) -> None:
    data = john(store, algorithm=algorithm)
    assert usages(certificate(data, "9a")) == {"digital_signature"}
    assert usages(certificate(data, "9c")) == {"digital_signature", "content_commitment"}
    assert usages(certificate(data, "9d")) == {management}
    assert usages(certificate(data, "9e")) == {"digital_signature"}


def test_extended_usages_let_people_log_in_and_doors_open(store: Store) -> None:
    data = john(store)
    assert {"1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.2.3.4"} == extended(certificate(data, "9a"))
    card = certificate(data, "9e")
    assert extended(card) == {"2.16.840.1.101.3.6.8"}
    assert card.extensions.get_extension_for_class(x509.ExtendedKeyUsage).critical


def test_a_cac_has_three_rsa_certificates_for_their_uses(store: Store) -> None:
    data = john(store, kind=CardType.CAC, algorithm=Algorithm.RSA2048)
    assert [exported.name for exported in make.certificates(data)] == ["id", "signing", "encryption"]
    assert usages(certificate(data, "id")) == {"digital_signature"}
    assert usages(certificate(data, "signing")) == {"digital_signature", "content_commitment"}
    assert usages(certificate(data, "encryption")) == {"key_encipherment"}


def test_mail_and_logon_names_stand_where_people_are_named(store: Store, tmp_path: Path) -> None:
    data = john(store)
    (tmp_path / "cert").write_bytes(certificate(data, "9a").public_bytes(Encoding.PEM))
    shown = openssl("x509", "-in", tmp_path / "cert", "-noout", "-ext", "subjectAltName")
    assert "email:john@example.org" in shown
    assert "john@EXAMPLE.ORG" in shown
    with pytest.raises(x509.ExtensionNotFound):
        certificate(data, "9e").extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_cac_holds_no_key_on_a_curve(store: Store) -> None:
    with pytest.raises(Unsupported, match="CAC"):
        john(store, kind=CardType.CAC, algorithm=Algorithm.P256)
    assert store.names() == ()


def test_a_name_that_is_taken_is_kept(store: Store) -> None:
    first = john(store)
    with pytest.raises(Conflict):
        john(store)
    assert store.read("card") == first


@pytest.mark.parametrize("days", [0, -1, 36_501, 10**12])
def test_a_validity_that_makes_no_sense_is_refused(store: Store, days: int) -> None:
    with pytest.raises(InvalidArgument):
        make.create(store, wanted(), JOHN, AUTHORITY, algorithm=Algorithm.P256, days=days)


def test_no_certificate_outlives_its_authority() -> None:
    short = Authority.new(parse_subject("CN=short"), Algorithm.P256, days=2)
    der = short.issue(keys.generate(Algorithm.P256).public_key(), JOHN, Purpose.SIGNATURE, days=100)
    assert x509.load_der_x509_certificate(der).not_valid_after_utc == short.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("kind", "pin", "puk"),
    [
        (CardType.PIV, b"12345", PUK_DIGITS),
        (CardType.PIV, b"123456789", PUK_DIGITS),
        (CardType.PIV, b"12345a", PUK_DIGITS),
        (CardType.PIV, PIN_DIGITS, b"1234567"),
        (CardType.PIV, PIN_DIGITS, b"1234567\xff"),
        (CardType.PIV, b"", b""),
        (CardType.CAC, b"123", PUK_DIGITS),
        (CardType.CAC, "١٢٣٤".encode(), PUK_DIGITS),
    ],
)
def test_a_pin_of_another_form_is_refused_and_not_shown(store: Store, kind: CardType, pin: bytes, puk: bytes) -> None:
    order = make.Wanted(name="card", type=kind, pin=pin, puk=puk, cost=CHEAP)
    with pytest.raises(InvalidArgument) as caught:
        make.create_from(store, order, {})
    assert pin.decode() not in caught.value.message or not pin
    assert store.names() == ()


@pytest.mark.parametrize("tries", [0, 256, -1])
def test_a_number_of_tries_that_no_counter_holds_is_refused(store: Store, tries: int) -> None:
    with pytest.raises(InvalidArgument):
        make.create_from(store, wanted(tries=tries), {})


def test_every_card_has_its_own_serial_identity_and_management_key(store: Store) -> None:
    for name in ("a", "b"):
        make.create_from(store, wanted(name), {})
    with store.open("a") as first, store.open("b") as second:
        assert first.data.serial != second.data.serial
        assert first.data.identity != second.data.identity
        assert first.data.objects["5FC102"] != second.data.objects["5FC102"]
        assert management_key(first.data, first.context) != management_key(second.data, second.context)


def test_a_management_key_can_be_given(store: Store) -> None:
    order = make.Wanted(
        name="card", type=CardType.PIV, pin=PIN_DIGITS, puk=PUK_DIGITS, cost=CHEAP, management_key=bytes(range(24))
    )
    make.create_from(store, order, {})
    with store.open("card") as card:
        assert management_key(card.data, card.context) == bytes(range(24))
    with pytest.raises(InvalidArgument):
        make.create_from(store, replace(order, name="other", management_key=b"short"), {})


@pytest.mark.parametrize(
    "text", ["CN=John Doe", "CN=Jörg,OU=a\\, b,O=c,C=SE", "UID=jd,CN=John Doe,DC=example,DC=org", "CN=a+OU=b,O=c"]
)
def test_a_subject_comes_back_as_it_was_written(text: str) -> None:
    assert parse_subject(text).rfc4514_string() == text


@pytest.mark.parametrize("text", ["", "John Doe", "CN=", "CN=a,b", "C=SWEDEN", "CN=" + "x" * 65, "=a", "XX=a", "\0"])
def test_what_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_subject(text)


@given(st.text(max_size=40))
def test_any_text_is_a_subject_or_refused(text: str) -> None:
    try:
        name = parse_subject(text)
    except InvalidArgument:
        return
    assert list(name)


def test_a_mail_address_that_cannot_be_written_is_refused(store: Store) -> None:
    holder = Holder(JOHN.subject, email="jörg@example.org")
    with pytest.raises(InvalidArgument):
        make.create(store, wanted(), holder, AUTHORITY, algorithm=Algorithm.P256)


def test_the_authority_of_a_store_is_made_once_and_sealed(store: Store) -> None:
    first = own_authority(store)
    assert own_authority(store).certificate == first.certificate
    content = (store.directory / FILE).read_bytes()
    kept = msgspec.json.decode(content)
    assert set(kept) == {"version", "certificate", "sealed"}
    assert keys.dump(first.key)[-16:] not in content
    assert (store.directory / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0", b'{"version":"\xff"}'])
def test_a_damaged_authority_says_which_file(store: Store, damage: bytes) -> None:
    own_authority(store)
    (store.directory / FILE).write_bytes(damage)
    with pytest.raises(Failed, match=FILE):
        own_authority(store)


def test_a_full_disk_leaves_no_half_card(store: Store) -> None:
    own_authority(store)
    for room in (0, 100, 4000):
        with file_limit(room), pytest.raises(Failed):
            john(store)
        assert store.names() == ()
