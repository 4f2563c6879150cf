"""Enable in every mode: known again by the memory alone, changed into each other, and taken back without a trace."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from lxml import etree

from helpers.domain_vectors import NAMES, SOCKET_DIR, canonical, socket_of, vector
from virtcard.domain.model import parse_domain
from virtcard.domain.plan import Plan, inject, plan_disable, plan_enable
from virtcard.domain.render import Renderer
from virtcard.domain.setup import ReaderSetup, mode_of, reader_setup
from virtcard.domain.state import VirtualReader, reader_state
from virtcard.errors import Failed
from virtcard.names import SAVED_NAMESPACE

RENDERER = Renderer(None)
ONE = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03"
OTHER = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1dff"
SPICE = "<smartcard mode='passthrough' type='spicevmc'/>"
HOST = "<smartcard mode='host'/>"

SETUPS = {
    "bridge": reader_setup(),
    "host": reader_setup("host"),
    "certificates": reader_setup("host-certificates", certificates=("a", "b & <c>", "d"), database="/srv/nss"),
    "default-database": reader_setup("host-certificates", certificates=("a", "b", "c")),
    "bind": reader_setup("tcp", port=7001),
    "connect": reader_setup("tcp", address="::1", port=7001, role="connect"),
    "tls": reader_setup("tcp", address="cards.example.org", port=7001, role="connect", tls=True),
    "spice": reader_setup("spice"),
}
OURS_BY_MEMORY = [name for name in SETUPS if name != "bridge"]


def domain(devices: str, metadata: str = "") -> str:
    return f"<domain type='kvm'><uuid>{ONE}</uuid>{metadata}<devices>{devices}</devices></domain>"


def enable(xml: str, setup: ReaderSetup, on_existing: str = "replace") -> Plan:
    return plan_enable(xml, socket_of(xml), on_existing=on_existing, renderer=RENDERER, setup=setup)


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
@pytest.mark.parametrize("name", NAMES)
def test_a_vector_gets_the_device_and_comes_back_as_it_was(name: str, setup: ReaderSetup) -> None:
    before = vector(name)
    after = enable(before, setup).xml
    reader = parse_domain(after).reader
    assert reader is not None
    assert reader.device == setup.device(socket_of(before))
    assert enable(after, setup, "fail") == Plan(after, changed=False)
    assert canonical(plan_disable(after).xml) == canonical(before)


@pytest.mark.parametrize(("first", "second"), list(permutations(SETUPS, 2)))
@pytest.mark.parametrize("name", ["gnome-boxes", "virt-manager", "empty-ccid-reader", "no-devices"])
def test_a_mode_changes_into_another_and_nothing_is_forgotten(name: str, first: str, second: str) -> None:
    before = vector(name)
    changed = enable(enable(before, SETUPS[first]).xml, SETUPS[second], "fail")
    assert changed.changed
    assert changed.findings == ()
    reader = parse_domain(changed.xml).reader
    assert reader is not None
    assert mode_of(reader) is SETUPS[second].mode
    assert len(parse_domain(changed.xml).smartcards) == 1
    assert canonical(plan_disable(changed.xml).xml) == canonical(before)


def test_a_bridge_that_follows_another_mode_leaves_no_memory() -> None:
    over = enable(enable(domain(""), SETUPS["host"]).xml, SETUPS["bridge"]).xml
    assert over == enable(domain(""), SETUPS["bridge"]).xml
    assert SAVED_NAMESPACE not in over


@pytest.mark.parametrize("name", OURS_BY_MEMORY)
def test_a_device_that_a_user_made_by_hand_is_never_ours(name: str) -> None:
    devices = RENDERER.devices("", SETUPS[name])
    by_hand = domain(devices.controller + devices.smartcard)
    model = parse_domain(by_hand)
    assert model.reader is None
    assert model.foreign is not None
    assert plan_disable(by_hand) == Plan(by_hand, changed=False)
    kept = enable(by_hand, SETUPS[name], "keep")
    assert not kept.changed
    assert [finding.code for finding in kept.findings] == ["smartcard-existing"]


@pytest.mark.parametrize("name", [name for name in OURS_BY_MEMORY if name != "spice"])
def test_a_device_that_took_the_place_of_ours_is_not_ours(name: str) -> None:
    enabled = enable(domain(""), SETUPS[name]).xml
    root = etree.fromstring(enabled)
    devices = root.find("devices")
    assert devices is not None
    card = devices.find("smartcard")
    assert card is not None
    devices.replace(card, etree.fromstring(SPICE))
    overridden = etree.tostring(root, encoding="unicode")
    assert parse_domain(overridden).reader is None
    after = plan_disable(overridden).xml
    assert [card.word for card in parse_domain(after).smartcards] == ["spicevmc"]
    assert SAVED_NAMESPACE not in after


def test_a_hand_made_device_that_was_replaced_by_an_equal_one_comes_back() -> None:
    by_hand = domain("<controller type='ccid' index='0'/><smartcard mode='host'>\n<!-- mine --></smartcard>")
    enabled = enable(by_hand, SETUPS["host"]).xml
    assert parse_domain(enabled).reader is not None
    assert plan_disable(enabled).xml == by_hand


def test_another_port_is_another_device() -> None:
    enabled = enable(domain(""), SETUPS["bind"]).xml
    moved = enable(enabled, reader_setup("tcp", port=7002))
    assert moved.changed
    assert "7001" not in moved.xml


def test_what_libvirt_adds_to_our_device_does_not_make_it_foreign() -> None:
    enabled = enable(domain(""), SETUPS["bind"]).xml
    place = enabled.rindex("</smartcard>")
    live = enabled[:place] + "<alias name='smartcard0'/>" + enabled[place:]
    assert parse_domain(live).reader is not None


def test_a_clone_keeps_the_reader_and_gives_it_back() -> None:
    clone = enable(domain(SPICE), SETUPS["certificates"]).xml.replace(ONE, OTHER)
    assert parse_domain(clone).reader is not None
    assert plan_disable(clone).xml == domain(SPICE).replace(ONE, OTHER)


def test_certificates_come_before_the_database_and_the_address_last() -> None:
    card = etree.fromstring(RENDERER.devices("", SETUPS["certificates"]).smartcard)
    assert [child.tag for child in card] == ["certificate"] * 3 + ["database", "address"]
    assert card[1].text == "b & <c>"


@pytest.mark.parametrize(("name", "reconnects"), [("bind", False), ("connect", True), ("tls", True)])
def test_tcp_says_what_libvirt_would_else_decide(name: str, reconnects: bool) -> None:
    card = etree.fromstring(RENDERER.devices("", SETUPS[name]).smartcard)
    source = card.find("source")
    assert source is not None
    assert [child.tag for child in card] == ["source", "protocol", "address"]
    assert source.get("tls") == ("yes" if name == "tls" else "no")
    assert (source.find("reconnect") is not None) is reconnects


def test_the_memory_fits_our_schema() -> None:
    schema = etree.RelaxNG(etree.parse(Path(__file__).parents[2] / "xml" / "virtcard-metadata.rng"))
    for name in OURS_BY_MEMORY:
        root = etree.fromstring(enable(domain(SPICE), SETUPS[name]).xml)
        element = root.find(f"metadata/{{{SAVED_NAMESPACE}}}saved")
        assert element is not None
        schema.assertValid(etree.fromstring(etree.tostring(element, with_tail=False)))


@pytest.mark.parametrize(
    ("file", "setup"),
    [("host.xml.j2", "host"), ("host-certificates.xml.j2", "certificates"), ("tcp.xml.j2", "bind")],
)
def test_an_admins_template_of_each_mode_is_used_and_one_that_makes_another_device_is_named(
    tmp_path: Path, file: str, setup: str
) -> None:
    own = (Path(__file__).parents[2] / "xml" / file).read_text()
    (tmp_path / file).write_text(
        own.replace("index='0'/>", "index='0'><address type='usb' bus='1' port='4'/></controller>")
    )
    assert "bus='1' port='4'" in Renderer(tmp_path).devices("", SETUPS[setup]).controller
    (tmp_path / file).write_text(f"<controller type='ccid' index='0'/>{SPICE}")
    with pytest.raises(Failed, match=f"{file} gives a <smartcard> that is not the device it was told"):
        Renderer(tmp_path).devices("", SETUPS[setup])


def test_inject_knows_the_modes() -> None:
    plan = inject(domain(""), SOCKET_DIR, renderer=RENDERER, setup=SETUPS["connect"])
    assert "host='::1' service='7001'" in plan.xml


@pytest.mark.parametrize("name", OURS_BY_MEMORY)
def test_the_state_knows_the_reader_and_that_no_bridge_serves_it(name: str) -> None:
    with_reader = enable(domain(""), SETUPS[name]).xml
    state = reader_state(with_reader, with_reader)
    assert (state.reader, state.in_config, state.in_live) == (VirtualReader.PRESENT, True, True)
    assert (state.mode, state.live_mode, state.bridged) == (SETUPS[name].mode, SETUPS[name].mode, False)
    assert state.foreign == ""
    assert reader_state(with_reader, domain("")).reader is VirtualReader.PENDING_POWER_CYCLE
    assert reader_state(domain(""), with_reader).reader is VirtualReader.PENDING_POWER_CYCLE


def test_a_change_of_the_mode_is_pending_until_the_domain_is_powered_off() -> None:
    bridge, host = (enable(domain(""), SETUPS[name]).xml for name in ("bridge", "host"))
    state = reader_state(host, bridge)
    assert state.reader is VirtualReader.PENDING_POWER_CYCLE
    assert (state.mode, state.bridged) == ("host", True)


def test_a_hand_made_host_card_is_foreign() -> None:
    state = reader_state(domain(HOST), None)
    assert (state.reader, state.foreign, state.mode) == (VirtualReader.FOREIGN, "host", "")


@pytest.mark.parametrize("name", ["gnome-boxes", "gnome-boxes-new"])
def test_the_spice_card_of_gnome_boxes_becomes_ours_only_when_it_may_be_replaced(name: str) -> None:
    before = vector(name)
    for word, severity in (("keep", "warning"), ("fail", "error")):
        plan = enable(before, SETUPS["spice"], word)
        assert (plan.changed, [finding.severity for finding in plan.findings]) == (False, [severity])
    assert reader_state(before, None).reader is VirtualReader.FOREIGN
    ours = reader_state(enable(before, SETUPS["spice"]).xml, None)
    assert (ours.reader, ours.mode) == (VirtualReader.PRESENT, "spice")
