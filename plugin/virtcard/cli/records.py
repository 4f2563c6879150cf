"""virtcardd's records in the journal, read by journalctl."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict
from uuid import UUID

from virtcard import names
from virtcard.cli.options import Bus
from virtcard.errors import Failed, InvalidArgument, NotAuthorized, Unsupported


class Entry(TypedDict):
    """One record. `time` is microseconds since the epoch; "" and 0 where the record says nothing."""

    time: int
    event: str
    message: str
    uuid: str
    name: str
    source: str
    rule: str
    user: str
    reason: str
    commands: dict[str, int]
    refused: int
    pin_failures: int
    pin_stops: int
    errors: int
    bytes_sent: int
    bytes_received: int


def matches(bus: Bus, uuid: str | None, vm: str) -> list[str]:
    """What journalctl shall look for. Anybody may write our fields; the sender's uid is the journal's own word."""
    wanted = f"{names.FIELD_DOMAIN}={uuid}" if uuid else _unknown(vm)
    return [f"SYSLOG_IDENTIFIER={names.SYSLOG_IDENTIFIER}", wanted, *(f"_UID={uid}" for uid in _daemon(bus))]


def _unknown(vm: str) -> str:
    """A domain that is not there (any more), by what it was called."""
    try:
        return f"{names.FIELD_DOMAIN}={UUID(vm)}"
    except ValueError:
        return f"{names.FIELD_NAME}={vm}"


def _daemon(bus: Bus) -> list[int]:
    if bus == "session":
        return [os.getuid()]
    try:
        return [pwd.getpwnam(names.SYSTEM_USER).pw_uid, 0]
    except KeyError:
        return [0]


def require_journal(bus: Bus) -> None:
    """Failed when there is no journal, NotAuthorized when this user may not read the records of that bus's virtcardd.

    journalctl says so in its own words, and not to programs (--output=json), so it is asked beforehand."""
    with _started("--lines=0") as process:
        _, said = process.communicate()
    if "No journal files were found" in said:
        raise Failed("There is no journal on this machine.", hint="virtcardd's records are on its stderr then.")
    if "insufficient permissions" in said or (bus == "system" and "not seeing messages from other users" in said):
        raise NotAuthorized(
            "This user may not read the journal of the system.",
            hint="Run it as root (sudo), or as a member of the group systemd-journal.",
        )


def read(wanted: list[str], since: str | None, *, follow: bool) -> Iterator[Entry]:
    """The records, oldest first; InvalidArgument when `since` is no time."""
    words = ["--output=json", "--all", *(["--follow", "--no-tail"] if follow else [])]
    words += [f"--since={since}"] if since is not None else []
    with _started(*words, *wanted) as process:
        try:
            yield from filter(None, map(_entry, process.stdout or ()))
            _, said = process.communicate()
        finally:
            process.kill()
    if process.returncode and since is not None and "parse timestamp" in said:
        raise InvalidArgument(f"'{since}' is no time.", hint="Write it as journalctl does: yesterday, -1h, 2026-01-31.")
    if process.returncode:
        raise Failed("journalctl failed.", hint=said.strip())


def _started(*words: str) -> subprocess.Popen[str]:
    """It says little on stderr, far less than a pipe holds."""
    try:
        return subprocess.Popen(
            ["journalctl", "--no-pager", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError:
        raise Unsupported(
            "There is no journalctl here, and so no journal.", hint="virtcardd's records are on its stderr then."
        ) from None


def _entry(line: str) -> Entry | None:
    try:
        untrusted = json.loads(line)
        return Entry(
            time=int(untrusted["__REALTIME_TIMESTAMP"]),
            event=_text(untrusted, names.FIELD_EVENT),
            message=_text(untrusted, "MESSAGE"),
            uuid=_text(untrusted, names.FIELD_DOMAIN),
            name=_text(untrusted, names.FIELD_NAME),
            source=_text(untrusted, names.FIELD_SOURCE),
            rule=_text(untrusted, names.FIELD_RULE),
            user=_text(untrusted, names.FIELD_USER),
            reason=_text(untrusted, names.FIELD_REASON),
            commands=_commands(untrusted),
            refused=_number(untrusted, names.FIELD_REFUSED),
            pin_failures=_number(untrusted, names.FIELD_PIN_FAILURES),
            pin_stops=_number(untrusted, names.FIELD_PIN_STOPS),
            errors=_number(untrusted, names.FIELD_ERRORS),
            bytes_sent=_number(untrusted, names.FIELD_BYTES_SENT),
            bytes_received=_number(untrusted, names.FIELD_BYTES_RECEIVED),
        )
    except (ValueError, KeyError, TypeError):
        return None  # a line that is no record of ours


def _text(untrusted: Mapping[str, Any], name: str) -> str:
    """A field; journalctl gives one that is not printable as the numbers of its bytes."""
    value = untrusted.get(name) or ""
    return bytes(value).decode(errors="replace") if isinstance(value, list) else str(value)


def _number(untrusted: Mapping[str, Any], name: str) -> int:
    return int(_text(untrusted, name) or 0)


def _commands(untrusted: Mapping[str, Any]) -> dict[str, int]:
    found = json.loads(_text(untrusted, names.FIELD_COMMANDS) or "{}")
    return {str(name): int(count) for name, count in found.items()}
