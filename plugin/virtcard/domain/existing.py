"""What to do with a smart card device that somebody else put in a domain."""

from __future__ import annotations

from enum import StrEnum

from virtcard.domain.finding import Finding, Severity
from virtcard.domain.model import DomainModel
from virtcard.errors import InvalidArgument


class OnExisting(StrEnum):
    """A domain can hold one smart card device: `keep` it, `replace` and remember it, or `fail`."""

    KEEP = "keep"
    REPLACE = "replace"
    FAIL = "fail"


def on_existing_of(untrusted_text: str) -> OnExisting:
    """The word as a member; InvalidArgument for another word."""
    try:
        return OnExisting(untrusted_text)
    except ValueError:
        words = ", ".join(OnExisting)
        raise InvalidArgument(f"'{untrusted_text[:32]}' is not one of {words}.") from None


def existing_findings(model: DomainModel, on_existing: OnExisting) -> tuple[Finding, ...]:
    """What stands in the way of our reader among the domain's smart card devices."""
    if len(model.smartcards) > 1:
        return (_second(model),)
    foreign = model.foreign
    if foreign is None or on_existing is OnExisting.REPLACE:
        return ()
    return (_in_the_way(foreign.word, on_existing),)


def _second(model: DomainModel) -> Finding:
    words = ", ".join(card.word for card in model.smartcards)
    return Finding(
        Severity.ERROR,
        "smartcard-second",
        f"The domain has {len(model.smartcards)} smart card devices ({words}); libvirt takes one.",
        "Remove all but one with virsh edit.",
    )


def _in_the_way(word: str, on_existing: OnExisting) -> Finding:
    fail = on_existing is OnExisting.FAIL
    return Finding(
        Severity.ERROR if fail else Severity.WARNING,
        "smartcard-existing",
        f"The domain has a smart card device of its own ({word})" + ("." if fail else ", which stays."),
        "Use --on-existing replace to put a virtual reader in its place; disable brings it back.",
    )
