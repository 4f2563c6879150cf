"""Where a domain's virtual reader stands: its configuration against what runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from virtcard.domain.model import DomainModel, Smartcard, parse_domain
from virtcard.domain.setup import Mode, mode_of


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
    """The live XML holds it: only then can a card be inserted, if it is a bridge's."""
    foreign: str
    """The word of a smart card device that is not ours ("spicevmc"), or ""."""
    cloned: bool
    """The inactive XML holds our reader with the socket of another domain: it must be rewritten."""
    pending: bool
    """What runs, or would be restored, differs from the configuration until a full power off."""
    reader: VirtualReader
    mode: str = ""
    """The mode of the reader in the inactive XML, or ""."""
    live_mode: str = ""
    """That of the one in the live XML."""

    @property
    def bridged(self) -> bool:
        """The running machine has a reader that virtcardd serves."""
        return self.live_mode == Mode.BRIDGE


def reader_state(inactive: str | None, live: str | None, *, managed_save: bool = False) -> ReaderState:
    """The state from XML texts; None stands for none (transient: no `inactive`, off: no `live`)."""
    config = None if inactive is None else parse_domain(inactive)
    running = None if live is None else parse_domain(live)
    pending = _pending(config, running, managed_save=managed_save)
    foreign = [model.foreign for model in (config, running) if model is not None and model.foreign is not None]
    state = ReaderState(
        in_config=_device(config) is not None,
        in_live=_device(running) is not None,
        foreign=foreign[0].word if foreign else "",
        cloned=config is not None and any(card.owner and not config.owns(card) for card in config.smartcards),
        pending=pending,
        reader=VirtualReader.ABSENT,
        mode=_mode(config),
        live_mode=_mode(running),
    )
    return _with_word(state)


def _device(model: DomainModel | None) -> Smartcard | None:
    return None if model is None or model.reader is None else model.reader.device


def _mode(model: DomainModel | None) -> str:
    device = _device(model)
    return "" if device is None else mode_of(device).value


def _pending(config: DomainModel | None, running: DomainModel | None, *, managed_save: bool) -> bool:
    """What a saved image has is not looked at: with a reader in the configuration it may be without."""
    if config is None:
        return False
    if running is not None:
        return _device(config) != _device(running)
    return managed_save and _device(config) is not None


def _with_word(state: ReaderState) -> ReaderState:
    if state.pending:
        word = VirtualReader.PENDING_POWER_CYCLE
    elif state.in_config or state.in_live:
        word = VirtualReader.PRESENT
    else:
        word = VirtualReader.FOREIGN if state.foreign else VirtualReader.ABSENT
    return replace(state, reader=word)
