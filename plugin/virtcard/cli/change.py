"""What `enable` and `disable` share: the call, and how its result is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from virtcard.cli.busy import busy
from virtcard.cli.door import Door, Properties
from virtcard.cli.screen import printable, say, warn
from virtcard.cli.screen import tell as tell_aside
from virtcard.cli.shapes import finding
from virtcard.errors import Unsupported
from virtcard.limits import CALL_PATIENCE
from virtcard.names import DOMAIN

LATER = " This takes effect after the domain is fully powered off and started again."


def virsh_wording(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Take virsh's --config, which is always so, and --live, which is refused with a sentence."""
    config = click.option(
        "--config",
        is_flag=True,
        expose_value=False,
        help="Change the configuration, for the next cold start.",
    )
    live = click.option(
        "--live", is_flag=True, expose_value=False, callback=_refuse_live, help="Refused: not for a running machine."
    )
    return config(live(verb))


def alter(client: Door, path: str, member: str, options: Mapping[str, Any]) -> Properties:
    """Call `member` of a domain; the result's dictionary."""
    with busy("virtcardd changes the domain; somebody may have to agree."):
        (result,) = client.call(path, DOMAIN, member, "a{sv}", (options,), timeout=CALL_PATIENCE)
    values: Properties = result
    return values


def tell(result: Properties, done: str, already: str, *, dry_run: bool) -> None:
    """The diff of a dry run, or a sentence about what was done; findings go to stderr, and that there is no diff."""
    if dry_run and result["diff"]:
        print(printable(result["diff"]), end="")
    elif dry_run:
        tell_aside(already)
    elif result["changed"]:
        say(done + (LATER if result["pending"] else ""))
    else:
        say(already)
    for each in map(finding, result.get("findings", ())):
        warn(each["message"], each["hint"])


def _refuse_live(context: click.Context, option: click.Parameter, live: bool) -> None:
    if live and not context.resilient_parsing:
        raise Unsupported(
            f"A virtual reader takes effect at the next cold start, so {option.opts[0]} is not possible.",
            hint=f"Leave {option.opts[0]} out, then power the domain off and on, or see 'virtcard enable --hotplug'.",
        )
