"""What ``import antiphon`` and its front door cost a program that starts, against the libraries it stands on."""

from __future__ import annotations

import subprocess
import sys

from .measure import Figure, Sample, Settings, Spread, interleave, spread

IMPORT = "import antiphon"
FRONT_DOOR = "from antiphon import Fact, Journal, view"
REFERENCE = "import duckdb, pydantic, reactivex"
# Clocks are read inside the new process, so that starting the interpreter is nobody's merit.
_PROGRAM = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


async def measure(settings: Settings) -> list[Figure]:
    """A fresh interpreter for each import, in turn."""

    async def package() -> list[Sample]:
        return [_import(IMPORT)]

    async def front_door() -> list[Sample]:
        return [_import(FRONT_DOOR)]

    async def reference() -> list[Sample]:
        return [_import(REFERENCE)]

    contenders = [package, front_door, reference]
    await interleave(contenders, repeats=2)  # warm-up: byte code and page cache
    bare, named, theirs = map(spread, await interleave(contenders, repeats=settings.pick(15, 5)))
    return [_figure("import", IMPORT, bare, theirs), _figure("front_door", FRONT_DOOR, named, theirs)]


def _figure(name: str, title: str, mine: Spread, theirs: Spread) -> Figure:
    return Figure.of_times(
        name,
        title,
        mine,
        theirs,
        unit="ms",
        goal=1.5,
        final_goal=1.2,
        reference_name=REFERENCE,
        imports=mine.size,
    )


def _import(statement: str) -> Sample:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(statement=statement)], capture_output=True, text=True, check=True
    )
    wall, cpu = map(float, done.stdout.split())
    return Sample(wall, cpu)
