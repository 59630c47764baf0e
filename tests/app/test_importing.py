"""Importing logs: every line lands somewhere, twice is once, and the order of files makes no difference."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import permutations
from pathlib import Path
from random import Random

import pytest

from antiphon import Journal
from antiphon.app.importing import ImportPlace, ImportProgress, ImportReport, UnreadableLog, find_logs, import_logs
from antiphon.app.irc import UndatedLog, day_of, parse_annotations, parse_log
from antiphon.facts import ChannelCreated, ContactAdded, Fact, LocalViolation, MembershipImported, MessageImported
from antiphon.journal import Disk, StoreUnavailable
from antiphon.testing.irc_logs import make_irc_log
from antiphon.views import CHAT_SIGNAL, CONTACTS_SIGNAL

from .conftest import WriteLog

PLACE = ImportPlace.of("#ubuntu")


class StillClock:
    """It is always noon."""

    def now_ms(self) -> int:
        return 1_790_000_000_000


def open_journal(folder: Path, name: str = "journal", *, seed: int = 1, disk: Disk | None = None) -> object:
    """A journal whose keys and clock depend on *seed* only, so that two of them show the same in their views."""
    return Journal.open(folder / name, author="ada", clock=StillClock(), random_bytes=Random(seed).randbytes, disk=disk)


async def views_of(journal: Journal) -> tuple[object, object]:
    """What two journals show alike that imported the same: all but the ids of the facts that each wrote itself."""
    chat = await journal.snapshot(CHAT_SIGNAL)
    contacts = await journal.snapshot(CONTACTS_SIGNAL)
    return without_fact_ids(chat.to_json()), contacts.to_json()


def without_fact_ids(document: object) -> object:
    match document:
        case dict():
            return {name: without_fact_ids(value) for name, value in document.items() if name != "fact_id"}
        case list() | tuple():
            return [without_fact_ids(value) for value in document]
    return document


async def facts_of(journal: Journal) -> list[Fact]:
    """Everything that was imported, as DuckDB holds it."""
    from antiphon.journal import PlacedRun, read_members

    engine = journal.engine
    await journal.flush()
    runs = [PlacedRun(state.info, row) for state in engine.index.chains() for row in state.runs]
    decoded = [engine.registry.decode(record) for record in read_members(runs, engine.read_run)]
    return [fact for fact in decoded if isinstance(fact, Fact) and not fact.record.kind.startswith("journal.")]


async def import_all(journal: Journal, files: Iterable[Path], place: ImportPlace = PLACE) -> ImportReport:
    report = await import_logs(journal, files, place)
    assert journal.statistics().pending_frames == 0, "what is reported is durable"
    return report


@pytest.mark.asyncio
async def test_every_line_of_the_corpus_is_imported_or_reported(corpus: Sequence[Path], tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        report = await import_all(journal, corpus)
        facts = await facts_of(journal)
    seen = {(fact.source, fact.line) for fact in facts if isinstance(fact, MessageImported | MembershipImported)}
    refused = {(problem.file, problem.line) for problem in report.problems if problem.code != "no-reply"}
    expected = set()
    replies = 0
    for path in corpus:
        log = parse_log(path.read_bytes(), day_of(path.name))
        expected |= {(path.name, number) for number in range(log.line_count)}
        annotations = path.with_name(path.name.replace(".raw.", ".annotation."))
        replies += len(parse_annotations(annotations.read_bytes(), log.line_count)[0])
    assert seen | refused == expected
    assert not seen & refused
    assert report.line_count == len(expected)
    assert report.added == Counter(fact.record.kind for fact in facts)
    unlinked = sum(problem.code == "no-reply" for problem in report.problems)
    assert sum(fact.reply_to is not None for fact in facts if isinstance(fact, MessageImported)) == replies - unlinked
    assert report.added["chat.channel_created"] == 1
    assert replies > 0


@pytest.mark.asyncio
async def test_importing_the_corpus_twice_adds_no_fact(corpus: Sequence[Path], tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        first = await import_all(journal, corpus[:6])
        fingerprint = journal.fingerprint
        second = await import_all(journal, corpus[:6])
        assert journal.fingerprint == fingerprint
    async with open_journal(tmp_path) as journal:
        third = await import_all(journal, corpus[:6])
        assert journal.fingerprint == fingerprint
    assert (second.added, third.added) == ({}, {})
    # The channel is not counted as found: there is nothing to look for.
    assert second.known_count == third.known_count == first.added_count - 1
    assert second.problems == third.problems == first.problems


@pytest.mark.asyncio
async def test_any_order_of_files_gives_equal_views(corpus: Sequence[Path], tmp_path: Path) -> None:
    async with open_journal(tmp_path, "at-once") as journal:
        await import_all(journal, corpus[:4])
        expected = await views_of(journal)
    for number, order in enumerate([(3, 2, 1, 0), (2, 0, 3, 1)]):
        async with open_journal(tmp_path, str(number)) as journal:
            for index in order:
                await import_all(journal, [corpus[index]])
            assert await views_of(journal) == expected


@pytest.mark.asyncio
async def test_files_of_one_day_may_come_in_any_order_too(tmp_path: Path) -> None:
    # Their lines have equal times, nicks differ in case only, and each has its first and last line elsewhere.
    paths = []
    for seed, name in enumerate(["a", "b", "c"]):
        made = make_irc_log(seed, line_count=80, first_minute=480 + 5 * seed)
        path = tmp_path / f"2007-01-21.{name}.raw.txt"
        path.write_bytes(made.data)
        path.with_name(f"2007-01-21.{name}.annotation.txt").write_bytes(made.annotations)
        paths.append(path)
    results = []
    for number, order in enumerate(permutations(paths)):
        async with open_journal(tmp_path, str(number)) as journal:
            for path in order:
                await import_all(journal, [path])
            results.append(await views_of(journal))
            repeated = await import_all(journal, paths)
            assert repeated.added == {}
    assert all(result == results[0] for result in results)


@pytest.mark.asyncio
async def test_the_name_of_a_file_counts_and_its_folder_does_not(write_log: WriteLog, tmp_path: Path) -> None:
    here = write_log("[08:30] <ada> hi")
    there = write_log("[08:30] <ada> hi", folder="elsewhere")
    other = write_log("[08:30] <ada> hi", name="2007-01-21.other.txt")
    async with open_journal(tmp_path) as journal:
        await import_all(journal, [here])
        assert (await import_all(journal, [there])).added == {}
        assert (await import_all(journal, [other])).added == {"chat.message_imported": 1}


@pytest.mark.asyncio
async def test_bytes_that_are_not_utf8_are_kept_and_counted(write_log: WriteLog, tmp_path: Path) -> None:
    message = b"[08:30] <ada> caf\xe9"
    join = b"=== zo\xeb [n=z@host]  has joined #ubuntu"
    async with open_journal(tmp_path) as journal:
        report = await import_all(journal, [write_log(message, join, "[08:31] <ada> caf\u00e9")])
        facts = await facts_of(journal)
    said = [fact for fact in facts if isinstance(fact, MessageImported)]
    assert report.undecodable_count == 2
    assert {fact.raw for fact in said} == {message, join, None}
    assert [fact.text for fact in said if fact.raw == message] == ["caf\ufffd"]
    moved = [fact for fact in facts if isinstance(fact, MembershipImported)]
    assert [(fact.participant_name, fact.event) for fact in moved] == [("zo\ufffd", "joined")]


@pytest.mark.asyncio
async def test_a_line_that_fits_no_fact_is_reported_and_the_rest_is_imported(
    write_log: WriteLog, tmp_path: Path
) -> None:
    log = write_log(
        "[08:30] <ada> " + "x" * 60_000,
        "[08:30] <ada> " + "x" * 70_000,
        b"[08:30] <ada> " + b"\xff" * 30_000,
        "=== " + "n" * 70_000 + " is now known as ada",
        "[08:31] <ada> short",
    )
    async with open_journal(tmp_path) as journal:
        report = await import_all(journal, [log])
        facts = await facts_of(journal)
    assert [(problem.line, problem.code) for problem in report.problems] == [
        (1, "too-long"),
        (2, "too-long"),
        (3, "too-long"),
    ]
    assert sorted(fact.line for fact in facts if isinstance(fact, MessageImported)) == [0, 4]


@pytest.mark.asyncio
async def test_a_change_of_nick_is_told_and_moves_two_members(write_log: WriteLog, tmp_path: Path) -> None:
    log = write_log("=== ada [n=a@h]  has joined #x", "[08:30] <ada> hi", "=== ada is now known as ada|away")
    async with open_journal(tmp_path) as journal:
        await import_all(journal, [log])
        facts = await facts_of(journal)
        chat, contacts = await views_of(journal)
    told = [fact for fact in facts if isinstance(fact, MessageImported) and fact.style == "system"]
    assert [(fact.sender_name, fact.text) for fact in told] == [("ada", "ada is now known as ada|away")]
    ids = {fact.nickname: fact.contact_id for fact in facts if isinstance(fact, ContactAdded)}
    assert ids.keys() == {"ada", "ada|away"}
    members = chat["channels"][0]["member_ids"]
    assert ids["ada|away"] in members
    assert ids["ada"] not in members
    assert {entry["effective_name"] for entry in contacts["contacts"]} == {"ada", "ada|away"}


@pytest.mark.asyncio
async def test_a_change_of_case_moves_nobody(write_log: WriteLog, tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        report = await import_all(journal, [write_log("=== ada is now known as ADA")])
    assert report.added == {"chat.channel_created": 1, "chat.message_imported": 1, "contact.added": 1}


@pytest.mark.asyncio
async def test_a_message_shows_its_nick_and_who_imported_it(write_log: WriteLog, tmp_path: Path) -> None:
    log = write_log("[08:30] <ben> hi", "[08:30]  * ben waves")
    async with open_journal(tmp_path) as journal:
        await import_all(journal, [log])
        chat, _ = await views_of(journal)
        authority = journal.authority
    shown = [
        (
            message["sender_name"],
            message["style"],
            message["content"],
            message["imported_by"],
            message["source"],
            message["line"],
        )
        for message in (
            each.to_json() if hasattr(each, "to_json") else each for each in chat["channels"][0]["messages"]
        )
    ]
    assert shown == [
        ("ben", "message", "hi", authority, log.name, 0),
        ("ben", "action", "waves", authority, log.name, 1),
    ]


@pytest.mark.asyncio
async def test_annotations_beside_the_log_link_replies(write_log: WriteLog, tmp_path: Path) -> None:
    log = write_log("[08:30] <ada> q?", "=== x [n=x@h]  has joined #u", "[08:30] <ben> a!", name="2007-01-21.raw.txt")
    log.with_name("2007-01-21.annotation.txt").write_bytes(b"0 0 -\n0 2 -\n2 1 -\nnonsense\n")
    async with open_journal(tmp_path) as journal:
        report = await import_all(journal, [log])
        facts = await facts_of(journal)
    said = {fact.line: fact for fact in facts if isinstance(fact, MessageImported)}
    assert said[2].reply_to == said[0].message_id
    assert said[0].reply_to is None
    assert sorted((problem.file, problem.line, problem.code) for problem in report.problems) == [
        ("2007-01-21.annotation.txt", 3, "bad-annotation"),
        ("2007-01-21.raw.txt", 1, "no-reply"),
    ]


@pytest.mark.asyncio
async def test_a_later_sighting_of_a_nick_is_news_and_an_earlier_one_is_not(
    write_log: WriteLog, tmp_path: Path
) -> None:
    early = write_log("[08:30] <ada> hi", name="2007-01-20.txt")
    middle = write_log("[08:30] <Ada> hi", name="2007-01-21.txt")
    late = write_log("[08:30] <ADA> hi", name="2007-01-22.txt")
    async with open_journal(tmp_path) as journal:
        added = [(await import_all(journal, [path])).added.get("contact.added", 0) for path in (middle, early, late)]
        _, contacts = await views_of(journal)
    assert added == [1, 0, 1]
    assert [entry["effective_name"] for entry in contacts["contacts"]] == ["ADA"]


@pytest.mark.asyncio
async def test_one_command_says_each_nick_once(corpus: Sequence[Path], tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        await import_all(journal, corpus[:4])
        contacts = [fact.contact_id for fact in await facts_of(journal) if isinstance(fact, ContactAdded)]
    assert len(contacts) == len(set(contacts))


@pytest.mark.asyncio
async def test_the_channel_begins_with_its_first_line_whatever_file_comes_first(
    write_log: WriteLog, tmp_path: Path
) -> None:
    early = write_log("[08:30] <ada> hi", name="2007-01-20.txt")
    late = write_log("[08:30] <ada> hi", name="2007-01-21.txt")
    async with open_journal(tmp_path) as journal:
        await import_all(journal, [late])
        await import_all(journal, [early])
        created = [fact.created_at for fact in await facts_of(journal) if isinstance(fact, ChannelCreated)]
        chat, _ = await views_of(journal)
    assert len(created) == 2
    assert chat["channels"][0]["created_at"] == min(created)


@pytest.mark.asyncio
async def test_an_import_that_was_cancelled_goes_on_where_it_stopped(corpus: Sequence[Path], tmp_path: Path) -> None:
    files = corpus[:5]
    async with open_journal(tmp_path, "whole") as journal:
        whole = await import_all(journal, files)
        expected = await views_of(journal)
    async with open_journal(tmp_path) as journal:
        task: asyncio.Task[ImportReport]

        def stop(progress: ImportProgress) -> None:
            if progress.byte_count > progress.byte_total // 2:
                task.cancel()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(import_logs(journal, files, PLACE, on_progress=stop))
        assert task.cancelled()
        await journal.flush()
        kept = journal.fact_count - 1
        assert 0 < kept < whole.added_count
        rest = await import_all(journal, files)
        assert kept + rest.added_count == whole.added_count
        assert await views_of(journal) == expected


class FullDisk(Disk):
    """A disk that takes some writes and then no more."""

    def __init__(self, writes: int) -> None:
        self.writes = writes

    def write(self, descriptor: int, data: bytes) -> None:
        """Write, or refuse."""
        self.writes -= 1
        if self.writes < 0:
            raise OSError(28, "No space left on device")
        super().write(descriptor, data)


@pytest.mark.asyncio
async def test_a_disk_that_fills_up_is_told_and_what_was_written_stays(corpus: Sequence[Path], tmp_path: Path) -> None:
    files = corpus[:5]
    async with open_journal(tmp_path, "whole") as journal:
        whole = await import_all(journal, files)
        expected = await views_of(journal)
    async with open_journal(tmp_path, disk=FullDisk(writes=4)) as journal:
        with pytest.raises(StoreUnavailable, match="No space left"):
            await import_logs(journal, files, PLACE)
    async with open_journal(tmp_path) as journal:
        rest = await import_all(journal, files)
        assert 0 < rest.added_count < whole.added_count
        assert await views_of(journal) == expected


@pytest.mark.asyncio
async def test_what_a_peer_imported_is_not_imported_again(write_log: WriteLog, tmp_path: Path) -> None:
    log = write_log("[08:30] <ada> hi", "=== ben [n=b@h]  has joined #x")
    async with open_journal(tmp_path, "ada") as ada, open_journal(tmp_path, "ben", seed=2) as ben:
        await import_all(ada, [log])
        await ada.sync_with(ben)
        assert ada.fingerprint == ben.fingerprint
        # A contact list is its owner's, so ben has his own to begin.
        assert (await import_all(ben, [log])).added == {"contact.added": 2}


@pytest.mark.asyncio
async def test_channels_and_networks_do_not_mix(write_log: WriteLog, tmp_path: Path) -> None:
    log = write_log("[08:30] <ada> hi")
    other = ImportPlace.of("#kubuntu", network="libera")
    async with open_journal(tmp_path) as journal:
        await import_all(journal, [log])
        report = await import_all(journal, [log], other)
        facts = [fact for fact in await facts_of(journal) if isinstance(fact, MessageImported)]
    assert report.added_count == 3
    assert len({fact.message_id for fact in facts}) == len({fact.sender_id for fact in facts}) == 2
    assert {fact.context_id for fact in facts} == {"irc.ubuntu", "irc.libera.kubuntu"}


@pytest.mark.asyncio
async def test_a_file_with_nothing_to_import_makes_no_channel(write_log: WriteLog, tmp_path: Path) -> None:
    async with open_journal(tmp_path) as journal:
        report = await import_all(journal, [write_log("what", "is this"), write_log(name="2007-01-22.txt")])
        assert journal.fact_count == 0
    assert report.empty_files == ["2007-01-21.txt"]
    assert [problem.line for problem in report.problems] == [0, 1]


def test_files_are_checked_before_anything_is_imported(write_log: WriteLog, tmp_path: Path) -> None:
    good = write_log("[08:30] <ada> hi")
    undated = write_log("[08:30] <ada> hi", name="ubuntu.txt")
    with pytest.raises(UndatedLog, match="--day"):
        find_logs([good, undated])
    with pytest.raises(UnreadableLog, match=r"nothing-2007-01-21\.txt"):
        find_logs([good, tmp_path / "nothing-2007-01-21.txt"])
    folder = tmp_path / "2007-01-21"
    folder.mkdir()
    with pytest.raises(UnreadableLog, match="is a folder"):
        find_logs([folder])
    assert find_logs([undated], day=date(2007, 1, 21))[0].day == date(2007, 1, 21)
    with pytest.raises(LocalViolation, match="one by one"):
        find_logs([good, undated], day=date(2007, 1, 21))


def test_a_place_needs_a_channel_and_a_context_that_fits() -> None:
    with pytest.raises(LocalViolation, match="--channel"):
        ImportPlace.of("  ")
    with pytest.raises(LocalViolation, match="256"):
        ImportPlace.of("#x", context="x" * 257)
    assert ImportPlace.of("#\u2603").context_id == "irc.channel"
    assert ImportPlace.of("#x", context="home").context_id == "home"
