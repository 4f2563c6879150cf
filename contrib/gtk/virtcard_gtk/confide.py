"""Secrets for virtcardd: one JSON object over a one-time socket, and its answer. Nothing here waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from virtcard_gtk.sentences import Problem, problem
from virtcard_gtk.toolkit import Gio, GLib

ANSWER_MAX: Final = 2 * 1024 * 1024


def confide(
    path: object, secrets: Mapping[str, str], done: Callable[[dict[str, Any]], None], failed: Callable[[Problem], None]
) -> None:
    """Hand them over at the path that virtcardd answered; one of both is called with what came of it."""

    def connected(client: Any, result: Any) -> None:
        try:
            connection = client.connect_finish(result)
            # Small enough for the buffer of any socket, so it does not wait.
            connection.get_output_stream().write_all(json.dumps(dict(secrets)).encode(), None)
            connection.get_socket().shutdown(False, True)
        except GLib.Error:
            failed(problem("", ""))
            return
        _read(connection, b"", lambda answer: _judge(answer, done, failed))

    if not isinstance(path, str):
        failed(problem("", ""))
        return
    Gio.SocketClient().connect_async(Gio.UnixSocketAddress.new(path), None, connected)


def _read(connection: Any, so_far: bytes, end: Callable[[bytes], None]) -> None:
    def came(stream: Any, result: Any) -> None:
        try:
            data = stream.read_bytes_finish(result).get_data() or b""
        except GLib.Error:
            data = b""
        if data and len(so_far) < ANSWER_MAX:
            _read(connection, so_far + data, end)
        else:
            connection.close_async(GLib.PRIORITY_DEFAULT, None, None)
            end(so_far)

    connection.get_input_stream().read_bytes_async(65536, GLib.PRIORITY_DEFAULT, None, came)


def _judge(answer: bytes, done: Callable[[dict[str, Any]], None], failed: Callable[[Problem], None]) -> None:
    try:
        values = json.loads(answer)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        failed(problem("", ""))
    elif "error" in values:
        failed(problem(str(values["error"]), f"{values.get('message', '')}\n{values.get('hint', '')}"))
    else:
        done(values)
