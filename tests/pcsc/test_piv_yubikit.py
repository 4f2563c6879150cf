"""yubikit's PivSession through a real pcscd: every verb that it has, with short and with extended APDUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import load_der_x509_certificate
from smartcard.CardConnection import CardConnection
from smartcard.System import readers
from yubikit.core import TRANSPORT, BadResponseError, InvalidPinError, NotSupportedError
from yubikit.core.smartcard import SW, ApduError, SmartCardConnection
from yubikit.piv import (
    DEFAULT_MANAGEMENT_KEY,
    KEY_TYPE,
    MANAGEMENT_KEY_TYPE,
    OBJECT_ID,
    PIN_POLICY,
    SLOT,
    TOUCH_POLICY,
    Chuid,
    PivSession,
)

from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.piv import MANAGEMENT_KEY, PIN, PUK, PivCard, new_card
from helpers.vpcd import CardInSlot
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.layout import Purpose
from virtcard.card.soft.model import Algorithm

MESSAGE = b"what is signed"
TYPES = [KEY_TYPE.RSA2048, KEY_TYPE.RSA3072, KEY_TYPE.ECCP256, KEY_TYPE.ECCP384]


class Connection(SmartCardConnection):
    """pyscard under yubikit. Over USB it sends extended APDUs to this version, over NFC chains of short ones."""

    transport = TRANSPORT.USB

    def __init__(self, transport: TRANSPORT) -> None:
        self.transport = transport
        reader = next(reader for reader in readers() if str(reader) == READERS[0])
        self._connection: CardConnection = reader.createConnection()
        self._connection.connect()

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        data, sw1, sw2 = self._connection.transmit(list(apdu))
        return bytes(data), sw1 << 8 | sw2

    def close(self) -> None:
        self._connection.disconnect()
        self._connection.release()


@contextmanager
def session_with(lab: Lab, card: PivCard, transport: TRANSPORT = TRANSPORT.USB) -> Iterator[PivSession]:
    lab.plug(CardInSlot(card.card))
    connection = Connection(transport)
    try:
        yield PivSession(connection)
    finally:
        connection.close()


@pytest.fixture
def card(tmp_path: Path) -> PivCard:
    return new_card(tmp_path)


@pytest.fixture(params=[TRANSPORT.USB, TRANSPORT.NFC], ids=["extended", "chained"])
def session(lab: Lab, card: PivCard, request: pytest.FixtureRequest) -> Iterator[PivSession]:
    with session_with(lab, card, request.param) as session:
        yield session


@pytest.fixture
def extended(lab: Lab, card: PivCard) -> Iterator[PivSession]:
    with session_with(lab, card) as session:
        yield session


def check_signature(public: object, signature: bytes) -> None:
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(signature, MESSAGE, ec.ECDSA(hashes.SHA256()))


def sign(session: PivSession, slot: SLOT, key_type: KEY_TYPE) -> bytes:
    session.verify_pin(PIN.decode())
    return session.sign(slot, key_type, MESSAGE, hashes.SHA256(), padding.PKCS1v15())


def test_it_selects_and_tells_version_and_serial(session: PivSession, card: PivCard) -> None:
    assert tuple(session.version) == (5, 7, 0)
    assert session.get_serial() == card.stored.data.serial
    assert session.management_key_type is MANAGEMENT_KEY_TYPE.AES192


def test_a_wrong_pin_costs_a_try_and_a_right_one_gives_them_back(session: PivSession) -> None:
    with pytest.raises(InvalidPinError) as error:
        session.verify_pin("654321")
    assert error.value.attempts_remaining == session.get_pin_attempts() == 2
    session.verify_pin(PIN.decode())
    assert session.get_pin_attempts() == 3


def test_pin_and_puk_change(session: PivSession) -> None:
    session.change_pin(PIN.decode(), "87654321")
    session.verify_pin("87654321")
    with pytest.raises(InvalidPinError):
        session.change_pin(PIN.decode(), "123456")
    session.change_puk(PUK.decode(), "another1")
    with pytest.raises(InvalidPinError) as error:
        session.change_puk(PUK.decode(), "12345678")
    assert error.value.attempts_remaining == session.get_puk_metadata().attempts_remaining == 2


def test_a_blocked_pin_is_unblocked_with_the_puk(session: PivSession) -> None:
    for left in (2, 1, 0):
        with pytest.raises(InvalidPinError) as error:
            session.verify_pin("000000")
        assert error.value.attempts_remaining == left
    with pytest.raises(InvalidPinError):
        session.verify_pin(PIN.decode())
    session.unblock_pin(PUK.decode(), "222222")
    session.verify_pin("222222")


def test_the_management_key_is_needed_and_can_be_changed(session: PivSession) -> None:
    with pytest.raises(ApduError) as refused:
        session.put_object(OBJECT_ID.PRINTED, b"note")
    assert refused.value.sw == SW.SECURITY_CONDITION_NOT_SATISFIED
    with pytest.raises(ApduError):
        session.authenticate(bytes(24))
    session.authenticate(MANAGEMENT_KEY)
    session.put_object(OBJECT_ID.PRINTED, b"note")
    for kind in MANAGEMENT_KEY_TYPE:
        key = os.urandom(kind.key_len)
        session.set_management_key(kind, key)
        session.authenticate(key)
        metadata = session.get_management_key_metadata()
        assert (metadata.key_type, metadata.default_value) == (kind, False)


@pytest.mark.parametrize("key_type", TYPES, ids=str)
def test_a_generated_key_signs_and_tells_about_itself(session: PivSession, key_type: KEY_TYPE) -> None:
    session.authenticate(MANAGEMENT_KEY)
    public = session.generate_key(SLOT.SIGNATURE, key_type)
    check_signature(public, sign(session, SLOT.SIGNATURE, key_type))
    metadata = session.get_slot_metadata(SLOT.SIGNATURE)
    assert (metadata.key_type, metadata.generated, metadata.public_key) == (key_type, True, public)
    assert (metadata.pin_policy, metadata.touch_policy) == (PIN_POLICY.ALWAYS, TOUCH_POLICY.NEVER)


def test_a_certificate_is_put_read_and_deleted(session: PivSession) -> None:
    session.authenticate(MANAGEMENT_KEY)
    public = session.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    authority = Authority.new(parse_subject("CN=Test CA"), Algorithm.P256)
    holder = Holder(parse_subject("CN=Holder"))
    certificate = load_der_x509_certificate(authority.issue(public, holder, Purpose.AUTHENTICATION, 30))
    for compress in (False, True):
        session.put_certificate(SLOT.AUTHENTICATION, certificate, compress)
        assert session.get_certificate(SLOT.AUTHENTICATION) == certificate
    session.delete_certificate(SLOT.AUTHENTICATION)
    with pytest.raises(ApduError) as gone:
        session.get_certificate(SLOT.AUTHENTICATION)
    assert gone.value.sw == SW.FILE_NOT_FOUND


def test_an_imported_rsa_key_signs_and_decrypts(session: PivSession) -> None:
    key = rsa.generate_private_key(65537, 2048)
    session.authenticate(MANAGEMENT_KEY)
    assert session.put_key(SLOT.KEY_MANAGEMENT, key, PIN_POLICY.ONCE) is KEY_TYPE.RSA2048
    check_signature(key.public_key(), sign(session, SLOT.KEY_MANAGEMENT, KEY_TYPE.RSA2048))
    for scheme in (padding.PKCS1v15(), padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)):
        secret = key.public_key().encrypt(b"secret", scheme)
        assert session.decrypt(SLOT.KEY_MANAGEMENT, secret, scheme) == b"secret"
    assert not session.get_slot_metadata(SLOT.KEY_MANAGEMENT).generated


def test_an_rsa_4096_key_is_imported_and_signs_pss(session: PivSession) -> None:
    key = rsa.generate_private_key(65537, 4096)
    session.authenticate(MANAGEMENT_KEY)
    assert session.put_key(SLOT.CARD_AUTH, key) is KEY_TYPE.RSA4096
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature = session.sign(SLOT.CARD_AUTH, KEY_TYPE.RSA4096, MESSAGE, hashes.SHA256(), scheme)
    key.public_key().verify(signature, MESSAGE, scheme, hashes.SHA256())


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_an_imported_key_on_a_curve_agrees(session: PivSession, curve: ec.EllipticCurve) -> None:
    key, peer = ec.generate_private_key(curve), ec.generate_private_key(curve)
    session.authenticate(MANAGEMENT_KEY)
    session.put_key(SLOT.RETIRED1, key)
    session.verify_pin(PIN.decode())
    shared = session.calculate_secret(SLOT.RETIRED1, peer.public_key())
    assert shared == peer.exchange(ec.ECDH(), key.public_key())


def test_a_key_is_moved_and_deleted(session: PivSession) -> None:
    session.authenticate(MANAGEMENT_KEY)
    public = session.generate_key(SLOT.KEY_MANAGEMENT, KEY_TYPE.ECCP256)
    session.verify_pin(PIN.decode())
    session.move_key(SLOT.KEY_MANAGEMENT, SLOT.RETIRED20)
    assert session.get_slot_metadata(SLOT.RETIRED20).public_key == public
    check_signature(public, sign(session, SLOT.RETIRED20, KEY_TYPE.ECCP256))
    session.delete_key(SLOT.RETIRED20)
    for slot in (SLOT.KEY_MANAGEMENT, SLOT.RETIRED20):
        with pytest.raises(ApduError) as gone:
            session.get_slot_metadata(slot)
        assert gone.value.sw == SW.REFERENCE_DATA_NOT_FOUND


def test_pin_policies_are_kept(extended: PivSession) -> None:
    extended.authenticate(MANAGEMENT_KEY)
    public = extended.generate_key(SLOT.SIGNATURE, KEY_TYPE.ECCP256, PIN_POLICY.NEVER)
    check_signature(public, extended.sign(SLOT.SIGNATURE, KEY_TYPE.ECCP256, MESSAGE, hashes.SHA256()))
    extended.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, PIN_POLICY.ALWAYS)
    sign(extended, SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    with pytest.raises(ApduError) as refused:
        extended.sign(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, MESSAGE, hashes.SHA256())
    assert refused.value.sw == SW.SECURITY_CONDITION_NOT_SATISFIED


def test_tries_are_set_and_a_blocked_card_is_reset(extended: PivSession) -> None:
    extended.authenticate(MANAGEMENT_KEY)
    extended.verify_pin(PIN.decode())
    extended.set_pin_attempts(5, 4)
    assert (extended.get_pin_metadata().total_attempts, extended.get_puk_metadata().total_attempts) == (5, 4)
    extended.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    extended.reset()
    assert extended.management_key_type is MANAGEMENT_KEY_TYPE.AES192
    assert extended.get_management_key_metadata().default_value
    extended.authenticate(DEFAULT_MANAGEMENT_KEY)
    extended.verify_pin("123456")
    with pytest.raises(ApduError):
        extended.get_slot_metadata(SLOT.AUTHENTICATION)


def test_what_a_software_card_cannot_promise_is_refused_cleanly(extended: PivSession) -> None:
    extended.authenticate(MANAGEMENT_KEY)
    extended.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256)
    with pytest.raises(ApduError) as attested:
        extended.attest_key(SLOT.AUTHENTICATION)
    assert attested.value.sw == SW.INVALID_INSTRUCTION
    for kind in (KEY_TYPE.ED25519, KEY_TYPE.X25519, KEY_TYPE.RSA1024):
        with pytest.raises(ApduError) as refused:
            extended.generate_key(SLOT.AUTHENTICATION, kind)
        assert refused.value.sw == SW.INCORRECT_PARAMETERS
    with pytest.raises(ApduError) as touched:
        extended.generate_key(SLOT.AUTHENTICATION, KEY_TYPE.ECCP256, touch_policy=TOUCH_POLICY.ALWAYS)
    assert touched.value.sw == SW.INCORRECT_PARAMETERS
    with pytest.raises(NotSupportedError):
        extended.get_bio_metadata()


def test_it_reads_our_chuid(extended: PivSession) -> None:
    chuid = Chuid.from_bytes(extended.get_object(OBJECT_ID.CHUID))
    assert str(chuid.fasc_n) == "[9999-9999-999999-0-1-0000000000300001]"
    assert (len(chuid.guid), chuid.expiration_date.year) == (16, 2099)
    with pytest.raises((ApduError, BadResponseError)):
        extended.get_object(OBJECT_ID.FACIAL)
