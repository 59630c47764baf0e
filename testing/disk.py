"""Disks that misbehave on request: they fail, stop half-way, wait, or take the process with them.

Real files all the same: what was written is on the machine's disk and is read back by the real reader. Only the log's
system calls go through a ``Disk``; the lock, the keys and DuckDB do not.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from antiphon.journal import Disk

DiskOperation = Literal["open", "write", "sync", "sync_folder", "close", "rename", "remove"]

# A held disk is let go by the test; one that forgets must fail and not hang.
HOLD_SECONDS_MAX = 30


class DiskCall(NamedTuple):
    """A call that reached the disk: what, with how many bytes, and whether it was let through."""

    operation: DiskOperation
    byte_count: int
    is_done: bool


@dataclass(slots=True)
class _Fault:
    operation: DiskOperation
    error_number: int
    skip_count: int
    remaining: int
    written_bytes: int


class FaultyDisk(Disk):
    """A disk that keeps a list of its calls and fails those it was told to.

    >>> disk = FaultyDisk()
    >>> disk.fail("sync", error_number=errno.EIO)
    >>> disk.calls
    ()
    """

    def __init__(self) -> None:
        self._calls: list[DiskCall] = []
        self._faults: list[_Fault] = []
        self._gate = threading.Event()
        self._gate.set()
        self._arrived = threading.Event()

    @property
    def calls(self) -> tuple[DiskCall, ...]:
        """What was asked of the disk so far, in order."""
        return tuple(self._calls)

    def fail(
        self,
        operation: DiskOperation,
        *,
        error_number: int = errno.EIO,
        after: int = 0,
        times: int = 1,
        written_bytes: int = 0,
    ) -> None:
        """Let *operation* fail *times* times, after *after* more calls; a write leaves *written_bytes* behind."""
        self._faults.append(_Fault(operation, error_number, after, times, written_bytes))

    def heal(self) -> None:
        """Fail no more."""
        self._faults.clear()

    def hold(self) -> None:
        """Let every sync wait until ``let_go``."""
        self._arrived.clear()
        self._gate.clear()

    def let_go(self) -> None:
        """Let the waiting sync, and all later ones, go on."""
        self._gate.set()

    def wait_arrived(self) -> None:
        """Block until a sync waits at the gate."""
        if not self._arrived.wait(HOLD_SECONDS_MAX):
            raise TimeoutError("no sync reached the disk; commit something while it is held")

    def open_append(self, path: Path) -> int:
        """As ``Disk``, or a failure."""
        self._check("open", 0)
        return super().open_append(path)

    def open_existing(self, path: Path) -> int:
        """As ``Disk``, or a failure."""
        self._check("open", 0)
        return super().open_existing(path)

    def write(self, descriptor: int, data: bytes) -> None:
        """As ``Disk``, or a failure that leaves the first bytes behind."""
        fault = self._next_fault("write")
        if fault is not None:
            super().write(descriptor, data[: fault.written_bytes])
            self._raise(fault, len(data))
        super().write(descriptor, data)
        self._calls.append(DiskCall("write", len(data), True))

    def sync(self, descriptor: int) -> None:
        """As ``Disk``, or a failure; waits while the disk is held."""
        self._arrived.set()
        if not self._gate.wait(HOLD_SECONDS_MAX):
            raise TimeoutError("the disk was held and never let go")
        self._check("sync", 0)
        super().sync(descriptor)
        self._calls[-1] = DiskCall("sync", 0, True)

    def sync_folder(self, folder: Path) -> None:
        """As ``Disk``, or a failure."""
        self._check("sync_folder", 0)
        super().sync_folder(folder)

    def rename(self, path: Path, target: Path) -> None:
        """As ``Disk``, or a failure that leaves both where they are."""
        self._check("rename", 0)
        super().rename(path, target)

    def remove(self, path: Path) -> None:
        """As ``Disk``, or a failure that leaves the file."""
        self._check("remove", 0)
        super().remove(path)

    def close(self, descriptor: int) -> None:
        """As ``Disk``, or a failure after the descriptor is gone."""
        super().close(descriptor)
        self._check("close", 0)

    def _check(self, operation: DiskOperation, byte_count: int) -> None:
        fault = self._next_fault(operation)
        if fault is not None:
            self._raise(fault, byte_count)
        self._calls.append(DiskCall(operation, byte_count, True))

    def _next_fault(self, operation: DiskOperation) -> _Fault | None:
        for fault in self._faults:
            if fault.operation != operation or not fault.remaining:
                continue
            if fault.skip_count:
                fault.skip_count -= 1
                return None
            fault.remaining -= 1
            return fault
        return None

    def _raise(self, fault: _Fault, byte_count: int) -> None:
        self._calls.append(DiskCall(fault.operation, byte_count, False))
        raise OSError(fault.error_number, os.strerror(fault.error_number))


class MortalDisk(Disk):
    """A disk that kills its process with SIGKILL inside the *at*-th write (from 1), leaving a part of the bytes behind.

    ``share`` says how much: 0 for nothing, 1 for all of them (written, but never synced).
    """

    def __init__(self, *, at: int, share: float) -> None:
        self._remaining = at
        self._share = share

    def write(self, descriptor: int, data: bytes) -> None:
        """As ``Disk``, until the last one."""
        self._remaining -= 1
        if self._remaining == 0:
            super().write(descriptor, data[: int(len(data) * self._share)])
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(descriptor, data)
