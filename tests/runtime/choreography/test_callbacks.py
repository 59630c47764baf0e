"""The callback style: the machine says which methods there are, and a missing one is found before anything is sent."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.choreography import compile_choreography
from antiphon.runtime.choreography import (
    Endpoint,
    InMemoryHandler,
    Labelled,
    MissingCallback,
    callbacks_of,
    callbacks_stub,
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


RIGHT = """\
from typing import Literal

from callbacks import HotelCallbacks
from booking import AskRoom, Free, Sorry, TooLate


class Hotel:
    async def on_ask_room(self, message: AskRoom) -> None: ...

    async def decide_free_or_full(self) -> Free | Literal["full"]:
        return Free(price=message_price())

    async def send_sorry(self) -> Sorry:
        return Sorry()

    async def on_too_late(self, message: TooLate) -> None: ...


def message_price() -> int:
    return 7


hotel: HotelCallbacks = Hotel()
"""


def test_mypy_holds_callbacks_to_the_generated_protocol(tmp_path: Path) -> None:
    text = callbacks_stub("Booking", tuple(BOOKING.fsm.values()), messages_from="booking")
    (tmp_path / "booking.pyi").write_text(BOOKING.stubs())
    (tmp_path / "callbacks.py").write_text(text)
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "lacking.py").write_text(RIGHT.replace("on_too_late", "on_something"))
    (tmp_path / "wrong.py").write_text(RIGHT.replace("message: AskRoom", "message: int"))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", ""]
    files = ["callbacks.py", "right.py", "lacking.py", "wrong.py"]
    said = subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert not [line for line in said.splitlines() if line.startswith(("right.py", "callbacks.py"))], said
    assert "lacking.py:23: error: Incompatible types in assignment" in said
    assert "wrong.py:23: error: Incompatible types in assignment" in said


class Guest:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def send_ask_room(self) -> object:  # plain methods do as well
        return {"nights": 2}

    def on_free(self, message: object) -> None:
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
@virtual_time.driven
async def test_methods_are_called_when_it_is_their_turn(hotel: Hotel, heard: list[object]) -> None:
    handlers = InMemoryHandler.network("Guest", "Hotel")
    guest = Guest()
    async with asyncio.TaskGroup() as group:
        group.create_task(drive(Endpoint.of(BOOKING, "Guest", handlers[0]), guest))
        group.create_task(drive(Endpoint.of(BOOKING, "Hotel", handlers[1]), hotel))
    assert guest.heard == heard


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
