"""`virtcard doctor`: every check in turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import click

from virtcard.cli.busy import busy
from virtcard.cli.local.doctor import (
    agents,
    confinement,
    daemon,
    hypervisor,
    installation,
    metrics,
    pcsc,
    sockets,
    sources,
    versions,
)
from virtcard.cli.local.doctor.check import Check, Outcome, Result, Situation
from virtcard.cli.options import Choice
from virtcard.cli.screen import accented, printable, say, say_json

CHECKS: dict[str, Check] = {
    "daemon": daemon.check_daemon,
    "policy": daemon.check_policy,
    "agents": agents.check_agents,
    "domains": daemon.check_domains,
    "metrics": metrics.check_metrics,
    "installation": installation.check_installation,
    "libvirt": hypervisor.check_libvirt,
    "qemu": hypervisor.check_qemu,
    "pcscd": pcsc.check_pcscd,
    "polkit": pcsc.check_polkit,
    "sources": sources.check_sources,
    "socket-directory": sockets.check_folder,
    "stale-sockets": sockets.check_stale,
    "python": versions.check_python,
    "dbus-next": versions.check_dbus_next,
    "pyscard": versions.check_pyscard,
    "apparmor": confinement.check_apparmor,
    "selinux": confinement.check_selinux,
}


class Report(TypedDict):
    """One check in JSON: `check` is a stable word, `result` "ok", "warning" or "error"."""

    check: str
    result: str
    message: str
    hint: str


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="A list of checks as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> int:
    """Look for what keeps virtcard from working.

    The exit code is 1 when there is an error, and 0 when there are only warnings.
    """
    with busy("Looking at this machine."):
        outcomes = examine(Situation(choice, choice.bus), CHECKS)
    if as_json:
        say_json([_report(name, outcome) for name, outcome in outcomes.items()])
    else:
        _show(outcomes.values())
    return int(any(outcome.result is Result.ERROR for outcome in outcomes.values()))


def examine(situation: Situation, checks: dict[str, Check]) -> dict[str, Outcome]:
    """Run all checks; none depends on another."""
    outcomes = {name: check(situation) for name, check in checks.items()}
    return {name: outcome for name, outcome in outcomes.items() if outcome is not None}


def _report(name: str, outcome: Outcome) -> Report:
    return Report(check=name, result=outcome.result.value, message=outcome.message, hint=outcome.hint)


def _show(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        print(f"{accented(outcome.result.value, 8)} {printable(outcome.message)}")
        if outcome.hint:
            say(f"{'':<8} hint: {outcome.hint}")
