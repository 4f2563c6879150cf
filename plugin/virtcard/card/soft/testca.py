"""The authority that a store has for cards made on the spot: one for all its cards, so that a guest trusts it once."""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from virtcard.card.soft import keys, seals
from virtcard.card.soft.ca import Authority, parse_subject
from virtcard.card.soft.model import parsed
from virtcard.card.soft.seals import SealContext
from virtcard.card.soft.store import Store
from virtcard.errors import Failed

FILE: Final = "test-ca.json"
SUBJECT: Final = "CN=virtcard test CA,OU=not for production"

_LABEL: Final = "test ca"


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: the certificate in DER, and its key sealed under the key of the store."""

    certificate: bytes
    sealed: bytes
    version: int = 1


def own_authority(store: Store) -> Authority:
    """The store's own authority, made at the first call. Failed when its file is damaged."""
    content, context = store.kept(FILE, _made)
    try:
        kept = parsed(content, _Kept)
        plain = seals.unseal_from_store(kept.sealed, context, _LABEL)
        certificate = x509.load_der_x509_certificate(kept.certificate)
    except ValueError:
        plain = None
    if plain is None:
        raise Failed(
            f"The test authority in {store.directory / FILE} is damaged.",
            hint="Remove this file: the next card gets a new one, which guests must trust anew.",
        )
    return Authority.given(certificate, keys.load(plain))


def _made(context: SealContext) -> bytes:
    authority = Authority.new(parse_subject(SUBJECT))
    sealed = seals.seal_to_store(keys.dump(authority.key), context, _LABEL)
    return msgspec.json.encode(_Kept(authority.certificate.public_bytes(Encoding.DER), sealed))
