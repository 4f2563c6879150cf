"""PIN and PUK of an open card, with counters that no crash wins back.

A try is on disk, one less, before it is compared. The right one writes it back. Who pulls the plug in between has lost
a try; a counter at zero stays there.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from virtcard.card.soft import keys, seals
from virtcard.card.soft.model import CardData, KeyRecord, PinPolicy, SecretRecord
from virtcard.card.soft.sealing import key_label
from virtcard.card.soft.store import OpenCard
from virtcard.errors import Failed, LocalError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try: `tries_left` 0 is blocked."""

    ok: bool
    tries_left: int


class Pins:
    """The login of one card. PINs are bytes, as the applet takes them; their form is the applet's business."""

    def __init__(self, card: OpenCard) -> None:
        self._card = card
        self._private: bytes | None = None
        self._keys: dict[bytes, keys.PrivateKey] = {}

    @property
    def verified(self) -> bool:
        """The PIN was right, and nobody logged out since."""
        return self._private is not None

    @property
    def pin_tries_left(self) -> int:
        """0 is blocked."""
        return self._card.data.pin.tries_left

    @property
    def puk_tries_left(self) -> int:
        """0 is blocked."""
        return self._card.data.puk.tries_left

    def verify_pin(self, untrusted_pin: bytes) -> Outcome:
        """Log in. A wrong PIN logs out. Failed when the card cannot be written: then nothing was compared."""
        self.logout()
        private = self._try(seals.PIN, untrusted_pin)
        if private is not None:
            self._save(seals.PIN, _refilled(self._record(seals.PIN)))
            self._private = private
        return self._outcome(seals.PIN, private)

    def change_pin(self, untrusted_old: bytes, new: bytes) -> Outcome:
        """Another PIN; a wrong old one counts as a try and logs out."""
        return self._change(seals.PIN, untrusted_old, seals.PIN, new)

    def change_puk(self, untrusted_old: bytes, new: bytes) -> Outcome:
        """Another PUK; a wrong old one counts as a try of the PUK."""
        return self._change(seals.PUK, untrusted_old, seals.PUK, new)

    def unblock(self, untrusted_puk: bytes, new_pin: bytes) -> Outcome:
        """Another PIN, with all its tries, by the PUK. The outcome tells of the PUK's tries."""
        return self._change(seals.PUK, untrusted_puk, seals.PIN, new_pin)

    def set_tries(self, pin_tries: int, puk_tries: int, *, new_pin: bytes, new_puk: bytes) -> None:
        """Other counters (1 to 255), both full, with a new PIN and a new PUK: no try of the old ones is won back.

        Only while logged in (LocalError). Stays logged in.
        """
        if self._private is None:
            raise LocalError("set_tries without a verified PIN")
        records = (
            self._wrapped(seals.PIN, new_pin, self._private, pin_tries),
            self._wrapped(seals.PUK, new_puk, self._private, puk_tries),
        )
        self._card.save(self._card.data.replace(pin=records[0], puk=records[1]))

    def anew(self, pin: bytes, puk: bytes, pin_tries: int, puk_tries: int) -> CardData:
        """The card with a PIN and a PUK to start anew, to be saved: all its keys go, since nobody can unseal them any
        more. Logs out."""
        self.logout()
        private, public = seals.new_pair()
        return self._card.data.replace(
            seal_public=public,
            pin=self._wrapped(seals.PIN, pin, private, pin_tries),
            puk=self._wrapped(seals.PUK, puk, private, puk_tries),
            keys=(),
        )

    def unsealed(self, record: KeyRecord) -> keys.PrivateKey:
        """The private key. LocalError for one that needs the PIN when nobody is logged in; Failed when damaged."""
        key = self._keys.get(record.sealed)
        if key is None:
            key = self._keys[record.sealed] = keys.load(self._opened(record))
        return key

    def logout(self) -> None:
        """Forget the login and every key. (Python leaves the bytes to the allocator: they cannot be wiped.)"""
        self._private = None
        self._keys.clear()

    def _opened(self, record: KeyRecord) -> bytes:
        label, context = key_label(record), self._card.context
        if record.pin_policy is PinPolicy.NEVER:
            plain = seals.unseal_from_store(record.sealed, context, label)
        elif self._private is None:
            raise LocalError("a key that needs the PIN, without a verified PIN")
        else:
            plain = seals.unseal(record.sealed, self._private, context, label)
        if plain is None:
            raise Failed(f"A key of the card {self._card.data.name} is damaged.", hint="Bring back a backup.")
        return plain

    def _change(self, tried: str, untrusted_secret: bytes, changed: str, new: bytes) -> Outcome:
        private = self._try(tried, untrusted_secret)
        if private is None:
            self.logout()
            return self._outcome(tried, None)
        fresh = {tried: _refilled(self._record(tried))}
        fresh[changed] = self._wrapped(changed, new, private, self._record(changed).tries_max)
        self._card.save(self._card.data.replace(**fresh))
        return self._outcome(tried, private)

    def _try(self, role: str, untrusted_secret: bytes) -> bytes | None:
        """The card's private half when the secret is right. The try is on disk before it is compared."""
        record = self._record(role)
        if record.tries_left == 0:
            return None
        self._save(role, msgspec.structs.replace(record, tries_left=record.tries_left - 1))
        return seals.unwrap(record, untrusted_secret, self._card.context, role)

    def _wrapped(self, role: str, secret: bytes, private: bytes, tries: int) -> SecretRecord:
        return seals.wrap(secret, private, self._card.context, role, tries=tries, cost=self._record(role).cost)

    def _record(self, role: str) -> SecretRecord:
        return self._card.data.pin if role == seals.PIN else self._card.data.puk

    def _save(self, role: str, record: SecretRecord) -> None:
        self._card.save(self._card.data.replace(**{role: record}))

    def _outcome(self, role: str, private: bytes | None) -> Outcome:
        return Outcome(private is not None, self._record(role).tries_left)


def _refilled(record: SecretRecord) -> SecretRecord:
    return msgspec.structs.replace(record, tries_left=record.tries_max)
