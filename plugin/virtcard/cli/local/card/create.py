"""`virtcard card create NAME`: a card with new keys and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtcard.cli.busy import busy
from virtcard.cli.local.card.new import password_file, pin_file, puk_file, unlocked, wanted
from virtcard.cli.local.card.place import check_free, chosen, content, made
from virtcard.cli.options import Choice
from virtcard.cli.screen import say

if TYPE_CHECKING:
    from virtcard.card.soft.material import Material


@click.command("create")
@click.argument("name")
@click.option("--type", "kind", type=click.Choice(["piv", "cac"]), required=True, help="The kind of card.")
@click.option("--subject", metavar="DN", help="Whom its certificates name, like CN=Jane Doe,O=Example; else CN=NAME.")
@click.option(
    "--key",
    type=click.Choice(["rsa2048", "rsa3072", "rsa4096", "p256", "p384"]),
    default="rsa2048",
    show_default=True,
    help="The kind of its keys.",
)
@click.option("--ca", "ca_file", metavar="FILE", help="PEM: certificate and key of the authority; else a test CA.")
@pin_file
@puk_file
@password_file
@click.pass_obj
def verb(
    choice: Choice,
    *,
    name: str,
    kind: str,
    subject: str | None,
    key: str,
    ca_file: str | None,
    pin_file: str | None,
    puk_file: str | None,
    password_file: str | None,
) -> None:
    """Make a card with new keys and certificates.

    Without --ca they come from a test CA, one for all cards of the store: virtcard card export NAME --ca
    """
    from virtcard.card.soft.ca import parse_subject
    from virtcard.card.soft.layout import LAYOUTS
    from virtcard.card.soft.model import Algorithm, CardType

    place = chosen(choice)
    check_free(place, name)
    LAYOUTS[CardType(kind)].check_algorithm(Algorithm(key))
    subject = subject or f"CN={name}"
    parse_subject(subject)
    card = wanted(name, kind, pin_file, puk_file)
    authority = _authority(ca_file, password_file)
    with busy("Keys are made."):
        place.create(card, subject, Algorithm(key), authority)
    say(made(choice, name))


def _authority(ca_file: str | None, password_file: str | None) -> Material | None:
    from virtcard.card.soft.material import load_pem

    if ca_file is None:
        return None
    read = content(ca_file)
    return unlocked(lambda password: load_pem(read, password), password_file)
