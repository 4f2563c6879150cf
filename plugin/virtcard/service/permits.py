"""What the policy and persons permit, as a pass over a domain needs it."""

from __future__ import annotations

from dataclasses import dataclass

from virtcard.domain.existing import OnExisting
from virtcard.policy.decide import Request, monitor, on_existing, yields_to_viewers
from virtcard.policy.model import Monitor, WhenViewer
from virtcard.service.consents import Consents
from virtcard.service.decisions import Decisions
from virtcard.service.policy import Policies


@dataclass(frozen=True, slots=True)
class Permits:
    """`wisher` is the user whose wishes stand in the metadata: in a session the user, on the system bus anybody, ""."""

    policies: Policies
    consents: Consents
    decisions: Decisions
    wisher: str

    def on_existing(self, request: Request) -> OnExisting:
        """What enable does with another smart card device when nobody says it."""
        return OnExisting(on_existing(self.policies.rules, request).value)

    def yields_to_viewers(self, request: Request) -> bool:
        """Some rule lets a viewer's card go before the host's."""
        return yields_to_viewers(self.policies.rules, request)

    @property
    def some_yield(self) -> bool:
        """Some rule does so for some domain: most policies have none."""
        return any(rule.when_viewer is WhenViewer.VIEWER for rule in self.policies.rules)

    def monitor(self, request: Request) -> Monitor:
        """What may be done with the domain over QEMU's monitor."""
        return monitor(self.policies.rules, request)
