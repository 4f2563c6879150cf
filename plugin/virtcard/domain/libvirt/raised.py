"""What libvirt raises, as errors of ours."""

from __future__ import annotations

import libvirt

from virtcard.domain.failure import failure
from virtcard.errors import VirtcardError


def our_error(error: libvirt.libvirtError) -> VirtcardError:
    """The error of the tree for one of libvirt's, when the connection still stands."""
    return failure(code_of(error), text_of(error))


def code_of(error: libvirt.libvirtError) -> int:
    """Its number (virErrorNumber)."""
    return error.get_error_code() or 0


def text_of(error: libvirt.libvirtError) -> str:
    """libvirt's text, without the words that only say its code once more ("unsupported configuration: ")."""
    message, pattern, detail = error.get_error_message() or str(error), error.get_str1() or "", error.get_str2() or ""
    return detail if detail and pattern.replace("%s", detail, 1) == message else message
