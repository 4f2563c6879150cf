"""Values on their way over the bus: whatever a reader or a domain is called, and whatever bytes come in."""

from __future__ import annotations

import struct
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from dbus_next.errors import InvalidMessageError
from dbus_next.message import Message
from dbus_next.signature import Variant
from hypothesis import given
from hypothesis import strategies as st

from virtcard.bus.stream import WholeMessage
from virtcard.bus.values import plain, text, wrap

PLAIN = (
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_sent(anything: str) -> None:
    sent = text(anything)
    assert "\0" not in sent
    assert text(sent) == sent
    Message.new_signal("/", "a.b", "C", "s", [sent])._marshall()


@given(st.dictionaries(st.sampled_from("abcdef"), PLAIN | st.binary() | st.lists(st.text(max_size=5), max_size=3)))
def test_options_come_back_as_they_were_given(options: dict[str, Any]) -> None:
    with suppress(ValueError):  # an empty list of nothing has no type, a NUL or a surrogate cannot be sent
        assert plain(wrap("a{sv}", [options])) == [options]


def test_a_true_is_a_boolean_and_not_a_number() -> None:
    assert wrap("v", [True]) == [Variant("b", True)]
    assert wrap("v", [1]) == [Variant("x", 1)]
    assert wrap("av", [["x", b"y"]]) == [[Variant("s", "x"), Variant("ay", b"y")]]


def test_variants_are_taken_off_at_any_depth() -> None:
    value = Variant("a{sv}", {"a": Variant("av", [Variant("s", "x"), Variant("v", Variant("i", 5))])})
    assert plain([value]) == [{"a": ["x", 5]}]


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("s", ["a\0b"]),
        ("v", ["a\0b"]),
        ("a{sv}", [{"x": ["a\0b"]}]),
        ("v", [object()]),
        ("ss", ["x"]),
        ("s", ["x", "y"]),
    ],
)
def test_what_cannot_be_sent_is_a_value_error(signature: str, body: list[Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        wrap(signature, body)


@given(st.binary(max_size=200), st.integers(0, 250), st.integers(0, 250))
def test_whatever_bytes_come_the_next_message_is_found(untrusted: bytes, body: int, fields: int) -> None:
    header = struct.pack("<cBBBIII", b"l", 1, 0, 1, body, 1, fields)
    rest = fields + (-fields % 8) + body
    garbage = header + (untrusted + bytes(rest))[:rest]
    stream = BytesIO(garbage + Message("a.b", "/", "c.d", "Next", serial=2)._marshall())
    first, second = WholeMessage(stream), WholeMessage(stream)
    assert first.fetch()
    first.parse()
    assert second.fetch()
    following = second.parse()
    assert following is not None
    assert following.member == "Next"


@given(st.binary(min_size=16, max_size=64))
def test_no_bytes_do_more_harm_than_to_end_the_connection(untrusted: bytes) -> None:
    incoming = WholeMessage(BytesIO(untrusted))
    with suppress(InvalidMessageError, EOFError):
        if incoming.fetch():
            incoming.parse()
