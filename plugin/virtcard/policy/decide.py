"""A request and the rules in, a decision out. The first rule that fits decides, and none means no."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from virtcard.policy.model import NO_RULE, Action, Existing, Monitor, Rule, WhenViewer
from virtcard.policy.patterns import atr_text, fits, is_uuid


@dataclass(frozen=True, slots=True)
class Request:
    """This domain would like this card. "" and b"" stand for what is not known or not there."""

    uuid: UUID
    name: str
    tags: frozenset[str] = frozenset()
    """What the domain's metadata says of it; whoever may define the domain can write that."""
    user: str = ""
    """Who asks for it; "" for a wish in the metadata."""
    source: str = ""
    """What was asked for: it may be a glob."""
    reader: str = ""
    """The full name of the host reader that the source means."""
    atr: bytes = b""
    """Of the card in that reader."""

    @property
    def card(self) -> str:
        """What a rule's `card` must fit: never a glob."""
        return f"reader:{self.reader}" if self.reader else self.source


@dataclass(frozen=True, slots=True)
class Passed:
    """A rule that did not fit, and why, as the end of a sentence."""

    rule: Rule
    because: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`rule` is NO_RULE when none fits; `why` has every rule before it."""

    action: Action
    rule: Rule
    why: tuple[Passed, ...] = ()

    def suits(self, dressed: Decision) -> bool:
        """A card that was dressed by `dressed` may stay as it is: it is treated alike, and what a person is asked for
        now was asked for then. Whoever asks goes by what holds at that moment."""
        now, then = self.rule, dressed.rule
        return now.treatment == then.treatment and now.questions <= then.questions


def decide(rules: Iterable[Rule], request: Request) -> Decision:
    """What the policy says to a request."""
    passed: list[Passed] = []
    for rule in rules:
        because = _mismatch(rule, request)
        if not because:
            return Decision(rule.action, rule, tuple(passed))
        passed.append(Passed(rule, because))
    return Decision(Action.DENY, NO_RULE, tuple(passed))


def on_existing(rules: Iterable[Rule], request: Request) -> Existing:
    """What enable does with another smart card device: the first rule for this domain and user that says it.

    No card is asked for yet, so conditions on cards do not count."""
    said = (rule.on_existing for rule in rules if _is_of_reader(rule, request))
    return next((word for word in said if word is not None), Existing.KEEP)


def monitor(rules: Iterable[Rule], request: Request) -> Monitor:
    """What may be done over QEMU's monitor: the first rule for this domain and user that says it, for any card."""
    said = (rule.monitor for rule in rules if _is_of_reader(rule, request))
    return next((word for word in said if word is not None), Monitor.NONE)


def yields_to_viewers(rules: Iterable[Rule], request: Request) -> bool:
    """Some rule for this domain lets a viewer's card go before the host's."""
    return any(rule.when_viewer is WhenViewer.VIEWER and not _wrong_vm(rule, request) for rule in rules)


def _is_of_reader(rule: Rule, request: Request) -> bool:
    """It holds for the domain's reader, whatever is in it."""
    return not (_wrong_vm(rule, request) or _wrong_user(rule, request))


def _mismatch(rule: Rule, request: Request) -> str:
    """Why the rule does not fit, or ""."""
    checks = (_wrong_vm, _wrong_user, _wrong_card, _wrong_atr)
    return next((because for check in checks if (because := check(rule, request))), "")


def _wrong_vm(rule: Rule, request: Request) -> str:
    """A domain may be called like another's UUID or like a tag: such a condition never looks at names."""
    if rule.vm.startswith("@"):
        return "" if rule.vm[1:] in request.tags else f'{request.name} has no tag "{rule.vm[1:]}"'
    is_it = rule.vm == str(request.uuid) if is_uuid(rule.vm) else not rule.vm or fits(request.name, rule.vm)
    return "" if is_it else f'"{rule.vm}" is not {request.name}'


def _wrong_user(rule: Rule, request: Request) -> str:
    if rule.user in ("", request.user):
        return ""
    return f"it is for user {rule.user}, and {request.user or 'nobody'} asks"


def _wrong_card(rule: Rule, request: Request) -> str:
    if not rule.card or fits(request.card, rule.card):
        return ""
    return f'"{rule.card}" is not {request.card}'


def _wrong_atr(rule: Rule, request: Request) -> str:
    if not rule.atr:
        return ""
    if not request.atr:
        return "the ATR of the card is not known"
    return "" if fits(atr_text(request.atr), rule.atr) else f'"{rule.atr}" is not its ATR {atr_text(request.atr)}'
