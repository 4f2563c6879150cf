"""`virtcard card import NAME`: keys and certificates that are there already, in a new card or into a slot of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtcard.cli.local.card.new import PASSWORD_OPTION, password_file, pin_file, puk_file, unlocked, wanted
from virtcard.cli.local.card.place import Place, check_free, chosen, content, exists, made
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.options import Choice
from virtcard.cli.screen import say, warn

if TYPE_CHECKING:
    from virtcard.card.soft.material import Material


@click.command("import")
@click.argument("name")
@click.option("--cert", metavar="FILE", help="PEM: the certificate, perhaps with those of its authorities.")
@click.option("--key", metavar="FILE", help="PEM: its private key.")
@click.option("--pkcs12", metavar="FILE", help="Both in one file (.p12, .pfx).")
@click.option("--nss", metavar="sql:DIR", help="An NSS database, with the certificates of --certs.")
@click.option(
    "--certs",
    metavar="NAME,NAME,NAME",
    default="id-cert,signing-cert,encryption-cert",
    show_default=True,
    help="--nss: their nicknames, in the order of the card's slots.",
)
@click.option("--type", "kind", type=click.Choice(["piv", "cac"]), help="As if not said piv, and cac with --nss.")
@click.option(
    "--slot", metavar="SLOT", help="Where the key goes, also in a card that is there; else a new card's first (9a, id)."
)
@click.option("--replace", is_flag=True, help="Take the place of a key that is in the slot already.")
@pin_file
@puk_file
@password_file
@click.pass_obj
def verb(
    choice: Choice,
    *,
    name: str,
    cert: str | None,
    key: str | None,
    pkcs12: str | None,
    nss: str | None,
    certs: str,
    kind: str | None,
    slot: str | None,
    replace: bool,
    pin_file: str | None,
    puk_file: str | None,
    password_file: str | None,
) -> None:
    """Make a card with keys that are there already.

    They come from PEM files (--cert and --key), a PKCS #12 file or an NSS database. With --slot one goes into a card
    that is there, which needs no PIN.
    """
    pem = _pair(cert, key)
    if sum(given is not None for given in (pem, pkcs12, nss)) != 1 or (nss and slot):
        raise click.UsageError("Give either --cert and --key, or --pkcs12, or --nss without --slot.")
    place = chosen(choice)
    there = slot is not None and exists(place, name)
    if there and (pin_file or puk_file or kind):
        raise click.UsageError(f"The card {name} is there, with its type, PIN and PUK.")
    if not there:
        check_free(place, name)
    found = _from_nss(nss, certs.split(","), password_file) if nss else [_from_file(pem, pkcs12, password_file)]
    if there and slot is not None:
        place.put(name, slot, found[0], replace=replace)
        told = f"The card {name} has another key, in slot {slot}."
    else:
        _make(place, name, kind or ("cac" if nss else "piv"), slot, found, pin_file, puk_file)
        told = made(choice, name)
    for sentence in (each for material in found for each in material.warnings()):
        warn(sentence)
    say(told)


def _make(  # noqa: PLR0917
    place: Place,
    name: str,
    kind: str,
    slot: str | None,
    found: list[Material],
    pin_file: str | None,
    puk_file: str | None,
) -> None:
    """That they fit is told before a PIN is asked for."""
    from virtcard.card.soft.model import CardType
    from virtcard.card.soft.upkeep import placed

    materials = placed(CardType(kind), [(slot or "", material) for material in found])
    place.bring(wanted(name, kind, pin_file, puk_file), materials)


def _pair(cert: str | None, key: str | None) -> tuple[str, str] | None:
    if cert is not None and key is not None:
        return cert, key
    if cert is not None or key is not None:
        raise click.UsageError("--cert and --key belong together.")
    return None


def _from_file(pem: tuple[str, str] | None, pkcs12: str | None, password_file: str | None) -> Material:
    from virtcard.card.soft.material import load_pem, load_pkcs12

    if pem is not None:
        joined = b"\n".join(content(path) for path in dict.fromkeys(pem))
        return unlocked(lambda password: load_pem(joined, password), password_file)
    read = content(pkcs12 or "")
    return unlocked(lambda password: load_pkcs12(read, password), password_file)


def _from_nss(database: str, nicknames: list[str], password_file: str | None) -> list[Material]:
    from virtcard.card.soft.nss import WrongPassword, find_database, import_nss, read_certificate

    directory = find_database(database)
    for nickname in nicknames:
        read_certificate(directory, nickname)
    if password_file is None:
        try:
            return list(import_nss(database, nicknames, b""))
        except WrongPassword:
            pass
    return list(import_nss(database, nicknames, secret("Password of the database", password_file, PASSWORD_OPTION)))
