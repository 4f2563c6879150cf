"""Python and the libraries whose versions matter."""

from __future__ import annotations

import platform
import re

from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok

PYTHON = (3, 11)
DBUS_NEXT = "0.2.3"
"""The one whose faults virtcard mends; another may have others."""
PYSCARD = (2, 0, 5)
"""Debian 12's."""


def check_python(situation: Situation) -> Outcome:  # noqa: ARG001
    """Python is new enough."""
    found = platform.python_version()
    if numbers(found) < PYTHON:
        return error(f"Python {found} is too old.", "virtcard needs Python 3.11 or newer.")
    return ok(f"Python {found} is new enough.")


def check_dbus_next(situation: Situation) -> Outcome:  # noqa: ARG001
    """dbus-next is the very version that virtcard knows."""
    found = installed("dbus-next")
    if found != DBUS_NEXT:
        return error(f"dbus-next is {found or 'missing'}.", f"Install dbus-next {DBUS_NEXT}, the one virtcard knows.")
    return ok(f"dbus-next is {found}.")


def check_pyscard(situation: Situation) -> Outcome:  # noqa: ARG001
    """pyscard is there and new enough."""
    found = installed("pyscard")
    if found is None or numbers(found) < PYSCARD:
        return error(f"pyscard is {found or 'missing'}.", "Install pyscard 2.0.5 or newer.")
    return ok(f"pyscard is {found}.")


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def numbers(text: str) -> tuple[int, ...]:
    """The numbers in front: "3.15.0b1" -> (3, 15, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
