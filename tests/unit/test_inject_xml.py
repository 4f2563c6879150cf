"""The filter for domains that are not defined yet, or never are."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.domain_vectors import NAMES, SOCKET_DIR, canonical, socket_of, vector
from virtcard.cli.local.inject_xml import inject_xml, plan_inject_xml
from virtcard.domain.model import parse_domain
from virtcard.domain.plan import plan_disable
from virtcard.errors import Failed, InvalidArgument, InvalidXml, PreflightFailed


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_is_in_what_comes_out(name: str) -> None:
    out = inject_xml(vector(name), socket_dir=SOCKET_DIR, on_existing="replace")
    reader = parse_domain(out).reader
    assert reader is not None
    assert reader.path == socket_of(vector(name))
    assert canonical(plan_disable(out).xml) == canonical(vector(name))


def test_what_went_through_once_goes_through_unchanged() -> None:
    once = inject_xml(vector("virt-install"), socket_dir=SOCKET_DIR, on_existing="keep")
    assert inject_xml(once, socket_dir=SOCKET_DIR, on_existing="keep") == once


def test_a_kept_smart_card_is_told_once() -> None:
    plan = plan_inject_xml(vector("gnome-boxes"), socket_dir=SOCKET_DIR, on_existing="keep")
    assert plan.xml == vector("gnome-boxes")
    assert [finding.code for finding in plan.findings] == ["smartcard-existing"]


def test_a_smart_card_in_the_way_can_be_an_error() -> None:
    with pytest.raises(PreflightFailed, match="spicevmc") as caught:
        inject_xml(vector("gnome-boxes"), socket_dir=SOCKET_DIR, on_existing="fail")
    assert "replace" in caught.value.hint


def test_a_domain_that_could_not_start_is_refused() -> None:
    xml = "<domain type='kvm'><name>a</name><devices><controller type='usb' model='none'/></devices></domain>"
    with pytest.raises(PreflightFailed, match="USB is switched off"):
        inject_xml(xml, socket_dir=SOCKET_DIR, on_existing="keep")


def test_a_directory_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(PreflightFailed, match="107"):
        inject_xml(vector("wish"), socket_dir=f"/{'x' * 80}/virtcard", on_existing="keep")


def test_a_directory_of_another_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="not a virtcard socket path"):
        inject_xml(vector("wish"), socket_dir="/tmp", on_existing="keep")


def test_two_domains_without_a_uuid_get_two() -> None:
    xml = "<domain type='kvm'><name>a</name></domain>"
    outs = {parse_domain(inject_xml(xml, socket_dir=SOCKET_DIR, on_existing="keep")).uuid for _ in range(2)}
    assert len(outs) == 2


def test_text_that_is_no_domain_is_refused() -> None:
    with pytest.raises(InvalidXml):
        inject_xml("hello", socket_dir=SOCKET_DIR, on_existing="keep")


def test_a_broken_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "devices.xml.j2").write_text("{{")
    with pytest.raises(Failed, match=r"devices\.xml\.j2, line 1"):
        plan_inject_xml(vector("wish"), socket_dir=SOCKET_DIR, on_existing="keep", templates=tmp_path)
