"""The pytest plug-in: journals on virtual time for a user's own tests. Loaded by itself where antiphon is installed.

Fixtures: ``simnet`` (a network of journals), ``replicas`` (opens several), ``journal`` (one that is open),
``sim_clock`` and ``sim_seed``; and for an application that outlives its tests, ``no_subscriptions_left``.
An ``async`` test that asks for one of the former runs on the virtual loop: an hour costs nothing, and a test that can
never go on fails at once and says who waits. ``--sim-seeds N`` runs each of them under N seeds, ``--sim-seed K`` under
one; a failing test says how to see it again. Other tests are left alone.
"""

from __future__ import annotations

import gc
import inspect
import shlex
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from antiphon import Journal

    from .simulation.playground import SimulatedClock, SimulatedNet

# The engine is loaded by the first test that asks for it: this module is loaded in every run of pytest.

FIXTURES = frozenset({"simnet", "replicas", "journal", "sim_clock", "sim_seed"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the seeds."""
    group = parser.getgroup("antiphon", "antiphon's simulated journals")
    group.addoption("--sim-seed", type=int, metavar="K", help="run simulated tests under this seed")
    group.addoption("--sim-seeds", type=int, default=1, metavar="N", help="run each simulated test under N seeds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each seed."""
    if "sim_seed" not in metafunc.fixturenames or not FIXTURES & set(metafunc.fixturenames):
        return
    if _has_seeds(metafunc.config):
        seed = metafunc.config.getoption("--sim-seed")
        seeds = [seed] if seed is not None else list(range(metafunc.config.getoption("--sim-seeds")))
        metafunc.parametrize("sim_seed", seeds, indirect=True, ids=[f"seed{each}" for each in seeds])


def _has_seeds(config: pytest.Config) -> bool:
    """Whether the command line says which seeds, so that they are part of each test's name."""
    return config.getoption("--sim-seed") is not None or config.getoption("--sim-seeds") > 1


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run an ``async`` test that uses our fixtures on their loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or "simnet" not in pyfuncitem.fixturenames:
        return None
    simnet: SimulatedNet = pyfuncitem.funcargs["simnet"]  # type: ignore[assignment]  # our fixture below
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    simnet.run(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Look for subscriptions that were opened in the test itself and outlive it, where somebody asked for that."""
    if "no_subscriptions_left" not in getattr(item, "fixturenames", ()):
        return (yield)
    before = _followed()
    result = yield
    left = _followed() - before
    told = ", ".join(f"{count} of {signal_id!r}" for (_, signal_id), count in left.items())
    assert not left, f"subscriptions that nobody ended: {told}; leave their `async with`, or close() them"
    return result


def _followed() -> Counter[tuple[int, str]]:
    """How many follow each signal of every hub in the process; a hub that was closed has nobody left."""
    from antiphon.reactive import SignalHub

    hubs = [each for each in gc.get_objects() if type(each) is SignalHub]
    return Counter({(id(hub), each.signal_id): each.subscriber_count for hub in hubs for each in hub.statistics()})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say how a failing simulated test is seen again."""
    report = yield
    if report.failed and "sim_seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("replay", f"python -m pytest {_arguments_for(item)}"))
    return report


def _arguments_for(item: pytest.Item) -> str:
    """What a shell gives to pytest to run this very test again: all its parameters, and its seed unless it has none."""
    seed = getattr(item, "funcargs", {}).get("sim_seed", 0)
    if not _has_seeds(item.config):
        return shlex.quote(item.nodeid)  # the seed would become one more parameter, and the test another
    return f"{shlex.quote(item.nodeid.removesuffix(f'[seed{seed}]'))} --sim-seed {seed}"


@pytest.fixture
def sim_seed(request: pytest.FixtureRequest) -> int:
    """The seed that this test runs under; 0 unless the command line says otherwise."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def simnet(tmp_path: Path, sim_seed: int) -> Iterator[SimulatedNet]:
    """A simulated network; what is left open is closed, and what is left running fails the test."""
    from .simulation.playground import SimulatedNet

    net = SimulatedNet(tmp_path / "simnet", seed=sim_seed)
    yield net
    net.end()


@pytest.fixture
def no_subscriptions_left() -> None:
    """Fails a test that leaves subscriptions open in any hub that outlives it, as one of a whole module does.

    Costs a walk over the process' objects (some 30 ms) a test. Simulated journals are looked at without it.
    """


@pytest.fixture
def sim_clock(simnet: SimulatedNet) -> SimulatedClock:
    """The clock of the simulated journals."""
    return simnet.clock


@pytest.fixture
def replicas(simnet: SimulatedNet) -> Callable[..., Awaitable[tuple[Journal, ...]]]:
    """Opens journals: ``ada, ben = await replicas("ada", "ben")``."""
    return simnet.replicas


@pytest.fixture
def journal(simnet: SimulatedNet) -> Journal:
    """An open journal of its own, by Ada."""
    return simnet.run(simnet.open("ada"))
