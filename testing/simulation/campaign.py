"""Many seeds in a row, or side by side in several processes: what failed, and the one command that replays it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import partial
from typing import NamedTuple

from antiphon.runtime.clock import monotonic_seconds

from .swarm import DEFAULT_SWITCHES, Switches
from .world import Outcome, run_seed

# Handed to a process at once: long enough to pay for the hand-over, short enough for a progress bar.
CHUNK = 20
FAILURES_MAX = 20

Progress = Callable[[int, int], None]


class Campaign(NamedTuple):
    """What became of a range of seeds."""

    seed_count: int
    fact_count: int
    virtual_s: float
    elapsed_s: float
    failures: tuple[Outcome, ...]
    switches: Switches = DEFAULT_SWITCHES

    @property
    def is_good(self) -> bool:
        """Whether every seed kept every promise."""
        return not self.failures

    @property
    def seeds_per_hour(self) -> int:
        """How fast that was."""
        return round(self.seed_count / self.elapsed_s * 3_600) if self.elapsed_s else 0

    def explain(self) -> str:
        """Each failure, and how to see it again."""
        return "\n".join(
            f"seed {each.seed}: {each.problems[0]}\n  replay: {replay(each.seed, self.switches)}"
            for each in self.failures
        )


def replay(seed: int, switches: Switches = DEFAULT_SWITCHES) -> str:
    """The command that lives through a seed again.

    >>> replay(7)
    'antiphon sim --seed 7'
    >>> replay(7, Switches(forks=False, rot=False))
    'python -m antiphon.testing sim --seed 7 --without forks --without rot'
    """
    if switches == DEFAULT_SWITCHES:
        return f"antiphon sim --seed {seed}"
    names = [field.name for field in fields(switches) if getattr(switches, field.name) != field.default]
    turned = " ".join(f"--with{'' if getattr(switches, name) else 'out'} {name}" for name in names)
    return f"python -m antiphon.testing sim --seed {seed} {turned}"


def run_campaign(
    seeds: Sequence[int],
    *,
    switches: Switches = DEFAULT_SWITCHES,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> Campaign:
    """Live through *seeds*, in *jobs* processes; ends early after twenty failures.

    *on_progress* is told how many are done and how many failed. Raises nothing for a seed that fails.
    """
    started_s = monotonic_seconds()
    done = facts = 0
    virtual_s = 0.0
    failures: list[Outcome] = []
    for outcome in _outcomes(seeds, switches, jobs):
        done += 1
        facts += outcome.fact_count
        virtual_s += outcome.virtual_s
        if not outcome.is_good:
            failures.append(outcome)
        if on_progress is not None:
            on_progress(done, len(failures))
        if len(failures) >= FAILURES_MAX:
            break
    return Campaign(done, facts, virtual_s, monotonic_seconds() - started_s, tuple(failures), switches)


def _outcomes(seeds: Sequence[int], switches: Switches, jobs: int) -> Iterator[Outcome]:
    if jobs <= 1:
        yield from map(partial(run_seed, switches=switches), seeds)
        return
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        try:
            for outcomes in pool.map(partial(_run_chunk, switches=switches), chunks):
                yield from outcomes
        finally:
            pool.shutdown(cancel_futures=True)


def _run_chunk(seeds: Iterable[int], switches: Switches) -> list[Outcome]:
    """A good run's trace stays where it was made; its hash is enough."""
    outcomes = [run_seed(seed, switches) for seed in seeds]
    return [outcome.without_trace() if outcome.is_good else outcome for outcome in outcomes]


def tell_progress(total: int) -> Progress:
    """A line on stderr that counts, where somebody watches."""

    def tell(done: int, failed: int) -> None:
        if sys.stderr.isatty() and (done % 10 == 0 or done == total):
            sys.stderr.write(f"\r{done:,} of {total:,} seeds, {failed} failed" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return tell
