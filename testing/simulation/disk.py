"""A disk that loses what was not synced: real files, and a platter that knows which of their bytes are safe.

The log's reader reads the very files; put them on a memory file system and nothing here waits for a device. What the
log asks of a disk goes through ``VirtualDisk``, one for each process; ``Platter`` outlives them and is where the power
goes off, bits rot and old images come back. The fault atlas, and nothing else, is what the journal promises to survive:

- a process dies inside any call, a write half done;
- the power goes off: each 512-byte or 4-KiB sector of what was not synced is kept or lost on its own, in any order;
  files whose folder was not synced vanish, files whose removal was not synced come back;
- a call fails (ENOSPC, EIO), leaving a part of its bytes behind;
- at rest: bits flip, a sector is lost or lands where another should be; an older image of the folder is put back.

LOCK and keys are synced by the journal itself and are safe; DuckDB's file is not here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson

from antiphon.journal import Disk
from antiphon.journal.frame import CLOSING_OPEN

from .loop import Killed, Process

SECTOR_SIZES = (512, 4_096)


@dataclass(slots=True)
class DiskFaults:
    """How often a call fails; chances from 0 to 1 a call."""

    write_error: float = 0.0
    sync_error: float = 0.0
    full: float = 0.0


class Rot(NamedTuple):
    """Damage at rest: which bytes of which log file, and which frames they belong to (all bytes when unknown)."""

    kind: str
    path: Path
    start: int
    end: int
    frames: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}:{self.start}..{self.end}"

    @property
    def file_number(self) -> int:
        """The log file's number."""
        return int(self.path.stem)


class Image(NamedTuple):
    """A copy of a journal's folder: path below it to content."""

    files: dict[str, bytes]


@dataclass(slots=True)
class Platter:
    """The disk below one journal's folder."""

    folder: Path
    random: Random
    faults: DiskFaults = field(default_factory=DiskFaults)
    synced: dict[Path, int] = field(default_factory=dict)
    """How many bytes at the beginning of each file are safe; files that are not named are safe as they are."""
    made: set[Path] = field(default_factory=set)
    """Files whose name is not safe yet."""
    removed: dict[Path, bytes] = field(default_factory=dict)
    """Files whose end is not safe yet."""
    renamed: list[tuple[Path, Path]] = field(default_factory=list)
    """Renamings (from, to) that are not safe yet."""

    def lose_power(self) -> None:
        """Keep what was synced and some of what was not, and come up in another boot."""
        random = self.random
        for path in sorted(self.made):
            # Without its folder's sync a name may or may not have reached the disk.
            if random.random() < 0.5 and path.exists():
                path.unlink()
        for source, target in reversed(self.renamed):
            if random.random() < 0.5 and target.exists() and not source.exists():
                target.rename(source)
        for path, data in sorted(self.removed.items()):
            if random.random() < 0.5 and not path.exists():
                path.write_bytes(data)
        for path, safe in sorted(self.synced.items()):
            if path.exists():
                self._tear(path, safe)
        self._settle()
        self._change_boot()

    def kill(self) -> None:
        """The process is gone, and the kernel still has all its bytes."""

    def take_image(self) -> Image:
        """A copy of the log, the lock and the keys as the file system shows them now."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return Image({str(path.relative_to(self.folder)): path.read_bytes() for path in found})

    def put_back(self, image: Image, *, in_place: bool) -> None:
        """Replace everything by an older image.

        *in_place* as a volume's snapshot does: the lock is the same file, so that nothing in the folder can tell. Else
        as a backup does: every file is a new one.
        """
        for path in sorted(self.folder.rglob("*")):
            is_kept = in_place and path.name == "LOCK"
            if path.is_file() and not is_kept:
                path.unlink()
        for name, data in sorted(image.files.items()):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._settle()

    def rot(self) -> Rot | None:
        """Damage one place of the log at rest; None when there was nothing to damage."""
        files = sorted(path for path in (self.folder / "log").glob("*.ndjson") if path.stat().st_size)
        if not files:
            return None
        path = self.random.choice(files)
        whole = path.read_bytes()
        data = bytearray(whole)
        kind = self.random.choice(("flip", "zero", "misdirect"))
        sector = self.random.choice(SECTOR_SIZES)
        at = self.random.randrange(len(data))
        start = at if kind == "flip" else at - at % sector
        end = min(at + 1 if kind == "flip" else start + sector, len(data))
        if kind == "flip":
            data[at] ^= 1 << self.random.randrange(8)
        elif kind == "zero":
            data[start:end] = bytes(end - start)
        else:
            other = self.random.randrange(len(data))
            other -= other % sector
            moved = whole[other : other + end - start]
            data[start : start + len(moved)] = moved
        path.write_bytes(data)
        return Rot(kind, path, start, end, frames_of(whole, start, end))

    def _tear(self, path: Path, safe: int) -> None:
        data = path.read_bytes()
        tail = data[safe:]
        if not tail:
            return
        fate = self.random.random()
        if fate < 0.25:
            kept = b""
        elif fate < 0.5:
            kept = tail[: self.random.randrange(len(tail) + 1)]
        else:
            kept = self._scatter(tail, safe)
        path.write_bytes(data[:safe] + kept)

    def _scatter(self, tail: bytes, start: int) -> bytes:
        """Each sector reaches the disk or not, whatever came before it; the file ends behind the last one that did."""
        sector = self.random.choice(SECTOR_SIZES)
        kept = bytearray()
        end = 0
        at = 0
        while at < len(tail):
            step = sector - (start + at) % sector
            part = tail[at : at + step]
            is_kept = self.random.random() < 0.5
            kept += part if is_kept else bytes(len(part))
            at += len(part)
            end = at if is_kept else end
        return bytes(kept[:end])

    def _settle(self) -> None:
        self.synced.clear()
        self.made.clear()
        self.removed.clear()
        self.renamed.clear()

    def _change_boot(self) -> None:
        lock = self.folder / "LOCK"
        if not lock.exists():
            return
        try:
            stored = orjson.loads(lock.read_bytes())
        except orjson.JSONDecodeError:
            return
        if isinstance(stored, dict) and "boot" in stored:
            stored["boot"] = "the boot before the power went off"
            lock.write_bytes(orjson.dumps(stored, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def frames_of(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The stretch of whole frames of a log file that the bytes *start*..*end* lie in.

    Damage to the file's first line may cost the file; damage to a closing line makes two frames look like one.
    """
    first_line = data.find(b"\n") + 1
    if start < first_line:
        return 0, len(data)
    bounds = [first_line]
    at = first_line
    while (at := data.find(CLOSING_OPEN, at)) >= 0:
        at = data.find(b"\n", at) + 1 or len(data)
        bounds.append(at)
    before = max(bound for bound in bounds if bound <= start)
    after = min((bound for bound in bounds if bound >= end), default=len(data))
    return before, after


class VirtualDisk(Disk):
    """What one process sees of a platter. *on_call* hears of every call that is let through, with its bytes."""

    def __init__(
        self,
        platter: Platter,
        process: Process | None = None,
        *,
        on_call: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._platter = platter
        self._process = process
        self._on_call = on_call
        self._paths: dict[int, Path] = {}
        self._calls_left: int | None = None
        self._is_gone = False

    def die_after(self, calls: int) -> None:
        """Let the process die inside the call after *calls* more."""
        self._calls_left = calls

    def live_on(self) -> None:
        """Take ``die_after`` back."""
        self._calls_left = None

    def release(self) -> None:
        """Give back the descriptors of a process that is dead; whatever it still tries fails."""
        self._is_gone = True
        for descriptor in tuple(self._paths):
            del self._paths[descriptor]
            os.close(descriptor)

    def open_append(self, path: Path) -> int:
        """As ``Disk``; the name is safe after the folder's sync."""
        self._begin("open", b"")
        self._fail(self._platter.faults.full, errno.ENOSPC)
        descriptor = super().open_append(path)
        self._paths[descriptor] = path
        self._platter.synced[path] = 0
        self._platter.made.add(path)
        return descriptor

    def open_existing(self, path: Path) -> int:
        """As ``Disk``."""
        self._begin("open", b"")
        descriptor = super().open_existing(path)
        self._paths[descriptor] = path
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        """As ``Disk``; what is written is not safe."""
        platter = self._platter
        path = self._paths[descriptor]
        platter.synced.setdefault(path, os.fstat(descriptor).st_size)
        if self._dies():
            super().write(descriptor, data[: platter.random.randrange(len(data) + 1)])
            self._die()
        self._begin("write", data)
        for chance, number in ((platter.faults.full, errno.ENOSPC), (platter.faults.write_error, errno.EIO)):
            if chance and platter.random.random() < chance:
                super().write(descriptor, data[: platter.random.randrange(len(data))])
                raise OSError(number, os.strerror(number))
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """As ``Disk``; what was written is safe. A sync that fails may have saved any of it, and never will."""
        if self._dies():
            self._die()
        self._begin("sync", b"")
        self._fail(self._platter.faults.sync_error, errno.EIO)
        path = self._paths[descriptor]
        self._platter.synced[path] = os.fstat(descriptor).st_size

    def sync_folder(self, folder: Path) -> None:
        """As ``Disk``; names are safe."""
        if self._dies():
            self._die()
        self._begin("sync_folder", b"")
        self._fail(self._platter.faults.sync_error, errno.EIO)
        platter = self._platter
        platter.made = {path for path in platter.made if path.parent != folder}
        platter.renamed = [pair for pair in platter.renamed if pair[1].parent != folder]
        platter.removed = {path: data for path, data in platter.removed.items() if path.parent != folder}

    def close(self, descriptor: int) -> None:
        """As ``Disk``."""
        self._paths.pop(descriptor, None)
        super().close(descriptor)

    def remove(self, path: Path) -> None:
        """As ``Disk``; the file may come back until the folder is synced."""
        self._begin("remove", b"")
        platter = self._platter
        if path in platter.made:
            platter.made.discard(path)
        else:
            platter.removed[path] = path.read_bytes()[: platter.synced.get(path)]
        platter.synced.pop(path, None)
        super().remove(path)

    def rename(self, path: Path, target: Path) -> None:
        """As ``Disk``; the old name may come back until the folder is synced."""
        if self._dies():
            self._die()
        self._begin("rename", b"")
        self._fail(self._platter.faults.sync_error, errno.EIO)
        super().rename(path, target)
        self._platter.renamed.append((path, target))

    def _begin(self, call: str, data: bytes) -> None:
        if self._process is not None and self._process.is_dead:
            raise Killed
        if self._is_gone:
            raise OSError(errno.EIO, "the process is gone")
        if self._on_call is not None:
            self._on_call(call, data)

    def _fail(self, chance: float, number: int) -> None:
        if chance and self._platter.random.random() < chance:
            raise OSError(number, os.strerror(number))

    def _dies(self) -> bool:
        if self._calls_left is None or self._process is None:
            return False
        self._calls_left -= 1
        return self._calls_left < 0

    def _die(self) -> None:
        assert self._process is not None, "only a process dies"
        self._process.kill()
        raise Killed
