"""A rule as TOML: read back it is the same rule."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from virtcard.policy.load import Document, parse
from virtcard.policy.model import (
    OTHER,
    Action,
    ApplicationCommands,
    AskFor,
    Commands,
    Existing,
    Handover,
    HostLogin,
    Monitor,
    Profile,
    Rule,
    Sharing,
    WhenLocked,
    WhenViewer,
)
from virtcard.policy.remember import remember
from virtcard.policy.write import toml_rule

NAMES = st.text(st.characters(exclude_characters="[]@", exclude_categories=["C", "Z"]), min_size=1, max_size=30)
COMMANDS = st.lists(st.sampled_from(["87xx9A", "20", "DB", "CB3FFF"]), max_size=3).map(tuple)
APPLICATIONS = st.builds(
    ApplicationCommands,
    st.text(string.digits + "ABCDEF", min_size=5, max_size=16).map(lambda text: text.encode().hex().upper()[:32])
    | st.just(OTHER),
    COMMANDS,
    COMMANDS,
)
RULES = st.builds(
    Rule,
    st.sampled_from(Action),
    vm=st.just("") | NAMES.filter(lambda name: len(name) < 30),
    card=st.just("") | NAMES.map("reader:{}".format),
    atr=st.sampled_from(["", "3B:F8:*"]),
    user=st.sampled_from(["", "alice"]),
    remember=st.sampled_from(["no", "session", "always", "10m"]).map(remember),
    commands=st.builds(
        Commands,
        st.sampled_from(Profile),
        st.lists(APPLICATIONS, max_size=2, unique_by=lambda each: each.aid).map(tuple),
    ),
    pin_reserve=st.integers(0, 15),
    sharing=st.sampled_from(Sharing),
    when_locked=st.sampled_from(WhenLocked),
    when_viewer=st.sampled_from(WhenViewer),
    on_existing=st.none() | st.sampled_from(Existing),
    monitor=st.none() | st.sampled_from(Monitor),
    host_login=st.sampled_from(HostLogin),
    handover=st.sampled_from(Handover),
)


@given(RULES, st.frozensets(st.sampled_from(AskFor), min_size=1))
def test_a_rule_that_was_written_is_read_back_the_same(rule: Rule, asked: frozenset[AskFor]) -> None:
    from dataclasses import replace

    if rule.action is Action.ASK:
        rule = replace(rule, ask_for=asked)
    policy = parse([Document("", toml_rule(rule) + toml_rule(rule))])
    assert [str(problem) for problem in policy.errors] == []
    assert policy.rules == (rule, rule)


def test_only_what_is_not_the_default_is_written() -> None:
    assert toml_rule(Rule(Action.ALLOW, vm="win11")) == '[[rule]]\nvm = "win11"\naction = "allow"\n'
