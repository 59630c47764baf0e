"""What every transport must keep: whole frames, in order, bounded, and a sudden end that is told.

Subclass ``TransportContract`` in a test module and give it a fixture ``pair`` that yields two connected ends. Needs
pytest and pytest-asyncio. It does not test what a frame says, nor addresses.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from antiphon.journal.sync.messages import FRAME_BYTES_MAX, LENGTH_BYTES
from antiphon.runtime.transports.transport import Connection, PeerLost

# Longer than any of these steps takes on a loaded machine; reached only when a test fails.
PATIENCE_S = 20.0

Pair = tuple[Connection, Connection]


class TransportContract:
    """Inherit from this, and define an async fixture ``pair``."""

    @pytest.mark.asyncio
    async def test_frames_arrive_whole_and_in_order(self, pair: Pair) -> None:
        """What is sent is what is received."""
        here, there = pair
        frames = [bytes([number]) * (number * 37 + 1) for number in range(50)]
        async with asyncio.timeout(PATIENCE_S):
            await here.send(*frames[:20])
            for frame in frames[20:]:
                await here.send(frame)
            assert [await there.receive() for _ in frames] == frames

    @pytest.mark.asyncio
    async def test_both_directions_are_independent(self, pair: Pair) -> None:
        """Neither side waits for the other's words."""
        here, there = pair
        async with asyncio.timeout(PATIENCE_S):
            await here.send(b"ping")
            await there.send(b"pong")
            assert (await here.receive(), await there.receive()) == (b"pong", b"ping")

    @pytest.mark.asyncio
    async def test_the_largest_frame_passes(self, pair: Pair) -> None:
        """The bound is inclusive."""
        here, there = pair
        frame = Random(7).randbytes(FRAME_BYTES_MAX)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(here.send(frame))
            assert await there.receive() == frame

    @pytest.mark.asyncio
    async def test_bytes_are_counted_with_their_lengths(self, pair: Pair) -> None:
        """Both ends agree on what the wire carried."""
        here, there = pair
        async with asyncio.timeout(PATIENCE_S):
            await here.send(b"abc", b"de")
            await there.receive()
            await there.receive()
        assert here.counts.sent == there.counts.received == 5 + 2 * LENGTH_BYTES
        assert here.counts.received == there.counts.sent == 0

    @pytest.mark.asyncio
    async def test_a_peer_that_does_not_read_pushes_back(self, pair: Pair) -> None:
        """Sending without end ends in waiting, not in memory."""
        here, there = pair
        frame = bytes(FRAME_BYTES_MAX)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 256:
                await here.send(frame)
                sent += 1

        async with asyncio.TaskGroup() as group:
            flooding = group.create_task(flood())
            done, _ = await asyncio.wait([flooding], timeout=0.3)
            assert not done, "256 MiB were taken although nobody reads"
            stopped_at = sent
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(stopped_at + 1):
                    assert len(await there.receive()) == FRAME_BYTES_MAX
            flooding.cancel()

    @pytest.mark.asyncio
    async def test_what_was_sent_before_a_close_is_still_received(self, pair: Pair) -> None:
        """Last words are heard, then the end is told, every time one asks."""
        here, there = pair
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            await here.send(b"last", b"words")
            group.create_task(here.close())
            assert [await there.receive(), await there.receive()] == [b"last", b"words"]
            for _ in range(2):
                with pytest.raises(PeerLost):
                    await there.receive()
            await there.close()

    @pytest.mark.asyncio
    async def test_a_receiver_that_waits_is_told_of_the_end(self, pair: Pair) -> None:
        """Nobody waits for a peer that is gone."""
        here, there = pair

        async def wait() -> None:
            with pytest.raises(PeerLost):
                await there.receive()
            await there.close()

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(wait())
            await asyncio.sleep(0)
            await here.close()

    @pytest.mark.asyncio
    async def test_sending_to_a_peer_that_is_gone_fails_in_the_end(self, pair: Pair) -> None:
        """A socket may take a few frames before the news arrives, but not for ever."""
        here, there = pair

        async def talk() -> None:
            while True:
                await here.send(bytes(1_000))

        async with asyncio.timeout(PATIENCE_S):
            await there.close()
            with pytest.raises(PeerLost):
                await talk()

    @pytest.mark.asyncio
    async def test_a_closed_end_sends_nothing(self, pair: Pair) -> None:
        """Closing is final, and doing it twice is fine."""
        here, there = pair
        async with asyncio.timeout(PATIENCE_S):
            await here.close()
            await here.close()
            with pytest.raises(PeerLost):
                await here.send(b"too late")
            await there.close()

    @pytest.mark.asyncio
    async def test_cancelling_a_receive_loses_nothing(self, pair: Pair) -> None:
        """A time-out around ``receive`` is safe."""
        here, there = pair
        async with asyncio.timeout(PATIENCE_S):
            for number in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await there.receive()
                await here.send(bytes([number]))
                assert await there.receive() == bytes([number])
