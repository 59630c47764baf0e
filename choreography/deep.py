"""Recursion without Python's stack: a protocol may be two thousand messages deep, and the interpreter gives up at one.

A recursive algorithm is written as a generator that yields the calls it makes and receives their answers. Knows
nothing of protocols.
"""

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

Answer = TypeVar("Answer")

# The yielded values are again generators of the same kind; Python has no way to say so for every answer type.
Deep: TypeAlias = Generator[Any, Any, Answer]


def run_deep(call: Deep[Answer]) -> Answer:
    """Run a call and every call it yields; depth is bounded by memory only. What a call raises reaches the caller.

    Example: `def total(n): return n + (yield total(n - 1)) if n else 0` and `run_deep(total(100_000))`.
    """
    waiting: list[Deep[Any]] = [call]
    answer: Any = None
    while waiting:
        try:
            following = waiting[-1].send(answer)
        except StopIteration as done:
            waiting.pop()
            answer = done.value
        else:
            waiting.append(following)
            answer = None
    result: Answer = answer
    return result
