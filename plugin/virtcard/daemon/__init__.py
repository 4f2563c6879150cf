"""virtcardd: what its words mean, and its process."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import resource
import signal
import sys
from contextlib import suppress

import click

from virtcard.daemon.folders import check_socket_dir
from virtcard.daemon.run import Daemon
from virtcard.errors import VirtcardError
from virtcard.limits import SWITCH_INTERVAL
from virtcard.settings import Settings, settings
from virtcard.version import VERSION


def prepare_process() -> None:
    """For a thousand bridges. Each takes two descriptors, and four with a software card; the usual soft limit of 1,024
    is there for programs that still use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setswitchinterval(SWITCH_INTERVAL)


async def _serve(chosen: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    daemon = Daemon(chosen)
    loop.add_signal_handler(signal.SIGHUP, daemon.hear_sighup)
    await daemon.run(stop)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--session", is_flag=True, help="Serve the session bus and qemu:///session of this user.")
@click.option("-c", "--connect", metavar="URI", help="The libvirt connection to watch.")
@click.option("--socket-dir", metavar="DIR", help="Where the VSCard sockets of the domains belong.")
@click.option(
    "--metrics",
    is_flag=True,
    envvar="VIRTCARDD_METRICS",
    help="Write metrics for Prometheus into the runtime directory; so does VIRTCARDD_METRICS=1.",
)
@click.option("--verbose", is_flag=True, help="Log what is done, not only what went wrong.")
@click.version_option(VERSION, prog_name="virtcardd")
def command(*, session: bool, connect: str | None, socket_dir: str | None, metrics: bool, verbose: bool) -> None:
    """Give libvirt domains a smart card reader, and cards to put in."""
    with suppress(RuntimeError, OSError):  # somebody may have closed our stderr
        faulthandler.enable()  # what the watchdog ends says where it hung
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(name)s: %(message)s",
        stream=sys.stderr,
    )
    chosen = settings(session=session, connect=connect, socket_dir=socket_dir, metrics=metrics)
    check_socket_dir(chosen)
    prepare_process()
    asyncio.run(_serve(chosen))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `virtcardd`."""
    try:
        command.main(args=arguments, prog_name="virtcardd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except VirtcardError as error:
        sys.stderr.write(f"virtcardd: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    return 0
