"""TOML into rules, and everything that can be wrong with it, by line and key."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtcard.errors import InvalidArgument
from virtcard.policy.keys import KEYS
from virtcard.policy.load import Document, Policy, parse
from virtcard.policy.model import (
    Action,
    ApplicationCommands,
    AskFor,
    Commands,
    Existing,
    Handover,
    HostLogin,
    Monitor,
    Place,
    Profile,
    Rule,
    Sharing,
    WhenLocked,
    WhenViewer,
)
from virtcard.policy.remember import Remember, remember

FILE = "/etc/virtcard/policy.d/50.toml"

EVERYTHING = """
[[rule]]
vm = "win11*"
card = "reader:Yubico*"
atr = "3b:f8:??:*"
user = "alice"
action = "ask"
ask-for = ["insert", "sign"]
remember = "10m"
pin-reserve = 2
sharing = "exclusive"
when-locked = "deny-new"
when-viewer = "viewer"
on-existing = "replace"
monitor = "heal"
host-login = "share"
handover = "reinsert"
[rule.commands]
base = "read"
[rule.commands.a000000308]
allow = ["87xx9a", "20"]
deny = ["DB"]
[rule.commands.other]
deny = ["xx"]
"""


def parsed(*texts: str) -> Policy:
    return parse([Document(f"{FILE}.{number}" if number else FILE, text) for number, text in enumerate(texts)])


def problem(text: str) -> str:
    """The one thing that is wrong."""
    (found,) = parsed(text).errors
    return str(found)


def rule(lines: str) -> str:
    return f'[[rule]]\naction = "allow"\n{lines}\n'


def test_every_key_arrives_in_the_model() -> None:
    (found,) = parsed(EVERYTHING).rules
    assert found == Rule(
        Action.ASK,
        vm="win11*",
        card="reader:Yubico*",
        atr="3B:F8:??:*",
        user="alice",
        ask_for=frozenset({AskFor.INSERT, AskFor.SIGN}),
        remember=Remember("10m", 600),
        commands=Commands(
            Profile.READ,
            (
                ApplicationCommands("A000000308", ("87xx9A", "20"), ("DB",)),
                ApplicationCommands("other", (), ("xx",)),
            ),
        ),
        pin_reserve=2,
        sharing=Sharing.EXCLUSIVE,
        when_locked=WhenLocked.DENY_NEW,
        when_viewer=WhenViewer.VIEWER,
        on_existing=Existing.REPLACE,
        monitor=Monitor.HEAL,
        host_login=HostLogin.SHARE,
        handover=Handover.REINSERT,
    )
    assert found.place == Place(FILE, 2)
    assert all(f"\n{key}" in EVERYTHING or f"[rule.{key}]" in EVERYTHING for key in KEYS)


def test_a_rule_that_says_little_is_careful() -> None:
    (found,) = parsed('[[rule]]\naction = "ask"').rules
    assert found.commands == Commands(Profile.USE)
    assert (found.pin_reserve, found.sharing, found.host_login) == (1, Sharing.SHARED, HostLogin.RESET)
    assert (found.remember.word, set(found.ask_for)) == ("no", {AskFor.INSERT})
    assert (found.when_locked, found.on_existing, found.handover) == (WhenLocked.KEEP, None, Handover.SELECT)
    assert (found.monitor, found.when_viewer) == (None, WhenViewer.HOST)


def test_rules_of_all_files_are_one_list_in_order() -> None:
    found = parsed(rule('vm = "a"') + rule('vm = "b"'), "", rule('vm = "c"')).rules
    assert [each.vm for each in found] == ["a", "b", "c"]
    assert [str(each.place) for each in found] == [f"{FILE}:1", f"{FILE}:4", f"{FILE}.2:1"]


@pytest.mark.parametrize("word", ["full", "use", "read"])
def test_commands_may_be_a_word(word: str) -> None:
    assert parsed(rule(f'commands = "{word}"')).rules[0].commands == Commands(Profile(word))


@pytest.mark.parametrize(
    ("text", "vm"),
    [
        ("C9024A97-9B15-46CC-8341-38D75D5D421B", "c9024a97-9b15-46cc-8341-38d75d5d421b"),
        ("c9024a979b1546cc834138d75d5d421b", "c9024a97-9b15-46cc-8341-38d75d5d421b"),
        ("@work", "@work"),
        ("*", "*"),
        ("zzzzzzzz-9b15-46cc-8341-38d75d5d421b", "zzzzzzzz-9b15-46cc-8341-38d75d5d421b"),
    ],
)
def test_a_vm_is_a_uuid_a_tag_or_a_glob(text: str, vm: str) -> None:
    assert parsed(rule(f'vm = "{text}"')).rules[0].vm == vm


BAD: list[tuple[str, int, str, str]] = [
    ('vm = "a"', 1, "vm", "There is no such key."),
    ("[rule]\n", 1, "rule", "Rules are a list."),
    ("rule = 7", 1, "rule", "Rules are a list."),
    ("rule = [7]", 1, "rule", "must be a table, and is a number"),
    ('[[rule]]\nvm = "a"', 1, "rule.action", "does not say what to do"),
    (rule("colour = 1"), 3, "rule.colour", "There is no such key."),
    (rule("ask_for = []"), 3, "rule.ask_for", "There is no such key."),
    ('[[rule]]\n\naction = "maybe"', 3, "rule.action", "'maybe' is not known here."),
    ("[[rule]]\naction = true", 2, "rule.action", "must be a text, and is a boolean"),
    (rule("vm = 1979-05-27"), 3, "rule.vm", "must be a text, and is a date"),
    (rule('vm = ""'), 3, "rule.vm", "is empty"),
    (rule('vm = "@"'), 3, "rule.vm", "is not a tag"),
    (rule('vm = "win[1"'), 3, "rule.vm", "is not closed"),
    (rule(f'vm = "{"a" * 257}"'), 3, "rule.vm", "too long"),
    (rule('vm = "a\\u0007"'), 3, "rule.vm", "control characters"),
    (rule('card = "Yubico*"'), 3, "rule.card", "is no source of cards"),
    (rule('card = "reader:"'), 3, "rule.card", "is no source of cards"),
    (rule('card = "reader:[x"'), 3, "rule.card", "is not closed"),
    (rule('atr = "3BF8"'), 3, "rule.atr", "is no pattern of an ATR"),
    (rule('atr = "3B:*x"'), 3, "rule.atr", "is no pattern of an ATR"),
    (rule('user = "a*"'), 3, "rule.user", "is no user's name"),
    (rule('remember = "10"'), 3, "rule.remember", "does not say how long"),
    (rule('remember = "0m"'), 3, "rule.remember", "does not say how long"),
    (rule('remember = "31d"'), 3, "rule.remember", "does not say how long"),
    (rule("remember = 600"), 3, "rule.remember", "must be a text"),
    (rule("pin-reserve = 16"), 3, "rule.pin-reserve", "a number from 0 to 15"),
    (rule("pin-reserve = -1"), 3, "rule.pin-reserve", "a number from 0 to 15"),
    (rule("pin-reserve = true"), 3, "rule.pin-reserve", "a number from 0 to 15"),
    (rule('ask-for = "pin"'), 3, "rule.ask-for", "must be a list, and is a text"),
    (rule("ask-for = []"), 3, "rule.ask-for", "Nothing would be asked"),
    (rule('ask-for = [\n"pin",\n"tea"]'), 5, "rule.ask-for", "'tea' is not known here"),
    (rule('commands = "all"'), 3, "rule.commands", "'all' is not known here"),
    (rule("commands = 1"), 3, "rule.commands", "must be a text or a table"),
    (rule("[rule.commands]\nbase = 1"), 4, "rule.commands.base", "must be a text"),
    (rule("[rule.commands.A0]"), 3, "rule.commands.A0", "is not an AID"),
    (rule("[rule.commands.A00000030]"), 3, "rule.commands.A00000030", "is not an AID"),
    (rule("[rule.commands]\nA000000308 = 1"), 4, "rule.commands.A000000308", "must be a table"),
    (rule('[rule.commands.other]\nallow = "20"'), 4, "rule.commands.other.allow", "must be a list"),
    (rule('[rule.commands.other]\nallow = ["20", "2"]'), 4, "rule.commands.other.allow", "'2' is no command"),
    (rule('[rule.commands.other]\ndeny = ["2000"]'), 4, "rule.commands.other.deny", "is no command"),
    (rule('[rule.commands.other]\nask = ["20"]'), 4, "rule.commands.other.ask", "no such key"),
    (
        rule("[rule.commands.a000000308]\n[rule.commands.A000000308]"),
        4,
        "rule.commands.A000000308",
        "is there twice",
    ),
]


@pytest.mark.parametrize(("text", "line", "key", "sentence"), BAD)
def test_what_is_wrong_is_told_with_its_line_and_key(text: str, line: int, key: str, sentence: str) -> None:
    found = problem(text)
    assert found.startswith(f"{FILE}:{line}: {key}: ")
    assert sentence in found


def test_what_is_no_toml_is_told_with_its_line() -> None:
    found = problem('[[rule]]\n\naction = "allow\n')
    assert found.startswith(f"{FILE}:3: This is not TOML: ")
    assert "at line" not in found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = " + "[\n" * 50_000, "nested too deeply"),
        ("a = " + "[" * 50_000, "more than 4096 characters"),
        ("a" + ".a" * 100 + " = 1", "nested too deeply"),
        ("a" + ".a" * 20_000 + " = 1", "more than 4096 characters"),
        ("\n#" + "9" * 4097, ":2: The line has more than"),
    ],
)
def test_what_no_reader_can_take_is_told(text: str, sentence: str) -> None:
    assert sentence in problem(text)


def test_every_problem_of_every_file_is_told() -> None:
    found = parsed(rule('vm = ""\ncard = "x"') + rule("colour = 1"), "[[", rule(""))
    assert [each.place.line for each in found.errors] == [3, 4, 7, 1]
    assert len(found.rules) == 1


def test_too_many_rules_are_refused() -> None:
    assert "more than 10000 rules" in problem('[[rule]]\naction = "deny"\n' * 10_001)


def test_a_key_cannot_bring_control_characters_to_a_terminal() -> None:
    assert "\x1b" not in problem(rule('"\\u001b[31m" = 1'))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("8h", 28_800), ("30d", timedelta(days=30).total_seconds())],
)
def test_a_time_has_its_seconds(text: str, seconds: float) -> None:
    assert remember(text) == Remember(text, int(seconds))


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "1.5h", "1w", "NO", "٣m", "9999999s", "10 m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="does not say how long"):
        remember(text)


VALUE = st.recursive(
    st.none().map(lambda _: "1979-05-27")
    | st.integers().map(str)
    | st.booleans().map(lambda value: str(value).lower())
    | st.text("ab*[]:@-0x3BF8 \\\"'\n", max_size=12).map(lambda text: '"' + text.encode("unicode_escape").hex() + '"')
    | st.sampled_from(['"*"', '"reader:*"', '"3B:*"', '"ask"', '"use"', '"10m"', '"["', "'[]'", '"@x"', '"20xx80"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]")
        | st.dictionaries(
            st.sampled_from(["base", "other", "A000000308", "allow", "deny", "x"]), inner, max_size=3
        ).map(lambda each: "{" + ", ".join(f"{key} = {value}" for key, value in each.items()) + "}")
    ),
    max_leaves=5,
)
RULE = st.dictionaries(st.sampled_from([*KEYS, "other"]), VALUE).map(
    lambda pairs: "[[rule]]\n" + "\n".join(f"{key} = {value}" for key, value in pairs.items())
)


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Others may use the machine at the same time."""


@PATIENT
@given(st.lists(RULE, max_size=3).map("\n".join) | st.text() | st.text("[]rule={}\"'#\n.,=1 a\\-"))
def test_whatever_stands_in_a_file_is_rules_or_problems(text: str) -> None:
    found = parsed(text)
    assert all(isinstance(each, Rule) for each in found.rules)
    assert all(str(each).startswith(FILE) and each.message.isprintable() for each in found.problems)


@PATIENT
@given(RULE)
def test_a_rule_is_taken_or_told_and_never_lost(text: str) -> None:
    found = parsed(text)
    assert bool(found.rules) != bool(found.errors)
