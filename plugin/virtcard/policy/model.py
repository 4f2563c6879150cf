"""The policy's words: a rule and everything that it may say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from virtcard.policy.remember import NOT_REMEMBERED, Remember


class Action(StrEnum):
    """What a rule answers."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class AskFor(StrEnum):
    """What a person is asked for when the action is `ask`."""

    INSERT = "insert"
    PIN = "pin"
    SIGN = "sign"
    DECRYPT = "decrypt"


class Sharing(StrEnum):
    """`EXCLUSIVE` holds the host reader for one domain."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


class WhenLocked(StrEnum):
    """What happens to the card while the person's session is locked; `DENY_NEW` keeps what is in."""

    KEEP = "keep"
    EJECT = "eject"
    DENY_NEW = "deny-new"


class WhenViewer(StrEnum):
    """Whose card it is while a SPICE viewer shares smart cards of its own with the domain."""

    HOST = "host"
    """Both are in, the viewer's in a reader of its own."""
    VIEWER = "viewer"
    """The host's is out meanwhile."""


class Existing(StrEnum):
    """What enable does by default with a smart card device that is there already."""

    KEEP = "keep"
    REPLACE = "replace"
    FAIL = "fail"


class Monitor(StrEnum):
    """What virtcardd may do over QEMU's monitor, behind libvirt's back; `HOTPLUG` includes `HEAL`."""

    NONE = "none"
    HEAL = "heal"
    """Free a virtual reader whose input is stuck."""
    HOTPLUG = "hotplug"
    """Give a running machine readers, and take them away."""


class HostLogin(StrEnum):
    """`SHARE` lets the domain profit from a PIN that a host program verified."""

    RESET = "reset"
    SHARE = "share"


class Handover(StrEnum):
    """How the domain gets the card back: its selection again, or the card out and in."""

    SELECT = "select"
    REINSERT = "reinsert"


class Profile(StrEnum):
    """The built-in command profiles."""

    FULL = "full"
    USE = "use"
    READ = "read"


OTHER: Final = "other"
"""In place of an AID: no application is selected, or one that the table does not name."""


@dataclass(frozen=True, slots=True)
class ApplicationCommands:
    """What one application takes more or less than the profile: INS, or INS P1 P2, in hex with x for any digit."""

    aid: str
    """A prefix of the AID in upper-case hex, or OTHER."""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Commands:
    """Which commands reach the card."""

    base: Profile = Profile.USE
    applications: tuple[ApplicationCommands, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written; line 0 stands for the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE: Final = Place("")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry. The first four are its conditions, "" for none; the rest holds for a domain and a card that fit.

    Two rules that say the same are equal wherever they stand.
    """

    action: Action
    vm: str = ""
    """A UUID, "@tag", or a glob of names."""
    card: str = ""
    """A glob of sources: `reader:` with the reader's full name, `card:` with the card's."""
    atr: str = ""
    """A glob of ATRs in upper-case hex with colons."""
    user: str = ""
    ask_for: frozenset[AskFor] = frozenset({AskFor.INSERT})
    remember: Remember = NOT_REMEMBERED
    commands: Commands = Commands()
    pin_reserve: int = 1
    sharing: Sharing = Sharing.SHARED
    when_locked: WhenLocked = WhenLocked.KEEP
    when_viewer: WhenViewer = WhenViewer.HOST
    on_existing: Existing | None = None
    monitor: Monitor | None = None
    host_login: HostLogin = HostLogin.RESET
    handover: Handover = Handover.SELECT
    place: Place = field(default=NOWHERE, compare=False)

    @property
    def conditions(self) -> tuple[str, str, str, str]:
        """When it applies."""
        return (self.vm, self.card, self.atr, self.user)

    @property
    def treatment(self) -> Rule:
        """What it says of a card that is in, without when it applies, and without its questions."""
        unasked = replace(self, action=Action.ALLOW, ask_for=frozenset(), remember=NOT_REMEMBERED)
        return replace(unasked, vm="", card="", atr="", user="", on_existing=None, monitor=None)

    @property
    def questions(self) -> frozenset[AskFor]:
        """What a person is asked for while the card is in."""
        return frozenset(each for each in AskFor if each is not AskFor.INSERT and self.asks_for(each))

    def asks_for(self, operation: AskFor) -> bool:
        """A person is to be asked before this."""
        return self.action is Action.ASK and operation in self.ask_for


NO_RULE: Final = Rule(Action.DENY)
"""What holds when no rule fits."""
