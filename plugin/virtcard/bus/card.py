"""org.virtcard1.Card, one object for each software card."""

from typing import Any

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property, method

from virtcard.bus.caller import calling_user
from virtcard.bus.options import authorities_option, no_options, replace_option
from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.names import CARD, domain_path
from virtcard.service.api import CardCalls
from virtcard.service.views import CardView


class CardInterface(Shown[CardView]):
    """One software card of the daemon's store."""

    def __init__(self, cards: CardCalls, view: CardView) -> None:
        super().__init__(CARD, view)
        self._cards = cards

    def details(self, member: str, arguments: list[Any]) -> dict[str, str]:  # noqa: ARG002
        return {"card": self.view.card.name}

    @method()
    async def ImportKey(self, slot: "s", options: "a{sv}") -> "s":
        replace = replace_option(options)
        return await self._cards.import_key(calling_user(), self.view.card.name, slot, replace=replace)

    @method()
    async def ChangePin(self, options: "a{sv}") -> "s":
        no_options(options)
        return await self._cards.change_pin(calling_user(), self.view.card.name)

    @method()
    async def ChangePuk(self, options: "a{sv}") -> "s":
        no_options(options)
        return await self._cards.change_puk(calling_user(), self.view.card.name)

    @method()
    async def Unblock(self, options: "a{sv}") -> "s":
        no_options(options)
        return await self._cards.unblock(calling_user(), self.view.card.name)

    @method()
    async def Delete(self, options: "a{sv}"):  # type: ignore[no-untyped-def]
        no_options(options)
        await self._cards.delete(self.view.card.name)

    @method()
    async def GetCertificates(self, options: "a{sv}") -> "a(say)":
        authorities = authorities_option(options)
        return [list(each) for each in await self._cards.certificates(self.view.card.name, authorities=authorities)]

    @dbus_property(access=PropertyAccess.READ)
    def Name(self) -> "s":
        return self.view.card.name

    @dbus_property(access=PropertyAccess.READ)
    def Type(self) -> "s":
        return self.view.card.type

    @dbus_property(access=PropertyAccess.READ)
    def Serial(self) -> "u":
        return self.view.card.serial & 0xFFFF_FFFF  # 4 bytes in every card of ours; a file may say anything

    @dbus_property(access=PropertyAccess.READ)
    def Created(self) -> "s":
        return text(self.view.card.created)

    @dbus_property(access=PropertyAccess.READ)
    def PinTries(self) -> "u":
        return self.view.card.pin_tries

    @dbus_property(access=PropertyAccess.READ)
    def PukTries(self) -> "u":
        return self.view.card.puk_tries

    @dbus_property(access=PropertyAccess.READ)
    def Keys(self) -> "aa{ss}":
        return [
            {
                "slot": key.slot,
                "algorithm": key.algorithm,
                "origin": key.origin,
                "subject": text(key.subject),
                "expires": key.expires,
            }
            for key in self.view.card.keys
        ]

    @dbus_property(access=PropertyAccess.READ)
    def Domains(self) -> "ao":
        return [domain_path(uuid) for uuid in self.view.domains]

    @dbus_property(access=PropertyAccess.READ)
    def LastError(self) -> "s":
        return text(self.view.last_error)
