"""A viewer's card before the host's: a machine with a SPICE reader and one of virtcardd's, and its clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import libvirt
import pytest

from helpers.domains import qemu_xml
from helpers.fake_card import FakeCard
from helpers.host import Host, private_host
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.runner import Bridge, BridgeState
from virtcard.bridge.spice.settings import SpiceSettings

VM = "desk"
READER = "reader:Virtual PCD 00 00"
BY_PORT = "<graphics type='spice' autoport='yes'><listen type='address' address='127.0.0.1'/></graphics>"
WITH_CARD = "<smartcard mode='passthrough' type='spicevmc'/>"
YIELDS = ALLOW_ALL + 'when-viewer = "viewer"\nmonitor = "hotplug"\n'


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Everything, with a card in the first reader."""
    with private_host() as running:
        running.slots[0].plug(ScriptedCard())
        wait_until(lambda: any(reader["present"] for reader in running.virtcardd.json("readers")), 10, "the card")
        yield running


@pytest.fixture(params=["port", "socket"])
def endpoint(host: Host, request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """The SPICE server of a machine that runs and has a hot-plugged reader with the host's card, too."""
    place = host.libvirtd.directory / "spice"
    by_socket = f"<graphics type='spice'><listen type='socket' socket='{place}'/></graphics>"
    graphics = BY_PORT if request.param == "port" else by_socket
    policy(host, YIELDS)
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(qemu_xml(VM, devices=graphics + WITH_CARD)).create()
    wait_until(lambda: host.virtcardd.run("info", VM).returncode == 0, 10, "the domain is known", 0.1)
    host.virtcardd.virtcard("enable", VM, "--hotplug")
    host.virtcardd.virtcard("insert", VM, READER)
    assert states(host) == ["inserted"]
    yield spice_port(host) if request.param == "port" else Endpoint(Scheme.SPICE_UNIX, path=str(place))
    with closing(host.libvirtd.open()) as connection:
        domain = connection.lookupByName(VM)
        domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def policy(host: Host, rules: str) -> None:
    host.virtcardd.policy(rules)
    host.virtcardd.virtcard("policy", "reload")


def spice_port(host: Host) -> Endpoint:
    port = host.libvirtd.virsh("domdisplay", VM).strip().rpartition(":")[2]
    return Endpoint(Scheme.SPICE, host="127.0.0.1", port=int(port))


@contextmanager
def a_viewer_shares_its_card(endpoint: Endpoint) -> Iterator[None]:
    """A SPICE client with a smart card channel."""
    bridge = Bridge(endpoint, lambda _status: None, spice=SpiceSettings(take_over=True))
    bridge.start()
    bridge.insert(FakeCard())
    try:
        wait_until(lambda: bridge.status.state is BridgeState.INSERTED, 15, "the viewer's card is in")
        yield
    finally:
        bridge.stop()
        assert bridge.join(10)


def states(host: Host) -> list[str]:
    return [bridge["state"] for bridge in host.virtcardd.json("info", VM)["bridges"]]


def wait_state(host: Host, state: str) -> None:
    wait_until(lambda: states(host) == [state], 15, f"the host's card is {state}", 0.1)


def test_the_host_s_card_is_out_while_a_viewer_shares_its_own(host: Host, endpoint: Endpoint) -> None:
    for _ in range(2):
        with a_viewer_shares_its_card(endpoint):
            wait_state(host, "empty")
            said = host.virtcardd.run("insert", VM, READER)
            assert said.returncode == 5
            assert "has the card of its SPICE viewer" in said.stderr
        wait_state(host, "inserted")


def test_with_another_rule_both_cards_are_in(host: Host, endpoint: Endpoint) -> None:
    with a_viewer_shares_its_card(endpoint):
        wait_state(host, "empty")
        policy(host, YIELDS.replace('"viewer"', '"host"'))
        wait_state(host, "inserted")


def test_a_viewer_that_was_there_before_virtcardd_is_found_where_the_monitor_may_be_asked(
    host: Host, endpoint: Endpoint
) -> None:
    with a_viewer_shares_its_card(endpoint):
        wait_state(host, "empty")
        host.virtcardd.stop()
        host.virtcardd.start()
        wait_state(host, "empty")
    wait_state(host, "inserted")


def test_without_the_monitor_what_is_not_seen_is_told(host: Host, endpoint: Endpoint) -> None:
    findings = codes(host)
    host.virtcardd.policy(YIELDS.replace('monitor = "hotplug"\n', ""))
    host.virtcardd.stop()
    host.virtcardd.start()
    assert "viewers-unseen" not in findings
    wait_until(lambda: "viewers-unseen" in codes(host), 10, "the warning", 0.1)


def codes(host: Host) -> list[str]:
    return [finding["code"] for finding in host.virtcardd.json("info", VM)["findings"]]
