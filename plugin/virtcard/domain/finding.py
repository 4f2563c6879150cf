"""One result of a check of a domain, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """`ERROR`: the domain would not start; `WARNING`: it would, with something to know."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. `code` is a short stable word, for example "usb-ehci-only"."""

    severity: Severity
    code: str
    message: str
    hint: str = ""
