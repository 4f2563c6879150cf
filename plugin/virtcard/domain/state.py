"""Where a domain's virtual reader stands: its configuration against what runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from virtcard.domain.model import DomainModel, Smartcard, parse_domain


class VirtualReader(StrEnum):
    """Where a domain's virtual reader stands: configuration against the running machine."""

    ABSENT = "absent"
    PRESENT = "present"
    PENDING_POWER_CYCLE = "pending-power-cycle"
    """The configuration changed, and takes effect after the domain is fully powered off."""
    FOREIGN = "foreign"
    """A smart card device that is not ours is there (SPICE, host)."""
    CONFLICT = "conflict"
    """Somebody keeps undoing our change."""


@dataclass(frozen=True, slots=True)
class ReaderState:
    """What the XML of a domain says of its reader."""

    in_config: bool
    """The inactive XML holds our reader."""
    in_live: bool
    """The live XML holds it: only then can a card be inserted."""
    foreign: str
    """The word of a smart card device that is not ours ("spicevmc"), or ""."""
    cloned: bool
    """The inactive XML holds our reader with the socket of another domain: it must be rewritten."""
    pending: bool
    """What runs, or would be restored, differs from the configuration until a full power off."""
    reader: VirtualReader


def reader_state(
    inactive: str | None,
    live: str | None,
    *,
    managed_save: bool = False,
    image: str | None = None,
    conflict: bool = False,
) -> ReaderState:
    """The state from XML texts; None stands for none (transient: no `inactive`, off: no `live`).

    `image` is the XML of a managed-save image (virDomainManagedSaveGetXMLDesc) when it is known.
    """
    config = None if inactive is None else parse_domain(inactive)
    running = None if live is None else parse_domain(live)
    saved = None if image is None else parse_domain(image)
    pending = _pending(config, running, saved, managed_save=managed_save)
    cards = [*_cards(config), *_cards(running)]
    state = ReaderState(
        in_config=_path(config) != "",
        in_live=_path(running) != "",
        foreign=next((card.word for card in cards if card.owner is None), ""),
        cloned=config is not None and any(card.owner and not config.owns(card) for card in config.smartcards),
        pending=pending,
        reader=VirtualReader.CONFLICT,
    )
    return state if conflict else _with_word(state)


def _cards(model: DomainModel | None) -> tuple[Smartcard, ...]:
    return () if model is None else model.smartcards


def _path(model: DomainModel | None) -> str:
    return "" if model is None or model.reader is None else model.reader.path


def _pending(
    config: DomainModel | None, running: DomainModel | None, saved: DomainModel | None, *, managed_save: bool
) -> bool:
    if config is None:
        return False
    if running is not None:
        return _path(config) != _path(running)
    if saved is not None:
        return _path(config) != _path(saved)
    return managed_save and _path(config) != ""


def _with_word(state: ReaderState) -> ReaderState:
    if state.pending:
        word = VirtualReader.PENDING_POWER_CYCLE
    elif state.in_config or state.in_live:
        word = VirtualReader.PRESENT
    else:
        word = VirtualReader.FOREIGN if state.foreign else VirtualReader.ABSENT
    return replace(state, reader=word)
