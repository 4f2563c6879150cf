"""The main job as an administrator has it: qemu:///system, the system bus, and a daemon that is nobody special."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from helpers.bus import REPOSITORY
from helpers.guest import Guest
from helpers.scripted_card import FCI, SELECT
from helpers.system_host import SystemHost
from helpers.waiting import wait_until
from virtcard.names import BUS_NAME

READER = "reader:Virtual PCD 00 00"
RULES = "/etc/virtcard/policy.d/50-test.toml"
RECORD = "/run/virtcardd/insertions.json"
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.fixture
def inserted(host: SystemHost, vm: str, guest: Guest) -> Iterator[Guest]:
    host.virtcard("insert", vm, READER)
    guest.wait_reader_state("present")
    yield guest
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")


def uuid_of(host: SystemHost, vm: str) -> str:
    return host.virsh("domuuid", vm).strip()


def socket_of(host: SystemHost, vm: str) -> str:
    return f"/run/virtcard/vm/{uuid_of(host, vm)}.sock"


def bridge_error(host: SystemHost, vm: str) -> str:
    (bridge,) = host.json("info", vm)["bridges"]
    error: str = bridge["last_error"]
    return error


def test_the_guest_uses_the_card_that_root_inserted(inserted: Guest) -> None:
    first, second = inserted.transmit(SELECT, b"\x00\xc0\x00\x00" + bytes([len(FCI)]))
    assert first == bytes([0x61, len(FCI)])
    assert second == FCI + b"\x90\x00"


def test_the_daemon_is_its_own_user_without_groups_and_capabilities(host: SystemHost) -> None:
    bus = "org.freedesktop.DBus"
    words = ["call", bus, "/org/freedesktop/DBus", bus, "GetConnectionUnixProcessID", "s", BUS_NAME]
    pid = host.root.check("busctl", *words).split()[1]
    status = host.root.check("cat", f"/proc/{pid}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    user = host.root.check("id", "-u", "virtcard").strip()
    assert set(facts["Uid"].split()) == {user}
    assert facts["Groups"].strip() == ""
    assert {facts[key].strip("0\n") for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert facts["NoNewPrivs"] == "1"


def test_the_socket_that_libvirt_made_is_open_to_the_daemon_and_to_nobody_else(host: SystemHost, vm: str) -> None:
    path = socket_of(host, vm)
    assert host.root.check("stat", "--format=%U %G %a %F", path).strip() == "root virtcard 775 socket"
    host.root.check("/usr/bin/python3", "-c", CONNECT, path, user="virtcard")
    refused = host.root.run("/usr/bin/python3", "-c", CONNECT, path, user="nobody")
    assert "PermissionError" in refused.stderr


def test_the_daemon_knows_its_peer_by_the_pid_file_of_libvirt(host: SystemHost, vm: str, inserted: Guest) -> None:
    """Another pid in the file, and the very same QEMU is a stranger; and what was put in was for another run."""
    file = f"/run/libvirt/qemu/{vm}.pid"
    pid = host.root.check("cat", file, user="virtcard")
    host.root.shell(f"echo 1 >{file}")
    try:
        host.restart_virtcardd()
        wait_until(lambda: "is not its QEMU" in bridge_error(host, vm), 10, "the peer is refused")
        inserted.wait_reader_state("empty")
    finally:
        host.root.shell(f"echo {pid} >{file}")
    wait_until(lambda: not bridge_error(host, vm), 30, "the peer is known again")
    host.virtcard("insert", vm, READER)
    inserted.wait_reader_state("present")
    assert inserted.transmit(SELECT)[0][0] == 0x61


def test_a_restart_by_systemd_puts_the_card_in_again(host: SystemHost, inserted: Guest) -> None:
    assert host.stop("virtcardd") == 0
    inserted.wait_reader_state("empty")
    host.start_virtcardd()
    inserted.wait_reader_state("present")
    assert inserted.transmit(SELECT)[0][0] == 0x61


def test_the_daemon_writes_its_record_and_nothing_else(host: SystemHost, vm: str, inserted: Guest) -> None:
    ours = host.root.check("find", "/run", "/var", "/etc", "/tmp", "-xdev", "-user", "virtcard", "-type", "f").split()
    assert ours == [RECORD]
    call = {"source": READER, "user": "root", "consent": f"{READER} 3b087669727463617264"}
    pid_file = host.root.check("stat", "--format=%Y", f"/run/libvirt/qemu/{vm}.pid")
    (machine,) = [json.loads(host.root.check("cat", RECORD))[uuid_of(host, vm)]]
    run = machine.pop("run")
    assert machine == {"calls": {"0": call}, "consents": []}
    assert run["pid"] == int(host.root.check("cat", f"/run/libvirt/qemu/{vm}.pid"))
    assert run["since"] // 10**9 == int(pid_file)
    assert host.root.check("stat", "--format=%a", RECORD).strip() == "600"
    assert inserted.readers()[0].state == "present"


def test_without_its_runtime_directory_nothing_is_inserted_that_would_be_forgotten(
    host: SystemHost, vm: str, guest: Guest
) -> None:
    host.root.shell("mv /run/virtcardd /run/away")
    done = host.run("insert", vm, READER)
    assert done.returncode == 1
    assert "Cannot write /run/virtcardd/insertions.json" in done.stderr
    assert "systemctl restart virtcardd" in done.stderr
    assert guest.readers()[0].state == "empty"
    host.root.shell("mv /run/away /run/virtcardd")


MAKE_CARD = """
import sys
sys.path.insert(0, sys.argv[1])
from helpers.soft_cards import empty_card
from virtcard.card.soft.source import own_store
empty_card(own_store(session=False), "work")
"""
SELECT_PIV = bytes.fromhex("00a404000ba000000308000010000100")
"""SP 800-73-4 part 1, 2.2."""
VERIFY_PIN = bytes.fromhex("0020008008") + b"123456\xff\xff"


@pytest.fixture
def software_card(host: SystemHost) -> Iterator[str]:
    """A PIV card that root made for the daemon, in the daemon's own state directory."""
    host.root.check(sys.executable, "-c", MAKE_CARD, str(REPOSITORY / "tests"))
    yield "card:work"
    host.root.check("rm", "-r", "/var/lib/virtcard/cards")


def test_a_software_card_that_root_made_is_the_daemons(
    host: SystemHost, vm: str, guest: Guest, software_card: str
) -> None:
    host.virtcard("insert", vm, software_card)
    guest.wait_reader_state("present")
    selected, verified = guest.transmit(SELECT_PIV, VERIFY_PIN)
    assert selected[-2:] == b"\x90\x00" or selected[-2] == 0x61
    assert verified == b"\x90\x00"
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")
    assert host.root.check("find", "/var/lib/virtcard", "-not", "-user", "virtcard") == ""


@pytest.fixture
def small(host: SystemHost) -> Iterator[str]:
    """A VM without anything to boot, off; whatever a test made of it is gone afterwards."""
    host.virsh("define", "/dev/stdin", stdin=SMALL)
    wait_until(lambda: host.run("info", "small").returncode == 0, 5, "the domain is on the bus")
    yield "small"
    if host.virsh("domstate", "small").strip() != "shut off":
        host.virsh("destroy", "small")
    host.virsh("undefine", "small")


def test_a_wish_in_the_metadata_gives_a_reader_but_no_card(host: SystemHost, small: str) -> None:
    """Whoever may define a domain can write it, and clones copy it: it is no permission."""
    wish = f'<vm card="{READER}"/>'
    host.virsh("metadata", small, "--uri", NAMESPACE, "--key", "virtcard", "--config", "--set", wish)
    wait_until(lambda: host.json("info", small)["enabled"], 10, "the domain has a reader")
    host.virsh("start", small)
    wait_until(lambda: host.json("info", small)["bridges"], 10, "the bridge runs")
    shown = host.json("info", small)
    assert (shown["wish"], shown["card"]) == (READER, "")
    assert shown["last_error"].endswith("Nobody is logged in at the machine who could be asked.")


def test_a_wish_is_followed_when_a_rule_of_the_administrator_allows_it(host: SystemHost, small: str) -> None:
    wish = f'<vm card="{READER}" tags="test"/>'
    host.virsh("metadata", small, "--uri", NAMESPACE, "--key", "virtcard", "--config", "--set", wish)
    wait_until(lambda: host.json("info", small)["enabled"], 10, "the domain has a reader")
    host.virsh("start", small)
    wait_until(lambda: host.json("info", small)["last_error"], 10, "the vendor's rule has nobody to ask")
    host.root.check("tee", RULES, stdin='[[rule]]\nvm = "@test"\ncard = "reader:Virtual PCD*"\naction = "allow"\n')
    try:
        wait_until(lambda: host.json("info", small)["card"] == READER, 10, "the change is seen")
        host.root.check("chmod", "o+w", RULES)
        wait_until(lambda: host.json("status")["policy"] == "degraded", 10, "the file is not believed")
        assert host.json("status")["policy_error"] == f"{RULES}: Everybody may write there."
        assert host.json("info", small)["card"] == READER
    finally:
        host.root.check("rm", RULES)
    wait_until(lambda: host.json("info", small)["card"] == "", 10, "the card is out again")
    assert host.json("status")["policy"] == "ok"


def test_the_policy_may_be_read_anew_by_root_and_by_nobody_else(host: SystemHost) -> None:
    words = ["busctl", "call", BUS_NAME, "/org/virtcard1", f"{BUS_NAME}.Manager", "Reload", "a{sv}", "0"]
    host.root.check(*words)
    refused = host.root.run(*words, user="nobody")
    assert "You are not authorized to do that (org.virtcard1.policy)." in refused.stderr


def test_disable_takes_the_reader_away_again(host: SystemHost, small: str) -> None:
    before = host.virsh("dumpxml", "--inactive", small)
    host.virtcard("enable", small)
    assert "<smartcard" in host.virsh("dumpxml", "--inactive", small)
    host.virtcard("disable", small)
    assert host.virsh("dumpxml", "--inactive", small) == before


def test_the_socket_that_qemu_may_not_remove_is_replaced_at_the_next_start(host: SystemHost, small: str) -> None:
    host.virtcard("enable", small)
    path = socket_of(host, small)
    for _ in range(2):
        host.virsh("start", small)
        wait_until(lambda: _bridge_state(host, small) == "empty", 10, "the bridge has reached QEMU")
        host.virsh("destroy", small)
        assert host.root.run("test", "-S", path).returncode == 0


def _bridge_state(host: SystemHost, vm: str) -> str:
    return "".join(bridge["state"] for bridge in host.json("info", vm)["bridges"])


def test_enable_is_refused_while_the_socket_directory_is_missing(host: SystemHost, small: str) -> None:
    host.root.shell("mv /run/virtcard /run/away")
    done = host.run("enable", small)
    host.root.shell("mv /run/away /run/virtcard")
    assert done.returncode == 1
    assert "/run/virtcard/vm" in done.stderr
    assert "systemd-tmpfiles --create" in done.stderr


CERTIFICATES = """
mkdir -p /etc/pki/nssdb && cd /etc/pki/nssdb
certutil -N -d sql:. --empty-password
head -c 64 /dev/urandom >/run/noise
for number in 1 2 3; do
    certutil -S -d sql:. -n "certificate $number" -s "CN=$number" -x -t CT,CT,CT -m "$number" -z /run/noise 2>&1
done
chmod -R a+rX /etc/pki
"""


def test_certificates_in_the_hosts_database_are_checked_from_within_the_sandbox(host: SystemHost, small: str) -> None:
    host.root.shell(CERTIFICATES)
    three = [word for number in "123" for word in ("--certificate", f"certificate {number}")]
    done = host.run("enable", small, "--mode", "host-certificates", *three)
    assert (done.returncode, done.stderr) == (0, "")
    done = host.run("enable", small, "--mode", "host-certificates", *three[:-1], "certificate 4")
    assert done.returncode == 1
    assert "certificate 4" in done.stderr


NAMESPACE = "https://virtcard.org/xmlns/domain/1"
SMALL = """
<domain type='qemu'>
  <name>small</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <controller type='usb' model='qemu-xhci'/>
    <video><model type='none'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
"""
