"""Bugs planted on purpose: each a known mistake put into the real code, to see that the world finds it.

A simulator that never fails proves nothing. Every entry replaces a piece of the real code while it is planted, and
``hunt`` lives through seeds until the oracle speaks up. The list follows what has gone wrong elsewhere
(``reliability.md``, section 6.2), and grows with what goes wrong here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pkgutil import resolve_name
from typing import Any, NamedTuple
from unittest.mock import patch

from antiphon.facts import ChainId, FactId, hlc_ms, parse_line
from antiphon.facts.fact import get_record
from antiphon.facts.time import SKEW_MS_MAX
from antiphon.journal import (
    Continuation,
    JournalFolder,
    JournalIndex,
    LogDamage,
    LogWriter,
    RunRow,
    StoreUnavailable,
)
from antiphon.journal import chain as chain_module
from antiphon.journal import ingest as ingest_module
from antiphon.journal.chain import OPENING_KIND, VerifiedRun, build_records, describe_chain, link_ids, parse_seal_line
from antiphon.journal.stores.log import file_path, log_files
from antiphon.journal.sync.messages import Frontier, IngestResult, Message
from antiphon.journal.sync.session import SyncSession
from antiphon.reactive import Window
from antiphon.runtime import engine as engine_module
from antiphon.runtime.engine import JournalEngine
from antiphon.runtime.group_commit import GroupCommit
from antiphon.runtime.not_due import NotDue
from antiphon.runtime.services.sync import Link
from antiphon.runtime.view_host import ViewHost

from .swarm import DEFAULT_SWITCHES, Switches
from .world import run_seed

SEEDS_MAX = 10_000
NEAR = 20

Patches = list[AbstractContextManager[Any]]


# Without lying authors and rolled-back disks: they are excused from some questions, and a bug could hide behind them.
CALM = replace(DEFAULT_SWITCHES, forks=False)


class Bug(NamedTuple):
    """A known mistake: what it is, how it gets into the code, and in which world it is looked for.

    ``seed`` is where it was found last: looked at first, with its neighbours, since seeds move when commands are added.
    """

    sentence: str
    plant: Callable[[], Patches]
    seed: int = 0
    switches: Switches = CALM


class Catch(NamedTuple):
    """Where a planted bug was found, and what the oracle said."""

    seed: int
    problem: str


BUGS: dict[str, Bug] = {}


def hunt(name: str, *, seeds: int = SEEDS_MAX) -> Catch | None:
    """Plant a bug and live through *seeds* until it is found, beginning where it was last; None when it is not.

    A seed counts only when it is good without the bug: otherwise it found another one.
    """
    bug = BUGS[name]
    near = range(min(bug.seed, seeds), min(bug.seed + NEAR, seeds))
    for seed in (*near, *(each for each in range(seeds) if each not in near)):
        with planted(name):
            outcome = run_seed(seed, bug.switches)
        if outcome.problems and run_seed(seed, bug.switches).is_good:
            return Catch(seed, outcome.problems[0].partition("\n")[0])
    return None


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While this lasts the code has the bug."""
    with ExitStack() as stack:
        for each in BUGS[name].plant():
            stack.enter_context(each)
        yield


def _bug(
    sentence: str, *, seed: int = 0, switches: Switches = CALM
) -> Callable[[Callable[[], Patches]], Callable[[], Patches]]:
    def add(plant: Callable[[], Patches]) -> Callable[[], Patches]:
        BUGS[plant.__name__.removeprefix("_")] = Bug(sentence, plant, seed, switches)
        return plant

    return add


def _real(place: str) -> Any:
    """What stands at a place in the code, by its dotted name."""
    module, _, name = place.rpartition(".")
    return getattr(resolve_name(module), name)


def _nothing(*_: object, **__: object) -> None:
    return None


# The log and the disk


def _append_with(**replaced: Callable[..., object]) -> Patches:
    """``LogWriter.append`` on a disk of which some calls do something else."""
    append = LogWriter.append

    def mutant(self: Any, frames: Sequence[bytes], last: Any) -> Any:
        with ExitStack() as stack:
            for call, other in replaced.items():
                stack.enter_context(patch.object(self._disk, call, other))
            return append(self, frames, last)

    return [patch.object(LogWriter, "append", mutant)]


@_bug("acknowledged after the write, not after the sync", seed=8)
def _ack_before_sync() -> Patches:
    return _append_with(sync=_nothing)


@_bug("a new log file's name is not synced", seed=8)
def _name_not_synced() -> Patches:
    return _append_with(sync_folder=_nothing)


@_bug("a sync that failed is taken for one that did its work", seed=168)
def _failed_sync_is_fine() -> Patches:
    append = LogWriter.append

    def mutant(self: Any, frames: Sequence[bytes], last: Any) -> Any:
        sync = self._disk.sync

        def careless(descriptor: int) -> None:
            with suppress(OSError):
                sync(descriptor)

        with patch.object(self._disk, "sync", careless):
            return append(self, frames, last)

    return [patch.object(LogWriter, "append", mutant)]


@_bug("a write that failed is acknowledged", seed=6)
def _failed_write_is_fine() -> Patches:
    append = LogWriter.append

    def mutant(self: Any, frames: Sequence[bytes], last: Any) -> Any:
        try:
            return append(self, frames, last)
        except StoreUnavailable:
            return [(max(self._number, 1), self._size) for _ in frames]

    return [patch.object(LogWriter, "append", mutant)]


@_bug("writing goes on in the file in which a write failed", seed=6)
def _append_after_failure() -> Patches:
    return [patch.object(LogWriter, "_abandon", _nothing)]


@_bug("writing goes on behind a torn tail", seed=0)
def _append_after_torn_tail() -> Patches:
    begin = LogWriter.__init__

    def mutant(self: Any, *arguments: Any, may_append: bool, **others: Any) -> None:
        begin(self, *arguments, may_append=True, **others)

    return [patch.object(LogWriter, "__init__", mutant)]


@_bug("a log file is retired as soon as the next one is begun", seed=0)
def _retired_early() -> Patches:
    ready = LogWriter._ready

    def mutant(self: Any) -> int:
        before = self._number
        descriptor = ready(self)
        if before and self._number != before and before in log_files(self._folder):
            file_path(self._folder, before).unlink()
        return descriptor

    return [patch.object(LogWriter, "_ready", mutant)]


@_bug("the rule for torn tails is applied in the middle of the log", seed=65)
def _damage_ends_the_log() -> Patches:
    read_log = _real("antiphon.runtime.opening.read_log")

    def mutant(*arguments: Any) -> Iterator[Any]:
        for frame in read_log(*arguments):
            if isinstance(frame, LogDamage):
                return
            yield frame

    return [patch("antiphon.runtime.opening.read_log", mutant)]


@_bug("what an unclean predecessor wrote is believed without a sync", seed=801)
def _predecessor_not_synced() -> Patches:
    return [patch("antiphon.runtime.opening.sync_existing", _nothing)]


# Chains


@_bug("after a failed write the chain goes on, and its numbers come twice", seed=6)
def _numbers_reused_after_failure() -> Patches:
    return [patch.object(JournalEngine, "_freeze", _nothing)]


@_bug("a folder that was put back from a backup goes on with its chain", seed=245)
def _numbers_reused_after_restore() -> Patches:
    return [patch.object(JournalFolder, "may_continue", lambda *_: True)]


@_bug("a new incarnation has the nonce of the one before", seed=10)
def _nonce_reused() -> Patches:
    open_chain = _real("antiphon.runtime.engine.open_chain")

    def mutant(**parts: Any) -> Any:
        return open_chain(**{**parts, "nonce": bytes(16)})

    return [patch("antiphon.runtime.engine.open_chain", mutant)]


@_bug("a chain's clock is the wall's and not the later of both", seed=64)
def _clock_follows_wall() -> Patches:
    return [patch("antiphon.journal.sealing.next_hlc", lambda last, wall_ms: wall_ms << 16)]


@_bug("what was read does not move the clock", seed=919)
def _clock_ignores_reading() -> Patches:
    return [patch.object(JournalEngine, "_hlc_floor", lambda *_: 0)]


@_bug("any stamp drags the clock along, however far ahead", seed=71)
def _skew_without_bound() -> Patches:
    return [patch.object(JournalEngine, "_is_near", lambda *_: True)]


# Membership


@_bug("a guard drops what is too far ahead instead of hiding it", seed=0)
def _guard_drops() -> Patches:
    ingest = JournalEngine.ingest

    async def mutant(self: Any, runs: Sequence[Any]) -> IngestResult:
        horizon = self._clock.now_ms() + SKEW_MS_MAX
        near = [run for run in runs if hlc_ms(parse_line(run.lines[-1]).header.hlc) <= horizon]
        return await ingest(self, near)

    return [patch.object(JournalEngine, "ingest", mutant)]


@_bug("nobody looks at a seal's signature", seed=10)
def _seal_not_checked() -> Patches:
    modules = [module for module in (chain_module, ingest_module, engine_module) if hasattr(module, "is_seal_valid")]
    return [patch.object(module, "is_seal_valid", lambda *_: True) for module in modules]


@_bug("a run's last id is taken from its seal instead of being computed", seed=10)
def _hash_not_checked() -> Patches:
    def mutant(info: Any, previous: Any, lines: Sequence[bytes], seal_line: bytes) -> VerifiedRun:
        seal = parse_seal_line(seal_line)
        parsed = [parse_line(line) for line in lines]
        ids = link_ids(previous.fact_id, parsed)
        ids[-1] = FactId(seal.to_id)
        if previous.seq == 0 and parsed[0].header.kind == OPENING_KIND:
            info = describe_chain(info, parsed[0].payload)
        return VerifiedRun(info, build_records(info, lines, parsed, ids), seal, seal_line, previous)

    return [patch.object(ingest_module, "verify_run", mutant)]


@_bug(
    "what names a lost fact as its cause is offered to peers, who cannot take it in", seed=30, switches=DEFAULT_SWITCHES
)
def _lost_causes_forgotten() -> Patches:
    return [patch.object(JournalIndex, "settle_causes", lambda _: frozenset())]


@_bug("what has the numbers of something collapsed is taken for it", seed=135, switches=DEFAULT_SWITCHES)
def _collapsed_by_number() -> Patches:
    classify = JournalIndex.classify

    def mutant(self: JournalIndex, run: RunRow) -> Continuation:
        state = self.chain(ChainId(run.chain))
        if state is not None and state.collapsed and run.last_seq <= state.collapsed[-1].last_seq:
            return Continuation.KNOWN
        return classify(self, run)

    return [patch.object(JournalIndex, "classify", mutant)]


# Sessions
#
# A range that is asked for one fact too short, or one too late, is no bug to be found here any more: the thorough part
# of the same session finds what is left.


def _say_instead(change: Callable[[Message], Message]) -> Patches:
    """Each message of every session, changed on its way out."""
    place = "antiphon.runtime.services.session_driver.encode"
    encode = _real(place)
    return [patch(place, lambda message: encode(change(message)))]


@_bug("the digest that a peer asks for is a stub that is always empty", seed=1)
def _digest_is_a_stub() -> Patches:
    return _say_instead(lambda message: replace(message, entries=()) if isinstance(message, Frontier) else message)


@_bug("the last chain is missing from every frontier", seed=1)
def _frontier_lacks_one() -> Patches:
    return _say_instead(
        lambda message: replace(message, entries=message.entries[:-1]) if isinstance(message, Frontier) else message
    )


@_bug("replicas compare a digest that is cut too short", seed=180)
def _digest_too_short() -> Patches:
    fingerprint = JournalIndex.fingerprint
    return [patch.object(JournalIndex, "fingerprint", lambda self: fingerprint(self)[:2] + "00" * 31)]


@_bug("new facts are never pushed to those who are linked", seed=2)
def _nothing_pushed() -> Patches:
    return [patch.object(SyncSession, "published", lambda *_: [])]


@_bug("a link that broke waits for ever", seed=4)
def _link_gives_up() -> Patches:
    return [patch.object(Link, "_draw_delay_s", lambda *_: 1e9)]


# Windows and views


@_bug("the window that is open when a journal closes is thrown away", seed=6)
def _window_lost_at_close() -> Patches:
    return [patch.object(Window, "flush", lambda self: self.discard() and None)]


@_bug("when a write fails, the windows that wait behind it are forgotten", seed=77)
def _waiting_windows_forgotten() -> Patches:
    failed = GroupCommit._failed

    def mutant(self: Any, problem: StoreUnavailable) -> None:
        self._waiting.clear()
        failed(self, problem)

    return [patch.object(GroupCommit, "_failed", mutant)]


@_bug("a view folds in the order of arrival", seed=0)
def _order_of_arrival() -> Patches:
    arrivals = count()
    places: dict[bytes, int] = {}

    def mutant(fact: Any) -> tuple[int, int, bytes]:
        record = get_record(fact)
        return (places.setdefault(record.fact_id, next(arrivals)), 0, record.fact_id)

    return [patch("antiphon.views.fold.stamp_of", mutant)]


@_bug("a window is folded twice", seed=0)
def _folded_twice() -> Patches:
    deliver = ViewHost.deliver

    def mutant(self: Any, facts: Sequence[Any]) -> None:
        deliver(self, facts)
        deliver(self, facts)

    return [patch.object(ViewHost, "deliver", mutant)]


@_bug("a view that is waking up misses what is written meanwhile", seed=192)
def _missed_while_waking() -> Patches:
    deliver = ViewHost.deliver

    def mutant(self: Any, facts: Sequence[Any]) -> None:
        deliver(self, facts)
        for missed in self._missed.values():
            missed.clear()

    return [patch.object(ViewHost, "deliver", mutant)]


@_bug("a fact from the future is shown at once", seed=71)
def _future_shown() -> Patches:
    return [patch.object(NotDue, "sift", lambda self, facts, now_ms: facts)]


@_bug("a fact from the future is never shown", seed=10)
def _future_forgotten() -> Patches:
    take_due = NotDue.take_due

    def mutant(self: Any, now_ms: int) -> list[Any]:
        take_due(self, now_ms)
        return []

    return [patch.object(NotDue, "take_due", mutant)]


KNOWN: Mapping[str, str] = {name: bug.sentence for name, bug in BUGS.items()}
"""Every planted bug by name, in words."""
