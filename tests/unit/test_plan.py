"""Enable gives a domain a virtual reader, and disable leaves the XML as it was found."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.domain_vectors import NAMES, SOCKET_DIR, canonical, socket_of, vector
from virtcard.domain.finding import Severity
from virtcard.domain.model import parse_domain
from virtcard.domain.plan import Plan, inject, plan_disable, plan_enable
from virtcard.domain.render import Renderer
from virtcard.errors import InvalidArgument, InvalidXml
from virtcard.names import SAVED_NAMESPACE

RENDERER = Renderer(None)
ONE = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03"
OTHER = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1dff"
SOCKET = f"{SOCKET_DIR}/{ONE}.sock"
SPICE = "<smartcard mode='passthrough' type='spicevmc'/>"


def domain(devices: str, metadata: str = "") -> str:
    return f"<domain type='kvm'><uuid>{ONE}</uuid>{metadata}<devices>{devices}</devices></domain>"


def ours(uuid: str = ONE, extra: str = "<address type='ccid' controller='0' slot='0'/>") -> str:
    path = f"{SOCKET_DIR}/{uuid}.sock"
    return f"<smartcard mode='passthrough' type='unix'><source mode='bind' path='{path}'/>{extra}</smartcard>"


def enable(xml: str, on_existing: str = "replace") -> Plan:
    return plan_enable(xml, socket_of(xml), on_existing=on_existing, renderer=RENDERER)


@pytest.mark.parametrize("name", NAMES)
def test_an_enabled_vector_has_the_reader_and_its_controller(name: str) -> None:
    model = parse_domain(enable(vector(name)).xml)
    assert model.reader is not None
    assert model.reader.path == socket_of(vector(name))
    assert len(model.smartcards) == 1
    assert [controller.index for controller in model.ccid_controllers].count(0) == 1


@pytest.mark.parametrize("name", NAMES)
def test_disable_leaves_a_vector_as_it_was_found(name: str) -> None:
    assert canonical(plan_disable(enable(vector(name)).xml).xml) == canonical(vector(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "empty-elements"])
def test_disable_leaves_a_vector_as_it_was_found_to_the_byte(name: str) -> None:
    assert plan_disable(enable(vector(name)).xml).xml == vector(name)


@pytest.mark.parametrize("name", NAMES)
def test_dos_line_breaks_survive(name: str) -> None:
    text = vector(name).replace("\n", "\r\n")
    assert canonical(plan_disable(enable(text).xml).xml) == canonical(text)


@pytest.mark.parametrize("name", NAMES)
def test_enabling_twice_changes_nothing(name: str) -> None:
    once = enable(vector(name)).xml
    assert enable(once) == Plan(once, changed=False)
    assert enable(once, "fail") == Plan(once, changed=False)


@pytest.mark.parametrize("name", NAMES)
def test_disabling_what_is_not_enabled_changes_nothing(name: str) -> None:
    assert plan_disable(vector(name)) == Plan(vector(name), changed=False)


@pytest.mark.parametrize("name", NAMES)
def test_enable_only_adds_lines_beside_the_replaced_device(name: str) -> None:
    before = vector(name)
    if "<smartcard mode" in before or "<devices />" in before:
        return
    after = enable(before).xml.splitlines()
    assert [line for line in before.splitlines() if line not in after] == []


def test_the_simple_case_leaves_no_memory() -> None:
    assert SAVED_NAMESPACE not in enable(vector("virt-manager")).xml


def test_the_reader_is_written_as_libvirt_9_wants_it() -> None:
    assert enable(domain("")).xml == domain("<controller type='ccid' index='0'/>" + ours())


def test_a_spice_smart_card_is_kept_by_default_with_a_warning() -> None:
    plan = plan_enable(domain(SPICE), SOCKET, renderer=RENDERER)
    assert not plan.changed
    assert [(finding.severity, finding.code) for finding in plan.findings] == [(Severity.WARNING, "smartcard-existing")]
    assert "spicevmc" in plan.findings[0].message


def test_a_spice_smart_card_can_be_an_error() -> None:
    plan = enable(domain(SPICE), "fail")
    assert not plan.changed
    assert [finding.severity for finding in plan.findings] == [Severity.ERROR]


def test_a_replaced_smart_card_is_remembered_in_the_metadata() -> None:
    xml = enable(vector("gnome-boxes")).xml
    assert f"<virtcard:saved xmlns:virtcard='{SAVED_NAMESPACE}'>" in xml
    assert xml.count("type='spicevmc'>") == vector("gnome-boxes").count("type='spicevmc'>")
    assert parse_domain(xml).foreign is None


def test_the_place_of_a_replaced_smart_card_is_kept() -> None:
    xml = domain(f"<sound model='ich9'/>{SPICE}<input type='mouse'/>")
    after = enable(xml).xml
    assert after.index("<sound") < after.index("mode='bind'") < after.index("<input")
    assert plan_disable(after).xml == xml


def test_a_ccid_controller_of_before_stays_with_its_address() -> None:
    controller = "<controller type='ccid' index='0'><address type='usb' bus='0' port='3'/></controller>"
    plan = enable(domain(controller))
    assert parse_domain(plan.xml).ccid_controllers[0].bus == 0
    assert plan_disable(plan.xml).xml == domain(controller)


def test_a_ccid_controller_of_before_comes_back_when_somebody_took_it() -> None:
    controller = "<controller type='ccid' index='0'><address type='usb' bus='0' port='3'/></controller>"
    enabled = enable(domain(controller, "<metadata/>")).xml
    devices = enabled.index("<devices>")
    taken = enabled[:devices] + enabled[devices:].replace(controller, "")
    assert plan_disable(taken).xml == domain(controller, "<metadata></metadata>")


def test_a_controller_that_libvirt_added_with_an_address_goes() -> None:
    enabled = enable(domain("")).xml
    addressed = "<controller type='ccid' index='0'><address type='usb' bus='0' port='2'/></controller>"
    defined = enabled.replace("<controller type='ccid' index='0'/>", addressed)
    assert plan_disable(defined).xml == domain("")


def test_metadata_that_others_wrote_meanwhile_stays() -> None:
    enabled = enable(domain(SPICE)).xml
    wish = "<w:vm xmlns:w='https://virtcard.org/xmlns/domain/1' card='card:a'/>"
    after = plan_disable(enabled.replace("</metadata>", f"{wish}</metadata>")).xml
    assert after == domain(SPICE, f"<metadata>{wish}</metadata>")


def test_devices_that_others_added_meanwhile_stay() -> None:
    bare = f"<domain type='kvm'><uuid>{ONE}</uuid></domain>"
    enabled = enable(bare).xml
    after = plan_disable(enabled.replace("</devices>", "<input type='mouse'/></devices>")).xml
    assert after == domain("<input type='mouse'/>")


def test_the_socket_of_another_domain_is_rewritten() -> None:
    clone = domain("<controller type='ccid' index='0'/>" + ours(OTHER))
    assert enable(clone, "keep").xml == domain("<controller type='ccid' index='0'/>" + ours())


def test_a_clone_of_a_replaced_smart_card_gets_the_original_back() -> None:
    text = vector("gnome-boxes")
    other = text.replace(ONE, OTHER)
    clone = enable(text).xml.replace(f"<uuid>{ONE}", f"<uuid>{OTHER}")
    mended = enable(clone, "keep")
    assert mended.changed
    assert plan_disable(mended.xml).xml == other


def test_disable_takes_a_clones_reader_too() -> None:
    assert plan_disable(domain("<controller type='ccid' index='0'/>" + ours(OTHER))).xml == domain("")


def test_a_reader_at_another_path_of_ours_is_moved() -> None:
    elsewhere = domain(ours().replace("/run/virtcard/vm", "/run/user/1000/virtcard"))
    assert parse_domain(enable(elsewhere).xml).smartcards[0].path == SOCKET


@pytest.mark.parametrize("extra", ["<alias name='ua-card'/>", "<address type='ccid' controller='1' slot='0'/>"])
def test_a_reader_that_libvirt_would_refuse_is_written_anew(extra: str) -> None:
    assert ours() in enable(domain(ours(extra=extra))).xml


def test_a_reader_without_an_address_is_right() -> None:
    assert not enable(domain(ours(extra=""))).changed


def test_two_smart_cards_are_refused() -> None:
    plan = enable(domain(SPICE + "<smartcard mode='host'/>"))
    assert not plan.changed
    assert [finding.code for finding in plan.findings] == ["smartcard-second"]


def test_disable_beside_a_foreign_device_takes_only_ours() -> None:
    controller = "<controller type='ccid' index='0'/>"
    assert plan_disable(domain(controller + ours() + SPICE)).xml == domain(controller + SPICE)


def test_a_memory_without_our_reader_is_dropped_and_brings_nothing_back() -> None:
    enabled = enable(domain(SPICE)).xml
    overridden = enabled.replace(ours(), "<smartcard mode='host'/>")
    after = plan_disable(overridden).xml
    assert SAVED_NAMESPACE not in after
    assert [card.word for card in parse_domain(after).smartcards] == ["host"]


def test_a_memory_that_is_left_over_is_overwritten() -> None:
    overridden = enable(domain(SPICE)).xml.replace(ours(), "<smartcard mode='host'/>")
    again = enable(overridden).xml
    assert again.count("<virtcard:saved") == 1
    assert [card.word for card in parse_domain(plan_disable(again).xml).smartcards] == ["host"]


def test_a_memory_that_is_left_over_goes_when_nothing_needs_it() -> None:
    enabled = enable(domain(SPICE)).xml
    removed = enabled.replace(ours(), "").replace("<controller type='ccid' index='0'/>", "")
    assert enable(removed).xml == domain("<controller type='ccid' index='0'/>" + ours())


@pytest.mark.parametrize("path", [f"/tmp/{ONE}.sock", f"{SOCKET_DIR}/{OTHER}.sock", "", f"{SOCKET_DIR}/a.sock"])
def test_a_path_by_which_disable_would_not_know_the_reader_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="not a virtcard socket path of this domain"):
        plan_enable(domain(""), path, renderer=RENDERER)


def test_a_word_that_on_existing_does_not_know_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="keep, replace, fail"):
        enable(domain(""), "destroy")


def test_another_document_is_refused() -> None:
    with pytest.raises(InvalidXml):
        plan_enable("<network/>", SOCKET, renderer=RENDERER)
    with pytest.raises(InvalidXml):
        plan_disable("<network/>")


def test_inject_names_the_socket_after_the_domain() -> None:
    plan = inject(domain(""), "/run/virtcard/vm/", renderer=RENDERER)
    assert plan.xml == domain("<controller type='ccid' index='0'/>" + ours())


@pytest.mark.parametrize("uuid", ["", "<uuid/>", "<uuid> </uuid>"])
def test_inject_gives_a_domain_without_a_uuid_one(uuid: str) -> None:
    xml = f"<domain type='kvm'><name>new</name>{uuid}<devices/></domain>"
    plan = inject(xml, SOCKET_DIR, renderer=RENDERER, new_uuid=lambda: UUID(OTHER))
    assert f"<name>new</name><uuid>{OTHER}</uuid>" in plan.xml
    assert parse_domain(plan.xml).reader is not None


def test_inject_of_a_kept_smart_card_gives_the_text_back() -> None:
    xml = f"<domain type='kvm'><name>new</name><devices>{SPICE}</devices></domain>"
    plan = inject(xml, SOCKET_DIR, renderer=RENDERER)
    assert (plan.xml, plan.changed, len(plan.findings)) == (xml, False, 1)


GAPS = st.sampled_from(["", "\n", "\n  ", "\n\n\t", "\r\n    ", " "])
DEVICES = st.sampled_from(
    [
        "<!-- <smartcard/> -->",
        "<?keep me?>",
        "<emulator>/usr/bin/qemu</emulator>",
        "<controller type='ccid' index='0'/>",
        "<controller type='ccid'>\n<address type='usb' bus='0' port='1'/>\n</controller>",
        '<controller index="2" type="ccid"></controller>',
        "<f:x xmlns:f='urn:f' f:a='&lt;'><f:y/></f:x>",
        "<q:z/>",
        "<input type='tablet'/>",
        "<a><![CDATA[</devices>]]></a>",
    ]
)
CARDS = st.sampled_from(
    [
        "",
        SPICE,
        "<smartcard mode='host'></smartcard >",
        '<smartcard mode="passthrough"\n type="tcp">\n\n<source host="::1"/>\n <!-- c --> </smartcard>',
        "<smartcard mode='host'><q:z/></smartcard>",
        ours(extra="").replace("mode='bind'", "mode='connect'"),
    ]
)
METADATA = st.sampled_from(
    [
        "",
        "<metadata/>",
        "<metadata>\n</metadata>",
        "<metadata><x:a xmlns:x='urn:x'/></metadata>",
        "<metadata>\n <!-- c -->\n <a xmlns='urn:a'>t</a>\n</metadata>",
    ]
)


@st.composite
def domains(draw: st.DrawFn) -> str:
    """Domains with up to one smart card of somebody else, in every kind of white space."""
    gaps = st.builds(lambda gap: gap, GAPS)
    parts = draw(st.lists(DEVICES, max_size=6))
    if sum("ccid" in part and "index='2'" not in part and 'index="2"' not in part for part in parts) > 1:
        parts = [part for part in parts if "ccid" not in part]
    parts.insert(draw(st.integers(0, len(parts))), draw(CARDS))
    inside = "".join(draw(gaps) + part for part in parts) + draw(gaps)
    around = draw(st.sampled_from(["<devices>{}</devices>", "<devices >{}</devices\n>", ""]))
    body = [f"<uuid>{ONE}</uuid>", draw(METADATA), around.format(inside), "<!-- end -->"]
    order = draw(st.permutations(body))
    text = "".join(draw(gaps) + part for part in order)
    return f"<domain xmlns:q='urn:q' type=\"kvm\">{text}</domain>\n<!-- after -->"


@given(domains())
def test_disable_leaves_any_domain_as_it_was_found(xml: str) -> None:
    plan = enable(xml)
    assert plan.changed
    assert parse_domain(plan.xml).reader is not None
    assert not enable(plan.xml).changed
    assert canonical(plan_disable(plan.xml).xml) == canonical(xml)
