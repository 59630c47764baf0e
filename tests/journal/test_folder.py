"""The folder: one owner, keys for its eyes only, and honesty about how the last owner left."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from antiphon.facts import LocalViolation
from antiphon.journal import (
    FormatTooNew,
    JournalFolder,
    JournalHeld,
    LogPosition,
    NotAJournal,
    StoreUnavailable,
    is_journal,
    open_folder,
)
from antiphon.journal.frame import FileHeader, build_file_header
from antiphon.journal.stores import folder as folder_module

FRAME = "ab" * 32
POSITION = LogPosition(1, 100, FRAME, 5)


def entropy() -> Callable[[int], bytes]:
    """A fresh stream of reproducible bytes."""
    numbers = count()
    return lambda size: b"".join(sha256(b"%d" % next(numbers)).digest() for _ in range(size // 32 + 1))[:size]


def enter(path: Path, *, label: str | None = None, may_create: bool = True) -> JournalFolder:
    return open_folder(path, label=label, random_bytes=entropy(), may_create=may_create)


def leave_cleanly(path: Path) -> JournalFolder:
    folder = enter(path)
    folder.mark_open(FRAME)
    folder.release(POSITION)
    return folder


def change_lock(path: Path, **changes: object) -> None:
    lock = path / "LOCK"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | changes, indent=2) + "\n")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "j"


def test_a_new_journal_has_a_lock_a_log_and_keys_for_the_owner_alone(home: Path) -> None:
    folder = enter(home, label="ada")
    assert folder.is_new
    assert is_journal(home)
    assert (folder.label, folder.leave, len(folder.journal_id)) == ("ada", None, 32)
    assert sorted(path.name for path in home.iterdir()) == ["LOCK", "keys", "log"]
    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o700
    for path in ((home / "LOCK"), *(home / "keys").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert sorted(path.name for path in (home / "keys").iterdir()) == ["authority.key", "label", "writer.key"]
    folder.release(None)


def test_keys_id_and_label_are_the_same_ever_after(home: Path) -> None:
    first = leave_cleanly(home)
    second = enter(home)
    assert second.authority.public_key == first.authority.public_key
    assert second.writer.public_key == first.writer.public_key != first.authority.public_key
    assert (second.journal_id, second.label, second.is_new) == (first.journal_id, first.label, False)
    second.release(None)


def test_a_new_label_is_kept_and_noticed(home: Path) -> None:
    enter(home, label="ada").release(None)
    renamed = enter(home, label="countess")
    assert (renamed.label, renamed.label_changed) == ("countess", True)
    renamed.release(None)
    again = enter(home)
    assert (again.label, again.label_changed) == ("countess", False)
    again.release(None)


@pytest.mark.parametrize("label", ["x" * 257, "語" * 100, "half \udc80"])
def test_a_label_that_no_fact_could_carry_is_refused_before_anything_is_made(home: Path, label: str) -> None:
    with pytest.raises(LocalViolation):
        enter(home, label=label)
    assert not home.exists()


def test_a_folder_held_in_this_process_says_so(home: Path) -> None:
    folder = enter(home)
    folder.mark_open(FRAME)
    with pytest.raises(JournalHeld, match=rf"held by this process \(pid {os.getpid()}\).*open_history"):
        enter(home)
    folder.release(None)
    enter(home).release(None)


def test_a_folder_held_by_another_process_names_it(home: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from antiphon.journal import open_folder\n"
        "folder = open_folder(Path(sys.argv[1]), label=None, random_bytes=os.urandom)\n"
        "folder.mark_open('00' * 32)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalHeld, match=f"held by process {holder.pid}"):
            enter(home)
        holder.kill()
    enter(home).release(None)  # the lock dies with its owner


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    for name, reason in (("file", "is a file"), ("photos", "holds other files")):
        with pytest.raises(NotAJournal, match=reason):
            enter(tmp_path / name)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(NotAJournal, match="there is no journal"):
        enter(tmp_path / "nowhere", may_create=False)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    enter(tmp_path / "empty").release(None)


def test_a_making_that_was_cut_short_is_finished_by_the_next(home: Path) -> None:
    """Whatever was there when the maker died: the lock is made first, and by it the folder is known."""
    home.mkdir()
    (home / "LOCK").touch()
    folder = enter(home)
    assert not folder.may_continue(FRAME)
    folder.release(None)
    (home / "keys" / "writer.key").unlink()
    (home / "keys" / "writer.new").write_text("half a ke")
    enter(home).release(None)


@pytest.mark.parametrize("step", ["mkdir", "open", "rename", "fsync", "write"])
@pytest.mark.parametrize("error_number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_is_a_typed_error_and_lets_go(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str, error_number: int
) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise OSError(error_number, os.strerror(error_number))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, refuse)
        with pytest.raises(StoreUnavailable, match=os.strerror(error_number)):
            enter(home)
    enter(home).release(None)


def test_a_clean_leave_on_the_same_folder_continues(home: Path) -> None:
    leave_cleanly(home)
    folder = enter(home)
    assert folder.leave is not None
    assert folder.leave.is_clean
    assert folder.may_continue(FRAME)
    assert not folder.may_continue("cd" * 32), "the log does not end where the owner left it"
    folder.release(None)


def test_an_unclean_leave_continues_within_one_boot_only(home: Path) -> None:
    folder = enter(home)
    folder.mark_open(FRAME)
    folder.release(None)
    same = enter(home)
    assert same.leave is not None
    assert not same.leave.is_clean
    assert same.may_continue("cd" * 32), "what was written since is still in this boot's memory"
    same.release(None)
    change_lock(home, boot="another")
    other = enter(home)
    assert not other.may_continue(FRAME)
    other.release(None)


@pytest.mark.parametrize(
    "change", [{"host": "elsewhere"}, {"inode": 1}, {"clean": "yes"}, {"frame": 7}, {"boot": None}]
)
def test_a_folder_from_elsewhere_does_not_continue(home: Path, change: dict[str, object]) -> None:
    leave_cleanly(home)
    change_lock(home, **change)
    folder = enter(home)
    assert not folder.may_continue(FRAME)
    folder.release(None)


def test_a_copied_folder_does_not_continue_and_a_moved_one_does(home: Path) -> None:
    leave_cleanly(home)
    shutil.copytree(home, home.with_name("copy"))
    copy = enter(home.with_name("copy"))
    assert not copy.may_continue(FRAME)
    copy.release(None)
    home.rename(home.with_name("moved"))
    moved = enter(home.with_name("moved"))
    assert moved.may_continue(FRAME)
    moved.release(None)


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xfe", b"[]", b"{", b'{"format":"one"}', b'{"journal":7}', b'{"journal":"zz"}', b"\0" * 500]
)
def test_a_damaged_lock_file_costs_the_incarnation_and_nothing_else(home: Path, damage: bytes) -> None:
    before = leave_cleanly(home)
    header = build_file_header(FileHeader(1, before.journal_id, 1, 0, "0" * 64))
    (home / "log" / "00000001.ndjson").write_bytes(header + b"\n")
    (home / "LOCK").write_bytes(damage)
    folder = enter(home)
    assert folder.journal_id == before.journal_id, "the log names the journal too"
    assert folder.authority.public_key == before.authority.public_key
    assert not folder.may_continue(FRAME)
    folder.release(POSITION)
    assert enter(home).may_continue(FRAME), "the next one finds a good lock file"


@pytest.mark.parametrize("place", ["lock", "first", "last"])
def test_one_damaged_name_does_not_rename_the_journal(home: Path, place: str) -> None:
    """What is written under another name could not be read back, so the majority decides."""
    before = leave_cleanly(home)
    wrong = "0" + before.journal_id[1:] if before.journal_id[0] != "0" else "1" + before.journal_id[1:]
    names = {"lock": before.journal_id, "first": before.journal_id, "last": before.journal_id} | {place: wrong}
    for number, name in ((1, names["first"]), (2, names["last"])):
        header = build_file_header(FileHeader(1, name, number, number - 1, "0" * 64))
        (home / "log" / f"{number:08d}.ndjson").write_bytes(header + b"\n")
    change_lock(home, journal=names["lock"])
    folder = enter(home)
    assert folder.journal_id == before.journal_id
    folder.release(None)


def test_a_newer_format_in_the_lock_file_is_refused_and_left_alone(home: Path) -> None:
    leave_cleanly(home)
    change_lock(home, format=2)
    text = (home / "LOCK").read_bytes()
    with pytest.raises(FormatTooNew, match="format 2"):
        enter(home)
    assert (home / "LOCK").read_bytes() == text


def test_a_raised_format_in_the_lock_file_alone_is_damage_that_the_log_contradicts(home: Path) -> None:
    journal_id = leave_cleanly(home).journal_id
    change_lock(home, format=3)
    header = build_file_header(FileHeader(1, journal_id, 1, 0, "0" * 64))
    (home / "log" / "00000001.ndjson").write_bytes(header + b"\n")
    assert leave_cleanly(home).journal_id == journal_id
    assert json.loads((home / "LOCK").read_text())["format"] == 1


@pytest.mark.parametrize("damage", ["", "zz" * 32, "00" * 31])
def test_a_damaged_key_is_told_and_never_replaced(home: Path, damage: str) -> None:
    leave_cleanly(home)
    key = home / "keys" / "authority.key"
    key.write_text(damage)
    with pytest.raises(NotAJournal, match=r"authority\.key is not a key.*backup"):
        enter(home)
    assert key.read_text() == damage


def test_a_release_that_cannot_write_still_lets_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = enter(home)
    folder.mark_open(FRAME)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(StoreUnavailable, match="LOCK"):
            folder.release(POSITION)
    again = enter(home)
    assert again.leave is not None
    assert not again.leave.is_clean
    again.release(None)


def test_network_file_systems_and_windows_are_refused_with_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "_file_system", lambda _: "nfs4")
        with pytest.raises(StoreUnavailable, match=r"lies on nfs4.*local disk"):
            enter(home)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(StoreUnavailable, match="WSL"):
            enter(home)
    assert not home.exists()
