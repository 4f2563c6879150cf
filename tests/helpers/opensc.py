"""OpenSC's programs beside a card in a host reader, each with files of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LEGACY: Final = """openssl_conf = main
[main]
providers = list
[list]
default = on
legacy = on
[on]
activate = 1
"""
"""RIPEMD-160, which `pkcs11-tool --test` wants, is in OpenSSL's legacy provider."""


class OpenSc:
    """Runs programs in `folder`; `environment` leads them to their pcscd."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.folder = folder
        self.environment = {**environment, "OPENSSL_CONF": str(self.file("openssl.cnf", LEGACY.encode()))}

    def file(self, name: str, content: bytes = b"") -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def run(self, *command: str) -> str:
        """What the program says; it must end well."""
        code, said = self.attempt(*command)
        assert code == 0, said
        return said

    def attempt(self, *command: str) -> tuple[int, str]:
        """Its exit code, and what it says."""
        ended = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        return ended.returncode, ended.stdout + ended.stderr
