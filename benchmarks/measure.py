"""How a figure is taken: contenders in turn (A B A B …), wall and CPU clock, medians and tenth percentiles.

Knows nothing of journals. Wall clocks on a shared machine lie, mostly by whole scheduler ticks; a ratio of two medians
whose samples lie between each other lies far less, and the CPU clock beside it shows when it still does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Settings:
    """How thorough a run is. ``folder`` is scratch space on the disk that is measured."""

    folder: Path
    is_quick: bool = False

    def pick(self, thorough: int, quick: int) -> int:
        """A number that ``--quick`` lowers."""
        return quick if self.is_quick else thorough


class Sample(NamedTuple):
    """What one unit of work took: wall seconds and the process's CPU seconds, all threads together."""

    wall: float
    cpu: float


class Spread(NamedTuple):
    """Many samples in two numbers a clock, in seconds."""

    wall_median: float
    wall_p10: float
    cpu_median: float
    cpu_p10: float
    size: int


_A_SECOND = {"ms": 1e3, "µs": 1e6}


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``value``, ``value_p10`` and ``cpu_value`` (from CPU clocks) must all meet a goal.

    ``is_cpu_judged`` is False where CPU time says nothing about the goal.
    """

    name: str
    title: str
    unit: str
    ours: float
    reference: float | None
    value: float
    goal: float
    final_goal: float
    sense: Literal["at most", "at least"] = "at most"
    value_unit: str = "x"
    value_p10: float | None = None
    cpu_value: float | None = None
    is_cpu_judged: bool = True
    reference_name: str = ""
    details: dict[str, float | int | str] = field(default_factory=dict)

    @classmethod
    def of_times(
        cls,
        name: str,
        title: str,
        mine: Spread,
        theirs: Spread,
        *,
        unit: str,
        goal: float,
        final_goal: float | None = None,
        reference_name: str,
        per: float = 1,
        **details: float | int | str,
    ) -> Figure:
        """How many times as long as *theirs* ours takes; shown in *unit* (``ms …`` or ``µs …``), divided by *per*."""
        scale = _A_SECOND[unit.split()[0]] / per
        return cls(
            name=name,
            title=title,
            unit=unit,
            ours=mine.wall_median * scale,
            reference=theirs.wall_median * scale,
            value=mine.wall_median / theirs.wall_median,
            value_p10=mine.wall_p10 / theirs.wall_p10,
            cpu_value=mine.cpu_median / theirs.cpu_median,
            goal=goal,
            final_goal=goal if final_goal is None else final_goal,
            reference_name=reference_name,
            details=details,
        )

    def meets(self, goal: float) -> bool:
        """Whether the value is on the right side of *goal*, in the middle and undisturbed, by both clocks."""
        values = [self.value] if self.value_p10 is None else [self.value, self.value_p10]
        if self.cpu_value is not None and self.is_cpu_judged:
            values.append(self.cpu_value)
        return max(values) <= goal if self.sense == "at most" else min(values) >= goal

    def as_json(self) -> dict[str, object]:
        """All of it, with the verdicts."""
        return asdict(self) | {"is_met": self.meets(self.goal), "is_final_met": self.meets(self.final_goal)}


Burst = Callable[[], Awaitable[Sequence[Sample]]]


class Stopwatch:
    """Both clocks at once: ``with Stopwatch() as watch: …`` then ``watch.sample(per=…)``."""

    def __enter__(self) -> Stopwatch:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(self, *problem: object) -> None:
        self._wall = time.perf_counter() - self._wall
        self._cpu = time.process_time() - self._cpu

    def sample(self, *, per: float = 1) -> Sample:
        """What passed, divided by *per* units of work."""
        return Sample(self._wall / per, self._cpu / per)


async def interleave(contenders: Sequence[Burst], *, repeats: int) -> list[list[Sample]]:
    """Let the contenders take turns, *repeats* times, each after the garbage of the others was collected."""
    samples: list[list[Sample]] = [[] for _ in contenders]
    for turn in range(repeats):
        # Every other round runs backwards, so that nobody always follows the same neighbour.
        order = range(len(contenders)) if turn % 2 == 0 else reversed(range(len(contenders)))
        for each in order:
            gc.collect()
            samples[each].extend(await contenders[each]())
    return samples


def spread(samples: Sequence[Sample]) -> Spread:
    """Medians and tenth percentiles."""
    walls = sorted(sample.wall for sample in samples)
    cpus = sorted(sample.cpu for sample in samples)
    return Spread(_rank(walls, 50), _rank(walls, 10), _rank(cpus, 50), _rank(cpus, 10), len(samples))


def percentile(samples: Sequence[Sample], percent: float) -> float:
    """A percentile of the wall times."""
    return _rank(sorted(sample.wall for sample in samples), percent)


def _rank(ordered: Sequence[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
