"""Policy files: rules or problems, and no rule decides anything but by an answer."""

from __future__ import annotations

from typing import Final

from virtcard.policy.load import Document, Policy, parse
from virtcard.policy.model import Rule
from virtcard.policy.problem import Severity

FILE: Final = "50-fuzz.toml"


def check(data: bytes) -> None:
    """`data` as one file, and cut in two."""
    text = data.decode(errors="replace")
    policy = parse([Document(FILE, text)])
    _check_policy(policy)
    assert parse([Document(FILE, text)]) == policy
    middle = text.find("[[rule]]", 1)
    _check_policy(parse([Document(FILE, text[:middle]), Document(FILE, text[middle:])]))


def _check_policy(policy: Policy) -> None:
    assert all(isinstance(rule, Rule) for rule in policy.rules)
    for problem in policy.problems:
        assert problem.severity in Severity
        assert str(problem).startswith(FILE)
        assert problem.message.isprintable()
        assert problem.key.isprintable()
