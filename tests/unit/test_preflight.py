"""What defines fine and fails at start is found before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.domain_vectors import NAMES, socket_of, vector
from virtcard.domain.finding import Finding, Severity
from virtcard.domain.model import parse_domain
from virtcard.domain.preflight import HostFacts, check, errors

UUID = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03"
HOST = HostFacts(f"/run/virtcard/vm/{UUID}.sock")


def findings(devices: str = "", host: HostFacts = HOST, on_existing: str = "keep", kind: str = "kvm") -> list[Finding]:
    xml = f"<domain type='{kind}'><uuid>{UUID}</uuid><devices>{devices}</devices></domain>"
    return list(check(parse_domain(xml), host, on_existing=on_existing))


def codes(devices: str = "", host: HostFacts = HOST, on_existing: str = "keep") -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in findings(devices, host, on_existing)]


def usb(*models: str) -> str:
    return "".join(f"<controller type='usb' index='{n}' model='{model}'/>" for n, model in enumerate(models))


def companions(*models: str) -> str:
    return "".join(f"<controller type='usb' index='0' model='{model}'/>" for model in models)


@pytest.mark.parametrize("name", NAMES)
def test_an_ordinary_domain_has_nothing_against_a_reader(name: str) -> None:
    assert check(parse_domain(vector(name)), HostFacts(socket_of(vector(name))), on_existing="replace") == ()


@pytest.mark.parametrize("model", ["qemu-xhci", "nec-xhci", "piix3-uhci", "pci-ohci"])
def test_a_full_speed_bus_is_fine(model: str) -> None:
    assert codes(usb(model)) == []


def test_no_usb_controller_is_fine_since_libvirt_adds_one() -> None:
    assert codes() == []


def test_ehci_with_a_companion_is_fine() -> None:
    assert codes(companions("ich9-ehci1", "ich9-uhci1")) == []


@pytest.mark.parametrize("model", ["ich9-ehci1", "ehci"])
def test_ehci_alone_takes_no_reader(model: str) -> None:
    assert codes(usb(model)) == [("error", "usb-ehci-only")]


def test_a_reader_on_the_second_bus_is_fine_beside_ehci() -> None:
    reader = "<controller type='ccid' index='0'><address type='usb' bus='1' port='1'/></controller>"
    assert codes(usb("ich9-ehci1", "qemu-xhci") + reader) == []


def test_a_reader_that_would_land_on_ehci_is_refused() -> None:
    assert codes(usb("ich9-ehci1", "qemu-xhci")) == [("error", "usb-ehci-only")]
    reader = "<controller type='ccid' index='0'><address type='usb' bus='1' port='1'/></controller>"
    assert codes(usb("qemu-xhci", "ich9-ehci1") + reader) == [("error", "usb-ehci-only")]


def test_usb_switched_off_is_an_error() -> None:
    assert codes(usb("none")) == [("error", "usb-none")]


def test_a_full_ehci_bus_is_passed_over() -> None:
    assert codes(usb("ich9-ehci1", "qemu-xhci") + tablets(*"123456")) == []


def tablets(*ports: str, bus: int = 0) -> str:
    return "".join(
        f"<input type='tablet' bus='usb'><address type='usb' bus='{bus}' port='{p}'/></input>" for p in ports
    )


def hub(port: str) -> str:
    return f"<hub type='usb'><address type='usb' bus='0' port='{port}'/></hub>"


@pytest.mark.parametrize(("model", "ports"), [("piix3-uhci", 2), ("pci-ohci", 3), ("qemu-xhci", 4), ("nec-xhci", 4)])
def test_a_bus_without_a_free_port_is_an_error(model: str, ports: int) -> None:
    taken = [str(port + 1) for port in range(ports)]
    assert codes(usb(model) + tablets(*taken)) == [("error", "usb-full")]
    assert codes(usb(model) + tablets(*taken[1:])) == []


def test_ehci_has_six_ports_with_its_companions() -> None:
    controllers = companions("ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3")
    assert codes(controllers + tablets(*"123456")) == [("error", "usb-full")]
    assert codes(controllers + tablets(*"12345")) == []


def test_a_controller_may_say_how_many_ports_it_has() -> None:
    controller = "<controller type='usb' index='0' model='qemu-xhci' ports='15'/>"
    assert codes(controller + tablets(*"1234")) == []


def test_a_free_port_of_a_hub_will_do() -> None:
    full = usb("piix3-uhci") + hub("1") + tablets("2")
    assert codes(full) == []
    assert codes(full + tablets(*(f"1.{port}" for port in range(1, 8)))) == []
    assert codes(full + tablets(*(f"1.{port}" for port in range(1, 9)))) == [("error", "usb-full")]


def test_a_second_bus_will_do() -> None:
    assert codes(usb("piix3-uhci", "qemu-xhci") + tablets("1", "2")) == []


def test_a_full_bus_is_fine_for_a_reader_that_is_there() -> None:
    reader = "<controller type='ccid' index='0'><address type='usb' bus='0' port='2'/></controller>"
    assert codes(usb("piix3-uhci") + tablets("1") + reader) == []


def test_the_ports_of_an_unknown_controller_are_not_counted() -> None:
    assert codes(usb("qusb1") + tablets(*"123456789")) == []


def test_a_missing_socket_directory_is_an_error_with_a_way_out() -> None:
    (finding,) = findings(host=replace(HOST, socket_dir_exists=False))
    assert finding.code == "socket-dir-missing"
    assert "/run/virtcard/vm" in finding.message
    assert "systemd-tmpfiles" in finding.hint


def test_a_path_of_107_bytes_is_the_longest() -> None:
    path = "/" + "ü" * 53
    assert codes(host=HostFacts(path)) == []
    assert codes(host=HostFacts(path + "x")) == [("error", "socket-path-long")]


def test_a_path_that_another_domain_uses_is_an_error_that_names_it() -> None:
    (finding,) = findings(host=replace(HOST, path_users=("clone", "copy")))
    assert (finding.severity, finding.code) == (Severity.ERROR, "socket-path-used")
    assert "clone, copy" in finding.message


@pytest.mark.parametrize(("supported", "expected"), [(True, []), (None, []), (False, [("error", "qemu-without-ccid")])])
def test_a_qemu_without_the_devices_is_an_error_only_when_known(
    supported: bool | None, expected: list[tuple[str, str]]
) -> None:
    assert codes(host=replace(HOST, passthru_supported=supported)) == expected


def test_a_qemu_without_the_devices_is_named() -> None:
    (finding,) = findings("<emulator>/opt/qemu</emulator>", replace(HOST, passthru_supported=False))
    assert finding.message.startswith("/opt/qemu has no")


@pytest.mark.parametrize("kind", ["lxc", "xen", "bhyve", ""])
def test_a_domain_of_another_hypervisor_is_refused(kind: str) -> None:
    assert [finding.code for finding in findings(kind=kind)] == ["domain-type"]


def test_a_transient_domain_is_sent_to_the_filter() -> None:
    (finding,) = findings(host=replace(HOST, persistent=False))
    assert (finding.severity, finding.code) == (Severity.ERROR, "transient")
    assert "inject-xml" in finding.hint


def test_a_saved_state_is_a_warning() -> None:
    (finding,) = findings(host=replace(HOST, managed_save=True))
    assert (finding.severity, finding.code) == (Severity.WARNING, "managed-save")
    assert "managedsave-remove" in finding.hint


@pytest.mark.parametrize(
    ("on_existing", "expected"),
    [("keep", [("warning", "smartcard-existing")]), ("replace", []), ("fail", [("error", "smartcard-existing")])],
)
def test_a_smart_card_of_another_kind_follows_on_existing(on_existing: str, expected: list[tuple[str, str]]) -> None:
    assert codes("<smartcard mode='host'/>", on_existing=on_existing) == expected


def test_a_second_smart_card_is_an_error_whatever_shall_be_done_with_it() -> None:
    cards = "<smartcard mode='host'/><smartcard mode='passthrough' type='spicevmc'/>"
    assert codes(cards, on_existing="replace") == [("error", "smartcard-second")]


@pytest.mark.parametrize("place", ["controller='1' slot='0'", "controller='0' slot='1'"])
def test_a_smart_card_beyond_the_one_slot_is_an_error(place: str) -> None:
    card = f"<smartcard mode='host'><address type='ccid' {place}/></smartcard>"
    assert ("error", "smartcard-address") in codes(card)
    assert codes(card, on_existing="replace") == []


def test_errors_come_first_and_can_be_had_alone() -> None:
    found = findings("<smartcard mode='host'/>" + usb("none"), replace(HOST, managed_save=True, persistent=False))
    severities = [finding.severity for finding in found]
    assert severities == sorted(severities)
    assert [finding.code for finding in errors(tuple(found))] == ["transient", "usb-none"]


def test_every_finding_says_what_to_do() -> None:
    host = HostFacts("/" + "x" * 200, False, False, ("other",), False, True)
    found = findings("<smartcard mode='host'/>" + usb("none"), host) + findings(usb("ehci"), kind="lxc")
    assert len(found) == 10
    for finding in found:
        assert finding.message.endswith(".")
        assert finding.hint.endswith(".")
        assert " " not in finding.code
