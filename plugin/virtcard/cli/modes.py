"""The options of `enable` and `inject-xml` that say where the card of a virtual reader lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final

import click

from virtcard.errors import InvalidArgument

_PORT_MAX: Final = 65_535
MODES: Final = ("bridge", "host", "host-certificates", "tcp", "spice")


def mode_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the verb gets `setup`: what was said, in the words of D-Bus."""

    @wraps(verb)
    def with_setup(*arguments: Any, **values: Any) -> Any:
        words = {name: values.pop(name) for name in _NAMES}
        _check(words)
        return verb(*arguments, setup=said(**words), **values)

    for option in reversed(_OPTIONS):
        with_setup = option(with_setup)
    return with_setup


def said(
    *, mode: str, certificate: tuple[str, ...], database: str, tcp: str, role: str | None, tls: bool, insecure: bool
) -> dict[str, Any]:
    """What was said, without what was not: an older daemon knows fewer words."""
    place: Mapping[str, Any] = _place(tcp) if tcp else {}
    values = {
        "mode": "" if mode == MODES[0] else mode,
        "certificates": list(certificate),
        "database": database,
        **place,
        "role": role or "",
        "tls": tls,
        "insecure": insecure,
    }
    return {name: value for name, value in values.items() if value}


def _check(words: Mapping[str, Any]) -> None:
    """Usage errors in the words of the command line; what only virtcardd can tell is for it to say."""
    mode = words["mode"]
    for name, owner in _OWNERS.items():
        if words[name] and mode != owner:
            raise click.UsageError(f"--{name} goes with --mode {owner}.")
    if mode == "tcp" and not words["tcp"]:
        raise click.UsageError("--mode tcp needs --tcp HOST:PORT.")
    if mode == "host-certificates" and len(words["certificate"]) != 3:
        raise click.UsageError("--mode host-certificates takes --certificate NAME three times.")


def brought_by(setup: Mapping[str, Any]) -> str:
    """The sentence that says who brings the card in the modes tcp and spice, or ""."""
    if setup.get("mode") == "spice":
        return " Its card comes from a viewer that shares smart cards, such as remote-viewer --spice-smartcard."
    if setup.get("mode") != "tcp" or "port" not in setup:
        return ""
    host = setup["address"]
    place = f"[{host}]:{setup['port']}" if ":" in host else f"{host}:{setup['port']}"
    verb = "listen" if setup.get("role") == "connect" else "connect"
    scheme = "tls" if setup.get("tls") else "tcp"
    insecure = " --insecure" if setup.get("insecure") else ""
    return f" Its card comes from 'virtcard {verb} {scheme}://{place} SOURCE{insecure}'."


def _place(text: str) -> dict[str, Any]:
    host, colon, port = text.rpartition(":")
    literal = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host) != literal or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise InvalidArgument(
            f"'{text}' is not HOST:PORT.", hint="For example 127.0.0.1:2001; an IPv6 address stands in []."
        )
    if not 0 < int(port) <= _PORT_MAX:
        raise InvalidArgument(f"{port} is not a port.", hint="A port is a number from 1 to 65535.")
    return {"address": host.strip("[]"), "port": int(port)}


_OWNERS: Final = {
    "certificate": "host-certificates",
    "database": "host-certificates",
    "tcp": "tcp",
    "role": "tcp",
    "tls": "tcp",
    "insecure": "tcp",
}
"""Which mode an option belongs to."""
_NAMES: Final = ("mode", *_OWNERS)
_OPTIONS: Final = (
    click.option("--mode", type=click.Choice(MODES), default=MODES[0], show_default=True, help="Where the card lives."),
    click.option(
        "--certificate", metavar="NAME", multiple=True, help="host-certificates: one of three, so give it three times."
    ),
    click.option(
        "--database",
        metavar="DIR",
        default="",
        help="host-certificates: their NSS database; else /etc/pki/nssdb.",
    ),
    click.option("--tcp", metavar="HOST:PORT", default="", help="tcp: where QEMU listens, or whom it calls."),
    click.option(
        "--role",
        type=click.Choice(["bind", "connect"]),
        help="tcp: QEMU listens (bind, as if not said) or calls.",
    ),
    click.option("--tls", is_flag=True, help="tcp: TLS, with the certificates that libvirt's qemu.conf names."),
    click.option("--insecure", is_flag=True, help="tcp: plain TCP over a network, with PINs in clear, is meant."),
)
