"""What is read from a domain XML, and which smart card device is ours."""

from __future__ import annotations

from uuid import UUID

import pytest

from helpers.domain_vectors import NAMES, vector
from virtcard.domain.model import CcidAddress, CcidController, UsbController, parse_domain, socket_owner
from virtcard.errors import InvalidXml

ONE = UUID("3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03")
OTHER = UUID("3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1dff")


def with_card(card: str) -> str:
    return f"<domain type='kvm'><name>a</name><uuid>{ONE}</uuid><devices>{card}</devices></domain>"


def unix(path: str, mode: str = " mode='bind'") -> str:
    return f"<smartcard mode='passthrough' type='unix'><source{mode} path='{path}'/></smartcard>"


def test_a_boxes_domain_is_read_whole() -> None:
    model = parse_domain(vector("gnome-boxes"))
    assert (model.uuid, model.name, model.type) == (ONE, "debian12", "kvm")
    assert (model.emulator, model.arch, model.machine) == ("/usr/bin/qemu-system-x86_64", "x86_64", "pc-q35-7.2")
    assert [card.word for card in model.smartcards] == ["spicevmc"]
    assert model.smartcards[0].address == CcidAddress(0, 0)
    assert model.ccid_controllers == (CcidController(0, bus=0),)
    assert model.usb_controllers[0] == UsbController(0, "ich9-ehci1")
    assert len(model.usb_controllers) == 4
    assert model.spice
    assert not model.qemu_commandline


def test_arguments_for_qemu_are_seen() -> None:
    assert parse_domain(vector("qemu-commandline")).qemu_commandline


def test_the_ports_of_a_usb_controller_are_read() -> None:
    assert parse_domain(vector("virt-install")).usb_controllers == (UsbController(0, "qemu-xhci", 15),)


def test_a_device_in_a_comment_is_none() -> None:
    assert parse_domain(vector("comments-and-cdata")).smartcards == ()


def test_a_uuid_in_capitals_is_the_same() -> None:
    assert parse_domain(vector("comments-and-cdata")).uuid == UUID("3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d08")


@pytest.mark.parametrize(
    ("name", "word"), [("one-line", "host"), ("host-certificates", "host-certificates"), ("virt-install-host", "host")]
)
def test_a_card_in_qemu_is_called_by_its_mode(name: str, word: str) -> None:
    model = parse_domain(vector(name))
    assert model.foreign is not None
    assert model.foreign.word == word


@pytest.mark.parametrize(
    "directory", ["/run/virtcard/vm", "/run/user/1000/virtcard", "/tmp/x/virtcard/vm", "/tmp/x/virtcard"]
)
def test_a_socket_in_a_virtcard_directory_is_ours(directory: str) -> None:
    model = parse_domain(with_card(unix(f"{directory}/{ONE}.sock")))
    assert model.reader is not None
    assert model.reader.owner == ONE
    assert model.foreign is None


def test_a_clone_holds_our_reader_with_the_socket_of_another() -> None:
    model = parse_domain(with_card(unix(f"/run/virtcard/vm/{OTHER}.sock")))
    assert model.smartcards[0].owner == OTHER
    assert model.reader is None
    assert model.foreign is None


@pytest.mark.parametrize(
    "card",
    [
        unix(f"/run/virtcard/vm/{ONE}.sock", mode=""),
        unix(f"/run/virtcard/vm/{ONE}.sock", mode=" mode='connect'"),
        unix(f"/run/other/{ONE}.sock"),
        unix(f"/run/vm/{ONE}.sock"),
        unix(f"virtcard/{ONE}.sock"),
        unix("/run/virtcard/vm/card.sock"),
        unix(f"/run/virtcard/vm/{ONE}.sock.bak"),
        unix(f"/run/virtcard/vm/{ONE.hex}.sock"),
        "<smartcard mode='host'/>",
        "<smartcard mode='passthrough' type='spicevmc'/>",
        "<smartcard mode='passthrough' type='tcp'><source mode='bind' host='::1' service='1'/></smartcard>",
        "<smartcard/>",
    ],
)
def test_anything_else_is_foreign(card: str) -> None:
    model = parse_domain(with_card(card))
    assert model.reader is None
    assert model.foreign is not None


def test_a_socket_path_may_be_asked_for_its_owner() -> None:
    assert socket_owner(f"/run/virtcard/vm/{ONE}.sock") == ONE
    assert socket_owner("") is None


@pytest.mark.parametrize("text", ["<domainsnapshot/>", "<domstatus><domain/></domstatus>", "<d:domain xmlns:d='u'/>"])
def test_another_document_is_not_a_domain(text: str) -> None:
    with pytest.raises(InvalidXml, match="not a libvirt domain"):
        parse_domain(text)


def test_a_bad_uuid_is_an_error() -> None:
    with pytest.raises(InvalidXml, match="'nonsense' is not a UUID"):
        parse_domain("<domain><uuid>nonsense</uuid></domain>")


def test_a_domain_that_is_not_defined_yet_needs_no_uuid() -> None:
    assert parse_domain("<domain><name>new</name></domain>").uuid is None


@pytest.mark.parametrize("index", ["-1", "x", "", "9" * 40, "٣"])
def test_a_number_that_is_none_is_the_default(index: str) -> None:
    model = parse_domain(with_card(f"<controller type='ccid' index='{index}'/>"))
    assert model.ccid_controllers == (CcidController(0),)


@pytest.mark.parametrize("name", NAMES)
def test_every_vector_is_read(name: str) -> None:
    model = parse_domain(vector(name))
    assert model.uuid is not None
    assert model.name
