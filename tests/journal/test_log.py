"""The log: whole frames or nothing, damage named and confined, files never rewritten."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.facts import Registration
from antiphon.journal import (
    LOG_START,
    Draft,
    FormatTooNew,
    LogCursor,
    LogDamage,
    LogDamaged,
    LogFrame,
    LogPosition,
    LogWriter,
    StoreUnavailable,
    build_frame,
    parse_run,
    read_log,
    read_run_bytes,
    sync_existing,
)
from antiphon.journal.frame import Closing, FileHeader, build_closing, build_file_header, frame_hash, line_hash
from antiphon.journal.stores import log as log_module
from antiphon.journal.stores.log import file_path, log_files
from antiphon.journal.stores.position import NO_FRAME
from antiphon.journal.stores.reader import read_file
from antiphon.testing.disk import DiskOperation, FaultyDisk
from antiphon.testing.records import ChainWriter

JOURNAL = "0123456789abcdef0123456789abcdef"
OTHER_JOURNAL = "fedcba9876543210fedcba9876543210"
REGISTRATION = Registration("test.said", 1, 1, "{}", "0" * 32)


class Log:
    """A log in the making, by one honest writer."""

    def __init__(self, folder: Path, *, disk: FaultyDisk | None = None, name: str = "ada") -> None:
        (folder / "log").mkdir(exist_ok=True)
        self.folder = folder
        self.author = ChainWriter(name)
        self.disk = disk or FaultyDisk()
        self.writer = LogWriter(folder, journal=JOURNAL, last=LOG_START, may_append=False, disk=self.disk)
        self.previous = NO_FRAME
        self.count = 0
        self.is_introduced = False

    def frame(self, text: str) -> bytes:
        """The next frame, with one fact; the chain's opening comes with the first."""
        run = self.author.seal(Draft("test.said", 1, b'{"text":"%b"}' % text.encode(), None))
        chains = () if self.is_introduced else (self.author.chain.info,)
        registrations = () if self.is_introduced else (REGISTRATION,)
        built = build_frame(self.previous, [run], chains=chains, registrations=registrations)
        self.is_introduced = True
        self.previous = built.frame_hash
        self.count += len(run.records)
        return built.data

    def append(self, *texts: str) -> None:
        frames = [self.frame(text) for text in texts]
        self.writer.append(frames, LogPosition(0, 0, self.previous, self.count))

    def fail(self, text: str) -> None:
        """A frame that is refused by the disk: the author's chain goes on, the log does not."""
        head, previous, count = self.author.head, self.previous, self.count
        with pytest.raises(StoreUnavailable):
            self.append(text)
        self.author.chain.head, self.previous, self.count = head, previous, count


def read(folder: Path, cursor: LogCursor | None = None) -> tuple[list[str], list[LogDamage]]:
    """What a reader sees: the texts in order, and what it complains about."""
    texts: list[str] = []
    damages: list[LogDamage] = []
    for item in read_log(folder, cursor or LogCursor.at_start(journal=JOURNAL)):
        if isinstance(item, LogDamage):
            damages.append(item)
        else:
            texts.extend(text_of(item))
    return texts, damages


def text_of(frame: LogFrame) -> Iterator[str]:
    for record in frame.records:
        if record.kind == "test.said":
            assert record.payload is not None
            yield record.payload[9:-2].decode()


def test_what_was_written_is_read_back_with_its_places(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    log.append("two", "three")
    frames = [item for item in read_log(tmp_path, LogCursor.at_start()) if isinstance(item, LogFrame)]
    assert [list(text_of(frame)) for frame in frames] == [["one"], ["two"], ["three"]]
    assert frames[0].registrations == (REGISTRATION,)
    assert frames[0].chains == (log.author.chain.info,)
    assert frames[-1].position == log.writer.synced
    assert [frame.position.fact_count for frame in frames] == [2, 3, 4]
    for frame in frames:
        for run in frame.runs:
            data = read_run_bytes(tmp_path, run.row)
            assert parse_run(run.info, run.row, data) == run.records
            assert (run.info.label, run.info.authority) != ("", ""), "the opening fact told who writes"


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = Log(tmp_path)
    cursor = LogCursor.at_start()
    for text in ("one", "two", "three"):
        log.append(text)
        assert read(tmp_path, cursor) == ([text], [])
    assert read(tmp_path, cursor) == ([], [])


def test_every_truncation_of_a_log_gives_an_exact_prefix_in_silence(tmp_path: Path) -> None:
    log = Log(tmp_path)
    ends: list[int] = [0]
    path = file_path(tmp_path, 1)
    for number in range(4):
        log.append(str(number))
        ends.append(path.stat().st_size)
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends[1:])
        assert read(tmp_path) == ([str(number) for number in range(whole)], []), size


@pytest.mark.parametrize("mask", [0x01, 0x10, 0x80])
def test_every_flipped_bit_costs_at_most_the_frame_it_is_in(tmp_path: Path, mask: int) -> None:
    """Over two files; what is flipped is named by its place, and every other frame is still read."""
    log = Log(tmp_path)
    spans: list[tuple[int, int, int, str]] = []
    for number in range(6):
        if number == 3:
            log.writer.close()
        file = file_path(tmp_path, 1 + number // 3)
        start = file.stat().st_size if file.exists() else 0
        log.append(str(number))
        spans.append((1 + number // 3, start, file.stat().st_size, str(number)))
    for number, path in log_files(tmp_path).items():
        data = path.read_bytes()
        header_end = data.index(b"\n") + 1
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
            hit = next(text for place, start, end, text in spans if place == number and start <= at < end)
            texts, damages = read(tmp_path)
            survivors = [text for _, _, _, text in spans if text != hit]
            check_one_flip(number, at, header_end, len(data), hit, survivors, texts, damages, is_last_file=number == 2)
        path.write_bytes(data)


def check_one_flip(
    number: int,
    at: int,
    header_end: int,
    size: int,
    hit: str,
    survivors: list[str],
    texts: list[str],
    damages: list[LogDamage],
    *,
    is_last_file: bool,
) -> None:
    place = f"file {number}, byte {at}: {texts}, {damages}"
    if at < header_end:
        # A file's first line says whose it is; where it cannot be believed its frames decide, unless it is the first.
        assert damages or texts == [*survivors[: int(hit)], hit, *survivors[int(hit) :]], place
        assert number == 1 or [text for text in texts if text != hit] == survivors, place
        return
    is_tail = is_last_file and hit == "5"
    assert texts == survivors, place
    if is_tail and not damages:
        return  # without a closing line the last frame is a torn tail
    assert len(damages) >= 1, place
    assert any(d.file_number == number and d.offset <= at <= d.offset + d.length for d in damages), place
    assert sum(d.length for d in damages) < size, place


def test_a_torn_tail_is_silent_and_writing_goes_on_behind_it_in_a_new_file(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    with file_path(tmp_path, 1).open("ab") as file:
        file.write(b'{"h":{"at":17')
    assert read(tmp_path) == (["one"], [])
    again = LogWriter(tmp_path, journal=JOURNAL, last=log.writer.synced, may_append=False, disk=log.disk)
    again.append([log.frame("two")], LogPosition(0, 0, log.previous, log.count))
    assert sorted(log_files(tmp_path)) == [1, 2]
    assert read(tmp_path) == (["one", "two"], [])


@pytest.mark.parametrize("garbage", [b"\0" * 5_000, b"\n\n\n", bytes(range(256)) * 8, b'{"frame":', b'{"frame":{}}\n'])
def test_garbage_behind_the_last_frame_is_a_torn_tail(tmp_path: Path, garbage: bytes) -> None:
    log = Log(tmp_path)
    log.append("one")
    with file_path(tmp_path, 1).open("ab") as file:
        file.write(garbage)
    assert read(tmp_path) == (["one"], [])


def test_files_rotate_at_their_bound_and_name_the_frame_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 1_000)
    log = Log(tmp_path)
    texts = [str(number) for number in range(12)]
    for text in texts:
        log.append(text)
    assert len(log_files(tmp_path)) >= 4
    assert read(tmp_path) == (texts, [])
    assert [call.operation for call in log.disk.calls[-8:]].count("sync_folder") >= 1


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("written_bytes", [0, 100, 10_000])
def test_a_frame_that_failed_is_invisible_once_the_next_file_tells(
    tmp_path: Path, operation: DiskOperation, written_bytes: int
) -> None:
    log = Log(tmp_path)
    log.append("one")
    synced = log.writer.synced
    log.disk.fail(operation, written_bytes=written_bytes)
    log.fail("void")
    assert log.writer.synced == synced
    log.append("two")
    assert sorted(log_files(tmp_path)) == [1, 2]
    cursor = LogCursor.at_start()
    assert read(tmp_path, cursor) == (["one", "two"], [])
    assert not cursor.is_cut
    first_line = file_path(tmp_path, 2).read_bytes().split(b"\n")[0]
    assert build_file_header(FileHeader(1, JOURNAL, 2, 1, synced.frame_hash)) == first_line


def test_a_failure_in_every_step_of_a_new_file_leaves_no_file_behind(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    log.disk.fail("sync")
    log.fail("void")
    for operation in ("open", "write", "sync", "sync_folder"):
        log.disk.fail(operation)
        log.fail("void")
        assert sorted(log_files(tmp_path)) == [1]
    log.append("two")
    assert read(tmp_path) == (["one", "two"], [])


def test_closing_after_a_failure_leaves_word_of_the_last_good_frame(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    log.disk.fail("sync")
    log.fail("void")
    assert b'"void"' in file_path(tmp_path, 1).read_bytes()
    log.writer.close()
    cursor = LogCursor.at_start()
    assert read(tmp_path, cursor) == (["one"], [])
    assert cursor.is_cut, "the numbers of what is void may not be used again"


def test_a_failed_close_or_a_failed_second_attempt_loses_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    log.disk.fail("close")
    log.disk.fail("sync", times=3)
    for _ in range(3):
        log.fail("void")
    log.append("two")
    assert read(tmp_path) == (["one", "two"], [])


def test_an_unfinished_file_between_two_others_is_passed_over(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    file_path(tmp_path, 2).write_bytes(b'{"file":{"form')
    file_path(tmp_path, 3).write_bytes(b"")
    log.writer.close()
    log.append("two")
    assert sorted(log_files(tmp_path)) == [1, 2, 3, 4]
    assert read(tmp_path) == (["one", "two"], [])


def test_a_file_that_is_gone_is_missed(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for text in ("one", "two", "three"):
        log.append(text)
        log.writer.close()
    file_path(tmp_path, 2).unlink()
    texts, damages = read(tmp_path)
    assert texts == ["one", "three"]
    assert [(damage.file_number, damage.length) for damage in damages] == [(2, 0)]


def with_extra_line(tmp_path: Path, line: bytes, *, damaged: bool = False) -> None:
    """A log whose second frame holds *line*, properly hashed unless it is damaged afterwards."""
    log = Log(tmp_path)
    log.append("one")
    entries = [line_hash(b'{"was_a_tag":1}' if damaged else line)]
    closing = Closing(1, frame_hash(log.previous, entries), log.previous)
    frame = line + b"\n" + build_closing(closing) + b"\n"
    log.previous = closing.frame_hash
    log.writer.append([frame], LogPosition(0, 0, log.previous, log.count))
    log.append("two")


def test_an_unknown_line_that_is_marked_optional_is_passed_over(tmp_path: Path) -> None:
    with_extra_line(tmp_path, b'{"mood?":"cheerful"}')
    assert read(tmp_path) == (["one", "two"], [])


def test_an_unknown_line_that_must_be_understood_is_a_newer_format(tmp_path: Path) -> None:
    with_extra_line(tmp_path, b'{"mood":"cheerful"}')
    with pytest.raises(FormatTooNew, match=r"unknown tag 'mood'.*upgrade"):
        read(tmp_path)


def test_a_tag_that_a_flipped_bit_made_is_damage_and_no_newer_format(tmp_path: Path) -> None:
    with_extra_line(tmp_path, b'{"mood":"cheerful"}', damaged=True)
    texts, damages = read(tmp_path)
    assert texts == ["one", "two"]
    assert len(damages) == 1


def test_a_local_line_is_kept_for_its_owner_and_is_no_fact(tmp_path: Path) -> None:
    with_extra_line(tmp_path, b'{"local":{"kind":"charge","value":{"bytes":7}}}')
    assert read(tmp_path) == (["one", "two"], [])


def test_a_damaged_introduction_costs_its_own_chain_and_no_other(tmp_path: Path) -> None:
    # Found by the simulator: one sector held all that introduced a chain, and a later frame that had a run of it was
    # left out whole, with another chain's facts in it.
    log = Log(tmp_path)
    log.append("one")
    introduced = file_path(tmp_path, 1).stat().st_size
    ada, ben = log.author, ChainWriter("ben")
    mixed = [ada.seal(Draft("test.said", 1, b'{"text":"two"}', None)), ben.seal(Draft("test.said", 1, b"{}", None))]
    built = build_frame(log.previous, mixed, chains=[ben.chain.info], registrations=())
    log.writer.append([built.data], LogPosition(0, 0, built.frame_hash, log.count + 3))
    path = file_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    start = data.index(b'{"chain"')
    data[start : introduced - 400] = b"\0" * (introduced - 400 - start)
    path.write_bytes(data)
    frames = list(read_log(tmp_path, LogCursor.at_start()))
    kept = [run.info.label for frame in frames if isinstance(frame, LogFrame) for run in frame.runs]
    reasons = [damage.reason for damage in frames if isinstance(damage, LogDamage)]
    assert kept == ["ben"]
    assert len(reasons) == 2
    assert reasons[1] == f"facts of chain {ada.chain.info.text[:8]}, which no line before introduces"


def test_a_newer_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    file_path(tmp_path, 2).write_bytes(b'{"file":{"brand_new":true,"format":2,"journal":"x","number":2}}\n{"zzz":1}\n')
    with pytest.raises(FormatTooNew, match="log file 2 has format 2"):
        read(tmp_path)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("digit", [b"2", b"3", b"9", b"17"])
def test_a_raised_format_is_damage_where_what_follows_is_of_this_format(
    tmp_path: Path, number: int, digit: bytes
) -> None:
    log = Log(tmp_path)
    for text in ("one", "two", "three"):
        log.append(text)
        log.writer.close()
        log.writer = LogWriter(tmp_path, journal=JOURNAL, last=log.writer.synced, may_append=False, disk=log.disk)
    path = file_path(tmp_path, number)
    path.write_bytes(path.read_bytes().replace(b'"format":1,', b'"format":%b,' % digit, 1))
    texts, damages = read(tmp_path)
    assert texts == ["one", "two", "three"]
    ((place, offset, reason),) = [(each.file_number, each.offset, each.reason) for each in damages]
    assert (place, offset) == (number, 0)
    assert f"format {digit.decode()}" in reason
    with pytest.raises(LogDamaged, match="format"):
        read_file(tmp_path, number, {})


def test_a_raised_format_before_nothing_is_damage_and_before_what_nobody_here_reads_a_newer_format(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path)
    log.append("one")
    newer = b'{"file":{"format":3,"journal":"%b","number":2,"previous_file":1,"previous_frame":"%b"}}\n'
    line = newer % (JOURNAL.encode(), log.previous.encode())
    path = file_path(tmp_path, 2)
    path.write_bytes(line)
    texts, damages = read(tmp_path)
    assert texts == ["one"]
    assert [(each.file_number, each.length) for each in damages] == [(2, len(line))]
    # The same line before a frame that is closed by another rule, or that is cut.
    frame = log.frame("two")
    for rest in (frame.replace(b'"hash":"', b'"hash":"00', 1), frame[:-1], b'{"news":1}\n'):
        path.write_bytes(line + rest)
        with pytest.raises(FormatTooNew, match="log file 2 has format 3"):
            read(tmp_path)


def test_a_file_of_another_journal_is_named_and_none_of_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    log, other = Log(tmp_path / "a"), Log(tmp_path / "b", name="eve")
    log.append("one")
    other.append("foreign")
    data = file_path(tmp_path / "b", 1).read_bytes().replace(JOURNAL.encode(), OTHER_JOURNAL.encode())
    file_path(tmp_path / "a", 2).write_bytes(data)
    texts, damages = read(tmp_path / "a")
    assert texts == ["one"]
    assert [(damage.file_number, damage.offset, damage.length) for damage in damages] == [(2, 0, len(data))]
    assert OTHER_JOURNAL[:8] in damages[0].reason
    # And as the first file, where no frame before it could contradict.
    file_path(tmp_path / "a", 1).write_bytes(data)
    file_path(tmp_path / "a", 2).unlink()
    assert read(tmp_path / "a")[0] == []


def test_a_write_reports_what_the_disk_said_and_what_to_do(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    log.disk.fail("write", error_number=errno.ENOSPC)
    with pytest.raises(StoreUnavailable, match=r"No space left on device.*free the disk"):
        log.append("two")


@pytest.mark.parametrize("operation", ["open", "sync"])
def test_syncing_what_a_predecessor_left_is_refused_by_name(tmp_path: Path, operation: DiskOperation) -> None:
    log = Log(tmp_path)
    log.append("one")
    log.disk.fail(operation)
    with pytest.raises(StoreUnavailable):
        sync_existing(tmp_path, log.writer.synced, log.disk)


def test_frames_in_one_append_are_synced_once(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append("one")
    before = len(log.disk.calls)
    log.append("two", "three", "four")
    assert [call.operation for call in log.disk.calls[before:]] == ["write", "sync"]


class WishfulDisk(FaultyDisk):
    """A disk that notes what was asked of it ahead, and how much it sets aside."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.blocks_bytes_max = 0

    def reserve(self, descriptor: int, size: int) -> None:
        self.asked.append(f"reserve {size}")
        super().reserve(descriptor, size)
        self.blocks_bytes_max = os.fstat(descriptor).st_blocks * 512

    def unreserve(self, descriptor: int) -> None:
        self.asked.append("unreserve")
        super().unreserve(descriptor)


def test_a_file_that_is_worked_on_has_room_set_aside_once_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "FILE_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(log_module, "RESERVE_BYTES_MIN", 2_000)
    disk = WishfulDisk()
    log = Log(tmp_path, disk=disk)
    log.append("one")
    assert disk.asked == [], "a journal of a few facts takes no more room than they need"
    texts = ["one", *(str(number) * 500 for number in range(5))]
    for text in texts[1:]:
        log.append(text)
        assert file_path(tmp_path, 1).stat().st_size == log.writer.synced.offset
        assert read(tmp_path)[0][-1] == text
    assert disk.asked == [f"reserve {1 << 20}"]
    whole = file_path(tmp_path, 1).read_bytes()
    log.writer.close()
    assert disk.asked[1:] == ["unreserve"]
    assert file_path(tmp_path, 1).read_bytes() == whole
    assert file_path(tmp_path, 1).stat().st_blocks * 512 < 65_536
    assert sys.platform != "linux" or disk.blocks_bytes_max >= 1 << 20
    assert read(tmp_path) == (texts, [])


@pytest.mark.parametrize("call", ["reserve", "unreserve"])
def test_a_disk_that_sets_nothing_aside_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(descriptor: int, *size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(log_module, "RESERVE_BYTES_MIN", 1)
    log = Log(tmp_path)
    monkeypatch.setattr(log.disk, call, refuse)
    log.append("one")
    log.append("two")
    log.writer.close()
    assert read(tmp_path) == (["one", "two"], [])


def test_what_a_life_that_was_killed_set_aside_is_given_back_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "RESERVE_BYTES_MIN", 1)
    log = Log(tmp_path)
    log.append("one")
    sync_existing(tmp_path, log.writer.synced, FaultyDisk())
    assert file_path(tmp_path, 1).stat().st_blocks * 512 < 65_536
    assert read(tmp_path) == (["one"], [])
