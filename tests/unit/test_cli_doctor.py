"""Each check of `virtcard doctor` against a machine made of files, and the verb around them."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from helpers.door import WIN11, FakeDoor, domain_properties
from helpers.hypervisors import hanging_uri
from virtcard.cli.local.doctor import (
    agents,
    confinement,
    daemon,
    hypervisor,
    installation,
    metrics,
    pcsc,
    sockets,
    verb,
    versions,
)
from virtcard.cli.local.doctor.check import Check, Outcome, Result, Situation, error, ok, warning
from virtcard.cli.local.doctor.verb import examine
from virtcard.cli.options import Bus, Choice
from virtcard.cli.run import run
from virtcard.domain import deadline
from virtcard.errors import Disconnected
from virtcard.names import BRIDGE, DOMAIN, MANAGER, ROOT_PATH, SYSTEM_USER, bridge_path, domain_path
from virtcard.policy.load import Document, parse
from virtcard.version import VERSION

RULES = (Path(__file__).parents[2] / "dbus" / "50-virtcard.rules").read_text()
QEMU_HELP = 'USB devices:\nname "usb-ccid", bus usb-bus\nname "ccid-card-passthru", bus ccid-bus, desc "passthrough"\n'


@pytest.fixture
def machine() -> Iterator[Path]:
    """The root of a machine, with a path short enough for sockets."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def at(root: Path, bus: Bus = "system", door: FakeDoor | None = None, **environment: str) -> Situation:
    return Situation((door or FakeDoor()).choice(), bus, root, environment)


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# The daemon.


def test_a_daemon_that_answers_is_ok(machine: Path) -> None:
    outcome = daemon.check_daemon(at(machine))
    assert outcome == ok("virtcardd 0.1.0 answers on the system bus and serves qemu:///system.")


def test_a_daemon_without_pcscd_is_a_warning(machine: Path) -> None:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER]["Pcsc"] = "away"
    assert daemon.check_daemon(at(machine, door=door)) == warning(
        "virtcardd has not reached pcscd.", "See 'journalctl -u virtcardd'."
    )


def test_no_daemon_is_an_error_that_says_how_to_start_it(machine: Path) -> None:
    outcome = daemon.check_daemon(Situation(_nobody("session"), "session", machine, {}))
    assert outcome.result is Result.ERROR
    assert outcome.hint == "Start it with 'systemctl --user start virtcardd'."


def test_a_libvirt_that_is_away_says_why(machine: Path) -> None:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER].update(Libvirt="away", LibvirtError="Nobody listens there.")
    message = daemon.check_daemon(at(machine, door=door)).message
    assert message == "virtcardd has not reached libvirt. Nobody listens there."


def test_a_daemon_of_another_version_is_to_be_restarted(machine: Path) -> None:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER]["Version"] = "0.0.9"
    assert daemon.check_daemon(at(machine, "session", door)) == warning(
        f"virtcardd 0.0.9 runs, and {VERSION} is installed.", "Run 'systemctl --user restart virtcardd'."
    )


@pytest.mark.parametrize(
    ("state", "use"), [("degraded", "the last good policy is in use"), ("broken", "nothing is allowed")]
)
def test_a_bad_policy_is_an_error(machine: Path, state: str, use: str) -> None:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER].update(Policy=state, PolicyError="1.toml:3: no.")
    assert daemon.check_policy(at(machine, door=door)) == error(
        f"The policy is bad, so {use}: 1.toml:3: no.", "Run 'virtcard policy lint'."
    )


def test_domains_without_trouble_are_counted(machine: Path) -> None:
    assert daemon.check_domains(at(machine)) == ok("2 domains and 1 bridge, without trouble.")


def test_trouble_of_domains_and_bridges_is_told_and_not_the_daemons_own(machine: Path) -> None:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER]["Pcsc"] = "away"
    door.world[bridge_path(WIN11, 0)][BRIDGE]["LastError"] = "The card was pulled."
    assert daemon.check_domains(at(machine, door=door)) == warning(
        "win11: The card was pulled.", "'virtcard status' shows what to do about each."
    )


def answered(outcome: Outcome | None) -> Outcome:
    """There was somebody who could tell."""
    assert outcome is not None
    return outcome


def test_much_trouble_is_cut(machine: Path) -> None:
    door = FakeDoor()
    for number in range(5):
        uuid = UUID(int=number)
        door.world[domain_path(uuid)] = {DOMAIN: domain_properties(uuid, f"vm{number}", LastError="Oh.")}
    message = answered(daemon.check_domains(at(machine, door=door))).message
    assert message == "vm0: Oh. vm1: Oh. vm2: Oh. And 2 more."


@pytest.mark.parametrize(
    "check", [daemon.check_policy, daemon.check_domains, metrics.check_metrics, agents.check_agents]
)
def test_that_nobody_answers_is_told_once(machine: Path, check: Check) -> None:
    assert check(Situation(_nobody("system"), "system", machine, {})) is None
    assert examine(Situation(_nobody("system"), "system", machine, {}), {"it": check}) == {}


# Agents.


def _asked(monkeypatch: pytest.MonkeyPatch, machine: Path, action: str, *users: int, bus: Bus = "system") -> Outcome:
    rules = parse([Document("50.toml", f'[[rule]]\naction = "{action}"\n')])
    assert not rules.problems
    monkeypatch.setattr(agents, "policy_of", lambda choice, paths: rules)
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER]["Agents"] = list(users)
    return answered(agents.check_agents(at(machine, bus, door)))


def test_a_policy_that_asks_wants_an_agent(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    assert _asked(monkeypatch, machine, "ask") == warning(
        "No agent is registered: what a rule asks is a no, but for root's own calls.", agents.START
    )
    assert "but for your own calls" in _asked(monkeypatch, machine, "ask", bus="session").message
    assert _asked(monkeypatch, machine, "ask", 1000) == ok("1 user can be asked by an agent.")


def test_a_policy_that_asks_nobody_wants_no_agent(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    assert _asked(monkeypatch, machine, "allow") == ok("No rule of the policy asks anybody, so no agent is needed.")


# Metrics.


def _with_metrics(path: str) -> FakeDoor:
    door = FakeDoor()
    door.world[ROOT_PATH][MANAGER]["Metrics"] = path
    return door


def test_metrics_are_off_until_they_are_wanted(machine: Path) -> None:
    assert metrics.check_metrics(at(machine)) == ok("virtcardd writes no metrics: 'virtcardd --metrics' does.")


def test_metrics_are_there_and_new(machine: Path) -> None:
    put(machine, "/run/virtcardd/metrics/virtcard.prom")
    found = metrics.check_metrics(at(machine, door=_with_metrics("/run/virtcardd/metrics/virtcard.prom")))
    assert found == ok("virtcardd writes metrics to /run/virtcardd/metrics/virtcard.prom.")


def test_old_metrics_are_a_warning(machine: Path) -> None:
    old = time.time() - 1000
    os.utime(put(machine, "/m.prom"), (old, old))
    found = metrics.check_metrics(at(machine, door=_with_metrics("/m.prom")))
    assert "s old" in answered(found).message


def test_missing_metrics_are_a_warning(machine: Path) -> None:
    found = metrics.check_metrics(at(machine, door=_with_metrics("/m.prom")))
    assert answered(found).result is Result.WARNING


# The installation.


def _install(machine: Path) -> dict[str, Path]:
    put(machine, "/etc/passwd", f"root:x:0:0::/root:/bin/sh\n{SYSTEM_USER}:x:995:995::/var/lib/virtcard:/bin/false\n")
    return {name: put(machine, f"{places[-1]}/{name}") for name, places in installation.PLACES.items()}


def test_a_whole_installation_is_ok(machine: Path) -> None:
    _install(machine)
    assert installation.check_installation(at(machine)).result is Result.OK


@pytest.mark.parametrize("name", installation.PLACES)
def test_a_missing_file_is_named_with_its_place(machine: Path, name: str) -> None:
    _install(machine)[name].unlink()
    outcome = installation.check_installation(at(machine))
    assert outcome.result is Result.ERROR
    assert outcome.message == f"The installation lacks {installation.PLACES[name][0]}/{name}."


def test_a_missing_user_is_named(machine: Path) -> None:
    _install(machine)
    put(machine, "/etc/passwd", "root:x:0:0:virtcard:/root:/bin/sh\n")
    message = installation.check_installation(at(machine)).message
    assert message == "The installation lacks the user virtcard."


def test_the_session_needs_no_installation(machine: Path) -> None:
    assert installation.check_installation(at(machine, "session")).result is Result.OK


# libvirt and QEMU.


def test_an_unreachable_libvirt_is_an_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Situation, "uri", f"qemu+unix:///system?socket={machine}/nothing")
    assert hypervisor.check_libvirt(at(machine)).result is Result.ERROR


def test_a_libvirt_that_hangs_is_an_error_after_its_deadline(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "LIBVIRT_DEADLINE", 0.2)
    with hanging_uri() as uri:
        monkeypatch.setattr(Situation, "uri", uri)
        outcome = hypervisor.check_libvirt(at(machine))
    assert outcome.result is Result.ERROR
    assert outcome.message == "libvirt did not answer within 0.2 seconds."


def test_libvirt_tells_how_many_domains_it_knows(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Situation, "uri", "test:///default")
    assert hypervisor.check_libvirt(at(machine)) == ok(
        f"libvirt {_libvirt()} answers at test:///default and knows 1 domain."
    )


def _libvirt() -> str:
    said = subprocess.run(["virsh", "--version"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def test_this_machines_qemu_tells_its_version(machine: Path) -> None:
    said = subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True, text=True).stdout
    version = re.findall(r"version (\d+\.\d+\.\d+)", said)[0]
    assert f" (QEMU {version}) has " in hypervisor.check_qemu(at(machine, PATH=os.environ["PATH"])).message


def test_this_machines_qemu_has_the_devices(machine: Path) -> None:
    assert hypervisor.check_qemu(at(machine, PATH=os.environ["PATH"])).result is Result.OK


def test_a_qemu_without_the_devices_is_an_error(machine: Path) -> None:
    _qemu(machine, QEMU_HELP.replace("ccid-card-passthru", "other"))
    outcome = hypervisor.check_qemu(at(machine, PATH="/nonexistent"))
    assert outcome.result is Result.ERROR
    assert "lacks ccid-card-passthru" in outcome.message


def test_fedoras_qemu_kvm_is_found(machine: Path) -> None:
    _qemu(machine, QEMU_HELP)
    assert hypervisor.check_qemu(at(machine, PATH="/nonexistent")).result is Result.OK


def test_no_qemu_is_an_error(machine: Path) -> None:
    assert hypervisor.check_qemu(at(machine, PATH="/nonexistent")).result is Result.ERROR


def test_a_qemu_that_fails_is_an_error(machine: Path) -> None:
    _qemu(machine, "").write_text("#!/bin/sh\nexit 1\n")
    assert "does not tell" in hypervisor.check_qemu(at(machine, PATH="/nonexistent")).message


# pcscd and polkit.


def test_a_listening_pcscd_is_ok(machine: Path) -> None:
    path = machine / "run" / "pcscd" / "pcscd.comm"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert pcsc.check_pcscd(at(machine)).result is Result.OK
    assert "does not listen" in pcsc.check_pcscd(at(machine)).message


def test_no_pcscd_is_an_error(machine: Path) -> None:
    assert "no socket" in pcsc.check_pcscd(at(machine)).message


def test_libpcsclites_own_variable_is_followed(machine: Path) -> None:
    elsewhere = str(machine / "elsewhere")
    assert elsewhere in pcsc.check_pcscd(at(machine, PCSCLITE_CSOCK_NAME=elsewhere)).message


def test_without_polkit_only_root_may(machine: Path) -> None:
    outcome = pcsc.check_polkit(at(machine))
    assert outcome.result is Result.WARNING
    assert "only root may" in outcome.message


def test_a_polkit_that_nobody_asks_needs_no_rule(machine: Path) -> None:
    put(machine, pcsc.POLKIT)
    assert pcsc.check_polkit(at(machine)).result is Result.OK


def test_the_rule_that_we_ship_is_enough(machine: Path) -> None:
    _asks_polkit(machine)
    put(machine, "/usr/share/polkit-1/rules.d/50-virtcard.rules", RULES)
    assert pcsc.check_polkit(at(machine)).result is Result.OK


def test_a_missing_rule_is_an_error_that_names_the_actions(machine: Path) -> None:
    _asks_polkit(machine)
    put(machine, "/usr/share/polkit-1/rules.d/60-libvirt.rules", 'if (action.id == "org.libvirt.unix.manage")')
    outcome = pcsc.check_polkit(at(machine))
    assert outcome.result is Result.ERROR
    assert all(action in outcome.message for action in pcsc.ACTIONS)


def test_an_admins_rule_in_etc_counts(machine: Path) -> None:
    _asks_polkit(machine)
    put(machine, "/etc/polkit-1/rules.d/10-ours.rules", RULES.replace('"virtcard"', "'virtcard'"))
    assert pcsc.check_polkit(at(machine)).result is Result.OK


def test_rules_that_only_root_may_read_are_a_warning(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _asks_polkit(machine)
    monkeypatch.setattr(pcsc, "_files", _forbidden)
    assert pcsc.check_polkit(at(machine)).result is Result.WARNING


def test_the_session_needs_no_rule(machine: Path) -> None:
    _asks_polkit(machine)
    assert pcsc.check_polkit(at(machine, "session")).result is Result.OK


# The socket directory.


def test_no_socket_directory_is_an_error_that_says_how_to_make_it(machine: Path) -> None:
    outcome = sockets.check_folder(at(machine))
    assert outcome.result is Result.ERROR
    assert "systemd-tmpfiles --create" in outcome.hint


@pytest.mark.parametrize(
    ("mode", "group", "result"),
    [(0o2750, SYSTEM_USER, Result.OK), (0o750, SYSTEM_USER, Result.ERROR), (0o2750, "root", Result.ERROR)],
)
def test_the_socket_directory_needs_its_group_and_mode(
    machine: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str, result: Result
) -> None:
    folder = machine / "run" / "virtcard" / "vm"
    folder.mkdir(parents=True)
    folder.chmod(mode)
    monkeypatch.setattr(sockets, "group_name", lambda number: group)
    assert sockets.check_folder(at(machine)).result is result


def test_the_sessions_socket_directory_is_in_the_runtime_directory(machine: Path) -> None:
    situation = at(machine, "session", XDG_RUNTIME_DIR=str(machine))
    assert sockets.check_folder(situation).result is Result.ERROR
    (machine / "virtcard").mkdir()
    assert sockets.check_folder(situation).result is Result.OK


def test_a_file_in_the_directorys_place_is_an_error(machine: Path) -> None:
    put(machine, "/run/virtcard/vm")
    assert "is not a directory" in sockets.check_folder(at(machine)).message


def test_stale_sockets_are_counted_without_connecting(machine: Path) -> None:
    folder = machine / "virtcard"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "stale.sock"))
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(folder / "living.sock"))
        living.listen()
        living.setblocking(False)
        situation = Situation(FakeDoor().choice(), "session", Path("/"), {"XDG_RUNTIME_DIR": str(machine)})
        outcome = sockets.check_stale(situation)
        with pytest.raises(BlockingIOError):
            living.accept()
    assert outcome == ok("1 socket of running domains, and 1 old one that libvirt will replace.")


# Versions and confinement.


def test_this_environment_has_the_right_versions(machine: Path) -> None:
    situation = at(machine)
    for check in (versions.check_python, versions.check_dbus_next, versions.check_pyscard):
        assert check(situation).result is Result.OK


@pytest.mark.parametrize("found", ["0.2.2", "0.3.0", None])
def test_another_dbus_next_is_an_error(found: str | None, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda package: found)
    assert versions.check_dbus_next(at(machine)).result is Result.ERROR


@pytest.mark.parametrize(("found", "result"), [("2.0.5", Result.OK), ("2.0.4", Result.ERROR), (None, Result.ERROR)])
def test_pyscard_is_new_enough_from_debian_12_on(
    found: str | None, result: Result, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "installed", lambda package: found)
    assert versions.check_pyscard(at(machine)).result is result


@pytest.mark.parametrize(
    ("text", "found"), [("3.15.0b1", (3, 15, 0)), ("2.3.1", (2, 3, 1)), ("3.13.0+", (3, 13, 0)), ("x", ())]
)
def test_versions_are_compared_as_numbers(text: str, found: tuple[int, ...]) -> None:
    assert versions.numbers(text) == found


def test_apparmor_gives_a_hint_and_selinux_a_warning(machine: Path) -> None:
    assert confinement.check_apparmor(at(machine)).hint == ""
    assert confinement.check_selinux(at(machine)).result is Result.OK
    put(machine, confinement.APPARMOR, "Y\n")
    put(machine, confinement.SELINUX, "1")
    assert "DENIED" in confinement.check_apparmor(at(machine)).hint
    assert confinement.check_selinux(at(machine)).result is Result.WARNING


# The verb.


def test_json_has_every_check_once_with_its_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "CHECKS", {"a": lambda _: ok("Fine."), "b": lambda _: warning("Hm.", "Do it.")})
    assert run(["doctor", "--json"], FakeDoor().choice()) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"check": "a", "result": "ok", "message": "Fine.", "hint": ""},
        {"check": "b", "result": "warning", "message": "Hm.", "hint": "Do it."},
    ]


def test_an_error_is_exit_code_1_and_the_other_checks_still_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "CHECKS", {"a": lambda _: error("Bad.", "Mend it."), "b": lambda _: ok("Fine.")})
    assert run(["doctor"], FakeDoor().choice()) == 1
    assert capsys.readouterr().out == "error    Bad.\n         hint: Mend it.\nok       Fine.\n"


def test_the_checks_of_the_verb_all_run_here() -> None:
    outcomes = verb.examine(Situation(FakeDoor().choice(), "system"), verb.CHECKS)
    assert len(outcomes) == 18
    assert all(outcome.message for outcome in outcomes.values())


def _nobody(bus: Bus) -> Choice:
    def refuse(_: Bus) -> FakeDoor:
        raise Disconnected("virtcardd does not run.")

    return Choice(lambda: bus, refuse)  # type: ignore[arg-type]


def _forbidden(folder: Path) -> list[Path]:
    raise PermissionError(folder)


def _qemu(machine: Path, printed: str) -> Path:
    program = put(machine, "/usr/libexec/qemu-kvm", f"#!/bin/sh\n/bin/cat <<'END'\n{printed}END\n")
    program.chmod(0o755)
    return program


def _asks_polkit(machine: Path) -> None:
    for policy in (pcsc.POLKIT, *pcsc.ACTIONS.values()):
        put(machine, policy)


def test_every_finding_says_what_to_do() -> None:
    """In the source, since no machine has all of them at once."""
    folder = Path(verb.__file__).parent
    calls = [
        (path.name, node)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("warning", "error")
    ]
    assert len(calls) > 20
    without = [f"{name}:{call.lineno}" for name, call in calls if len(call.args) < 2 or _is_empty(call.args[1])]
    assert without == []


def _is_empty(hint: ast.expr) -> bool:
    """Also in the end of `failure.hint or ""`, or alone, where it may be empty."""
    match hint:
        case ast.BoolOp(op=ast.Or(), values=[*_, last]):
            return _is_empty(last)
        case ast.Constant(value=str(text)):
            return not text
        case ast.Attribute(attr="hint"):
            return True
        case _:
            return False
