"""`card:NAME`, from a made card to a signature."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from helpers.soft_cards import PIN_DIGITS, empty_card, open_descriptors, wanted
from virtcard import limits
from virtcard.card.base import Transmission
from virtcard.card.soft import make, source
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.model import Algorithm, CardType
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.source import (
    CREDENTIAL,
    SYSTEM_DIRECTORY,
    SoftSource,
    credential,
    own_store,
    session_directory,
)
from virtcard.card.soft.store import Store
from virtcard.errors import Busy, CardAbsent, CardError, Failed, InvalidArgument, NoSuchCard
from virtcard.wire.apdu import CommandApdu
from virtcard.wire.atr import parse
from virtcard.wire.tlv import build, find

PIV_AID = bytes.fromhex("A000000308")
FIRST_CAC_CERTIFICATE = bytes.fromhex("A0000000790100")
SHA256_INFO = bytes.fromhex("3031300D060960864801650304020105000420")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cards")


def select(aid: bytes) -> bytes:
    return CommandApdu(0, 0xA4, 4, 0, aid).encode()


def test_a_made_card_signs_for_whoever_knows_the_pin(store: Store) -> None:
    authority = Authority.new(parse_subject("CN=CA"), Algorithm.P256)
    data = make.create(store, wanted(), Holder(parse_subject("CN=John")), authority, algorithm=Algorithm.RSA2048)
    card = SoftSource(store).open("card")
    assert parse(card.power_on()).historical
    assert card.transmission is Transmission.T0
    assert card.transmit(select(PIV_AID))[-2] in (0x61, 0x90)
    assert card.transmit(CommandApdu(0, 0x20, 0, 0x80, PIN_DIGITS + b"\xff\xff").encode()) == b"\x90\x00"

    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"message")
    block = b"\0\1" + b"\xff" * 202 + b"\0" + SHA256_INFO + digest.finalize()
    question = build(0x7C, build(0x82) + build(0x81, block))
    assert card.transmit(CommandApdu(0x10, 0x87, 7, 0x9A, question[:255]).encode()) == b"\x90\x00"
    response = card.transmit(CommandApdu(0, 0x87, 7, 0x9A, question[255:], 256).encode())
    answer = response[:-2]
    while response[-2] == 0x61:
        response = card.transmit(CommandApdu(0, 0xC0, 0, 0, b"", response[-1] or 256).encode())
        answer += response[:-2]
    assert response[-2:] == b"\x90\x00"
    card.power_off()

    signature = find(answer, 0x7C, 0x82)
    public = x509.load_der_x509_certificate(make.certificates(data)[0].der).public_key()
    assert signature is not None
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(("kind", "aid"), [(CardType.PIV, PIV_AID), (CardType.CAC, FIRST_CAC_CERTIFICATE)])
def test_a_card_shows_the_applets_of_its_type(store: Store, kind: CardType, aid: bytes) -> None:
    authority = Authority.new(parse_subject("CN=CA"), Algorithm.P256)
    make.create(store, wanted(kind=kind), Holder(parse_subject("CN=John")), authority, algorithm=Algorithm.RSA2048)
    card = SoftSource(store).open("card")
    card.power_on()
    for each in (PIV_AID, FIRST_CAC_CERTIFICATE):
        assert (card.transmit(select(each))[-2:] == b"\x6a\x82") == (each != aid)
    card.power_off()


def test_a_card_is_held_until_power_off(store: Store) -> None:
    empty_card(store)
    source, before = SoftSource(store), open_descriptors()
    card = source.open("card")
    with pytest.raises(Busy):
        source.open("card")
    card.power_on()
    card.power_off()
    card.power_off()
    assert open_descriptors() == before
    source.open("card").power_off()


def test_a_card_that_is_off_answers_nothing(store: Store) -> None:
    empty_card(store)
    card = SoftSource(store).open("card")
    card.power_on()
    card.power_off()
    for use in (card.reset, lambda: card.transmit(select(PIV_AID))):
        with pytest.raises(CardAbsent):
            use()


def test_a_card_comes_back_with_power_as_it_is_in_the_store_now(store: Store) -> None:
    # A bridge does that when its machine stops and starts.
    empty_card(store)
    card = SoftSource(store).open("card")
    atr = card.power_on()
    verify = CommandApdu(0, 0x20, 0, 0x80, b"654321\xff\xff").encode()
    card.transmit(select(PIV_AID))
    assert card.transmit(verify) == b"\x63\xc2"
    card.power_off()
    with store.open("card") as opened:
        assert Pins(opened).change_pin(PIN_DIGITS, b"654321").ok
    assert card.power_on() == atr
    card.transmit(select(PIV_AID))
    assert card.transmit(verify) == b"\x90\x00"
    card.power_off()


def test_a_login_does_not_outlive_power_or_a_reset(store: Store) -> None:
    empty_card(store)
    card = SoftSource(store).open("card")
    card.power_on()
    status = CommandApdu(0, 0x20, 0, 0x80).encode()
    for is_reset in (True, False):
        card.transmit(select(PIV_AID))
        assert card.transmit(CommandApdu(0, 0x20, 0, 0x80, PIN_DIGITS + b"\xff\xff").encode()) == b"\x90\x00"
        assert card.transmit(status) == b"\x90\x00"
        if is_reset:
            card.reset()
        else:
            card.power_off()
            card.power_on()
        card.transmit(select(PIV_AID))
        assert card.transmit(status) == b"\x63\xc3"
    card.power_off()


def test_power_waits_for_a_command_that_has_the_card(store: Store) -> None:
    empty_card(store)
    card = SoftSource(store).open("card")
    card.power_off()
    holder = store.open("card")
    with ThreadPoolExecutor() as pool:
        powered = pool.submit(card.power_on)
        with pytest.raises(TimeoutError):
            powered.result(0.1)
        holder.close()
        assert powered.result(5)
    card.power_off()


def test_a_card_that_is_gone_or_stays_in_use_is_an_error_of_the_card(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CARD_STORE_PATIENCE", 0.05)
    empty_card(store)
    card = SoftSource(store).open("card")
    card.power_off()
    with store.open("card"), pytest.raises(CardError, match="in use"):
        card.power_on()
    store.delete("card")
    with pytest.raises(CardAbsent):
        card.power_on()


@pytest.mark.parametrize(
    ("rest", "error"), [("none", NoSuchCard), ("../card", InvalidArgument), ("", InvalidArgument), ("bad", Failed)]
)
def test_a_card_that_cannot_be_opened_leaves_nothing_open(store: Store, rest: str, error: type[Exception]) -> None:
    empty_card(store)
    (store.directory / "bad.card").write_bytes(b"")
    before = open_descriptors()
    with pytest.raises(error):
        SoftSource(store).open(rest)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/john"}, "/data/virtcard/cards"),
        ({"XDG_DATA_HOME": "data", "HOME": "/home/john"}, "/home/john/.local/share/virtcard/cards"),
        ({"HOME": "/home/john"}, "/home/john/.local/share/virtcard/cards"),
    ],
)
def test_the_session_keeps_cards_in_the_data_directory(environ: dict[str, str], directory: str) -> None:
    assert session_directory(environ) == Path(directory)
    assert own_store(session=True, environ=environ).directory == Path(directory)
    assert own_store(session=False, environ=environ).directory == SYSTEM_DIRECTORY


def test_a_credential_of_systemd_seals_the_cards(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    assert credential({}) is None
    assert credential(environ) is None
    (tmp_path / CREDENTIAL).write_bytes(b"sixteen secret bytes")
    store = own_store(session=True, environ=environ)
    empty_card(store)
    assert sorted(path.name for path in store.directory.iterdir()) == ["card.card"]
    (tmp_path / CREDENTIAL).unlink()
    (tmp_path / CREDENTIAL).mkdir()
    with pytest.raises(Failed):
        credential(environ)


def test_roots_commands_find_the_credential_of_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "UNIT_CREDENTIALS", tmp_path / "unit")
    monkeypatch.setattr(source, "SYSTEM_DIRECTORY", tmp_path / "cards")
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / CREDENTIAL).write_bytes(b"sixteen secret bytes")
    empty_card(own_store(session=False, environ={}))
    assert [path.name for path in (tmp_path / "cards").iterdir()] == ["card.card"]
    own = {"CREDENTIALS_DIRECTORY": str(tmp_path / "unit")}
    with own_store(session=False, environ=own).open("card"):
        pass
    (tmp_path / "unit" / CREDENTIAL).unlink()
    with pytest.raises(Failed, match="The key of the cards") as refused:
        own_store(session=False, environ={}).open("card")
    assert "start virtcardd" in refused.value.hint
