"""virtcardd itself, seen from the bus: whether it answers, its policy, and its domains."""

from __future__ import annotations

from virtcard.cli import shapes
from virtcard.cli.door import Properties
from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok, warning
from virtcard.cli.traffic import counted
from virtcard.errors import VirtcardError
from virtcard.names import MANAGER, ROOT_PATH
from virtcard.version import VERSION

DAEMON = frozenset({"libvirt", "pcscd", "policy"})
"""What problems may be about beside domains; other checks have these."""


def check_daemon(situation: Situation) -> Outcome:
    """virtcardd answers on the bus, is the one that is installed, and has reached libvirt and pcscd."""
    try:
        manager = manager_of(situation)
    except VirtcardError as failure:
        return error(f"virtcardd does not answer: {failure.message}", failure.hint or _start(situation))
    if manager["Version"] != VERSION:
        sentence = f"virtcardd {manager['Version']} runs, and {VERSION} is installed."
        return warning(sentence, f"Run '{_systemctl(situation)} restart virtcardd'.")
    away = [name for name, key in (("libvirt", "Libvirt"), ("pcscd", "Pcsc")) if manager[key] != "connected"]
    if away:
        reason = f" {manager['LibvirtError']}" if manager["LibvirtError"] else ""
        return warning(f"virtcardd has not reached {' and '.join(away)}.{reason}", f"See '{_journal(situation)}'.")
    return ok(_sentence(situation, manager))


def check_policy(situation: Situation) -> Outcome | None:
    """The policy files are good."""
    try:
        manager = manager_of(situation)
    except VirtcardError:
        return None
    if manager["Policy"] == "ok":
        return ok("The policy is in use as it stands in its files.")
    use = "the last good policy is in use" if manager["Policy"] == "degraded" else "nothing is allowed"
    return error(f"The policy is bad, so {use}: {manager['PolicyError']}", "Run 'virtcard policy lint'.")


def check_domains(situation: Situation) -> Outcome | None:
    """No domain, and no bridge, has trouble."""
    try:
        with situation.choice.open() as client:
            status = shapes.status(client.properties(ROOT_PATH, MANAGER), client.objects())
    except VirtcardError:
        return None
    found = [problem for problem in status["problems"] if problem["about"] not in DAEMON]
    if not found:
        return ok(
            f"{counted(status['domains'], 'domain')} and {counted(status['bridges'], 'bridge')}, without trouble."
        )
    sentences = " ".join(f"{problem['about']}: {problem['message']}" for problem in found[:3])
    more = f" And {len(found) - 3} more." if len(found) > 3 else ""
    return warning(f"{sentences}{more}", "'virtcard status' shows what to do about each.")


def manager_of(situation: Situation) -> Properties:
    """What virtcardd tells of itself."""
    with situation.choice.open() as client:
        return client.properties(ROOT_PATH, MANAGER)


def _sentence(situation: Situation, manager: Properties) -> str:
    return f"virtcardd {manager['Version']} answers on the {situation.bus} bus and serves {manager['Uri']}."


def _start(situation: Situation) -> str:
    return f"Start it with '{_systemctl(situation)} start virtcardd'."


def _systemctl(situation: Situation) -> str:
    return f"systemctl{' --user' if situation.bus == 'session' else ''}"


def _journal(situation: Situation) -> str:
    return f"journalctl {'--user ' if situation.bus == 'session' else ''}-u virtcardd"
