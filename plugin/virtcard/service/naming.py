"""Which domain a person means: an id, a UUID or a name, tried in virsh's order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from uuid import UUID

from virtcard.service.views import DomainView

_ID = re.compile(r"[0-9]{1,10}", re.ASCII)
"""libvirt's ids are C ints."""


def named(views: Iterable[DomainView], text: str) -> UUID | None:
    """The first domain with this id, else with this UUID (dashes are optional, as for virsh), else with this name."""
    views = tuple(views)
    return next((view.uuid for same in _tests(text) for view in views if same(view)), None)


def _tests(text: str) -> Iterable[Callable[[DomainView], bool]]:
    if _ID.fullmatch(text):
        number = int(text)
        yield lambda view: view.id == number
    digits = text.replace("-", "").lower()
    yield lambda view: view.uuid.hex == digits
    yield lambda view: view.name == text
