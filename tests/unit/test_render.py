"""The templates give what libvirt takes, and a broken one of an admin is named with file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from virtcard.domain.plan import plan_enable
from virtcard.domain.render import Renderer
from virtcard.domain.saved import Saved
from virtcard.errors import Failed, VirtcardError
from virtcard.names import SAVED_NAMESPACE

SOCKET = "/run/virtcard/vm/3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03.sock"
SCHEMA = Path(__file__).parents[2] / "xml" / "virtcard-metadata.rng"


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    return tmp_path


def render(renderer: Renderer, name: str) -> object:
    if name == "devices.xml.j2":
        return renderer.devices(SOCKET)
    return renderer.wish("card:a") if name == "wish.xml.j2" else renderer.saved(Saved("<smartcard mode='host'/>"))


def broken(templates: Path, text: str, name: str = "devices.xml.j2") -> VirtcardError:
    (templates / name).write_text(text)
    with pytest.raises(Failed) as caught:
        render(Renderer(templates), name)
    assert str(templates / name) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def fits_our_schema(element: str) -> bool:
    return bool(etree.RelaxNG(etree.parse(SCHEMA)).validate(etree.fromstring(element)))


def test_the_reader_is_a_controller_and_a_card_with_source_before_address() -> None:
    devices = Renderer(None).devices(SOCKET)
    card = etree.fromstring(devices.smartcard)
    assert devices.controller == "<controller type='ccid' index='0'/>"
    assert card.items() == [("mode", "passthrough"), ("type", "unix")]
    assert [child.tag for child in card] == ["source", "address"]
    assert card[0].items() == [("mode", "bind"), ("path", SOCKET)]


def test_a_path_is_escaped() -> None:
    path = "/tmp/a'b<&\">/virtcard/x.sock"
    source = etree.fromstring(Renderer(None).devices(path).smartcard).find("source")
    assert source is not None
    assert source.get("path") == path


def test_the_wish_has_no_namespace_since_libvirt_adds_it() -> None:
    assert Renderer(None).wish("reader:Yubico*") == "<vm card='reader:Yubico*'/>"


def test_the_wish_is_escaped() -> None:
    assert etree.fromstring(Renderer(None).wish("reader:'\"<&>")).get("card") == "reader:'\"<&>"


@pytest.mark.parametrize(
    "what",
    [
        Saved(smartcard="<smartcard mode='host'/>"),
        Saved(
            smartcard="<smartcard mode='host'><!-- c -->\n <a b='&lt;'/></smartcard>", absent=frozenset({"metadata"})
        ),
        Saved(controller="<controller type='ccid' index='0'><address type='usb'/></controller>"),
        Saved(absent=frozenset({"devices", "metadata"})),
    ],
)
def test_the_memory_fits_our_schema(what: Saved) -> None:
    assert fits_our_schema(Renderer(None).saved(what))


@pytest.mark.parametrize(
    "element",
    [
        "<vm xmlns='https://virtcard.org/xmlns/domain/1' card='reader:Yubico*'/>",
        "<v:vm xmlns:v='https://virtcard.org/xmlns/domain/1' card='card:alice-piv'/>",
    ],
)
def test_a_wish_fits_our_schema(element: str) -> None:
    assert fits_our_schema(element)


@pytest.mark.parametrize(
    "element",
    [
        "<vm card='card:a'/>",
        "<vm xmlns='https://virtcard.org/xmlns/domain/1'/>",
        "<vm xmlns='https://virtcard.org/xmlns/domain/1' card='a'/>",
        "<vm xmlns='https://virtcard.org/xmlns/domain/1' card='card:a' b='c'/>",
        f"<s:saved xmlns:s='{SAVED_NAMESPACE}' absent='os'/>",
        f"<s:saved xmlns:s='{SAVED_NAMESPACE}'><smartcard/></s:saved>",
        f"<s:saved xmlns:s='{SAVED_NAMESPACE}'><controller type='usb'/></s:saved>",
    ],
)
def test_anything_else_does_not_fit(element: str) -> None:
    assert not fits_our_schema(element)


def test_a_template_of_the_admin_comes_before_ours(templates: Path) -> None:
    (templates / "devices.xml.j2").write_text(
        "<controller type='ccid' index='0'><address type='usb' bus='1' port='4'/></controller>"
        "<smartcard mode='passthrough' type='unix'><source mode='bind' path='{{ socket_path }}'/>"
        "<log file='/var/log/card.log' append='on'/></smartcard>"
    )
    renderer = Renderer(templates)
    assert "bus='1' port='4'" in renderer.devices(SOCKET).controller
    assert renderer.wish("card:a") == "<vm card='card:a'/>"


def test_a_directory_that_is_missing_means_our_own(tmp_path: Path) -> None:
    assert Renderer(tmp_path / "none").devices(SOCKET) == Renderer(None).devices(SOCKET)


def test_a_syntax_error_names_its_line(templates: Path) -> None:
    error = broken(templates, "\n\n{% if %}")
    assert "line 3, is not a template" in error.message
    assert "nothing was changed" in error.hint


def test_an_unknown_variable_names_its_line(templates: Path) -> None:
    assert "line 2, cannot be rendered: 'socket_pth' is undefined" in broken(templates, "\n{{ socket_pth }}").message


def test_a_failing_expression_names_its_line(templates: Path) -> None:
    assert "line 4, cannot be rendered" in broken(templates, "\n\n\n{{ 1 / 0 }}").message


def test_a_template_cannot_reach_into_python(templates: Path) -> None:
    assert "unsafe" in broken(templates, "{{ socket_path.__class__.__mro__ }}").message


def test_an_include_that_is_missing_is_named(templates: Path) -> None:
    assert "more.j2" in broken(templates, "{% include 'more.j2' %}").message


def test_text_that_is_no_xml_is_named(templates: Path) -> None:
    assert "gives no XML" in broken(templates, "<controller type='ccid'>").message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<smartcard mode='passthrough' type='unix'><source mode='bind' path='{{ socket_path }}'/></smartcard>",
        "<controller type='usb'/><smartcard/>",
        "<controller type='ccid' index='1'/><smartcard/>",
        "<controller type='ccid'/><smartcard/><smartcard/>",
        "<controller type='ccid'/><smartcard/><hostdev/>",
    ],
)
def test_other_devices_are_refused(templates: Path, text: str) -> None:
    assert (
        "gives something else than one <controller type='ccid'> and one <smartcard>" in broken(templates, text).message
    )


@pytest.mark.parametrize(
    "card",
    [
        "<smartcard mode='host'/>",
        "<smartcard mode='passthrough' type='unix'><source mode='bind' path='/tmp/mine.sock'/></smartcard>",
        "<smartcard mode='passthrough' type='unix'><source path='{{ socket_path }}'/></smartcard>",
        "<smartcard mode='passthrough' type='unix'><source mode='bind' path='{{ socket_path }}'/>"
        "<alias name='ua-a'/></smartcard>",
        "<smartcard mode='passthrough' type='unix'><source mode='bind' path='{{ socket_path }}'/>"
        "<address type='ccid' controller='0' slot='1'/></smartcard>",
    ],
)
def test_a_card_that_libvirt_or_we_would_not_take_is_refused(templates: Path, card: str) -> None:
    assert "not on the socket path" in broken(templates, f"<controller type='ccid'/>{card}").message


def test_a_wish_of_another_shape_is_refused(templates: Path) -> None:
    assert "<vm card='...' tags='...'/>" in broken(templates, "<vm>{{ card }}</vm>", "wish.xml.j2").message


def test_a_memory_that_forgets_is_refused(templates: Path) -> None:
    text = "<v:saved xmlns:v='{{ namespace }}'/>"
    assert "does not remember" in broken(templates, text, "saved.xml.j2").message


def test_a_template_that_is_no_text_is_named(templates: Path) -> None:
    (templates / "devices.xml.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(Failed, match=r"devices\.xml\.j2"):
        Renderer(templates).devices(SOCKET)


def test_a_broken_template_changes_no_domain(templates: Path) -> None:
    (templates / "devices.xml.j2").write_text("{{ nothing }}")
    xml = "<domain><devices/></domain>"
    with pytest.raises(Failed):
        plan_enable(xml, SOCKET, renderer=Renderer(templates))


def test_jinja2_is_loaded_with_the_first_change_and_not_with_the_daemon() -> None:
    script = "import sys, virtcard.daemon; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
