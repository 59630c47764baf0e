"""Tasks begun in a callback have an owner who hears how they ended."""

import asyncio

import pytest

from antiphon.runtime.tasks import OwnedTasks


@pytest.mark.asyncio
async def test_settling_waits_for_tasks_that_tasks_begin() -> None:
    tasks, seen = OwnedTasks(), []

    async def second() -> None:
        seen.append("second")

    async def first() -> None:
        seen.append("first")
        tasks.start(second())

    tasks.start(first())
    await tasks.settle()
    assert seen == ["first", "second"]


@pytest.mark.asyncio
async def test_a_failure_is_told_once() -> None:
    tasks = OwnedTasks()

    async def fail() -> None:
        raise ValueError("no")

    tasks.start(fail())
    with pytest.raises(ValueError, match="no"):
        await tasks.settle()
    await tasks.settle()


@pytest.mark.asyncio
async def test_cancelling_ends_what_would_wait_for_ever() -> None:
    tasks, seen = OwnedTasks(), []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    tasks.start(wait())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert seen == ["ended"]
