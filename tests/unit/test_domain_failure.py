"""libvirt's errors as ours, and minimal domains to ask it with."""

from __future__ import annotations

import pytest
from lxml import etree

from virtcard.domain.failure import FROM_RPC, TEXT_MAX, ErrorCode, failure, lost, open_failure
from virtcard.domain.probe import schema_probe, uuid_of
from virtcard.domain.record import state_word
from virtcard.errors import (
    Disconnected,
    DomainStateError,
    InvalidArgument,
    InvalidXml,
    LibvirtFailed,
    NoSuchDomain,
    NotAuthorized,
    TimedOut,
    Unsupported,
    VirtcardError,
)

FROM_QEMU = 10


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.INTERNAL_ERROR, LibvirtFailed),
        (ErrorCode.NO_SUPPORT, Unsupported),
        (ErrorCode.INVALID_CONN, Disconnected),
        (ErrorCode.INVALID_ARG, InvalidArgument),
        (ErrorCode.OPERATION_FAILED, LibvirtFailed),
        (ErrorCode.XML_ERROR, InvalidXml),
        (ErrorCode.OPERATION_DENIED, NotAuthorized),
        (ErrorCode.XML_DETAIL, InvalidXml),
        (ErrorCode.SYSTEM_ERROR, LibvirtFailed),
        (ErrorCode.NO_DOMAIN, NoSuchDomain),
        (ErrorCode.AUTH_FAILED, NotAuthorized),
        (ErrorCode.OPERATION_INVALID, DomainStateError),
        (ErrorCode.CONFIG_UNSUPPORTED, Unsupported),
        (ErrorCode.OPERATION_TIMEOUT, TimedOut),
        (ErrorCode.AUTH_CANCELLED, NotAuthorized),
        (ErrorCode.OPERATION_UNSUPPORTED, Unsupported),
        (ErrorCode.ACCESS_DENIED, NotAuthorized),
        (ErrorCode.XML_INVALID_SCHEMA, InvalidXml),
        (ErrorCode.AUTH_UNAVAILABLE, NotAuthorized),
        (9999, LibvirtFailed),
    ],
)
def test_code_decides_the_class(code: int, kind: type[VirtcardError]) -> None:
    assert type(failure(code, "text")) is kind


def test_text_of_libvirt_follows_our_sentence_on_one_line() -> None:
    error = failure(ErrorCode.INTERNAL_ERROR, "qemu went\n  away:\n\nno bus\n")
    assert str(error) == "libvirt failed: qemu went away: no bus"


def test_long_text_is_cut() -> None:
    assert len(str(failure(ErrorCode.INTERNAL_ERROR, "x" * 100_000))) < TEXT_MAX + 100


def test_quoted_xml_with_a_password_is_left_out() -> None:
    text = "(domain_definition):1: attributes construct error\n<graphics type='spice' passwd='secret'\n-----^"
    error = failure(ErrorCode.XML_DETAIL, text)
    assert str(error) == "The domain XML is not well-formed: (domain_definition):1: attributes construct error"


def test_lost_connection_says_that_it_comes_back() -> None:
    error = lost(ErrorCode.INTERNAL_ERROR, "client socket is closed")
    assert isinstance(error, Disconnected)
    assert "by itself" in error.hint


@pytest.mark.parametrize(
    ("code", "domain"), [(ErrorCode.SYSTEM_ERROR, FROM_RPC), (ErrorCode.SYSTEM_ERROR, 0), (ErrorCode.NO_CONNECT, 0)]
)
def test_daemon_that_is_not_there_is_disconnected(code: int, domain: int) -> None:
    assert type(open_failure("qemu:///system", code, domain, "no socket")) is Disconnected


def test_refused_login_is_not_authorized() -> None:
    error = open_failure("qemu:///system", ErrorCode.AUTH_UNAVAILABLE, FROM_QEMU, "no agent")
    assert type(error) is NotAuthorized
    assert "qemu:///system" in str(error)


def test_other_refusal_of_a_connection_is_libvirt_failed() -> None:
    assert type(open_failure("qemu:///x", ErrorCode.INTERNAL_ERROR, FROM_QEMU, "unexpected path")) is LibvirtFailed


def test_schema_probe_keeps_only_what_is_ours() -> None:
    xml = """<domain type='kvm'><name>vm</name><bogus/><metadata><a xmlns='u:1'/></metadata><devices><disk/>
    <controller type='usb'/><controller type='ccid' index='0'/><smartcard mode='host'/></devices></domain>"""
    probe = etree.fromstring(schema_probe(xml))
    assert [child.tag for child in probe] == ["name", "memory", "vcpu", "os", "devices", "metadata"]
    devices = probe.find("devices")
    assert devices is not None
    assert [(child.tag, child.get("type")) for child in devices] == [("controller", "ccid"), ("smartcard", None)]


def test_uuid_is_read_from_the_domain_only() -> None:
    assert uuid_of("<domain><uuid> u </uuid></domain>") == "u"
    assert uuid_of("<domain><os><uuid>u</uuid></os></domain>") == ""


@pytest.mark.parametrize("xml", ["", "<domain", "<a/><b/>", "\0"])
def test_malformed_xml_is_invalid(xml: str) -> None:
    with pytest.raises(InvalidXml):
        uuid_of(xml)


def test_entities_are_not_read_from_files() -> None:
    xml = "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><domain><uuid>&e;</uuid></domain>"
    assert uuid_of(xml) == ""


def test_states_have_virshs_words() -> None:
    assert [state_word(state) for state in (1, 3, 4, 5, 6, 7)] == [
        "running",
        "paused",
        "in shutdown",
        "shut off",
        "crashed",
        "pmsuspended",
    ]


@pytest.mark.parametrize("state", [-1, 8, 1000])
def test_unknown_state_has_a_word(state: int) -> None:
    assert state_word(state) == "no state"
