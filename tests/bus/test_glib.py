"""What GLib and busctl's kind of client really sees of our objects."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from helpers.bus import REPOSITORY, Serving, private_bus
from helpers.fake_service import FEDORA, WIN11, FakeService, card_view, domain_view
from virtcard.names import BUS_NAME, CARD, DOMAIN, ROOT_PATH, bridge_path, card_path, domain_path, reader_path


@contextmanager
def glib_client(address: str) -> Iterator[Iterator[list[Any]]]:
    """The lines of `helpers/glib_client.py`, as they come."""
    program = REPOSITORY / "tests/helpers/glib_client.py"
    client = subprocess.Popen(["/usr/bin/python3", program, address], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    try:
        yield map(json.loads, client.stdout)
    finally:
        client.terminate()
        client.wait(10)
        client.stdout.close()


def test_a_glib_object_manager_sees_objects_come_change_and_go() -> None:
    service = FakeService().fill()
    fedora = domain_view(FEDORA, "fedora")
    with (
        private_bus() as private,
        Serving(private.address, service) as serving,
        glib_client(private.address) as seen,
    ):
        there = [next(seen)[1] for _ in range(3)]
        assert set(there) == {domain_path(WIN11), reader_path(0), bridge_path(WIN11, 0)}
        assert next(seen) == ["ready"]
        serving.run(lambda: service.registry.domains.put(FEDORA, fedora))
        assert next(seen) == ["added", domain_path(FEDORA), [DOMAIN]]
        serving.run(lambda: service.registry.domains.put(FEDORA, replace(fedora, name="fedora42", id=-1)))
        assert next(seen) == ["changed", domain_path(FEDORA), {"Name": "fedora42", "Id": -1}, "fedora42"]
        serving.run(lambda: service.registry.domains.drop(FEDORA))
        assert next(seen) == ["removed", domain_path(FEDORA)]


def test_a_glib_object_manager_sees_software_cards_come_change_and_go() -> None:
    service = FakeService()
    jane = card_view("jane-piv")
    path = card_path("jane-piv")
    with (
        private_bus() as private,
        Serving(private.address, service) as serving,
        glib_client(private.address) as seen,
    ):
        assert next(seen) == ["ready"]
        serving.run(lambda: service.registry.cards.put("jane-piv", jane))
        assert next(seen) == ["added", path, [CARD]]
        blocked = replace(jane, card=replace(jane.card, pin_tries=0), domains=(WIN11,))
        serving.run(lambda: service.registry.cards.put("jane-piv", blocked))
        changed = {"PinTries": 0, "Domains": [domain_path(WIN11)]}
        assert next(seen) == ["changed", path, changed, "jane-piv"]
        serving.run(lambda: service.registry.cards.drop("jane-piv"))
        assert next(seen) == ["removed", path]


def test_gdbus_introspects_and_calls_us() -> None:
    with private_bus() as private, Serving(private.address, FakeService().fill()):
        gdbus = ["gdbus", "introspect", "--address", private.address, "--dest", BUS_NAME]
        tree = subprocess.run(
            [*gdbus, "--object-path", ROOT_PATH, "--recurse", "--only-properties"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "readonly s Libvirt = 'connected';" in tree
        assert "readonly s Name = 'win11';" in tree
        assert "readonly ay Atr = [0x3b, 0x0a];" in tree
        call = subprocess.run(
            ["gdbus", "call", "--address", private.address, "--dest", BUS_NAME, "--object-path",
             domain_path(WIN11), "--method", f"{DOMAIN}.Insert", "card:piv", "{}"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert bridge_path(WIN11, 0) in call.stdout
