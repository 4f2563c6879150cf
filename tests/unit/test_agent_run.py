"""The agent's process around its registrations: what ends it, and what it tells of that."""

from __future__ import annotations

import asyncio

import pytest

from helpers.bus import run_async
from virtcard.agent import run
from virtcard.agent.agent import Agent


class Registration:
    """Stands for one bus: "broken" fails with a mistake of ours, all others stay."""

    def __init__(self, bus: str, _agent: Agent) -> None:
        self._bus = bus

    async def run(self) -> None:
        """As the real one does, until it is cancelled."""
        if self._bus == "broken":
            raise ValueError("a mistake of ours")
        await asyncio.Event().wait()


async def serve(monkeypatch: pytest.MonkeyPatch, *buses: str, ended: float = 10.0) -> bool:
    monkeypatch.setattr(run, "Registration", Registration)
    return await run._serve(buses, None, asyncio.sleep(ended))  # type: ignore[arg-type]


def test_a_mistake_in_one_registration_is_not_taken_for_the_end_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a mistake of ours"):
        run_async(serve(monkeypatch, "system", "broken"))


def test_the_end_of_the_front_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_async(serve(monkeypatch, "system", "session", ended=0.0)) is False
