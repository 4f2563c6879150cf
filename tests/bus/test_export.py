"""The service on a bus: objects, changes, calls, options, errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.service import ServiceInterface
from dbus_next.signature import Variant

from helpers.bus import PrivateBus, call, eventually, on_bus, private_bus, run_async
from helpers.fake_service import FEDORA, FINDING, WIN11, FakeService, bridge_view, domain_view, reader_view
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.export import serve
from virtcard.bus.reader import ReaderInterface
from virtcard.bus.standard import OBJECT_MANAGER, PROPERTIES
from virtcard.bus.values import plain
from virtcard.errors import Busy, PolicyDenied
from virtcard.names import BRIDGE, DOMAIN, MANAGER, READER, ROOT_PATH, bridge_path, domain_path, reader_path
from virtcard.service.api import EnableOptions, InsertOptions
from virtcard.service.views import BridgeState, Counts

PATH = domain_path(WIN11)
FINDING_VALUES = {
    "severity": "warning",
    "code": FINDING.code,
    "message": FINDING.message,
    "hint": FINDING.hint,
}


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateBus]:
    with private_bus() as bus:
        yield bus


async def watch(peer: Bus) -> list[tuple[str, Any]]:
    """Collects (member, body) of every signal below the root."""
    seen: list[tuple[str, Any]] = []

    def note(message: Message) -> None:
        if message.path and message.path.startswith(ROOT_PATH) and message.member in SIGNALS:
            seen.append((message.member, plain(message.body)))

    peer.add_message_handler(note)
    await peer.ask_bus("AddMatch", "s", [f"type='signal',path_namespace='{ROOT_PATH}'"])
    return seen


SIGNALS = {"InterfacesAdded", "InterfacesRemoved", "PropertiesChanged"}


async def refusal(peer: Bus, member: str, signature: str, *body: Any) -> DBusError:
    with pytest.raises(DBusError) as caught:
        await call(peer, PATH, DOMAIN, member, signature, *body)
    return caught.value


def test_objects_and_properties_are_those_of_the_registry(private: PrivateBus) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService().fill()) as (_, peer):
            (objects,) = plain(await call(peer, ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects"))
            assert objects == {
                PATH: {
                    DOMAIN: {
                        "Name": "win11", "Uuid": str(WIN11), "Id": 3, "State": "running", "Persistent": True,
                        "Enabled": True, "Live": True, "Reader": "present", "Wish": "", "Card": "", "Foreign": "",
                        "LastError": "", "Hint": "", "Mode": "bridge", "Tags": [], "HotPlugged": [],
                    }
                },
                reader_path(0): {
                    READER: {"Name": "Yubico YubiKey 00", "Present": True, "Atr": b"\x3b\x0a", "Domains": [PATH]}
                },
                bridge_path(WIN11, 0): {
                    BRIDGE: {
                        "Domain": PATH, "Slot": 0, "Source": "reader:Yubico*", "State": "inserted",
                        "Endpoint": f"unix:///run/virtcard/vm/{WIN11}.sock", "Since": 1_700_000_000_000_000,
                        "Apdus": 7, "LastError": "", "Hint": "", "Active": False, "Commands": {}, "Refused": 0,
                        "PinFailures": 0, "PinStops": 0, "Errors": 0,
                        "BytesSent": 0, "BytesReceived": 0, "TracedBy": [],
                    }
                },
            }  # fmt: skip
            manager = plain(await call(peer, ROOT_PATH, PROPERTIES, "GetAll", "s", MANAGER))
            assert manager == [
                {
                    "Version": "0.1.0",
                    "Uri": "qemu:///system",
                    "Libvirt": "connected",
                    "Pcsc": "away",
                    "Instance": "system",
                    "Policy": "ok",
                    "PolicyError": "",
                    "Started": 0,
                    "LibvirtError": "",
                    "Versions": {"virtcard": "0.1.0"},
                    "Metrics": "",
                    "Agents": [],
                }
            ]

    run_async(test())


def test_objects_come_change_and_go(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService()
        async with on_bus(private.address, service) as (_, peer):
            seen = await watch(peer)
            service.registry.domains.put(FEDORA, domain_view(FEDORA, "fedora"))
            await eventually(lambda: len(seen) == 1, "it comes")
            service.registry.domains.put(FEDORA, replace(domain_view(FEDORA, "fedora"), id=-1, state="shut off"))
            await eventually(lambda: len(seen) == 2, "it changes")
            service.registry.domains.drop(FEDORA)
            await eventually(lambda: len(seen) == 3, "it goes")
            path = domain_path(FEDORA)
            assert seen[0][0] == "InterfacesAdded"
            assert seen[0][1][0] == path
            assert seen[0][1][1][DOMAIN]["Name"] == "fedora"
            assert seen[1] == ("PropertiesChanged", [DOMAIN, {"Id": -1, "State": "shut off"}, []])
            assert seen[2] == ("InterfacesRemoved", [path, [DOMAIN]])

    run_async(test())


def test_changes_of_one_turn_are_one_signal(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            seen = await watch(peer)
            for number in range(100):
                service.registry.domains.put(WIN11, replace(domain_view(), card=f"card:{number}"))
                service.registry.readers.put(0, replace(reader_view(), name=f"Reader {number}"))
            await call(peer, ROOT_PATH, PROPERTIES, "GetAll", "s", MANAGER)
            await eventually(lambda: len(seen) >= 2, "they change")
            assert seen == [
                ("PropertiesChanged", [DOMAIN, {"Card": "card:99"}, []]),
                ("PropertiesChanged", [READER, {"Name": "Reader 99"}, []]),
            ]

    run_async(test())


def test_a_change_that_is_undone_in_the_same_turn_is_no_signal(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            seen = await watch(peer)
            service.registry.domains.put(WIN11, replace(domain_view(), card="card:x"))
            service.registry.domains.put(WIN11, domain_view())
            service.registry.readers.put(0, replace(reader_view(), present=False))
            service.registry.readers.drop(0)
            await eventually(lambda: seen, "the reader goes")
            assert seen == [("InterfacesRemoved", [reader_path(0), [READER]])]

    run_async(test())


def test_counters_are_never_announced_but_read(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            seen = await watch(peer)
            counts = Counts({"VERIFY": 8}, pin_failures=3, bytes_sent=112, bytes_received=16)
            service.registry.bridges.put((WIN11, 0), replace(bridge_view(), apdus=8, counts=counts))
            path = bridge_path(WIN11, 0)
            (read,) = plain(await call(peer, path, PROPERTIES, "GetAll", "s", BRIDGE))
            assert (read["Apdus"], read["Commands"], read["PinFailures"]) == (8, {"VERIFY": 8}, 3)
            assert (read["Refused"], read["Errors"], read["BytesSent"], read["BytesReceived"]) == (0, 0, 112, 16)
            changed = replace(bridge_view(), apdus=9, counts=counts, state=BridgeState.EJECTING)
            service.registry.bridges.put((WIN11, 0), changed)
            await eventually(lambda: seen, "the state changes")
            assert seen == [("PropertiesChanged", [BRIDGE, {"State": "ejecting"}, []])]

    run_async(test())


def test_the_managers_status_follows_the_daemon(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService()
        async with on_bus(private.address, service) as (_, peer):
            seen = await watch(peer)
            service.set_libvirt("away")
            await eventually(lambda: seen, "the status changes")
            assert seen == [("PropertiesChanged", [MANAGER, {"Libvirt": "away"}, []])]

    run_async(test())


def test_a_name_that_the_bus_cannot_carry_is_shown_with_a_replacement(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService()
        async with on_bus(private.address, service) as (daemon, peer):
            service.registry.readers.put(0, replace(reader_view(), name="a\0b\udc80"))
            service.registry.domains.put(WIN11, replace(domain_view(), last_error="\0"))
            names = plain(await call(peer, reader_path(0), PROPERTIES, "Get", "ss", READER, "Name"))
            assert names == ["a\ufffdb?"]
            assert daemon.connected

    run_async(test())


def test_find_domain_gives_its_path(private: PrivateBus) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService().fill()) as (_, peer):
            for text in ("win11", "3", str(WIN11)):
                assert await call(peer, ROOT_PATH, MANAGER, "FindDomain", "s", text) == [PATH]

    run_async(test())


def test_methods_reach_the_service_with_their_options(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            options = {"dry-run": Variant("b", True), "on-existing": Variant("s", "replace")}
            (change,) = plain(await call(peer, PATH, DOMAIN, "Enable", "a{sv}", options))
            assert change == {
                "changed": True,
                "diff": "-old\n+new\n",
                "pending": True,
                "findings": [FINDING_VALUES],
                "slots": [2],
            }
            (change,) = plain(await call(peer, PATH, DOMAIN, "Disable", "a{sv}", {}))
            assert change == {"changed": False, "diff": "", "pending": False, "findings": [], "slots": []}
            config = {"config": Variant("b", True)}
            bridge = await call(peer, PATH, DOMAIN, "Insert", "sa{sv}", "card:piv", config)
            assert bridge == [bridge_path(WIN11, 0)]
            assert await call(peer, PATH, DOMAIN, "Eject", "a{sv}", {}) == []
            assert await call(peer, PATH, DOMAIN, "Check", "a{sv}", {}) == [[FINDING_VALUES]]
            assert service.calls == [
                ("enable", WIN11, EnableOptions(dry_run=True, on_existing="replace")),
                ("disable", WIN11, EnableOptions()),
                ("insert", WIN11, "card:piv", InsertOptions(config=True)),
                ("eject", WIN11, InsertOptions()),
                ("check", WIN11),
            ]

    run_async(test())


def test_what_is_meant_for_one_reader_reaches_it(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        hotplug, slot = {"hotplug": Variant("b", True)}, {"slot": Variant("u", 2)}
        async with on_bus(private.address, service) as (_, peer):
            await call(peer, PATH, DOMAIN, "Enable", "a{sv}", hotplug)
            await call(peer, PATH, DOMAIN, "Disable", "a{sv}", hotplug | slot)
            bridge = await call(peer, PATH, DOMAIN, "Insert", "sa{sv}", "card:piv", slot)
            assert bridge == [bridge_path(WIN11, 2)]
            await call(peer, PATH, DOMAIN, "Eject", "a{sv}", {"slot": Variant("q", 0)})
            assert service.calls == [
                ("enable", WIN11, EnableOptions(hotplug=True)),
                ("disable", WIN11, EnableOptions(hotplug=True, slot=2)),
                ("insert", WIN11, "card:piv", InsertOptions(slot=2)),
                ("eject", WIN11, InsertOptions(slot=0)),
            ]

    run_async(test())


def test_insert_in_a_domain_that_is_off_has_no_bridge(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService()
        service.registry.domains.put(WIN11, replace(domain_view(), id=-1))
        async with on_bus(private.address, service) as (_, peer):
            assert await call(peer, PATH, DOMAIN, "Insert", "sa{sv}", "card:piv", {"config": Variant("b", True)}) == [
                "/"
            ]

    run_async(test())


@pytest.mark.parametrize(
    ("member", "arguments", "options", "sentence"),
    [
        ("Enable", [], {"dryrun": Variant("b", True)}, "There is no such option."),
        ("Enable", [], {"config": Variant("b", True)}, "There is no such option."),
        ("Enable", [], {"dry-run": Variant("s", "yes")}, "The option 'dry-run' has the wrong type."),
        ("Enable", [], {"on-existing": Variant("s", "break")}, "The option 'on-existing' has no such value."),
        ("Disable", [], {"on-existing": Variant("s", "keep")}, "There is no such option."),
        ("Insert", ["card:x"], {"config": Variant("i", 1)}, "The option 'config' has the wrong type."),
        ("Eject", [], {"dry-run": Variant("b", True)}, "There is no such option."),
        ("Eject", [], {"slot": Variant("x", -1)}, "There is no such slot."),
        ("Insert", ["card:x"], {"slot": Variant("x", 9)}, "There is no such slot."),
        ("Trace", [], {"slot": Variant("s", "1")}, "The option 'slot' has the wrong type."),
        ("Enable", [], {"hotplug": Variant("b", True), "dry-run": Variant("b", True)}, "A hot-plugged reader takes no"),
        ("Enable", [], {"slot": Variant("u", 1)}, "There is no such option."),
        ("Disable", [], {"slot": Variant("u", 1)}, "These options do not go together."),
        ("Disable", [], {"slot": Variant("u", 0), "hotplug": Variant("b", True)}, "Slot 0 is the reader"),
        ("Disable", [], {"dry-run": Variant("b", False), "hotplug": Variant("b", True)}, "These options do not go"),
        ("Check", [], {"config": Variant("b", True)}, "There is no such option."),
    ],
)
def test_wrong_options_are_refused(
    private: PrivateBus, member: str, arguments: list[str], options: dict[str, Variant], sentence: str
) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            error = await refusal(peer, member, "s" * len(arguments) + "a{sv}", *arguments, options)
            assert error.type == "org.virtcard1.Error.InvalidArgument"
            assert error.text.startswith(sentence)
            assert error.text.count("\n") == 1
            assert service.calls == []

    run_async(test())


def test_a_failure_carries_its_name_sentence_and_hint(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            service.failure = PolicyDenied("The policy denies it.", hint="Ask your administrator.")
            error = await refusal(peer, "Insert", "sa{sv}", "card:x", {})
            assert error.type == "org.virtcard1.Error.PolicyDenied"
            assert error.text == "The policy denies it.\nAsk your administrator."
            service.failure = PolicyDenied("No.\0\udc80")
            assert (await refusal(peer, "Eject", "a{sv}", {})).text == "No.\ufffd?"

    run_async(test())


def test_a_bug_of_ours_stays_in_the_journal(private: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, peer):
            service.failure = KeyError("/var/lib/virtcard/secret")
            for member, signature, *body in (("Enable", "a{sv}", {}), ("Insert", "sa{sv}", "x", {})):
                error = await refusal(peer, str(member), str(signature), *body)
                assert error.type == "org.virtcard1.Error.Internal"
                assert error.text == "Internal error; see the journal."

    run_async(test())
    assert "KeyError: '/var/lib/virtcard/secret'" in caplog.text
    assert f"{DOMAIN}.Enable failed" in caplog.text


@pytest.mark.parametrize("diff", ["\udc80", "a\0b"])
def test_a_diff_that_the_bus_cannot_carry_does_no_harm(private: PrivateBus, diff: str) -> None:
    async def test() -> None:
        service = FakeService().fill()
        service.diff = diff
        async with on_bus(private.address, service) as (daemon, peer):
            await call(peer, PATH, DOMAIN, "Enable", "a{sv}", {})
            assert daemon.connected

    run_async(test())


def test_properties_cannot_be_set(private: PrivateBus) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService().fill()) as (_, peer):
            with pytest.raises(DBusError) as caught:
                await call(peer, PATH, PROPERTIES, "Set", "ssv", DOMAIN, "Name", Variant("s", "x"))
            assert caught.value.type == "org.freedesktop.DBus.Error.PropertyReadOnly"

    run_async(test())


def test_a_second_daemon_does_not_start(private: PrivateBus) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService()):
            second = await Bus.open(BusKind.SYSTEM, address=private.address)
            with pytest.raises(Busy, match="Another virtcardd owns"):
                await serve(second, FakeService())
            await second.close()

    run_async(test())


def test_the_registry_may_go_on_when_the_bus_is_gone(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (daemon, _):
            await daemon.close()
            service.registry.domains.put(WIN11, replace(domain_view(), name="new"))
            service.registry.domains.drop(WIN11)
            service.registry.readers.put(5, reader_view(5))
            await eventually(lambda: True, "a turn")

    run_async(test())


def test_a_thousand_domains_are_listed_in_one_reply(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService()
        async with on_bus(private.address, service) as (_, peer):
            for number in range(1_000):
                uuid = WIN11.__class__(int=number)
                service.registry.domains.put(uuid, domain_view(uuid, f"vm{number}"))
            (objects,) = await call(peer, ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")
            assert len(objects) == 1_000

    run_async(test())


def test_objects_that_are_there_before_the_name_are_not_announced(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        peer = await Bus.open(BusKind.SESSION, address=private.address)
        bus = await Bus.open(BusKind.SESSION, address=private.address)
        seen = await watch(peer)
        await serve(bus, service)
        service.registry.domains.put(FEDORA, domain_view(FEDORA, "fedora"))
        await eventually(lambda: seen, "the first signal")
        assert [(member, body[0]) for member, body in seen] == [("InterfacesAdded", domain_path(FEDORA))]
        await bus.close()
        await peer.close()

    run_async(test())


def test_objects_of_a_kind_share_what_they_have_in_common_and_nothing_else(private: PrivateBus) -> None:
    one, other = ReaderInterface(reader_view(0)), ReaderInterface(reader_view(1))
    assert one.values()["Name"].value == "Yubico YubiKey 00"
    assert other.values()["Name"].value == "Yubico YubiKey 01"
    assert ServiceInterface._get_buses(one) is not ServiceInterface._get_buses(other)
    assert set(one.announced()) == {"Name", "Present", "Atr", "Domains"}
