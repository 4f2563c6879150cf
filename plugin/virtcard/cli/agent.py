"""`virtcard agent`: ask the person, on behalf of virtcardd."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from virtcard.cli.options import Choice

BOTH = ("system", "session")


@click.command("agent")
@click.option("--terminal", is_flag=True, help="Ask on this terminal, and not by notifications of the desktop.")
@click.option("--verbose", is_flag=True, help="Say when it is registered.")
@click.pass_obj
def verb(choice: Choice, terminal: bool, verbose: bool) -> None:
    """Ask you what a virtual machine may do.

    When the policy says that a person is to be asked, virtcardd asks the one who sits at the machine, by the agent that
    this user runs. Without an answer, the answer is no. It answers to the system's virtcardd and to your own; --system
    and --session choose one of them.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="virtcard agent: %(message)s", stream=sys.stderr
    )
    from virtcard.agent.run import by_notifications, by_terminal

    buses = (choice.bus,) if choice.is_given else BOTH
    asyncio.run(by_terminal(buses) if terminal else by_notifications(buses))
