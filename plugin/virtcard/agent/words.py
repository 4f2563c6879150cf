"""What a person reads."""

from __future__ import annotations

from typing import Final

from virtcard.agent.asked import Choice, Notice, Question

_DEEDS: Final = {"insert": "have", "pin": "send a PIN to", "sign": "sign with", "decrypt": "decrypt with"}
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def summary(question: Question) -> str:
    """A few words, without any name in it."""
    return f"May a virtual machine {_deed(question)} a smart card?"


def sentence(question: Question) -> str:
    """Which machine wants which card for what."""
    return f'The virtual machine "{question.domain}" wants to {_deed(question)} the card "{question.source}".'


def button(choice: Choice, question: Question) -> str:
    """The words on a button."""
    match choice:
        case Choice.DENY:
            return "Deny"
        case Choice.ONCE:
            return "Allow once"
        case Choice.ALWAYS:
            return "Always allow"
        case Choice.SESSION:
            return "Allow until I log out"
        case Choice.TIME:
            return f"Allow for {duration(question.seconds)}"


def told(notice: Notice) -> tuple[str, str] | None:
    """Summary and sentence of a notice; None for one that this agent does not know."""
    machine, card = f'the virtual machine "{notice.domain}"', f'the card "{notice.source}"'
    match notice.kind:
        case "pin-guard":
            return "PIN attempts were stopped", f"No more PINs of {machine} reach {card}: its last tries are yours."
        case "locked-eject":
            return "A smart card was taken out", f"The screen was locked, so {card} was taken out of {machine}."
        case _:
            return None


def duration(seconds: int) -> str:
    """ "10 minutes", in the largest unit that fits."""
    size, unit = next(each for each in _UNITS if seconds % each[0] == 0)
    number = seconds // size
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _deed(question: Question) -> str:
    """What it wants to do; an operation that a later virtcardd knows is named as it is."""
    return _DEEDS.get(question.operation, f"use (for {question.operation})")
