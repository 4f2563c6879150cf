"""Asks the spice-server library of this host what it was built with, without starting a QEMU. Blocking."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from virtcard.limits import SPICE_SERVER_PATIENCE

_SCRIPT: Final = """
from ctypes import CDLL, POINTER, c_char_p
ask = CDLL("libspice-server.so.1").spice_server_char_device_recognized_subtypes
ask.restype = POINTER(c_char_p)
for word in ask():
    if word is None:
        break
    print(word.decode("ascii"))
"""
"""The function gives a constant list, which ends with NULL, and needs no server (spice-char.h)."""


def spice_subtypes() -> tuple[str, ...] | None:
    """The kinds of character devices that spice-server carries; None when it could not be asked.

    In a process of its own: the library brings GStreamer with it, which a daemon shall not load."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SCRIPT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SPICE_SERVER_PATIENCE,
            check=False,
            text=True,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return tuple(done.stdout.split()) if done.returncode == 0 else None
