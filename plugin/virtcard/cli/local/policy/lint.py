"""`virtcard policy lint`: what is wrong with the rules, and what their author may not have meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import click

from virtcard.cli.local.policy.files import folders, policy_of
from virtcard.cli.options import Choice
from virtcard.cli.screen import say, say_json
from virtcard.policy.folders import hidden
from virtcard.policy.lint import lint
from virtcard.policy.problem import Problem, Severity


class Finding(TypedDict):
    """One of them: `severity` is "error" or "warning"; line 0 is the whole file, and `key` may be ""."""

    severity: str
    file: str
    line: int
    key: str
    message: str
    hint: str


@click.command("lint")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@click.pass_obj
def verb(choice: Choice, paths: tuple[Path, ...], as_json: bool) -> int:
    """Say what is wrong with the rules, with file and line.

    Without a PATH (files, or folders with files *.toml) the policy of the chosen virtcardd is looked at, and who may
    write its files too; root also hears of those that virtcardd may not read. With an error such a policy is not used;
    a warning is about what may not have been meant.
    """
    policy = policy_of(choice, paths)
    unread = hidden(folders(choice)) if os.geteuid() == 0 and not paths else ()
    problems = (*policy.problems, *unread, *lint(policy.rules))
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if as_json:
        say_json([_finding(problem) for problem in problems])
    else:
        for problem in problems:
            say(f"{problem.severity}: {problem}" + (f"\n  {problem.hint}" if problem.hint else ""))
        say(_sum(len(policy.rules), errors, len(problems) - errors))
    return 1 if errors else 0


def _finding(problem: Problem) -> Finding:
    place = problem.place
    return Finding(
        severity=problem.severity.value,
        file=place.file,
        line=place.line,
        key=problem.key,
        message=problem.message,
        hint=problem.hint,
    )


def _sum(rules: int, errors: int, warnings: int) -> str:
    return f"{_counted(rules, 'rule')}, {_counted(errors, 'error')}, {_counted(warnings, 'warning')}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
