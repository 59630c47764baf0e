"""Keeping DuckDB just behind the log: windows gather for a quarter of a second, then go over in bulk on a thread of
their own.

Never holds up a commit. When DuckDB is locked or failing the windows wait (up to a bound, then the log itself is read
again); an owner's query waits for what was committed before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from antiphon.facts import ChainInfo, FactRecord, Registration
from antiphon.journal import LogPosition, RunRow, StoreUnavailable
from antiphon.journal.frame import LocalNote
from antiphon.journal.stores.duckdb import DuckdbFollower

R = TypeVar("R")

# A person does not notice a quarter of a second in a history query, and 2,500 facts amortise a DuckDB commit.
FOLLOW_MS = 250
# Above this a batch is applied at once: memory is not a queue.
FOLLOW_FACTS_MAX = 20_000
# While DuckDB refuses, this much is kept; beyond it the follower reads the log again when it recovers.
BACKLOG_FACTS_MAX = 200_000
INTERRUPT_AGAIN_S = 0.02
# A thread that waits for the interpreter waits until its holder lets go, 5 ms at most: so long after each few facts.
GIVE_WAY_S = 0.00005
_NEVER = threading.Event()


@dataclass(slots=True)
class _Batch:
    records: list[FactRecord] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)
    registrations: list[Registration] = field(default_factory=list)
    chains: list[ChainInfo] = field(default_factory=list)
    hidden: dict[int, str] = field(default_factory=dict)
    notes: list[LocalNote] = field(default_factory=list)
    position: LogPosition | None = None
    afterwards: list[tuple[Callable[[DuckdbFollower], None], asyncio.Future[None]]] = field(default_factory=list)


class FollowerStatistics(NamedTuple):
    """The insides of a follower service."""

    waiting_facts: int
    apply_count: int
    query_count: int
    is_available: bool
    problem: str


class FollowerService:
    """Owns DuckDB's thread. ``open_database`` runs on it and may be tried again later."""

    def __init__(
        self,
        open_database: Callable[[], DuckdbFollower],
        database: DuckdbFollower | None,
        *,
        catch_up: Callable[[DuckdbFollower], None],
        thread: Executor,
    ) -> None:
        self._open_database = open_database
        self._catch_up = catch_up
        self._database = database
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._waiting = _Batch()
        self._timer: asyncio.TimerHandle | None = None
        self._applying: asyncio.Future[None] | None = None
        self._apply_count = 0
        self._problem = "" if database is not None else "not opened"
        self._is_behind = database is None
        self._is_refusing = False
        self._is_closed = False
        self._is_closing = False
        self._jobs: set[Future[Any]] = set()
        self.on_problem: Callable[[str], None] = _keep_quiet
        """Told once when DuckDB cannot be followed any more, and once when it can again."""

    def offer(
        self,
        records: Sequence[FactRecord],
        position: LogPosition,
        runs: Sequence[RunRow],
        registrations: Sequence[Registration],
        chains: Sequence[ChainInfo],
        hidden: Mapping[int, str],
        notes: Sequence[LocalNote] = (),
    ) -> None:
        """Queue a durable window; DuckDB has it within 250 ms, or when somebody asks."""
        waiting = self._waiting
        for place, reason in hidden.items():
            waiting.hidden[len(waiting.records) + place] = reason
        waiting.records.extend(records)
        waiting.runs.extend(runs)
        waiting.registrations.extend(registrations)
        waiting.chains.extend(chains)
        waiting.notes.extend(notes)
        waiting.position = position
        if len(waiting.records) > BACKLOG_FACTS_MAX:
            self._waiting = _Batch(afterwards=waiting.afterwards)
            self._is_behind = True
        if self._timer is None:
            self._timer = self._loop.call_later(FOLLOW_MS / 1000, self._due)
        if len(waiting.records) >= FOLLOW_FACTS_MAX and self._applying is None:
            self._start()

    def submit(self, work: Callable[[DuckdbFollower], object]) -> None:
        """Do *work* on DuckDB's thread when its turn comes; when DuckDB cannot be had it is left undone."""
        self._loop.run_in_executor(self._thread, self._do, work)

    def use_lull(self) -> None:
        """Nobody commits just now: move what DuckDB's write-ahead log holds into its file, if that is worth it."""
        if self._database is not None and not self._is_closing:
            self.submit(DuckdbFollower.checkpoint_if_idle)

    def _do(self, work: Callable[[DuckdbFollower], object]) -> None:
        """On DuckDB's thread."""
        if self._database is not None:
            with suppress(StoreUnavailable):
                work(self._database)

    def erase(self, fact_ids: Sequence[bytes]) -> asyncio.Future[None]:
        """Take payloads out of DuckDB, behind everything offered so far; fails with ``StoreUnavailable`` when it
        cannot be had."""
        return self.do_behind(partial(DuckdbFollower.erase, fact_ids=list(fact_ids)))

    def do_behind(self, work: Callable[[DuckdbFollower], None]) -> asyncio.Future[None]:
        """Do *work* on DuckDB's thread behind everything offered so far; fails with ``StoreUnavailable`` when it cannot
        be had."""
        done: asyncio.Future[None] = self._loop.create_future()
        # With the batch that waits, not behind the one that is being applied: what is to be changed may be in it.
        self._waiting.afterwards.append((work, done))
        if self._applying is None:
            self._start()
        return done

    async def run(self, work: Callable[[DuckdbFollower], R]) -> R:
        """Do *work* on DuckDB's thread, after everything offered so far was applied."""
        await self.barrier()
        database = self._database
        if database is None:
            raise StoreUnavailable(
                f"history is not available just now: {self._problem}; the journal goes on, ask again later"
            )
        job = self._thread.submit(self._ask, work, database)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        except asyncio.CancelledError:
            if self._is_closing and job.cancelled():
                raise StoreUnavailable("the journal was closed before this was answered; open it again") from None
            self._stop(job, database)
            raise

    def _ask(self, work: Callable[[DuckdbFollower], R], database: DuckdbFollower) -> R:
        """On DuckDB's thread."""
        try:
            return work(database)
        finally:
            if database.is_broken and database is self._database:
                # Nothing is ever answered by it again: whoever asks next finds another.
                self._close_database()
                self._loop.call_soon_threadsafe(self._lost)

    def _lost(self) -> None:
        self._is_behind = True

    def _stop(self, job: Future[Any], database: DuckdbFollower) -> None:
        """End what nobody waits for any more: it would hold up the thread that follows the log."""
        if not job.cancel() and not job.done():
            database.interrupt()

    async def barrier(self) -> None:
        """Return when DuckDB holds everything offered so far, or has refused it."""
        while self._applying is not None:
            await asyncio.shield(self._applying)
        if self._waiting.position is not None or self._waiting.afterwards or self._is_behind:
            await asyncio.shield(self._start())

    async def close(self) -> None:
        """Apply what waits, close the database and end the thread."""
        self._is_closing = True
        database = self._database
        while self._jobs and database is not None:
            for job in tuple(self._jobs):
                self._stop(job, database)
            # A query that was only about to begin when it was interrupted needs telling again.
            await asyncio.sleep(INTERRUPT_AGAIN_S)
        if not self._is_closed:
            await self.barrier()
            self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.shield(self._loop.run_in_executor(self._thread, self._close_database))
        self._thread.shutdown(wait=True)

    def statistics(self) -> FollowerStatistics:
        """A frozen record of the insides."""
        return FollowerStatistics(
            len(self._waiting.records), self._apply_count, len(self._jobs), self._database is not None, self._problem
        )

    def _due(self) -> None:
        self._timer = None
        if self._applying is None and self._waiting.position is not None:
            self._start()

    def _start(self) -> asyncio.Future[None]:
        batch, self._waiting = self._waiting, _Batch()
        applying = self._applying = self._loop.create_future()
        self._thread.submit(self._apply, batch, self._is_behind)
        return applying

    def _apply(self, batch: _Batch, is_behind: bool) -> None:
        """On DuckDB's thread."""
        opened = ""
        try:
            if self._database is None:
                self._database = self._open_database()
                opened = self._database.reason
            if is_behind or not _continues(batch, self._database.position):
                # Everything in the batch is in the log as well.
                self._catch_up(self._database)
            elif batch.position is not None:
                self._database.apply(
                    batch.records,
                    position=batch.position,
                    hidden=batch.hidden,
                    registrations=batch.registrations,
                    chains=batch.chains,
                    runs=batch.runs,
                    notes=batch.notes,
                    give_way=_give_way,
                )
        except Exception as problem:  # the database ends here; the log has everything and the journal goes on
            # What DuckDB calls fatal leaves the connection useless for ever: the next attempt opens another.
            self._close_database()
            self._loop.call_soon_threadsafe(self._refused, str(problem), batch)
        else:
            told = [(done, self._try(work)) for work, done in batch.afterwards]
            self._loop.call_soon_threadsafe(self._applied, told, opened)

    def _try(self, work: Callable[[DuckdbFollower], None]) -> StoreUnavailable | None:
        """On DuckDB's thread."""
        if self._database is None:
            return StoreUnavailable("DuckDB ended while it was being changed; it is tried again")
        try:
            work(self._database)
        except StoreUnavailable as problem:
            if self._database.is_broken:
                self._close_database()
            return problem
        except Exception as problem:  # whoever waits for it is told: this thread goes on for everybody else
            return StoreUnavailable(f"DuckDB could not be changed: {problem}")
        return None

    def _close_database(self) -> None:
        """On DuckDB's thread."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _applied(self, told: Sequence[tuple[asyncio.Future[None], StoreUnavailable | None]], opened: str) -> None:
        self._apply_count += 1
        for done, problem in told:
            _tell(done, problem)
        self._is_behind = self._database is None
        if opened:
            self.on_problem(f"journal.duckdb was rebuilt from the log: {opened}")
        elif self._is_refusing:
            self.on_problem("journal.duckdb follows the log again; nothing of it is missing")
        self._is_refusing = False
        self._problem = ""
        self._settle()
        if self._waiting.position is not None and self._timer is None and not self._is_closed:
            self._timer = self._loop.call_later(FOLLOW_MS / 1000, self._due)

    def _refused(self, problem: str, batch: _Batch) -> None:
        for _, done in batch.afterwards:
            _tell(done, StoreUnavailable(f"DuckDB cannot be changed just now: {problem}; it is tried again"))
        # What was in this batch is in the log: the next attempt reads it from there.
        self._is_behind = True
        self._problem = problem
        if not self._is_refusing:  # told once, however often it is tried
            self._is_refusing = True
            self.on_problem(f"journal.duckdb cannot be followed: {problem}; commits go on, and it is tried again")
        self._settle()

    def _settle(self) -> None:
        applying, self._applying = self._applying, None
        if applying is not None and not applying.done():
            applying.set_result(None)
        if self._waiting.afterwards:
            self._start()


def _give_way() -> None:
    """Let whoever waits for the interpreter have it; letting go without a pause, this thread would be back first."""
    _NEVER.wait(GIVE_WAY_S)


def _keep_quiet(problem: str) -> None:
    """For whoever has nobody to tell."""


def _tell(done: asyncio.Future[None], problem: StoreUnavailable | None) -> None:
    if done.done():
        return
    if problem is None:
        done.set_result(None)
        return
    done.set_exception(problem)
    done.exception()  # when nobody waits, it is met again at the next opening


def _continues(batch: _Batch, position: LogPosition) -> bool:
    return batch.position is None or batch.position.fact_count - len(batch.records) == position.fact_count
