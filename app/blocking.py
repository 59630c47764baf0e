"""A journal for programs without an event loop: the same calls, and each waits until it is done.

Thin: a loop in a thread of its own runs the journal, and every call here is the journal's own, made there; which calls
there are is told by the journal (``_CALLS``). Within an event loop use `Journal`: a call here would hold that loop up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import update_wrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from antiphon.facts import DEFAULT_NAMESPACE, AuthorityId, Fact, LocalViolation
from antiphon.reactive import Signal, SignalStream, SubscriptionClosed, Update
from antiphon.views import ViewSpec

from .journal import Journal

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
C = TypeVar("C", bound=Callable[..., object])


def _waiting(
    method: Callable[Concatenate[Journal, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[BlockingJournal, P], R]:
    """*method*, made in the journal's loop and waited for."""

    def call(self: BlockingJournal, /, *args: P.args, **named: P.kwargs) -> R:
        async def there() -> R:
            return await method(self._journal, *args, **named)

        return self._loop.wait(there)

    return _as(method, call)


def _there(method: Callable[Concatenate[Journal, P], R]) -> Callable[Concatenate[BlockingJournal, P], R]:
    """*method*, which waits for nothing, made in the journal's loop."""

    def call(self: BlockingJournal, /, *args: P.args, **named: P.kwargs) -> R:
        async def there() -> R:
            return method(self._journal, *args, **named)

        return self._loop.wait(there)

    return _as(method, call)


def _as(method: Callable[..., object], call: C) -> C:
    """*call* with the name and the words of *method*."""
    update_wrapper(call, method)
    return call


class BlockingJournal:
    """An open journal, for plain programs, scripts and threads: what `Journal` does, without ``await``.

    Any thread may call, several at once; a call that is interrupted (Ctrl-C) is cancelled, and a commit is then whole
    or not there. Each call costs a way to another thread and back, about 0.1 ms beside what it does.

    >>> import tempfile
    >>> class Noted(Fact, kind="blocking.noted", version=1):
    ...     text: str
    >>> with tempfile.TemporaryDirectory() as folder, BlockingJournal.open(folder + "/j", author="ada") as journal:
    ...     receipt = journal.commit(Noted(text="hello"))
    ...     journal.sql("select text from blocking_noted").fetchall()
    [('hello',)]
    """

    def __init__(self, loop: LoopThread, journal: Journal) -> None:
        self._loop = loop
        self._journal = journal

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        author: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        types: Iterable[type[Fact]] = (),
        may_create: bool = True,
    ) -> Self:
        """As `Journal.open`, and open when it returns: ``with BlockingJournal.open(…) as journal``."""
        loop = LoopThread(f"journal {path}")

        async def start() -> Journal:
            return await Journal.open(path, author=author, namespace=namespace, types=types, may_create=may_create)

        try:
            return cls(loop, loop.wait(start))
        except BaseException:
            loop.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """As `Journal.close`; the thread ends as well. Closing twice is fine."""
        if not self._loop.is_closed:
            try:
                self._loop.wait(self._journal.close)
            finally:
                self._loop.close()

    @property
    def path(self) -> Path:
        """The journal's folder."""
        return self._journal.path

    @property
    def author(self) -> str:
        """The display name that this journal's chains carry."""
        return self._journal.author

    @property
    def authority(self) -> AuthorityId:
        """Who acts when this journal commits: 32 hex digits."""
        return self._journal.authority

    @property
    def fingerprint(self) -> str:
        """As `Journal.fingerprint`: equal on two journals exactly when both hold the same facts."""
        return self._loop.do(lambda: self._journal.fingerprint)

    @property
    def fact_count(self) -> int:
        """How many facts it holds."""
        return self._loop.do(lambda: self._journal.fact_count)

    commit = _waiting(Journal.commit)
    commit_all = _waiting(Journal.commit_all)
    flush = _waiting(Journal.flush)
    erase = _waiting(Journal.erase)
    retire = _waiting(Journal.retire)
    trim = _waiting(Journal.trim)
    collapse = _waiting(Journal.collapse)
    register_app_signals = _waiting(Journal.register_app_signals)
    sql = _waiting(Journal.sql)
    sync = _waiting(Journal.sync)
    delivery_marks = _waiting(Journal.delivery_marks)
    explain = _waiting(Journal.explain)
    statistics = _there(Journal.statistics)
    use_opener = _there(Journal.use_opener)

    def snapshot(self, source: ViewSpec[S] | Signal[S]) -> S:
        """As `Journal.snapshot`: the value with everything that was committed before."""

        async def there() -> S:
            found: S = await self._journal.snapshot(source)
            return found

        return self._loop.wait(there)

    @contextmanager
    def watch(self, source: ViewSpec[S] | Signal[S], *, policy: str = "buffer") -> Iterator[BlockingUpdates[S]]:
        """As `Journal.watch`: ``with journal.watch(lobby) as updates: for update in updates: …``."""
        watch = self._loop.do(lambda: self._journal.watch(source, policy=policy))
        stream = self._loop.wait(watch.__aenter__)
        try:
            yield BlockingUpdates(self._loop, stream)
        finally:
            if not self._loop.is_closed:
                self._loop.wait(lambda: watch.__aexit__(None, None, None))

    @contextmanager
    def serve(self, address: str = "tcp://127.0.0.1:0") -> Iterator[str]:
        """As `Journal.serve`, while the block runs; the address that peers use."""
        server = self._loop.do(lambda: self._journal.serve(address))
        started = self._loop.wait(server.__aenter__)
        try:
            yield started.address
        finally:
            if not self._loop.is_closed:
                self._loop.wait(lambda: server.__aexit__(None, None, None))


class BlockingUpdates(Generic[S]):
    """What `BlockingJournal.watch` gives: a ``for`` loop over updates, which ends when the journal is closed."""

    def __init__(self, loop: LoopThread, stream: SignalStream[S]) -> None:
        self._loop = loop
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update[S]:
        try:
            return self.recv()
        except SubscriptionClosed:
            raise StopIteration from None

    def recv(self, *, timeout_s: float | None = None) -> Update[S]:
        """The next update, waiting for it. Raises ``TimeoutError``, and ``SubscriptionClosed`` after the end."""

        async def there() -> Update[S]:
            async with asyncio.timeout(timeout_s):
                return await self._stream.recv()

        return self._loop.wait(there)

    def try_recv(self) -> Update[S] | None:
        """The next update if there is one."""
        return self._loop.do(self._stream.try_recv)


class LoopThread:
    """An event loop in a thread of its own, until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be done there any more."""
        return self._loop.is_closed()

    def wait(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Do *work* there and wait for it. Raises what it raises."""
        if threading.current_thread() is self._thread:
            raise LocalViolation("a blocking call came from the journal's own thread, which would wait for itself")
        if self.is_closed:
            raise LocalViolation("the journal is closed; open it again with BlockingJournal.open(…)")
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def do(self, work: Callable[[], R]) -> R:
        """The same for what waits for nothing."""

        async def there() -> R:
            return work()

        return self.wait(there)

    def close(self) -> None:
        """End the loop and its thread. Closing twice is fine."""
        if self.is_closed:
            return
        self.wait(self._loop.shutdown_default_executor)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


LEFT_OUT: Mapping[str, str] = {
    "fold": "for lattices of one's own, in programs with a loop",
    "cut": "for lattices of one's own, in programs with a loop",
    "wake": "a snapshot and a watch wake what they show",
    "sync_with": "the other journal lives in another loop: serve one and sync the other",
}
"""What a `Journal` can be awaited for and this cannot, and why."""
