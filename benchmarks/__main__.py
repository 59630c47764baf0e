"""``python -m benchmarks [--json FILE] [--only NAME] [--quick]``: take the figures, print the table, write the JSON."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from .measure import Figure, Settings

RESULTS = Path(__file__).parent / "results"
HOT_PATHS = (
    "commit",
    "commit_tail",
    "sustained",
    "importing",
    "signal_latency",
    "growth",
    "idle",
    "reopen",
    "reopen_chat",
    "segments",
    "rebuild",
    "history",
    "import_time",
    "anti_entropy",
    "choreography",
    "endpoints",
    "guards",
    "transports",
    "ack_retention",
    "reactive",
    "views",
    "web",
)
# Where no terminal says how wide it is: the table on one screen, a figure on two lines.
TABLE_WIDTH = 150
_LIBRARIES = ("antiphon", "duckdb", "pydantic", "pydantic-core", "orjson", "reactivex", "cryptography", "pyarrow")


def main() -> int:
    """Run; 0 when every goal of this stage is met, 1 when one is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where to write (default: benchmarks/results/latest.json)"
    )
    parser.add_argument("--only", choices=HOT_PATHS, action="append", help="take this figure only; may be repeated")
    parser.add_argument(
        "--quick", action="store_true", help="fewer repeats and smaller journals: a look, not a measurement"
    )
    parser.add_argument("--folder", type=Path, help="scratch space on the disk to measure (default: the system's)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = tuple(arguments.only or HOT_PATHS)
    if arguments.here:
        figures = run_here(names, is_quick=arguments.quick, parent=arguments.folder)
        arguments.json.write_bytes(orjson.dumps([figure.as_json() for figure in figures]))
        return 0
    console = Console()
    if not console.is_terminal:
        console = Console(width=TABLE_WIDTH)
    taken = run_apart(names, is_quick=arguments.quick, parent=arguments.folder, console=Console(stderr=True))
    console.print(table_of(taken))
    target = arguments.json or RESULTS / "latest.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": describe_machine(), "is_quick": arguments.quick, "figures": taken}
    target.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    console.print(f"written to {target}")
    return 0 if all(figure["is_met"] for figure in taken) else 1


def run_apart(names: Sequence[str], *, is_quick: bool, parent: Path | None, console: Console) -> list[dict[str, Any]]:
    """Take each hot path in a process of its own, so that none pays for the garbage of another."""
    taken: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            started = time.monotonic()
            console.print(f"{name} …", end=" ")
            file = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", "benchmarks", "--here", "--only", name, "--json", str(file)]
            command += ["--quick"] if is_quick else []
            command += ["--folder", str(parent)] if parent else []
            subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[1])
            taken.extend(orjson.loads(file.read_bytes()))
            console.print(f"{time.monotonic() - started:.0f} s")
    return taken


def run_here(names: Sequence[str], *, is_quick: bool, parent: Path | None) -> list[Figure]:
    """Take hot paths in this process."""
    figures: list[Figure] = []
    for name in names:
        measure: Callable[[Settings], Coroutine[Any, Any, list[Figure]]] = import_module(f"benchmarks.{name}").measure
        with tempfile.TemporaryDirectory(dir=parent, prefix=f"antiphon-bench-{name}-") as folder:
            figures.extend(asyncio.run(measure(Settings(Path(folder), is_quick))))
    return figures


def describe_machine() -> dict[str, object]:
    """What the figures were taken on; how busy it was is part of that."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def table_of(figures: Sequence[Mapping[str, Any]]) -> Table:
    """The table that people read."""
    table = Table(title="Figures, each beside its reference of the same run")
    for title in ("figure", "ours", "reference", "value", "p10", "CPU", "goal here", "final goal", "met?"):
        table.add_column(title, justify="left" if title in ("figure", "met?") else "right")
    for figure in figures:
        unit, sign = figure["value_unit"], "≤" if figure["sense"] == "at most" else "≥"
        reference = figure["reference"]
        table.add_row(
            f"{figure['title']}\n[dim]against {figure['reference_name']}[/]" if reference else figure["title"],
            f"{_number(figure['ours'])} {figure['unit']}",
            f"{_number(reference)} {figure['unit']}" if reference else "–",
            f"[bold]{_number(figure['value'])}{unit}[/]",
            f"{_number(figure['value_p10'])}{unit}" if figure["value_p10"] is not None else "–",
            f"{_number(figure['cpu_value'])}{unit}" if figure["cpu_value"] is not None else "–",
            f"{sign} {figure['goal']}{unit}",
            f"{sign} {figure['final_goal']}{unit}",
            _verdict(figure),
        )
    return table


def _verdict(figure: Mapping[str, Any]) -> str:
    if figure["is_final_met"]:
        return "[green]final[/]"
    return "[green]yes[/]" if figure["is_met"] else "[red]no[/]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
