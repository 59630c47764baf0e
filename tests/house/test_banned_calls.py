"""What a file may not reach for, found by reading its syntax tree; each finding names the replacement.

The lists of exceptions are the design's named edges: whoever adds one says why beside it.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("facts", "journal", "choreography", "reactive", "views", "runtime", "app", "testing")

TAKE_A_CLOCK = "take the clock (or `now`) as a parameter; the real one is made in runtime/clock.py"
TAKE_ENTROPY = "take the source of randomness as a parameter; the real one is made in runtime/entropy.py"
USE_A_GROUP = "use `async with asyncio.TaskGroup() as group: group.create_task(…)`, so that the task has an owner"
CATCH_LESS = (
    "catch the errors this line can raise, or clean up and end with a bare `raise`; "
    "only where a task group, a request or a user's own code ends may everything be caught "
    "(add it to CATCHES_EVERYTHING with the reason)"
)
JUMP_THE_CLOCK = "drive a virtual clock, or await the event itself under `asyncio.timeout`"

# Pattern of a dotted name to what to do instead.
AMBIENT: dict[str, str] = {
    "time.time": TAKE_A_CLOCK,
    "time.time_ns": TAKE_A_CLOCK,
    "time.monotonic": TAKE_A_CLOCK,
    "time.monotonic_ns": TAKE_A_CLOCK,
    "time.perf_counter": TAKE_A_CLOCK,
    "time.perf_counter_ns": TAKE_A_CLOCK,
    "time.sleep": TAKE_A_CLOCK,
    "datetime.datetime.now": TAKE_A_CLOCK,
    "datetime.datetime.utcnow": TAKE_A_CLOCK,
    "datetime.datetime.today": TAKE_A_CLOCK,
    "datetime.date.today": TAKE_A_CLOCK,
    "secrets.*": TAKE_ENTROPY,
    "os.urandom": TAKE_ENTROPY,
    "os.getrandom": TAKE_ENTROPY,
    "uuid.uuid1": TAKE_ENTROPY,
    "uuid.uuid4": TAKE_ENTROPY,
    "*.Ed25519PrivateKey.generate": TAKE_ENTROPY,
}
# A seeded generator is a value; the module's own functions, and a generator without a seed, are ambient.
SEEDABLE = ("random.Random", "numpy.random.default_rng", "numpy.random.Generator", "numpy.random.PCG64")

EDGES: dict[str, str] = {
    "runtime/clock.py": "makes the real clock",
    "runtime/entropy.py": "makes the real randomness",
    "app/cli/*": "the outermost door: measures and draws for a person",
    "testing/certificates.py": "certificates are valid from now on",
    "testing/nats_server.py": "starts a real server, and waits until it answers",
    "journal/stores/*": "the named exception of the floors: disks and threads have their own time",
}

# "file:function" to why everything is caught there.
CATCHES_EVERYTHING: dict[str, str] = {
    "reactive/hub.py:is_same": "a user's `__eq__` ends here; emitting once too often is the harmless side",
    "reactive/hub.py:SignalHub._compute": "a user's function ends here: told, its signal keeps its value",
    "app/unified_handler.py:UnifiedHandler._refresh": "a request ends here: told, its signal keeps the old answer",
    "runtime/fact_sinks.py:FactSinks.deliver": "a sink ends here: detached and told, the journal and the others go on",
    "runtime/events.py:Events.emit": "a sink of events ends here: told in the log, what it was told of goes on",
    "runtime/guards/listener.py:Listener.__call__": "a listener ends here: a problem of the journal, the plan goes on",
    "reactive/scheduler.py:SchedulerCore._run_views": "a view ends here: told to its owner, the others go on",
    "reactive/scheduler.py:SchedulerCore._note_wakeup": "a view ends here: told to its owner, the others go on",
    "reactive/scheduler.py:SchedulerCore._tell": "an observer ends here: detached, and told on the error signal",
    "reactive/subscription.py:Subscription.offer": "a subscriber ends here: detached, and its owner is told",
    "reactive/subscription.py:Subscription._deliver": "a subscriber ends here: detached, and its owner is told",
    "reactive/subscription.py:Subscription._announce_end": "a subscriber's code ends here: its owner is told",
    "runtime/follower.py:FollowerService._apply": "the database's thread ends here: told, and tried again from the log",
    "runtime/follower.py:FollowerService._try": "a change to the database ends here: whoever waits for it is told",
    "runtime/opening.py:_resume_or_restart": "a damaged database may say anything: told, set aside, built anew",
    "runtime/keeper.py:Keeper._go_on": "a chore ends here: whoever asked for it is told, and the next one begins",
    "runtime/group_commit.py:GroupCommit._work": "the log's thread ends here: the window fails, the next may not",
    "facts/fact.py:FactType.decode": "a user's validator or upcaster ends here: this fact is left out, others go on",
    "facts/registry.py:_is_at_home": "a user's context function ends here: this fact is left out, others go on",
    "views/opening.py:open_sealed": "an application's opener ends here: this message stays sealed, others go on",
    "testing/simulation/loop.py:run_later.run": "a thread would end here: what broke is handed to who awaits it",
    "testing/simulation/threads.py:InlineExecutor.submit.run": "as every executor: handed to who asks the future",
    "testing/simulation/world.py:World.run": "a simulated world ends here: whatever broke is its outcome",
    "testing/simulation/guarded.py:run_guarded": "a simulated run ends here: whatever broke is its outcome",
    "app/cli/__init__.py:main": "the process ends here: what an interrupt hides behind is told as an interrupt",
    "runtime/resilience/compensation.py:Saga.run": "a step ends here: what was done is undone, then it is raised on",
    "runtime/resilience/compensation.py:Saga._undo": "an undo ends here: told beside the first cause, others go on",
    "runtime/services/progress.py:Progress.tell": "a listener ends here: told in the result, the sync goes on",
    "views/fold.py:Ladder._climb": "a user's fold ends here: the fact is left out and reported, the view goes on",
    "views/provenance.py:FoldReplay.take": "a user's fold ends here: the running view tells of it, too",
}

# "file" to why a real wait is the claim there.
TESTS_THAT_WAIT: dict[str, str] = {
    "tests/testing/test_loop.py": "sleeps on virtual time: that it takes none is the claim",
    "tests/testing/test_virtual_network.py": "sleeps on virtual time",
    "tests/runtime/test_nats.py": "asks a real server in another process, which tells nobody when it is ready",
    "tests/runtime/test_room.py": "as above",
}

# "file" to why tasks are begun outside a task group there.
TASK_OWNERS: dict[str, str] = {
    "runtime/tasks.py": "the one owner for tasks that are begun in a callback",
}


class Finding(NamedTuple):
    """One line that reaches for something it may not."""

    line: int
    function: str  # dotted, "" at module level
    seen: str
    instead: str

    def at(self, file: str) -> str:
        return f"{file}:{self.line}: {self.seen}: {self.instead}"


def import_names(tree: ast.Module) -> dict[str, str]:
    """What each imported local name stands for, dotted in full."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    """The full name an expression stands for, or "" when it is not an imported name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def located(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every node with the dotted name of the function or class around it."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, place = waiting.pop()
        yield node, place
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            place = f"{place}.{node.name}".lstrip(".")
        waiting.extend((child, place) for child in ast.iter_child_nodes(node))


def is_event_loop(node: ast.expr, names: Mapping[str, str]) -> bool:
    """Whether an expression is an event loop, judged by how it was come by or is called."""
    if isinstance(node, ast.Call):
        return dotted(node.func, names) in {"asyncio.get_running_loop", "asyncio.get_event_loop"}
    word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return word.lstrip("_") in {"loop", "event_loop"}


def ambient_reach(tree: ast.Module) -> Iterator[Finding]:
    """Clock and randomness taken from the air instead of from a parameter."""
    names = import_names(tree)
    for node, place in located(tree):
        if isinstance(node, ast.Call):
            called = dotted(node.func, names)
            if called in SEEDABLE and not node.args and not node.keywords:
                yield Finding(node.lineno, place, f"{called}() without a seed", TAKE_ENTROPY)
            if (
                isinstance(node.func, ast.Attribute)
                and node.func.attr == "time"
                and is_event_loop(node.func.value, names)
            ):
                yield Finding(node.lineno, place, "the event loop's time()", TAKE_A_CLOCK)
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = dotted(node, names)
        instead = next((instead for pattern, instead in AMBIENT.items() if fnmatch(name, pattern)), None)
        if instead:
            yield Finding(node.lineno, place, name, instead)
        elif name not in SEEDABLE and (fnmatch(name, "random.*") or fnmatch(name, "numpy.random.*")):
            yield Finding(node.lineno, place, name, TAKE_ENTROPY)


def detached_tasks(tree: ast.Module) -> Iterator[Finding]:
    """Tasks that no task group owns."""
    names = import_names(tree)
    for node, place in located(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        name = dotted(node, names)
        if name in {"asyncio.create_task", "asyncio.ensure_future"}:
            yield Finding(node.lineno, place, name, USE_A_GROUP)
        elif isinstance(node, ast.Attribute) and node.attr == "create_task" and is_event_loop(node.value, names):
            yield Finding(node.lineno, place, "the event loop's create_task", USE_A_GROUP)


def caught_names(handler: ast.ExceptHandler) -> set[str]:
    """The exception names a handler catches; a bare `except:` catches BaseException."""
    if handler.type is None:
        return {"BaseException"}
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {kind.id for kind in kinds if isinstance(kind, ast.Name)}


def swallowing_handlers(tree: ast.Module) -> Iterator[Finding]:
    """Handlers that catch everything and do not raise it again at their end."""
    names = import_names(tree)
    broad = {"Exception", "BaseException"}
    for node, place in located(tree):
        if isinstance(node, ast.ExceptHandler) and caught_names(node) & broad:
            last = node.body[-1]
            if not (isinstance(last, ast.Raise) and last.exc is None):
                yield Finding(node.lineno, place, "everything is caught here", CATCH_LESS)
        if isinstance(node, ast.Call) and dotted(node.func, names) == "contextlib.suppress":
            kinds = {kind.id for kind in node.args if isinstance(kind, ast.Name)}
            if kinds & broad:
                yield Finding(node.lineno, place, "everything is suppressed here", CATCH_LESS)


def real_waits(tree: ast.Module) -> Iterator[Finding]:
    """Sleeps that take time; `asyncio.sleep(0)` only lets others run and is fine."""
    names = import_names(tree)
    for node, place in located(tree):
        if not isinstance(node, ast.Call) or dotted(node.func, names) not in {"time.sleep", "asyncio.sleep"}:
            continue
        duration = node.args[0] if node.args else None
        if not (isinstance(duration, ast.Constant) and duration.value == 0):
            yield Finding(node.lineno, place, dotted(node.func, names), JUMP_THE_CLOCK)


Rule = Callable[[ast.Module], Iterator[Finding]]


def room_files() -> list[str]:
    """Every Python file we ship, relative to the repository."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    return sorted(str(file.relative_to(ROOT)) for file in [*files, ROOT / "src/antiphon/__init__.py"])


def findings(rule: Rule, file: str) -> list[Finding]:
    return sorted(set(rule(ast.parse((ROOT / file).read_text(encoding="utf-8"), filename=file))))


def is_edge(file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in EDGES)


def check_rule(rule: Rule, source: str, *, seen: list[str]) -> None:
    assert [finding.seen for finding in sorted(set(rule(ast.parse(source))))] == seen


# --- the repository keeps the rules -------------------------------------------------------------------------------


def test_no_clock_or_randomness_is_taken_from_the_air() -> None:
    lines = [found.at(file) for file in room_files() if not is_edge(file) for found in findings(ambient_reach, file)]
    assert not lines, "\n" + "\n".join(lines)


def test_every_task_has_an_owner() -> None:
    lines = [
        found.at(file) for file in room_files() if file not in TASK_OWNERS for found in findings(detached_tasks, file)
    ]
    assert not lines, "\n" + "\n".join(lines)


def test_everything_is_caught_only_where_a_task_group_or_a_request_ends() -> None:
    lines = [
        f"{found.at(file)} [{file}:{found.function}]"
        for file in room_files()
        for found in findings(swallowing_handlers, file)
        if f"{file}:{found.function}" not in CATCHES_EVERYTHING
    ]
    assert not lines, "\n" + "\n".join(lines)


def test_no_exception_from_a_rule_outlives_its_need() -> None:
    needed = {f"{file}:{found.function}" for file in room_files() for found in findings(swallowing_handlers, file)}
    assert set(CATCHES_EVERYTHING) <= needed, "take out what no longer catches everything"
    waiting = {file for file in TESTS_THAT_WAIT if (ROOT / file).is_file() and findings(real_waits, file)}
    assert set(TESTS_THAT_WAIT) == waiting, "take out the tests that no longer wait"
    assert all((ROOT / edge).is_file() for edge in EDGES if "*" not in edge), "take out the edges that are gone"


def test_tests_do_not_sleep() -> None:
    files = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").rglob("*.py"))]
    lines = [found.at(file) for file in files if file not in TESTS_THAT_WAIT for found in findings(real_waits, file)]
    assert not lines, "\n" + "\n".join(lines)


# --- the rules can fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import time\ntime.time()", ["time.time"]),
        ("import time as clock\nclock.monotonic_ns()", ["time.monotonic_ns"]),
        ("from time import monotonic\ndef age(now=monotonic): ...", ["time.monotonic"]),
        ("def f():\n    from time import perf_counter as p\n    return p()", ["time.perf_counter"]),
        ("import datetime\ndatetime.datetime.now(tz)", ["datetime.datetime.now"]),
        (
            "from datetime import datetime, date\ndatetime.now()\ndate.today()",
            ["datetime.datetime.now", "datetime.date.today"],
        ),
        ("import random\nrandom.choice([1])", ["random.choice"]),
        ("import random\nrandom.Random()", ["random.Random() without a seed"]),
        ("import numpy as np\nnp.random.default_rng()", ["numpy.random.default_rng() without a seed"]),
        ("import numpy as np\nnp.random.rand(3)", ["numpy.random.rand"]),
        ("from secrets import token_bytes\ntoken_bytes(8)", ["secrets.token_bytes"]),
        ("import os\nos.urandom(8)", ["os.urandom"]),
        ("import uuid\nuuid.uuid4()", ["uuid.uuid4"]),
        ("import asyncio\nasyncio.get_running_loop().time()", ["the event loop's time()"]),
        ("self._loop.time()", ["the event loop's time()"]),
        (
            "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K\nK.generate()",
            ["cryptography.hazmat.primitives.asymmetric.ed25519.Ed25519PrivateKey.generate"],
        ),
    ],
)
def test_an_ambient_clock_or_die_is_seen(source: str, seen: list[str]) -> None:
    check_rule(ambient_reach, source, seen=seen)


@pytest.mark.parametrize(
    "source",
    [
        "def age(now, then): return now - then",
        "clock.now()",
        "import random\nrandom.Random(7).choice([1])",
        "from random import Random\ndef pick(rng: Random): return rng.choice([1])",
        "from .time import PhysicalTime\nPhysicalTime.now",
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
        "import uuid\nuuid.uuid5(uuid.NAMESPACE_URL, name)",
        "fact.meta.time()",
    ],
)
def test_a_clock_or_die_that_was_handed_in_is_fine(source: str) -> None:
    check_rule(ambient_reach, source, seen=[])


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import asyncio\nasyncio.create_task(f())", ["asyncio.create_task"]),
        ("from asyncio import ensure_future as later\nlater(f())", ["asyncio.ensure_future"]),
        ("import asyncio\nasyncio.get_running_loop().create_task(f())", ["the event loop's create_task"]),
        ("loop.create_task(f())", ["the event loop's create_task"]),
        ("self._loop.create_task(f())", ["the event loop's create_task"]),
    ],
)
def test_a_task_without_an_owner_is_seen(source: str, seen: list[str]) -> None:
    check_rule(detached_tasks, source, seen=seen)


@pytest.mark.parametrize("source", ["group.create_task(f())", "self._tasks.create_task(f())"])
def test_a_task_in_a_group_is_fine(source: str) -> None:
    check_rule(detached_tasks, source, seen=[])


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept (ValueError, Exception) as problem: log(problem)",
        "try: f()\nexcept BaseException:\n    if x: raise",
        "try: f()\nexcept: pass",
    ],
)
def test_a_handler_that_swallows_everything_is_seen(source: str) -> None:
    check_rule(swallowing_handlers, source, seen=["everything is caught here"])


def test_a_suppression_of_everything_is_seen() -> None:
    source = "import contextlib\nwith contextlib.suppress(Exception): f()"
    check_rule(swallowing_handlers, source, seen=["everything is suppressed here"])


@pytest.mark.parametrize(
    "source",
    [
        "try: f()\nexcept OSError: pass",
        "try: f()\nexcept BaseException:\n    undo()\n    raise",
        "from contextlib import suppress\nwith suppress(FileNotFoundError): f()",
    ],
)
def test_a_handler_that_catches_what_it_knows_or_raises_again_is_fine(source: str) -> None:
    check_rule(swallowing_handlers, source, seen=[])


def test_a_swallowed_error_is_placed_in_its_function() -> None:
    tree = ast.parse("class Server:\n    async def answer(self):\n        try: f()\n        except Exception: pass")
    assert [finding.function for finding in swallowing_handlers(tree)] == ["Server.answer"]


def test_a_real_wait_is_seen_and_a_yield_is_not() -> None:
    check_rule(real_waits, "import time\ntime.sleep(0.1)", seen=["time.sleep"])
    check_rule(real_waits, "from asyncio import sleep\nsleep(delay)", seen=["asyncio.sleep"])
    check_rule(real_waits, "import asyncio\nasyncio.sleep(0)", seen=[])


def test_a_finding_says_where_it_is_and_what_to_do() -> None:
    (finding,) = ambient_reach(ast.parse("import time\ntime.time()"))
    assert finding.at("views/chat.py") == f"views/chat.py:2: time.time: {TAKE_A_CLOCK}"
