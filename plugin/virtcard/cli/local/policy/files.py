"""Which rules a verb looks at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from virtcard.cli.options import Choice
from virtcard.errors import PolicyBroken
from virtcard.policy.folders import SUFFIX, Folders, documents, load, read, session_folders, system_folders
from virtcard.policy.load import Document, Policy, parse
from virtcard.policy.model import Place, Rule
from virtcard.policy.problem import Problem, Severity

LINT_HINT = "'virtcard policy lint' tells all that is wrong."


def folders(choice: Choice) -> Folders:
    """Those of the chosen virtcardd."""
    return session_folders() if choice.bus == "session" else system_folders()


def policy_of(choice: Choice, paths: Iterable[Path]) -> Policy:
    """The policy in these files and folders, whoever owns them; without any, the one of the chosen virtcardd."""
    named = tuple(paths)
    if not named:
        return load(folders(choice))
    found = [each for path in named for each in _found(path)]
    policy = parse([each for each in found if isinstance(each, Document)])
    return Policy(policy.rules, (*(each for each in found if isinstance(each, Problem)), *policy.problems))


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """The rules of a policy that virtcardd would use; PolicyBroken for any other."""
    for error in policy.errors:
        raise PolicyBroken(str(error), hint=error.hint or LINT_HINT)
    return policy.rules


def _found(path: Path) -> list[Document | Problem]:
    """What is at a path; a folder without files is no policy that somebody can mean."""
    if not path.is_dir():
        return [read(path)]
    empty = Problem(Severity.ERROR, Place(str(path)), "", f"It has no files *{SUFFIX}.", "Name others, or none.")
    return list(documents(path)) or [empty]
