"""The caller's end of a one-time socket: what must not travel on the bus is told there (see org.virtcard1.Manager)."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dbus_next.errors import DBusError

from virtcard import limits
from virtcard.bus.failures import to_virtcard_error
from virtcard.errors import Disconnected, Failed, TimedOut


def confide(path: str, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Send the document and wait for the outcome; the daemon's own error, TimedOut or Disconnected."""
    try:
        untrusted = _conversed(path, json.dumps(secrets).encode())
    except TimeoutError as error:
        raise TimedOut("virtcardd did not answer in time.", hint="Look into its journal.") from error
    except OSError as error:
        raise Disconnected("virtcardd closed its socket.", hint="Try again.") from error
    answer = _parsed(untrusted)
    if "error" in answer:
        raise to_virtcard_error(DBusError(str(answer["error"]), f"{answer.get('message')}\n{answer.get('hint')}"))
    return answer


def _conversed(path: str, document: bytes) -> bytes:
    untrusted = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(limits.CALL_PATIENCE)
        link.connect(path)
        with suppress(BrokenPipeError):  # it had enough, and says why
            link.sendall(document)
            link.shutdown(socket.SHUT_WR)
        while (more := link.recv(limits.SECRETS_ANSWER_MAX)) and len(untrusted) <= limits.SECRETS_ANSWER_MAX:
            untrusted += more
    return bytes(untrusted)


def _parsed(untrusted: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(untrusted)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Failed("virtcardd did not say what became of it.", hint="Look into its journal: journalctl -u virtcardd")
    return answer
