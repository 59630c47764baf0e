"""The callback style: the machine says which methods there are, and a missing one is found before anything is sent."""

import asyncio

import pytest

from antiphon.choreography import compile_choreography
from antiphon.runtime.choreography import (
    Endpoint,
    InMemoryHandler,
    Labelled,
    MissingCallback,
    callbacks_of,
    drive,
)
from antiphon.testing import virtual_time

BOOKING = compile_choreography(
    """\
protocol Booking =
  roles Guest, Hotel
  Guest -> Hotel : AskRoom(nights : u8)
  timeout 5s Guest at
    choice Hotel at
      | Free =>
        Hotel -> Guest : Free(price : u32)
      | full =>
        Hotel -> Guest : Sorry
  on timeout =>
    Guest -> Hotel : TooLate
"""
)


class Guest:
    def __init__(self) -> None:
        self.heard: list[object] = []

    async def send_ask_room(self) -> object:
        return {"nights": 2}

    async def on_free(self, message: object) -> None:
        self.heard.append(message)

    async def on_full(self) -> None:
        self.heard.append("full")

    async def on_sorry(self, message: object) -> None:
        self.heard.append(message)

    async def send_too_late(self) -> object:
        self.heard.append("late")
        return None


class Hotel:
    def __init__(self, answer: object, pause_s: float = 0.0) -> None:
        self.answer = answer
        self.pause_s = pause_s

    async def on_ask_room(self, message: object) -> None:
        assert message == {"nights": 2}
        await virtual_time.pass_time(self.pause_s)

    async def decide_free_or_full(self) -> object:
        return self.answer

    async def send_sorry(self) -> object:
        return None

    async def on_too_late(self, message: object) -> None:
        return


@pytest.mark.parametrize(
    ("hotel", "heard"),
    [
        (Hotel(Labelled("Free", {"price": 3})), [{"price": 3}]),
        (Hotel("full"), ["full", None]),
        (Hotel("full", 9.0), ["late"]),
    ],
)
def test_methods_are_called_when_it_is_their_turn(hotel: Hotel, heard: list[object]) -> None:
    async def scenario() -> None:
        handlers = InMemoryHandler.network("Guest", "Hotel")
        guest = Guest()
        async with asyncio.TaskGroup() as group:
            group.create_task(drive(Endpoint.of(BOOKING, "Guest", handlers[0]), guest))
            group.create_task(drive(Endpoint.of(BOOKING, "Hotel", handlers[1]), hotel))
        assert guest.heard == heard

    virtual_time.run(scenario())


def test_a_missing_method_is_found_before_anything_is_sent() -> None:
    class Half:
        async def send_ask_room(self) -> object:
            raise AssertionError("nothing may begin")

    async def scenario() -> None:
        guest, _ = InMemoryHandler.network("Guest", "Hotel")
        with pytest.raises(MissingCallback, match="Guest's callbacks lack on_free, on_full, send_too_late, on_sorry"):
            await drive(Endpoint.of(BOOKING, "Guest", guest), Half())

    asyncio.run(scenario())


def test_every_method_is_named_by_its_label_and_direction() -> None:
    names = {one.name: one.takes_message for one in callbacks_of(BOOKING.fsm["Hotel"])}
    assert names == {"on_ask_room": True, "decide_free_or_full": False, "send_sorry": False, "on_too_late": True}
