"""Real file systems, mounted for the occasion: a small tmpfs that fills up, and an ext4 that turns read-only beneath a
running journal. What was acknowledged is there afterwards, and every refusal says whose move it is.

Mounting needs root; ``make test-system`` runs this lane. Whatever a test mounts it takes away again.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antiphon import Fact, Journal, open_history
from antiphon.app.offline import open_offline, verify_log
from antiphon.journal import StoreUnavailable

pytestmark = pytest.mark.system

TMPFS_BYTES = 12 * 1024 * 1024
EXT4_BYTES = 24 * 1024 * 1024


class Kept(Fact, kind="disks.kept", version=1):
    text: str


def as_root(*command: str) -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.stderr.strip()} (mounting needs root, or sudo without asking)"
    )


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """A file system at *place*, owned by whoever runs the tests, and gone afterwards."""
    place.mkdir(exist_ok=True)
    as_root("mount", *options, str(place))
    try:
        as_root("chown", f"{os.geteuid()}:{os.getegid()}", str(place))
        yield
    finally:
        as_root("umount", str(place))


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs"):
        yield tmp_path / "small"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An ext4 in a file, not mounted yet."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(EXT4_BYTES)
    mkfs = "/usr/sbin/mkfs.ext4" if Path("/usr/sbin/mkfs.ext4").exists() else "mkfs.ext4"
    subprocess.run([mkfs, "-q", "-F", str(path)], check=True)
    return path


def fill_up(folder: Path, *, but: int = 0) -> Path:
    """Take all the space there is, and give *but* bytes of it back."""
    ballast = folder / "ballast"
    size = 0
    with ballast.open("wb", buffering=0) as file:
        for block in (1 << 20, 4_096, 1):
            try:
                while written := file.write(b"x" * block):
                    size += written
            except OSError:
                continue
    os.truncate(ballast, max(size - but, 0))
    return ballast


class Teller:
    """Commits texts; knows which were acknowledged, and which may be there though they were refused."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.reasons: set[str] = set()

    async def tell(self, journal: Journal, count: int, *, size: int = 500) -> None:
        for _ in range(count):
            text = f"{len(self.acknowledged) + len(self.refused):05} {'x' * size}"
            try:
                await journal.commit(Kept(text=text), flush=True)
            except StoreUnavailable as problem:
                self.refused.append(text)
                self.reasons.add(str(problem))
            else:
                self.acknowledged.append(text)

    async def check(self, journal: Journal) -> None:
        shown = [row[0] for row in (await journal.sql("select text from disks_kept")).fetchall()]
        assert len(shown) == len(set(shown))
        assert set(self.acknowledged) <= set(shown) <= {*self.acknowledged, *self.refused}
        assert all("nothing acknowledged is lost" in reason for reason in self.reasons)

    async def check_reopened(self, folder: Path) -> None:
        for _ in range(2):
            async with Journal.open(folder, types=[Kept]) as journal:
                await self.check(journal)
        assert verify_log(open_offline(folder)).damages == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("room", [0, 4_096, 300_000], ids=["none", "one block", "a little"])
async def test_a_full_disk_refuses_commits_with_a_sentence_and_takes_them_again_when_there_is_room(
    tmpfs: Path, room: int
) -> None:
    teller = Teller()
    async with Journal.open(tmpfs / "journal", author="ada", types=[Kept]) as journal:
        await teller.tell(journal, 20)
        await teller.check(journal)
        ballast = fill_up(tmpfs, but=room)
        for _ in range(3):
            await teller.tell(journal, 200)
            await ask(journal)
        assert teller.refused, "the disk was full"
        ballast.unlink()
        before = len(teller.refused)
        await teller.tell(journal, 20)
        assert len(teller.refused) == before, "there is room again"
        await teller.check(journal)
    await teller.check_reopened(tmpfs / "journal")


@pytest.mark.asyncio
async def test_a_disk_that_fills_up_while_duckdb_follows_and_seals_costs_nothing(tmpfs: Path) -> None:
    """Until nothing goes any more: log, segments, write-ahead log, spool and checkpoints share what there is."""
    teller = Teller()
    async with Journal.open(tmpfs / "journal", author="ada", types=[Kept]) as journal:
        ballast = fill_up(tmpfs, but=5 * 1024 * 1024)
        while not teller.refused:
            await teller.tell(journal, 20, size=20_000)
            await ask(journal)
            if len(teller.acknowledged) % 60 == 0:
                await attempt(journal.engine.start_file())
                await attempt(journal.engine.keeper.seal())
        ballast.unlink()
        await teller.tell(journal, 5)
        assert teller.acknowledged[-1].startswith(f"{len(teller.acknowledged) + len(teller.refused) - 1:05}")
        await teller.check(journal)
    await teller.check_reopened(tmpfs / "journal")


@pytest.mark.asyncio
async def test_a_journal_on_a_full_disk_opens_or_says_why_not_and_opens_when_there_is_room(tmpfs: Path) -> None:
    teller = Teller()
    async with Journal.open(tmpfs / "journal", author="ada", types=[Kept]) as journal:
        await teller.tell(journal, 20)
    for is_dropped in (False, True):
        if is_dropped:
            (tmpfs / "journal" / "journal.duckdb").unlink()
        ballast = fill_up(tmpfs)
        await attempt(try_a_life(tmpfs / "journal", teller))
        with open_history(tmpfs / "journal") as history:
            assert history.facts("disks.*").count() == len(teller.acknowledged)
        ballast.unlink()
        await teller.check_reopened(tmpfs / "journal")


@pytest.mark.asyncio
async def test_a_file_system_that_turns_read_only_beneath_a_running_journal_costs_nothing(
    tmp_path: Path, image: Path
) -> None:
    """As the kernel does after an error: every further write and sync is refused, of files that are open as well."""
    place, teller = tmp_path / "disk", Teller()
    with mounted(place, "-o", "loop,errors=remount-ro", str(image)):
        journal = await Journal.open(place / "journal", author="ada", types=[Kept])
        await teller.tell(journal, 20)
        await teller.check(journal)
        as_root("mount", "-o", "remount,abort", str(place))
        await teller.tell(journal, 5)
        assert len(teller.refused) == 5
        await ask(journal)
        with open_history(place / "journal") as history:
            assert history.facts("disks.*").count() == 20, "reading goes on"
        with pytest.raises(StoreUnavailable, match="Read-only"):
            await journal.close()  # that it was closed cannot be written down; everything is let go all the same
    with mounted(place, "-o", "loop", str(image)):
        await teller.check_reopened(place / "journal")


@pytest.mark.asyncio
async def test_a_journal_on_a_read_only_mount_is_not_opened_but_read(tmp_path: Path, image: Path) -> None:
    place, teller = tmp_path / "disk", Teller()
    with mounted(place, "-o", "loop", str(image)):
        async with Journal.open(place / "journal", author="ada", types=[Kept]) as journal:
            await teller.tell(journal, 20)
        as_root("mount", "-o", "remount,ro", str(place))
        with pytest.raises(StoreUnavailable, match=r"[Rr]ead-only"):
            async with Journal.open(place / "journal", types=[Kept]):
                pass
        with open_history(place / "journal") as history:
            assert history.facts("disks.*").count() == 20
        assert verify_log(open_offline(place / "journal")).damages == ()
        as_root("mount", "-o", "remount,rw", str(place))
        await teller.check_reopened(place / "journal")


async def try_a_life(folder: Path, teller: Teller) -> None:
    async with Journal.open(folder, types=[Kept]) as journal:
        await teller.tell(journal, 3)


async def ask(journal: Journal) -> None:
    """An owner's query is answered or refused with a sentence."""
    await attempt(journal.sql("select count(*) from history"))


async def attempt(work: object) -> None:
    try:
        await work  # type: ignore[misc]  # anything that can be waited for
    except StoreUnavailable:
        return
