"""What a policy says that its author may not have meant. None of it keeps the policy from being used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from virtcard.policy.model import Action, Monitor, Place, Rule
from virtcard.policy.patterns import is_suspicious
from virtcard.policy.problem import Problem, Severity
from virtcard.policy.remember import NOT_REMEMBERED


def lint(rules: Sequence[Rule]) -> tuple[Problem, ...]:
    """Warnings, in the order of the rules."""
    return tuple(problem for index, rule in enumerate(rules) for problem in _look(rule, rules[:index]))


def _look(rule: Rule, before: Sequence[Rule]) -> Iterator[Problem]:
    for earlier in before:
        if _says_more(rule, earlier):
            continue
        if earlier.conditions == rule.conditions:
            yield _warning(rule.place, "", f"It fits what the rule at {earlier.place} fits, and is never used.")
            break
        if _covers(earlier, rule):
            yield _warning(rule.place, "", f"The rule at {earlier.place} fits first, and it is never used.")
            break
    yield from _idle(rule)
    for key, pattern in (("vm", rule.vm), ("card", rule.card)):
        if is_suspicious(pattern):
            yield _warning(
                rule.place,
                key,
                "A part in [] stands for one of the characters in it.",
                "For a [ in a name write [[], or write the whole name without a pattern.",
            )


def _covers(earlier: Rule, rule: Rule) -> bool:
    """Sure to fit whatever `rule` fits. Patterns are compared by what is plain: the same, or one that fits all."""
    return all(one == other or one in ("", "*") for one, other in zip(earlier.conditions, rule.conditions, strict=True))


def _says_more(rule: Rule, earlier: Rule) -> bool:
    """What is about readers counts even where an earlier rule decides about every card."""
    pairs = ((rule.on_existing, earlier.on_existing), (rule.monitor, earlier.monitor))
    return any(word is not None and other is None for word, other in pairs)


def _idle(rule: Rule) -> Iterator[Problem]:
    """Keys that do nothing with this action."""
    plain = Rule(rule.action)
    if rule.action is not Action.ASK:
        for key, one, other in (
            ("remember", rule.remember, NOT_REMEMBERED),
            ("ask-for", rule.ask_for, plain.ask_for),
        ):
            if one != other:
                yield _warning(rule.place, key, f'It means nothing where the action is "{rule.action}".')
    if rule.action is Action.DENY and rule.commands != plain.commands:
        yield _warning(rule.place, "commands", 'It means nothing where the action is "deny".')
    if rule.monitor is Monitor.HOTPLUG and rule.vm in ("", "*"):
        yield _warning(
            rule.place,
            "monitor",
            "It holds for every machine, and libvirt can neither save nor migrate one with a hot-plugged reader.",
            "Name the machines with 'vm'.",
        )


def _warning(place: Place, key: str, message: str, hint: str = "") -> Problem:
    return Problem(Severity.WARNING, place, key, message, hint)
