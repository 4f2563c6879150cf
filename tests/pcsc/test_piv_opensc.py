"""OpenSC's programs on the PIV card, through a real pcscd: opensc-tool, piv-tool and pkcs11-tool."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from helpers.opensc import OpenSc
from helpers.pcsc_lab import Lab
from helpers.piv import MANAGEMENT_KEY, PIN, PUK, PivCard, new_card
from helpers.vpcd import CardInSlot
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.layout import Purpose
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.piv_objects import CHUID, tag_name

IDS = {0x9A: "01", 0x9C: "02", 0x9D: "03", 0x9E: "04", 0x82: "05"}
LOGIN = ("--login", "--pin", PIN.decode())
HASH = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384()}

UNBLOCK = """app opensc-pkcs11 {
    pkcs11 { user_pin_unblock_style = set_pin_in_unlogged_session; }
}
"""
"""opensc.conf(5): how C_SetPIN reaches the PUK."""


class Tools(OpenSc):
    """A card in a reader, and the programs beside it."""

    def __init__(self, lab: Lab, card: PivCard, folder: Path) -> None:
        super().__init__(lab.pcscd.environment, folder)
        self.card = card
        self.environment |= {
            "OPENSC_CONF": str(self.file("opensc.conf", UNBLOCK.encode())),
            "PIV_EXT_AUTH_KEY": str(self.file("management", MANAGEMENT_KEY.hex(":").encode())),
        }
        lab.plug(CardInSlot(card.card))

    def sign(self, slot: int, mechanism: str, content: bytes, *more: str) -> bytes:
        """What `pkcs11-tool --sign` makes of it."""
        given, made = self.file("content", content), self.file("signature")
        files = ("--input-file", str(given), "--output-file", str(made))
        self.run("pkcs11-tool", *LOGIN, "--sign", "--mechanism", mechanism, "--id", IDS[slot], *files, *more)
        return made.read_bytes()


def public_key(card: PivCard, slot: int) -> object:
    record = card.stored.data.key(slot)
    assert record is not None
    return load_der_public_key(record.public)


RSA_CARD = [(slot, Algorithm.RSA2048) for slot in (0x9A, 0x9C, 0x9D, 0x9E)]
EC_CARD = [(0x9A, Algorithm.P256), (0x9C, Algorithm.P384), (0x9D, Algorithm.P256), (0x9E, Algorithm.P256)]


@pytest.fixture
def rsa_tools(lab: Lab, tmp_path: Path) -> Tools:
    return Tools(lab, new_card(tmp_path / "cards", algorithms=RSA_CARD), tmp_path)


@pytest.fixture
def ec_tools(lab: Lab, tmp_path: Path) -> Tools:
    return Tools(lab, new_card(tmp_path / "cards", algorithms=EC_CARD), tmp_path)


def test_the_card_is_named_as_piv(ec_tools: Tools) -> None:
    assert "Personal Identity Verification Card" in ec_tools.run("opensc-tool", "--name")


@pytest.mark.parametrize("keys", [RSA_CARD, EC_CARD], ids=["rsa", "ec"])
def test_pkcs11_tool_test_finds_no_errors(lab: Lab, tmp_path: Path, keys: list[tuple[int, Algorithm]]) -> None:
    tools = Tools(lab, new_card(tmp_path / "cards", algorithms=keys), tmp_path)
    assert "No errors" in tools.run("pkcs11-tool", *LOGIN, "--test")


def test_all_certificates_and_keys_are_listed(rsa_tools: Tools) -> None:
    listed = rsa_tools.run("pkcs11-tool", *LOGIN, "--list-objects")
    for name in ("PIV Authentication", "Digital Signature", "Key Management", "Card Authentication"):
        assert f"Certificate for {name}" in listed
    assert listed.count("Private Key Object; RSA") == 4


def test_nss_lists_the_certificates_through_opensc(rsa_tools: Tools) -> None:
    (rsa_tools.folder / "nss").mkdir()
    rsa_tools.run("certutil", "-N", "-d", "sql:nss", "--empty-password")
    (library,) = Path("/usr/lib").glob("*/opensc-pkcs11.so")
    with (rsa_tools.folder / "nss/pkcs11.txt").open("a") as modules:
        modules.write(f"library={library}\nname=opensc\n\n")
    listed = rsa_tools.run("certutil", "-L", "-h", "all", "-d", "sql:nss")
    for name in ("PIV Authentication", "Digital Signature", "Key Management", "Card Authentication"):
        assert f"Certificate for {name}" in listed


def test_a_retired_key_with_its_certificate_is_listed_and_deciphers(lab: Lab, tmp_path: Path) -> None:
    card = new_card(tmp_path / "cards", algorithms=[(0x9A, Algorithm.P256), (0x82, Algorithm.RSA2048)])
    tools = Tools(lab, card, tmp_path)
    assert "Retired Certificate for Key Management 1" in tools.run("pkcs11-tool", *LOGIN, "--list-objects")
    assert deciphered(tools, 0x82, b"an old letter") == b"an old letter"


def deciphered(tools: Tools, slot: int, content: bytes) -> bytes:
    public = public_key(tools.card, slot)
    assert isinstance(public, rsa.RSAPublicKey)
    given, made = tools.file("letter", public.encrypt(content, padding.PKCS1v15())), tools.file("plain")
    files = ("--input-file", str(given), "--output-file", str(made))
    tools.run("pkcs11-tool", *LOGIN, "--decrypt", "--mechanism", "RSA-PKCS", "--id", IDS[slot], *files)
    return made.read_bytes()


@pytest.mark.parametrize("algorithm", [Algorithm.RSA2048, Algorithm.RSA3072])
def test_rsa_signs_and_deciphers(lab: Lab, tmp_path: Path, algorithm: Algorithm) -> None:
    tools = Tools(lab, new_card(tmp_path / "cards", algorithms=[(0x9A, algorithm), (0x9D, algorithm)]), tmp_path)
    public = public_key(tools.card, 0x9A)
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(tools.sign(0x9A, "SHA256-RSA-PKCS", b"text"), b"text", padding.PKCS1v15(), hashes.SHA256())
    assert deciphered(tools, 0x9D, b"a letter") == b"a letter"


@pytest.mark.parametrize("slot", [0x9A, 0x9C], ids=["P-256", "P-384 with PIN always"])
def test_curves_sign(ec_tools: Tools, slot: int) -> None:
    public = public_key(ec_tools.card, slot)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    fitting = HASH[public.curve.name]
    digest = bytes(range(fitting.digest_size))
    signature = ec_tools.sign(slot, "ECDSA", digest, "--signature-format", "openssl")
    public.verify(signature, digest, ec.ECDSA(utils.Prehashed(fitting)))


def test_a_curve_derives(ec_tools: Tools) -> None:
    peer = ec.generate_private_key(ec.SECP256R1())
    given = ec_tools.file("peer", peer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    made = ec_tools.file("secret")
    files = ("--input-file", str(given), "--output-file", str(made))
    mechanism = ("--derive", "--mechanism", "ECDH1-COFACTOR-DERIVE", "--id", IDS[0x9D])
    ec_tools.run("pkcs11-tool", *LOGIN, *mechanism, *files)
    public = public_key(ec_tools.card, 0x9D)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert made.read_bytes() == peer.exchange(ec.ECDH(), public)


def test_piv_tool_reads_the_guid_of_the_chuid(ec_tools: Tools) -> None:
    content = ec_tools.card.stored.data.objects[tag_name(CHUID)]
    guid = content[content.index(b"\x34\x10") + 2 :][:16]
    assert ec_tools.run("piv-tool", "--serial").upper().startswith(guid.hex(" ").upper())


def test_a_data_object_is_read_as_it_is(ec_tools: Tools) -> None:
    made = ec_tools.file("object")
    label = ("--type", "data", "--label", "Card Holder Unique Identifier", "--output-file", str(made))
    ec_tools.run("pkcs11-tool", "--read-object", *label)
    assert made.read_bytes()[2:] == ec_tools.card.stored.data.objects[tag_name(CHUID)]


def test_three_wrong_pins_block_and_the_puk_unblocks(ec_tools: Tools) -> None:
    wrong = ("pkcs11-tool", "--login", "--pin", "999999", "--list-objects")
    for _ in range(3):
        code, said = ec_tools.attempt(*wrong)
        assert code != 0
        assert "CKR_PIN_INCORRECT" in said
    assert "CKR_PIN_LOCKED" in ec_tools.attempt("pkcs11-tool", *LOGIN, "--list-objects")[1]
    ec_tools.run("pkcs11-tool", "--unlock-pin", "--puk", PUK.decode(), "--new-pin", "333333")
    assert "PIV AUTH key" in ec_tools.run("pkcs11-tool", "--login", "--pin", "333333", "--list-objects")


def test_the_puk_unblocks_by_plain_apdus(ec_tools: Tools) -> None:
    wrong = "00:20:00:80:08:39:39:39:39:39:39:FF:FF"
    said = ec_tools.run("piv-tool", *(part for _ in range(4) for part in ("--send-apdu", wrong)))
    for status in ("SW1=0x63, SW2=0xC2", "SW1=0x63, SW2=0xC1", "SW1=0x63, SW2=0xC0", "SW1=0x69, SW2=0x83"):
        assert status in said
    reset = f"00:2C:00:80:10:{PUK.hex(':')}:{b'444444'.hex(':')}:FF:FF"
    verify = f"00:20:00:80:08:{b'444444'.hex(':')}:FF:FF"
    said = ec_tools.run("piv-tool", "--send-apdu", reset, "--send-apdu", verify)
    assert said.count("SW1=0x90, SW2=0x00") == 2


def test_the_pin_changes(ec_tools: Tools) -> None:
    ec_tools.run("pkcs11-tool", "--change-pin", *LOGIN[1:], "--new-pin", "87654321")
    ec_tools.run("pkcs11-tool", "--login", "--pin", "87654321", "--list-objects")


def test_piv_tool_authenticates_mutually_and_loads_a_certificate(rsa_tools: Tools) -> None:
    public = public_key(rsa_tools.card, 0x9C)
    assert isinstance(public, rsa.RSAPublicKey)
    authority = Authority.new(parse_subject("CN=Test CA"), Algorithm.P256)
    der = authority.issue(public, Holder(parse_subject("CN=Another Holder")), Purpose.SIGNATURE, 30)
    pem = Path(rsa_tools.folder / "certificate.pem")
    rsa_tools.file("certificate.der", der)
    rsa_tools.run("openssl", "x509", "-inform", "DER", "-in", "certificate.der", "-out", str(pem))
    # Its exit code is the number of bytes that it wrote, less full multiples of 256.
    rsa_tools.attempt("piv-tool", "--admin", "M:9B:0A", "--cert", "9C", "--in", str(pem))
    assert "CN=Another Holder" in rsa_tools.run("pkcs11-tool", "--list-objects", "--type", "cert")


def test_piv_tool_has_the_card_make_a_key(ec_tools: Tools) -> None:
    before = ec_tools.card.stored.data.key(0x9D)
    # OpenSC 0.23 cannot show the public half with OpenSSL 3, and says so behind the card's back.
    ec_tools.attempt("piv-tool", "--admin", "M:9B:0A", "--genkey", "9D:07")
    after = ec_tools.card.stored.data.key(0x9D)
    assert before != after
    assert after is not None
    assert after.algorithm is Algorithm.RSA2048
