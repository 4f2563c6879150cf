"""PIN and PUK of software cards: no crash, error or trick wins a try back."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers.soft_cards import PIN_DIGITS, PUK_DIGITS, empty_card
from helpers.soft_crashes import Crash, file_limit, stopping_at
from virtcard.card.soft import keys, seals
from virtcard.card.soft.model import Algorithm, KeyRecord, Origin, PinPolicy
from virtcard.card.soft.pins import Outcome, Pins
from virtcard.card.soft.sealing import management_key, seal_key, seal_management
from virtcard.card.soft.seals import SealContext
from virtcard.card.soft.store import OpenCard, Store
from virtcard.errors import Failed, LocalError

WRONG = b"000000"
NEW_PIN = b"654321"
NEW_PUK = b"87654321"
VICTIM = Path(__file__).parents[1] / "helpers" / "pin_victim.py"
RANDOM = random.Random(20)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cards")


@pytest.fixture
def card(store: Store) -> Iterator[OpenCard]:
    empty_card(store)
    with store.open("card") as card:
        yield card


@pytest.fixture
def pins(card: OpenCard) -> Pins:
    return Pins(card)


def put_key(card: OpenCard, slot: int, policy: PinPolicy = PinPolicy.ONCE) -> tuple[KeyRecord, bytes]:
    key = keys.generate(Algorithm.P256)
    record = seal_key(card.data, card.context, slot, key, pin_policy=policy, origin=Origin.GENERATED)
    card.save(card.data.with_key(record))
    return record, keys.dump(key)


def test_the_right_pin_logs_in_and_a_wrong_one_logs_out(pins: Pins) -> None:
    assert pins.verify_pin(PIN_DIGITS) == Outcome(True, 3)
    assert pins.verified
    assert pins.verify_pin(WRONG) == Outcome(False, 2)
    assert not pins.verified


@pytest.mark.parametrize("pin", [b"", b"12345", b"1234567", PIN_DIGITS + b"\0", PIN_DIGITS + b"\xff", bytes(300)])
def test_anything_but_the_pin_costs_a_try(pins: Pins, pin: bytes) -> None:
    assert pins.verify_pin(pin) == Outcome(False, 2)


def test_the_right_pin_fills_the_counter(pins: Pins) -> None:
    for _ in range(5):
        pins.verify_pin(WRONG)
        pins.verify_pin(WRONG)
        assert pins.verify_pin(PIN_DIGITS) == Outcome(True, 3)


def test_a_blocked_pin_stays_blocked_for_the_right_pin_and_after_opening_again(store: Store, card: OpenCard) -> None:
    pins = Pins(card)
    assert [pins.verify_pin(WRONG).tries_left for _ in range(5)] == [2, 1, 0, 0, 0]
    assert pins.verify_pin(PIN_DIGITS) == Outcome(False, 0)
    assert pins.change_pin(PIN_DIGITS, NEW_PIN) == Outcome(False, 0)
    card.close()
    with store.open("card") as again:
        assert Pins(again).verify_pin(PIN_DIGITS) == Outcome(False, 0)


def test_the_puk_unblocks_the_pin(pins: Pins) -> None:
    for _ in range(3):
        pins.verify_pin(WRONG)
    assert pins.unblock(PUK_DIGITS, NEW_PIN) == Outcome(True, 3)
    assert not pins.verified
    assert pins.verify_pin(PIN_DIGITS) == Outcome(False, 2)
    assert pins.verify_pin(NEW_PIN) == Outcome(True, 3)


def test_a_wrong_puk_costs_the_puk_only_and_blocks_it_for_good(pins: Pins) -> None:
    assert [pins.unblock(WRONG, NEW_PIN).tries_left for _ in range(4)] == [2, 1, 0, 0]
    assert pins.unblock(PUK_DIGITS, NEW_PIN) == Outcome(False, 0)
    assert pins.change_puk(PUK_DIGITS, NEW_PUK) == Outcome(False, 0)
    assert pins.pin_tries_left == 3
    assert pins.verify_pin(PIN_DIGITS).ok


def test_the_pin_does_not_serve_as_puk_nor_the_puk_as_pin(pins: Pins) -> None:
    assert not pins.verify_pin(PUK_DIGITS).ok
    assert not pins.unblock(PIN_DIGITS, NEW_PIN).ok


def test_records_of_pin_and_puk_cannot_be_exchanged(card: OpenCard) -> None:
    data = card.data
    card.save(data.replace(pin=data.puk))
    assert not Pins(card).verify_pin(PUK_DIGITS).ok


def test_change_of_the_pin_keeps_the_login_and_the_puk(pins: Pins) -> None:
    pins.verify_pin(PIN_DIGITS)
    assert pins.change_pin(PIN_DIGITS, NEW_PIN) == Outcome(True, 3)
    assert pins.verified
    assert not pins.verify_pin(PIN_DIGITS).ok
    assert pins.unblock(PUK_DIGITS, PIN_DIGITS).ok


def test_a_wrong_old_pin_changes_nothing_but_the_counter_and_logs_out(pins: Pins) -> None:
    pins.verify_pin(PIN_DIGITS)
    assert pins.change_pin(WRONG, NEW_PIN) == Outcome(False, 2)
    assert not pins.verified
    assert pins.verify_pin(PIN_DIGITS).ok


def test_change_of_the_puk(pins: Pins) -> None:
    assert pins.change_puk(WRONG, NEW_PUK) == Outcome(False, 2)
    assert pins.change_puk(PUK_DIGITS, NEW_PUK) == Outcome(True, 3)
    assert not pins.unblock(PUK_DIGITS, NEW_PIN).ok
    assert pins.unblock(NEW_PUK, NEW_PIN).ok


def test_other_counters_come_with_other_secrets(pins: Pins) -> None:
    with pytest.raises(LocalError):
        pins.set_tries(5, 7, new_pin=NEW_PIN, new_puk=NEW_PUK)
    pins.verify_pin(PIN_DIGITS)
    pins.set_tries(5, 7, new_pin=NEW_PIN, new_puk=NEW_PUK)
    assert (pins.verified, pins.pin_tries_left, pins.puk_tries_left) == (True, 5, 7)
    assert pins.verify_pin(PIN_DIGITS) == Outcome(False, 4)
    assert pins.verify_pin(NEW_PIN) == Outcome(True, 5)
    assert pins.unblock(PUK_DIGITS, NEW_PIN) == Outcome(False, 6)
    assert pins.unblock(NEW_PUK, NEW_PIN) == Outcome(True, 7)


def test_a_card_that_starts_anew_has_other_secrets_and_no_keys(card: OpenCard) -> None:
    put_key(card, 0x9A)
    old = card.data.seal_public
    pins = Pins(card)
    for _ in range(3):
        pins.verify_pin(WRONG)
    card.save(pins.anew(NEW_PIN, NEW_PUK, 4, 5))
    assert (card.data.keys, pins.pin_tries_left, pins.puk_tries_left) == ((), 4, 5)
    assert card.data.seal_public != old
    assert not pins.verify_pin(PIN_DIGITS).ok
    assert pins.verify_pin(NEW_PIN).ok


@pytest.mark.parametrize("policy", [PinPolicy.ONCE, PinPolicy.ALWAYS])
def test_a_key_is_unsealed_only_while_the_pin_is_verified(card: OpenCard, pins: Pins, policy: PinPolicy) -> None:
    record, plain = put_key(card, 0x9A, policy)
    with pytest.raises(LocalError):
        pins.unsealed(record)
    pins.verify_pin(PIN_DIGITS)
    assert keys.dump(pins.unsealed(record)) == plain
    assert pins.unsealed(record) is pins.unsealed(record)
    pins.logout()
    with pytest.raises(LocalError):
        pins.unsealed(record)


def test_a_key_put_in_while_logged_in_or_out_is_there_after_the_login(card: OpenCard, pins: Pins) -> None:
    first, _ = put_key(card, 0x9A)
    pins.verify_pin(PIN_DIGITS)
    second, plain = put_key(card, 0x9A)
    assert pins.unsealed(first) is not pins.unsealed(second)
    pins.change_pin(PIN_DIGITS, NEW_PIN)
    pins.logout()
    pins.verify_pin(NEW_PIN)
    assert keys.dump(pins.unsealed(second)) == plain


def test_a_key_without_pin_works_without(card: OpenCard, pins: Pins) -> None:
    record, plain = put_key(card, 0x9E, PinPolicy.NEVER)
    assert keys.dump(pins.unsealed(record)) == plain
    assert isinstance(pins.unsealed(record), EllipticCurvePrivateKey)


@pytest.mark.parametrize("policy", PinPolicy)
def test_a_key_moved_to_another_slot_or_policy_is_damaged(card: OpenCard, pins: Pins, policy: PinPolicy) -> None:
    record, _ = put_key(card, 0x9A, policy)
    pins.verify_pin(PIN_DIGITS)
    moved: list[dict[str, object]] = [{"slot": 0x9C}]
    moved += [{"pin_policy": other} for other in PinPolicy if other is not policy]
    for change in moved:
        with pytest.raises(Failed):
            pins.unsealed(msgspec.structs.replace(record, **change))


@pytest.mark.parametrize("policy", PinPolicy)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_key_is_failed_and_nothing_else(card: OpenCard, policy: PinPolicy, place: float, flip: int) -> None:
    pins = Pins(card)
    record = card.data.key(0x9A)
    if record is None or record.pin_policy is not policy:
        record, _ = put_key(card, 0x9A, policy)
    pins.verify_pin(PIN_DIGITS)
    sealed = bytearray(record.sealed)
    sealed[int(place * len(sealed))] ^= flip
    for damaged in (bytes(sealed), record.sealed[: int(place * len(sealed))]):
        with pytest.raises(Failed):
            pins.unsealed(msgspec.structs.replace(record, sealed=damaged))


def test_the_management_key_comes_back_and_is_bound_to_its_card(card: OpenCard) -> None:
    record = seal_management(card.context, 0x0A, bytes(24))
    data = card.data.replace(management=record)
    assert management_key(data, card.context) == bytes(24)
    with pytest.raises(Failed):
        management_key(data, SealContext(b"another card", card.context.store_key))
    assert management_key(data.replace(management=None), card.context) is None


def test_without_the_key_of_the_store_nobody_can_try_pins(card: OpenCard) -> None:
    other = SealContext(card.data.identity, bytes(32))
    assert seals.unwrap(card.data.pin, PIN_DIGITS, other, seals.PIN) is None
    assert seals.unwrap(card.data.pin, PIN_DIGITS, card.context, seals.PIN) is not None


@given(st.binary(max_size=100))
def test_seals_open_for_their_card_alone(plain: bytes) -> None:
    context = SealContext(b"identity", bytes(32))
    private, public = seals.new_pair()
    sealed = seals.seal(plain, public, context, "label")
    assert seals.unseal(sealed, private, context, "label") == plain
    assert seals.unseal(sealed, seals.new_pair()[0], context, "label") is None
    assert seals.unseal(sealed, private, context, "another") is None
    assert seals.unseal(sealed, private, SealContext(b"another", bytes(32)), "label") is None


def test_nothing_secret_stands_in_a_repr(card: OpenCard, pins: Pins) -> None:
    pins.verify_pin(PIN_DIGITS)
    shown = repr((pins, card, card.data, card.context, pins.__dict__.keys()))
    assert "123456" not in shown
    assert repr(card.context.store_key) not in shown


def test_the_try_is_on_disk_before_it_is_compared(
    card: OpenCard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def spy(*_: object) -> None:
        seen.append(store.read("card").pin.tries_left)

    monkeypatch.setattr(seals, "unwrap", spy)
    Pins(card).verify_pin(PIN_DIGITS)
    assert seen == [2]


USES: dict[str, Callable[[Pins], object]] = {
    "verify": lambda pins: pins.verify_pin(PIN_DIGITS),
    "verify wrong": lambda pins: pins.verify_pin(WRONG),
    "change": lambda pins: pins.change_pin(PIN_DIGITS, NEW_PIN),
    "unblock": lambda pins: pins.unblock(PUK_DIGITS, NEW_PIN),
    "change puk": lambda pins: pins.change_puk(PUK_DIGITS, NEW_PUK),
}


def works(store: Store, use: Callable[[Pins], Outcome]) -> bool:
    """Whether that works, tried on the card itself (its counters change)."""
    with store.open("card") as card:
        return use(Pins(card)).ok


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_crash_at_any_step_counts_the_try_or_not_and_loses_no_secret(
    use: Callable[[Pins], object], tmp_path: Path
) -> None:
    for step in range(40):
        store = Store(tmp_path / str(step))
        empty_card(store)
        with store.open("card") as card, stopping_at(step, Crash), suppress(Crash):
            use(Pins(card))
            return
        data = store.read("card")
        assert (data.pin.tries_left, data.puk.tries_left) in {(3, 3), (2, 3), (3, 2)}
        assert works(store, lambda pins: pins.verify_pin(PIN_DIGITS)) or works(
            store, lambda pins: pins.verify_pin(NEW_PIN)
        )
        assert works(store, lambda pins: pins.change_puk(PUK_DIGITS, PUK_DIGITS)) or works(
            store, lambda pins: pins.change_puk(NEW_PUK, PUK_DIGITS)
        )
    pytest.fail("a try has more steps than that")


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_an_error_of_the_disk_at_any_step_logs_nobody_in(use: Callable[[Pins], object], store: Store) -> None:
    for step in range(40):
        if "card" in store.names():
            store.delete("card")
        empty_card(store)
        with store.open("card") as card, stopping_at(step, lambda: OSError(5, "Input/output error")):
            pins = Pins(card)
            try:
                use(pins)
            except Failed:
                assert not pins.verified
            else:
                return
    pytest.fail("a try has more steps than that")


def test_on_a_full_disk_no_pin_is_compared_and_no_try_lost(
    card: OpenCard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals, "unwrap", lambda *_: pytest.fail("compared"))
    pins = Pins(card)
    for room in (0, 100, 1000):
        for use in USES.values():
            with file_limit(room), pytest.raises(Failed):
                use(pins)
    assert (store.read("card").pin.tries_left, store.read("card").puk.tries_left) == (3, 3)
    monkeypatch.undo()
    assert pins.verify_pin(PIN_DIGITS).ok


def tries_allowed(said: list[str], before: int, full: int) -> set[int]:
    """The counters that may be on disk after a victim said that, counting from `before`."""
    allowed = {before}
    for what, result in zip(said[::2], [*said[1::2], None], strict=False):
        counted = {tries - 1 for tries in allowed}
        if result is not None:
            allowed = {full} if what == "try right" else counted
            assert abs(int(result)) in allowed
        else:
            allowed |= counted | ({full} if what == "try right" else set())
    return allowed


def kill_while_it_tries(store: Store, seed: int) -> list[str]:
    """What the victim said before it was killed, some moment after its first try began."""
    command = [sys.executable, str(VICTIM), str(store.directory), "card", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        first = victim.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            victim.wait(RANDOM.uniform(0, 0.02))
        victim.kill()
        rest = victim.stdout.read()
    return (first + rest).decode().split("\n")[:-1]


def kill_often(store: Store, times: int) -> None:
    full = 255
    empty_card(store, tries=full)
    for seed in range(times):
        before = store.read("card").pin.tries_left
        said = kill_while_it_tries(store, seed)
        assert said, "the victim did not start"
        assert store.read("card").pin.tries_left in tries_allowed(said, before, full)
        if before < full // 2:
            with store.open("card") as card:
                assert Pins(card).verify_pin(PIN_DIGITS).ok
    assert works(store, lambda pins: pins.verify_pin(PIN_DIGITS))


def test_kill_9_wins_no_try_back(store: Store) -> None:
    kill_often(store, 20)


@pytest.mark.soak(minutes=0.5)
def test_kill_9_wins_no_try_back_in_two_hundred_runs(store: Store) -> None:
    kill_often(store, 200)


SECRETS = st.sampled_from([PIN_DIGITS, NEW_PIN, PUK_DIGITS, NEW_PUK, WRONG])


class Tries(RuleBasedStateMachine):
    """Any order of calls, beside the little that a card must know: two secrets, two counters, one login."""

    def __init__(self) -> None:
        super().__init__()
        self.place = TemporaryDirectory(prefix="vc-")
        self.store = Store(Path(self.place.name) / "cards")
        empty_card(self.store)
        self.card = self.store.open("card")
        self.pins = Pins(self.card)
        self.secret = {"pin": PIN_DIGITS, "puk": PUK_DIGITS}
        self.left = {"pin": 3, "puk": 3}
        self.full = {"pin": 3, "puk": 3}
        self.verified = False

    def teardown(self) -> None:
        self.card.close()
        self.place.cleanup()

    def tried(self, role: str, secret: bytes) -> Outcome:
        """What must come out."""
        if not self.left[role]:
            return Outcome(False, 0)
        ok = secret == self.secret[role]
        self.left[role] = self.full[role] if ok else self.left[role] - 1
        return Outcome(ok, self.left[role])

    @rule(secret=SECRETS)
    def verify(self, secret: bytes) -> None:
        expected = self.tried("pin", secret)
        assert self.pins.verify_pin(secret) == expected
        self.verified = expected.ok

    @rule(old=SECRETS, new=SECRETS)
    def change_pin(self, old: bytes, new: bytes) -> None:
        expected = self.tried("pin", old)
        assert self.pins.change_pin(old, new) == expected
        self.changed("pin", expected, new)

    @rule(old=SECRETS, new=SECRETS)
    def change_puk(self, old: bytes, new: bytes) -> None:
        expected = self.tried("puk", old)
        assert self.pins.change_puk(old, new) == expected
        self.changed("puk", expected, new)

    @rule(puk=SECRETS, new=SECRETS)
    def unblock(self, puk: bytes, new: bytes) -> None:
        expected = self.tried("puk", puk)
        assert self.pins.unblock(puk, new) == expected
        self.changed("pin", expected, new)
        if expected.ok:
            self.left["pin"] = self.full["pin"]

    def changed(self, role: str, expected: Outcome, new: bytes) -> None:
        if expected.ok:
            self.secret[role] = new
        else:
            self.verified = False

    @precondition(lambda self: self.verified)
    @rule(pin=SECRETS, puk=SECRETS, tries=st.integers(1, 4))
    def set_tries(self, pin: bytes, puk: bytes, tries: int) -> None:
        self.pins.set_tries(tries, tries + 1, new_pin=pin, new_puk=puk)
        self.secret = {"pin": pin, "puk": puk}
        self.full = {"pin": tries, "puk": tries + 1}
        self.left = dict(self.full)

    @rule()
    def log_out(self) -> None:
        self.pins.logout()
        self.verified = False

    @rule()
    def open_again(self) -> None:
        self.card.close()
        self.card = self.store.open("card")
        self.pins = Pins(self.card)
        self.verified = False

    @invariant()
    def the_card_knows_the_same(self) -> None:
        on_disk = self.store.read("card")
        assert {"pin": on_disk.pin.tries_left, "puk": on_disk.puk.tries_left} == self.left
        assert {"pin": self.pins.pin_tries_left, "puk": self.pins.puk_tries_left} == self.left
        assert self.pins.verified == self.verified


TestTries = Tries.TestCase
TestTries.settings = settings(max_examples=60, stateful_step_count=30)
