"""Frames out of a stream of bytes: a length of four bytes before each, checked before the body is waited for."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.journal.sync.messages import FRAME_BYTES_MAX, LENGTH_BYTES, OversizedFrame

from .transport import check_frame

# From here on a second copy costs more than a view that saves it.
VIEW_BYTES_MIN = 4_096


def lay_out(frames: Iterable[bytes]) -> list[bytes]:
    """The parts that go on the wire: each frame behind its length."""
    parts: list[bytes] = []
    for frame in frames:
        check_frame(frame)
        parts += (len(frame).to_bytes(LENGTH_BYTES, "big"), frame)
    return parts


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
        frames: list[bytes] = []
        while len(buffer) - at >= LENGTH_BYTES and self.problem is None:
            length = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if not 0 < length <= FRAME_BYTES_MAX:
                self.problem = OversizedFrame(f"a frame of {length} bytes; 1..{FRAME_BYTES_MAX} are allowed")
                break
            end = at + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            if length < VIEW_BYTES_MIN:
                frames.append(bytes(buffer[at + LENGTH_BYTES : end]))
            else:
                with memoryview(buffer) as view:
                    frames.append(bytes(view[at + LENGTH_BYTES : end]))
            at = end
        del buffer[:at]
        return frames

    def clear(self) -> None:
        """Forget what is not whole."""
        self._buffer.clear()
