"""An NSS database with the three certificates of QEMU's manual, made once a process: it takes a second or two."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from virtcard.card.soft import nss

PASSWORD: Final = b"12345678"
"""OpenSC's CAC driver sends at most eight bytes."""
SUBJECT: Final = "CN=John Doe"


@cache
def shared_database() -> Path:
    """The directory; nobody changes what is in it."""
    folder = Path(tempfile.mkdtemp(prefix="nss-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    nss.create_nss(folder / "card", SUBJECT, PASSWORD)
    return folder / "card"


def certificates() -> list[bytes]:
    """Its three certificates, in DER."""
    return [nss.read_certificate(shared_database(), name) for name in nss.NICKNAMES]
