"""The diff that --dry-run shows."""

from __future__ import annotations

from helpers.domain_vectors import socket_of, vector
from virtcard.domain.diff import diff
from virtcard.domain.plan import plan_enable
from virtcard.domain.render import Renderer


def test_no_change_is_no_diff() -> None:
    assert diff("<a/>", "<a/>") == ""


def test_enable_shows_five_added_lines_and_nothing_else() -> None:
    before = vector("virt-manager")
    after = plan_enable(before, socket_of(before), renderer=Renderer(None)).xml
    lines = diff(before, after, "win11").splitlines()
    changed = [line for line in lines[2:] if line[0] in "+-"]
    assert lines[0].startswith("--- win11.xml")
    assert changed == [
        "+    <controller type='ccid' index='0'/>",
        "+    <smartcard mode='passthrough' type='unix'>",
        f"+      <source mode='bind' path='{socket_of(before)}'/>",
        "+      <address type='ccid' controller='0' slot='0'/>",
        "+    </smartcard>",
    ]


def test_the_diff_ends_with_a_line_break() -> None:
    assert diff("<a>\n</a>", "<a>\n<b/></a>").endswith("+<b/></a>\n")
