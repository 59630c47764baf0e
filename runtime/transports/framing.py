"""Frames out of a stream of bytes: a length of four bytes before each, checked before the body is waited for."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.journal.sync.messages import FRAME_BYTES_MAX, LENGTH_BYTES, OversizedFrame

# From here on a second copy costs more than a view that saves it.
VIEW_BYTES_MIN = 4_096


def lay_out(frames: Iterable[bytes]) -> bytes:
    """What goes on the wire: each frame behind its length."""
    parts: list[bytes] = []
    for frame in frames:
        size = len(frame)
        assert 0 < size <= FRAME_BYTES_MAX, "a frame is 1 byte to 1 MiB"
        parts += (size.to_bytes(LENGTH_BYTES, "big"), frame)
    return b"".join(parts)


class FrameCutter:
    """Cuts frames out of what arrives, however it was packed; ``problem`` is set once a length is out of bounds."""

    __slots__ = ("_buffer", "problem")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.problem: OversizedFrame | None = None

    @property
    def held(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take in bytes; the frames that are whole now."""
        buffer, at = self._buffer, 0
        buffer += data
        held = len(buffer)
        frames: list[bytes] = []
        while at + LENGTH_BYTES <= held and self.problem is None:
            start = at + LENGTH_BYTES
            length = int.from_bytes(buffer[at:start], "big")
            if not 0 < length <= FRAME_BYTES_MAX:
                self.problem = OversizedFrame(f"a frame of {length} bytes; 1..{FRAME_BYTES_MAX} are allowed")
                break
            end = start + length
            if held < end:
                break
            if length < VIEW_BYTES_MIN:
                frames.append(bytes(buffer[start:end]))
            else:
                with memoryview(buffer) as view:
                    frames.append(bytes(view[start:end]))
            at = end
        del buffer[:at]
        return frames

    def clear(self) -> None:
        """Forget what is not whole."""
        self._buffer.clear()
