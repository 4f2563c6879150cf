"""GENERAL AUTHENTICATE (SP 800-73-4 part 2, 3.2.4 and appendix A): the dynamic authentication template, and what the
management key is used for.

- EXTERNAL AUTHENTICATE: 81 empty asks for a challenge, 82 brings it encrypted.
- MUTUAL AUTHENTICATE: 80 empty asks for a witness (encrypted), 80 brings it decrypted beside a challenge in 81.
- INTERNAL AUTHENTICATE: 82 empty and a challenge in 81. Its answer is also the right response to a challenge of the
  card's own, so it is only given to who has shown the management key.
"""

from __future__ import annotations

import os
from enum import IntEnum
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from virtcard.card.soft import piv_keys
from virtcard.card.soft.piv_session import KeyReference, Session, refuse
from virtcard.card.soft.piv_template import Field, Fields, answer, fields_of
from virtcard.card.soft.sealing import management_key
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # before cryptography 43
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES


class Symmetric(IntEnum):
    """Algorithms of the management key (SP 800-78-4, table 6-2), all in ECB mode."""

    TDES = 0x03
    AES128 = 0x08
    AES192 = 0x0A
    AES256 = 0x0C

    @property
    def key_bytes(self) -> int:
        """Length of the key."""
        return {Symmetric.AES128: 16, Symmetric.AES256: 32}.get(self, 24)

    @property
    def block_bytes(self) -> int:
        """Length of a challenge or witness."""
        return 8 if self is Symmetric.TDES else 16


ANY: Final = 0x00
"""3DES's other identifier (SP 800-78-4, table 6-2). Here it stands for whatever the key is: OpenSC asks so for random
bytes (card-piv.c, piv_get_challenge)."""


def general_authenticate(session: Session, command: CommandApdu) -> ResponseApdu:
    """GENERAL AUTHENTICATE with the management key or with a private key."""
    challenge, session.challenge = session.challenge, None
    witness, session.witness = session.witness, None
    fields = fields_of(command.data)
    if command.p2 != KeyReference.MANAGEMENT:
        return piv_keys.use(session, command, fields)
    record = session.card.data.management
    if record is None:
        return refuse(Sw.REFERENCE_NOT_FOUND)
    if command.p1 not in (ANY, record.algorithm):
        return refuse(Sw.INCORRECT_P1_P2)
    return _with_management_key(session, fields, challenge, witness)


def _with_management_key(
    session: Session, fields: Fields, challenge: bytes | None, witness: bytes | None
) -> ResponseApdu:
    match fields:
        case {Field.CHALLENGE: b""} if len(fields) == 1:
            return _give_challenge(session)
        case {Field.RESPONSE: response} if len(fields) == 1 and response:
            return _external(session, response, challenge)
        case {Field.WITNESS: b""} if len(fields) == 1:
            return _give_witness(session)
        case {Field.WITNESS: shown, Field.CHALLENGE: theirs} if shown and fields.get(Field.RESPONSE, b"") == b"":
            return _mutual(session, shown, theirs, witness)
        case {Field.RESPONSE: b"", Field.CHALLENGE: theirs} if len(fields) == 2 and theirs:
            return _internal(session, theirs)
        case _:
            return refuse(Sw.INCORRECT_DATA)


def _give_challenge(session: Session) -> ResponseApdu:
    session.challenge = os.urandom(_algorithm(session).block_bytes)
    return answer(Field.CHALLENGE, session.challenge)


def _external(session: Session, untrusted_response: bytes, challenge: bytes | None) -> ResponseApdu:
    if challenge is None:
        return refuse(Sw.CONDITIONS_NOT_SATISFIED)
    session.is_administrator = compare_digest(_encrypt(session, challenge), untrusted_response)
    return ResponseApdu() if session.is_administrator else refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)


def _give_witness(session: Session) -> ResponseApdu:
    session.witness = os.urandom(_algorithm(session).block_bytes)
    return answer(Field.WITNESS, _encrypt(session, session.witness))


def _mutual(session: Session, untrusted_shown: bytes, theirs: bytes, witness: bytes | None) -> ResponseApdu:
    if witness is None:
        return refuse(Sw.CONDITIONS_NOT_SATISFIED)
    if len(theirs) != len(witness):
        return refuse(Sw.INCORRECT_DATA)
    session.is_administrator = compare_digest(witness, untrusted_shown)
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    return answer(Field.RESPONSE, _encrypt(session, theirs))


def _internal(session: Session, theirs: bytes) -> ResponseApdu:
    if not session.is_administrator:
        return refuse(Sw.SECURITY_STATUS_NOT_SATISFIED)
    if len(theirs) != _algorithm(session).block_bytes:
        return refuse(Sw.INCORRECT_DATA)
    return answer(Field.RESPONSE, _encrypt(session, theirs))


def _algorithm(session: Session) -> Symmetric:
    record = session.card.data.management
    return Symmetric.TDES if record is None else Symmetric(record.algorithm)


def _encrypt(session: Session, block: bytes) -> bytes:
    """One block under the management key."""
    key = management_key(session.card.data, session.card.context) or b""
    cipher = TripleDES(key) if _algorithm(session) is Symmetric.TDES else AES(key)
    encryptor = Cipher(cipher, modes.ECB()).encryptor()  # noqa: S305 (the standard's mode, and it is one random block)
    return encryptor.update(block) + encryptor.finalize()
