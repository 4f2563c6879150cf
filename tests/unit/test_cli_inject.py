"""`virtcard inject-xml` as a filter: XML in, XML out, sentences on stderr."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from lxml import etree

from virtcard.cli.local.inject import default_folder
from virtcard.cli.run import run
from virtcard.limits import DOMAIN_XML_MAX

UUID = "c9024a97-9b15-46cc-8341-38d75d5d421b"
DOMAIN = f"""\
<domain type='kvm'>
  <name>win11</name>
  <uuid>{UUID}</uuid>
  <memory>1</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='qemu-xhci'/>
  </devices>
</domain>
"""

Capture = pytest.CaptureFixture[str]
Give = Callable[[bytes], None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Sets what the command reads."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


@pytest.fixture
def sockets() -> Iterator[str]:
    """A socket directory whose path is short enough."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "virtcard"
        path.mkdir()
        yield str(path)


def test_the_reader_listens_in_the_given_directory(give: Give, capsys: Capture, sockets: str) -> None:
    give(DOMAIN.encode())
    assert run(["inject-xml", "--socket-dir", sockets]) == 0
    sources = etree.fromstring(capsys.readouterr().out).findall("devices/smartcard/source")
    assert [source.get("path") for source in sources] == [f"{sockets}/{UUID}.sock"]


def test_what_the_filter_gives_is_left_alone_by_the_filter(give: Give, capsys: Capture, sockets: str) -> None:
    give(DOMAIN.encode())
    run(["inject-xml", "--socket-dir", sockets])
    once = capsys.readouterr().out
    give(once.encode())
    assert run(["inject-xml", "--socket-dir", sockets]) == 0
    assert capsys.readouterr().out == once


def test_a_declaration_in_front_is_no_trouble(give: Give, capsys: Capture, sockets: str) -> None:
    give(b"<?xml version='1.0' encoding='UTF-8'?>\n" + DOMAIN.encode())
    assert run(["inject-xml", "--socket-dir", sockets]) == 0
    assert UUID in capsys.readouterr().out


def test_the_default_directory_is_the_instances_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_folder("system") == "/run/virtcard/vm"
    assert default_folder("session") == "/run/user/1000/virtcard"


def test_what_is_no_xml_is_exit_code_2_and_no_output(give: Give, capsys: Capture) -> None:
    give(b"<domain>")
    assert run(["inject-xml"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("virtcard: ")


def test_what_is_not_utf_8_is_refused(give: Give, capsys: Capture) -> None:
    give(b"<domain>\xff</domain>")
    assert run(["inject-xml"]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_more_than_libvirt_takes_is_not_even_parsed(give: Give, capsys: Capture) -> None:
    give(b" " * (DOMAIN_XML_MAX + 1))
    assert run(["inject-xml"]) == 2
    assert "longer than 4 MiB" in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"", b" \n"])
def test_nothing_on_standard_input_is_said_to_be_nothing(text: bytes, give: Give, capsys: Capture) -> None:
    give(text)
    assert run(["inject-xml"]) == 2
    assert capsys.readouterr().err == (
        "virtcard: There is no domain XML on standard input.\nhint: virtcard inject-xml < machine.xml\n"
    )
