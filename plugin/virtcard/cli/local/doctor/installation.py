"""What the system's virtcardd needs outside of Python: its files for D-Bus and polkit, and its user."""

from __future__ import annotations

import pwd
from pathlib import Path

from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok
from virtcard.names import BUS_NAME, SYSTEM_USER

PLACES = {
    f"{BUS_NAME}.conf": ("/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d"),
    f"{BUS_NAME}.service": ("/usr/share/dbus-1/system-services", "/usr/local/share/dbus-1/system-services"),
    f"{BUS_NAME}.policy": ("/usr/share/polkit-1/actions",),
}
"""Without the first virtcardd may not be on the bus, without the second the bus does not start it, and without the
third everybody but root is refused. Every place where their owner looks (dbus-daemon(1), polkit(8))."""


def check_installation(situation: Situation) -> Outcome:
    """Everything is where D-Bus and polkit look for it."""
    if situation.bus == "session":
        return ok("Your own virtcardd needs no files of D-Bus and polkit.")
    missing = [f"{places[0]}/{name}" for name, places in PLACES.items() if not _installed(situation, name, places)]
    if not _user_exists(situation):
        missing.insert(0, f"the user {SYSTEM_USER}")
    if missing:
        return error(
            f"The installation lacks {', '.join(missing)}.",
            "Install the package again, or run contrib/systemd/install.sh of virtcard's source as root.",
        )
    return ok(f"The files for D-Bus and polkit and the user {SYSTEM_USER} are there.")


def _installed(situation: Situation, name: str, places: tuple[str, ...]) -> bool:
    return any((situation.path(place) / name).exists() for place in places)


def _user_exists(situation: Situation) -> bool:
    if situation.root != Path("/"):
        passwd = situation.path("/etc/passwd")
        return passwd.exists() and f"\n{SYSTEM_USER}:" in f"\n{passwd.read_text()}"
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return False
    return True
