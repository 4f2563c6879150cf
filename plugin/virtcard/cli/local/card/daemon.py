"""Cards that the system's virtcardd keeps: asked over D-Bus, where polkit decides; secrets go past the bus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtcard.card.soft.cardfile import no_such_card
from virtcard.card.soft.make import Exported, Wanted
from virtcard.card.soft.material import Material
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.summary import KeySummary, Summary
from virtcard.cli.door import Properties
from virtcard.cli.options import Choice
from virtcard.errors import Failed, InvalidArgument, VirtcardError
from virtcard.limits import CALL_PATIENCE
from virtcard.names import CARD, MANAGER, ROOT_PATH, card_path


class AtDaemon:
    """A `Place`."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice

    def cards(self) -> tuple[list[Summary], list[VirtcardError]]:
        """All cards by name, and what is said of those that are damaged."""
        with self._choice.open() as client:
            found = [interfaces[CARD] for interfaces in client.objects().values() if CARD in interfaces]
        found.sort(key=lambda values: str(values["Name"]))
        errors: list[VirtcardError] = [Failed(each["LastError"]) for each in found if each["LastError"]]
        return [_summary(each) for each in found if not each["LastError"]], errors

    def card(self, name: str) -> Summary:
        """One card; NoSuchCard."""
        with self._choice.open() as client:
            values = client.objects().get(card_path(name), {}).get(CARD)
        if values is None:
            raise no_such_card(name)
        if values["LastError"]:
            raise Failed(values["LastError"])
        return _summary(values)

    def create(self, wanted: Wanted, subject: str, algorithm: Algorithm, authority: Material | None) -> None:
        """A card with new keys."""
        options = {"type": str(wanted.type), "subject": subject, "key": str(algorithm)}
        secrets = _new(wanted) | ({"authority": authority.pem} if authority else {})
        self._manage("CreateCard", wanted.name, options, secrets)

    def bring(self, wanted: Wanted, materials: Mapping[str, Material]) -> None:
        """A card with these keys by slot."""
        keys = [{"slot": slot, "pem": material.pem} for slot, material in materials.items()]
        self._manage("ImportCard", wanted.name, {"type": str(wanted.type)}, _new(wanted) | {"keys": keys})

    def put(self, name: str, slot: str, material: Material, *, replace: bool) -> None:
        """A key into a slot of a card."""
        with self._choice.open() as client:
            body = (slot, {"replace": replace})
            secrets = {"pem": material.pem}
            client.confide(card_path(name), CARD, "ImportKey", signature="sa{sv}", body=body, secrets=secrets)

    def change_pin(self, name: str, pin: bytes, new: bytes) -> None:
        """Another PIN."""
        self._alter(name, "ChangePin", pin=pin, new_pin=new)

    def change_puk(self, name: str, puk: bytes, new: bytes) -> None:
        """Another PUK."""
        self._alter(name, "ChangePuk", puk=puk, new_puk=new)

    def unblock(self, name: str, puk: bytes, pin: bytes) -> None:
        """Another PIN by the PUK."""
        self._alter(name, "Unblock", puk=puk, new_pin=pin)

    def delete(self, name: str) -> None:
        """A card goes for good."""
        with self._choice.open() as client:
            client.call(card_path(name), CARD, "Delete", "a{sv}", ({},), timeout=CALL_PATIENCE)

    def certificates(self, name: str, *, authorities: bool) -> tuple[Exported, ...]:
        """Its certificates, or those that a guest must trust."""
        self.card(name)
        options = {"authorities": authorities}
        with self._choice.open() as client:
            (found,) = client.call(card_path(name), CARD, "GetCertificates", "a{sv}", (options,))
        return tuple(Exported(slot, bytes(der)) for slot, der in found)

    def _manage(self, member: str, name: str, options: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
        with self._choice.open() as client:
            client.confide(ROOT_PATH, MANAGER, member, signature="sa{sv}", body=(name, options), secrets=secrets)

    def _alter(self, name: str, member: str, **secrets: bytes) -> None:
        document = {key: _text(secret) for key, secret in secrets.items()}
        with self._choice.open() as client:
            client.confide(card_path(name), CARD, member, signature="a{sv}", body=({},), secrets=document)


def _summary(values: Properties) -> Summary:
    return Summary(
        name=values["Name"],
        type=values["Type"],
        serial=values["Serial"],
        created=values["Created"],
        pin_tries=values["PinTries"],
        puk_tries=values["PukTries"],
        keys=tuple(_key(key) for key in values["Keys"]),
    )


def _key(values: Mapping[str, str]) -> KeySummary:
    return KeySummary(values["slot"], values["algorithm"], values["origin"], values["subject"], values["expires"])


def _new(wanted: Wanted) -> dict[str, Any]:
    return {"pin": _text(wanted.pin), "puk": _text(wanted.puk)}


def _text(secret: bytes) -> str:
    try:
        return secret.decode()
    except UnicodeDecodeError:
        raise InvalidArgument("A PIN or PUK is no text in UTF-8.", hint="Use letters and digits.") from None
