"""What keeps a smart card from coming over SPICE. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from virtcard.domain.finding import Finding, Severity
from virtcard.domain.model import DomainModel

SUBTYPE: Final = "smartcard"
"""spice-server's word for the channel (reds.cpp), there when it was built with smart cards."""


def spice_findings(model: DomainModel, qemu: bool | None, subtypes: tuple[str, ...] | None) -> Iterator[Finding]:
    """`qemu`: it has SPICE and its character devices; `subtypes`: of them, what spice-server knows. None: not asked."""
    if not model.spice:
        yield _error(
            "spice-graphics-missing",
            "The domain has no SPICE graphics, over which its card would come.",
            "Add <graphics type='spice'/> with virsh edit, or choose another mode.",
        )
    if qemu is False:
        emulator = model.emulator or "The domain's QEMU"
        yield _error(
            "qemu-without-spice",
            f"{emulator} has no SPICE, or no smart cards over it.",
            "Install QEMU's SPICE modules (Fedora: qemu-char-spice and qemu-ui-spice-core), or choose another mode.",
        )
    if subtypes is not None and SUBTYPE not in subtypes:
        yield _error(
            "spice-server-without-smartcard",
            "The spice-server library here was built without smart cards, so that the domain would not start.",
            "Use a spice-server with smart cards (Debian's libspice-server1 has them), or choose another mode.",
        )
    if model.spice_smartcard_argument:
        yield _error(
            "spice-smartcard-second",
            "The domain's own arguments to QEMU make a SPICE smart card already; with a second one QEMU aborts.",
            "Remove it from <qemu:commandline> with virsh edit.",
        )


def _error(code: str, message: str, hint: str) -> Finding:
    return Finding(Severity.ERROR, code, message, hint)
