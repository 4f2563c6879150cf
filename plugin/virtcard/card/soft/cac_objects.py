"""The objects of a CAC card: certificates, the Card Capability Container, and containers that are there but empty.

GSC-IS 2.1 (NIST IR 6887, 2003) and the data model of the CAC. The identifiers are those that OpenSC and coolkey look
for, and that libcacard shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from virtcard.card.soft import cac_tlv
from virtcard.card.soft.cac_tlv import Field
from virtcard.card.soft.cac_token import FIRST_OBJECT
from virtcard.errors import InvalidArgument, Unsupported

CAC_RID: Final = bytes.fromhex("A000000079")
GSC_RID: Final = bytes.fromhex("A000000116")


def aid(identifier: int, rid: bytes = CAC_RID) -> bytes:
    """The name of the applet with that object."""
    return rid + identifier.to_bytes(2, "big")


ACA: Final = aid(0x0300)
"""The Access Control Applet."""
CCC: Final = 0xDB00
GENERAL: Final = (0x0200, 0x0201, 0x02FB, 0x02FE, 0x02FD, 0x1201, 0x1202)
"""Containers of the CAC data model about a person, whom a software card does not know: they are empty."""
BARE: Final = (0x02F0, 0x02F1, 0x02F2)
"""Applets without any object."""
ACCESS_CONTROL_FILES: Final = 0x3000
ACCESS_CONTROL_OBJECTS: Final = (0x3000, 0x6010, 0x6030, 0x9000)

_SIMPLE_TLV: Final = 0x00
"""Type of tag supported, as libcacard tells it."""
_RSA: Final = 0x06
"""Algorithm identifier in the PKI properties, as libcacard tells it."""
_GENERAL_TYPE: Final = 0x01
_PKI_TYPE: Final = 0x04
"""Card application types in a CardURL (GSC-IS 2.1)."""
_CARD_ID_BYTES: Final = 10
_VERSION: Final = b"\x21"
"""GSC-IS 2.1."""
_DATA_MODEL: Final = b"\x10"
"""The one that libcacard names."""
_RULES_BYTES: Final = 17
"""Of the name of the applet that keeps the access rules, with its length in front."""


@dataclass(frozen=True, slots=True)
class CacObject:
    """An object. `key` is the number of its private key, and `key_bits` its size; None for one without."""

    identifier: int
    fields: tuple[Field, ...] = field(default=(), repr=False)
    key: int | None = None
    key_bits: int = 0

    @property
    def t_buffer(self) -> bytes:
        """Tags and lengths."""
        return cac_tlv.t_buffer(self.fields)

    @property
    def v_buffer(self) -> bytes:
        """Values."""
        return cac_tlv.v_buffer(self.fields)

    def properties(self) -> bytes:
        """What GET PROPERTIES tells of it: 17 bytes for a key's, 11 for another."""
        sizes = (len(self.t_buffer).to_bytes(2, "little"), len(self.v_buffer).to_bytes(2, "little"))
        told = cac_tlv.field(0x41, self.identifier.to_bytes(2, "big"))
        told += cac_tlv.field(0x42, bytes((_SIMPLE_TLV,)) + b"".join(sizes))
        return told if self.key is None else told + cac_tlv.field(0x43, bytes((_RSA, self.key_bits // 64, 1, 1)))


def certificate_object(number: int, certificate: bytes, *, has_key: bool) -> CacObject:
    """The object of a certificate in DER. Unsupported for a key that is not RSA, InvalidArgument for no certificate.

    Tag 71 is 00: not compressed. Certificates are some hundred bytes, and a guest needs no zlib then.
    """
    fields = ((0x70, certificate), (0x71, b"\0"), (0x72, b""), (0xFE, b""))
    bits = rsa_bits(certificate)
    return CacObject(FIRST_OBJECT + number, fields, number if has_key else None, bits)


def rsa_bits(certificate: bytes) -> int:
    """The size of a certificate's RSA key."""
    try:
        public: object = x509.load_der_x509_certificate(certificate).public_key()
    except UnsupportedAlgorithm:
        public = None
    except ValueError:
        raise InvalidArgument("This is not a certificate.") from None
    if not isinstance(public, RSAPublicKey):
        raise Unsupported("A CAC card holds RSA keys only.", hint="A PIV card takes elliptic curves, too.")
    return public.key_size


def capability_object(identity: bytes, certificates: Mapping[int, bytes]) -> CacObject:
    """The Card Capability Container (GSC-IS 2.1): who the card is, and a CardURL for each object."""
    cards = [card_url(_PKI_TYPE, FIRST_OBJECT + number) for number in certificates]
    cards += [card_url(_GENERAL_TYPE, identifier) for identifier in GENERAL]
    cards += [card_url(_GENERAL_TYPE, number, ACCESS_CONTROL_FILES, GSC_RID) for number in ACCESS_CONTROL_OBJECTS]
    fields: list[Field] = [(0xF0, unique_identifier(identity)), (0xF1, _VERSION), (0xF2, _VERSION)]
    fields += [(0xF3, url) for url in cards]
    rules = (bytes((len(ACA),)) + ACA).ljust(_RULES_BYTES, b"\0")
    fields += [(0xF4, b"\0"), (0xF5, _DATA_MODEL), (0xF6, rules)]
    fields += [(tag, b"") for tag in (0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE)]
    return CacObject(CCC, tuple(fields))


def unique_identifier(identity: bytes) -> bytes:
    """The CUID: RID, a manufacturer of nobody, the type of a card with applets, and the card's own identity."""
    return GSC_RID + b"\0\2" + identity[:_CARD_ID_BYTES]


def card_url(kind: int, identifier: int, applet: int | None = None, rid: bytes = CAC_RID) -> bytes:
    """Where an object is: RID, type, object, applet (of the same number unless given), and no further access rules."""
    numbers = (identifier, identifier if applet is None else applet)
    return rid + bytes((kind,)) + b"".join(number.to_bytes(2, "big") for number in numbers) + bytes(6)
