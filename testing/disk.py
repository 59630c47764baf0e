"""Disks that misbehave on request: they fail, stop half-way, wait, or take the process with them.

Real files all the same: what was written is on the machine's disk and is read back by the real reader. Only the log's
system calls go through a ``Disk``; the lock, the keys and DuckDB do not.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
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


class DiskChange(NamedTuple):
    """One change to a folder as it was asked for: ``data`` are the bytes written, ``target`` where a rename went."""

    operation: Literal["create", "write", "sync", "sync_folder", "rename", "remove"]
    path: str
    data: bytes = b""
    target: str = ""


class RecordingDisk(Disk):
    """A disk that keeps every change below *folder*, for power-loss images: see ``draw_image``.

    Files that somebody else wrote (a segment, by DuckDB) are taken in whole when they are synced.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._sizes: dict[str, int] = {}
        self.changes: list[DiskChange] = []

    def open_append(self, path: Path) -> int:
        """As ``Disk``, recorded."""
        descriptor = super().open_append(path)
        self._note(descriptor, path)
        self._keep(DiskChange("create", self._name(path)))
        return descriptor

    def open_existing(self, path: Path) -> int:
        """As ``Disk``."""
        descriptor = super().open_existing(path)
        self._note(descriptor, path)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        """As ``Disk``, recorded."""
        path = self._paths[descriptor]
        with self._lock:
            self._sizes[path] = self._sizes.get(path, 0) + len(data)
        self._keep(DiskChange("write", path, bytes(data)))
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """As ``Disk``, recorded when it is done."""
        path = self._paths[descriptor]
        if path not in self._sizes:
            self._keep(DiskChange("create", path))
            self._keep(DiskChange("write", path, (self._folder / path).read_bytes()))
        super().sync(descriptor)
        self._keep(DiskChange("sync", path))

    def sync_folder(self, folder: Path) -> None:
        """As ``Disk``, recorded when it is done."""
        super().sync_folder(folder)
        self._keep(DiskChange("sync_folder", self._name(folder)))

    def rename(self, path: Path, target: Path) -> None:
        """As ``Disk``, recorded."""
        self._keep(DiskChange("rename", self._name(path), target=self._name(target)))
        super().rename(path, target)

    def remove(self, path: Path) -> None:
        """As ``Disk``, recorded."""
        self._keep(DiskChange("remove", self._name(path)))
        super().remove(path)

    def _keep(self, change: DiskChange) -> None:
        with self._lock:
            self.changes.append(change)

    def _note(self, descriptor: int, path: Path) -> None:
        self._paths[descriptor] = self._name(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def draw_image(changes: Sequence[DiskChange], random: Random, *, sector_bytes: int = 512) -> dict[str, bytes]:
    """What a disk may hold when the power goes after *changes*: path to bytes.

    Everything synced is there. Of what was written since, any sectors may have arrived and others not (they read as
    zeroes), in any order; of entries made, renamed or removed since their folder was synced, the first few.

    >>> changes = [DiskChange("create", "log/1"), DiskChange("write", "log/1", b"x")]
    >>> draw_image(changes, Random(1)) in ({}, {"log/1": b""}, {"log/1": b"x"}, {"log/1": bytes(1)})
    True
    """
    contents: dict[int, bytearray] = {}
    durable: dict[int, int] = {}
    names: dict[str, int] = {}
    pending: dict[str, list[tuple[str | None, str, int]]] = {}
    current: dict[str, int] = {}

    def change_entry(path: str, removed: str | None, file: int) -> None:
        pending.setdefault(path.rpartition("/")[0], []).append((removed, path, file))

    for change in changes:
        match change.operation:
            case "create":
                file = len(contents)
                contents[file], durable[file], current[change.path] = bytearray(), 0, file
                change_entry(change.path, None, file)
            case "write":
                contents[current[change.path]] += change.data
            case "sync":
                file = current[change.path]
                durable[file] = len(contents[file])
            case "rename":
                current[change.target] = current.pop(change.path)
                change_entry(change.target, change.path, current[change.target])
            case "remove":
                file = current.pop(change.path)
                change_entry(change.path, change.path, -1)
            case "sync_folder":
                _apply_entries(names, pending.pop(change.path, []))
    for entries in pending.values():
        _apply_entries(names, entries[: random.randint(0, len(entries))])
    return {path: _torn(contents[file], durable[file], random, sector_bytes) for path, file in names.items()}


def _apply_entries(names: dict[str, int], entries: Sequence[tuple[str | None, str, int]]) -> None:
    for removed, path, file in entries:
        if removed is not None:
            names.pop(removed, None)
        if file >= 0:
            names[path] = file


def _torn(content: bytearray, durable: int, random: Random, sector_bytes: int) -> bytes:
    """A file of which only the first *durable* bytes are certain: its length, too, may be any beyond them."""
    length = random.choice((durable, len(content), random.randint(durable, len(content))))
    data = bytearray(content[:length])
    for start in range(durable - durable % sector_bytes, length, sector_bytes):
        if random.random() < 0.5:
            first = max(start, durable)
            data[first : start + sector_bytes] = bytes(len(data[first : start + sector_bytes]))
    return bytes(data)
