"""Tell systemd how the daemon stands: one datagram (sd_notify(3)), nothing when not run by systemd."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `state`, for example "READY=1"; silence when there is no NOTIFY_SOCKET or nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return
