"""What the language costs: a large protocol, one four times as large, a wide choice, and five files at the prompt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from antiphon.choreography import check_text

from .measure import Burst, Figure, Sample, Settings, Spread, Stopwatch, interleave, spread

ROLES = 20
SMALL, LARGE = 500, 2_000
WIDTH = 10
EXAMPLES = ("two_phase_commit", "bookseller", "threshold_signing", "invitation_ceremony", "anti_entropy")
FOLDER = Path(__file__).resolve().parents[1] / "examples/choreography"


async def measure(settings: Settings) -> list[Figure]:
    """Four figures: three taken in this process, the last in new interpreters."""
    repeats = settings.pick(15, 5)
    small, large = await _in_turn([protocol(SMALL), protocol(LARGE)], repeats)
    wide, straight = await _in_turn([wide_choice(WIDTH), straight_line(WIDTH)], settings.pick(100, 30))
    return [_reading(small), _growth(large, small), _merging(wide, straight), await _five_files(settings)]


async def _in_turn(texts: Sequence[str], repeats: int) -> list[Spread]:
    contenders = [_checking(text) for text in texts]
    await interleave(contenders, repeats=2)  # warm-up
    return [spread(samples) for samples in await interleave(contenders, repeats=repeats)]


def _checking(text: str) -> Burst:
    """Parse, validate, lower and project for every role."""

    async def burst() -> list[Sample]:
        with Stopwatch() as watch:
            checked = check_text(text)
        if checked.problems or not checked.is_projectable:
            raise AssertionError(f"what is measured must be right: {checked.problems or checked.refusals}")
        return [watch.sample()]

    return burst


# --- what is read -------------------------------------------------------------------------------------------------


def protocol(statements: int) -> str:
    """A protocol of that many statements (a multiple of 20) among twenty roles: messages, choices, loops, timeouts."""
    roles = ", ".join(f"R{number}" for number in range(ROLES))
    parts = [part for number in range(statements // 20) for part in _twenty(number)]
    return "\n".join(["module bench exposing (Large)", "", "protocol Large =", f"  roles {roles}", *parts]) + "\n"


def _twenty(number: int) -> Iterator[str]:
    """Twenty statements: eleven messages, a choice, a loop and a timeout, each with two messages."""
    for step in range(11):
        sender, receiver = f"R{(number + step) % ROLES}", f"R{(number + step + 1) % ROLES}"
        record = ' { guard_capability : "bench:send", flow_cost : 5, journal_facts : "sent" }' if step % 4 == 0 else ""
        yield f"  {sender}{record} -> {receiver} : M{number}_{step}(item : bench.Item<u32>, count : u32)"
    one, other = f"R{number % ROLES}", f"R{(number + 7) % ROLES}"
    yield f"  choice {one} at"
    yield f"    | Yes when (count > {number} && !closed) =>\n      {one} -> {other} : Yes of bench.Order"
    yield f"    | No =>\n      {one} -> {other} : No"
    yield f"  loop decide by {one}\n    {one} -> {other} : More(item : u32)\n    {other} -> {one} : Got"
    yield f"  timeout 5s {one} at\n    {other} -> {one} : Ready{number}"
    yield f"  on timeout =>\n    {one} -> {other} : Late{number}"


def wide_choice(width: int) -> str:
    """A choice of that many branches, each told in a different order to that many roles: full merge throughout."""
    names = [f"R{number}" for number in range(width)]
    lines = ["protocol Wide =", f"  roles Chooser, {', '.join(names)}", "  choice Chooser at"]
    for branch in range(width):
        told = names[:1] + names[1 + branch :] + names[1 : 1 + branch]
        lines.append(f"    | B{branch} =>")
        lines += [f"      Chooser -> {name} : B{branch}" for name in told]
    return "\n".join(lines) + "\n"


def straight_line(width: int) -> str:
    """The same messages, one after another: nothing to merge."""
    names = [f"R{number}" for number in range(width)]
    lines = [f"  Chooser -> {name} : B{branch}" for branch in range(width) for name in names]
    return "\n".join(["protocol Straight =", f"  roles Chooser, {', '.join(names)}", *lines]) + "\n"


# --- figures ------------------------------------------------------------------------------------------------------


def _reading(small: Spread) -> Figure:
    return Figure(
        name="choreography",
        title=f"parse, validate and project {SMALL} statements, {ROLES} roles",
        unit="ms",
        ours=small.wall_median * 1e3,
        reference=None,
        value=small.wall_median * 1e3,
        value_p10=small.wall_p10 * 1e3,
        cpu_value=small.cpu_median * 1e3,
        goal=250,
        final_goal=250,
        value_unit=" ms",
        details={"statements": SMALL, "roles": ROLES, "readings": small.size},
    )


def _growth(large: Spread, small: Spread) -> Figure:
    return Figure.of_times(
        "choreography_growth",
        f"the same with {LARGE:,} statements",
        large,
        small,
        unit="ms",
        goal=4.5,
        reference_name=f"{SMALL} statements",
        readings=large.size,
    )


def _merging(wide: Spread, straight: Spread) -> Figure:
    # Blow-up would be a factor of the branches or worse; the merge may cost a few times what reading alone does.
    return Figure.of_times(
        "choreography_merge",
        f"full merge of a {WIDTH}-way choice over {WIDTH} roles",
        wide,
        straight,
        unit="ms",
        goal=3,
        reference_name="the same messages without a choice",
        readings=wide.size,
    )


# --- five files at the prompt -------------------------------------------------------------------------------------

_MAIN = "import sys; sys.argv[0] = 'antiphon'; from antiphon.app.cli import main\n"
# The children's CPU time is told by the child: what this process sees of it also holds the starting of the next.
_TIMED = "import atexit, time\natexit.register(lambda: print(time.process_time(), file=sys.stderr))\n"
_NAMES = "import atexit\natexit.register(lambda: print(*({*sys.modules} - {'__main__'}), file=sys.stderr))\n"
_IMPORTS = "import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"


async def _five_files(settings: Settings) -> Figure:
    """``antiphon check`` of the five examples, against an interpreter that only imports the same modules."""
    files = [str(FOLDER / f"{name}.tell") for name in EXAMPLES]
    modules = _start(_MAIN + _NAMES + "main()", "check", *files).stderr.split()

    async def ours() -> list[Sample]:
        return [_timed(_MAIN, "main()", "check", *files)]

    async def imports() -> list[Sample]:
        return [_timed(_IMPORTS.format(names=modules), "")]

    async def bare() -> list[Sample]:
        return [_timed("import sys\n", "")]

    contenders: list[Burst] = [ours, imports, bare]
    await interleave(contenders, repeats=2)  # warm-up: byte code and page cache
    samples = await interleave(contenders, repeats=settings.pick(15, 5))
    mine, theirs = spread(samples[0]), spread(samples[1])
    return Figure.of_times(
        "choreography_check",
        "`antiphon check` of the five examples in one call",
        mine,
        theirs,
        unit="ms",
        goal=1.3,
        reference_name="a bare start and the imports it needs",
        readings=mine.size,
        modules=len(modules),
        bare_ms=median(one.wall for one in samples[2]) * 1e3,
    )


def _timed(before: str, after: str, *arguments: str) -> Sample:
    with Stopwatch() as watch:
        done = _start(before + _TIMED + after, *arguments)
    return watch.sample()._replace(cpu=float(done.stderr.split()[-1]))


def _start(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
