"""`virtcard disable --all --offline`: libvirt alone puts every domain back."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from helpers.domains import domain_uuid, domain_xml
from helpers.hypervisors import hanging_uri
from virtcard.cli.local import offline
from virtcard.cli.local.offline import put_back_all
from virtcard.cli.run import run
from virtcard.domain import deadline
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.metadata import read_wish
from virtcard.domain.plan import plan_enable
from virtcard.domain.render import Renderer
from virtcard.errors import DomainStateError
from virtcard.names import WISH_NAMESPACE

URI = "test:///default"
SPICE = "<smartcard mode='passthrough' type='spicevmc'/>"
WISH = f"<v:vm xmlns:v='{WISH_NAMESPACE}' card='card:jane' tags='work'/>"


class Node:
    """The test driver's default node, which all connections of this process share while one is open."""

    def __init__(self) -> None:
        self.connection = libvirt.open(URI)

    def define(self, name: str, *, enabled: bool = True, devices: str = "", metadata: str = "") -> str:
        """The XML that libvirt made of it, before a reader was put in."""
        domain = self.connection.defineXML(domain_xml(name, devices=devices, metadata=metadata))
        before: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        if enabled:
            path = f"/run/virtcard/vm/{domain_uuid(name)}.sock"
            plan = plan_enable(before, path, on_existing="replace", renderer=Renderer())
            self.connection.defineXML(plan.xml)
            assert self.xml(name) != before
        return before

    def xml(self, name: str) -> str:
        """The configuration as it is now."""
        text: str = self.connection.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        return text


@pytest.fixture
def node() -> Iterator[Node]:
    found = Node()
    yield found
    for domain in found.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE):
        domain.undefine()
    found.connection.close()


@pytest.fixture
def as_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line finds this node where it would find qemu:///system."""
    everywhere = put_back_all
    monkeypatch.setattr(offline, "put_back_all", lambda uri, *, dry_run: everywhere(URI, dry_run=dry_run))


def test_every_domain_gets_back_what_it_had(node: Node) -> None:
    plain, viewed = node.define("plain"), node.define("viewed", devices=SPICE)
    other = node.define("other", enabled=False)
    done = list(put_back_all(URI, dry_run=False))
    assert sorted(each.name for each in done) == ["plain", "viewed"]
    assert (node.xml("plain"), node.xml("viewed"), node.xml("other")) == (plain, viewed, other)
    assert list(put_back_all(URI, dry_run=False)) == []


def test_a_domain_that_runs_keeps_its_reader_until_it_is_off(node: Node) -> None:
    node.define("plain")
    node.connection.lookupByName("plain").create()
    (done,) = put_back_all(URI, dry_run=False)
    assert (done.pending, done.error) == (True, None)
    assert "<smartcard" in node.connection.lookupByName("plain").XMLDesc(0)
    node.connection.lookupByName("plain").destroy()
    assert "<smartcard" not in node.xml("plain")


def test_wishes_go_and_tags_stay(node: Node) -> None:
    node.define("wished", metadata=WISH)
    list(put_back_all(URI, dry_run=False))
    wish = read_wish(node.xml("wished"))
    assert wish is not None
    assert (wish.card, wish.tags) == ("", frozenset({"work"}))


def test_a_dry_run_prints_the_diff_and_changes_nothing(
    node: Node, as_system: None, capsys: pytest.CaptureFixture[str]
) -> None:
    node.define("plain", metadata=WISH)
    before = node.xml("plain")
    assert run(["disable", "--all", "--offline", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("--- plain")
    assert any(line.startswith("-") and "<smartcard" in line for line in printed.splitlines())
    assert node.xml("plain") == before


def test_the_command_says_what_it_did(node: Node, as_system: None, capsys: pytest.CaptureFixture[str]) -> None:
    node.define("plain")
    assert run(["disable", "--all", "--offline"]) == 0
    assert run(["disable", "--all", "--offline"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Domain 'plain' has no virtual reader any more.",
        "No domain has a virtual reader.",
    ]


def test_one_that_cannot_be_put_back_is_named_and_does_not_keep_the_others(
    node: Node, as_system: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "stubborn", "last"):
        node.define(name)
    define = Hypervisor.define

    def refuse(self: Hypervisor, xml: str) -> None:
        if "<name>stubborn<" in xml:
            raise DomainStateError("It will not.", hint="Ask it.")
        define(self, xml)

    monkeypatch.setattr(Hypervisor, "define", refuse)
    assert run(["disable", "--all", "--offline"]) == 1
    printed = capsys.readouterr()
    assert {line.split("'")[1] for line in printed.out.splitlines()} == {"first", "last"}
    assert printed.err == "virtcard: stubborn: It will not.\nhint: Ask it.\n"


def test_without_libvirt_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    away, everywhere = "qemu+unix:///system?socket=/nonexistent", put_back_all
    monkeypatch.setattr(offline, "put_back_all", lambda uri, *, dry_run: everywhere(away, dry_run=dry_run))
    assert run(["disable", "--all", "--offline"]) == 1
    assert capsys.readouterr().err.startswith("virtcard: ")


def test_a_libvirt_that_hangs_is_given_up_after_its_deadline(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = put_back_all
    monkeypatch.setattr(deadline, "LIBVIRT_DEADLINE", 0.2)
    with hanging_uri() as hangs:
        monkeypatch.setattr(offline, "put_back_all", lambda uri, *, dry_run: everywhere(hangs, dry_run=dry_run))
        assert run(["disable", "--all", "--offline"]) == 6
    assert capsys.readouterr().err.startswith("virtcard: libvirt did not answer within 0.2 seconds.\n")


@pytest.mark.parametrize("words", [["win11", "--offline"], ["--all", "--hotplug", "--offline"]])
def test_offline_is_for_all_configurations_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["disable", *words]) == 2
    assert "--offline goes with --all, and without --hotplug." in capsys.readouterr().err
