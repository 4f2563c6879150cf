"""OpenSC's and Yubico's programs on the software cards behind the guard, through a real pcscd.

The cards are dressed as the service does it, by the rules of a policy file. `noted` has what came to the card itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from helpers import nss
from helpers.dressed import Noted, dressed
from helpers.opensc import OpenSc
from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.piv import MANAGEMENT_KEY, PIN, PUK, PivCard, new_card
from helpers.soft_cards import PIN_DIGITS, wanted
from helpers.vpcd import CardInSlot
from virtcard.card.reader import Context, Disposition
from virtcard.card.soft.make import create_from
from virtcard.card.soft.model import Algorithm, CardType
from virtcard.card.soft.nss import NICKNAMES, import_nss
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store

ALLOW = '[[rule]]\ncard = "card:*"\naction = "allow"\n'
USE = f'{ALLOW}commands = "use"\n'
READ = f'{ALLOW}commands = "read"\n'
LOGIN = ("--login", "--pin", PIN.decode())
IDS = {0x9A: "01", 0x9C: "02", 0x9D: "03"}
RSA_KEYS = [(slot, Algorithm.RSA2048) for slot in (0x9A, 0x9C, 0x9D)]
CURVES = [(slot, Algorithm.P256) for slot in (0x9A, 0x9C, 0x9D)]

PIV, CAC, CARD_MANAGER = "00A4040005A000000308", "00A4040007A000000079 0100", "00A4040008A000000151000000"
NO_SUCH_INSTRUCTION, OUT_OF_REACH, NO_SUCH_CLASS = b"\x6d\x00", b"\x69\x82", b"\x6e\x00"

OF_PIV = {0x20, 0x84, 0x87, 0xA4, 0xC0, 0xCA, 0xCB, 0xF7, 0xF8, 0xF9, 0xFD}
"""Instructions of everyday use: VERIFY, GET CHALLENGE, GENERAL AUTHENTICATE, SELECT, GET RESPONSE, GET DATA, and
Yubico's that read."""


class Judges(OpenSc):
    """Programs of the host beside a dressed card in the first reader."""

    def __init__(self, lab: Lab, folder: Path, noted: Noted) -> None:
        super().__init__(lab.pcscd.environment, folder)
        self.environment |= {
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "PIV_EXT_AUTH_KEY": str(self.file("management", MANAGEMENT_KEY.hex(":").encode())),
        }
        self.noted = noted

    def ykman(self, *words: str) -> tuple[int, str]:
        """`ykman piv`: its exit code, and what it says."""
        return self.attempt(str(Path(sys.executable).parent / "ykman"), "--reader", READERS[0], "piv", *words)

    def made_of(self, content: bytes, slot: int, *words: str) -> bytes:
        """What pkcs11-tool makes of this with a key."""
        self.file("given", content)
        files = ("--input-file", "given", "--output-file", "made")
        self.run("pkcs11-tool", *LOGIN, "--id", IDS[slot], *words, *files)
        return (self.folder / "made").read_bytes()

    def all_refused(self, select: str, commands: dict[str, bytes]) -> None:
        """Each of these has its status word from the guard, and the card hears of none."""
        context = Context()
        handle = context.connect(READERS[0])
        for command, status in commands.items():
            assert handle.transmit(bytes.fromhex(select))[-2] in (0x61, 0x6A, 0x90)
            before = len(self.noted.commands)
            assert handle.transmit(bytes.fromhex(command)) == status, command
            assert self.noted.commands[before:] == [], command
        handle.disconnect(Disposition.RESET)
        context.release()


Plug = Callable[[PivCard, str], Judges]


@pytest.fixture
def plug(lab: Lab, tmp_path: Path) -> Plug:
    """Put a PIV card in, dressed by these rules."""

    def in_reader(card: PivCard, rules: str) -> Judges:
        noted = Noted(card.card)
        lab.plug(CardInSlot(dressed(noted, rules).card))
        noted.commands.clear()
        return Judges(lab, tmp_path, noted)

    return in_reader


@pytest.fixture
def rsa_card(tmp_path: Path) -> PivCard:
    return new_card(tmp_path / "cards", algorithms=RSA_KEYS)


@pytest.fixture
def curves(tmp_path: Path) -> PivCard:
    return new_card(tmp_path / "cards", algorithms=CURVES)


def public_key(card: PivCard, slot: int) -> object:
    record = card.stored.data.key(slot)
    assert record is not None
    return load_der_public_key(record.public)


# PIV, `use`


@pytest.mark.parametrize("keys", [RSA_KEYS, CURVES], ids=["rsa", "ec"])
def test_pkcs11_tool_finds_no_errors(plug: Plug, tmp_path: Path, keys: list[tuple[int, Algorithm]]) -> None:
    judges = plug(new_card(tmp_path / "cards", algorithms=keys), USE)
    assert "No errors" in judges.run("pkcs11-tool", *LOGIN, "--test")
    assert judges.noted.instructions <= OF_PIV


def test_opensc_names_the_card_and_piv_tool_reads_it(plug: Plug, curves: PivCard) -> None:
    judges = plug(curves, USE)
    assert "Personal Identity Verification Card" in judges.run("opensc-tool", "--name")
    assert judges.run("piv-tool", "--serial").strip()
    assert judges.noted.instructions <= OF_PIV


def test_rsa_signatures_verify_and_letters_are_read(plug: Plug, rsa_card: PivCard) -> None:
    judges = plug(rsa_card, USE)
    signing, reading = public_key(rsa_card, 0x9C), public_key(rsa_card, 0x9D)
    assert isinstance(signing, rsa.RSAPublicKey)
    assert isinstance(reading, rsa.RSAPublicKey)
    signature = judges.made_of(b"text", 0x9C, "--sign", "--mechanism", "SHA256-RSA-PKCS")
    signing.verify(signature, b"text", padding.PKCS1v15(), SHA256())
    letter = reading.encrypt(b"a letter", padding.PKCS1v15())
    assert judges.made_of(letter, 0x9D, "--decrypt", "--mechanism", "RSA-PKCS") == b"a letter"


def test_signatures_on_a_curve_verify(plug: Plug, curves: PivCard) -> None:
    judges = plug(curves, USE)
    public, digest = public_key(curves, 0x9A), bytes(range(32))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    signature = judges.made_of(digest, 0x9A, "--sign", "--mechanism", "ECDSA", "--signature-format", "openssl")
    public.verify(signature, digest, ec.ECDSA(utils.Prehashed(SHA256())))


def test_nss_lists_the_certificates(plug: Plug, curves: PivCard) -> None:
    judges = plug(curves, USE)
    (judges.folder / "nss").mkdir()
    judges.run("certutil", "-N", "-d", "sql:nss", "--empty-password")
    (library,) = Path("/usr/lib").glob("*/opensc-pkcs11.so")
    with (judges.folder / "nss/pkcs11.txt").open("a") as modules:
        modules.write(f"library={library}\nname=opensc\n\n")
    listed = judges.run("certutil", "-L", "-h", "all", "-d", "sql:nss")
    assert "Certificate for Digital Signature" in listed
    assert judges.noted.instructions <= OF_PIV


def test_ykman_shows_the_card_and_exports_a_certificate(plug: Plug, curves: PivCard) -> None:
    judges = plug(curves, USE)
    code, said = judges.ykman("info")
    assert code == 0, said
    assert "PIN tries remaining:      3/3" in said
    assert judges.ykman("certificates", "export", "9a", "made.pem")[0] == 0
    exported = load_pem_x509_certificate((judges.folder / "made.pem").read_bytes())
    assert exported.subject.rfc4514_string() == "CN=Card Holder 9A"
    code, said = judges.ykman("certificates", "request", "--pin", PIN.decode(), "-s", "CN=x", "9a", "key.pem", "-")
    assert "key.pem" in said, "no such file yet"
    assert judges.ykman("keys", "export", "9a", "key.pem")[0] == 0
    code, said = judges.ykman("certificates", "request", "--pin", PIN.decode(), "-s", "CN=x", "9a", "key.pem", "-")
    assert "BEGIN CERTIFICATE REQUEST" in said, said
    assert judges.noted.instructions <= OF_PIV


ADMINISTRATION = {
    "00DB3FFF095C035FC1025302AABB": NO_SUCH_INSTRUCTION,  # PUT DATA
    "10DB3FFF095C035FC1025302AABB": NO_SUCH_INSTRUCTION,
    "0CDB3FFF095C035FC1025302AABB": NO_SUCH_INSTRUCTION,
    "00DB3FFF0000095C035FC1025302AABB": NO_SUCH_INSTRUCTION,
    "00DA3FFF095C035FC1025302AABB": NO_SUCH_INSTRUCTION,
    "0047009A05AC03800111": NO_SUCH_INSTRUCTION,  # GENERATE ASYMMETRIC KEY PAIR
    "00240080" + "10" + "313233343536FFFF" * 2: NO_SUCH_INSTRUCTION,  # CHANGE REFERENCE DATA
    "00240081" + "10" + "3132333435363738" * 2: NO_SUCH_INSTRUCTION,  # of the PUK
    "002C0080" + "10" + "3132333435363738" + "313233343536FFFF": NO_SUCH_INSTRUCTION,  # RESET RETRY COUNTER
    "00870A9B047C028000": OUT_OF_REACH,  # the management key
    "0087039B047C028100": OUT_OF_REACH,
    "008703 9B 0C 7C0A8208 0102030405060708": OUT_OF_REACH,
    "00FFFFFF03030103": NO_SUCH_INSTRUCTION,  # Yubico: SET MANAGEMENT KEY
    "00FE079A03010100": NO_SUCH_INSTRUCTION,  # IMPORT KEY
    "00FB0000": NO_SUCH_INSTRUCTION,  # RESET
    "00FA0303": NO_SUCH_INSTRUCTION,  # SET PIN RETRIES
    "00F69A9C": NO_SUCH_INSTRUCTION,  # MOVE KEY
    "00C200000E00DB3FFF095C035FC1025302AABB": NO_SUCH_INSTRUCTION,  # ENVELOPE
}
OF_CARD_MANAGER = {
    "8050000008 0102030405060708": NO_SUCH_INSTRUCTION,  # INITIALIZE UPDATE
    "8482000010" + "00" * 16: NO_SUCH_INSTRUCTION,  # EXTERNAL AUTHENTICATE
    "80E602000501020304 05": NO_SUCH_INSTRUCTION,  # INSTALL
    "80E400000B4F09A00000030800001000": NO_SUCH_INSTRUCTION,  # DELETE
    "80D800810101": NO_SUCH_INSTRUCTION,  # PUT KEY
    "84D800810101": NO_SUCH_INSTRUCTION,
    "80E80000 0100": NO_SUCH_INSTRUCTION,  # LOAD
    "80F08001": NO_SUCH_INSTRUCTION,  # SET STATUS
    "80E20000 0100": NO_SUCH_INSTRUCTION,  # STORE DATA
}
"""GlobalPlatform 2.3, table 11-1."""


def test_administration_is_refused_in_the_standards_words(plug: Plug, curves: PivCard) -> None:
    judges = plug(curves, USE)
    before = curves.stored.data
    judges.all_refused(PIV, ADMINISTRATION)
    assert judges.noted.instructions <= OF_PIV
    assert curves.stored.data == before


def test_a_card_manager_installs_and_deletes_nothing(plug: Plug, curves: PivCard) -> None:
    """On a card whose card manager is not selected by name either: GlobalPlatform's commands are proprietary."""
    judges = plug(curves, USE)
    judges.all_refused(CARD_MANAGER, OF_CARD_MANAGER)
    judges.all_refused(PIV, OF_CARD_MANAGER)
    assert not judges.noted.instructions & {0x50, 0x82, 0xD8, 0xE2, 0xE4, 0xE6, 0xE8, 0xF0}


BY_PROGRAMS = {
    "ykman makes a key": ("ykman", "keys", "generate", "-m", MANAGEMENT_KEY.hex(), "-a", "ECCP256", "9a", "-"),
    "ykman changes the PIN": ("ykman", "access", "change-pin", "-P", PIN.decode(), "-n", "654321"),
    "ykman changes the PUK": ("ykman", "access", "change-puk", "-p", PUK.decode(), "-n", "87654321"),
    "ykman unblocks the PIN": ("ykman", "access", "unblock-pin", "-p", PUK.decode(), "-n", "654321"),
    "ykman changes the management key": (
        *("ykman", "access", "change-management-key", "-m", MANAGEMENT_KEY.hex(), "-n", MANAGEMENT_KEY[::-1].hex()),
        *("-a", "AES192"),
    ),
    "ykman writes an object": ("ykman", "objects", "generate", "-m", MANAGEMENT_KEY.hex(), "CHUID"),
    "piv-tool makes a key": ("piv-tool", "--admin", "M:9B:0A", "--genkey", "9D:11"),
    "pkcs11-tool changes the PIN": ("pkcs11-tool", "--change-pin", *LOGIN[1:], "--new-pin", "654321"),
}


@pytest.mark.parametrize("words", BY_PROGRAMS.values(), ids=BY_PROGRAMS)
def test_a_program_that_administrates_fails_and_changes_nothing(
    plug: Plug, curves: PivCard, words: tuple[str, ...]
) -> None:
    judges = plug(curves, USE)
    before = curves.stored.data
    program, *arguments = words
    code, said = judges.ykman(*arguments) if program == "ykman" else judges.attempt(*words)
    assert code != 0, said
    assert judges.noted.instructions <= OF_PIV
    assert curves.stored.data == before
    assert judges.run("pkcs11-tool", *LOGIN, "--list-objects")


def test_a_reset_by_ykman_ends_at_the_reserve_of_tries(plug: Plug, curves: PivCard) -> None:
    """It enters wrong PINs first, since a card lets itself be reset when PIN and PUK are blocked."""
    judges = plug(curves, USE)
    keys = curves.stored.data.keys
    code, said = judges.ykman("reset", "--force")
    assert code != 0, said
    assert judges.noted.instructions <= OF_PIV
    assert (curves.pins.pin_tries_left, curves.pins.puk_tries_left) == (1, 3)
    assert curves.stored.data.keys == keys


# PIV, `read`


def test_read_shows_certificates_and_lets_nobody_in(plug: Plug, rsa_card: PivCard) -> None:
    judges = plug(rsa_card, READ)
    listed = judges.run("pkcs11-tool", "--list-objects", "--type", "cert")
    assert listed.count("Certificate Object") == 3
    judges.run("pkcs11-tool", "--read-object", "--type", "cert", "--id", IDS[0x9A], "--output-file", "read.der")
    read = load_der_x509_certificate((judges.folder / "read.der").read_bytes())
    assert read.public_key() == public_key(rsa_card, 0x9A)
    judges.file("given", b"text")
    for words in (("--list-objects",), ("--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "01", "-i", "given")):
        code, said = judges.attempt("pkcs11-tool", *LOGIN, *words)
        assert code != 0, said
    judges.all_refused(PIV, {"0020008008313233343536FFFF": OUT_OF_REACH, "0087079A047C028200": NO_SUCH_INSTRUCTION})
    assert not [command for command in judges.noted.commands if command[1] == 0x20 and len(command) > 5]
    assert 0x87 not in judges.noted.instructions
    assert rsa_card.pins.pin_tries_left == 3


# Tables by application


def test_a_table_denies_one_key_and_leaves_the_other(plug: Plug, rsa_card: PivCard) -> None:
    judges = plug(rsa_card, f'{ALLOW}[rule.commands.A000000308]\ndeny = ["87xx9A"]\n')
    signing = public_key(rsa_card, 0x9C)
    assert isinstance(signing, rsa.RSAPublicKey)
    signature = judges.made_of(b"text", 0x9C, "--sign", "--mechanism", "SHA256-RSA-PKCS")
    signing.verify(signature, b"text", padding.PKCS1v15(), SHA256())
    code, _ = judges.attempt(
        "pkcs11-tool", *LOGIN, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "01", "-i", "given", "-o", "none"
    )
    assert code != 0
    assert not [command for command in judges.noted.commands if command[1] == 0x87 and command[3] == 0x9A]


def test_a_table_lets_a_machine_load_certificates_and_make_no_keys(plug: Plug, curves: PivCard) -> None:
    """PUT DATA of certificates alone needs the management key, too; GENERATE stays refused."""
    judges = plug(curves, f'{ALLOW}[rule.commands.A000000308]\nallow = ["DB3FFF", "87xx9B"]\n')
    management = ("-m", MANAGEMENT_KEY.hex())
    before = curves.stored.data.keys
    assert judges.ykman("certificates", "export", "9c", "c.pem")[0] == 0
    code, said = judges.ykman("certificates", "import", *management, "9d", "c.pem")
    assert code == 0, said
    assert (
        "CN=Card Holder 9C" in judges.run("pkcs11-tool", "--list-objects", "--type", "cert").split("Key Management")[1]
    )
    assert judges.ykman("keys", "generate", *management, "-a", "ECCP256", "9a", "-")[0] != 0
    assert curves.stored.data.keys == before


def test_a_table_of_another_application_changes_nothing_here(plug: Plug, curves: PivCard) -> None:
    judges = plug(curves, f'{ALLOW}[rule.commands.A000000151]\nallow = ["xx"]\n[rule.commands.other]\nallow = ["DB"]\n')
    judges.all_refused(PIV, ADMINISTRATION)


# CAC


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With a card that has the keys of an NSS database."""
    found = import_nss(str(nss.shared_database()), NICKNAMES, nss.PASSWORD)
    kept = Store(tmp_path_factory.mktemp("store") / "cards")
    create_from(kept, wanted("cac", CardType.CAC), dict(zip(("id", "signing", "encryption"), found, strict=True)))
    return kept


@contextmanager
def cac(lab: Lab, store: Store, folder: Path, rules: str) -> Iterator[Judges]:
    """Programs beside the CAC."""
    noted = Noted(SoftSource(store).open("cac"))
    lab.plug(CardInSlot(dressed(noted, rules).card))
    noted.commands.clear()
    yield Judges(lab, folder, noted)
    lab.unplug()
    noted.power_off()


CAC_LOGIN = ("--login", "--pin", PIN_DIGITS.decode())
OF_CAC = {0x20, 0x36, 0x42, 0x4C, 0x52, 0x56, 0x84, 0xA4, 0xC0, 0xCA, 0xCB}
CAC_ADMINISTRATION = {
    "80580000020102": NO_SUCH_INSTRUCTION,  # UPDATE BUFFER
    "00240000" + "10" + "31323334FFFFFFFF" * 2: NO_SUCH_INSTRUCTION,
    "002C0000" + "10" + "31323334FFFFFFFF" * 2: NO_SUCH_INSTRUCTION,
    "00820000080102030405060708": NO_SUCH_INSTRUCTION,
    "80E602000501020304 05": NO_SUCH_INSTRUCTION,
    "80D800810101": NO_SUCH_INSTRUCTION,
    "00DA00000100": NO_SUCH_INSTRUCTION,
    "FF82000006FFFFFFFFFFFF": NO_SUCH_CLASS,
}
"""GSC-IS 2.1, chapter 5.3; GlobalPlatform."""


def test_opensc_uses_a_cac_and_finds_no_errors(lab: Lab, store: Store, tmp_path: Path) -> None:
    with cac(lab, store, tmp_path, USE) as judges:
        assert "Common Access Card (CAC)" in judges.run("opensc-tool", "--name")
        said = judges.run("pkcs11-tool", *CAC_LOGIN, "--test")
        assert "No errors" in said
        assert "ERR" not in said
        judges.file("given", b"text")
        sign = ("--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "0002", "-i", "given", "-o", "made")
        judges.run("pkcs11-tool", *CAC_LOGIN, *sign)
        public = load_der_x509_certificate(nss.certificates()[1]).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify((tmp_path / "made").read_bytes(), b"text", padding.PKCS1v15(), SHA256())
        assert judges.noted.instructions <= OF_CAC


def test_a_cac_is_not_administrated(lab: Lab, store: Store, tmp_path: Path) -> None:
    before = store.read("cac")
    with cac(lab, store, tmp_path, USE) as judges:
        judges.all_refused(CAC, CAC_ADMINISTRATION)
        assert judges.attempt("pkcs11-tool", "--change-pin", *CAC_LOGIN[1:], "--new-pin", "654321")[0] != 0
        assert judges.noted.instructions <= OF_CAC
    assert store.read("cac") == before


def test_read_shows_the_certificates_of_a_cac_and_lets_nobody_in(lab: Lab, store: Store, tmp_path: Path) -> None:
    with cac(lab, store, tmp_path, READ) as judges:
        listed = judges.run("pkcs11-tool", "--list-objects", "--type", "cert")
        assert listed.count("Certificate Object") == 3
        assert judges.attempt("pkcs11-tool", *CAC_LOGIN, "--sign", "--id", "0001", "-i", "openssl.cnf")[0] != 0
        judges.all_refused(CAC, {"0020000004 31323334": OUT_OF_REACH, "8042000004 00010203": NO_SUCH_INSTRUCTION})
        assert not [command for command in judges.noted.commands if command[1] == 0x20 and len(command) > 5]
        assert 0x42 not in judges.noted.instructions
    assert store.read("cac").pin.tries_left == 3
