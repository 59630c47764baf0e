"""A journal's folder: its lock, its keys, and what it tells about how the last owner left.

Holds the lock for as long as it lives; decides nothing about chains except whether they may be continued. Never opens
``journal.duckdb`` (closing such a handle would drop DuckDB's own lock).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from antiphon.facts import InvalidLine, LocalViolation

from ..errors import FormatTooNew, JournalHeld, NotAJournal, StoreUnavailable
from ..frame import FORMAT_NUMBER, parse_file_header
from .log import LOG_FOLDER, log_files, part_numbers
from .position import LogPosition

LOCK_FILE = "LOCK"
KEYS_FOLDER = "keys"
LABEL_LENGTH_MAX = 256
DATABASE_FILE = "journal.duckdb"
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs", "ceph", "lustre", "glusterfs"}
)

# An ended chain takes 33 bytes, and a journal may have one in each of 16,384 namespaces.
LOCK_BYTES_MAX = 1024 * 1024

_JOURNAL_ID = re.compile("[0-9a-f]{32}")

RandomBytes = Callable[[int], bytes]


class Leave(NamedTuple):
    """How the last owner left: cleanly at *frame*, on which host, boot and inode; own chains that are not written
    any more although no other was begun after them; and the frame behind which a write failed last."""

    is_clean: bool
    host: str
    boot: str
    inode: int
    frame: str
    ended: frozenset[bytes] = frozenset()
    doubtful: str = ""


class KeySigner:
    """An Ed25519 key kept in a file that only its owner may read."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes of the public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of *message*; ~20 µs."""
        return self._private.sign(message)


@dataclass(slots=True)
class JournalFolder:
    """An opened and locked folder.

    ``leave`` is None for a new journal (and for one whose lock file was lost); ``journal_id`` names the journal for
    ever.
    """

    path: Path
    journal_id: str
    leave: Leave | None
    authority: KeySigner
    writer: KeySigner
    label: str
    label_changed: bool
    is_new: bool
    has_new_keys: bool
    _descriptor: int
    ended: set[bytes] = field(default_factory=set)
    """Own chains that are never continued; kept in the lock file, since the next opening would not see why."""
    doubtful: str = ""
    """The last good frame when a write or sync failed: what follows it in its file was never acknowledged. The next
    file says so too, but a disk that refuses takes no next file."""
    last_run: Mapping[str, object] = field(default_factory=dict)
    """What the run that closed last came to, for who looks at the journal later; empty when nobody knows."""

    def mark_open(self, frame: str) -> None:
        """Note that an owner is at work; until ``mark_closed`` the journal counts as left uncleanly."""
        self._write_lock(is_clean=False, frame=frame)

    def release(self, position: LogPosition | None) -> None:
        """Give the lock back; with *position* the journal counts as closed cleanly there."""
        try:
            if position is not None:
                self._write_lock(is_clean=True, frame=position.frame_hash)
        finally:
            os.close(self._descriptor)

    def may_continue(self, head_frame: str) -> bool:
        """Whether the old chains may be continued: same folder, and left cleanly here or uncleanly in this very boot.

        Otherwise bytes may have been lost, or the folder is a copy whose original writes on: a new incarnation it is.
        """
        leave = self.leave
        if leave is None or leave.inode != os.fstat(self._descriptor).st_ino or leave.host != host_id():
            return False
        return leave.frame == head_frame if leave.is_clean else leave.boot == boot_id()

    def _write_lock(self, *, is_clean: bool, frame: str) -> None:
        text = orjson.dumps(
            {
                "boot": boot_id(),
                "clean": is_clean,
                "doubtful": self.doubtful,
                "ended": " ".join(sorted(chain.hex() for chain in self.ended)),
                "format": FORMAT_NUMBER,
                "frame": frame,
                "host": host_id(),
                "inode": os.fstat(self._descriptor).st_ino,
                "journal": self.journal_id,
                "last_run": dict(self.last_run),
                "pid": os.getpid(),
            },
            option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
        )
        try:
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
            os.fsync(self._descriptor)
        except OSError as problem:
            raise StoreUnavailable(
                f"cannot write {LOCK_FILE}: {problem.strerror}; free the disk or make it writable"
            ) from problem


def open_folder(path: Path, *, label: str | None, random_bytes: RandomBytes, may_create: bool = True) -> JournalFolder:
    """Create or open a journal's folder and take its lock.

    Raises ``NotAJournal``, ``JournalHeld`` (naming the pid), ``FormatTooNew`` or ``StoreUnavailable``.
    """
    check_platform(path)
    check_label(label)
    is_new = not is_journal(path)
    if is_new:
        check_creatable(path, may_create=may_create)
    try:
        # The lock comes first: by it a folder whose making was cut short is known as a journal.
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise _refused(path, problem) from problem
    try:
        return _open_locked(path, descriptor, label=label, random_bytes=random_bytes, is_new=is_new)
    except OSError as problem:
        os.close(descriptor)
        raise _refused(path, problem) from problem
    except BaseException:
        os.close(descriptor)
        raise


def _open_locked(
    path: Path, descriptor: int, *, label: str | None, random_bytes: RandomBytes, is_new: bool
) -> JournalFolder:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise JournalHeld(
            f"journal {path} is held by {_holder(descriptor)}; close it there, or read it with open_history"
        ) from None
    (path / LOG_FOLDER).mkdir(exist_ok=True)
    (path / KEYS_FOLDER).mkdir(mode=0o700, exist_ok=True)
    stored = _read_lock(descriptor)
    number = stored.get("format", FORMAT_NUMBER)
    if isinstance(number, int) and number > FORMAT_NUMBER and not _is_log_of_this_format(path):
        raise FormatTooNew(
            f"journal {path} has format {number}; this antiphon reads up to {FORMAT_NUMBER}, so upgrade it"
        )
    journal_id = _settle_journal_id(path, stored.get("journal")) or random_bytes(16).hex()
    has_keys = all((path / KEYS_FOLDER / f"{name}.key").exists() for name in ("authority", "writer"))
    authority, writer = (_key(path, name, random_bytes) for name in ("authority", "writer"))
    label_path = path / KEYS_FOLDER / "label"
    old_label = label_path.read_text(encoding="utf-8", errors="replace") if label_path.exists() else None
    new_label = label if label is not None else old_label if old_label is not None else "anonymous"
    if new_label != old_label:
        _write_private(label_path, new_label.encode())
    _sync_folders(path)
    return JournalFolder(
        path=path,
        journal_id=journal_id,
        leave=(leave := _read_leave(stored)),
        authority=authority,
        writer=writer,
        label=new_label,
        label_changed=old_label is not None and new_label != old_label,
        is_new=is_new,
        has_new_keys=bool(part_numbers(path)) and not has_keys,
        last_run=_read_last_run(stored),
        _descriptor=descriptor,
        ended=set(leave.ended) if leave is not None else set(),
        doubtful=leave.doubtful if leave is not None else "",
    )


def journal_id_of(path: Path) -> str:
    """The id of the journal at *path* by the majority of those that name it; "" when none can be read."""
    with contextlib.suppress(
        OSError
    ):  # a log file may become a segment meanwhile; who reads takes the first one's word
        with (path / LOCK_FILE).open("rb") as file:
            locked = _read_lock(file.fileno()).get("journal")
        return _settle_journal_id(path, locked) or ""
    return ""


def closed_at(path: Path) -> str | None:
    """The hash of the frame at which a journal was closed; None while it is open, or when it was left uncleanly."""
    try:
        with (path / LOCK_FILE).open("rb") as file:
            leave = _read_leave(_read_lock(file.fileno()))
    except OSError:
        return None
    return leave.frame if leave is not None and leave.is_clean else None


def last_run_of(path: Path) -> Mapping[str, object] | None:
    """What the run that closed this journal last came to, also while another is under way; None when nobody knows."""
    try:
        with (path / LOCK_FILE).open("rb") as file:
            return _read_last_run(_read_lock(file.fileno())) or None
    except OSError:
        return None


def doubtful_at(path: Path) -> str:
    """The hash of the frame behind which a write failed last (see ``JournalFolder.doubtful``); "" when none did."""
    try:
        with (path / LOCK_FILE).open("rb") as file:
            leave = _read_leave(_read_lock(file.fileno()))
    except OSError:
        return ""
    return leave.doubtful if leave is not None else ""


def check_label(label: str | None) -> None:
    """Refuse a display name that an opening fact could not carry."""
    if label is None:
        return
    if not label.strip():
        raise LocalViolation(f"the author {label!r} is no name; give one that people see, or None for the one kept")
    try:
        length = len(label.encode())
    except UnicodeEncodeError as problem:
        raise LocalViolation(f"the author {label!r} is not valid text: {problem.reason}") from problem
    if length > LABEL_LENGTH_MAX:
        raise LocalViolation(f"an author's display name has at most {LABEL_LENGTH_MAX} bytes; got {length}")


def is_journal(path: Path) -> bool:
    """Whether *path* holds a journal: a lock file or at least one log file."""
    return (path / LOCK_FILE).is_file() or bool(part_numbers(path))


def check_creatable(path: Path, *, may_create: bool = True) -> None:
    """Refuse a path where no journal is and none may be made."""
    if path.exists() and not path.is_dir():
        raise NotAJournal(f"{path} is a file; a journal is a folder, so name another path")
    if path.is_dir() and any(path.iterdir()):
        raise NotAJournal(f"{path} holds other files and no journal; name an empty or a new folder")
    if not may_create:
        raise NotAJournal(f"there is no journal at {path}; check the path, or create it by opening it as an author")


def _settle_journal_id(path: Path, locked: object) -> str | None:
    """The journal's id by the majority of its lock file, its first and its last log file.

    One damaged place must not rename the journal: what was written under another name could not be read back. Where
    only two speak, the log is right.
    """
    files = list(log_files(path).values())
    names = [*_named_ids(files[:1]), *_named_ids(files[1:][-1:])]
    if isinstance(locked, str) and _JOURNAL_ID.fullmatch(locked):
        names.append(locked)
    return max(names, key=lambda name: (names.count(name), -names.index(name)), default=None)


def _is_log_of_this_format(path: Path) -> bool:
    """Whether the newest log file contradicts a lock file that names a newer format, since whoever raises the number
    begins a log file before anything else."""
    return next(_named_ids(list(log_files(path).values())[-1:]), None) is not None


def _named_ids(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        with file.open("rb") as log, contextlib.suppress(InvalidLine):
            yield parse_file_header(log.readline().rstrip(b"\n")).journal


def check_platform(path: Path) -> None:
    """Refuse what cannot keep the promise of a synced write: Windows and network file systems."""
    if sys.platform == "win32":
        raise StoreUnavailable("antiphon keeps its promises on Linux and macOS only; on Windows run it inside WSL")
    kind = _file_system(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreUnavailable(f"{path} lies on {kind}; locks and syncs are not reliable there, so use a local disk")


def boot_id() -> str:
    """Names the current boot of this machine."""
    if sys.platform == "darwin":
        return subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=True
        ).stdout.strip()
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def host_id() -> str:
    """Names this machine; the host name where no machine id is kept."""
    machine = Path("/etc/machine-id")
    text = machine.read_text(encoding="ascii").strip() if machine.is_file() else ""
    return text or platform.node()


def _file_system(path: Path) -> str:
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return ""
    existing = next(parent for parent in (path.resolve(), *path.resolve().parents) if parent.exists())
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4]
        if (str(existing) + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind


def _read_lock(descriptor: int) -> dict[str, object]:
    try:
        stored = orjson.loads(os.pread(descriptor, LOCK_BYTES_MAX, 0))
    except orjson.JSONDecodeError:
        return {}
    return stored if isinstance(stored, dict) else {}


def _read_leave(stored: Mapping[str, object]) -> Leave | None:
    """How the last owner left, or None when the lock file does not say it whole."""
    match stored:
        case {"clean": bool(clean), "host": str(host), "boot": str(boot), "inode": int(inode), "frame": str(frame)}:
            doubtful = str(stored.get("doubtful", ""))
            return Leave(clean, host, boot, inode, frame, _read_ended(stored.get("ended", "")), doubtful)
    return None


def _read_ended(text: object) -> frozenset[bytes]:
    try:
        return frozenset(bytes.fromhex(each) for each in str(text).split())
    except ValueError:
        return frozenset()


def _read_last_run(stored: Mapping[str, object]) -> Mapping[str, object]:
    found = stored.get("last_run")
    return found if isinstance(found, dict) else {}


def _refused(path: Path, problem: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"cannot open {path} for writing: {problem.strerror}; make it writable, or read it with open_history"
    )


def _holder(descriptor: int) -> str:
    pid = _read_lock(descriptor).get("pid")
    if pid == os.getpid():
        return f"this process (pid {pid})"
    return f"process {pid}" if pid else "another process"


def _key(path: Path, name: str, random_bytes: RandomBytes) -> KeySigner:
    file = path / KEYS_FOLDER / f"{name}.key"
    try:
        if not file.exists():
            _write_private(file, random_bytes(32).hex().encode())
        return KeySigner(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text(encoding="ascii"))))
    except ValueError as problem:
        raise NotAJournal(f"{file} is not a key of 64 hex digits; restore it from a backup") from problem
    except OSError as problem:
        raise StoreUnavailable(f"cannot read or write {file}: {problem.strerror}") from problem


def _write_private(file: Path, data: bytes) -> None:
    """Write a whole file that only its owner may read, durably: a half-written key would be a lost author."""
    staged = file.with_suffix(".new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    staged.rename(file)


def _sync_folders(path: Path) -> None:
    for folder in (path.parent, path, path / KEYS_FOLDER, path / LOG_FOLDER):
        with contextlib.suppress(PermissionError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
