"""Virtual time: jumps, deadlocks that are told, processes that die between two steps."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from antiphon.testing.simulation.loop import Deadlock, Killed, Process, Runaway, VirtualLoop, run_virtual
from antiphon.testing.simulation.threads import InlineThreads


def test_an_hour_passes_without_waiting() -> None:
    async def wait() -> float:
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    began = time.thread_time()
    assert run_virtual(wait()) == 3_600
    assert time.thread_time() - began < 1


def test_timers_fire_in_order_of_time_then_of_arming() -> None:
    async def fire() -> list[str]:
        fired: list[str] = []
        loop = asyncio.get_running_loop()
        for delay, name in ((2, "c"), (1, "a"), (1, "b")):
            loop.call_later(delay, fired.append, name)
        loop.call_later(1.5, fired.append, "never").cancel()
        await asyncio.sleep(3)
        return fired

    assert run_virtual(fire()) == ["a", "b", "c"]


def test_a_planted_deadlock_names_who_waits_and_where() -> None:
    async def wait_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(wait_for_nobody(), name="the one who waits")

    with pytest.raises(
        Deadlock,
        match=r"the one who waits: in .*wait_for_nobody at test_loop\.py:\d+, waiting in Event\.wait at locks\.py",
    ):
        run_virtual(main())


def test_going_round_in_circles_is_told() -> None:
    async def circle() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.Event().wait()

    with pytest.raises(Runaway, match="5001 steps at 0 s"):
        run_virtual(circle(), steps_max=5_000)


def test_time_outs_are_virtual() -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(86_400):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(wait()) == 86_400


def test_blocking_work_takes_as_long_as_it_is_told_and_runs_on_the_loop() -> None:
    async def work() -> tuple[int, float]:
        result = await asyncio.to_thread(lambda: 7)
        return result, asyncio.get_running_loop().time()

    assert run_virtual(work(), delay_of=lambda: 2.5) == (7, 2.5)


def test_an_executor_of_ones_own_still_works_in_order() -> None:
    async def work() -> tuple[list[int], float]:
        executor = InlineThreads().executor("one at a time")
        loop = asyncio.get_running_loop()
        done = await asyncio.gather(*(loop.run_in_executor(executor, int, text) for text in "123"))
        return done, loop.time()

    assert run_virtual(work(), delay_of=lambda: 1.0) == ([1, 2, 3], 3.0)


def test_a_problem_in_blocking_work_reaches_who_waits() -> None:
    async def work() -> None:
        await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        run_virtual(work())


def test_a_killed_process_runs_no_finally_until_it_is_buried() -> None:
    async def main() -> tuple[list[str], list[str]]:
        said: list[str] = []

        async def live() -> None:
            try:
                await asyncio.sleep(5)
            finally:
                said.append("finally")

        process = Process("ada")
        task = process.spawn(live())
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(10)
        before = list(said)
        await process.bury()
        assert task.cancelled() or task.done()
        return before, said

    assert run_virtual(main()) == ([], ["finally"])


def test_what_descends_from_a_process_dies_with_it() -> None:
    async def main() -> list[str]:
        said: list[str] = []

        async def child() -> None:
            await asyncio.sleep(2)
            said.append("child")

        async def live() -> None:
            asyncio.get_running_loop().call_later(2, said.append, "timer")
            async with asyncio.TaskGroup() as group:
                group.create_task(child())

        process = Process("ada")
        process.spawn(live())
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(10)
        said.append("end")
        await process.bury()
        return said

    assert run_virtual(main())[0] == "end"


def test_a_process_that_dies_inside_blocking_work_leaves_its_lane() -> None:
    async def main() -> list[str]:
        done: list[str] = []
        lane = InlineThreads().lane("log")

        def die() -> None:
            raise Killed

        lane.submit(die)
        lane.submit(lambda: done.append("never"))
        await asyncio.sleep(1)
        return done

    assert run_virtual(main()) == []


def test_sets_of_tasks_are_walked_in_the_order_of_their_numbers() -> None:
    async def main() -> list[int]:
        tasks = {asyncio.get_running_loop().create_future() for _ in range(100)}
        return [hash(task) for task in tasks]

    assert run_virtual(main()) == run_virtual(main())


def test_a_real_executor_is_refused_nothing_but_is_not_needed() -> None:
    loop = VirtualLoop()
    with ThreadPoolExecutor(1) as executor:
        assert isinstance(loop.run_in_executor(executor, int, "1"), asyncio.Future)
    loop.close()
