"""An interface for tests of the connection. (dbus-next reads annotations as signatures: no future import here.)"""

# ruff: noqa: F821, N802
# mypy: disable-error-code="name-defined,valid-type,untyped-decorator,no-untyped-call,no-untyped-def"

import asyncio

from dbus_next.constants import PropertyAccess
from dbus_next.service import ServiceInterface, dbus_property, method

from virtcard.bus.caller import current_caller

INTERFACE = "org.virtcard1.Sample"
ROOT = "/org/virtcard1"
PATH = "/org/virtcard1/sample"


class Sample(ServiceInterface):
    """Fails in every way, and says who called."""

    def __init__(self) -> None:
        super().__init__(INTERFACE)

    @method()
    def Sender(self) -> "s":
        return current_caller().sender

    @method()
    async def Flags(self) -> "u":
        await asyncio.sleep(0)
        return int(current_caller().interactive)

    @method()
    def Fail(self) -> "s":
        raise RuntimeError("secret")

    @method()
    async def FailLater(self) -> "s":
        await asyncio.sleep(0)
        raise RuntimeError("secret")

    @method()
    def WrongReturn(self) -> "s":
        return 5

    @method()
    def NotText(self) -> "s":
        return "\udc80"

    @dbus_property(access=PropertyAccess.READ)
    def Broken(self) -> "s":
        raise RuntimeError("secret")
