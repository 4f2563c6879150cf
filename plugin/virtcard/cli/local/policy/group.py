"""`virtcard policy VERB`: the tree below it."""

from __future__ import annotations

from typing import Final

import click

from virtcard.cli.app import Verbs

POLICY_VERBS: Final = {
    "lint": "virtcard.cli.local.policy.lint",
    "explain": "virtcard.cli.local.policy.explain",
    "test": "virtcard.cli.local.policy.test",
    "generate": "virtcard.cli.local.policy.generate",
    "reload": "virtcard.cli.local.policy.reload",
}


@click.group("policy", cls=Verbs, modules=POLICY_VERBS)
def verb() -> None:
    """Look at the rules: who may use which card.

    They are those of the chosen virtcardd (--system or --session): the admin's files come first, then grants, then the
    vendor's. The first rule that fits decides, and none means no.
    """
