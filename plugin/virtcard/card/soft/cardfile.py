"""NAME.card in the directory of a store: names, and what may stand in the file."""

from __future__ import annotations

import re
from typing import Final

from virtcard.card.soft.files import Folder
from virtcard.card.soft.model import VERSION, CardData, Damaged, decode, encode, version_of
from virtcard.errors import Failed, InvalidArgument, NoSuchCard, Unsupported
from virtcard.limits import CARD_FILE_MAX

CARD: Final = ".card"

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
"""No dot or dash in front: neither a hidden file nor an option of a command."""


def checked_name(untrusted: str) -> str:
    """The name of a card, which is also a file's; InvalidArgument for any other."""
    if not _NAME.fullmatch(untrusted):
        raise InvalidArgument(
            "A card's name has 1 to 64 letters, digits, dots, dashes and underscores.",
            hint="It starts with a letter, a digit or an underscore.",
        )
    return untrusted


def encoded(data: CardData) -> bytes:
    """The content of its file; Failed when it would get too large."""
    content = encode(data)
    if len(content) > CARD_FILE_MAX:
        raise Failed("The card is full.", hint=f"A card file has at most {CARD_FILE_MAX} bytes.")
    return content


def card_names(folder: Folder) -> tuple[str, ...]:
    """The names of the cards in that directory, sorted."""
    names = (file.removesuffix(CARD) for file in folder.names() if file.endswith(CARD))
    return tuple(sorted(name for name in names if _NAME.fullmatch(name)))


def read_card(folder: Folder, name: str) -> CardData:
    """The card in that directory; NoSuchCard, Unsupported for a newer file, Failed for a damaged one."""
    untrusted = folder.read(name + CARD, CARD_FILE_MAX)
    if untrusted is None:
        raise no_such_card(name)
    try:
        version = version_of(untrusted)
        if version > VERSION:
            raise Unsupported(
                f"The card {name} was made by a newer virtcard (file version {version}, this one knows {VERSION}).",
                hint="Update virtcard.",
            )
        data = decode(untrusted)
    except Damaged as error:
        raise Failed(f"The file of the card {name} is damaged.", hint="Bring it back from a backup.") from error
    if data.name != name:
        return data.replace(name=name)  # a copied file: the name of the file counts
    return data


def no_such_card(name: str) -> NoSuchCard:
    """To be raised."""
    return NoSuchCard(f"There is no card {name}.", hint="'virtcard card list' shows the cards.")
