"""The option `--slot` of the verbs that are about one reader of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from virtcard.limits import HOTPLUG_MAX


class Number(click.IntRange):
    """Called what people call it, in help and in complaints."""

    name = "number"


def slot_option(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give the verb an argument `slot`: options for the call, empty when nothing was said."""
    return click.option(
        "--slot",
        type=Number(0, HOTPLUG_MAX),
        callback=lambda _context, _option, slot: {} if slot is None else {"slot": slot},
        help="Which reader: 0 is that of the XML, others were hot-plugged; else the first one.",
    )(verb)


def named(slots: Sequence[int]) -> str:
    """How people read slots: "slot 1", "slots 1, 2"."""
    return f"slot{'s' if len(slots) > 1 else ''} {', '.join(map(str, slots))}"
