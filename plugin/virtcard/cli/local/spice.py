"""What `virtcard connect spice://...` takes, and how the command asks for a password."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtcard.cli.local.card.secrets import secret, terminal
from virtcard.errors import Failed, InvalidArgument

if TYPE_CHECKING:
    from virtcard.bridge.endpoint import Endpoint
    from virtcard.bridge.spice.clients import Look
    from virtcard.bridge.spice.security import SpiceSecurity
    from virtcard.bridge.spice.settings import SpiceSettings

ATTEMPTS = 3
"""Passwords that a person may type."""
OPTION = "--password-file"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class SpiceOptions:
    """The words of the command line."""

    password_file: str | None = None
    domain: str | None = None
    qmp: str | None = None
    take_over: bool = False
    ca_file: Path | None = None
    host_subject: str = ""


def spice_options(function: F) -> F:
    """The options of SPICE; the function gets them by the names of SpiceOptions."""
    for option in (
        click.option(
            "--host-subject", metavar="SUBJECT", default="", help="spice+tls: the certificate's, if not HOST."
        ),
        click.option("--ca-file", metavar="FILE", type=click.Path(path_type=Path), help="spice+tls: the authority."),
        click.option("--take-over", is_flag=True, help="spice: disconnect a viewer that is in the way."),
        click.option("--qmp", metavar="SOCKET", help="spice: the same, by a monitor that this QEMU has there."),
        click.option("--domain", metavar="VM", help="spice: ask libvirt's QEMU of VM whether a viewer is connected."),
        click.option(OPTION, metavar="FILE", help="spice: the password is its first line; - is standard input."),
    ):
        function = option(function)
    return function


def spice_settings(endpoint: Endpoint, options: SpiceOptions, bus: Callable[[], str]) -> SpiceSettings | None:
    """How the server is met, None for an endpoint that is no SPICE server's. InvalidArgument, NoSuchDomain.

    `bus` says which libvirt a domain is of."""
    from virtcard.bridge.spice.settings import SpiceSettings
    from virtcard.bridge.spice.ticket import check_password

    if not endpoint.scheme.is_spice:
        if options != SpiceOptions():
            raise InvalidArgument(f"{endpoint} is no SPICE server.", hint="Write spice://HOST:PORT.")
        return None
    password = b"" if options.password_file is None else secret("password", options.password_file, OPTION)
    security = _security(endpoint, options)
    return SpiceSettings(check_password(password), _look(options, bus), options.take_over, security)


def with_password(settings: SpiceSettings, options: SpiceOptions, serve: Callable[[SpiceSettings], None]) -> None:
    """Serve, and again with a password that a person types, when the server wants another one."""
    from virtcard.bridge.spice.ticket import check_password

    for _ in range(ATTEMPTS):
        try:
            serve(settings)
        except Failed:
            if not settings.denied.is_set() or options.password_file is not None or not terminal():
                raise
        else:
            return
        password = check_password(secret("SPICE password", None, OPTION))
        settings = replace(settings, password=password, denied=Event())
    serve(settings)


def _look(options: SpiceOptions, bus: Callable[[], str]) -> Look | None:
    if options.domain is not None:
        from virtcard.cli.local.monitor import URIS, DomainMonitor

        if options.qmp:
            raise InvalidArgument("--domain and --qmp are two ways to the same monitor.", hint="Give only one of them.")
        monitor = DomainMonitor(URIS[bus()], options.domain)
        monitor.record()
        return monitor.clients
    if options.qmp:
        from virtcard.bridge.spice.qmp import QmpSocket

        return QmpSocket(options.qmp).clients
    return None


def _security(endpoint: Endpoint, options: SpiceOptions) -> SpiceSecurity | None:
    from virtcard.bridge.endpoint import Scheme
    from virtcard.bridge.spice.security import SpiceSecurity, default_authority
    from virtcard.bridge.spice.subject import Subject
    from virtcard.bridge.tls import Side

    if endpoint.scheme is not Scheme.SPICE_TLS:
        if options.ca_file or options.host_subject:
            raise InvalidArgument(f"{endpoint} has no TLS.", hint="Write spice+tls://HOST:PORT.")
        return None
    subject = Subject.parse(options.host_subject) if options.host_subject else None
    security = SpiceSecurity(options.ca_file or default_authority(), subject)
    security.context(Side.CLIENT)  # a wrong file is told now
    return security
