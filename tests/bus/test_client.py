"""The blocking client: plain values in and out, our own errors, events."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from dbus_next.constants import ErrorType
from dbus_next.errors import DBusError
from dbus_next.message import Message

from helpers.bus import REPOSITORY, PrivateBus, Serving, private_bus
from helpers.fake_service import FEDORA, FINDING, WIN11, FakeService, domain_view
from virtcard import errors
from virtcard.bus.client import Client, Event
from virtcard.bus.failures import to_virtcard_error
from virtcard.bus.standard import PROPERTIES
from virtcard.names import BRIDGE, DOMAIN, MANAGER, READER, ROOT_PATH, bridge_path, domain_path, reader_path
from virtcard.service.api import EnableOptions, reader_setup

PATH = domain_path(WIN11)


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    with private_bus() as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        yield bus


@pytest.fixture
def service() -> FakeService:
    return FakeService().fill()


@pytest.fixture
def serving(private: PrivateBus, service: FakeService) -> Iterator[Serving]:
    with Serving(private.address, service) as running:
        yield running


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client.open() as opened:
        yield opened


def test_objects_are_plain_values(client: Client) -> None:
    objects = client.objects()
    assert set(objects) == {PATH, reader_path(0), bridge_path(WIN11, 0)}
    assert objects[PATH][DOMAIN]["Id"] == 3
    assert objects[PATH][DOMAIN]["Enabled"] is True
    assert objects[reader_path(0)][READER]["Atr"] == b"\x3b\x0a"
    assert objects[reader_path(0)][READER]["Domains"] == [PATH]
    assert objects[bridge_path(WIN11, 0)][BRIDGE]["Apdus"] == 7


def test_properties_of_the_manager(client: Client) -> None:
    assert client.properties(ROOT_PATH, MANAGER)["Libvirt"] == "connected"


def test_find_domain(client: Client) -> None:
    assert client.find_domain("win11") == PATH
    with pytest.raises(errors.NoSuchDomain, match="There is no domain 'other'") as caught:
        client.find_domain("other")
    assert caught.value.hint == "List them: virtcard list"


def test_what_is_no_text_is_said_to_be_none(client: Client) -> None:
    """As Python has an argument that its locale cannot read."""
    with pytest.raises(errors.InvalidArgument, match="no text in this locale") as caught:
        client.find_domain("b\udcfcro")
    assert "UTF-8" in caught.value.hint


def test_calls_take_plain_options(client: Client, service: FakeService) -> None:
    (change,) = client.call(PATH, DOMAIN, "Enable", "a{sv}", [{"dry-run": True, "on-existing": "fail"}])
    assert change["diff"] == "-old\n+new\n"
    assert change["findings"][0]["code"] == FINDING.code
    assert service.calls == [("enable", WIN11, EnableOptions(dry_run=True, on_existing="fail"))]
    assert client.call(PATH, DOMAIN, "Eject", "a{sv}", ({},)) == []


@pytest.mark.parametrize("kind", [errors.PolicyDenied, errors.Busy, errors.TimedOut, errors.CardAbsent, errors.Failed])
def test_errors_of_the_daemon_keep_their_class_sentence_and_hint(
    client: Client, service: FakeService, kind: type[errors.VirtcardError]
) -> None:
    service.failure = kind("It went wrong.", hint="Do this.\nThen that.")
    with pytest.raises(kind) as caught:
        client.call(PATH, DOMAIN, "Eject", "a{sv}", ({},))
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("It went wrong.", "Do this.\nThen that.")


def test_a_bug_of_the_daemon_is_internal(client: Client, service: FakeService) -> None:
    service.failure = RuntimeError("secret")
    with pytest.raises(errors.Internal, match="Internal error; see the journal"):
        client.call(PATH, DOMAIN, "Eject", "a{sv}", ({},))


def test_a_daemon_that_does_not_answer_is_a_time_out(client: Client, service: FakeService, serving: Serving) -> None:
    service.hold = asyncio.Event()
    with pytest.raises(errors.TimedOut, match="virtcardd did not answer in time"):
        client.call(PATH, DOMAIN, "Insert", "sa{sv}", ("card:x", {}), timeout=0.1)
    serving.run(service.hold.set)
    assert client.find_domain("win11") == PATH


def test_a_domain_that_went_meanwhile_is_no_such_domain(client: Client) -> None:
    with pytest.raises(errors.NoSuchDomain, match="not there any more"):
        client.call(domain_path(FEDORA), DOMAIN, "Eject", "a{sv}", ({},))


def test_a_call_that_the_daemon_does_not_know_speaks_of_versions(client: Client) -> None:
    with pytest.raises(errors.Unsupported) as caught:
        client.call(ROOT_PATH, MANAGER, "Future")
    assert "upgraded" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "signature", "body"),
    [
        (PATH, "s", ("\udc80",)),
        (PATH, "s", (5,)),
        (PATH, "s", ()),
        (PATH, "a{sv}", ({"x": object()},)),
        ("no path", "", ()),
    ],
)
def test_a_value_that_dbus_cannot_carry_is_an_invalid_argument(
    client: Client, path: str, signature: str, body: tuple[Any, ...]
) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.call(path, MANAGER, "FindDomain", signature, body)
    assert client.find_domain("win11") == PATH


def test_a_nul_in_an_argument_does_not_end_the_connection(client: Client) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.find_domain("a\0b")
    assert client.find_domain("win11") == PATH


def test_events_tell_what_comes_changes_and_goes(client: Client, service: FakeService, serving: Serving) -> None:
    events = client.events(timeout=20)
    fedora = domain_view(FEDORA, "fedora")
    serving.run(lambda: service.registry.domains.put(FEDORA, fedora))
    added = next(events)
    assert (added.kind, added.path, added.interface) == ("added", domain_path(FEDORA), DOMAIN)
    assert added.properties["Name"] == "fedora"
    serving.run(lambda: service.registry.domains.put(FEDORA, replace(fedora, card="card:piv")))
    assert next(events) == Event("changed", domain_path(FEDORA), DOMAIN, {"Card": "card:piv"})
    serving.run(lambda: service.registry.domains.drop(FEDORA))
    assert next(events) == Event("removed", domain_path(FEDORA), DOMAIN)
    serving.run(lambda: service.set_libvirt("away"))
    assert next(events) == Event("changed", ROOT_PATH, MANAGER, {"Libvirt": "away"})


def test_nothing_is_lost_between_listening_and_looking(client: Client, service: FakeService, serving: Serving) -> None:
    events = client.events(timeout=20)
    serving.run(lambda: service.registry.domains.drop(WIN11))
    assert PATH not in client.objects()
    assert next(events) == Event("removed", PATH, DOMAIN)


def test_events_end_after_the_time_in_all(client: Client) -> None:
    start = time.monotonic()
    assert list(client.events(timeout=0.2)) == []
    assert 0.1 < time.monotonic() - start < 5


def test_events_say_when_the_daemon_goes(client: Client, serving: Serving) -> None:
    events = client.events(timeout=20)
    serving.stop()
    with pytest.raises(errors.Disconnected, match="virtcardd went away"):
        list(events)


def test_events_say_when_the_bus_goes(client: Client, private: PrivateBus) -> None:
    events = client.events(timeout=20)
    private.stop()
    with pytest.raises(errors.Disconnected):
        list(events)
    with pytest.raises(errors.Disconnected):
        client.objects()


def test_signals_of_others_are_no_events(client: Client, private: PrivateBus, serving: Serving) -> None:
    events = client.events(timeout=0.5)
    with Client.open() as other:
        own_name = str(client._bus.unique_name)
        signal = Message.new_signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", [DOMAIN, {}, []])
        signal.destination = own_name

        async def send() -> None:
            await other._bus.send(signal)

        other._run(send())
    assert list(events) == []


def test_without_a_daemon_the_hint_says_how_to_start_it(private: PrivateBus) -> None:
    with pytest.raises(errors.Disconnected, match="virtcardd does not run") as caught:
        Client.open("system")
    assert "systemctl start virtcardd" in caught.value.hint


@pytest.mark.parametrize("kind", ["system", "session"])
def test_without_a_bus_the_error_says_so(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DBUS_{kind.upper()}_BUS_ADDRESS", "unix:path=/nowhere")
    with pytest.raises(errors.Disconnected, match=f"The {kind} bus cannot be reached"):
        Client.open(kind)


def test_the_bus_starts_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"{sys.executable} {REPOSITORY / 'tests/helpers/activated.py'} session"
    with private_bus(extra="<type>session</type><servicedir>services</servicedir>") as private:
        directory = private.directory / "services"
        directory.mkdir()
        (directory / "org.virtcard1.service").write_text(f"[D-BUS Service]\nName=org.virtcard1\nExec={program}\n")
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", private.address)
        with Client.open("session") as client:
            assert client.find_domain("win11") == PATH


def test_a_daemon_that_cannot_be_started_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_bus(extra="<type>session</type><servicedir>services</servicedir>") as private:
        directory = private.directory / "services"
        directory.mkdir()
        (directory / "org.virtcard1.service").write_text("[D-BUS Service]\nName=org.virtcard1\nExec=/bin/false\n")
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", private.address)
        with pytest.raises(errors.Disconnected, match="could not be started"):
            Client.open("session")


def test_a_closed_client_says_so(serving: Serving) -> None:
    client = Client.open()
    client.close()
    client.close()
    with pytest.raises(errors.Disconnected):
        client.objects()


def test_a_client_keeps_no_file_descriptor(serving: Serving) -> None:
    with Client.open():
        pass
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Client.open() as client:
            client.objects()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing itself


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (ErrorType.NO_REPLY, errors.TimedOut),
        (ErrorType.TIMEOUT, errors.TimedOut),
        (ErrorType.ACCESS_DENIED, errors.NotAuthorized),
        (ErrorType.INTERACTIVE_AUTHORIZATION_REQUIRED, errors.NotAuthorized),
        (ErrorType.SERVICE_UNKNOWN, errors.Disconnected),
        (ErrorType.NAME_HAS_NO_OWNER, errors.Disconnected),
        (ErrorType.DISCONNECTED, errors.Disconnected),
        (ErrorType.LIMITS_EXCEEDED, errors.Busy),
        (ErrorType.UNKNOWN_METHOD, errors.Unsupported),
        (ErrorType.NO_MEMORY, errors.Failed),
    ],
)
def test_errors_of_the_bus_have_our_classes(name: ErrorType, kind: type[errors.VirtcardError]) -> None:
    error = to_virtcard_error(DBusError(name, "text of the bus"))
    assert type(error) is kind
    assert error.message.endswith(".")


def test_an_error_that_a_newer_daemon_may_know_is_a_failure() -> None:
    error = to_virtcard_error(DBusError("org.virtcard1.Error.Newer", "Something new.\nUpgrade."))
    assert (type(error), error.message, error.hint) == (errors.Failed, "Something new.", "Upgrade.")


def test_every_error_class_survives_the_bus() -> None:
    for kind in (errors.InvalidXml, errors.NoSuchCard, errors.DomainStateError, errors.CardWasReset, errors.PeerError):
        assert type(to_virtcard_error(DBusError(kind.dbus_name(), "x"))) is kind


@pytest.mark.parametrize(
    "said",
    [
        {"mode": "tcp", "address": "::1", "port": 7001, "role": "connect", "tls": True},
        {"mode": "host-certificates", "certificates": ["a", "b", "c"], "database": "/srv/nss"},
    ],
)
def test_the_setup_of_a_reader_travels_whole(client: Client, service: FakeService, said: dict[str, Any]) -> None:
    client.call(PATH, DOMAIN, "Enable", "a{sv}", (said,))
    assert service.calls == [("enable", WIN11, EnableOptions(setup=reader_setup(**said)))]


@pytest.mark.parametrize(
    "said", [{"port": "7001"}, {"mode": "vnc"}, {"mode": "host", "tls": True}, {"certificates": "a,b,c"}]
)
def test_a_setup_that_does_not_fit_together_is_refused(
    client: Client, service: FakeService, said: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.call(PATH, DOMAIN, "Enable", "a{sv}", (said,))
    assert service.calls == []
