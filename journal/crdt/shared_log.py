"""``SharedLog``: a sequence as a value, cheap to lengthen, for logs that live in immutable handlers.

Not for several threads, and not for taking from the front; a cut makes a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class SharedLog(Sequence[T], Generic[T]):
    """An immutable sequence; ``append`` gives a new one in O(1) as long as the longest is lengthened.

    Versions share one list, and each sees only its own length of it; lengthening an older version copies.

    >>> short = SharedLog(["a"])
    >>> long = short.append("b")
    >>> len(short), list(long)
    (1, ['a', 'b'])
    """

    __slots__ = ("_items", "_length")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: list[T] = list(items)
        self._length = len(self._items)

    def append(self, item: T) -> SharedLog[T]:
        """This sequence and *item* behind it."""
        longer: SharedLog[T] = SharedLog()
        longer._items = self._items if len(self._items) == self._length else self._items[: self._length]
        longer._items.append(item)
        longer._length = self._length + 1
        return longer

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return self._items[: self._length][index]
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} of a log of {self._length}")
        return self._items[index % self._length]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return (self._items[index] for index in range(self._length))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SharedLog):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as for a list

    def __repr__(self) -> str:
        return f"SharedLog({list(self)!r})"
