"""What a seed decides before anything happens: how many replicas, how kind the world, which commands and how often.

A swarm leaves out, in each run, some of the commands and most of the faults: runs in which everything happens at once
hide the bugs that need a quiet neighbourhood (Groce et al., "Swarm Testing", 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from .disk import DiskFaults
from .network import Quality

# The chance that a run has the feature, and what it is then made of: commands by weight.
FEATURES: tuple[tuple[float, Mapping[str, int]], ...] = (
    (1.0, {"commit": 30, "restart": 6}),
    (0.5, {"commit_many": 3}),
    (0.9, {"sync": 15}),
    (0.8, {"pause": 6}),
    (0.5, {"kill": 3}),
    (0.5, {"power": 3}),
    (0.4, {"die_in_call": 3}),
    (0.4, {"stop": 2}),
    (0.4, {"look": 3}),
    (0.3, {"partition": 2, "heal": 3}),
    (0.2, {"cut": 2, "heal": 3}),
    (0.2, {"reset": 2}),
    (0.3, {"jump": 3}),
    (0.05, {"seal": 5}),  # real Parquet, written by a real DuckDB: dear, and so rare
)
# What a switch may leave out.
OPTIONAL: Mapping[str, tuple[tuple[float, Mapping[str, int]], ...]] = {
    "rot": ((0.2, {"rot": 5, "kill": 3}),),
    "restore": ((0.2, {"backup": 4, "restore": 4, "relive": 4}),),
    "adversary": ((0.2, {"forge": 6}), (0.2, {"stray": 2})),
    "forks": ((0.3, {"equivocate": 4}), (0.2, {"image": 4, "roll_back": 4, "relive_unnoticed": 4})),
}

# What makes an honest chain tell two stories.
FORKING = frozenset({"equivocate", "roll_back", "relive_unnoticed", "relive_collapsed"})

# Drawn last of all, so that it shifts nothing; it writes real Parquet as well, and is as rare.
COLLAPSING = 0.12

# Most runs are short: a bug that needs few steps is found sooner, and a short failure is read sooner.
LENGTHS = (4, 6, 8, 10, 12, 16, 20, 30, 60)


@dataclass(frozen=True, slots=True)
class Switches:
    """Scenarios that can be left out, for bisecting and for code that does not promise them."""

    forks: bool = True
    """Equivocating authors, and disks that are rolled back without being able to tell."""
    rot: bool = True
    """Damage at rest."""
    restore: bool = True
    """Backups that are put back."""
    adversary: bool = True
    """Peers that forge, and strangers."""
    collapse: bool = True
    """Replicas that let go of what nobody asks for."""


DEFAULT_SWITCHES = Switches()


@dataclass(frozen=True, slots=True)
class Swarm:
    """One run's climate."""

    node_count: int
    step_count: int
    pause_s: float
    weights: Mapping[str, int]
    quality: Quality
    disk: DiskFaults
    links: tuple[tuple[int, int], ...]
    work_s: float
    work_jitter_s: float
    log_file_bytes: int
    """How large a log file grows before the next one is begun."""


def draw_swarm(random: Random, switches: Switches = DEFAULT_SWITCHES) -> Swarm:
    """Draw a climate."""
    features = [*FEATURES]
    for switch, parts in OPTIONAL.items():
        features += parts if getattr(switches, switch) else ()
    weights: dict[str, int] = {}
    for chance, commands in features:
        if random.random() < chance:
            weights.update(commands)
    node_count = random.choice((2, 2, 3, 3, 4))
    swarm = Swarm(
        node_count=node_count,
        step_count=random.choice(LENGTHS),
        pause_s=random.choice((0.001, 0.004, 0.02, 0.2, 3.0)),
        weights=weights,
        quality=_draw_quality(random),
        disk=_draw_disk(random),
        links=_draw_links(random, node_count),
        work_s=random.choice((0.0, 0.0002, 0.002, 0.02)),
        work_jitter_s=random.choice((0.0, 0.001, 0.01)),
        log_file_bytes=random.choice((2_000, 30_000, 8 * 1024 * 1024)),
    )
    if random.random() >= COLLAPSING or not switches.collapse:
        return swarm
    hushing = {"hush": 20, "collapse": 6} | ({"relive_collapsed": 6} if switches.forks else {})
    return replace(swarm, weights=weights | hushing)


def _draw_quality(random: Random) -> Quality:
    def now_and_then(chance: float, *values: float) -> float:
        return random.choice(values) if random.random() < chance else 0.0

    return Quality(
        latency_s=random.choice((0.0, 0.001, 0.02, 0.2)),
        jitter_s=now_and_then(0.5, 0.001, 0.05),
        bytes_per_s=int(now_and_then(0.2, 20_000, 1_000_000)),
        loss=now_and_then(0.3, 0.005, 0.05),
        duplicate=now_and_then(0.15, 0.02, 0.2),
        reorder=now_and_then(0.15, 0.02, 0.2),
        corrupt=now_and_then(0.15, 0.01, 0.1),
    )


def _draw_disk(random: Random) -> DiskFaults:
    if random.random() < 0.7:
        return DiskFaults()
    return DiskFaults(
        write_error=random.choice((0.0, 0.02, 0.2)),
        sync_error=random.choice((0.0, 0.02, 0.2)),
        full=random.choice((0.0, 0.02, 0.2)),
    )


def _draw_links(random: Random, node_count: int) -> tuple[tuple[int, int], ...]:
    """Who stays linked to whom: nobody, a chain, or everybody with everybody."""
    match random.randrange(4):
        case 0 | 1:
            return ()
        case 2:
            return tuple((number, number + 1) for number in range(node_count - 1))
        case _:
            return tuple((first, second) for second in range(node_count) for first in range(second))
