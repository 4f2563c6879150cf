"""`virtcard completion SHELL`: the script that makes a shell complete our command line."""

from __future__ import annotations

import click

from virtcard.cli.complete import SHELLS, answer


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def verb(shell: str) -> int:
    """Print the completion script of a shell.

    It completes verbs and options, and from virtcardd the names of VMs, readers and software cards. For yourself alone:

    \b
    source <(virtcard completion bash)                  in ~/.bashrc
    virtcard completion zsh > DIR/_virtcard             DIR is one of $fpath
    virtcard completion fish > ~/.config/fish/completions/virtcard.fish
    """
    return answer(f"{shell}_source")
