"""Software cards made and kept over D-Bus, with a real store and real sockets; and what a monitor of the bus sees."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from helpers.bus import NOBODY, PrivateBus, Serving, call, connect_as, on_bus, run_async
from helpers.fake_service import FakeCards, FakeService, card_view
from helpers.lively import LivelyService
from helpers.once import confide
from helpers.openssl import openssl
from helpers.soft_cards import PIN_DIGITS, PUK_DIGITS, empty_card
from helpers.waiting import wait_until
from virtcard.bus.address import BusKind
from virtcard.bus.client import Client
from virtcard.card.soft.ca import Authority, parse_subject
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.store import Store
from virtcard.errors import Busy, Conflict, InvalidArgument, NoSuchCard, NotAuthorized, Unsupported, VirtcardError
from virtcard.names import CARD, MANAGER, ROOT_PATH, card_path
from virtcard.service.api import CardWish

PIN, PUK = PIN_DIGITS.decode(), PUK_DIGITS.decode()
NEW = {"pin": "918273", "puk": "91827364"}
PASSWORD = "the-password-of-the-file"
JANE = card_path("jane")


@dataclass
class Lab:
    """A client of a service whose cards are real."""

    store: Store
    sockets: Path
    client: Client

    def offered(self, path: str, member: str, *body: Any) -> str:
        """The socket for which a method of the manager or of a card answers."""
        interface = MANAGER if path == ROOT_PATH else CARD
        signature = "s" * (len(body) - 1) + "a{sv}"
        (socket,) = self.client.call(path, interface, member, signature, body)
        return str(socket)

    def done(self, document: bytes | dict[str, Any], path: str, member: str, *body: Any) -> dict[str, Any]:
        """The answer of a whole call, after which no socket is left."""
        answer = confide(self.offered(path, member, *body), document)
        wait_until(lambda: not list(self.sockets.glob("*")), 5, "the socket is gone")
        return answer

    def properties(self, name: str = "jane") -> dict[str, Any]:
        """The card on the bus, {} when there is none."""
        return self.client.objects().get(card_path(name), {}).get(CARD, {})


@pytest.fixture
def lab(private: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """With a card jane, whose PIN is quick to try."""
    store, sockets = Store(tmp_path / "cards"), tmp_path / "run"
    empty_card(store, "jane")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
    service = LivelyService(store, sockets)
    with Serving(private.address, service) as serving:
        serving.run(lambda: serving._bus.spawn(service.shelf.look_at_all()))
        with Client.open(BusKind.SYSTEM) as client:
            wait_until(lambda: JANE in client.objects(), 5, "jane is on the bus")
            yield Lab(store, sockets, client)


def pem(folder: Path) -> str:
    """A certificate with its key."""
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Own", "-keyout", folder / "own.key",
            "-out", folder / "own.pem")  # fmt: skip
    return (folder / "own.key").read_text() + (folder / "own.pem").read_text()


def pkcs12(folder: Path) -> str:
    """The same in PKCS #12, in base64."""
    pem(folder)
    openssl("pkcs12", "-export", "-in", folder / "own.pem", "-inkey", folder / "own.key",
            "-passout", f"pass:{PASSWORD}", "-out", folder / "own.p12")  # fmt: skip
    return base64.b64encode((folder / "own.p12").read_bytes()).decode()


def test_a_card_is_made_and_is_on_the_bus_when_the_answer_comes(lab: Lab) -> None:
    options = {"type": "piv", "subject": "CN=John", "key": "p256"}
    answer = lab.done(NEW, ROOT_PATH, "CreateCard", "john-piv", options)
    assert answer == {"card": "/org/virtcard1/card/john_2dpiv", "warnings": []}
    shown = lab.properties("john-piv")
    assert (shown["Type"], shown["PinTries"]) == ("piv", 3)
    assert [(key["slot"], key["algorithm"], key["subject"]) for key in shown["Keys"]] == [
        (slot, "p256", "CN=John") for slot in ("9a", "9c", "9d", "9e")
    ]
    (authority,) = lab.client.call(answer["card"], CARD, "GetCertificates", "a{sv}", ({"authorities": True},))
    assert [slot for slot, _ in authority] == ["ca"]


def test_an_authority_of_ones_own_signs(lab: Lab, tmp_path: Path) -> None:
    lab.done({**NEW, "authority": pem(tmp_path)}, ROOT_PATH, "CreateCard", "john", {"key": "p256"})
    (found,) = lab.client.call(card_path("john"), CARD, "GetCertificates", "a{sv}", ({},))
    certificates = dict(found)
    (tmp_path / "9a.der").write_bytes(certificates["9a"])
    openssl("x509", "-inform", "DER", "-in", tmp_path / "9a.der", "-out", tmp_path / "9a.pem")
    openssl("verify", "-CAfile", tmp_path / "own.pem", tmp_path / "9a.pem")


def test_a_card_is_made_of_keys_that_are_there(lab: Lab, tmp_path: Path) -> None:
    keys = [{"pem": pem(tmp_path)}, {"slot": "9d", "pkcs12": pkcs12(tmp_path), "password": PASSWORD}]
    answer = lab.done({**NEW, "keys": keys}, ROOT_PATH, "ImportCard", "john", {"type": "piv"})
    assert answer["card"] == card_path("john")
    assert [(key["slot"], key["origin"]) for key in lab.properties("john")["Keys"]] == [
        ("9a", "imported"),
        ("9d", "imported"),
    ]


def test_a_key_goes_into_a_slot_of_a_card_and_takes_another_ones_place_only_when_told(lab: Lab, tmp_path: Path) -> None:
    document = {"pem": pem(tmp_path)}
    assert lab.done(document, JANE, "ImportKey", "9c", {})["card"] == JANE
    assert [key["slot"] for key in lab.properties()["Keys"]] == ["9c"]
    with pytest.raises(Conflict, match="There is a key in slot 9c"):
        lab.offered(JANE, "ImportKey", "9c", {})
    assert lab.done(document, JANE, "ImportKey", "9C", {"replace": True})["card"] == JANE


def _key(authority: Authority) -> str:
    return authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_an_expired_certificate_is_a_warning(lab: Lab) -> None:
    old = Authority.new(parse_subject("CN=Old"), Algorithm.P256, days=0)
    document = {"pem": old.certificate.public_bytes(Encoding.PEM).decode() + _key(old)}
    (warning,) = lab.done(document, JANE, "ImportKey", "9a", {})["warnings"]
    assert warning.startswith("The certificate expired on")


def test_pin_and_puk_are_changed_and_the_pin_is_unblocked(lab: Lab) -> None:
    assert lab.done({"pin": PIN, "new_pin": "918273"}, JANE, "ChangePin", {})["card"] == JANE
    assert lab.done({"puk": PUK, "new_puk": "91827364"}, JANE, "ChangePuk", {})["card"] == JANE
    for left in ("2 tries are left", "1 try is left", "is blocked now"):
        assert left in lab.done({"pin": PIN, "new_pin": "111111"}, JANE, "ChangePin", {})["message"]
    assert lab.done({"puk": "91827364", "new_pin": PIN}, JANE, "Unblock", {})["card"] == JANE
    assert lab.properties()["PinTries"] == 3


def test_delete_takes_the_card_off_the_bus(lab: Lab) -> None:
    lab.client.call(JANE, CARD, "Delete", "a{sv}", ({},))
    assert lab.properties() == {}
    assert lab.store.names() == ()


def test_a_card_in_use_is_busy(lab: Lab) -> None:
    with lab.store.open("jane"):
        with pytest.raises(Busy, match="The card jane is in use"):
            lab.client.call(JANE, CARD, "Delete", "a{sv}", ({},))
        answer = lab.done({"pin": PIN, "new_pin": "918273"}, JANE, "ChangePin", {})
    assert answer["error"] == "org.virtcard1.Error.Busy"


@pytest.mark.parametrize(
    ("path", "member", "body", "kind"),
    [
        (ROOT_PATH, "CreateCard", ("jane", {}), Conflict),
        (ROOT_PATH, "CreateCard", ("../jane", {}), InvalidArgument),
        (ROOT_PATH, "CreateCard", ("john", {"type": "visa"}), InvalidArgument),
        (ROOT_PATH, "CreateCard", ("john", {"key": "rsa1024"}), InvalidArgument),
        (ROOT_PATH, "CreateCard", ("john", {"type": "cac", "key": "p256"}), Unsupported),
        (ROOT_PATH, "CreateCard", ("john", {"subject": "nonsense"}), InvalidArgument),
        (ROOT_PATH, "CreateCard", ("john", {"pin": "123456"}), InvalidArgument),
        (ROOT_PATH, "ImportCard", ("jane", {}), Conflict),
        (JANE, "ImportKey", ("zz", {}), InvalidArgument),
        (JANE, "ChangePin", ({"pin": "123456"},), InvalidArgument),
    ],
)
def test_what_cannot_be_is_told_before_any_secret_is_sent(
    lab: Lab, path: str, member: str, body: tuple[Any, ...], kind: type[VirtcardError]
) -> None:
    with pytest.raises(kind):
        lab.offered(path, member, *body)
    assert not lab.sockets.exists() or list(lab.sockets.iterdir()) == []


@pytest.mark.parametrize(
    "document",
    [b"", b"\xff", b"{", b'{"pin": "123456"', b"[]", b'{"pin": "123456"}', b'{"pin": 123456, "new_pin": "918273"}',
     b'{"pin": "123456", "new_pin": "918273", "other": 1}', b'{"pin": "\\ud800", "new_pin": "918273"}', b"[" * 100_000],
)  # fmt: skip
def test_rubbish_changes_nothing_and_is_told(lab: Lab, document: bytes) -> None:
    answer = lab.done(document, JANE, "ChangePin", {})
    assert answer == {
        "error": "org.virtcard1.Error.InvalidArgument",
        "message": "What came over the socket is not what this call takes.",
        "hint": "It is a JSON object with pin, new_pin.",
    }
    assert lab.properties()["PinTries"] == 3


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"pin": "12", "puk": PUK, "keys": [{"pem": "x"}]}, "There is no private key in the PEM file"),
        ({"pin": PIN, "puk": PUK, "keys": []}, "not what this call takes"),
        ({"pin": PIN, "puk": PUK, "keys": [{}]}, "A key comes either in"),
        ({"pin": PIN, "puk": PUK, "keys": [{"pem": "x", "pkcs12": "eA=="}]}, "A key comes either in"),
        ({"pin": PIN, "puk": PUK, "keys": [{"pkcs12": "eA=="}]}, "The file is not PKCS #12"),
    ],
)
def test_a_card_of_keys_that_are_none_is_not_made(lab: Lab, document: dict[str, Any], sentence: str) -> None:
    assert sentence in lab.done(document, ROOT_PATH, "ImportCard", "john", {})["message"]
    assert lab.store.names() == ("jane",)


@pytest.mark.parametrize("slots", [("9a", "9A"), ("zz",)])
def test_keys_that_do_not_fit_into_the_slots_make_no_card(lab: Lab, tmp_path: Path, slots: tuple[str, ...]) -> None:
    keys = [{"slot": slot, "pem": pem(tmp_path)} for slot in slots]
    answer = lab.done({**NEW, "keys": keys}, ROOT_PATH, "ImportCard", "john", {})
    assert answer["error"] == "org.virtcard1.Error.InvalidArgument"
    assert lab.store.names() == ("jane",)


def test_a_pin_of_another_form_makes_no_card(lab: Lab) -> None:
    answer = lab.done({"pin": "12", "puk": PUK}, ROOT_PATH, "CreateCard", "john", {"key": "p256"})
    assert answer["message"] == "The PIN of this card has 6 to 8 digits."
    assert lab.store.names() == ("jane",)


def test_a_name_that_was_taken_meanwhile_is_a_conflict(lab: Lab) -> None:
    socket = lab.offered(ROOT_PATH, "CreateCard", "john", {"key": "p256"})
    empty_card(lab.store, "john")
    assert confide(socket, NEW)["error"] == "org.virtcard1.Error.Conflict"


def test_a_card_that_went_meanwhile_is_told(lab: Lab) -> None:
    socket = lab.offered(JANE, "ChangePin", {})
    lab.store.delete("jane")
    assert confide(socket, {"pin": PIN, "new_pin": "918273"})["error"] == "org.virtcard1.Error.NoSuchCard"
    with pytest.raises(NoSuchCard):
        lab.offered(JANE, "ChangePin", {})


@contextmanager
def monitor(address: str, log: Path) -> Iterator[None]:
    """dbus-monitor, which sees every message; what it saw is in `log` afterwards."""
    with log.open("wb") as file:
        watching = subprocess.Popen(["dbus-monitor", "--address", address], stdout=file)
        try:
            wait_until(lambda: b"NameLost" in log.read_bytes(), 10, "the monitor monitors")
            yield
            wait_until(lambda: b"member=Delete" in log.read_bytes(), 10, "the monitor has seen the last call")
        finally:
            watching.terminate()
            watching.wait(10)


def test_no_secret_crosses_the_bus(lab: Lab, private: PrivateBus, tmp_path: Path) -> None:
    key = pem(tmp_path)
    secrets = ["827364", "82736455", "55463728", "463728", *(line for line in key.splitlines() if len(line) > 40)]
    with monitor(private.address, tmp_path / "seen"):
        lab.done({"pin": "827364", "puk": "82736455"}, ROOT_PATH, "CreateCard", "john", {"key": "p256"})
        john = card_path("john")
        lab.done({"pin": "827364", "new_pin": "463728"}, john, "ChangePin", {})
        lab.done({"pin": "827364", "new_pin": "463728"}, john, "ChangePin", {})
        lab.done({"puk": "82736455", "new_puk": "55463728"}, john, "ChangePuk", {})
        lab.done({"puk": "55463728", "new_pin": "827364"}, john, "Unblock", {})
        lab.done({"pem": key}, john, "ImportKey", "82", {})
        lab.client.call(john, CARD, "Delete", "a{sv}", ({},))
    seen = (tmp_path / "seen").read_text()
    assert "member=CreateCard" in seen
    assert [secret for secret in secrets if secret in seen] == []


def test_calls_reach_the_service_with_the_user_of_the_caller(private: PrivateBus) -> None:
    async def scene() -> None:
        service = FakeService()
        cards = FakeCards()
        service.cards = cards
        service.registry.cards.put("jane", card_view("jane"))
        async with on_bus(private.address, service) as (_, peer):
            me = os.geteuid()
            await call(peer, ROOT_PATH, MANAGER, "CreateCard", "sa{sv}", "john", {})
            await call(peer, ROOT_PATH, MANAGER, "ImportCard", "sa{sv}", "john", {})
            assert await call(peer, JANE, CARD, "Unblock", "a{sv}", {}) == ["/run/virtcardd/once-fake"]
            await call(peer, JANE, CARD, "ImportKey", "sa{sv}", "9a", {})
            assert await call(peer, JANE, CARD, "GetCertificates", "a{sv}", {}) == [[["9a", b"\x30\x00"]]]
            assert cards.calls == [
                ("create", me, "john", CardWish()),
                ("import_card", me, "john", CardWish()),
                ("unblock", me, "jane"),
                ("import_key", me, "jane", "9a", False),
                ("certificates", "jane", False),
            ]

    run_async(scene())


def test_another_user_manages_no_cards_without_polkit_but_sees_them(private: PrivateBus) -> None:
    async def scene() -> None:
        service = FakeService()
        cards = FakeCards()
        service.cards = cards
        service.registry.cards.put("jane", card_view("jane"))
        async with on_bus(private.address, service):
            nobody = await connect_as(private.address, NOBODY)
            for path, interface, member, signature, body in (
                (ROOT_PATH, MANAGER, "CreateCard", "sa{sv}", ["john", {}]),
                (JANE, CARD, "ChangePin", "a{sv}", [{}]),
                (JANE, CARD, "Delete", "a{sv}", [{}]),
            ):
                with pytest.raises(Exception, match="Only root may do that") as refused:
                    await call(nobody, path, interface, member, signature, *body)
                assert getattr(refused.value, "type", "") == NotAuthorized.dbus_name()
            await call(nobody, JANE, CARD, "GetCertificates", "a{sv}", {})
            assert cards.calls == [("certificates", "jane", False)]

    run_async(scene())


def test_documents_are_as_json_says(lab: Lab) -> None:
    document = json.dumps({"new_pin": "918273", "pin": PIN}, indent=2).encode() + b"\n"
    assert lab.done(document, JANE, "ChangePin", {})["card"] == JANE
