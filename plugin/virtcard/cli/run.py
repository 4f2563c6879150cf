"""From arguments to an exit code: one way for every ending, and never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType

import click

from virtcard.cli.app import Bare, app
from virtcard.cli.options import Choice
from virtcard.cli.screen import complain
from virtcard.errors import VirtcardError

FAILURE = 1
INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE, as a shell reports it."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TRACEBACK_VARIABLE = "VIRTCARD_TRACEBACK"


def run(words: list[str], choice: Choice | None = None) -> int:
    """Run one command line; `choice` is where a test's own virtcardd stands."""
    try:
        return _invoke(words, choice)
    except VirtcardError as error:
        complain(error.message, error.hint)
        return error.exit_code
    except click.ClickException as error:
        _tell(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError as error:
        return _unwritten(error)


def _invoke(words: list[str], choice: Choice | None) -> int:
    try:
        with app.make_context("virtcard", words, obj=choice) as context:
            code = app.invoke(context)
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _tell(error: click.ClickException) -> None:
    if isinstance(error, Bare):
        print(error.message, file=sys.stderr)
    elif isinstance(error, click.UsageError):
        complain(_sentence(error), f"See '{_path(error)} --help'.")
    else:
        complain(_sentence(error))


def _sentence(error: click.ClickException) -> str:
    """click ends some sentences without a full stop, and lists what there is to choose from in lines."""
    text = " ".join(error.format_message().split())
    return text if text.endswith((".", "?")) else f"{text}."


def _path(error: click.UsageError) -> str:
    return error.ctx.command_path if error.ctx else "virtcard"


def _unwritten(error: OSError) -> int:
    """Our output cannot be written; any other error is raised again."""
    if error.errno not in {errno.EPIPE, *NO_ROOM}:
        raise error
    _silence()
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    complain(f"The output cannot be written: {error.strerror}.", "Make room, and try again.")
    return FAILURE


def _silence() -> None:
    """Nobody reads any more: what Python flushes at its end goes nowhere, instead of complaining a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def tell_briefly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody foresaw: one sentence, and the whole story on request."""
    if os.environ.get(TRACEBACK_VARIABLE):
        sys.__excepthook__(kind, error, trace)
        return
    complain(
        f"Something went wrong inside virtcard ({kind.__name__}).",
        f"Run it again with {TRACEBACK_VARIABLE}=1 in the environment, and report what it prints.",
    )
