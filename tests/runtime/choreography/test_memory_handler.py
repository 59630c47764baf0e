"""The handler for one process: the contract, and hubs."""

import asyncio

import pytest
import pytest_asyncio

from antiphon.runtime.choreography import (
    ChannelClosed,
    InMemoryHandler,
    Labelled,
    MemoryHub,
    SerializationFailed,
    UnknownRole,
)
from antiphon.testing.contracts.handler import HandlerContract, Network, Note, Seat


@pytest_asyncio.fixture
async def network() -> Network:
    async def connect(*roles: str) -> dict[str, Seat]:
        return {handler.role: Seat(handler, None) for handler in InMemoryHandler.network(*roles)}

    return connect


class TestInMemory(HandlerContract):
    """Every claim of the contract."""


@pytest.mark.asyncio
async def test_two_hubs_know_nothing_of_each_other() -> None:
    ada, _ = InMemoryHandler.network("Ada", "Bob")
    _, other_bob = InMemoryHandler.network("Ada", "Bob")
    await ada.send(None, "Bob", Note(1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await other_bob.recv(None, "Ada", Note)


@pytest.mark.asyncio
async def test_a_full_queue_makes_its_sender_wait_for_the_receiver() -> None:
    ada, bob = InMemoryHandler.network("Ada", "Bob", items_max=2)
    sent: list[int] = []

    async def flood() -> None:
        for number in range(5):
            await ada.send(None, "Bob", Note(number))
            sent.append(number)

    async with asyncio.TaskGroup() as group:
        group.create_task(flood())
        for _ in range(5):
            await asyncio.sleep(0)
        assert sent == [0, 1]
        assert [await bob.recv(None, "Ada", Note) for _ in range(5)] == [Note(number) for number in range(5)]
    assert sent == [0, 1, 2, 3, 4]


@pytest.mark.asyncio
async def test_closing_a_hub_wakes_whoever_waits_to_send_or_receive() -> None:
    hub = MemoryHub(items_max=1)
    ada, bob = InMemoryHandler("Ada", hub), InMemoryHandler("Bob", hub)
    await ada.send(None, "Bob", Note(0))

    async def told(waiting: object) -> None:
        with pytest.raises(ChannelClosed):
            await waiting  # type: ignore[misc]

    async with asyncio.TaskGroup() as group:
        group.create_task(told(ada.send(None, "Bob", Note(1))))
        group.create_task(told(ada.recv(None, "Bob", Note)))
        await asyncio.sleep(0)
        hub.close()
    assert await bob.recv(None, "Ada", Note) == Note(0)


@pytest.mark.asyncio
async def test_a_role_that_is_not_there_is_named_before_anything_is_queued() -> None:
    ada, _ = InMemoryHandler.network("Ada", "Bob")
    with pytest.raises(UnknownRole, match="no role 'Eve'; there are Ada, Bob"):
        await ada.send(None, "Eve", Note(1))


@pytest.mark.asyncio
async def test_a_message_that_would_not_be_read_is_not_sent() -> None:
    ada, bob = InMemoryHandler.network("Ada", "Bob")
    for wrong in (Note("one"), object(), Labelled("Note", object())):  # type: ignore[arg-type]
        with pytest.raises(SerializationFailed):
            await ada.send(None, "Bob", wrong)
    await ada.send(None, "Bob", Note(1))
    assert await bob.recv(None, "Ada", Note) == Note(1)
