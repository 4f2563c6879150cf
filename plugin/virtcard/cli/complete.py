"""What a shell may complete: VMs, sources, software cards and grants, asked of virtcardd.

click does the rest, but for two things: for bash a source is three words, since it breaks words at colons, and zsh
completes once.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from virtcard.cli import shapes
from virtcard.cli.door import Door, Objects
from virtcard.cli.options import Choice, choose_bus
from virtcard.errors import VirtcardError
from virtcard.limits import COMPLETION_PATIENCE
from virtcard.names import CARD

VARIABLE: Final = "_VIRTCARD_COMPLETE"
"""By which the shell's script asks."""
SHELLS: Final = ("bash", "zsh", "fish")

_BASH: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    COMPREPLY=()
    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Words as the shell will have them, colons and quotes and all."""

    source_template = _BASH

    def source(self) -> str:
        """The script, without a look for a bash on this machine."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """The whole words before the cursor, and the one under way."""
        before, word = split_line(_line())
        return split_arg_string(before)[1:], next(iter(split_arg_string(word)), "")

    def format_completion(self, item: CompletionItem) -> str:
        """What bash puts in the place of the word, or of what comes behind its last colon."""
        _, word = split_line(_line())
        return f"{item.type},{replacement(str(item.value), word, os.environ.get('COMP_WORDBREAKS', ''))}"


class Zsh(ZshComplete):
    """Completes at the second time, too: click's script takes itself for sourced then, since it is loaded already."""

    source_template = ZshComplete.source_template.replace(
        "$zsh_eval_context[-1] == loadautofunc", "$funcstack[1] == _%(prog_name)s"
    )


def answer(instruction: str, choice: Choice | None = None) -> int:
    """What the script of a shell asked for; nothing when virtcardd takes too long."""
    from virtcard.cli.app import app

    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, COMPLETION_PATIENCE)
    for kind in (Bash, Zsh):
        add_completion_class(kind)
    return shell_complete(app, {"obj": choice} if choice else {}, "virtcard", VARIABLE, instruction)


def split_line(line: str) -> tuple[str, str]:
    """The line before the word under way, and that word as it was typed."""
    start, quote, escaped = 0, "", False
    for at, letter in enumerate(line):
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        elif not quote and letter.isspace():
            start = at + 1
    return line[:start], line[start:]


def replacement(value: str, word: str, breaks: str) -> str:
    """In quotes bash takes a value as it is; else it is escaped, and only what follows a colon is replaced."""
    if word[:1] in ("'", '"'):
        return value
    escaped = re.sub(r"([^\w@%+=:,./-])", r"\\\1", value)
    return escaped.rpartition(":")[2] if ":" in word and ":" in breaks else escaped


def vms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of domains."""
    del param
    return _asked(ctx, incomplete, lambda client: _domains(client.objects()))


def sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The readers of the host, and software cards."""
    del param
    return _asked(ctx, incomplete, lambda client: _sources(client.objects()))


def cards(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of software cards."""
    del param
    return _asked(ctx, incomplete, lambda client: [CompletionItem(name) for name in _cards(client.objects())])


def _domains(objects: Objects) -> list[CompletionItem]:
    return [CompletionItem(each["name"], help=each["state"]) for each in shapes.domains(objects)]


def _sources(objects: Objects) -> list[CompletionItem]:
    named = [f"reader:{each['name']}" for each in shapes.readers(objects)]
    return [CompletionItem(name) for name in (*named, *(f"card:{name}" for name in _cards(objects)))]


def _cards(objects: Objects) -> list[str]:
    return sorted(str(each[CARD]["Name"]) for each in objects.values() if CARD in each)


def _asked(
    ctx: click.Context, incomplete: str, look: Callable[[Door], Iterable[CompletionItem]]
) -> list[CompletionItem]:
    """What begins with what was typed; nothing when virtcardd does not answer."""
    try:
        with _choice(ctx).open() as client:
            found = list(look(client))
    except VirtcardError:
        return []
    return [item for item in found if str(item.value).startswith(incomplete)]


def _choice(ctx: click.Context) -> Choice:
    if isinstance(ctx.obj, Choice):
        return ctx.obj
    words: dict[str, Any] = ctx.find_root().params
    return Choice(lambda: choose_bus(words.get("uri"), words.get("place")))


def _line() -> str:
    """The line up to the cursor; bash counts bytes."""
    line = os.environ.get("COMP_LINE", "")
    return os.fsencode(line)[: int(os.environ.get("COMP_POINT", "0"))].decode(errors="replace")


def _too_late(number: int, frame: FrameType | None) -> None:
    del number, frame
    os._exit(0)
