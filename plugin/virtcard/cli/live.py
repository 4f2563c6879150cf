"""`virtcard watch --live`: one picture of everything, which stays current."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from virtcard.cli import shapes
from virtcard.cli.door import Door, Objects
from virtcard.cli.list import TITLES as DOMAIN_TITLES
from virtcard.cli.list import row as domain_row
from virtcard.cli.screen import drawing

if TYPE_CHECKING:
    from rich.console import Group

    Picture = Callable[[int], Group]
    """Drawn for a terminal so many letters wide."""

PERIOD: Final = 0.5
"""Seconds between two pictures: quick enough for a person, and rare enough for virtcardd."""
TITLES: Final = (*DOMAIN_TITLES, "APDUs", "per s")
READER_TITLES: Final = ("Host reader", "Card", "Used by")


def show(client: Door, timeout: float | None) -> None:
    """Until the time is over, or Ctrl-C."""
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        for picture in _pictures(client, timeout):
            live.update(picture(live.console.width), refresh=True)


def _pictures(client: Door, timeout: float | None) -> Iterator[Picture]:
    end = None if timeout is None else monotonic() + timeout
    before: dict[str, int] = {}
    since = monotonic()
    while True:
        objects, now = client.objects(), monotonic()
        counts = _counts(objects)
        yield partial(_picture, objects, counts, _rates(before, counts, now - since))
        if end is not None and now >= end:
            return
        before, since = counts, now
        for _ in client.events(PERIOD if end is None else min(PERIOD, end - now)):
            pass  # what changed is read anew, and all of it


def _counts(objects: Objects) -> dict[str, int]:
    """Commands of each domain's bridges."""
    counts: dict[str, int] = {}
    for bridge in shapes.bridges(objects):
        counts[bridge["domain"]] = counts.get(bridge["domain"], 0) + bridge["apdus"]
    return counts


def _rates(before: Mapping[str, int], now: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Commands a second; a bridge that is new begins with its next picture."""
    return {uuid: max(0, count - before[uuid]) / seconds for uuid, count in now.items() if uuid in before and seconds}


def _picture(objects: Objects, counts: Mapping[str, int], rates: Mapping[str, float], width: int) -> Group:
    from rich.console import Group

    every = shapes.bridges(objects)
    found = shapes.domains(objects)
    rows = [
        (
            *domain_row(each, [one for one in every if one["domain"] == each["uuid"]]),
            str(counts.get(each["uuid"], "-")),
            f"{rates[each['uuid']]:.0f}" if rates.get(each["uuid"]) else "-",
        )
        for each in found
    ]
    names = {each["uuid"]: each["name"] for each in found}
    readers = [
        (
            each["name"],
            "present" if each["present"] else "-",
            ", ".join(names.get(uuid, uuid) for uuid in each["domains"]) or "-",
        )
        for each in shapes.readers(objects)
    ]
    return Group(drawing(TITLES, rows, width), "", drawing(READER_TITLES, readers, width))
