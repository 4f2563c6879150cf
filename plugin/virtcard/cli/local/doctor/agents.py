"""Agents: somebody must be there whom the policy can ask."""

from __future__ import annotations

from typing import Final

from virtcard.cli.local.doctor.check import Outcome, Situation, ok, warning
from virtcard.cli.local.doctor.daemon import manager_of
from virtcard.cli.local.policy.files import policy_of
from virtcard.cli.traffic import counted
from virtcard.errors import VirtcardError
from virtcard.policy.model import Action

START: Final = "Run 'systemctl --user enable --now virtcard-agent' on the desktop, or 'virtcard agent --terminal'."


def check_agents(situation: Situation) -> Outcome | None:
    """Where a rule asks, an agent is registered."""
    try:
        users = manager_of(situation)["Agents"]
        asks = any(rule.action is Action.ASK for rule in policy_of(situation.choice, ()).rules)
    except VirtcardError:
        return None
    if users:
        return ok(f"{counted(len(users), 'user')} can be asked by an agent.")
    if not asks:
        return ok("No rule of the policy asks anybody, so no agent is needed.")
    whose = "your" if situation.bus == "session" else "root's"
    return warning(f"No agent is registered: what a rule asks is a no, but for {whose} own calls.", START)
