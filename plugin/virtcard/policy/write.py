"""A rule as TOML: what `load` reads back as an equal rule."""

from __future__ import annotations

import json
from collections.abc import Iterator

from virtcard.policy.model import Action, Commands, Rule


def toml_rule(rule: Rule) -> str:
    """The `[[rule]]` with every key that is not at its default, ending in a line end."""
    return "\n".join(["[[rule]]", *_lines(rule), *_commands(rule.commands)]) + "\n"


def toml_text(text: str) -> str:
    """A TOML string. JSON's are ones, but for the one control character that JSON lets pass."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lines(rule: Rule) -> Iterator[str]:
    plain = Rule(rule.action)
    texts = {
        "vm": (rule.vm, plain.vm),
        "card": (rule.card, plain.card),
        "atr": (rule.atr, plain.atr),
        "user": (rule.user, plain.user),
        "action": (rule.action, ""),
        "remember": (rule.remember.word, plain.remember.word),
        "sharing": (rule.sharing, plain.sharing),
        "when-locked": (rule.when_locked, plain.when_locked),
        "when-viewer": (rule.when_viewer, plain.when_viewer),
        "on-existing": (rule.on_existing or "", ""),
        "monitor": (rule.monitor or "", ""),
        "host-login": (rule.host_login, plain.host_login),
        "handover": (rule.handover, plain.handover),
    }
    yield from (f"{key} = {toml_text(value)}" for key, (value, default) in texts.items() if value != default)
    if rule.action is Action.ASK and rule.ask_for != plain.ask_for:
        yield f"ask-for = {_list(sorted(rule.ask_for))}"
    if rule.pin_reserve != plain.pin_reserve:
        yield f"pin-reserve = {rule.pin_reserve}"


def _commands(commands: Commands) -> Iterator[str]:
    """Last, since a table's keys end where the next table begins."""
    if not commands.applications:
        if commands != Commands():
            yield f"commands = {toml_text(commands.base)}"
        return
    yield "[rule.commands]"
    yield f"base = {toml_text(commands.base)}"
    for application in commands.applications:
        yield f"[rule.commands.{application.aid}]"
        if application.allow:
            yield f"allow = {_list(application.allow)}"
        if application.deny:
            yield f"deny = {_list(application.deny)}"


def _list(texts: tuple[str, ...] | list[str]) -> str:
    return f"[{', '.join(map(toml_text, texts))}]"
