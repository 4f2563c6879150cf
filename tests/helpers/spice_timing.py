"""A SPICE server that times its guest's SELECTs, on the one thread that also receives: no switch is in the figure."""

from __future__ import annotations

import json
import struct
from time import perf_counter_ns

from helpers.spice_server import ATR, SMARTCARD, SpiceServer, take

SELECT = bytes.fromhex("00a4040009a00000030800001000")
WARM_UP = 200
COMMAND = struct.pack("<HIIII", 101, 12 + len(SELECT), 7, 0, len(SELECT)) + SELECT


class TimingServer(SpiceServer):
    """Begins when the card is in, and prints the median and the 99th percentile in microseconds."""

    rounds = 0

    def _hear_device(self, kind: int, payload: bytes) -> None:
        super()._hear_device(kind, payload)
        if kind == ATR and self.rounds:
            times = sorted([self._exchange() for _ in range(WARM_UP + self.rounds)][WARM_UP:])
            self.rounds = 0
            print(json.dumps({"median": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}), flush=True)

    def _exchange(self) -> float:
        sock = self.channel(SMARTCARD).sock
        begin = perf_counter_ns()
        sock.sendall(COMMAND)
        while True:
            kind, size = struct.unpack("<HI", take(sock, 6))
            take(sock, size)
            if kind == 101:
                return (perf_counter_ns() - begin) / 1000


def main(rounds: int) -> None:
    """Serve one client; prints the port first."""
    server = TimingServer()
    server.rounds = rounds
    print(json.dumps({"port": server.port}), flush=True)
    server.wait_for(lambda: not server.rounds, "the end of the measurement", 120)
    server.close()
