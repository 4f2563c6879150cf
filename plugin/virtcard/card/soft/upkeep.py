"""What is done with the cards of a store by whoever keeps them: other PINs and PUKs, keys into their slots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from virtcard.card.soft import keys, make
from virtcard.card.soft.cardfile import checked_name
from virtcard.card.soft.layout import LAYOUTS, SecretRule
from virtcard.card.soft.material import Material
from virtcard.card.soft.model import CardType
from virtcard.card.soft.pins import Outcome, Pins
from virtcard.card.soft.store import Store
from virtcard.card.soft.tries import check_open, lost_hint, unblock_hint, wrong
from virtcard.errors import Conflict, InvalidArgument


def check_free(store: Store, untrusted_name: str) -> str:
    """The name; InvalidArgument for one that cannot be a card's, Conflict for one that is taken."""
    name = checked_name(untrusted_name)
    if name in store.names():
        raise taken(name)
    return name


def taken(name: str) -> Conflict:
    """To be raised."""
    return Conflict(f"There is a card {name} already.", hint="Delete it first, or choose another name.")


def change_pin(store: Store, name: str, untrusted_pin: bytes, untrusted_new: bytes) -> None:
    """Another PIN. InvalidArgument for one of another form, which costs no try; Failed for a wrong or blocked one."""
    data = store.read(name)
    check_open("PIN", data.pin.tries_left, unblock_hint(name))
    rule = LAYOUTS[data.type].pin
    pin, new = rule.check(untrusted_pin), rule.check(untrusted_new)
    with store.open(name) as card:
        _require(Pins(card).change_pin(pin, new), "PIN", unblock_hint(name))


def change_puk(store: Store, name: str, untrusted_puk: bytes, untrusted_new: bytes) -> None:
    """Another PUK. Errors are those of `change_pin`."""
    data = store.read(name)
    check_open("PUK", data.puk.tries_left, lost_hint(name))
    rule = LAYOUTS[data.type].puk
    puk, new = _given(rule).check(untrusted_puk), rule.check(untrusted_new)
    with store.open(name) as card:
        _require(Pins(card).change_puk(puk, new), "PUK", lost_hint(name))


def unblock(store: Store, name: str, untrusted_puk: bytes, untrusted_pin: bytes) -> None:
    """Another PIN, with all its tries, by the PUK. Errors are those of `change_pin`."""
    data = store.read(name)
    check_open("PUK", data.puk.tries_left, lost_hint(name))
    layout = LAYOUTS[data.type]
    puk, pin = _given(layout.puk).check(untrusted_puk), layout.pin.check(untrusted_pin)
    with store.open(name) as card:
        _require(Pins(card).unblock(puk, pin), "PUK", lost_hint(name))


def check_slot(store: Store, name: str, slot_name: str, *, replace: bool) -> None:
    """NoSuchCard, InvalidArgument for a slot that such a card does not have, Conflict for one with a key in it."""
    data = store.read(name)
    slot = LAYOUTS[data.type].slot(slot_name)
    if data.key(slot.number) is not None and not replace:
        raise Conflict(
            f"There is a key in slot {slot.name} of the card {name} already.", hint="Say that it shall be replaced."
        )


def put_key(store: Store, name: str, slot_name: str, material: Material, *, replace: bool) -> tuple[str, ...]:
    """A key and its certificate into a slot of a card, which needs no PIN. Warnings, a sentence each."""
    with store.open(name) as card:
        check_slot(store, name, slot_name, replace=replace)
        return make.import_key(card, slot_name, material)


def placed(kind: CardType, found: Iterable[tuple[str, Material]]) -> dict[str, Material]:
    """Keys by slot of such a card, where "" is its next slot; InvalidArgument or Unsupported when they do not fit."""
    layout = LAYOUTS[kind]
    by_slot: dict[str, Material] = {}
    for slot_name, material in found:
        free = (slot.name for slot in layout.slots if slot.name not in by_slot)
        name = layout.slot(slot_name).name if slot_name else next(free, "")
        if not name:
            raise InvalidArgument(f"A {kind.upper()} card takes {len(layout.slots)} certificates.", hint="Give fewer.")
        if name in by_slot:
            raise InvalidArgument(f"Two keys are to go into slot {name}.", hint="Each slot takes one.")
        layout.check_algorithm(keys.algorithm_of(material.key))
        by_slot[name] = material
    return by_slot


def _given(rule: SecretRule) -> SecretRule:
    """A guest may have set a shorter PUK by CHANGE REFERENCE DATA: only what no PUK can be costs no try."""
    return replace(rule, minimum=1)


def _require(outcome: Outcome, what: str, blocked_hint: str) -> None:
    if not outcome.ok:
        raise wrong(what, outcome.tries_left, blocked_hint)
