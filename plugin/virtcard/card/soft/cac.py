"""The applets of a CAC card (GSC-IS 2.1, chapter 5.3): containers that are read, and keys that sign and decipher.

It is what guests with OpenSC, coolkey or a CAC middleware look for, and what libcacard shows them. Unlike libcacard it
counts wrong PINs (63Cx), and its status words are those of ISO 7816-4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from virtcard.card.soft import cac_objects, keys
from virtcard.card.soft.cac_acr import ALWAYS, NEVER, PIN, AccessTables, AppletEntry
from virtcard.card.soft.cac_commands import Ins, Named, properties, refuse, verify
from virtcard.card.soft.cac_objects import ACA, CacObject
from virtcard.card.soft.cac_token import CacToken, StoredToken
from virtcard.card.soft.iso7816 import Applet
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.store import OpenCard
from virtcard.errors import InvalidArgument
from virtcard.wire import tlv
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw

CARD_MANAGER: Final = bytes.fromhex("A0000000030000")
PLUG_AND_PLAY: Final = bytes.fromhex("A0000003974349445F0100")
"""Windows asks it which driver the card wants (Microsoft, "Smart Card Discovery Process")."""

_BY_OBJECT: Final = 0x02
"""P1 of SELECT."""
_NO_ANSWER: Final = 0x0C
_MORE: Final = 0x80
"""P1 of SIGN/DECRYPT: more of the block follows."""
_T_BUFFER, _V_BUFFER = 1, 2

_GUID: Final = bytes.fromhex("6b8e2f4d1c5a4e739d0c51f7a86be294")
"""The name that this card has for Windows, which has no driver by this name and so looks for the applets."""
_CPLC_BYTES: Final = 42
_CPLC_SERIAL: Final = 12
"""Card production life cycle data (GlobalPlatform 2.1.1, appendix): all that is true of this card is a serial."""


def cac_applets(card: OpenCard, pins: Pins) -> tuple[Applet, ...]:
    """The applets of a CAC card in the store."""
    return applets_of(StoredToken(card, pins))


def applets_of(token: CacToken) -> tuple[Applet, ...]:
    """The applets of a card with that token's certificates; Unsupported for one that is not RSA."""
    containers = _containers(token)
    provider = Access(token, AccessTables(tuple(map(_entry, range(len(containers)), containers)), ACA))
    return (Login(token), provider, *containers, *_strangers(token.identity))


def _containers(token: CacToken) -> tuple[Container, ...]:
    certificates = token.certificates
    capability = cac_objects.capability_object(token.identity, certificates)
    files = tuple(map(CacObject, cac_objects.ACCESS_CONTROL_OBJECTS))
    pki = (cac_objects.certificate_object(number, der, has_key=True) for number, der in certificates.items())
    return (
        *(Container(token, cac_objects.aid(shown.identifier), (shown,)) for shown in pki),
        Container(token, cac_objects.aid(cac_objects.CCC, cac_objects.GSC_RID), (capability,)),
        Container(token, cac_objects.aid(cac_objects.ACCESS_CONTROL_FILES, cac_objects.GSC_RID), files),
        *(Container(token, cac_objects.aid(number), (CacObject(number),)) for number in cac_objects.GENERAL),
        *(Container(token, cac_objects.aid(number), ()) for number in cac_objects.BARE),
    )


def _entry(number: int, container: Container) -> AppletEntry:
    """Everybody reads, nobody writes, and a key wants the PIN."""
    reading = {int(Ins.UPDATE_BUFFER): NEVER, int(Ins.READ_BUFFER): ALWAYS}
    signing = {int(Ins.SIGN_DECRYPT): PIN}
    rules = tuple((shown.identifier, reading if shown.key is None else reading | signing) for shown in container.shown)
    return AppletEntry(0x40 + number, container.aid, rules, {int(Ins.VERIFY): ALWAYS})


class Login:
    """The card's own login. No name selects it, so that a change of applets does not end it: only a reset does.

    Guests log in at one applet and sign in another (the PIN is the whole card's).
    """

    def __init__(self, token: CacToken) -> None:
        self._token = token

    def matches(self, untrusted_aid: bytes) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def select(self) -> ResponseApdu:
        """Never."""
        return refuse(Sw.FILE_NOT_FOUND)

    def command(self, command: CommandApdu) -> ResponseApdu:  # noqa: ARG002
        """Never."""
        return refuse(Sw.INS_NOT_SUPPORTED)

    def reset(self) -> None:
        """Power or reset: log out."""
        self._token.logout()


class Access(Named):
    """The Access Control Applet: the PIN, and the tables of who may do what."""

    def __init__(self, token: CacToken, tables: AccessTables) -> None:
        super().__init__(ACA)
        self._token = token
        self._tables = tables

    def command(self, command: CommandApdu) -> ResponseApdu:
        """VERIFY, GET ACR and GET PROPERTIES."""
        match command.ins:
            case Ins.VERIFY:
                return verify(self._token, command)
            case Ins.GET_ACR:
                return self._tables.answer(command)
            case Ins.GET_PROPERTIES:
                return properties((), command)
        return refuse(Sw.INS_NOT_SUPPORTED)


class Container(Named):
    """An applet with objects: the first one is the current one, until another is selected."""

    def __init__(self, token: CacToken, name: bytes, shown: tuple[CacObject, ...]) -> None:
        super().__init__(name)
        self.shown = shown
        self._token = token
        self._current = shown[0] if shown else None
        self._block = b""

    def reset(self) -> None:
        """Forget a block that was begun, and which object was selected."""
        self._block = b""
        self._current = self.shown[0] if self.shown else None

    def command(self, command: CommandApdu) -> ResponseApdu:
        """Any command that is not the card's own."""
        if command.ins != Ins.SIGN_DECRYPT:
            self._block = b""
        way = _WAYS.get(command.ins)
        return refuse(Sw.INS_NOT_SUPPORTED) if way is None else way(self, command)

    def _verify(self, command: CommandApdu) -> ResponseApdu:
        return verify(self._token, command)

    def _tell(self, command: CommandApdu) -> ResponseApdu:
        return properties(self.shown, command)

    def _keep(self, _: CommandApdu) -> ResponseApdu:
        return refuse(Sw.CONDITIONS_NOT_SATISFIED)

    def _select_object(self, command: CommandApdu) -> ResponseApdu:
        if command.p1 != _BY_OBJECT:
            return refuse(Sw.FUNCTION_NOT_SUPPORTED)
        if command.p2 & ~_NO_ANSWER:
            return refuse(Sw.INCORRECT_P1_P2)
        identifier = int.from_bytes(command.data, "big")
        found = next((shown for shown in self.shown if shown.identifier == identifier), None)
        if len(command.data) != 2 or found is None:
            return refuse(Sw.FILE_NOT_FOUND)
        self._current = found
        return ResponseApdu()

    def _read(self, command: CommandApdu) -> ResponseApdu:
        """READ BUFFER: which buffer and how many bytes in the data, the offset in P1 and P2.

        Fewer come at the end of the buffer, as from libcacard: there are guests that read to a fixed size.
        """
        if self._current is None:
            return refuse(Sw.CONDITIONS_NOT_SATISFIED)
        if len(command.data) != 2:
            return refuse(Sw.WRONG_LENGTH)
        which, count = command.data
        if which not in (_T_BUFFER, _V_BUFFER):
            return refuse(Sw.INCORRECT_DATA)
        buffer = self._current.t_buffer if which == _T_BUFFER else self._current.v_buffer
        offset = command.p1 << 8 | command.p2
        if offset > len(buffer):
            return refuse(Sw.INCORRECT_P1_P2)
        return ResponseApdu(buffer[offset : offset + count])

    def _sign(self, command: CommandApdu) -> ResponseApdu:
        """SIGN/DECRYPT: a raw RSA block, in one part or several; signing takes it padded."""
        begun, self._block = self._block, b""
        shown = self._current
        if shown is None or shown.key is None:
            return refuse(Sw.CONDITIONS_NOT_SATISFIED)
        if command.p1 not in (0, _MORE) or command.p2:
            return refuse(Sw.INCORRECT_P1_P2)
        if not self._token.verified:
            return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
        block = begun + command.data
        if len(block) > shown.key_bits // 8:
            return refuse(Sw.DATA_NOT_USABLE)
        if command.p1 == _MORE:
            self._block = block
            return ResponseApdu()
        return self._raise_block(shown.key, block) if len(block) == shown.key_bits // 8 else refuse(Sw.DATA_NOT_USABLE)

    def _raise_block(self, number: int, block: bytes) -> ResponseApdu:
        key = self._token.key(number)
        if key is None:
            return refuse(Sw.REFERENCE_NOT_FOUND)
        try:
            return ResponseApdu(keys.rsa(key, block))
        except InvalidArgument:
            return refuse(Sw.INCORRECT_DATA)


_WAYS: Final[dict[int, Callable[[Container, CommandApdu], ResponseApdu]]] = {
    Ins.VERIFY: Container._verify,
    Ins.SIGN_DECRYPT: Container._sign,
    Ins.READ_BUFFER: Container._read,
    Ins.GET_PROPERTIES: Container._tell,
    Ins.UPDATE_BUFFER: Container._keep,
    Ins.SELECT: Container._select_object,
}


class Told(Named):
    """An applet that only has data to give: GET DATA with the tag in P1 and P2."""

    def __init__(self, name: bytes, tag: int, data: bytes) -> None:
        super().__init__(name)
        self._tag = tag
        self._data = data

    def command(self, command: CommandApdu) -> ResponseApdu:
        """GET DATA."""
        if command.ins != Ins.GET_DATA:
            return refuse(Sw.INS_NOT_SUPPORTED)
        asked = command.p1 << 8 | command.p2
        return ResponseApdu(self._data) if asked == self._tag else refuse(Sw.REFERENCE_NOT_FOUND)


def _strangers(identity: bytes) -> tuple[Told, Told]:
    """What is asked of any card, and is no part of GSC-IS: GlobalPlatform's card manager, and Windows' applet."""
    serial = identity[: tlv.TAG_BYTES_MAX]
    cplc = bytes(_CPLC_SERIAL) + serial + bytes(_CPLC_BYTES - _CPLC_SERIAL - len(serial))
    driver = tlv.build(0x02, b"\0") + tlv.build(0x16, b"virtcard") + tlv.build(0x30, tlv.build(0x04, _GUID))
    return (
        Told(CARD_MANAGER, 0x9F7F, tlv.build(0x9F7F, cplc)),
        Told(PLUG_AND_PLAY, 0x7F68, tlv.build(0x30, driver)),
    )
