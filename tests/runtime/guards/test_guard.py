"""A guarded send is one step of the log, a refused one is none, and what is durable leaves in the end, once."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import Journal
from antiphon.facts import AntiphonError
from antiphon.journal import LogCursor, LogFrame, read_log
from antiphon.journal.guard_book import GuardLimits, Letter
from antiphon.runtime.guards.commands import (
    GuardRefused,
    InterpreterError,
    LeakClaim,
    RemainingBudget,
    Timing,
)
from antiphon.runtime.guards.guard import (
    EffectGuard,
    Guarded,
    HeldCapabilities,
    OptimisticRevert,
    OwnerCapabilities,
)
from antiphon.runtime.guards.interpreters import envelope_id
from antiphon.runtime.guards.policy import EffectPolicyRegistry
from antiphon.runtime.resilience.budget import Timing as Pace
from antiphon.testing.disk import FaultyDisk

OpenJournal = Callable[..., AbstractAsyncContextManager[Journal]]
pytestmark = pytest.mark.asyncio


class Post:
    """Remembers what left; refuses as long as it is told to."""

    def __init__(self, *, refusals: int = 0) -> None:
        self.letters: list[Letter] = []
        self._refusals = refusals

    async def deliver(self, letter: Letter) -> None:
        if self._refusals:
            self._refusals -= 1
            raise AntiphonError("nobody answers")
        self.letters.append(letter)

    @property
    def texts(self) -> list[bytes]:
        return [letter.data for letter in self.letters]


def frames_of(journal: Journal) -> list[LogFrame]:
    cursor = LogCursor.at_start(journal=journal.engine.journal_id)
    return [frame for frame in read_log(journal.path, cursor) if isinstance(frame, LogFrame)]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted((folder / "log").iterdir())}


async def test_an_allowed_send_is_one_frame_with_its_charge_its_facts_and_its_envelope(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    post = Post()
    async with (
        open_journal() as journal,
        EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say"), deliver=post.deliver) as guard,
    ):
        before = len(frames_of(journal))
        done = await guard.guarded(kit.request(leaks=(LeakClaim("External", 8),)))
        await guard.drained()
        assert done.results[0] == RemainingBudget(1_014)
        frame = frames_of(journal)[before]
        assert [record.kind for record in frame.records][-1] == "guarded.said"
        (note,) = [note for note in frame.notes if note.kind == "guard.plans"]
        assert b"hi".hex() in str(note.value), "the envelope stands in the frame of its charge"
        assert post.texts == [b"hi"]
        assert guard.book.remaining_bits("home", "bo", "External", now_ms=journal.engine.clock.now_ms()) == 992


async def test_nothing_leaves_before_its_frame_is_durable(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    post, disk = Post(), FaultyDisk()
    async with (
        open_journal(disk=disk) as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=post.deliver) as guard,
    ):
        await journal.commit(kit.Said(text="first"))
        disk.hold()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(guard.guarded(kit.request()))
            await asyncio.to_thread(disk.wait_arrived)
            assert not sending.done()
            assert post.letters == []
            disk.let_go()
        await guard.drained()
        assert post.texts == [b"hi"]


async def test_a_refusal_changes_neither_store_nor_budget_nor_transport(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    post = Post()
    policies = EffectPolicyRegistry({"talk:propose": Timing.DEFERRED, "talk:marry": Timing.BLOCKING})
    async with (
        open_journal() as journal,
        EffectGuard(
            journal.engine, capabilities=HeldCapabilities("talk:say"), policies=policies, deliver=post.deliver
        ) as guard,
    ):
        await guard.guarded(kit.request(cost=1_000))
        await guard.drained()
        await journal.flush()

        refused = st.sampled_from(
            [
                kit.request(capability="talk:shout"),
                kit.request(capability=""),
                kit.request(cost=25),
                kit.request(leaks=(LeakClaim("Nobody", 1),)),
                kit.request(leaks=(LeakClaim("InGroup", 60), LeakClaim("InGroup", 60))),
                kit.request(operation="talk:propose"),
                kit.request(operation="talk:marry"),
            ]
        )

        before = bytes_of(journal.path), guard.book.state_data(), guard.book.version, journal.fingerprint
        loop = asyncio.get_running_loop()

        def look(requests: list[object]) -> None:
            future = asyncio.run_coroutine_threadsafe(guard.guarded_all(requests), loop)  # type: ignore[arg-type]
            assert all(isinstance(each, GuardRefused) for each in future.result())

        check = settings(max_examples=25, deadline=None, database=None)(given(st.lists(refused, max_size=4))(look))
        await asyncio.to_thread(check)
        with pytest.raises(GuardRefused):
            await guard.guarded(kit.request(cost=25))
        await journal.flush()
        assert (bytes_of(journal.path), guard.book.state_data(), guard.book.version, journal.fingerprint) == before
        assert post.texts == [b"hi"]


async def test_two_tasks_cannot_both_spend_the_last_headroom(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities(), limits=GuardLimits(flow=15))
        request = kit.request()
        snapshots = [await guard.prepare(request) for _ in range(2)]
        outcomes = [guard.evaluate(snapshot, request) for snapshot in snapshots]
        assert all(outcome.is_authorized for outcome in outcomes), "both saw headroom"
        ends = await asyncio.gather(
            *(guard.execute(*pair) for pair in zip(snapshots, (request, request), outcomes, strict=True)),
            return_exceptions=True,
        )
        assert sorted(type(end).__name__ for end in ends) == ["Guarded", "InterpreterError"]
        (failed,) = [end for end in ends if isinstance(end, InterpreterError)]
        assert failed.kind == "insufficient-flow-budget"
        assert guard.book.remaining("home", "bo") == 5


async def test_a_plan_that_comes_again_charges_and_sends_once_also_after_a_restart(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    post = Post()
    for _ in range(2):
        async with (
            open_journal() as journal,
            EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=post.deliver) as guard,
        ):
            ends = await asyncio.gather(*(guard.guarded(kit.request(plan_id="the-one")) for _ in range(3)))
            await guard.drained()
            assert [bool(end.results) for end in ends][1:] == [False, False]
            assert guard.book.remaining("home", "bo") == 1_014
    assert post.texts == [b"hi"]
    async with open_journal() as journal:
        assert (await journal.sql("select count(*) from guarded_said")).fetchall() == [(1,)]


async def test_what_could_not_leave_is_sent_in_the_next_life_under_the_same_name(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        await guard.guarded(kit.request("one", facts_after=(kit.HasLeft(text="one"),)))
        await guard.guarded(kit.request("two", to="elsewhere"))
        names = [letter.envelope_id for letter in guard.book.letters]
    post = Post(refusals=3)
    async with (
        open_journal() as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=post.deliver, pace=kit.pace) as guard,
    ):
        await guard.drained()
        assert sorted(letter.envelope_id for letter in post.letters) == sorted(names)
        assert guard.book.letters == ()
        assert (await journal.sql("select text from guarded_has_left")).fetchall() == [("one",)]
    async with open_journal() as journal:
        assert journal.engine.guard_book.letters == (), "what has left is remembered"


async def test_what_waits_for_its_next_try_leaves_at_once_when_somebody_says_that_its_peer_is_back(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    left: list[str] = []
    has_failed = asyncio.Event()
    is_home = False

    async def deliver(letter: Letter) -> None:
        if not is_home:
            has_failed.set()
            raise AntiphonError("nobody is there")
        left.append(letter.envelope_id)

    async def for_ever(seconds: float) -> None:
        await asyncio.Event().wait()

    pace = Pace(elapsed_s=lambda: 0.0, sleep=for_ever, chance=lambda: 0.5)
    async with (
        asyncio.timeout(30.0),
        open_journal() as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=deliver, pace=pace) as guard,
    ):
        done = await guard.guarded(kit.request(plan_id="one"))
        await has_failed.wait()
        await guard.guarded(kit.request(plan_id="one"))
        is_home = True
        while guard.book.letters:
            guard.resend()
            await asyncio.sleep(0)
        await guard.drained()
        assert left == [envelope_id(done.plan_id)]
        assert guard.book.remaining("home", "bo") == 1_024 - 10


async def test_one_unreachable_peer_holds_up_no_other(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    reached: list[str] = []
    is_cy_reached = asyncio.Event()
    is_bo_home = asyncio.Event()

    async def deliver(letter: Letter) -> None:
        if letter.to == "bo":
            await is_bo_home.wait()
        reached.append(letter.to)
        is_cy_reached.set()

    async with (
        open_journal() as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=deliver) as guard,
    ):
        await guard.guarded(kit.request())
        await guard.guarded(kit.request(peer="cy"))
        await is_cy_reached.wait()
        assert reached == ["cy"]
        is_bo_home.set()
        await guard.drained()
        assert reached == ["cy", "bo"]


async def test_a_refusing_disk_undoes_the_plan_and_sends_nothing(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    post, disk = Post(), FaultyDisk()
    async with (
        open_journal(disk=disk) as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=post.deliver) as guard,
    ):
        await guard.guarded(kit.request("kept"))
        await guard.drained()
        await journal.flush()  # the note that it left has a sync of its own, which is not the one that fails
        disk.fail("sync")
        with pytest.raises(InterpreterError) as failed:
            await guard.guarded(kit.request("lost", plan_id="again"))
        assert failed.value.kind == "store-unavailable"
        assert guard.book.remaining("home", "bo") == 1_014
        assert (await guard.guarded(kit.request("again", plan_id="again"))).results
        await guard.drained()
        assert post.texts == [b"kept", b"again"]
        assert guard.book.remaining("home", "bo") == 1_004


async def test_a_caller_that_goes_away_leaves_the_plan_whole(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    post = Post()
    async with (
        open_journal() as journal,
        EffectGuard(journal.engine, capabilities=OwnerCapabilities(), deliver=post.deliver) as guard,
    ):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(guard.guarded(kit.request()))
            await asyncio.sleep(0)
            task.cancel()
        await journal.flush()
        await guard.drained()
        assert guard.book.statistics().pending_count == 0
        assert guard.book.remaining("home", "bo") == 1_014
        assert post.texts == [b"hi"]


async def test_a_hundred_requests_share_a_frame_and_each_is_judged_by_itself(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say"), limits=GuardLimits(flow=495))
        await journal.commit(kit.Said(text="first"))
        before = journal.statistics().window_count
        given_requests = [kit.request(str(n), capability="talk:no" if n % 10 == 9 else "talk:say") for n in range(60)]
        ends = await guard.guarded_all(given_requests)
        assert [type(end).__name__ for end in ends[:10]] == ["Guarded"] * 9 + ["GuardRefused"]
        assert sum(isinstance(end, Guarded) for end in ends) == 49
        assert journal.statistics().window_count == before + 1
        assert guard.book.remaining("home", "bo") == 5


async def test_a_guard_without_capabilities_refuses_everything(open_journal: OpenJournal, kit: SimpleNamespace) -> None:
    async with open_journal() as journal:
        with pytest.raises(GuardRefused, match="nobody decided"):
            await EffectGuard(journal.engine).guarded(kit.request())


async def test_explaining_says_who_would_refuse_and_changes_nothing(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say"))
        await guard.guarded(kit.request())
        await journal.flush()
        before = bytes_of(journal.path), guard.book.state_data()
        allowed = await guard.explain(kit.request(leaks=(LeakClaim("External", 8),)))
        refused = await guard.explain(kit.request(cost=1_015))
        assert allowed.is_allowed
        assert (allowed.remaining, allowed.remaining_bits) == (1_014, (("External", 1_000),))
        assert (refused.is_allowed, refused.refusing_guard) == (False, "flow")
        assert "refused by flow" in str(refused)
        await journal.flush()
        assert (bytes_of(journal.path), guard.book.state_data()) == before


async def test_the_account_survives_sealing_the_log_and_losing_the_database(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    async with open_journal() as journal:
        guard = EffectGuard(journal.engine, capabilities=OwnerCapabilities())
        await guard.guarded(kit.request(plan_id="p1", leaks=(LeakClaim("External", 8),)))
        await guard.rotate_epoch(3)
        await guard.guarded(kit.request("two", plan_id="p2", cost=7))
        await journal.engine.start_file()
        assert await journal.engine.keeper.seal()
        await guard.guarded(kit.request("three", plan_id="p3", cost=1))
        path, state = journal.path, guard.book.state_data()
    async with open_journal() as journal:
        assert journal.engine.guard_book.state_data() == state
    for file in path.glob("journal.duckdb*"):
        file.unlink()
    async with open_journal() as journal:
        assert journal.engine.guard_book.state_data() == state
        assert journal.engine.guard_book.remaining("home", "bo") == 1_016
        assert [letter.data for letter in journal.engine.guard_book.letters] == [b"hi", b"two", b"three"]


async def test_a_change_that_was_shown_is_taken_back_when_it_is_refused_or_not_written(
    open_journal: OpenJournal, kit: SimpleNamespace
) -> None:
    shown: list[str] = []
    disk = FaultyDisk()
    async with open_journal(disk=disk) as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say"))

        async def couple(text: str, **fields: object) -> None:
            request = kit.request(text, **fields)
            await guard.coupled(request, apply=lambda: shown.append(text), undo=lambda: shown.remove(text))

        await couple("kept")
        with pytest.raises(OptimisticRevert) as refused:
            await couple("refused", capability="talk:shout")
        assert isinstance(refused.value.__cause__, GuardRefused)
        disk.fail("sync")
        with pytest.raises(OptimisticRevert):
            await couple("lost")
        assert shown == ["kept"]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(couple("cancelled on the way"))
            await asyncio.sleep(0)
            task.cancel()
        rows = (await journal.sql("select text from guarded_said order by seq")).fetchall()
        assert [text for (text,) in rows] == shown
