"""Two roles of one protocol, each at its end of a socket; the guest's second step is a wrong one, and is stopped."""

import asyncio
from dataclasses import dataclass

from antiphon.choreography import compile_choreography
from antiphon.runtime.choreography import Endpoint, ProtocolViolation, Session, TelltaleEndpoint, TelltaleHandler
from antiphon.runtime.transports.tcp import connect, listen
from antiphon.runtime.transports.transport import Connection, Listener

BOOKING = compile_choreography("""\
protocol Booking =
  roles Guest, Hotel
  Guest -> Hotel : Ask(nights : u8)
  choice Hotel at
    | Free => Hotel -> Guest : Free(price : u32)
    | Full => Hotel -> Guest : Full
""")


@dataclass(frozen=True)
class Ask:
    """A message; its class checks what travels."""

    nights: int


def seat(role: str, peer: str, connection: Connection) -> Endpoint[TelltaleEndpoint]:
    """A role's end over a connection with the other role."""
    sessions = TelltaleEndpoint(role)
    sessions.register(peer, Session(connection))
    return Endpoint.of(BOOKING, role, TelltaleHandler(role), sessions, messages=[Ask])


async def hotel(listener: Listener) -> None:
    """One machine."""
    async with seat("Hotel", "Guest", await listener.accept()) as me:
        asked = await me.recv("Guest", Ask)
        await me.send("Guest", {"price": 90 * asked.nights}, label="Free")
        await me.close()


async def main() -> None:
    """The other, and both in one program for once."""
    listener = await listen("tcp://127.0.0.1:0")
    async with asyncio.TaskGroup() as group:
        group.create_task(hotel(listener))
        async with seat("Guest", "Hotel", await connect(listener.address, timeout=10.0)) as me:
            await me.send("Hotel", Ask(nights=2))
            try:
                await me.send("Hotel", Ask(nights=3))
            except ProtocolViolation as refused:
                print("refused:", refused)
            print("offered:", *await me.offer("Hotel"))
            await me.close()
    await listener.close()


asyncio.run(main())
