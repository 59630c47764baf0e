"""What a seed decides before anything happens: how many replicas, how kind the world, which commands and how often.

A swarm leaves out, in each run, some of the commands and most of the faults: runs in which everything happens at once
hide the bugs that need a quiet neighbourhood (Groce et al., "Swarm Testing", 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from .disk import DiskFaults
from .network import Quality

# command: weight when it takes part, and the chance that it does.
COMMANDS: Mapping[str, tuple[int, float]] = {
    "commit": (30, 1.0),
    "commit_many": (3, 0.5),
    "sync": (15, 0.9),
    "pause": (6, 0.8),
    "kill": (3, 0.5),
    "power": (3, 0.5),
    "die_in_call": (3, 0.4),
    "stop": (2, 0.4),
    "look": (3, 0.4),
    "restart": (6, 1.0),
    "partition": (2, 0.3),
    "cut": (1, 0.2),
    "heal": (3, 0.5),
    "reset": (1, 0.2),
    "jump": (2, 0.3),
    "rot": (1, 0.15),
    "backup": (2, 0.25),
    "restore": (2, 0.25),
    "forge": (2, 0.2),
    "stray": (2, 0.2),
}

# Most runs are short: a bug that needs few steps is found sooner, and a short failure is read sooner.
LENGTHS = (4, 6, 8, 10, 12, 16, 20, 30, 60)


@dataclass(frozen=True, slots=True)
class Switches:
    """Scenarios that can be left out, for bisecting and for code that does not promise them."""

    forks: bool = False
    """Equivocating authors, and disks that are rolled back without being able to tell."""
    rot: bool = True
    """Damage at rest."""
    adversary: bool = True
    """Peers that forge."""


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


def draw_swarm(random: Random, switches: Switches = DEFAULT_SWITCHES) -> Swarm:
    """Draw a climate."""
    left_out = set()
    if not switches.rot:
        left_out |= {"rot"}
    if not switches.adversary:
        left_out |= {"forge", "stray"}
    weights = {
        name: weight for name, (weight, chance) in COMMANDS.items() if random.random() < chance and name not in left_out
    }
    if switches.forks and random.random() < 0.3:
        weights["equivocate"] = 3
    if switches.forks and random.random() < 0.2:
        weights.update(image=3, roll_back=3)
    node_count = random.choice((2, 2, 3, 3, 4))
    return Swarm(
        node_count=node_count,
        step_count=random.choice(LENGTHS),
        pause_s=random.choice((0.001, 0.004, 0.02, 0.2, 3.0)),
        weights=weights,
        quality=_draw_quality(random),
        disk=_draw_disk(random),
        links=_draw_links(random, node_count),
        work_s=random.choice((0.0, 0.0002, 0.002, 0.02)),
        work_jitter_s=random.choice((0.0, 0.001, 0.01)),
    )


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
