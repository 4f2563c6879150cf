"""A daemon with a fake service, for a bus to start: argument "session" or "system"."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.fake_service import FakeService
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.export import serve


async def main(kind: BusKind) -> None:
    bus = await Bus.open(kind)
    await serve(bus, FakeService().fill())
    await bus.wait_closed()


asyncio.run(main(BusKind(sys.argv[1])))
