"""Which run of a machine it is: what was for one run is not for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from virtcard.domain.peer import qemu_pid
from virtcard.domain.record import DomainRecord


@dataclass(frozen=True, slots=True)
class Run:
    """One QEMU of a machine. Where libvirt's pid file cannot be read, libvirt's id stands alone: libvirt counts it up,
    but from the start again when it was restarted while nothing ran."""

    id: int
    pid: int = 0
    since: int = 0
    """When libvirt wrote the pid file, in nanoseconds: pids come again."""

    def is_other_than(self, before: Run) -> bool:
        """It is certain that these are two runs."""
        if self.id != before.id:
            return True
        return bool(self.pid and before.pid) and (self.pid, self.since) != (before.pid, before.since)


RunOf = Callable[[DomainRecord], Run]
"""For a machine that runs."""


def run_in(pid_dir: Path | None) -> RunOf:
    """For machines whose libvirt keeps `<name>.pid` there."""
    return lambda record: run_of(record, pid_dir)


def run_of(record: DomainRecord, pid_dir: Path | None) -> Run:
    """The run that a machine is in."""
    pid = qemu_pid(record.name, pid_dir)
    if pid is None or pid_dir is None:
        return Run(record.id)
    try:
        return Run(record.id, pid, (pid_dir / f"{record.name}.pid").stat().st_mtime_ns)
    except OSError:
        return Run(record.id)
