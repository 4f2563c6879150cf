"""`virtcard policy test`: does a policy say what its author expects of it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from virtcard.cli.local.policy.expectations import Expectation, Row, expectations
from virtcard.cli.local.policy.files import policy_of, rules_of
from virtcard.cli.local.policy.judged import judged
from virtcard.cli.options import Choice
from virtcard.cli.screen import say
from virtcard.errors import InvalidArgument
from virtcard.policy.decide import Decision, decide
from virtcard.policy.folders import read
from virtcard.policy.model import NO_RULE, Rule
from virtcard.policy.problem import Problem


@click.command("test")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def verb(choice: Choice, file: Path) -> int:
    """Hold the rules to what FILE expects of them.

    \b
    policy = ["50-office.toml"]   # beside FILE; without it, the policy of the chosen virtcardd
    [[expect]]
    vm = "win11"                  # and uuid, tags, user, atr where rules look at them
    card = "card:jane"
    action = "allow"              # or "ask", "deny"
    allowed = ["00A4040005A000000308, 0020008008"]   # commands, one after the other; the last one counts
    refused = ["00DB3FFF"]
    """
    document = read(file)
    if isinstance(document, Problem):
        raise InvalidArgument(str(document), hint=document.hint)
    wanted = expectations(document)
    rules = rules_of(policy_of(choice, wanted.policy))
    unmet = [sentence for entry in wanted.entries for sentence in _unmet(rules, entry)]
    for sentence in unmet:
        say(sentence)
    say(_sum(len(unmet), len(wanted.entries), file))
    return 1 if unmet else 0


def _sum(unmet: int, entries: int, file: Path) -> str:
    if unmet:
        return f"{unmet} of what {file} expects {'is' if unmet == 1 else 'are'} not so."
    return f"All {entries} expectations are met." if entries > 1 else "The expectation is met."


def _unmet(rules: Sequence[Rule], entry: Expectation) -> Iterator[str]:
    decision = decide(rules, entry.request)
    about = f"{entry.place}: {entry.request.name} and {entry.request.card}"
    if decision.action is not entry.action:
        yield f"{about}: {entry.action} was expected, and {_by(decision)} says {decision.action}."
        return
    for row, expected in (*((row, True) for row in entry.allowed), *((row, False) for row in entry.refused)):
        if _reaches(decision.rule, row) is not expected:
            word = "is refused" if expected else "reaches the card"
            yield f"{about}: {row[-1].hex().upper()} {word}, by {_by(decision)}."


def _reaches(rule: Rule, row: Row) -> bool:
    return not judged(rule, row)[-1].reason


def _by(decision: Decision) -> str:
    return "no rule, which" if decision.rule is NO_RULE else str(decision.rule.place)
