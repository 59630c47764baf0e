"""What guarding costs: a window of guarded messages against the bare window, the pure chain, and a known token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from antiphon import Fact, Journal
from antiphon.journal.guard_book import GuardLimits
from antiphon.runtime.guards.capabilities import TokenCapabilities, TokenVerifier, issue_token
from antiphon.runtime.guards.chain import evaluate
from antiphon.runtime.guards.commands import GuardSnapshot, LeakClaim, SendRequest
from antiphon.runtime.guards.guard import EffectGuard, Guarded
from antiphon.runtime.guards.keys import load_key

from .measure import Burst, Figure, Sample, Settings, Stopwatch, interleave, spread

WINDOW = 100
BURST = 10
LOOPS = 2_000


class Uttered(Fact, kind="bench.uttered", version=1):
    text: str


def request_of(text: str) -> SendRequest:
    return SendRequest(
        "talk:say", "home", "bo", "ada", "talk:say", cost=1, facts=(Uttered(text=text),), envelope=text.encode()
    )


async def measure(settings: Settings) -> list[Figure]:
    """A hundred messages: each judged, charged and put in the outbox; and the same facts, committed."""
    async with Journal.open(settings.folder / "guarded", author="ada", types=(Uttered,)) as journal:
        key = load_key(journal.path / "keys" / "authority.key")
        verifier = TokenVerifier([key.public_key], journal.engine.clock)
        token = verifier.verify(issue_token(key.seed, subject="ada", capabilities=["talk:say"]))
        rights = TokenCapabilities(verifier, token)
        counted = _Counted(rights)
        guard = EffectGuard(journal.engine, capabilities=counted, limits=GuardLimits(flow=2**40))

        async def guarded() -> None:
            ends = await guard.guarded_all([request_of("hello there, how are you?") for _ in range(WINDOW)], flush=True)
            assert all(isinstance(end, Guarded) for end in ends), "the budget holds them all"

        async def bare() -> None:
            await journal.commit_all([Uttered(text="hello there, how are you?") for _ in range(WINDOW)], flush=True)

        async def settle() -> None:
            for letter in guard.book.letters:
                guard.book.finish(letter.envelope_id)
            await journal.engine.follower.barrier()

        contenders = [_burst(guarded, settle), _burst(bare, settle)]
        await interleave(contenders, repeats=2)
        ours, line = await interleave(contenders, repeats=settings.pick(40, 8))
        counted.count = 0
        await guarded()
        await settle()
        mine, theirs = spread(ours), spread(line)
        window_us = mine.cpu_median * 1e6
        figures = [
            Figure.of_times(
                "guarded_window",
                "a window of 100 guarded messages, durable",
                mine,
                theirs,
                unit="ms a window",
                goal=1.5,
                reference_name="the same facts, committed",
                windows=mine.size,
            )
        ]
        figures.append(_chain_figure())
        figures.append(_token_figure(rights, counted.count, window_us))
        return figures


def _chain_figure() -> Figure:
    snapshot = GuardSnapshot(
        caps=frozenset({"talk:say"}), budgets={("home", "bo"): 10}, leakage={("home", "bo", "External"): 100}
    )
    request = SendRequest(
        "talk:say",
        "home",
        "bo",
        "ada",
        "talk:say",
        cost=1,
        leaks=(LeakClaim("External", 8),),
        facts=(Uttered(text="x"),),
        envelope=b"x",
    )
    return _timed("guard_chain", "the pure chain, a request", lambda: evaluate(snapshot, request), goal_us=10.0)


class _Counted:
    """Capabilities of a token, and how often they were asked for."""

    def __init__(self, rights: TokenCapabilities) -> None:
        self._rights = rights
        self.count = 0

    async def frontier(self, request: SendRequest) -> frozenset[str]:
        self.count += 1
        return await self._rights.frontier(request)


def _token_figure(rights: TokenCapabilities, count: int, window_us: float) -> Figure:
    """The *count* look-ups of a known token that a window makes, as a share of the CPU of that window."""
    figure = _timed("token", "a known token", lambda: rights.allowed("talk:say", "home"), goal_us=10.0)
    share = figure.ours * count / window_us
    return Figure(
        name="guard_token",
        title="a known token, as often as a window asks",
        unit="µs a look-up",
        ours=figure.ours,
        reference=window_us,
        value=share,
        value_p10=share,
        cpu_value=share,
        goal=0.01,
        final_goal=0.01,
        reference_name="CPU of the guarded window",
        details={"look-ups": count},
    )


def _timed(name: str, title: str, work: Callable[[], object], *, goal_us: float) -> Figure:
    samples: list[Sample] = []
    for _ in range(20):
        with Stopwatch() as watch:
            for _ in range(LOOPS):
                work()
        samples.append(watch.sample())
    found = spread(samples)
    each = found.cpu_median * 1e6 / LOOPS
    return Figure(
        name=name,
        title=title,
        unit="µs",
        ours=each,
        reference=goal_us,
        value=each / goal_us,
        value_p10=found.wall_p10 * 1e6 / LOOPS / goal_us,
        cpu_value=each / goal_us,
        goal=1.0,
        final_goal=1.0,
        reference_name=f"{goal_us:g} µs",
        details={},
    )


def _burst(work: Callable[[], Awaitable[None]], afterwards: Callable[[], Awaitable[None]]) -> Burst:
    async def burst() -> list[Sample]:
        samples = []
        for _ in range(BURST):
            with Stopwatch() as watch:
                await work()
            samples.append(watch.sample())
        await afterwards()
        return samples

    return burst
