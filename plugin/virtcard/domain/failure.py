"""libvirt's errors as ours: by code and domain, never by text (virterror.h)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final
from uuid import UUID

from virtcard.errors import (
    Disconnected,
    DomainStateError,
    InvalidArgument,
    InvalidXml,
    LibvirtFailed,
    NoSuchDomain,
    NotAuthorized,
    TimedOut,
    Unsupported,
    VirtcardError,
)


class ErrorCode(IntEnum):
    """virErrorNumber, the ones that we meet."""

    INTERNAL_ERROR = 1
    NO_SUPPORT = 3
    NO_CONNECT = 5
    INVALID_CONN = 6
    INVALID_ARG = 8
    OPERATION_FAILED = 9
    XML_ERROR = 27
    OPERATION_DENIED = 29
    XML_DETAIL = 35
    SYSTEM_ERROR = 38
    RPC = 39
    NO_DOMAIN = 42
    AUTH_FAILED = 45
    OPERATION_INVALID = 55
    CONFIG_UNSUPPORTED = 67
    OPERATION_TIMEOUT = 68
    AUTH_CANCELLED = 79
    OPERATION_UNSUPPORTED = 84
    ACCESS_DENIED = 88
    XML_INVALID_SCHEMA = 92
    AUTH_UNAVAILABLE = 94


FROM_RPC: Final = 7
"""VIR_FROM_RPC: a socket between libvirt's parts failed, ours to the daemon or the daemon's to virtlogd."""

TEXT_MAX: Final = 1000
"""Characters of libvirt's text that we pass on: QEMU's whole stderr may be in it."""

_NO_DOMAIN_HINT: Final = "`virsh list --all` shows all domains."
_AUTH: Final = (
    NotAuthorized,
    "libvirt does not let this user do that",
    "Join the group libvirt, or allow it in polkit.",
)
_AWAY: Final = (Disconnected, "The connection to libvirt is gone", "It comes back by itself when libvirt runs again.")
_XML: Final = (InvalidXml, "libvirt does not accept the domain XML", "")
_CANNOT: Final = (Unsupported, "This libvirt or QEMU cannot do that", "")

_MEANING: Final[dict[int, tuple[type[VirtcardError], str, str]]] = {
    ErrorCode.NO_SUPPORT: _CANNOT,
    ErrorCode.NO_CONNECT: _AWAY,
    ErrorCode.INVALID_CONN: _AWAY,
    ErrorCode.INVALID_ARG: (InvalidArgument, "libvirt does not accept a value", ""),
    ErrorCode.XML_ERROR: _XML,
    ErrorCode.OPERATION_DENIED: _AUTH,
    ErrorCode.XML_DETAIL: (InvalidXml, "The domain XML is not well-formed", ""),
    ErrorCode.NO_DOMAIN: (NoSuchDomain, "This domain does not exist", _NO_DOMAIN_HINT),
    ErrorCode.AUTH_FAILED: _AUTH,
    ErrorCode.OPERATION_INVALID: (DomainStateError, "The domain's state does not allow that", ""),
    ErrorCode.CONFIG_UNSUPPORTED: (
        Unsupported,
        "This QEMU cannot run the domain as configured",
        "QEMU's smart card devices are in Debian's qemu-system-common and Fedora's qemu-device-usb-smartcard.",
    ),
    ErrorCode.OPERATION_TIMEOUT: (
        TimedOut,
        "libvirt waited too long",
        "Another operation holds the domain; try again.",
    ),
    ErrorCode.AUTH_CANCELLED: _AUTH,
    ErrorCode.OPERATION_UNSUPPORTED: _CANNOT,
    ErrorCode.ACCESS_DENIED: _AUTH,
    ErrorCode.XML_INVALID_SCHEMA: (
        InvalidXml,
        "The domain XML does not follow libvirt's schema",
        "`virt-xml-validate FILE domain` shows it; libvirt never names the element that is wrong.",
    ),
    ErrorCode.AUTH_UNAVAILABLE: _AUTH,
}

_OTHER: Final = (LibvirtFailed, "libvirt failed", "")


def failure(code: int, text: str) -> VirtcardError:
    """Our error for libvirt's `code` (virErrorNumber) with its `text`, over a connection that still stands."""
    kind, sentence, hint = _MEANING.get(code, _OTHER)
    if code == ErrorCode.NO_DOMAIN:
        return kind(f"{sentence}.", hint=hint)
    return kind(f"{sentence}: {one_line(code, text)}", hint=hint)


def lost(code: int, text: str) -> Disconnected:
    """Our error for a call over a connection that is gone now."""
    return Disconnected(f"The connection to libvirt is gone: {one_line(code, text)}", hint=_AWAY[2])


def no_domain(uuid: UUID) -> NoSuchDomain:
    """Our error for a domain that is not there."""
    return NoSuchDomain(f"No domain has the UUID {uuid}.", hint=_NO_DOMAIN_HINT)


def silent(deadline: float) -> TimedOut:
    """Our error for a call that was not answered within `deadline` seconds."""
    return TimedOut(
        f"libvirt did not answer within {deadline:g} seconds.",
        hint="`virsh list` shows whether libvirt answers at all.",
    )


def open_failure(uri: str, code: int, domain: int, text: str) -> VirtcardError:
    """Our error for a connection that could not be opened."""
    away = domain == FROM_RPC or code in (ErrorCode.SYSTEM_ERROR, ErrorCode.RPC)
    kind, sentence, hint = _AWAY if away else _MEANING.get(code, _OTHER)
    if away:
        sentence, hint = "libvirt cannot be reached", "Start libvirtd or virtqemud."
    return kind(f"{sentence} at {uri}: {one_line(code, text)}", hint=hint)


def one_line(code: int, text: str) -> str:
    """libvirt's text on one line. Malformed XML is quoted below the first line, and may hold a password."""
    lines = text.split("\n")[:1] if code == ErrorCode.XML_DETAIL else text.split("\n")
    return " ".join(" ".join(lines).split())[:TEXT_MAX]
