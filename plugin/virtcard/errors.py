"""The error tree. Each class knows its D-Bus name and the exit code of the command line.

The text of an error is a public sentence: what is wrong, and in `hint` what to do. It never holds a PIN, a key or
APDU data; details belong in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from virtcard.names import ERROR_PREFIX


class VirtcardError(Exception):
    """Any failure that virtcard reports to a person."""

    kind: ClassVar[str] = "Failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @classmethod
    def dbus_name(cls) -> str:
        """The D-Bus error name, for example `org.virtcard1.Error.NoSuchDomain`."""
        return ERROR_PREFIX + cls.kind


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an error said, to be kept: the error itself would keep its traceback, and with it what was being done."""

    message: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: VirtcardError | None) -> Trouble:
        """What this error says; none says nothing."""
        return cls(error.message, error.hint) if error else NO_TROUBLE


NO_TROUBLE: Final = Trouble()

MORE_RESOURCES: Final = "Raise the limits (ulimit, LimitNOFILE=, TasksMax=), or end other programs."
"""A hint for a system that has no thread or descriptor left."""


class Failed(VirtcardError):
    """Something outside of us did not work; the sentence says what."""


class Unsettled(Failed):
    """A file has its new content, and a crash may still bring back what was there before."""


class Internal(VirtcardError):
    """A fault of our own; the details are in the journal only."""

    kind = "Internal"


class InvalidArgument(VirtcardError):
    """A value that a caller gave is not usable."""

    kind = "InvalidArgument"
    exit_code = 2


class InvalidXml(InvalidArgument):
    """A domain XML that is not well-formed or not a domain."""

    kind = "InvalidXml"


class NotAuthorized(VirtcardError):
    """This user may not do that."""

    kind = "NotAuthorized"
    exit_code = 3


class NoSuchDomain(VirtcardError):
    """No domain has this name, UUID or id."""

    kind = "NoSuchDomain"
    exit_code = 4


class NoSuchReader(VirtcardError):
    """No host reader matches."""

    kind = "NoSuchReader"
    exit_code = 4


class NoSuchCard(VirtcardError):
    """No software card has this name, or a source has an unknown scheme."""

    kind = "NoSuchCard"
    exit_code = 4


class NoSuchGrant(VirtcardError):
    """Nobody gave a grant with this id, or it was taken back."""

    kind = "NoSuchGrant"
    exit_code = 4


class PolicyDenied(VirtcardError):
    """The policy says no."""

    kind = "PolicyDenied"
    exit_code = 5


class PolicyBroken(VirtcardError):
    """The policy files cannot be used as they are."""

    kind = "PolicyBroken"


class TimedOut(VirtcardError):
    """Something did not answer in time."""

    kind = "Timeout"
    exit_code = 6


class Busy(VirtcardError):
    """Somebody else holds what is needed."""

    kind = "Busy"


class Unsupported(VirtcardError):
    """This QEMU, libvirt or connection cannot do it."""

    kind = "Unsupported"


class DomainStateError(VirtcardError):
    """The domain is not in a state that allows this."""

    kind = "DomainState"


class PreflightFailed(VirtcardError):
    """The change would leave a domain that cannot start, so it was not made."""

    kind = "PreflightFailed"


class Conflict(VirtcardError):
    """Somebody else keeps changing or already uses what we need."""

    kind = "Conflict"


class LibvirtFailed(VirtcardError):
    """libvirt refused a call; the sentence carries libvirt's own."""

    kind = "LibvirtFailed"


class Disconnected(VirtcardError):
    """libvirt, pcscd or the bus is away; we try again by ourselves."""

    kind = "Disconnected"


class CardError(VirtcardError):
    """A card or its reader failed."""

    kind = "CardFailed"


class CardAbsent(CardError):
    """The reader is there, and no card is in it."""

    kind = "NoCard"


class ReaderGone(CardError):
    """The reader was unplugged, or pcscd went away."""

    kind = "ReaderGone"


class NotSent(CardError):
    """The command did not reach the card, and shall not: nobody waits for it, or it was asked before a logout."""


class CardWasReset(CardError):
    """Somebody else reset the card: the command was not sent, and the login state is gone."""

    kind = "CardWasReset"


class CardChanged(CardWasReset):
    """What the guest knows of the card is not true any more: it must be taken out and put in again."""

    kind = "CardChanged"


class PeerError(VirtcardError):
    """The VSCard peer broke the protocol."""

    kind = "PeerFailed"


class PeerStuck(PeerError):
    """QEMU seems to wait for the rest of a message that a dead client began, and no client can end that."""

    kind = "PeerStuck"


class PeerRefuses(PeerError):
    """The peer will not have us, and trying again would change nothing."""

    kind = "PeerRefused"


class LocalError(RuntimeError):
    """We called our own protocol code out of turn: a bug, never the peer's fault."""
