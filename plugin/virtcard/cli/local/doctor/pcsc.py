"""pcscd, and the polkit rule without which it hides every reader from a daemon that has no session."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from virtcard.card.pcscd import pcscd_version
from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok, warning
from virtcard.names import SYSTEM_USER

SOCKET = "/run/pcscd/pcscd.comm"
SOCKET_VARIABLE = "PCSCLITE_CSOCK_NAME"
"""libpcsclite's own variable."""

RULES = (
    "/etc/polkit-1/rules.d",
    "/run/polkit-1/rules.d",
    "/usr/local/share/polkit-1/rules.d",
    "/usr/share/polkit-1/rules.d",
)
ACTIONS = {
    "org.debian.pcsc-lite.access_pcsc": "/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy",
    "org.debian.pcsc-lite.access_card": "/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy",
    "org.libvirt.unix.manage": "/usr/share/polkit-1/actions/org.libvirt.unix.policy",
}
"""What the system's virtcardd does, and the file that says whether anybody asks polkit for it."""

POLKIT = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
"""By which D-Bus starts it."""


def check_pcscd(situation: Situation) -> Outcome:
    """Somebody listens on pcscd's socket: pcscd, or systemd for it."""
    named = situation.environment.get(SOCKET_VARIABLE)
    path = Path(named) if named else situation.path(SOCKET)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(str(path))
    except FileNotFoundError:
        return error(f"pcscd has no socket at {path}.", "Install pcscd and run 'systemctl enable --now pcscd.socket'.")
    except OSError as failure:
        return error(f"pcscd does not listen at {path}: {failure.strerror}.", "Run 'systemctl restart pcscd.socket'.")
    version = pcscd_version(situation.environment.get("PATH"))
    return ok(f"pcscd{f' {version}' if version else ''} listens at {path}.")


def check_polkit(situation: Situation) -> Outcome:
    """It is there, and a rule lets the user of the system's virtcardd use pcscd and libvirt."""
    if situation.bus == "session":
        return ok("Your own virtcardd needs no polkit rule while your session is active.")
    if not situation.path(POLKIT).exists():
        return warning(
            "polkit is not installed, so only root may enable, insert and eject.", "Install it: apt install polkitd."
        )
    asked = [action for action, policy in ACTIONS.items() if situation.path(policy).exists()]
    if not asked:
        return ok("Neither pcscd nor libvirt asks polkit on this machine.")
    try:
        texts = list(_rules(situation))
    except PermissionError:
        return warning("The polkit rules may be read by root only.", "Run 'virtcard doctor' as root.")
    if missing := [action for action in asked if not any(_grants(text, action) for text in texts)]:
        return error(
            f"No polkit rule lets user {SYSTEM_USER} do {_list(missing)}.",
            "Install 50-virtcard.rules in /usr/share/polkit-1/rules.d.",
        )
    return ok(f"A polkit rule lets user {SYSTEM_USER} do {_list(asked)}.")


def _rules(situation: Situation) -> Iterator[str]:
    for folder in RULES:
        for file in _files(situation.path(folder)):
            yield file.read_text(errors="replace")


def _files(folder: Path) -> list[Path]:
    """Its rules in polkit's order; unlike `glob`, says so when it may not look."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix == ".rules")


def _list(actions: Iterable[str]) -> str:
    return ", ".join(actions)


def _grants(text: str, action: str) -> bool:
    """Whether the file names both: what else stands there only polkit can judge."""
    return action in text and f'"{SYSTEM_USER}"' in text.replace("'", '"')
