"""What the system instance puts on record, in the machine's journal, and whom it lets trace a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.guest import Guest
from helpers.scripted_card import PIN, SELECT, VERIFY
from helpers.system_host import SystemHost
from helpers.system_root import inside
from helpers.waiting import wait_until
from virtcard.names import ACTION_TRACE

READER = "reader:Virtual PCD 00 00"
ADMIN_RULES = "/etc/polkit-1/rules.d/10-trace.rules"
WRONG = b"\x00\x20\x00\x80\x06999999"


@pytest.fixture
def inserted(host: SystemHost, vm: str, guest: Guest) -> Iterator[Guest]:
    host.virtcard("insert", vm, READER)
    guest.wait_reader_state("present")
    yield guest
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")


@pytest.fixture
def rule(host: SystemHost, vm: str) -> Iterator[None]:
    """An administrator lets user nobody trace that one machine."""
    condition = f'action.id == "{ACTION_TRACE}" && subject.user == "nobody" && action.lookup("domain") == "{vm}"'
    text = f"polkit.addRule(function(action, subject) {{ if ({condition}) return polkit.Result.YES; }});\n"
    host.root.check("tee", ADMIN_RULES, stdin=text)
    yield
    host.root.check("rm", ADMIN_RULES)


def log(host: SystemHost, vm: str) -> list[str]:
    return [line[21:] for line in host.virtcard("log", vm).splitlines()]


def traced_by(host: SystemHost, vm: str) -> list[str]:
    (bridge,) = host.json("info", vm)["bridges"]
    users: list[str] = bridge["traced_by"]
    return users


@contextmanager
def traced(host: SystemHost, vm: str, file: Path, user: str) -> Iterator[None]:
    """While this runs, a user traces the machine; afterwards Ctrl-C ends the trace."""
    words = ["virtcard", "trace", vm, "-o", str(file)]
    become = [] if user == "root" else ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
    process = host.root.spawn("trace", *become, *words)
    wait_until(lambda: traced_by(host, vm) == [user], 20, "the trace has begun")
    yield
    os.kill(inside(process), signal.SIGINT)
    assert process.wait(20) == 0, host.root.log("trace")
    wait_until(lambda: traced_by(host, vm) == [], 10, "the trace is over")


def comments(file: Path) -> list[str]:
    words = ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.comment"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()


def test_who_put_a_card_in_and_what_was_asked_of_it_is_on_record(host: SystemHost, vm: str, guest: Guest) -> None:
    host.virtcard("insert", vm, READER)
    guest.wait_reader_state("present")
    guest.transmit(SELECT, WRONG)
    host.virtcard("eject", vm)
    guest.wait_reader_state("empty")
    lines = log(host, vm)
    assert f"root may call Insert for {vm} with {READER} (org.virtcard1.insert)." in lines
    assert f"{READER} is in {vm}." in lines
    assert f"{vm} sent a wrong PIN to {READER}." in lines
    assert any(line.startswith(f"{READER} is out of {vm}, after ") and "1 wrong PIN" in line for line in lines)


def test_what_the_policy_decided_is_on_record_with_the_rule(host: SystemHost, vm: str, inserted: Guest) -> None:
    records = [json.loads(line) for line in host.virtcard("log", vm, "--json").splitlines()]
    decided = [each for each in records if each["event"] == "decided" and each["source"] == READER]
    assert (vm, "root") in {(each["name"], each["user"]) for each in decided}
    assert all(each["rule"].startswith("/usr/lib/virtcard/policy.d/") for each in decided)
    assert any(each["message"].startswith(f"The policy lets {vm} have {READER}. /usr/lib") for each in decided)


def test_the_journal_knows_that_the_daemon_wrote_it_and_holds_no_pin(
    host: SystemHost, vm: str, inserted: Guest
) -> None:
    inserted.transmit(SELECT, VERIFY)
    user = host.root.check("id", "-u", "virtcard").strip()
    everything = host.root.check("journalctl", "--output=json", "--all", "SYSLOG_IDENTIFIER=virtcardd")
    entries = [json.loads(line) for line in everything.splitlines()]
    assert {entry["_UID"] for entry in entries} == {user}
    assert any(entry.get("VIRTCARD_EVENT") == "inserted" for entry in entries)
    assert PIN.decode() not in everything
    assert PIN.hex() not in everything


def test_who_is_not_of_the_journals_group_reads_no_log(host: SystemHost, vm: str) -> None:
    done = host.run("log", vm, user="nobody")
    assert done.returncode == 3
    assert "This user may not read the journal of the system." in done.stderr


def test_root_traces_a_machine_and_everybody_sees_that(host: SystemHost, vm: str, inserted: Guest) -> None:
    file = host.root.directory / "root.pcapng"
    with traced(host, vm, file, "root"):
        assert "Traced by:            root" in host.virtcard("info", vm, user="nobody")
        assert host.json("status", user="nobody")["traces"] == 1
        inserted.transmit(SELECT, VERIFY)
    assert f"of '{vm}' are in {file}." in host.root.log("trace")
    found = comments(file)
    assert {"SELECT", "VERIFY", "VERIFY: 9000 OK"} <= set(found)
    assert PIN not in file.read_bytes()
    lines = log(host, vm)
    assert f"root traces {vm}." in lines
    assert any(line.startswith("root has traced ") for line in lines)


def test_who_is_no_administrator_gets_no_trace(host: SystemHost, vm: str, inserted: Guest) -> None:
    done = host.run("trace", vm, "-o", "/tmp/never.pcapng", user="nobody")
    assert done.returncode == 3
    assert f"You are not authorized to do that ({ACTION_TRACE})." in done.stderr
    assert not Path("/tmp/never.pcapng").exists()
    assert traced_by(host, vm) == []
    assert f"nobody may not call Trace for {vm} ({ACTION_TRACE})." in log(host, vm)


def test_whom_the_administrator_lets_trace_gets_the_socket(
    host: SystemHost, vm: str, inserted: Guest, rule: None
) -> None:
    folder = host.root.directory / "of-nobody"
    folder.mkdir()
    folder.chmod(0o777)
    file = folder / "it.pcapng"

    def allowed() -> bool:
        """polkit has read the rule: what fails now is the file."""
        return host.run("trace", vm, "-o", "/nonexistent/file", user="nobody").returncode == 1

    wait_until(allowed, 10, "polkit has read the rule")
    with traced(host, vm, file, "nobody"):
        inserted.transmit(SELECT)
    assert "SELECT" in comments(file)
