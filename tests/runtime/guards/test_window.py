"""A window of requests comes to what the same requests come to one by one: ends, account, outbox and facts."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from antiphon import Fact, Journal
from antiphon.journal import LogCursor, LogFrame, read_log
from antiphon.journal.guard_book import GuardLimits
from antiphon.runtime.guards.chain import evaluate
from antiphon.runtime.guards.commands import (
    GenerateNonce,
    GuardOutcome,
    GuardRefused,
    LeakClaim,
    Queued,
    SendRequest,
    StoreMetadata,
    Timing,
)
from antiphon.runtime.guards.guard import EffectGuard, HeldCapabilities
from antiphon.runtime.guards.policy import EffectPolicyRegistry
from antiphon.runtime.guards.window import Guarded


class Uttered(Fact, kind="windowed.uttered", version=1):
    text: str


class Proposed(Fact, kind="windowed.proposed", version=1):
    text: str


LIMITS = GuardLimits(flow=30, leakage={"External": 40, "InGroup": 10})
POLICIES = EffectPolicyRegistry({"talk:propose": Timing.DEFERRED, "talk:marry": Timing.BLOCKING})

leaks = st.lists(
    st.builds(LeakClaim, st.sampled_from(["External", "InGroup", "Nobody"]), st.integers(0, 8)), max_size=2
)
# By name: Hypothesis would make up every field of a tuple that is not given.
plain_requests = st.builds(
    lambda **fields: SendRequest(**fields),
    operation=st.just("talk:say"),
    context=st.just("home"),
    peer=st.sampled_from(["bo", "cy"]),
    authority=st.just("ada"),
    capability=st.sampled_from(["talk:say", "talk:say", "talk:shout"]),
    cost=st.integers(0, 12),
    leaks=leaks.map(tuple),
    facts=st.lists(st.builds(Uttered, text=st.sampled_from(["a", "b"])), max_size=2).map(tuple),
    facts_after=st.lists(st.builds(Uttered, text=st.just("left")), max_size=1).map(tuple),
    envelope=st.one_of(st.none(), st.binary(max_size=4)),
    to=st.sampled_from(["", "elsewhere"]),
)
odd = st.one_of(
    st.fixed_dictionaries({"operation": st.sampled_from(["talk:propose", "talk:marry"])}),
    st.just({"operation": "talk:propose", "proposal": Proposed(text="may I?")}),
    st.just({"extra": (StoreMetadata("k", "v"), GenerateNonce(4))}),
    st.just({"plan_id": "the-same"}),
    st.just({"peer": "\ud800"}),
    st.just({"facts": (Uttered(text="\ud800"),)}),
    st.just({"capability": ""}),
)
odd_requests = st.builds(lambda each, changes: each._replace(**changes), plain_requests, odd)
windows = st.one_of(
    st.lists(plain_requests, max_size=10),
    st.lists(st.one_of(plain_requests, plain_requests, odd_requests), max_size=8),
)


class StandingClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000


def told(end: object) -> object:
    """What an end says, but for names that are drawn at random."""
    if isinstance(end, Guarded):
        results = [type(each) if isinstance(each, Queued) or "Nonce" in str(each) else each for each in end.results]
        return end.outcome.to_bytes() if _is_text(end.outcome) else end.outcome, results
    if isinstance(end, GuardRefused):
        return end.violation
    assert isinstance(end, Exception)
    return getattr(end, "kind", None)


def _is_text(outcome: GuardOutcome) -> bool:
    try:
        outcome.to_bytes()
    except Exception:
        return False
    return True


async def one_by_one(guard: EffectGuard, requests: list[SendRequest]) -> list[Any]:
    ends: list[Any] = []
    for request in requests:
        try:
            ends.append(await guard.guarded(request))
        except Exception as problem:
            ends.append(problem)
    return ends


async def state_of(journal: Journal) -> object:
    book = journal.engine.guard_book
    rows = await journal.sql("select kind, payload from history where kind like 'windowed.%' order by chain, seq")
    bits = [book.remaining_bits("home", peer, each, now_ms=0) for peer in ("bo", "cy") for each in ("External",)]
    letters = [(letter.to, letter.peer, letter.data, letter.after) for letter in book.letters]
    spent = [book.remaining("home", peer) for peer in ("bo", "cy")]
    return rows.fetchall(), bits, letters, spent, dict(book.metadata), book.statistics().pending_count


async def check_window(folder: Path, requests: list[SendRequest]) -> None:
    found: list[object] = []
    for name in ("window", "single"):
        options: dict[str, Any] = {"author": "ada", "types": (Uttered, Proposed), "clock": StandingClock()}
        async with Journal.open(folder / name, **options) as journal:
            guard = EffectGuard(
                journal.engine, capabilities=HeldCapabilities("talk:say"), limits=LIMITS, policies=POLICIES
            )
            together = name == "window"
            ends = await (guard.guarded_all(requests, flush=True) if together else one_by_one(guard, requests))
            found.append((list(map(told, ends)), await state_of(journal)))
            path, state = journal.path, journal.engine.guard_book.state_data()
        async with Journal.open(path, **options) as journal:
            assert journal.engine.guard_book.state_data() == state, "the log says what the book says"
    assert found[0] == found[1]


def run_window(requests: list[SendRequest]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check_window(Path(folder), requests))


UNSHRUNK = (Phase.explicit, Phase.generate)


@settings(max_examples=20, deadline=None, phases=UNSHRUNK)
@given(windows)
def test_a_window_comes_to_what_its_requests_come_to_one_by_one(requests: list[SendRequest]) -> None:
    run_window(requests)


@pytest.mark.long
@settings(max_examples=200, deadline=None, phases=UNSHRUNK)
@given(windows)
def test_a_window_comes_to_what_its_requests_come_to_one_by_one_at_length(requests: list[SendRequest]) -> None:
    run_window(requests)


@pytest.mark.asyncio
async def test_a_window_is_one_charge_and_one_local_line_and_its_outcomes_are_the_chains_own(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada", types=(Uttered,)) as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say"))
        requests = [
            SendRequest("talk:say", "home", "bo", "ada", "talk:say", cost=2, envelope=b"%d" % n) for n in range(40)
        ]
        snapshot = await guard.prepare(requests[0])
        ends = await guard.guarded_all(requests, flush=True)
        cursor = LogCursor.at_start(journal=journal.engine.journal_id)
        frames = [frame for frame in read_log(journal.path, cursor) if isinstance(frame, LogFrame)]
        (note,) = [note for frame in frames for note in frame.notes if note.kind == "guard.plans"]
        assert str(note.value).count('["home","bo",80]') == 1
        for request, end in zip(requests, ends, strict=True):
            assert isinstance(end, Guarded)
            assert end.outcome.to_bytes() == evaluate(snapshot, request).to_bytes()
        assert [end.results[0].remaining for end in ends] == list(range(1_022, 943, -2))  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_more_than_a_frame_holds_goes_in_several(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada", types=(Uttered,)) as journal:
        guard = EffectGuard(journal.engine, capabilities=HeldCapabilities("talk:say"))
        requests = [
            SendRequest("talk:say", "home", "bo", "ada", "talk:say", facts=(Uttered(text="x"),), envelope=b"y")
        ] * 1_200
        ends = await guard.guarded_all(requests, flush=True)
        assert all(isinstance(end, Guarded) for end in ends)
        assert len(guard.book.letters) == 1_200
        assert (await journal.sql("select count(*) from windowed_uttered")).fetchall() == [(1_200,)]
