"""XML is read safely, and an edit leaves every other byte alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.domain_vectors import NAMES, vector
from virtcard.domain.xmlfile import Document, parse, verbatim
from virtcard.errors import InvalidXml
from virtcard.limits import DOMAIN_XML_MAX


def edited(text: str, path: str, *pieces: str) -> str:
    document = Document(text)
    parent = document.root if path == "." else document.root.find(path)
    assert parent is not None
    document.append(parent, *pieces)
    return document.result()


def test_an_external_entity_is_refused() -> None:
    with pytest.raises(InvalidXml, match="DOCTYPE"):
        parse("<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>")


def test_a_billion_laughs_are_refused() -> None:
    with pytest.raises(InvalidXml):
        parse("<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>")


def test_a_doctype_without_entities_is_refused_too() -> None:
    with pytest.raises(InvalidXml, match="DOCTYPE"):
        Document("<!DOCTYPE domain><domain/>")


@pytest.mark.parametrize(
    "text", ["", "  ", "<domain>", "<domain></dom>", "<a/><b/>", "<a>&nope;</a>", "a\0", "<a b=c/>"]
)
def test_text_that_is_not_well_formed_gets_one_sentence(text: str) -> None:
    with pytest.raises(InvalidXml, match=r"^The domain XML is not well-formed: [^\n]+\.$"):
        parse(text)


def test_a_lone_surrogate_is_no_xml() -> None:
    with pytest.raises(InvalidXml, match="a character that XML does not allow"):
        parse("<a>\ud800</a>")


def test_text_beyond_libvirts_own_limit_is_refused_unparsed() -> None:
    with pytest.raises(InvalidXml, match=str(DOMAIN_XML_MAX)):
        parse("<" * (DOMAIN_XML_MAX + 1))


def test_elements_nested_without_end_are_refused() -> None:
    with pytest.raises(InvalidXml):
        Document("<a>" * 5000 + "</a>" * 5000)


def test_the_declared_encoding_of_a_text_means_nothing() -> None:
    document = Document("<?xml version='1.0' encoding='iso-8859-1'?>\n<a><b>ü</b></a>")
    assert document.source(document.root[0]) == "<b>ü</b>"


def test_every_element_is_found_at_its_place() -> None:
    text = "<a x='>'><b  /><!-- <b/> --><b y=\"/>\">é<![CDATA[<b>]]></b\n><?b <b/>?><c></c></a>"
    document = Document(text)
    assert [document.source(element) for element in document.root.iter("*")] == [
        text,
        "<b  />",
        '<b y="/>">é<![CDATA[<b>]]></b\n>',
        "<c></c>",
    ]


def test_a_source_that_inherits_a_prefix_takes_it_along() -> None:
    document = Document("<a xmlns:p='urn:p'><b><p:c/></b></a>")
    assert document.source(document.root[0]) == '<b xmlns:p="urn:p"><p:c/></b>'


def test_a_byte_order_mark_stays() -> None:
    assert edited("\ufeff<a><b/></a>", ".", "<c/>") == "\ufeff<a><b/><c/></a>"


def test_an_appended_element_is_indented_like_its_siblings() -> None:
    assert edited("<a>\n   <b/>\n</a>", ".", "<c>\n  <d/>\n</c>") == "<a>\n   <b/>\n   <c>\n     <d/>\n   </c>\n</a>"


def test_an_element_appended_to_one_line_stays_on_it() -> None:
    assert edited("<a><b/></a>", ".", "<c>\n  <d/>\n</c>") == "<a><b/><c><d/></c></a>"


def test_a_dos_line_break_is_kept() -> None:
    assert edited("<a>\r\n  <b/>\r\n</a>", ".", "<c/>") == "<a>\r\n  <b/>\r\n  <c/>\r\n</a>"


def test_an_element_that_closes_itself_is_opened() -> None:
    assert edited("<a>\n  <x:b xmlns:x='u' y='/>' />\n</a>", "{u}b", "<c/>") == (
        "<a>\n  <x:b xmlns:x='u' y='/>'>\n    <c/></x:b>\n</a>"
    )


def test_two_pieces_keep_their_order() -> None:
    assert edited("<a/>", ".", "<b/>", "<c/>") == "<a><b/><c/></a>"


def test_edits_at_several_places_do_not_disturb_each_other() -> None:
    document = Document("<a>\n  <b/>\n  <c/>\n  <d/>\n</a>")
    b, c, d = document.root
    document.remove(d)
    document.insert_after(b, "<n/>")
    document.replace(c, "<r/>")
    document.append(document.root, "<e/>")
    assert document.result() == "<a>\n  <b/>\n  <n/>\n  <r/>\n  <e/>\n</a>"


def test_a_verbatim_part_keeps_its_own_line_breaks() -> None:
    kept = "<k>\n<l/>\r\n</k>"
    assert edited("<a>\n <b/></a>", ".", f"<c>\n{verbatim(kept)}\n</c>") == f"<a>\n <b/>\n <c>\n {kept}\n </c></a>"


@pytest.mark.parametrize("name", NAMES)
def test_a_document_without_edits_is_the_text_itself(name: str) -> None:
    assert Document(vector(name)).result() == vector(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_appended_to_any_element_can_be_removed_to_the_byte(name: str) -> None:
    text = vector(name)
    document = Document(text)
    for number, element in enumerate(document.root.iter("*")):
        if element.text is None and len(element) == 0:
            continue
        change = Document(text)
        change.append(list(change.root.iter("*"))[number], "<new>\n  <x/>\n</new>")
        back = Document(change.result())
        (new,) = back.root.iter("{*}new")
        back.remove(new)
        assert back.result() == text


@given(st.text())
@example("<\U00018d09")
def test_any_text_is_a_domain_or_an_error(text: str) -> None:
    try:
        result = Document(text).result()
    except InvalidXml as error:
        result = text if error.message.isprintable() else error.message
    assert result == text
