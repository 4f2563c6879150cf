"""`virtcard trace VM`: what passes between a bridge and its card, as a capture for Wireshark."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import click

from virtcard.cli.capture import Capture
from virtcard.cli.complete import vms
from virtcard.cli.options import Choice
from virtcard.cli.screen import tell
from virtcard.cli.slots import slot_option
from virtcard.cli.traffic import counted
from virtcard.errors import Failed, InvalidArgument
from virtcard.limits import CALL_PATIENCE
from virtcard.names import DOMAIN

STDOUT = "-"


@click.command("trace")
@click.argument("vm", shell_complete=vms)
@click.option("-o", "--output", metavar="FILE", default=STDOUT, help="Where the capture goes; - is standard output.")
@slot_option
@click.pass_obj
def verb(choice: Choice, vm: str, output: str, slot: Mapping[str, int]) -> None:
    """See every command that a domain sends to its card.

    From now on until Ctrl-C, or until the domain stops. The capture is pcapng, which Wireshark and tshark show as
    APDUs: virtcard trace VM | wireshark -k -i -

    PINs and keys in commands are overwritten. The rest is what it is: what a card decrypts stands in its answers.
    """
    if output == STDOUT and sys.stdout.isatty():
        raise InvalidArgument(
            "A capture is nothing to look at on a terminal.",
            hint=f"Write a file with -o FILE, or pipe it: virtcard trace {vm} | wireshark -k -i -",
        )
    with choice.open() as client:
        (path,) = client.call(client.find_domain(vm), DOMAIN, "Trace", "a{sv}", (dict(slot),), timeout=CALL_PATIENCE)
    with _connected(path) as link, _opened(output) as file:
        tell(f"The trace of '{vm}' has begun; Ctrl-C ends it.")
        capture = Capture()
        with _ending(link):
            _copy(link, file, capture)
    _conclude(vm, output, capture)


def _conclude(vm: str, output: str, capture: Capture) -> None:
    apdus = counted(capture.commands, "APDU")
    number = f"{apdus} of '{vm}' {'is' if capture.commands == 1 else 'are'}"
    lost = f"; {counted(capture.lost, 'packet')} came too fast and got lost" if capture.lost else ""
    tell(f"{number} in {'the capture' if output == STDOUT else output}{lost}.")


def _copy(link: socket.socket, file: int, capture: Capture) -> None:
    """Until the daemon has told everything, or nobody reads our output any more."""
    try:
        while data := link.recv(65536):
            blocks = memoryview(capture.feed(data))
            while blocks:
                blocks = blocks[os.write(file, blocks) :]
    except BrokenPipeError:
        return
    except OSError as error:
        raise Failed(f"The capture cannot be written: {error.strerror}.") from error


@contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(path)
        except OSError as error:
            raise Failed(f"The trace cannot be fetched: {error.strerror}.", hint="Try again.") from error
        yield link


@contextmanager
def _opened(output: str) -> Iterator[int]:
    """A descriptor of the file, for its owner alone: a capture is as private as what the card was asked."""
    if output == STDOUT:
        yield sys.stdout.fileno()
        return
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failed(f"'{output}' cannot be written: {error.strerror}.", hint="Choose another file.") from error
    try:
        if stat.S_ISREG(os.fstat(file).st_mode):
            os.fchmod(file, 0o600)
        yield file
    finally:
        os.close(file)


@contextmanager
def _ending(link: socket.socket) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks the daemon for the rest; the second one does not wait for it."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, before[number])
        link.shutdown(socket.SHUT_WR)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
