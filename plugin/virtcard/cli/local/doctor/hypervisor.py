"""libvirt and QEMU."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from contextlib import closing

from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok, warning
from virtcard.errors import NotAuthorized, VirtcardError

DEVICES = ("usb-ccid", "ccid-card-passthru")
QEMU_PATIENCE = 20.0
"""Seconds for QEMU to print its list of devices; it takes half a second."""


def check_libvirt(situation: Situation) -> Outcome:
    """libvirt answers at the URI that belongs to the bus."""
    from virtcard.domain.deadline import in_time

    try:
        count, version = in_time(_look, situation.uri)
    except NotAuthorized:
        return warning("You may not ask libvirt yourself.", "Run 'virtcard doctor' as root.")
    except VirtcardError as failure:
        return error(failure.message, failure.hint or "Start libvirtd or virtqemud.")
    return ok(f"libvirt {version} answers at {situation.uri} and knows {count} domain{'' if count == 1 else 's'}.")


def _look(uri: str) -> tuple[int, str]:
    """How many domains there are, and libvirt's version."""
    from virtcard.domain.libvirt import Hypervisor

    with closing(Hypervisor(uri, lambda _: None)) as hypervisor:
        hypervisor.open()
        return len(hypervisor.domain_uuids()), hypervisor.versions()[0]


def check_qemu(situation: Situation) -> Outcome:
    """QEMU has the two devices of a virtual reader."""
    binary = find_qemu(situation)
    if binary is None:
        return error("No QEMU for this machine is installed.", "Install qemu-system-x86 or qemu-kvm.")
    try:
        missing = [device for device in DEVICES if device not in devices(binary)]
    except (OSError, subprocess.SubprocessError) as failure:
        return error(f"{binary} does not tell its devices ({type(failure).__name__}).", f"Run '{binary} -device help'.")
    if missing:
        return error(
            f"{binary} lacks {' and '.join(missing)}.", "Install qemu-device-usb-smartcard, or a QEMU built with it."
        )
    return ok(f"{binary}{_version(binary)} has {' and '.join(DEVICES)}.")


def _version(binary: str) -> str:
    """Behind its name: " (QEMU 7.2.11)", or "" when it does not tell."""
    try:
        done = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True, timeout=QEMU_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.match(r"QEMU emulator version ([\d.]*\d)", done.stdout)
    return f" (QEMU {found[1]})" if found else ""


def find_qemu(situation: Situation) -> str | None:
    """The emulator of this machine's own architecture, where Debian and where Fedora keep it."""
    path = situation.environment.get("PATH", "/usr/bin:/bin")
    found = shutil.which(f"qemu-system-{platform.machine()}", path=path)
    kvm = situation.path("/usr/libexec/qemu-kvm")
    return found or (str(kvm) if kvm.exists() else None)


def devices(binary: str) -> set[str]:
    """Every device name in `-device help`."""
    done = subprocess.run(
        [binary, "-device", "help"], check=True, capture_output=True, text=True, timeout=QEMU_PATIENCE
    )
    return set(re.findall(r'^name "([^"]+)"', done.stdout, re.MULTILINE))
