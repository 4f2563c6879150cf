"""What `create` and `import` have in common: PIN and PUK of a new card, and files with a password."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from virtcard.cli.local.card.secrets import secret, terminal
from virtcard.errors import InvalidArgument

if TYPE_CHECKING:
    from virtcard.card.soft.make import Wanted
    from virtcard.card.soft.material import Material

PASSWORD_OPTION = "--password-file"  # noqa: S105 (an option's name)

pin_file = click.option("--pin-file", metavar="FILE", help="The PIN; - is standard input. Else it is asked for.")
puk_file = click.option("--puk-file", metavar="FILE", help="The PUK; - is standard input. Else it is asked for.")
password_file = click.option(PASSWORD_OPTION, metavar="FILE", help="The password of a file; - is standard input.")


def wanted(name: str, kind: str, pin_file: str | None, puk_file: str | None) -> Wanted:
    """The new card with its PIN and PUK; InvalidArgument when they have another form."""
    from virtcard.card.soft.layout import LAYOUTS
    from virtcard.card.soft.make import Wanted
    from virtcard.card.soft.model import CardType

    layout = LAYOUTS[CardType(kind)]
    pin = layout.pin.check(secret("PIN", pin_file, "--pin-file", fresh=True))
    puk = layout.puk.check(secret("PUK", puk_file, "--puk-file", fresh=True))
    return Wanted(name=name, type=layout.type, pin=pin, puk=puk)


def unlocked(load: Callable[[bytes | None], Material], password_file: str | None) -> Material:
    """What `load` makes of the password; without a file it is asked for only when `load` does without it in vain."""
    if password_file is not None:
        return load(secret("Password", password_file, PASSWORD_OPTION))
    try:
        return load(None)
    except InvalidArgument as error:
        if "password" not in error.hint:
            raise
        if not terminal():
            raise InvalidArgument(error.message, hint=f"Give its password with {PASSWORD_OPTION}.") from None
    return load(secret("Password", None, PASSWORD_OPTION))
