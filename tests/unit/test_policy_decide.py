"""First match wins, no match is no, and every rule before says why it did not fit."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtcard.policy.decide import Request, decide, monitor, on_existing
from virtcard.policy.lint import lint
from virtcard.policy.load import Document, parse
from virtcard.policy.model import NO_RULE, Action, AskFor, Commands, Existing, Monitor, Place, Profile, Rule, Sharing
from virtcard.policy.remember import Remember, remember

WIN11 = UUID("c9024a97-9b15-46cc-8341-38d75d5d421b")
YUBIKEY = "Yubico YubiKey OTP+FIDO+CCID [CCID Interface] 00 00"
REQUEST = Request(
    WIN11,
    "win11",
    tags=frozenset({"work"}),
    user="alice",
    source="reader:Yub*",
    reader=YUBIKEY,
    atr=bytes.fromhex("3BF813"),
)


def because(rule: Rule, request: Request = REQUEST) -> str:
    """Why the rule does not fit, "" when it does."""
    decision = decide((rule,), request)
    return decision.why[0].because if decision.why else ""


FITS = [
    Rule(Action.ALLOW),
    Rule(Action.ALLOW, vm="win11"),
    Rule(Action.ALLOW, vm="win*"),
    Rule(Action.ALLOW, vm="w[hi]n1?"),
    Rule(Action.ALLOW, vm="@work"),
    Rule(Action.ALLOW, vm=str(WIN11)),
    Rule(Action.ALLOW, card="*"),
    Rule(Action.ALLOW, card="reader:Yubico*"),
    Rule(Action.ALLOW, card=f"reader:{YUBIKEY}"),
    Rule(Action.ALLOW, card="reader:Yubico* [[]CCID Interface] 00 ??"),
    Rule(Action.ALLOW, atr="3B:F8:13"),
    Rule(Action.ALLOW, atr="3B:F8:*"),
    Rule(Action.ALLOW, atr="3B:??:13"),
    Rule(Action.ALLOW, user="alice"),
    Rule(Action.ALLOW, vm="win*", card="reader:*", atr="*", user="alice"),
]


@pytest.mark.parametrize("rule", FITS)
def test_it_fits(rule: Rule) -> None:
    assert decide((rule,), REQUEST).rule is rule


MISSES = [
    (Rule(Action.ALLOW, vm="win10"), '"win10" is not win11'),
    (Rule(Action.ALLOW, vm="WIN11"), '"WIN11" is not win11'),
    (Rule(Action.ALLOW, vm="@home"), 'win11 has no tag "home"'),
    (Rule(Action.ALLOW, vm="11111111-2222-3333-4444-555555555555"), "is not win11"),
    (Rule(Action.ALLOW, card="card:*"), f'"card:*" is not reader:{YUBIKEY}'),
    (Rule(Action.ALLOW, card="reader:Yub*x"), f'"reader:Yub*x" is not reader:{YUBIKEY}'),
    (Rule(Action.ALLOW, atr="3B:0A"), '"3B:0A" is not its ATR 3B:F8:13'),
    (Rule(Action.ALLOW, user="bob"), "it is for user bob, and alice asks"),
]


@pytest.mark.parametrize(("rule", "sentence"), MISSES)
def test_it_does_not_fit_and_says_why(rule: Rule, sentence: str) -> None:
    assert sentence in because(rule)


def test_a_card_is_judged_by_its_reader_and_not_by_the_glob_that_asked_for_it() -> None:
    trick = replace(REQUEST, source="reader:*ubi*", reader="Banking 00 00")
    assert because(Rule(Action.ALLOW, card="reader:Yubico*"), trick)
    assert not because(Rule(Action.ALLOW, card="reader:Banking*"), trick)


def test_a_software_card_is_judged_by_its_name() -> None:
    card = Request(WIN11, "win11", source="card:jane")
    assert not because(Rule(Action.ALLOW, card="card:*"), card)
    assert not because(Rule(Action.ALLOW, card="card:jane"), card)
    assert because(Rule(Action.ALLOW, card="reader:*"), card)


def test_a_domain_that_is_called_like_another_ones_uuid_is_not_that_domain() -> None:
    other = "11111111-2222-3333-4444-555555555555"
    assert because(Rule(Action.ALLOW, vm=other), replace(REQUEST, name=other))


def test_a_domain_that_is_called_like_a_tag_does_not_have_it() -> None:
    assert because(Rule(Action.ALLOW, vm="@home"), replace(REQUEST, name="@home"))


def test_a_rule_by_atr_does_not_fit_a_card_that_nobody_has_seen() -> None:
    assert because(Rule(Action.ALLOW, atr="*"), replace(REQUEST, atr=b"")) == "the ATR of the card is not known"


def test_a_rule_for_a_user_does_not_fit_a_wish() -> None:
    assert because(Rule(Action.ALLOW, user="alice"), replace(REQUEST, user="")) == (
        "it is for user alice, and nobody asks"
    )


def test_the_first_rule_that_fits_decides_and_those_before_are_told() -> None:
    rules = (Rule(Action.DENY, vm="a"), Rule(Action.ASK, vm="win*"), Rule(Action.ALLOW))
    decision = decide(rules, REQUEST)
    assert (decision.action, decision.rule) == (Action.ASK, rules[1])
    assert [passed.rule for passed in decision.why] == [rules[0]]


def test_no_rule_that_fits_is_no() -> None:
    decision = decide((Rule(Action.ALLOW, vm="a"),), REQUEST)
    assert (decision.action, decision.rule) == (Action.DENY, NO_RULE)
    assert decide((), REQUEST).action is Action.DENY


def test_a_card_may_stay_as_it_is_for_a_decision_that_treats_it_alike() -> None:
    one = decide((Rule(Action.ALLOW, vm="win*", place=Place("a", 1)),), REQUEST)
    same = decide((Rule(Action.ALLOW, card="*", place=Place("b", 9)),), REQUEST)
    assert one.suits(same)
    for other in (
        Rule(Action.ALLOW, commands=Commands(Profile.FULL)),
        Rule(Action.ALLOW, pin_reserve=2),
        Rule(Action.ALLOW, sharing=Sharing.EXCLUSIVE),
    ):
        assert not decide((other,), REQUEST).suits(one)


def test_a_card_may_stay_as_it_is_when_less_is_asked_for_and_not_when_more_is() -> None:
    allowed, inserted, signed, remembered = (
        decide((rule,), REQUEST)
        for rule in (
            Rule(Action.ALLOW),
            Rule(Action.ASK),
            Rule(Action.ASK, ask_for=frozenset({AskFor.SIGN})),
            Rule(Action.ASK, ask_for=frozenset({AskFor.SIGN}), remember=remember("10m")),
        )
    )
    assert allowed.suits(inserted), "what is asked before the insertion is not asked by what is around a card"
    assert inserted.suits(allowed)
    assert allowed.suits(signed)
    assert remembered.suits(signed)
    assert not signed.suits(allowed)


def test_what_enable_does_with_other_devices_is_the_first_rules_word_that_says_it() -> None:
    rules = (
        Rule(Action.DENY, vm="other", on_existing=Existing.FAIL),
        Rule(Action.DENY, card="card:x"),
        Rule(Action.DENY, card="card:y", on_existing=Existing.REPLACE),
        Rule(Action.ALLOW, on_existing=Existing.KEEP),
    )
    assert on_existing(rules, REQUEST) is Existing.REPLACE
    assert on_existing(rules[:2], REQUEST) is Existing.KEEP


def test_the_monitor_is_for_nobody_until_a_rule_for_the_machine_and_the_caller_says_so() -> None:
    rules = (
        Rule(Action.ALLOW, vm="other", monitor=Monitor.HOTPLUG),
        Rule(Action.ALLOW, user="nobody-else", monitor=Monitor.HOTPLUG),
        Rule(Action.ALLOW, card="card:x"),
        Rule(Action.DENY, card="card:y", monitor=Monitor.HEAL),
        Rule(Action.ALLOW, monitor=Monitor.HOTPLUG),
    )
    assert monitor(rules[:3], REQUEST) is Monitor.NONE
    assert monitor(rules, REQUEST) is Monitor.HEAL


def test_a_card_is_not_treated_in_another_way_because_of_the_monitor() -> None:
    assert decide((Rule(Action.ALLOW, monitor=Monitor.HEAL),), REQUEST).suits(decide((Rule(Action.ALLOW),), REQUEST))


NAMES = st.text("abw*?[]-@", max_size=6)
RULES = st.builds(
    Rule,
    st.sampled_from(Action),
    vm=NAMES,
    card=st.sampled_from(["", "*", "reader:*", "card:a", "card:*"]),
    user=st.sampled_from(["", "alice"]),
    atr=st.sampled_from(["", "*", "3B:*"]),
)


@settings(deadline=None)
@given(st.lists(RULES), NAMES, st.sampled_from(["card:a", "reader:x"]), st.sampled_from([b"", b"\x3b\x00"]))
def test_rules_that_were_passed_never_matter(rules: list[Rule], name: str, source: str, atr: bytes) -> None:
    request = Request(WIN11, name, source=source, atr=atr)
    decision = decide(rules, request)
    assert decide(rules[len(decision.why) :], request).rule is decision.rule
    assert all(passed.because for passed in decision.why)
    assert decision.action is (decision.rule.action)


def warnings(text: str) -> list[str]:
    policy = parse([Document("f", text)])
    assert not policy.errors
    return [str(problem) for problem in lint(policy.rules)]


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ('vm = "a"', 'vm = "a"', "f:4: It fits what the rule at f:1 fits, and is never used."),
        ("", 'vm = "a"', "f:4: The rule at f:1 fits first, and it is never used."),
        ('card = "*"', 'card = "card:a"', "f:4: The rule at f:1 fits first, and it is never used."),
    ],
)
def test_a_rule_that_is_never_used_is_warned_of(first: str, second: str, sentence: str) -> None:
    assert warnings("".join(f'[[rule]]\naction = "deny"\n{each}\n' for each in (first, second))) == [sentence]


@pytest.mark.parametrize("second", ['vm = "b"', 'card = "card:x"', 'user = "bob"'])
def test_rules_that_each_have_their_use_are_not(second: str) -> None:
    assert warnings(f'[[rule]]\naction = "deny"\nvm = "a"\n[[rule]]\naction = "deny"\n{second}\n') == []


def test_a_rule_whose_word_about_readers_is_the_first_one_has_its_use() -> None:
    first, second = '[[rule]]\naction = "allow"\nvm = "a"\n', '[[rule]]\naction = "deny"\nvm = "a"\nmonitor = "heal"\n'
    assert warnings(first + second) == []
    assert warnings(second + second) == ["f:5: It fits what the rule at f:1 fits, and is never used."]


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('action = "allow"\nmonitor = "hotplug"', "monitor"),
        ('action = "allow"\nvm = "*"\nmonitor = "hotplug"', "monitor"),
        ('action = "allow"\nremember = "10m"', "remember"),
        ('action = "deny"\nask-for = ["pin"]', "ask-for"),
        ('action = "deny"\ncommands = "full"', "commands"),
        ('action = "allow"\ncard = "reader:Yubico [CCID Interface] *"', "card"),
    ],
)
def test_a_key_that_does_nothing_is_warned_of(lines: str, key: str) -> None:
    (found,) = warnings(f"[[rule]]\n{lines}\n")
    assert found.startswith(f"f:1: {key}: ")


def test_a_time_that_is_written_otherwise_is_another_one() -> None:
    assert Remember("60s", 60) != Remember("1m", 60)
