"""``antiphon demo``: chooses what is played and how it is shown, and turns the end into an exit code.

The stage is a temporary folder that is gone afterwards, whatever happens; nothing is played on a journal of the user.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from antiphon.facts import AntiphonError, LocalViolation

from ..irc import parse_log
from .director import DemoFailed, Plan, Stage, perform
from .replica import PANE_INTERVAL_S, REAL_TIME, Timing
from .report import render_json
from .screen import draw
from .script import Line, Step, build_script, plan_beat, script_from_log

EXIT_CONVERGED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Two interpreters start, two journals open and close.
_SET_UP_S = 2.0
_SECONDS_DRAWN = 11.0
_SECONDS_HEADLESS = 3.0
_SECONDS_HEADLESS_LOG = 6.0
# A log has no day when only its text matters.
_ANY_DAY = date(1970, 1, 1)


def run_demo(
    *, headless: bool, as_json: bool, irc: Path | None, seconds: float | None, seed: int, keep: Path | None
) -> int:
    """Play the demo; returns 0 when both replicas converged, 1 with the reason when not, 2 for a wrong argument.

    Drawn live on a terminal; *headless*, *as_json* or an output that is no terminal print the report only. *irc* is a
    log to be played, *seconds* about how long it takes, *keep* a folder for the two journals that stays. 130 after
    Ctrl-C.
    """
    console = Console()
    is_drawn = console.is_terminal and not (headless or as_json)
    if not (console.is_terminal or headless or as_json):
        _say("the output is no terminal, so only the report is printed (as with --headless)")
    try:
        script = _choose_script(irc, seed)
        budget_s = _choose_seconds(seconds, is_drawn=is_drawn, is_log=irc is not None)
        with _folder(keep) as folder:
            plan = Plan(script, plan_beat(script, seconds=budget_s), folder, is_drawn)
            return _play(plan, console, as_json=as_json)
    except LocalViolation as problem:
        _say(str(problem))
        return EXIT_USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted; both replicas are closed")
        return EXIT_INTERRUPTED


def _play(plan: Plan, console: Console, *, as_json: bool) -> int:
    is_narrated = not (plan.is_drawn or as_json)
    report = asyncio.run(_perform(plan, console, is_narrated=is_narrated)).build_report()
    if as_json:
        print(render_json(report))
    elif plan.is_drawn:
        console.print(Text(report.to_text()))
    else:
        print(report.to_text())
    if not report.is_converged:
        _say(report.reason or "not converged")
    return EXIT_CONVERGED if report.is_converged else EXIT_FAILED


async def _perform(plan: Plan, console: Console, *, is_narrated: bool, timing: Timing = REAL_TIME) -> Stage:
    _end_on_termination()
    stage = Stage(plan, timing, narrate=_say if is_narrated else lambda _: None)
    try:
        async with asyncio.TaskGroup() as group:
            painting = group.create_task(_paint(stage, console, timing)) if plan.is_drawn else None
            await perform(plan, stage, timing=timing)
            if painting is not None:
                painting.cancel()
    except* (AntiphonError, OSError) as problems:
        stage.reason = _first_reason(problems)
    return stage


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


async def _paint(stage: Stage, console: Console, timing: Timing) -> None:
    """Draw the stage whenever it changed, and once more when it is over."""
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                _draw_now(stage, console, live)
                await stage.is_stale.wait()
                stage.is_stale.clear()
                await timing.sleep(PANE_INTERVAL_S)
        finally:
            _draw_now(stage, console, live)


def _draw_now(stage: Stage, console: Console, live: Live) -> None:
    width, height = console.size
    live.update(draw(stage.view, width=width, height=height), refresh=True)


def _choose_script(irc: Path | None, seed: int) -> tuple[Step, ...]:
    if irc is None:
        return build_script(seed)
    try:
        data = irc.read_bytes()
    except OSError as problem:
        raise LocalViolation(f"cannot read {irc}: {problem.strerror or problem}; name an IRC log") from problem
    log = parse_log(data, _ANY_DAY)
    lines = [Line(line.nick, line.text) for line in log.lines if line.nick and line.style in ("message", "action")]
    if not lines:
        raise LocalViolation(f"{irc.name} holds nothing that anybody said ({log.line_count} lines); name an IRC log")
    return script_from_log(lines, seed)


def _choose_seconds(seconds: float | None, *, is_drawn: bool, is_log: bool) -> float:
    """What of the whole time is left for the play itself."""
    if seconds is None:
        seconds = _SECONDS_DRAWN if is_drawn else _SECONDS_HEADLESS_LOG if is_log else _SECONDS_HEADLESS
    if not 0 <= seconds < float("inf"):
        raise LocalViolation(f"--seconds is {seconds}; expected 0 (as fast as it goes) or more")
    return max(seconds - _SET_UP_S, 0.0)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder of the two journals: *keep*, which must not hold any yet, or one that is removed again."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="antiphon-demo-") as folder:
            yield Path(folder)
        return
    taken = [name for name in ("ada", "bob") if (keep / name).exists()]
    if taken:
        raise LocalViolation(f"{keep} holds {' and '.join(taken)} already; name a folder without them for --keep")
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LocalViolation(f"cannot make {keep}: {problem.strerror or problem}; name another for --keep") from problem
    yield keep


def _end_on_termination() -> None:
    """A polite kill ends the play as Ctrl-C does, so that the child and the folder go too."""
    task = asyncio.current_task()
    if task is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _first_reason(problems: BaseExceptionGroup[BaseException]) -> str:
    """The first thing that went wrong, in one sentence; a child that died explains the waiting that it caused."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [problems]
    while waiting:
        problem = waiting.pop(0)
        if isinstance(problem, BaseExceptionGroup):
            waiting.extend(problem.exceptions)
        else:
            leaves.append(problem)
    leaves.sort(key=lambda problem: isinstance(problem, DemoFailed))
    return str(leaves[0]) or type(leaves[0]).__name__
