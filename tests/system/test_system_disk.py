"""A disk without room, as a daemon of the system has it: what must be kept is refused, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from helpers.guest import Guest
from helpers.system_host import SystemHost
from helpers.waiting import wait_until

READER = "reader:Virtual PCD 00 00"
STATE, RUNTIME = "/var/lib/virtcard", "/run/virtcardd"
RECORD = f"{RUNTIME}/insertions.json"
SIZE = "256k"
CREATE = ("card", "create", "--type", "piv", "--key", "p256", "--pin-file", "-", "--puk-file", "-")
SECRETS = "123456\n12345678\n"
SELECT_PIV = bytes.fromhex("00a404000ba000000308000010000100")
"""SP 800-73-4 part 1, 2.2."""
VERIFY = bytes.fromhex("0020008008") + b"123456\xff\xff"
WRONG = bytes.fromhex("0020008008") + b"999999\xff\xff"
NO_ROOM = "No space left on device"


def create(host: SystemHost, name: str) -> tuple[int, str]:
    """Exit code and error of `virtcard card create NAME`, as root."""
    done = host.root.run("virtcard", *CREATE, name, stdin=SECRETS)
    return done.returncode, done.stderr


def cards(host: SystemHost) -> list[tuple[str, int]]:
    """The cards in the store, and the tries of their PINs."""
    listed = json.loads(host.root.check("virtcard", "card", "list", "--json"))
    return [(each["name"], each["pin_tries"]) for each in listed]


def fill(host: SystemHost, folder: str) -> None:
    """To the last byte."""
    host.root.run("dd", "if=/dev/zero", f"of={folder}/ballast", "bs=1k")
    host.root.run("sh", "-c", f"while echo x >>{folder}/crumbs; do :; done 2>/dev/null")


def make_room(host: SystemHost, folder: str) -> None:
    host.root.shell(f"rm -f {folder}/ballast {folder}/crumbs")


@pytest.fixture(scope="module")
def small(host: SystemHost) -> Iterator[SystemHost]:
    """The host, whose daemon has both its directories on small disks of their own, and a card of its own."""
    host.stop("virtcardd")
    for folder in (STATE, RUNTIME):
        host.root.shell(f"mkdir -p {folder}; mount -t tmpfs -o size={SIZE} tmpfs {folder}")
    host.start_virtcardd()
    assert create(host, "work") == (0, "")
    yield host
    host.stop("virtcardd")
    for folder in (STATE, RUNTIME):
        host.root.shell(f"umount {folder}")
    host.start_virtcardd()


@pytest.fixture
def in_use(small: SystemHost, vm: str, guest: Guest) -> Iterator[Guest]:
    """The guest with the software card."""
    small.virtcard("insert", vm, "card:work")
    guest.wait_reader_state("present")
    yield guest
    small.virtcard("eject", vm)
    guest.wait_reader_state("empty")


def test_no_card_is_made_and_the_others_stay_as_they_are(small: SystemHost) -> None:
    before = small.root.check("find", f"{STATE}/cards")
    fill(small, STATE)
    try:
        code, error = create(small, "second")
        assert code == 1
        assert NO_ROOM in error
        assert "Traceback" not in error
        assert cards(small) == [("work", 3)]
        assert small.root.check("find", f"{STATE}/cards") == before
    finally:
        make_room(small, STATE)
    assert create(small, "second") == (0, "")
    small.root.check("virtcard", "card", "delete", "second", "--yes")


def test_no_pin_is_compared_and_none_is_lost(small: SystemHost, in_use: Guest) -> None:
    """The try is on disk before it is compared, or the command fails in the guest."""
    assert in_use.transmit(SELECT_PIV, WRONG)[1] == b"\x63\xc2"
    fill(small, STATE)
    try:
        for command in (WRONG, VERIFY, WRONG):
            done = in_use.scard(SELECT_PIV.hex(), command.hex())
            answer = done.output.split()[-1]
            assert done.exit_code != 0 or answer[:2] in {"64", "65", "69", "6F"}, done.output
        assert cards(small) == [("work", 2)]
    finally:
        make_room(small, STATE)
    assert in_use.transmit(SELECT_PIV, VERIFY)[1] == b"\x90\x00"
    assert cards(small) == [("work", 3)]


def test_no_card_goes_in_that_a_restart_would_forget(small: SystemHost, vm: str, guest: Guest) -> None:
    fill(small, RUNTIME)
    try:
        done = small.run("insert", vm, READER)
        assert done.returncode == 1
        assert f"Cannot write {RECORD}: {NO_ROOM}." in done.stderr
        assert "Make room" in done.stderr
        assert guest.readers()[0].state == "empty"
        assert small.json("info", vm)["card"] == ""
    finally:
        make_room(small, RUNTIME)
    small.virtcard("insert", vm, READER)
    guest.wait_reader_state("present")
    small.virtcard("eject", vm)
    guest.wait_reader_state("empty")


def test_a_card_can_always_be_taken_out_and_stays_out_after_a_restart(small: SystemHost, vm: str, guest: Guest) -> None:
    small.virtcard("insert", vm, READER)
    guest.wait_reader_state("present")
    fill(small, RUNTIME)
    try:
        small.virtcard("eject", vm)
        guest.wait_reader_state("empty")
        small.restart_virtcardd()
        wait_until(lambda: small.json("info", vm)["bridges"][0]["state"] == "empty", 10, "the bridge is back")
        assert small.json("info", vm)["card"] == ""
    finally:
        make_room(small, RUNTIME)
