"""The round trip of a SELECT over SPICE on the loopback device: a server's channel, a bridge and a trivial card.

The server is a stand-in for spice-server in a process of its own, and the time is that of its guest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from helpers.fake_card import OK, FakeCard  # noqa: E402 (a benchmark runs by itself, too)
from virtcard.bridge.endpoint import Endpoint, Scheme  # noqa: E402
from virtcard.bridge.runner import Bridge  # noqa: E402
from virtcard.bridge.spice.settings import SpiceSettings  # noqa: E402

ROUNDS = 5000
SERVER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from helpers.spice_timing import main
main({ROUNDS})
"""


class TrivialCard(FakeCard):
    """Answers at once, without taking notes."""

    def transmit(self, command: bytes) -> bytes:
        """9000."""
        return OK


def run() -> dict[str, float]:
    """Median and 99th percentile in microseconds."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        endpoint = Endpoint(Scheme.SPICE, host="127.0.0.1", port=port)
        bridge = Bridge(endpoint, lambda _status: None, reconnect=False, spice=SpiceSettings(take_over=True))
        bridge.insert(TrivialCard())
        bridge.start()
        figures = json.loads(server.stdout.readline())
        server.wait()
        bridge.stop()
        bridge.join(5)
    return {"spice_bridge_us": figures["median"], "spice_bridge_p99_us": figures["p99"]}


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<32} {value:12.2f}")
