"""`virtcard card VERB`: the tree below it."""

from __future__ import annotations

from typing import Final

import click

from virtcard.cli.app import Verbs

CARD_VERBS: Final = {
    "create": "virtcard.cli.local.card.create",
    "import": "virtcard.cli.local.card.bring",
    "list": "virtcard.cli.local.card.list",
    "show": "virtcard.cli.local.card.show",
    "passwd": "virtcard.cli.local.card.passwd",
    "unblock": "virtcard.cli.local.card.unblock",
    "export": "virtcard.cli.local.card.export",
    "delete": "virtcard.cli.local.card.delete",
    "create-nss": "virtcard.cli.local.card.create_nss",
}


@click.group("card", cls=Verbs, modules=CARD_VERBS)
def verb() -> None:
    """Make and keep software cards.

    They lie in the store of the chosen virtcardd (--system or --session). Root, and everybody with --session, works on
    its files, and virtcardd need not run; others are served by the system's virtcardd, where polkit decides. PINs are
    asked for, or read from the first line of a file; several files called "-" are the next lines of standard input.
    Then: virtcard insert VM card:NAME
    """
