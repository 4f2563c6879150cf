"""Every key of a TOML document is found on its line, whatever stands around it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtcard.policy.lines import Path, key_lines

CASES: list[tuple[str, Path, int]] = [
    ('[[rule]]\nvm = "a"', ("rule", 0), 1),
    ('[[rule]]\nvm = "a"', ("rule", 0, "vm"), 2),
    ("# a comment\n\n[[rule]]\r\n\n  vm=1 # [[rule]]", ("rule", 0, "vm"), 5),
    ("[[rule]]\na=1\n[[rule]]\na=1", ("rule", 1, "a"), 4),
    ("[[rule]]\n[rule.commands]\nbase=1", ("rule", 0, "commands", "base"), 3),
    ("[[rule]]\n[[rule]]\n[rule.commands.A0]\nallow=1", ("rule", 1, "commands", "A0", "allow"), 4),
    ("[[rule]]\ncommands.base = 1", ("rule", 0, "commands", "base"), 2),
    ("[[rule]]\ncommands.base = 1", ("rule", 0, "commands"), 2),
    ('[[rule]]\n"ask-for" = 1', ("rule", 0, "ask-for"), 2),
    ("[[ \"ru\\u006ce\" ]]\n'a.]=' . b = 1", ("rule", 0, "a.]=", "b"), 2),
    ('[[rule]]\na = """\n[[rule]]\nb = 1\n"""\nc = 1', ("rule", 0, "c"), 6),
    ('[[rule]]\na = """"""\nc = 1', ("rule", 0, "c"), 3),
    ('[[rule]]\na = """x\\"""y"""""\nc = 1', ("rule", 0, "c"), 3),
    ("[[rule]]\na = '''\n\\'''\nc = 1", ("rule", 0, "c"), 4),
    ('[[rule]]\na = "\\"]"\nc = 1', ("rule", 0, "c"), 3),
    ("[[rule]]\na = [ # [[\n  1,\n  'x,]',\n]\nc = 1", ("rule", 0, "a", 1), 4),
    ("[[rule]]\na = [ # [[\n  1,\n  'x,]',\n]\nc = 1", ("rule", 0, "c"), 6),
    ("rule = [\n  {a = 1},\n  {a = 1, b = [\n 2]},\n]", ("rule", 1, "b"), 3),
    ("rule = [\n  {a = 1},\n  {a = 1, b = [\n 2]},\n]", ("rule", 1, "b", 0), 4),
    ("[[rule]]\na = 1979-05-27 07:32:00\nb = -1.5e3\nc = true", ("rule", 0, "c"), 4),
    ("[[rule]]\na = {}\nb = []\nc = 1", ("rule", 0, "c"), 4),
]


@pytest.mark.parametrize(("toml", "path", "line"), CASES)
def test_a_key_stands_on_its_line(toml: str, path: Path, line: int) -> None:
    tomllib.loads(toml)
    assert key_lines(toml)[path] == line


def paths(value: Any, at: Path = ()) -> set[Path]:
    """The way to everything that tomllib found."""
    found = {at} if at else set()
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found.union(*(paths(each, (*at, name)) for name, each in pairs))


KEY = st.sampled_from(["a", "b-c", '"d.e"', "'f]'", '"\\u0061="', "1"])
SCALAR = st.sampled_from(
    ["1", "true", '"]"', "'}'", '"""\n[[x]]\ny = "1"\n"""', "'''\n#\n'''", "1979-05-27 07:32:00", '"\\\\"', '"#"']
)
BLANK = st.sampled_from(["", " ", "\n", " # [ { \" '\n\t"])
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(st.tuples(BLANK, inner, BLANK)).map(lambda each: "[" + ",".join(map("".join, each)) + "]")
        | st.lists(st.tuples(KEY, inner), unique_by=lambda pair: pair[0]).map(
            lambda each: "{" + ", ".join(f"{key} = {value}" for key, value in each) + "}"
        )
    ),
    max_leaves=8,
)
PAIR = st.tuples(KEY, VALUE).map(lambda pair: f"{pair[0]} = {pair[1]}")
HEADER = st.tuples(KEY, KEY).map(lambda pair: f"[[{pair[0]}.{pair[1]}]]") | KEY.map("[[ {} ]] # [[".format)
DOCUMENT = st.lists(PAIR | HEADER | st.just("# x = 1") | st.just("")).map("\n".join)


@settings(deadline=None)
@given(DOCUMENT)
def test_every_key_that_tomllib_finds_has_a_line(toml: str) -> None:
    try:
        value = tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(toml)
    assert paths(value) == set(lines)
    assert all(1 <= line <= toml.count("\n") + 1 for line in lines.values())
