"""virtcardd itself, seen from the bus."""

from __future__ import annotations

from virtcard.cli.door import Properties
from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok, warning
from virtcard.errors import VirtcardError
from virtcard.names import MANAGER, ROOT_PATH


def check_daemon(situation: Situation) -> Outcome:
    """virtcardd answers on the bus, and has reached libvirt and pcscd."""
    try:
        with situation.choice.open() as client:
            manager = client.properties(ROOT_PATH, MANAGER)
    except VirtcardError as failure:
        return error(f"virtcardd does not answer: {failure.message}", failure.hint or _start(situation))
    away = [name for name, key in (("libvirt", "Libvirt"), ("pcscd", "Pcsc")) if manager[key] != "connected"]
    if away:
        return warning(f"virtcardd has not reached {' and '.join(away)}.", f"See '{_journal(situation)}'.")
    return ok(_sentence(situation, manager))


def _sentence(situation: Situation, manager: Properties) -> str:
    return f"virtcardd {manager['Version']} answers on the {situation.bus} bus and serves {manager['Uri']}."


def _start(situation: Situation) -> str:
    user = "--user " if situation.bus == "session" else ""
    return f"Start it with 'systemctl {user}start virtcardd'."


def _journal(situation: Situation) -> str:
    return f"journalctl {'--user ' if situation.bus == 'session' else ''}-u virtcardd"
