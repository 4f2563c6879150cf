"""The wish in the metadata."""

from __future__ import annotations

import pytest

from helpers.domain_vectors import vector
from virtcard.domain.metadata import Wish, check_source, read_wish, wish_element
from virtcard.domain.render import Renderer
from virtcard.errors import InvalidArgument
from virtcard.names import WISH_NAMESPACE


def domain(*elements: str) -> str:
    return f"<domain type='kvm'><metadata>{''.join(elements)}</metadata></domain>"


def wish(attributes: str, prefix: str = "virtcard", name: str = "vm") -> str:
    return f"<{prefix}:{name} xmlns:{prefix}='{WISH_NAMESPACE}' {attributes}/>"


def test_the_wish_of_a_domain_is_read() -> None:
    assert read_wish(vector("wish")) == Wish("reader:Yubico*")


@pytest.mark.parametrize("prefix", ["virtcard", "v", "x-y"])
def test_any_prefix_will_do(prefix: str) -> None:
    assert read_wish(domain(wish("card='card:alice'", prefix))) == Wish("card:alice")


def test_a_default_namespace_will_do() -> None:
    assert read_wish(domain(f"<vm xmlns='{WISH_NAMESPACE}' card='card:alice'/>")) == Wish("card:alice")


@pytest.mark.parametrize(
    "xml",
    [
        "<domain/>",
        domain(),
        domain("<vm card='card:alice'/>"),
        domain("<vm xmlns='https://virtcard.org/xmlns/domain/2' card='card:alice'/>"),
        f"<domain><devices>{wish('')}</devices></domain>",
        vector("gnome-boxes"),
    ],
)
def test_no_element_is_no_wish(xml: str) -> None:
    assert read_wish(xml) is None


def test_an_unknown_attribute_is_a_warning() -> None:
    found = read_wish(domain(wish("card='card:alice' colour='red' o:x='1' xmlns:o='urn:o'")))
    assert found is not None
    assert found.card == "card:alice"
    assert [finding.code for finding in found.findings] == ["wish-attribute"] * 2
    assert "'colour'" in found.findings[0].message


@pytest.mark.parametrize("element", [wish(""), wish("source='card:a'"), wish("card='card:a'", name="domain")])
def test_an_element_that_asks_for_nothing_is_an_error_that_tells_how(element: str) -> None:
    with pytest.raises(InvalidArgument, match="is not <vm card=") as caught:
        read_wish(domain(element))
    assert "virsh metadata" in caught.value.hint


def test_a_bad_source_in_the_metadata_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="'Yubico' is not a card source"):
        read_wish(domain(wish("card='Yubico'")))


@pytest.mark.parametrize("source", ["reader:*", "reader:Yubico [CCID] 00 00", "card:alice-piv", "x-vendor+2:a:b/c"])
def test_a_source_is_a_scheme_and_a_rest(source: str) -> None:
    assert check_source(source) == source


@pytest.mark.parametrize(
    "source",
    [
        "",
        "reader",
        "reader:",
        ":a",
        "Reader:a",
        "1x:a",
        "réader:a",
        " reader:a",
        "card:",
        "card:../etc/passwd",
        "card:.hidden",
        "card:a b",
        "card:" + "a" * 65,
        "reader:" + "a" * 250,
        "reader:a\nb",
        "reader:a\x1b[2J",
        "reader:\u202eb",
    ],
)
def test_anything_else_is_refused_with_a_hint(source: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_source(source)
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_the_element_for_libvirt_is_made_from_a_checked_source() -> None:
    assert wish_element("reader:Yubico*", Renderer(None)) == "<vm card='reader:Yubico*'/>"
    with pytest.raises(InvalidArgument):
        wish_element("Yubico*", Renderer(None))
