"""`virtcard watch`: changes as they come."""

from __future__ import annotations

import sys

import click

from virtcard.cli.called import Called
from virtcard.cli.live import show
from virtcard.cli.options import Choice
from virtcard.cli.screen import is_plain, say, say_json_line
from virtcard.cli.shapes import Change, change
from virtcard.errors import InvalidArgument


class Seconds(click.FloatRange):
    """Called what people call it in complaints."""

    name = "number"


@click.command("watch")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--timeout", type=Seconds(min=0), metavar="SECONDS", help="End after so many seconds.")
@click.option("--live", is_flag=True, help="Show a table of everything that stays current, in place of lines.")
@click.pass_obj
def verb(choice: Choice, *, as_json: bool, timeout: float | None, live: bool) -> None:
    """Print changes as they come.

    Every change of a domain, a reader, a bridge or a software card is a line, until Ctrl-C. With --live there is a
    table of the machines and readers, with the commands that each machine sends to its card.
    """
    if live and as_json:
        raise click.UsageError("Give either --live or --json.")
    if live and is_plain(sys.stdout):
        raise InvalidArgument("--live needs a terminal.", hint="Leave it out, and get a line for each change.")
    with choice.open() as client:
        if live:
            show(client, timeout)
            return
        events = client.events(timeout)
        called = None if as_json else Called(client.objects())
        for event in events:
            shape = change(event.kind, event.path, event.interface, event.properties)
            if called is None:
                say_json_line(shape)
            else:
                _show(shape, called)


def _show(shape: Change, called: Called) -> None:
    label = called.label(shape)
    values = " ".join(f"{name}={_word(called.value(name, value))}" for name, value in shape["properties"].items())
    say(f"{shape['type']} {_word(label)} {shape['event']} {values}".rstrip().replace("\n", " "))
    sys.stdout.flush()


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ",".join(str(each["slot"] if isinstance(each, dict) else each) for each in value)
    text = "-" if value in (None, "") else str(value)
    return f"'{text}'" if " " in text else text
