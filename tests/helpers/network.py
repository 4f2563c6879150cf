"""A network of our own with nothing but loopback in it, so that no server of a test or a demo is reached from outside.

vpcd needs it: it listens on every address, and cannot be told otherwise (vpcd.c, opensock: INADDR_ANY).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def stay_on_loopback() -> None:
    """Move this process to a new network namespace with loopback up; threads and children made later are in it.

    To be called before any thread was made. It needs root (CAP_SYS_ADMIN), and does nothing without.
    """
    if os.geteuid() != 0:
        return
    if threading.active_count() > 1:
        raise RuntimeError("threads that run already would stay in the old network")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of our own")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def free_port() -> int:
    """A TCP port of the loopback device that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
