"""How long a person's yes lasts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from virtcard.errors import InvalidArgument

LONGEST: Final = 30 * 24 * 3600
"""Seconds of a time; whoever wants more says "always", which can be listed and revoked."""

_TIME: Final = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


@dataclass(frozen=True, slots=True)
class Remember:
    """`word` as it is written: "no" (for this insertion or this one command alone), "session" (until the person logs
    out, or virtcardd ends), "always" (a grant is written), or a time such as "10m", which `seconds` holds."""

    word: str
    seconds: int = 0


NOT_REMEMBERED: Final = Remember("no")
SESSION: Final = Remember("session")
ALWAYS: Final = Remember("always")


def remember(untrusted_text: str) -> Remember:
    """What a text says; InvalidArgument when it says nothing."""
    for word in (NOT_REMEMBERED, SESSION, ALWAYS):
        if untrusted_text == word.word:
            return word
    time = _TIME.fullmatch(untrusted_text)
    seconds = int(time["number"]) * _SECONDS[time["unit"]] if time else 0
    if not 0 < seconds <= LONGEST:
        raise InvalidArgument(
            f"{untrusted_text[:32]!r} does not say how long a yes lasts.",
            hint='Write "no", "session", "always", or a time of up to 30 days such as "30s", "10m", "8h" or "1d".',
        )
    return Remember(untrusted_text, seconds)
