"""A14: real journals under every misfortune at once, and the proof that the world would have noticed."""

import json
import os
import subprocess
import sys
from random import Random

import pytest

from antiphon.testing.simulation.campaign import Campaign, replay, run_campaign
from antiphon.testing.simulation.planted import BUGS, hunt, planted
from antiphon.testing.simulation.swarm import Switches, draw_swarm
from antiphon.testing.simulation.world import COMMANDS, run_seed

# Every change lives through this many; `make sim SEEDS=…` through any number.
SEEDS = 2_000
# One of the disk, one of chains, one of membership, one of sessions, one of views.
EVERY_TIME = ("ack_before_sync", "nonce_reused", "guard_drops", "link_gives_up", "order_of_arrival")


def in_a_process(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "antiphon.testing", *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_thousand_seeds_keep_every_promise() -> None:
    done = in_a_process("sim", "--seeds", str(SEEDS), "--jobs", "2", "--json")
    report = json.loads(done.stdout)
    assert report["failed"] == []
    assert report["seeds"] == SEEDS
    assert report["facts"] > 10 * SEEDS
    assert done.returncode == 0


def test_the_same_seed_gives_the_same_trace_in_every_process_and_under_every_hash_seed() -> None:
    seeds = [3, 17, 44]
    here = [run_seed(seed).trace_hash for seed in seeds]
    for hash_seed in ("0", "1", "2", "3"):
        for seed, expected in zip(seeds, here, strict=True):
            report = json.loads(in_a_process("sim", "--seed", str(seed), "--json", hash_seed=hash_seed).stdout)
            assert report["trace_hash"] == expected


def test_another_seed_gives_another_trace() -> None:
    assert len({run_seed(seed).trace_hash for seed in range(20)}) == 20


def test_every_command_is_carried_out_by_some_seed() -> None:
    drawn = set().union(*(draw_swarm(Random(seed)).weights for seed in range(200)))
    assert drawn == set(COMMANDS)


def test_a_failing_seed_prints_the_command_that_replays_it() -> None:
    with planted("folded_twice"):
        campaign = run_campaign(range(5))
    assert not campaign.is_good
    first = campaign.failures[0]
    assert f"replay: {replay(first.seed)}" in campaign.explain()
    assert first.trace, "a failure brings its trace"


def test_the_command_names_the_scenarios_that_were_turned() -> None:
    assert replay(7) == "antiphon sim --seed 7"
    turned = replay(7, Switches(forks=False, rot=False))
    assert turned == "python -m antiphon.testing sim --seed 7 --without forks --without rot"
    assert in_a_process(*turned.split()[3:]).stdout.splitlines()[-1].startswith("seed 7: ")


def test_a_replayed_seed_prints_its_trace_and_verdict() -> None:
    done = in_a_process("sim", "--seed", "3")
    assert done.returncode == 0
    assert "mended" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("seed 3: good, trace ")


def test_wrong_usage_is_told() -> None:
    assert in_a_process("sim", "--seeds", "0").returncode == 2
    assert in_a_process("bugs", "--bug", "no_such_bug").returncode == 2


def test_a_campaign_counts() -> None:
    told: list[tuple[int, int]] = []
    campaign = run_campaign(range(3), on_progress=lambda done, failed: told.append((done, failed)))
    assert isinstance(campaign, Campaign)
    assert told == [(1, 0), (2, 0), (3, 0)]
    assert campaign.seed_count == 3
    assert campaign.virtual_s > 3 * 3_600


@pytest.mark.parametrize("name", EVERY_TIME)
def test_a_planted_bug_is_found(name: str) -> None:
    assert hunt(name, seeds=300) is not None


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(BUGS) - set(EVERY_TIME)))
def test_every_planted_bug_is_found_within_ten_thousand_seeds(name: str) -> None:
    assert hunt(name) is not None, BUGS[name].sentence


def test_there_are_at_least_twenty_five_planted_bugs() -> None:
    assert len(BUGS) >= 25
    assert set(EVERY_TIME) <= set(BUGS)
