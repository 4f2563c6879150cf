"""The tree of verbs. A verb's module is loaded when it is used or when help lists it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click

from virtcard.cli.options import Choice, choose_bus
from virtcard.version import VERSION

VERBS = {
    "list": "virtcard.cli.list",
    "info": "virtcard.cli.info",
    "readers": "virtcard.cli.readers",
    "enable": "virtcard.cli.enable",
    "disable": "virtcard.cli.disable",
    "insert": "virtcard.cli.insert",
    "eject": "virtcard.cli.eject",
    "prepare-migrate": "virtcard.cli.prepare_migrate",
    "watch": "virtcard.cli.watch",
    "status": "virtcard.cli.status",
    "log": "virtcard.cli.log",
    "agent": "virtcard.cli.agent",
    "trace": "virtcard.cli.trace",
    "grants": "virtcard.cli.grants",
    "doctor": "virtcard.cli.local.doctor.verb",
    "card": "virtcard.cli.local.card.group",
    "policy": "virtcard.cli.local.policy.group",
    "connect": "virtcard.cli.local.connect",
    "listen": "virtcard.cli.local.listen",
    "inject-xml": "virtcard.cli.local.inject",
    "completion": "virtcard.cli.completion",
}


class Bare(click.UsageError):
    """A group was named without a verb; its help is the message."""


class Verbs(click.Group):
    """A group that imports a verb's module (its `verb`) on demand; `modules` has them by verb."""

    def __init__(self, *arguments: Any, modules: Mapping[str, str] = VERBS, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every verb, in the order of a day's work."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb of that name, or None."""
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        verb = import_module(module).verb
        return verb if isinstance(verb, click.Command) else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a word there is help, whatever this version of click makes of that."""
        if not args and not ctx.resilient_parsing:
            raise Bare(ctx.get_help(), ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb; for one that there is not, perhaps the one that was meant."""
        if not ctx.resilient_parsing and args[0] not in self._modules and not args[0].startswith("-"):
            raise click.UsageError(f"There is no verb '{args[0]}'.{_meant(args[0], self._modules)}", ctx)
        return super().resolve_command(ctx, args)


def _meant(word: str, verbs: Iterable[str]) -> str:
    from difflib import get_close_matches

    return "".join(f" Did you mean '{near}'?" for near in get_close_matches(word, verbs, 1))


EPILOG = """\b
Exit codes: 0 ok, 1 failure, 2 usage, 3 not authorized, 4 not found,
5 denied by policy, 6 timeout, 130 after Ctrl-C."""


@click.group(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="virtcard %(version)s")
@click.option("-c", "--connect", "uri", metavar="URI", help="qemu:///system or qemu:///session, as for virsh.")
@click.option("--system", "place", flag_value="system", help="Speak to the system's virtcardd (default).")
@click.option("--session", "place", flag_value="session", help="Speak to your own virtcardd, for qemu:///session.")
@click.pass_context
def app(ctx: click.Context, uri: str | None, place: str | None) -> None:
    """Smart cards for virtual machines, without taking them from the host.

    A VM is named by its name, its UUID or its id. Without --connect, --system or --session, the variables
    VIRSH_DEFAULT_CONNECT_URI and LIBVIRT_DEFAULT_URI are followed as virsh does.
    """
    if ctx.obj is None:
        ctx.obj = Choice(lambda: choose_bus(uri, place), is_given=uri is not None or place is not None)
