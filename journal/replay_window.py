"""Which envelopes came already: the last ids of each source and context, in bounded memory.

Knows neither envelopes nor disks: who keeps a window over a restart writes down what was noted, and notes it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

REPLAY_WINDOW = 256
STREAMS_MAX = 4_096
# What was begun and neither noted nor given up: more than that is a caller that forgets to.
BEGUN_MAX = 4_096


class ReplayWindow:
    """The last 256 envelope ids of each (source, context): a repeat is noticed, and memory is bounded.

    Streams that were silent longest go first when there are too many. In a window that *is_kept* an id that was only
    begun is no part of ``ids`` yet, which are what to keep over a restart.

    >>> window = ReplayWindow()
    >>> window.is_fresh("bo", "home", "e1"), window.begin("bo", "home", "e1"), window.is_fresh("bo", "home", "e1")
    (True, None, False)
    """

    def __init__(self, *, size: int = REPLAY_WINDOW, streams_max: int = STREAMS_MAX, is_kept: bool = False) -> None:
        self._size = size
        self._streams_max = streams_max
        self._is_kept = is_kept
        self._begun: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._streams: OrderedDict[tuple[str, str], OrderedDict[str, None]] = OrderedDict()

    def is_fresh(self, source: str, context: str, envelope_id: str) -> bool:
        """Whether this id was not seen within the window."""
        stream = self._streams.get((source, context), ())
        return envelope_id not in stream and (source, context, envelope_id) not in self._begun

    def is_noted(self, source: str, context: str, envelope_id: str) -> bool:
        """Whether this id was noted within the window, and not only begun."""
        return envelope_id in self._streams.get((source, context), ())

    def begin(self, source: str, context: str, envelope_id: str) -> None:
        """An envelope came: noted at once, or, where what is noted is written down, with what it came to."""
        if not self._is_kept:
            self.note(source, context, envelope_id)
            return
        self._begun[source, context, envelope_id] = None
        if len(self._begun) > BEGUN_MAX:
            self._begun.popitem(last=False)

    def note(self, source: str, context: str, envelope_id: str) -> None:
        """Remember an id."""
        self._begun.pop((source, context, envelope_id), None)
        stream = self._streams.pop((source, context), None) or OrderedDict()
        self._streams[source, context] = stream
        stream[envelope_id] = None
        if len(stream) > self._size:
            stream.popitem(last=False)
        if len(self._streams) > self._streams_max:
            self._streams.popitem(last=False)

    def forget(self, source: str, context: str, envelope_id: str) -> None:
        """Take an id back: what it named could not be used, and may come again."""
        self._begun.pop((source, context, envelope_id), None)
        self._streams.get((source, context), OrderedDict()).pop(envelope_id, None)

    def clear(self) -> None:
        """Forget everything that was noted."""
        self._streams.clear()

    @property
    def id_count(self) -> int:
        """How many ids are held."""
        return sum(map(len, self._streams.values()))

    def ids(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Every id that was noted and is held, oldest first."""
        return {key: tuple(stream) for key, stream in self._streams.items()}
