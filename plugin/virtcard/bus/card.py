"""org.virtcard1.Card, one object for each software card."""

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property

from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.names import CARD, domain_path
from virtcard.service.views import CardView


class CardInterface(Shown[CardView]):
    """One software card of the daemon's store."""

    def __init__(self, view: CardView) -> None:
        super().__init__(CARD, view)

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
