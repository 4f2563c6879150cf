"""Where the virtual reader stands: configuration against what runs."""

from __future__ import annotations

import pytest

from virtcard.domain.state import ReaderState, VirtualReader, reader_state
from virtcard.service import views

ONE = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03"
OTHER = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1dff"


def domain(devices: str = "") -> str:
    return f"<domain type='kvm'><uuid>{ONE}</uuid><devices>{devices}</devices></domain>"


def card(directory: str = "/run/virtcard/vm", uuid: str = ONE) -> str:
    path = f"{directory}/{uuid}.sock"
    return f"<smartcard mode='passthrough' type='unix'><source mode='bind' path='{path}'/></smartcard>"


WITHOUT = domain()
WITH = domain(card())
MOVED = domain(card("/run/user/0/virtcard"))
CLONE = domain(card(uuid=OTHER))
SPICE = domain("<smartcard mode='passthrough' type='spicevmc'/>")


@pytest.mark.parametrize(
    ("inactive", "live", "word"),
    [
        (WITHOUT, None, "absent"),
        (WITHOUT, WITHOUT, "absent"),
        (None, None, "absent"),
        (None, WITHOUT, "absent"),
        (WITH, None, "present"),
        (WITH, WITH, "present"),
        (None, WITH, "present"),
        (WITH, WITHOUT, "pending-power-cycle"),
        (WITHOUT, WITH, "pending-power-cycle"),
        (WITH, SPICE, "pending-power-cycle"),
        (SPICE, WITH, "pending-power-cycle"),
        (MOVED, WITH, "pending-power-cycle"),
        (SPICE, None, "foreign"),
        (SPICE, SPICE, "foreign"),
        (None, SPICE, "foreign"),
        (CLONE, None, "absent"),
        (CLONE, CLONE, "absent"),
        (WITH, CLONE, "pending-power-cycle"),
    ],
)
def test_configuration_against_the_running_machine(inactive: str | None, live: str | None, word: str) -> None:
    assert reader_state(inactive, live).reader == word


def test_only_the_live_reader_can_take_a_card() -> None:
    state = reader_state(WITH, WITHOUT)
    assert (state.in_config, state.in_live, state.pending) == (True, False, True)


def test_a_foreign_device_is_named() -> None:
    assert reader_state(SPICE, None).foreign == "spicevmc"
    assert reader_state(WITH, SPICE).foreign == "spicevmc"
    assert reader_state(WITH, WITH).foreign == ""


def test_a_clone_must_be_rewritten() -> None:
    state = reader_state(CLONE, None)
    assert state == ReaderState(
        in_config=False, in_live=False, foreign="", cloned=True, pending=False, reader=VirtualReader.ABSENT
    )


@pytest.mark.parametrize(("inactive", "pending"), [(WITH, True), (WITHOUT, False)])
def test_a_saved_state_whose_xml_is_not_known_is_pending_with_a_reader(inactive: str, pending: bool) -> None:
    assert reader_state(inactive, None, managed_save=True).pending is pending


def test_the_words_are_those_of_the_views() -> None:
    assert views.VirtualReader is VirtualReader
