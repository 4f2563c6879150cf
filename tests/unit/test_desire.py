"""What a domain shall have, as facts."""

from __future__ import annotations

from dataclasses import replace

from virtcard.service.desire import Desire, Facts, desire

RUNNING = Facts(wish="", call=None, running=True, alive=True)


def test_a_domain_that_is_off_has_no_bridge() -> None:
    assert desire(replace(RUNNING, alive=False, running=False, wish="reader:*")) == Desire(bridge=False, card="")


def test_a_paused_domain_keeps_what_is_in_its_reader() -> None:
    assert desire(replace(RUNNING, running=False, call="reader:*")) == Desire(bridge=True, card=None)


def test_an_eject_reaches_a_paused_domain_too() -> None:
    assert desire(replace(RUNNING, running=False, wish="reader:*", call="")) == Desire(bridge=True, card="")


def test_a_call_beats_the_wish() -> None:
    assert desire(replace(RUNNING, wish="reader:a", call="reader:b")).card == "reader:b"


def test_an_eject_call_beats_the_wish() -> None:
    assert desire(replace(RUNNING, wish="reader:a", call="")).card == ""


def test_a_wish_is_followed() -> None:
    assert desire(replace(RUNNING, wish="reader:a")) == Desire(bridge=True, card="reader:a")


def test_without_wish_or_call_the_reader_is_empty() -> None:
    assert desire(RUNNING) == Desire(bridge=True, card="")
