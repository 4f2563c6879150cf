"""A running test guest: Linux with pcscd, OpenSC and NSS, and an agent that runs commands.

`helpers.machines` boots it; `contrib/guest` builds it.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from helpers.guest_agent import GuestAgent, GuestError, Result
from helpers.waiting import wait_until

BOOT_PATIENCE = 120.0
CHUNK = 12 * 1024


@dataclass(frozen=True, slots=True)
class GuestReader:
    """A reader as the guest's pcscd lists it; `state` is empty, present, mute or unknown."""

    name: str
    state: str
    atr: bytes


class Guest:
    """A running guest whose agent answers. Made by `helpers.machines`, or for a domain that a test starts."""

    def __init__(self, directory: Path, name: str) -> None:
        """`directory` and `name` are those that `domain_xml` got."""
        self.name = name
        self.agent_path = agent_path(directory, name)
        self._console = console_path(directory, name)
        self._agent = GuestAgent(self.agent_path)

    def wait_until_up(self, timeout: float = BOOT_PATIENCE) -> Self:
        """Return when the guest has booted and its pcscd answers."""
        try:
            self._agent.wait_until_up(timeout)
        except GuestError as error:
            raise GuestError(f"{error}; its console ends with:\n{self.console()[-2000:]}") from None
        self.wait_for_pcscd()
        return self

    def close(self) -> None:
        """Let go of the agent; the guest runs on."""
        self._agent.close()

    def run(self, command: str, timeout: float = 30.0) -> Result:
        """Run a shell command. `COMMAND > FILE 2>&1 &` runs on in the background."""
        return self._agent.run(command, timeout)

    def put(self, path: str, data: bytes) -> None:
        """Write a file in the guest."""
        quoted = shlex.quote(path)
        self.run(f": > {quoted}").check()
        for start in range(0, len(data), CHUNK):
            encoded = base64.b64encode(data[start : start + CHUNK]).decode()
            self.run(f"base64 -d >> {quoted} << end\n{encoded}\nend").check()

    def get(self, path: str) -> bytes:
        """The contents of a file in the guest."""
        return base64.b64decode(self.run(f"base64 {shlex.quote(path)}", 60).check())

    def console(self) -> str:
        """What the guest wrote to its console."""
        return self._console.read_text(errors="replace")

    def wait_for_pcscd(self, timeout: float = 60.0) -> None:
        """Return when pcscd in the guest answers."""
        wait_until(lambda: self.run("scard list").exit_code == 0, timeout, "pcscd answers in the guest", 0.1)

    def restart_pcscd(self, *arguments: str) -> None:
        """Start pcscd anew with these arguments (`--debug --apdu`), or with `--info`."""
        self.run(shlex.join(["pcscd-start", *arguments])).check()
        self.wait_for_pcscd()

    def pcscd_log(self) -> str:
        """What pcscd in the guest has logged since its last start."""
        return self.run("cat /run/pcscd.log").check()

    def readers(self) -> list[GuestReader]:
        """The readers that the guest's pcscd lists, in its order."""
        return [_reader(line) for line in self.run("scard list").check().splitlines()]

    def wait_for_readers(self, count: int = 1, timeout: float = 30.0) -> list[GuestReader]:
        """The readers, as soon as there are `count` of them."""
        wait_until(lambda: len(self.readers()) == count, timeout, f"the guest has {count} readers", 0.1)
        return self.readers()

    def wait_reader_state(
        self, state: Literal["empty", "present"], index: int = 0, timeout: float = 20.0
    ) -> GuestReader:
        """The reader, as soon as it is in that state (in the guest, PC/SC itself waits)."""
        result = self.run(f"scard wait {timeout:g} {index} {state}", timeout + 5)
        if result.exit_code:
            raise GuestError(f"reader {index} was not {state} within {timeout:g} s: {self.readers()} {result.output}")
        return self.readers()[index]

    def transmit(self, *commands: bytes, index: int = 0, timeout: float = 60.0) -> list[bytes]:
        """The responses to command APDUs over one shared PC/SC handle; GuestError when one fails."""
        output = self.scard(*(command.hex() for command in commands), index=index, timeout=timeout).check()
        return [bytes.fromhex(line.split()[1]) for line in output.splitlines()]

    def scard(self, *steps: str, index: int = 0, timeout: float = 60.0) -> Result:
        """Run `scard run` in the guest; contrib/guest/scard.c says what a step may be."""
        return self.run(shlex.join(["scard", "run", str(index), *steps]), timeout)


def agent_path(directory: Path, name: str) -> Path:
    """The unix socket of a guest's agent."""
    return directory / f"{name}.agent"


def console_path(directory: Path, name: str) -> Path:
    """The file with a guest's console."""
    return directory / f"{name}.console"


def _reader(line: str) -> GuestReader:
    state, atr, name = line.split(maxsplit=2)
    return GuestReader(name, state, b"" if atr == "-" else bytes.fromhex(atr))
