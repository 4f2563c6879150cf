"""No bytes make the guard fail, and none get past it that a careless card could take for what is denied."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.guard_oracle import CHANGES, must_not_pass
from helpers.guard_table import ROWS
from helpers.guarded import Guarded
from virtcard.card.guard.commands import read
from virtcard.card.guard.lane import adds_up
from virtcard.card.guard.profile import compile_profile
from virtcard.wire.malformed import Malformed

PROFILES = {level: compile_profile(level) for level in ("read", "use", "full")}
NAMES = sorted(CHANGES)

quiet = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

short = st.binary(max_size=40)
long = st.builds(
    lambda head, count, byte: head + bytes((byte,)) * count, short, st.integers(0, 70_000), st.integers(0, 255)
)
well_formed = st.builds(
    lambda header, data, le: header + bytes((len(data),)) + data + le if data else header + le,
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=255),
    st.binary(max_size=1),
)
extended = st.builds(
    lambda header, data, le: header + b"\0" + len(data).to_bytes(2) + data + le,
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=1, max_size=600),
    st.sampled_from([b"", b"\0\0", b"\1\0"]),
)
chaining = st.builds(lambda command: bytes((command[0] | 0x10,)) + command[1:], well_formed)
known = st.sampled_from([row.command for row in ROWS])
bent = st.builds(
    lambda command, cla, at, byte: bytes((cla,)) + command[1:at] + bytes((byte,)) + command[at:],
    known,
    st.sampled_from([0x00, 0x01, 0x04, 0x0C, 0x10, 0x1C, 0x20, 0x40, 0x80, 0x84, 0x90, 0xA0, 0xB0, 0xFF]),
    st.integers(1, 20),
    st.integers(0, 255),
)
anything = st.one_of(short, long, well_formed, extended, chaining, known, bent)
responses = st.sampled_from([b"\x90\0", b"\x61\x10", b"\x6a\x82", b"\x63\xc2", b"\x69\x83", b"\x01\x90\0", b"\x6c\x10"])


@quiet
@given(name=st.sampled_from(NAMES), profile=st.sampled_from(["read", "use"]), commands=st.lists(anything, max_size=6))
def test_nothing_that_is_denied_reaches_the_card(name: str, profile: str, commands: list[bytes]) -> None:
    """The card says no to every SELECT but the first one, so its application stays selected."""
    guarded = Guarded(profile=PROFILES[profile])
    guarded.select(name)
    guarded.card.commands.clear()
    guarded.card.default = lambda command: b"\x6a\x82" if command[1] in (0xA4, 0x70) else b"\x90\0"
    for command in commands:
        guarded.guard.transmit(command)
    assert [command for command in guarded.card.commands if must_not_pass(name, profile, command)] == []


@quiet
@given(
    profile=st.sampled_from(sorted(PROFILES)),
    reserve=st.integers(0, 4),
    exchanges=st.lists(st.tuples(anything, responses), max_size=8),
)
def test_no_bytes_make_the_guard_fail(profile: str, reserve: int, exchanges: list[tuple[bytes, bytes]]) -> None:
    guarded = Guarded(profile=PROFILES[profile], reserve=reserve)
    for command, response in exchanges:
        guarded.card.default = response
        answer = guarded.guard.transmit(command)
        assert len(answer) >= 2


@quiet
@given(anything)
def test_the_short_way_reads_lengths_like_the_long_one(command: bytes) -> None:
    if len(command) < 4 or len(command) > 65_544:
        return
    try:
        read(command)
    except Malformed:
        assert not adds_up(command)
    else:
        assert adds_up(command)


@quiet
@given(commands=st.lists(anything, min_size=1, max_size=8), data=st.data())
def test_what_was_let_through_once_is_judged_the_same_again(commands: list[bytes], data: st.DataObject) -> None:
    """The short way lets nothing through that the long one would not."""
    warm, fresh = Guarded(profile=PROFILES["use"]), Guarded(profile=PROFILES["use"])
    order = [data.draw(st.sampled_from(commands)) for _ in range(12)]
    for command in order:
        fresh.guard._lanes.clear()
        fresh.guard._follow()
        assert warm.send(command) == fresh.send(command)
    assert warm.card.commands == fresh.card.commands
