"""``python -m antiphon.testing``: live through seeds, replay one, or plant bugs and see them found.

The command line's ``antiphon sim`` is this. Data goes to stdout, progress to stderr; exit code 0 when every promise was
kept, 1 when not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from .simulation.campaign import replay, run_campaign, tell_progress
from .simulation.swarm import Switches
from .simulation.world import Outcome, run_seed

SEEDS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what *arguments* (by default the command line's) say; the exit code."""
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m antiphon.testing", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sim = commands.add_parser("sim", help="live through seeds of simulated misfortune")
    sim.add_argument("--seeds", type=_positive, default=SEEDS, metavar="N", help=f"how many (default {SEEDS})")
    sim.add_argument("--start", type=int, default=0, metavar="N", help="the first seed (default 0)")
    sim.add_argument("--seed", type=int, metavar="K", help="replay this one and print its trace")
    sim.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, metavar="N", help="processes side by side")
    scenarios = sorted(Switches.__dataclass_fields__)
    sim.add_argument("--without", action="append", default=[], choices=scenarios, help="leave a scenario out")
    sim.add_argument("--with", action="append", default=[], choices=scenarios, dest="added", help="let one in")
    sim.add_argument("--json", action="store_true", help="write one JSON object to stdout")
    sim.set_defaults(run=_simulate)
    bugs = commands.add_parser("bugs", help="plant known bugs and see each of them found")
    bugs.add_argument("--bug", action="append", default=[], metavar="NAME", help="only this one (again for more)")
    bugs.add_argument("--seeds", type=_positive, default=10_000, metavar="N", help="within how many seeds")
    bugs.add_argument("--json", action="store_true", help="write one JSON object to stdout")
    bugs.set_defaults(run=_plant)
    return parser


def _simulate(options: argparse.Namespace) -> int:
    switches = Switches(**dict.fromkeys(options.added, True), **dict.fromkeys(options.without, False))
    if options.seed is not None:
        return _tell(run_seed(options.seed, switches), is_json=options.json)
    seeds = range(options.start, options.start + options.seeds)
    campaign = run_campaign(seeds, switches=switches, jobs=options.jobs, on_progress=tell_progress(len(seeds)))
    if options.json:
        _write_json(
            {
                "seeds": campaign.seed_count,
                "failed": [
                    {"seed": each.seed, "problems": each.problems, "replay": replay(each.seed, switches)}
                    for each in campaign.failures
                ],
                "facts": campaign.fact_count,
                "virtual_hours": round(campaign.virtual_s / 3_600, 1),
                "seconds": round(campaign.elapsed_s, 1),
                "seeds_per_hour": campaign.seeds_per_hour,
            }
        )
    else:
        _write(
            f"{campaign.seed_count:,} seeds, {len(campaign.failures)} failed; {campaign.fact_count:,} facts, "
            f"{campaign.virtual_s / 3_600:,.0f} virtual hours in {campaign.elapsed_s:.0f} s "
            f"({campaign.seeds_per_hour:,} seeds an hour)"
        )
        if campaign.failures:
            _write(campaign.explain())
    return 0 if campaign.is_good else 1


def _plant(options: argparse.Namespace) -> int:
    from .simulation.planted import BUGS, hunt

    unknown = sorted(set(options.bug) - set(BUGS))
    if unknown:
        sys.stderr.write(f"no such bug: {', '.join(unknown)}; known are {', '.join(BUGS)}\n")
        return 2
    found = {}
    for name in options.bug or BUGS:
        catch = found[name] = hunt(name, seeds=options.seeds)
        if not options.json:
            _write(f"{name:32} " + (f"seed {catch.seed}: {catch.problem}" if catch else "NOT FOUND"))
    missed = [name for name, catch in found.items() if catch is None]
    if options.json:
        _write_json({"bugs": {name: catch and catch._asdict() for name, catch in found.items()}, "missed": missed})
    else:
        _write(f"{len(found) - len(missed)} of {len(found)} planted bugs were found within {options.seeds:,} seeds")
    return 1 if missed else 0


def _tell(outcome: Outcome, *, is_json: bool) -> int:
    if is_json:
        _write_json(
            {
                "seed": outcome.seed,
                "problems": outcome.problems,
                "trace_hash": outcome.trace_hash,
                "facts": outcome.fact_count,
                "trace": outcome.trace,
            }
        )
    else:
        for line in outcome.trace:
            _write(line)
        for problem in outcome.problems:
            _write(f"PROBLEM {problem}")
        _write(f"seed {outcome.seed}: {'bad' if outcome.problems else 'good'}, trace {outcome.trace_hash[:16]}")
    return 0 if outcome.is_good else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write_json(value: object) -> None:
    _write(json.dumps(value, indent=2))


if __name__ == "__main__":
    sys.exit(main())
