"""Real journals, disks that were rolled back, and peers that had collapsed what was rolled back: nobody is divided."""

import shutil
from pathlib import Path

import pytest

from antiphon import Fact, Journal
from antiphon.app.offline import open_offline, verify_log
from antiphon.facts import ContactRenamed
from antiphon.views import CONTACTS_SIGNAL

pytestmark = pytest.mark.asyncio

# Who is met by whom first decides which story, and whether a base or the fork, comes first.
ORDERS = [("xena", "yann", "zoe"), ("zoe", "xena", "yann")]


class Said(Fact, kind="forks_below.said", version=1):
    """Something that nobody lets go of."""

    text: str


class Writer:
    """A journal whose folder can be put back in place, so that nothing in it tells."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._saved = folder, folder.with_suffix(".saved")
        self._count = 0
        self.journal: Journal

    async def open(self) -> None:
        self.journal = await Journal.open(self._folder, author=self._folder.name, types=[Said])

    async def rename(self, times: int) -> None:
        for _ in range(times):
            self._count += 1
            renamed = ContactRenamed(
                context_id="antiphon.default",
                owner_id=self.journal.authority,
                contact_id="ben",
                new_nickname=f"Ben {self._count}",
                renamed_at=self._count,
            )
            await self.journal.commit(renamed, flush=True)

    async def save(self) -> None:
        await self.journal.close()
        shutil.copytree(self._folder, self._saved)
        await self.open()

    async def roll_back(self) -> None:
        await self.journal.close()
        for path in self._folder.rglob("*"):
            if path.is_file() and not (self._saved / path.relative_to(self._folder)).exists():
                path.unlink()
        for path in self._saved.rglob("*"):
            if path.is_file():
                target = self._folder / path.relative_to(self._saved)
                with target.open("r+b" if target.exists() else "wb") as file:
                    file.truncate(0)
                    file.write(path.read_bytes())
        await self.open()


@pytest.mark.parametrize("tail", [2, 6])
async def test_a_writer_that_was_rolled_back_below_what_its_only_peer_collapsed_loses_nothing(
    tmp_path: Path, tail: int
) -> None:
    """The middle of the first story is nowhere any more, and what was written behind the rollback is nowhere else."""
    writer = Writer(tmp_path / "ada")
    await writer.open()
    await writer.rename(3)
    await writer.save()
    await writer.rename(4)
    async with Journal.open(tmp_path / "ben", author="ben", types=[Said]) as ben:
        assert (await ben.sync_with(writer.journal)).is_success
        assert sum(each.fact_count for each in await ben.trim()) == 6
        assert await ben.collapse() == 1
        await writer.roll_back()
        for number in range(tail):
            await writer.journal.commit(Said(text=f"behind {number}"), flush=True)
        ada = writer.journal
        for _ in range(2):
            assert (await ada.sync_with(ben)).is_success
        assert ada.fingerprint == ben.fingerprint
        said = [{record.line for record in await each.engine.read_kind("forks_below.said")} for each in (ada, ben)]
        assert len(said[0]) == tail
        assert said[0] == said[1]
        for each, other in ((ada, ben), (ben, ada)):
            await each.commit(Said(text=f"of {other.path.name}"), flush=True)
            report = await other.sync_with(each)
            assert (report.is_success, report.reason) == (True, "")
        renamed = await ben.engine.read_kind("contact.renamed")
        assert [b'"p"' in record.line for record in renamed].count(True) <= 2, "what was let go of did not come back"
        await ada.close()
    for name in ("ada", "ben"):
        for drops in (False, True):
            for path in (tmp_path / name).glob("journal.duckdb*") if drops else ():
                path.unlink()
            async with Journal.open(tmp_path / name, types=[Said]) as again:
                assert again.engine.index.holes() == []
                assert again.engine.index.forked()
                assert (await again.sql("select count(*) from history")).fetchall() == [(again.fact_count,)]
        found = verify_log(open_offline(tmp_path / name))
        assert found.damages == ()
    async with Journal.open(tmp_path / "ada", types=[Said]) as ada, Journal.open(tmp_path / "ben", types=[Said]) as ben:
        assert (await ada.sync_with(ben)).is_success
        assert ada.fingerprint == ben.fingerprint


@pytest.mark.parametrize("tail", [1, 7])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
async def test_a_writer_that_forks_below_what_one_replica_collapsed_divides_nobody(
    tmp_path: Path, tail: int, order: tuple[str, ...]
) -> None:
    """Xena collapsed the first story, Yann holds both, Zoe only the second."""
    writer = Writer(tmp_path / "eve")
    await writer.open()
    await writer.rename(3)
    await writer.save()
    await writer.rename(4)
    journals = {name: await Journal.open(tmp_path / name, author=name, types=[Said]) for name in order}
    for name in ("xena", "yann"):
        assert (await journals[name].sync_with(writer.journal)).is_success
    await journals["xena"].trim()
    assert await journals["xena"].collapse() == 1
    await writer.roll_back()
    for number in range(tail):
        await writer.journal.commit(Said(text=f"other {number}"), flush=True)
    for name in ("yann", "zoe"):
        assert (await journals[name].sync_with(writer.journal)).is_success
    for name, each in journals.items():
        await each.commit(Said(text=f"of {name}"), flush=True)
    hub, *others = (journals[name] for name in order)
    for _ in range(2):
        for each in others:
            report = await hub.sync_with(each)
            assert (report.is_success, report.reason) == (True, "")
    assert len({each.fingerprint for each in journals.values()}) == 1
    for kind, count in (("forks_below.said", tail + 3), ("journal.fork_proven", 1)):
        held = [{record.fact_id for record in await each.engine.read_kind(kind)} for each in journals.values()]
        assert held[0] == held[1] == held[2]
        assert len(held[0]) >= count
    shown = [await each.snapshot(CONTACTS_SIGNAL) for each in journals.values()]
    assert len({repr(sorted(contact.nickname for contact in each.contacts.values())) for each in shown}) == 1
    for each in (*journals.values(), writer.journal):
        await each.close()
