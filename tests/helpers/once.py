"""The other end of a one-time socket: plain Python, as anybody writes it; also a program, for another user."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import suppress
from typing import Any


def confide(path: str, document: bytes | dict[str, Any]) -> dict[str, Any]:
    """Send a document and return the answer, {} when none came."""
    sent = document if isinstance(document, bytes) else json.dumps(document).encode()
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        link.connect(path)
        with suppress(BrokenPipeError):
            link.sendall(sent)
            link.shutdown(socket.SHUT_WR)
        answer = b""
        while more := link.recv(65536):
            answer += more
    found: dict[str, Any] = json.loads(answer) if answer else {}
    return found


def confide_as(user: int, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """The same by another user, in a process of its own; {"refused": errno's text} when the socket does not open."""
    words = [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        "/usr/bin/python3",
        "-I",
        "-c",
        _PROGRAM,
    ]
    done = subprocess.run([*words, path], input=json.dumps(document), check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


_PROGRAM = """
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
try:
    link.connect(sys.argv[1])
except OSError as error:
    print(json.dumps({"refused": os.strerror(error.errno)}))
else:
    link.sendall(sys.stdin.buffer.read())
    link.shutdown(socket.SHUT_WR)
    print(link.makefile().read())
"""
