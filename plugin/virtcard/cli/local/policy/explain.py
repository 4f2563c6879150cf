"""`virtcard policy explain`: what the policy says to a card for a machine, by which rule, and why by no other."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import click

from virtcard.cli.complete import sources, vms
from virtcard.cli.local.policy.asked import Asked, asked
from virtcard.cli.local.policy.files import policy_of, rules_of
from virtcard.cli.local.policy.judged import Verdict, apdu, judged
from virtcard.cli.options import Choice
from virtcard.cli.screen import fields, say, say_json, warn
from virtcard.policy.decide import Decision, decide
from virtcard.policy.model import NO_RULE, Action, Rule


class PassedRule(TypedDict):
    """A rule before the one that decides."""

    rule: str
    because: str


class Judged(TypedDict):
    """One command: `reason` and `response` are "" when it reaches the card."""

    command: str
    allowed: bool
    reason: str
    response: str


class Explanation(TypedDict):
    """`rule` is "FILE:LINE", or "" when none fits; `commands` has a verdict for each `--command`."""

    domain: str
    uuid: str
    card: str
    user: str
    action: str
    rule: str
    passed: list[PassedRule]
    commands: list[Judged]


_SAYS = {
    Action.ALLOW: "{name} may have {card}.",
    Action.ASK: "{name} may have {card} when a person agrees.",
    Action.DENY: "{name} may not have {card}.",
}


@click.command("explain")
@click.argument("vm", shell_complete=vms)
@click.argument("source", shell_complete=sources)
@click.option("--command", "commands", multiple=True, metavar="APDU", help="A command in hex, may it reach the card?")
@click.option("--user", metavar="NAME", help="Who calls (default: you).")
@click.option(
    "--file", "paths", multiple=True, type=click.Path(path_type=Path), help="Rules in this file or folder instead."
)
@click.option("--json", "as_json", is_flag=True, help="The explanation as JSON.")
@click.pass_obj
def verb(
    choice: Choice,
    *,
    vm: str,
    source: str,
    commands: tuple[str, ...],
    user: str | None,
    paths: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Say what the policy says to a card for a machine, and why.

    The rule that decides is named with file and line, and for each rule before it why it does not fit. Several
    --command are sent one after the other, so that a SELECT counts for those behind it.
    """
    sent = [apdu(each) for each in commands]
    rules = rules_of(policy_of(choice, paths))
    found = asked(choice, vm, source, user)
    decision = decide(rules, found.request)
    verdicts = judged(decision.rule, sent) if decision.action is not Action.DENY else []
    if as_json:
        say_json(_explanation(found, decision, verdicts))
    else:
        _show(found, decision, verdicts)


def _explanation(found: Asked, decision: Decision, verdicts: list[Verdict]) -> Explanation:
    request = found.request
    return Explanation(
        domain=request.name,
        uuid=str(request.uuid) if request.uuid.int else "",
        card=request.card,
        user=request.user,
        action=decision.action.value,
        rule=_place(decision.rule),
        passed=[PassedRule(rule=str(each.rule.place), because=each.because) for each in decision.why],
        commands=[_shape(each) for each in verdicts],
    )


def _shape(verdict: Verdict) -> Judged:
    return Judged(
        command=_hex(verdict.command),
        allowed=not verdict.reason,
        reason=verdict.reason,
        response=_hex(verdict.response),
    )


def _show(found: Asked, decision: Decision, verdicts: list[Verdict]) -> None:
    for note in found.notes:
        warn(note)
    request = found.request
    say(_SAYS[decision.action].format(name=request.name, card=request.card))
    say(f"{_place(decision.rule)} says so." if decision.rule is not NO_RULE else "No rule fits, and that is a no.")
    for passed in decision.why:
        say(f"  {passed.rule.place} does not fit: {passed.because}.")
    if decision.action is not Action.DENY:
        fields(_terms(decision.rule))
    for verdict in verdicts:
        say(_judged(verdict))


def _terms(rule: Rule) -> list[tuple[str, str]]:
    asks = [("Asks for", ", ".join(sorted(rule.ask_for))), ("Remembers", rule.remember.word)]
    own = f", and {len(rule.commands.applications)} tables" if rule.commands.applications else ""
    return [
        *(asks if rule.action is Action.ASK else []),
        ("Commands", f"{rule.commands.base}{own}"),
        ("PIN reserve", str(rule.pin_reserve)),
        ("Sharing", f"{rule.sharing}, after the host {rule.host_login}, handed over by {rule.handover}"),
        ("When locked", rule.when_locked),
        ("With viewer", rule.when_viewer),
    ]


def _judged(verdict: Verdict) -> str:
    if not verdict.reason:
        return f"{_hex(verdict.command)} reaches the card."
    return f"{_hex(verdict.command)} is refused ({verdict.reason}); the machine gets {_hex(verdict.response)}."


def _place(rule: Rule) -> str:
    return "" if rule is NO_RULE else str(rule.place)


def _hex(data: bytes) -> str:
    return data.hex().upper()
