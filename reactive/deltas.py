"""Deltas beside snapshots: what changed from one version of a signal to the next, kept for those who reconnect.

Carries nothing to anyone: a server asks `since` with the version that its client has, and sends what it gets. Each
delta is computed once, however many clients there are.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from .errors import ReactiveError
from .hub import SignalHub
from .patch import Json, Operation, apply_patch, diff, to_document
from .signal import Signal, Update

T = TypeVar("T")

# A phone that was away for a second of full windows catches up by deltas; after more, the whole is smaller.
DELTAS_KEPT = 256


class DeltaGap(ReactiveError):
    """The delta does not follow what is held; ask for everything since then."""

    def __init__(self, *, held: int | None, base: int) -> None:
        super().__init__(
            f"a delta from version {base} came to version {held}; expected them equal: ask again with since"
        )


class Delta(NamedTuple):
    """What makes version `seq` of a signal: a patch of version `base`, or the whole `document` when `base` is None."""

    seq: int
    base: int | None
    patch: tuple[Operation, ...]
    document: Json
    live: bool

    def to_json(self) -> dict[str, Any]:
        """For a wire: the patch as RFC 6902 writes it, or the document."""
        head: dict[str, Any] = {"seq": self.seq, "base": self.base, "live": self.live}
        if self.base is None:
            return head | {"document": self.document}
        return head | {"patch": [each.to_json() for each in self.patch]}


class DeltaLog(Generic[T]):
    """Follows one signal of a hub and keeps its newest deltas; `with` closes it.

    Costs one patch an emission (what changed, and the lists it is in). Raises what `SignalHub.subscribe` raises.

    >>> hub, NAMES = SignalHub(), Signal("app:names", tuple)
    >>> owner = hub.register(NAMES, ("ada",), external=True)
    >>> with DeltaLog(hub, NAMES) as log:
    ...     mirror = Mirror()
    ...     mirror.take_all(log.since(None))
    ...     _ = hub.emit(NAMES, ("ada", "ben"))
    ...     mirror.take_all(log.since(mirror.seq))
    >>> mirror.document, mirror.seq
    (['ada', 'ben'], 1)
    """

    def __init__(self, hub: SignalHub, signal: Signal[T], *, keep: int = DELTAS_KEPT) -> None:
        self._current = hub.snapshot(signal)
        self._deltas: deque[Delta] = deque(maxlen=keep)
        self._document: tuple[int, Json] | None = None
        self.subscription = hub.subscribe(signal, replay_current=False)
        self.subscription.for_each(self._take)

    def since(self, seq: int | None) -> tuple[Delta, ...]:
        """What makes the present of version `seq`: nothing, deltas in order, or one whole document.

        The whole comes for None, for a version that is too old or was never here, and while there is no shorter way.
        """
        now = self._current
        if seq == now.version:
            return ()
        if seq is not None and self._deltas and self._deltas[0].base is not None and seq >= self._deltas[0].base:
            found = tuple(delta for delta in self._deltas if delta.base is not None and delta.base >= seq)
            if found and found[0].base == seq:
                return found
        return (Delta(now.version, None, (), self._whole(), now.ready),)

    def close(self) -> None:
        """Follow no more; what is kept can still be asked for."""
        self.subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, update: Update[T]) -> None:
        before = self._current
        self._current = before._replace(value=update.value, version=update.seq, ready=update.live)
        try:
            patch = tuple(diff(before.value, update.value))
        except (TypeError, ValueError):  # a value that has no canonical form: whoever asks is given the whole
            self._deltas.clear()
            return
        self._deltas.append(Delta(update.seq, before.version, patch, None, update.live))

    def _whole(self) -> Json:
        """The present as a document, made once a version."""
        if self._document is None or self._document[0] != self._current.version:
            self._document = (self._current.version, to_document(self._current.value))
        return self._document[1]


class Mirror:
    """The far end: a document that deltas are applied to, one after the other."""

    def __init__(self) -> None:
        self.document: Json = None
        self.seq: int | None = None

    def take(self, delta: Delta) -> None:
        """Apply one. Raises `DeltaGap` when it does not follow, and `PatchRefused`; the document then is as it was."""
        if delta.base is None:
            self.document = delta.document
        elif delta.base == self.seq:
            self.document = apply_patch(self.document, delta.patch)
        else:
            raise DeltaGap(held=self.seq, base=delta.base)
        self.seq = delta.seq

    def take_all(self, deltas: tuple[Delta, ...]) -> None:
        """Apply several in order."""
        for delta in deltas:
            self.take(delta)
