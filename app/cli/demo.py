"""``antiphon demo``: the whole pipe at work, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Draw nothing; only the report at the end.")] = False,
    as_json: JsonOption = False,
    irc: Annotated[Path | None, typer.Option("--irc", metavar="FILE", help="Play this IRC log.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.5, help="About how long to play.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another number, another conversation.")] = 0,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Keep the two journals in this folder.")
    ] = None,
) -> None:
    """Two replicas in two processes converse, part, meet again, and report; exit code 0 when they agree.

    JSON: one object with at least converged, facts, replicas, latency_ms {p50, p99}, fingerprints.
    """
    from antiphon.app.demo import run_demo

    raise typer.Exit(run_demo(headless=headless, as_json=as_json, irc=irc, seconds=seconds, seed=seed, keep=keep))
