"""Which stuck readers the daemon remembers."""

from __future__ import annotations

from unittest.mock import patch

from helpers.bus import run_async
from helpers.domains import domain_uuid
from helpers.services import running_lab
from virtcard import limits

RULE = '[[rule]]\naction = "allow"\nmonitor = "heal"\n'


def test_a_reader_is_remembered_for_as_long_as_it_is_not_to_be_tried_again() -> None:
    async def scene() -> None:
        async with running_lab(policy=RULE) as (lab, _peer):
            healer, uuid = lab.service.healer, domain_uuid("run")
            for slot in range(3):
                assert healer.stuck((uuid, slot)) == ""
            assert healer.stuck((uuid, 0)) == ""
            assert [slot for _, slot in healer._tried] == [0, 1, 2]
            with patch.object(limits, "HEAL_PAUSE", 0.0):
                healer.stuck((uuid, 3))
            assert [slot for _, slot in healer._tried] == [3]

    run_async(scene())
