"""`virtcard policy generate`: rules to begin with, from the machines and readers that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import click

from virtcard.cli import shapes
from virtcard.cli.door import Objects
from virtcard.cli.options import Choice
from virtcard.cli.screen import say

_NUMBER = re.compile(r" [0-9A-F]{2} [0-9A-F]{2}$")
"""Which of several readers, and which slot of it: the end of a PC/SC name, which changes with the port."""

HEAD = """\
# Rules to begin with: look at each, then put this file into {folder}.
# The first rule that fits decides; 'virtcard policy lint FILE' looks for mistakes.
"""

RULE = """
# {name}
[[rule]]
vm = {vm}
card = {card}
action = "ask"
remember = "session"
"""


@click.command("generate")
@click.pass_obj
def verb(choice: Choice) -> None:
    """Print rules to begin with.

    Each machine that has a virtual reader may have each card that is in a host reader or in the store, after a
    question; without such machines, each machine that there is.
    """
    with choice.open() as client:
        objects = client.objects()
    say("".join(_text(choice.bus, objects)).rstrip())


def _text(bus: str, objects: Objects) -> Iterator[str]:
    yield HEAD.format(folder="~/.config/virtcard/policy.d" if bus == "session" else "/etc/virtcard/policy.d")
    cards = [*_readers(objects), *(f"card:{each}" for each in shapes.soft_card_names(objects))]
    for domain in _domains(objects):
        for card in cards:
            yield RULE.format(name=domain["name"], vm=_quoted(domain["uuid"]), card=_quoted(card))


def _domains(objects: Objects) -> Sequence[shapes.Domain]:
    every = shapes.domains(objects)
    return [each for each in every if each["enabled"] or each["live"]] or every


def _readers(objects: Objects) -> list[str]:
    names = [each["name"] for each in shapes.readers(objects) if each["present"]]
    return list(dict.fromkeys(f"reader:{_pattern(name)}" for name in names))


def _pattern(name: str) -> str:
    """A glob of the reader's name on whatever port."""
    plain = _NUMBER.sub("", name)
    escaped = re.sub(r"([*?[])", r"[\1]", plain)
    return f"{escaped}*" if plain != name else escaped


def _quoted(text: str) -> str:
    """A TOML string: names come from USB descriptors."""
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\u{ord(letter):04X}"
