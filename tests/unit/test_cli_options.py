"""Which virtcardd a command speaks to, by virsh's own rules."""

from __future__ import annotations

import pytest

from virtcard.cli.options import bus_of, choose_bus
from virtcard.cli.run import run
from virtcard.errors import InvalidArgument, Unsupported


def test_the_system_bus_is_the_default() -> None:
    assert choose_bus(None, None, {}) == "system"


@pytest.mark.parametrize("place", ["system", "session"])
def test_a_bus_may_be_named(place: str) -> None:
    assert choose_bus(None, place, {"LIBVIRT_DEFAULT_URI": "qemu:///session"}) == place


@pytest.mark.parametrize(
    ("uri", "bus"),
    [
        ("qemu:///system", "system"),
        ("qemu:///session", "session"),
        ("qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock", "session"),
    ],
)
def test_a_libvirt_uri_chooses_the_bus(uri: str, bus: str) -> None:
    assert bus_of(uri) == bus
    assert choose_bus(uri, None, {}) == bus


@pytest.mark.parametrize("name", ["LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI"])
def test_the_variables_of_virsh_are_followed(name: str) -> None:
    assert choose_bus(None, None, {name: "qemu:///session"}) == "session"


def test_virshs_own_variable_comes_before_libvirts() -> None:
    both = {"LIBVIRT_DEFAULT_URI": "qemu:///session", "VIRSH_DEFAULT_CONNECT_URI": "qemu:///system"}
    assert choose_bus(None, None, both) == "system"


def test_an_empty_variable_is_no_variable() -> None:
    assert choose_bus(None, None, {"LIBVIRT_DEFAULT_URI": ""}) == "system"


@pytest.mark.parametrize("uri", ["qemu+ssh://host/system", "qemu+tls://host/session"])
def test_another_machine_is_refused(uri: str) -> None:
    with pytest.raises(Unsupported, match="another machine"):
        bus_of(uri)


@pytest.mark.parametrize("uri", ["xen:///system", "qemu:///embed?root=/tmp/x", "test:///default", "bogus://x", "no"])
def test_what_virtcard_does_not_serve_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgument, match="does not serve"):
        bus_of(uri)


def test_what_is_no_uri_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="is not a URI"):
        bus_of("qemu://[/system")


def test_a_uri_and_a_bus_that_disagree_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        choose_bus("qemu:///session", "system", {})
    assert choose_bus("qemu:///session", "session", {}) == "session"


def test_a_refused_uri_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-c", "qemu+ssh://host/system", "list"]) == 1
    assert "over ssh" in capsys.readouterr().err
