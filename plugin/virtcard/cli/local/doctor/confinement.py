"""AppArmor and SELinux: whether they confine QEMU here, and where a denial would show."""

from __future__ import annotations

from pathlib import Path

from virtcard.cli.local.doctor.check import Outcome, Situation, ok, warning

APPARMOR = "/sys/module/apparmor/parameters/enabled"
SELINUX = "/sys/fs/selinux/enforce"


def check_apparmor(situation: Situation) -> Outcome:
    """libvirt opens the socket and hands it to QEMU, so its profile needs no rule on most kernels."""
    if _read(situation.path(APPARMOR)) != "Y":
        return ok("AppArmor is off.")
    return ok(
        "AppArmor is on; QEMU gets its socket from libvirt and needs no rule of its own.",
        "Should 'journalctl -k' show a DENIED for /run/virtcard/vm, add '/run/virtcard/vm/*.sock rw,' to "
        "/etc/apparmor.d/local/abstractions/libvirt-qemu.",
    )


def check_selinux(situation: Situation) -> Outcome:
    """Enforcing SELinux may forbid virtcardd to reach a socket that carries the domain's label."""
    if _read(situation.path(SELINUX)) != "1":
        return ok("SELinux does not enforce anything.")
    return warning(
        "SELinux is enforcing, and virtcard was not tried with it.",
        "Load the module of virtcard's contrib/selinux, and see 'ausearch -m avc -ts recent' for denials.",
    )


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
