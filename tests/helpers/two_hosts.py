"""Two hosts on one machine, each with its own libvirtd, virtcardd, pcscd and policy, and a VM that moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.host import Host, private_host
from helpers.jobs import FIRST
from helpers.libvirtd import private_libvirtd
from helpers.life import remove
from helpers.migration import migrate
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until

HOOK = Path(__file__).parents[2] / "contrib/hooks/virtcard.py"
NAME = "moves"
HOTPLUG = ALLOW_ALL + 'monitor = "hotplug"\n'
DENY_ALL = '[[rule]]\naction = "deny"\n'
NAMES = (b"here", b"there")
"""The hosts, and the historical bytes of their cards."""


@dataclass(frozen=True, slots=True)
class Side:
    """One host, and the card in its first reader."""

    host: Host
    card: ScriptedCard
    name: bytes

    @property
    def directory(self) -> Path:
        """Where everything of this host is."""
        return Path(self.host.libvirtd.directory)

    @property
    def hook(self) -> Path:
        """libvirt's hook here; one that is not executable is none."""
        return self.directory / "hooks/qemu.d/virtcard"

    def policy(self, rules: str) -> None:
        """These are the rules here from now on."""
        self.host.virtcardd.policy(rules)
        self.host.virtcardd.virtcard("policy", "reload")

    def has_card(self) -> bool:
        """Its first reader has a card."""
        return bool(self.host.virtcardd.json("readers")[0]["present"])

    def knows(self) -> bool:
        """The machine is one of this host's."""
        return self.host.virtcardd.run("info", NAME).returncode == 0

    def states(self) -> dict[int, str]:
        """The machine's bridges here, by slot."""
        if not self.knows():
            return {}
        return {each["slot"]: each["state"] for each in self.info()["bridges"]}

    def info(self) -> dict[str, Any]:
        """Everything about the machine."""
        found: dict[str, Any] = self.host.virtcardd.json("info", NAME)
        return found

    def wait(self, **states: str) -> None:
        """The bridges are in these states: `slot0="inserted"`."""
        wanted = {int(slot.removeprefix("slot")): state for slot, state in states.items()}
        try:
            wait_until(lambda: self.states() == wanted, 40, f"the bridges are {wanted}", 0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.info()}\n{self.host.virtcardd.log[-3000:]}") from None


@dataclass(slots=True)
class Mover:
    """A machine that runs on `at`, and could on `other`."""

    at: Side
    other: Side

    def move(self) -> None:
        """Migrate live, configuration and all; libvirtError, and it goes on where it was."""
        migrate(NAME, self.at.host.libvirtd, self.other.host.libvirtd, persist=True)
        self.at, self.other = self.other, self.at

    def plug(self) -> None:
        """One more reader, while it runs; both policies permit it."""
        for side in (self.at, self.other):
            side.policy(HOTPLUG)
        self.at.host.virtcardd.virtcard("enable", NAME, "--hotplug")
        self.at.wait(slot0="inserted", slot1="empty")


@contextmanager
def two_hosts() -> Iterator[tuple[Side, Side]]:
    """Both with libvirt's hook."""
    with ExitStack() as stack:
        made: list[Side] = []
        for name in NAMES:
            libvirtd = stack.enter_context(private_libvirtd(name.decode(), HOOK))
            host = stack.enter_context(private_host(libvirtd, own_pcscd=True))
            card = ScriptedCard(bytes([0x3B, len(name)]) + name)
            host.slots[0].plug(card)
            made.append(Side(host, card, name))
        wait_until(lambda: all(side.has_card() for side in made), 20, "the cards are there")
        yield made[0], made[1]


@contextmanager
def machine_that_moves(sides: tuple[Side, Side], xml: str) -> Iterator[Mover]:
    """It runs on the first of them, with a reader and the wish for the card in the first reader of wherever it is."""
    here, there = sides
    with closing(here.host.libvirtd.open()) as connection:
        connection.defineXML(xml)
    wait_until(here.knows, 20, "the domain is on the bus")
    here.host.virtcardd.virtcard("enable", NAME)
    here.host.virtcardd.virtcard("insert", NAME, FIRST, "--config")
    here.host.libvirtd.virsh("start", NAME)
    mover = Mover(here, there)
    try:
        yield mover
    finally:
        with closing(mover.at.host.libvirtd.open()) as connection:
            remove(connection, NAME)
