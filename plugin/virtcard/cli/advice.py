"""What an operator should look at, and what to do about it, out of all that virtcardd shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from virtcard.cli.door import Properties
    from virtcard.cli.shapes import Bridge, Domain

PENDING = "The virtual reader in the configuration is not the one that the machine runs with."
POWER_CYCLE = "Shut the machine down and start it again; a reboot from inside is not enough."


class Problem(TypedDict):
    """`severity` is "error" or "warning"; `about` is "libvirt", "pcscd", "policy" or the name of a domain."""

    severity: str
    about: str
    message: str
    hint: str


def problems(manager: Properties, domains: Iterable[Domain], bridges: Iterable[Bridge]) -> list[Problem]:
    """All there are, the daemon's own first; the same sentence about the same thing once."""
    every = list(domains)
    names = {domain["uuid"]: domain["name"] for domain in every}
    found = [*_of_daemon(manager), *_of_domains(every), *_of_bridges(bridges, names)]
    unique = {(problem["about"], problem["message"]): problem for problem in reversed(found)}
    return list(reversed(unique.values()))


def about(part: str, manager: Properties) -> Iterator[Problem]:
    """What is wrong with "libvirt", "pcscd" or "policy"."""
    return (problem for problem in _of_daemon(manager) if problem["about"] == part)


def _of_daemon(manager: Properties) -> Iterator[Problem]:
    if manager["Libvirt"] != "connected":
        message = manager["LibvirtError"] or "virtcardd has not reached libvirt yet."
        yield _problem("error", "libvirt", message, "Is libvirtd or virtqemud running? virtcardd keeps trying.")
    if manager["Pcsc"] != "connected":
        message = "virtcardd has not reached pcscd: no card in a host reader can be used."
        yield _problem("warning", "pcscd", message, "Run 'systemctl start pcscd.socket'; virtcardd keeps trying.")
    if manager["Policy"] != "ok":
        yield _problem("error", "policy", manager["PolicyError"], "'virtcard policy lint' tells all that is wrong.")


def _of_domains(domains: Iterable[Domain]) -> Iterator[Problem]:
    for domain in domains:
        if domain["last_error"]:
            severity = "error" if domain["reader"] == "conflict" else "warning"
            yield _problem(severity, domain["name"], domain["last_error"], domain["hint"])
        if domain["reader"] == "pending-power-cycle":
            yield _problem("warning", domain["name"], PENDING, POWER_CYCLE)


def _of_bridges(bridges: Iterable[Bridge], names: Mapping[str, str]) -> Iterator[Problem]:
    for bridge in bridges:
        if bridge["last_error"]:
            severity = "error" if bridge["state"] == "failed" else "warning"
            about = names.get(bridge["domain"], bridge["domain"])
            yield _problem(severity, about, bridge["last_error"], bridge["hint"])


def _problem(severity: str, about: str, message: str, hint: str) -> Problem:
    return Problem(severity=severity, about=about, message=message, hint=hint or f"'virtcard info {about}' shows more.")
