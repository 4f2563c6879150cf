"""What a domain shall have, as facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from virtcard.service.desire import Desire, Facts, desire

RUNNING = Facts(wish="", call=None, wish_allowed=True, running=True, alive=True, live_reader=True)


def test_a_domain_that_is_off_has_no_bridge() -> None:
    assert desire(replace(RUNNING, alive=False, running=False, wish="reader:*")) == Desire(bridge=False, card="")


def test_a_running_domain_without_a_reader_has_no_bridge() -> None:
    assert desire(replace(RUNNING, live_reader=False, call="reader:*")).bridge is False


def test_a_paused_domain_keeps_what_is_in_its_reader() -> None:
    assert desire(replace(RUNNING, running=False, call="reader:*")) == Desire(bridge=True, card=None)


def test_an_eject_reaches_a_paused_domain_too() -> None:
    assert desire(replace(RUNNING, running=False, wish="reader:*", call="")) == Desire(bridge=True, card="")


def test_a_call_beats_the_wish() -> None:
    assert desire(replace(RUNNING, wish="reader:a", call="reader:b")).card == "reader:b"


def test_an_eject_call_beats_the_wish() -> None:
    assert desire(replace(RUNNING, wish="reader:a", call="")).card == ""


def test_a_wish_is_followed_where_the_owner_wrote_it() -> None:
    assert desire(replace(RUNNING, wish="reader:a")) == Desire(bridge=True, card="reader:a")


def test_a_wish_is_no_permission_on_the_system_bus() -> None:
    got = desire(replace(RUNNING, wish="reader:a", wish_allowed=False))
    assert got.card == ""
    assert "reader:a" in got.note
    assert "root" in got.note


@pytest.mark.parametrize("allowed", [True, False])
def test_without_wish_or_call_the_reader_is_empty(allowed: bool) -> None:
    assert desire(replace(RUNNING, wish_allowed=allowed)) == Desire(bridge=True, card="")
