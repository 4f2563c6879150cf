"""The applications that the guard knows, by their names (ISO 7816-5)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Application(StrEnum):
    """An application, or the family of those that have the same commands."""

    PIV = "piv"
    CAC = "cac"
    OPENPGP = "openpgp"
    CARD_MANAGER = "card-manager"
    YUBIKEY_MANAGEMENT = "yubikey-management"
    YUBIKEY_OTP = "yubikey-otp"
    YUBIKEY_OATH = "yubikey-oath"
    YUBIKEY_HSMAUTH = "yubikey-hsmauth"
    YUBIKEY_OTHER = "yubikey-other"
    OTHER = "other"
    """Any other one, and what answers before one is selected: eID, SIM, banks, passports."""
    UNKNOWN = "unknown"
    """It may be any of these: after a SELECT with a part of a name, and on a new logical channel."""


PREFIXES: Final[dict[bytes, Application]] = {
    bytes.fromhex(prefix): application
    for prefix, application in (
        ("A000000308", Application.PIV),  # SP 800-73-4 part 1, 2.2: NIST's RID
        ("A000000079", Application.CAC),  # GSC-IS 2.1, 5.3: the DoD's applets
        ("A000000116", Application.CAC),  # GSC-IS 2.1, table 8-1: CCC and access control
        ("D27600012401", Application.OPENPGP),  # OpenPGP card 3.4, 4.2.1
        ("A000000151", Application.CARD_MANAGER),  # GlobalPlatform 2.3, H.1.3
        ("A0000000030000", Application.CARD_MANAGER),  # Open Platform 2.0.1', and cards that kept it
        ("A000000018434D", Application.CARD_MANAGER),  # Gemalto's
        ("A000000527471117", Application.YUBIKEY_MANAGEMENT),
        ("A0000005272001", Application.YUBIKEY_OTP),
        ("A0000005272101", Application.YUBIKEY_OATH),
        ("A0000005272107", Application.YUBIKEY_HSMAUTH),
        ("A000000527", Application.YUBIKEY_OTHER),
    )
}
"""How names begin -> the application; the longest that fits counts."""


def application_of(name: bytes) -> Application:
    """The application with this name."""
    fitting = [prefix for prefix in PREFIXES if name.startswith(prefix)]
    return PREFIXES[max(fitting, key=len)] if fitting else Application.OTHER
