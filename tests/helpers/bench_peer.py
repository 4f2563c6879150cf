"""QEMU's side of a benchmark, in a process of its own: it listens, greets, and times SELECTs one after the other.

`python bench_peer.py unix PATH ROUNDS | tcp PORT ROUNDS | tls DIRECTORY ROUNDS [plain]` prints the median, the 99th
percentile and the rounds as JSON. Nagle stays on and header and payload leave by two writes, as in
ccid-card-passthru.c. With `plain` the other side is a mere echo of fixed answers, and nobody greets.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
from pathlib import Path
from time import perf_counter_ns

HEADER = struct.Struct(">III")
INIT, ERROR, APDU = 1, 2, 7
SELECT = bytes.fromhex("00a4040009a00000030800001000")
WARM_UP = 200


def main(kind: str, where: str, rounds: int, plain: bool) -> None:
    server = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    server.bind(where if kind == "unix" else ("127.0.0.1", int(where) if kind == "tcp" else 0))
    server.listen(1)
    print(json.dumps({"port": 0 if kind == "unix" else server.getsockname()[1]}), flush=True)
    link = server.accept()[0]
    if kind == "tls":
        link = _secured(link, Path(where))
    if not plain:
        acknowledge(link)
    times = sorted(_exchange(link) for _ in range(min(WARM_UP, rounds) + rounds))
    print(json.dumps({"median": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}), flush=True)


GREETING = 4
"""Control messages until the card is in: Init, ReaderRemove, ReaderAdd, ATR."""


def acknowledge(link: socket.socket, messages: int = GREETING) -> None:
    """Acknowledge so many control messages, as QEMU does; VSC_Error for an APDU that it does not have is none."""
    while messages:
        kind = _next_kind(link)
        if kind == INIT:
            _send(link, INIT, b"VSCD" + struct.pack(">II", 2, 0))
        elif kind != ERROR:
            _send(link, ERROR, b"\0\0\0\0")
        messages -= kind != ERROR


def _next_kind(link: socket.socket) -> int:
    """The type of the next message; one that follows it closely stays for the next call."""
    kind, _, length = HEADER.unpack(_exactly(link, HEADER.size))
    _exactly(link, length)
    return int(kind)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise SystemExit("the bridge went away")
        data += more
    return data


def _secured(link: socket.socket, pki: Path) -> ssl.SSLSocket:
    """With the certificates of QEMU's names in that directory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki / "ca-cert.pem")
    context.load_cert_chain(pki / "server-cert.pem", pki / "server-key.pem")
    return context.wrap_socket(link, server_side=True)


def _exchange(link: socket.socket) -> float:
    """Microseconds from the first write to the last byte of the answer."""
    begin = perf_counter_ns()
    _send(link, APDU, SELECT)
    _receive(link)
    return (perf_counter_ns() - begin) / 1000


def _send(link: socket.socket, kind: int, payload: bytes) -> None:
    link.send(HEADER.pack(kind, 0, len(payload)))
    link.send(payload)


def _receive(link: socket.socket) -> tuple[int, bytes]:
    data = link.recv(4096)
    while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack_from(data)[2]:
        more = link.recv(4096)
        if not more:
            raise SystemExit("the bridge went away")
        data += more
    return HEADER.unpack_from(data)[0], data[HEADER.size :]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), len(sys.argv) > 4)
