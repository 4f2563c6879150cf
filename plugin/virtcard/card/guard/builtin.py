"""The built-in profiles: for each application, what a guest may do. What is not here is refused.

An entry is a pattern (`87xx9A`), in front of it `80:`, `A0:` or `FF:` when it is not of the interindustry class, and
behind it `=` and the data when only these are let through. Unknown instructions are refused everywhere, also those of
applications that nobody knows: what such a one may need beyond ISO 7816-4 only its admin can tell.

`OTHER` serves cards whatever they are, so in `use` it holds nothing that could change any of the applications above
it: one of them may have come to be selected by a way that is not seen, as a file or by secure messaging.
"""

from __future__ import annotations

from typing import Final

from virtcard.card.guard.applications import Application

Entries = dict[Application, tuple[str, ...]]

_PIV_KEYS: Final = ("9A", "9C", "9D", "9E", *(f"{slot:02X}" for slot in range(0x82, 0x96)))
"""SP 800-73-4 part 1, table 4b: authentication, signature, key management, card authentication, the retired ones."""

EVERYWHERE: Final = (
    "A404xx",  # SELECT by name
    "C0",  # GET RESPONSE
    "80:C0",
    "84",  # GET CHALLENGE: OpenSC asks every card, and CAC's driver for ever when it is refused (OpenSC #1294)
    "7000xx",  # MANAGE CHANNEL: open
    "7080xx",  # close
    "FF:CA0000",  # the UID of a contactless card, which the reader tells (PC/SC part 3, 3.2.2.1.3): Windows asks
    "FF:CA0100",
)
"""What every application lets through."""

READ: Final[Entries] = {
    Application.UNKNOWN: EVERYWHERE,
    Application.PIV: (
        *EVERYWHERE,
        "CB3FFF",  # GET DATA (SP 800-73-4 part 2, 3.1.2)
        "200080=",  # VERIFY without data: how many tries are left; OpenSC asks when it looks at a card
        "F7",  # Yubico's GET METADATA
        "F8",  # GET SERIAL
        "FD",  # GET VERSION
    ),
    Application.CAC: (
        *EVERYWHERE,
        "A402xx",  # SELECT by object (GSC-IS 2.1, 5.3.3.2)
        "80:52",  # READ BUFFER
        "52",  # OpenSC's driver sends all of these in class 00 (card-cac.c), and cards take them
        "80:56",  # GET PROPERTIES
        "56",
        "80:4C",  # GET ACR
        "4C",
        "80:36",  # CAC 1: GET CERTIFICATE
        "36",
        "CA",  # GET DATA
        "80:CA",
        "2000xx=",  # VERIFY without data
    ),
    Application.OPENPGP: (
        *EVERYWHERE,
        "CA",  # GET DATA (OpenPGP card 3.4, 7.2.6)
        "CC",  # GET NEXT DATA
        "A5",  # SELECT DATA: which of several certificates the next GET DATA gives
        "4781xx",  # the public half of a key, as GENERATE ASYMMETRIC KEY PAIR (7.2.14)
        "2000xx=",  # VERIFY without data
        "F1",  # Yubico's GET VERSION
    ),
    Application.CARD_MANAGER: (
        *EVERYWHERE,
        "CA",  # GET DATA (GlobalPlatform 2.3, 11.3): card data, serial
        "80:CA",
        "CB",
        "80:CB",
    ),
    Application.YUBIKEY_MANAGEMENT: (*EVERYWHERE, "1D"),  # read the configuration
    Application.YUBIKEY_OTP: (
        *EVERYWHERE,
        "03",  # status
        "0110xx",  # serial number
        "0113xx",  # capabilities
    ),
    Application.YUBIKEY_OATH: (*EVERYWHERE, "A1", "A5"),  # names of the accounts; the rest of a long answer
    Application.YUBIKEY_HSMAUTH: (*EVERYWHERE, "05", "07", "09"),  # list, version, tries
    Application.YUBIKEY_OTHER: EVERYWHERE,
    Application.OTHER: (
        *EVERYWHERE,
        "A4",  # SELECT by file identifier and by path
        "B0",  # READ BINARY
        "B1",
        "B2",  # READ RECORD
        "B3",
        "CA",  # GET DATA
        "CB",
        "CC",
        "80:CA",  # of the card manager, which nothing selected often means: OpenSC and Windows ask it for a serial
        "80:CB",
        "80:F2",  # STATUS (ETSI TS 102 221, 11.1.2)
        "A0:A4",  # SIM: SELECT (GSM 11.11, 9.2)
        "A0:B0",
        "A0:B2",
        "A0:A2",
        "A0:C0",
        "A0:F2",
    ),
}
"""`read`: select and read. No PIN, no private key."""

_USE_BEYOND_READ: Final[Entries] = {
    Application.UNKNOWN: (),
    Application.PIV: (
        "2000xx",  # VERIFY (SP 800-73-4 part 2, 3.2.1): PIN, global PIN, fingers, pairing code
        "20FFxx",  # and log out
        *(f"87xx{slot}" for slot in _PIV_KEYS),  # GENERAL AUTHENTICATE with a private key
        "87xx04",  # the key of secure messaging
        "87009B=7C028100",  # random bytes: OpenSC's piv_get_challenge. Nothing else with the management key
        "F9",  # Yubico's ATTEST: who made a key
    ),
    Application.CAC: (
        "2000xx",  # VERIFY (GSC-IS 2.1, 5.3.3.6)
        "80:42",  # PRIVATE SIGN/DECRYPT
        "42",
    ),
    Application.OPENPGP: (
        "200081",  # VERIFY PW1 for signatures (OpenPGP card 3.4, 7.2.2); PW3 is the admin's
        "200082",  # for the rest
        "20FF81",  # log out
        "20FF82",
        "2A9E9A",  # PSO: COMPUTE DIGITAL SIGNATURE
        "2A8086",  # DECIPHER
        "2A8680",  # ENCIPHER
        "880000",  # INTERNAL AUTHENTICATE
        "2241A4",  # MSE: which key authenticates and deciphers, until a reset
        "2241B8",
    ),
    Application.CARD_MANAGER: (),
    Application.YUBIKEY_MANAGEMENT: (),
    Application.YUBIKEY_OTP: (
        "0120xx",  # challenge and response, Yubico's, by either slot
        "0128xx",
        "0130xx",  # HMAC
        "0138xx",
    ),
    Application.YUBIKEY_OATH: (
        "A2",  # CALCULATE
        "A400xx",  # CALCULATE ALL
        "A3",  # VALIDATE: the password
    ),
    Application.YUBIKEY_HSMAUTH: ("03", "04", "0A"),  # CALCULATE, GET CHALLENGE, GET PUBLIC KEY
    Application.YUBIKEY_OTHER: (),
    Application.OTHER: (
        "A0",  # SEARCH BINARY, SEARCH RECORD
        "A1",
        "A2",
        "20",  # VERIFY
        "21",
        "22x1xx",  # MANAGE SECURITY ENVIRONMENT: SET (ISO 7816-4, 11.5.11)
        "22F3xx",  # RESTORE; not STORE and ERASE
        "2A",  # PERFORM SECURITY OPERATION
        "82",  # EXTERNAL AUTHENTICATE, MUTUAL AUTHENTICATE
        "86",  # GENERAL AUTHENTICATE
        "87",
        "88",  # INTERNAL AUTHENTICATE, and AUTHENTICATE of a USIM
        "89",
        "A0:20",  # SIM: VERIFY CHV
        "A0:88",  # RUN GSM ALGORITHM
    ),
}

USE: Final[Entries] = {application: READ[application] + more for application, more in _USE_BEYOND_READ.items()}
"""`use`: what a guest needs to use a card. Verify, sign, decipher, agree; change nothing."""
