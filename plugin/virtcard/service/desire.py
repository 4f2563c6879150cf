"""What a domain shall have, from its metadata and the calls that were made. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one domain and one reader that it has.

    `call` is the source of an insert call, "" after an eject call, None without one."""

    wish: str
    call: str | None
    running: bool
    """The guest runs: neither off, nor paused, nor the silent end of a migration."""
    alive: bool
    """It has a QEMU at all."""


@dataclass(frozen=True, slots=True)
class Desire:
    """`bridge`: a bridge shall run. `card`: the source to be in the reader, "" for none, None for whatever is in it."""

    bridge: bool
    card: str | None


def desire(facts: Facts) -> Desire:
    """A call beats the wish; a paused machine keeps what it has, unless it is to be taken out.

    Whether the card may be there is not asked here: wish and call both pass through the policy."""
    if not facts.alive:
        return Desire(bridge=False, card="")
    if not facts.running:
        return Desire(bridge=True, card="" if facts.call == "" else None)
    if facts.call is not None:
        return Desire(bridge=True, card=facts.call)
    return Desire(bridge=True, card=facts.wish)
