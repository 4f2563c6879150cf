"""NSS databases made by certutil, with the five calls of the QEMU manual's smart card chapter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NAMES = ("cert1", "cert2", "cert3")


def make_nss_database(directory: Path, names: tuple[str, ...] = NAMES) -> Path:
    """A database without a password, in which an authority signed a certificate for each name; RSA 2048."""
    directory.mkdir(parents=True)
    noise = directory / "noise"
    noise.write_bytes(os.urandom(64))
    _certutil(directory, "-N", "--empty-password")
    authority = ["-n", "authority", "-s", "CN=authority", "-x", "-t", "CT,CT,CT"]
    _certutil(directory, "-S", *authority, "-z", str(noise), "-m", "1")
    for number, name in enumerate(names, 2):
        signed = ["-n", name, "-s", f"CN={name}", "-c", "authority", "-t", ",,"]
        _certutil(directory, "-S", *signed, "-z", str(noise), "-m", str(number))
    noise.unlink()
    return directory


def _certutil(directory: Path, *arguments: str) -> None:
    subprocess.run(["certutil", "-d", str(directory), *arguments], check=True, capture_output=True)
