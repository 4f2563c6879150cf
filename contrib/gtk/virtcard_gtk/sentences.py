"""Words for machines, cards, grants and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from virtcard_gtk.history import History
from virtcard_gtk.model import Card, Machine, State
from virtcard_gtk.words import _, _n, line

PREFIX: Final = "org.virtcard1.Error."


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, and what to do about it, or ""."""

    sentence: str
    hint: str = ""


def status(machine: Machine) -> str:
    """What a machine is to cards, in a few words."""
    words = {
        State.INSERTED: _("Has {card}, and uses it now") if machine.active else _("Has {card}"),
        State.INSERTING: _("Inserting {card}…"),
        State.EJECTING: _("Ejecting {card}…"),
        State.EMPTY: _("No card"),
        State.WAITING: _("Waiting for the machine"),
        State.FAILED: _("Its reader cannot be reached"),
        State.OFF: _("Off"),
        State.PENDING: _("Gets its reader when it is powered off and started"),
        State.ELSEWHERE: _("Its cards come from elsewhere"),
        State.NO_READER: _("No virtual reader"),
    }
    return words[machine.state].format(card=machine.card)


def description(card: Card, machines: list[str]) -> str:
    """What a card is, and who has it."""
    parts = [_software(card) if card.software else _("Card in reader") if card.present else _("Empty reader")]
    if machines:
        parts.append(_("in {machines}").format(machines=", ".join(machines)))
    return " · ".join(parts)


def _software(card: Card) -> str:
    if not card.present:
        return card.error or _("Cannot be read")
    kind = _("Software card, {kind}").format(kind=card.kind.upper())
    if card.pin_tries == 0:
        blocked = _("PIN blocked")
        return f"{kind} · {blocked}"
    tries = _n("{number} PIN try left", "{number} PIN tries left", card.pin_tries)
    return f"{kind} · {tries.format(number=card.pin_tries)}"


def grant(untrusted: Mapping[str, Any]) -> tuple[str, str]:
    """Title and explanation of a grant."""
    source = line(str(untrusted.get("source", ""))).partition(":")[2]
    title = _("{machine} and {card}").format(machine=line(str(untrusted.get("domain", ""))), card=source)
    when = datetime.fromtimestamp(int(untrusted.get("when", 0)) / 1_000_000).astimezone()
    deeds = ", ".join(_deed(str(each)) for each in untrusted.get("operations", []))
    said = _("{user} allowed it always on {date}").format(
        user=line(str(untrusted.get("user", ""))), date=when.strftime("%x")
    )
    return title, f"{deeds} · {said}" if deeds else said


def _deed(operation: str) -> str:
    match operation:
        case "insert":
            return _("insert")
        case "pin":
            return _("send a PIN")
        case "sign":
            return _("sign")
        case "decrypt":
            return _("decrypt")
        case _other:
            return line(operation)


def activity(machine: Machine, history: History) -> str:
    """What a plot shows, for whoever does not see it."""
    text = _("{machine}: {now} commands in the last second, at most {most} in the last two minutes")
    return text.format(machine=machine.name, now=history.now, most=history.most)


def problem(name: str, message: str) -> Problem:
    """An error of a call: its D-Bus name ("" when virtcardd sent none) and text."""
    if not name.startswith(PREFIX):
        return Problem(_("virtcardd did not answer."), _("Look whether it runs, and into its journal."))
    sentence, _newline, hint = message.partition("\n")
    return Problem(line(sentence), line(hint))
