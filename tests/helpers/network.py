"""A network of our own with nothing but loopback in it, so that no server of a test or a demo is reached from outside.

vpcd needs it: it listens on every address, and cannot be told otherwise (vpcd.c, opensock: INADDR_ANY).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from helpers.waiting import wait_until

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


@dataclass(frozen=True)
class NetworkHost:
    """A network namespace that one process keeps; `words` come before a command that is to run in it."""

    pid: int
    address: str

    @property
    def words(self) -> list[str]:
        """What puts a command there."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]


@contextmanager
def two_hosts() -> Iterator[tuple[NetworkHost, NetworkHost]]:
    """Two network namespaces with a cable between them, and nothing else in them; they end with their processes."""
    with ExitStack() as stack:
        hosts = []
        for number in (1, 2):
            holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            stack.callback(holder.wait)
            stack.callback(holder.kill)
            hosts.append(NetworkHost(holder.pid, f"192.0.2.{number}"))
        first, second = hosts
        own = os.readlink("/proc/self/ns/net")
        for host in hosts:
            wait_until(lambda pid=host.pid: os.readlink(f"/proc/{pid}/ns/net") != own, 10, "a namespace")  # type: ignore[misc]
        _ip(first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(second.pid))
        for host in hosts:
            _ip(host, "address", "add", f"{host.address}/24", "dev", "cable")
            _ip(host, "link", "set", "cable", "up")
            _ip(host, "link", "set", "lo", "up")
        yield first, second


def _ip(host: NetworkHost, *arguments: str) -> None:
    subprocess.run([*host.words, "ip", *arguments], check=True)
