"""`virtcard policy reload`: virtcardd reads its files anew now."""

from __future__ import annotations

import click

from virtcard.cli.options import Choice
from virtcard.cli.screen import say
from virtcard.limits import CALL_PATIENCE
from virtcard.names import MANAGER, ROOT_PATH


@click.command("reload")
@click.pass_obj
def verb(choice: Choice) -> None:
    """Have virtcardd read the rules anew.

    It does so by itself when files change, a little later. What the new rules deny is ejected; when a file is bad, the
    last good policy stays in use, and this command says what is wrong.
    """
    with choice.open() as client:
        client.call(ROOT_PATH, MANAGER, "Reload", "a{sv}", ({},), timeout=CALL_PATIENCE)
    say("The policy was read anew.")
