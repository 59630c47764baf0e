"""``antiphon sim``: live through seeds of simulated misfortune with real journals.

The simulator is a door of its own (``python -m antiphon.testing``), so this one does not import it but starts it by its
name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

SIMULATOR = "antiphon.testing.__main__"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(name="sim")(sim)


def sim(
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="How many seeds.")] = 200,
    start: Annotated[int, typer.Option("--start", metavar="N", min=0, help="The first seed.")] = 0,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="K", help="Replay this one and print its trace.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", min=1, help="Processes side by side.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")] = False,
) -> None:
    """Real journals on a virtual clock, disk and network: crashes, torn writes, partitions, liars; one oracle.

    Exits 0 when every promise was kept in every seed, else 1 with the command that replays the seed. With --json:
    seeds, failed (seed, problems, replay), facts, virtual_hours, seconds, seeds_per_hour; of one seed problems,
    trace_hash, facts, trace.
    """
    arguments = ["sim", "--seeds", str(seeds), "--start", str(start)]
    arguments += [] if seed is None else ["--seed", str(seed)]
    arguments += [] if jobs is None else ["--jobs", str(jobs)]
    arguments += ["--json"] if as_json else []
    raise typer.Exit(import_module(SIMULATOR).main(arguments))
