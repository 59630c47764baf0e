"""``@view``: a user's own view, written as a fold over facts in stamp order.

The fold sees facts in the one order that all replicas agree on, though they arrive late: a ladder of earlier states
is kept, and a late fact refolds from the rung below it. Checkpoints on disk and registration are not decided here.
"""

from __future__ import annotations

import inspect
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from operator import itemgetter, lt
from types import NoneType, UnionType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError

from antiphon.facts import Fact, FactRecord, RegistrationError, Stamp
from antiphon.facts.fact import get_record
from antiphon.reactive import UNCHANGED, AppError, Batch, Signal, Unchanged

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
F = TypeVar("F", bound=Fact)
F1 = TypeVar("F1", bound=Fact)
F2 = TypeVar("F2", bound=Fact)
F_co = TypeVar("F_co", covariant=True)

# Rungs of the ladder: (how far back, how far apart). A window of late facts refolds at most one gap more than its age.
RUNGS = ((1_000, 64), (16_000, 1_000))
# Facts kept in memory beside the state: at the bound the older half goes, and a fact later than that needs the log.
TAIL_FACTS_MAX = 32_000
# So many facts that were forgotten go with each that comes: all of them before the tail is full again.
LEAVING_FACTS_EACH = 4
# More steps than this would hold up the loop for longer than a window; they are done in a thread instead.
INLINE_STEPS_MAX = 2_000
# Reading history in pieces of this size keeps a thread from holding all of it at once.
HISTORY_CHUNK = 4_096


class FoldRung(NamedTuple):
    """The state after the first ``fact_count`` facts in stamp order."""

    fact_count: int
    state: object


@dataclass(frozen=True, eq=False)
class ViewSpec(Generic[S_co]):
    """A declared view: what it folds, from which state, under which name. Made by ``@view``; owns no state.

    ``version`` may be raised when the meaning of the fold changes. To a type checker a view of ``tuple[str, ...]`` is
    also one of ``Sized``: whoever holds the declaration only reads.
    """

    name: str
    key: str
    models: tuple[type[Fact], ...]
    initial: S_co
    fold: Callable[[Any, Any], S_co]
    version: int | None = None

    @property
    def view_id(self) -> str:
        """The name under which a scheduler runs it: the given name, or module and function."""
        return f"view:{self.key}"

    @property
    def signal(self) -> Signal[Any]:
        """The key under which the view's value is published."""
        return Signal(self.view_id, object)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds it folds."""
        return frozenset(model.fact_type.kind for model in self.models)

    @property
    def schema_hash(self) -> str:
        """Changes when a fact type it folds, or an upcaster of one, changes; part of a checkpoint's key."""
        return schema_hash_of(self.models)

    @property
    def may_be_none(self) -> bool:
        """Whether None is a state, by the fold's return annotation; without one that can be read, it may be."""
        try:
            return _takes_none(get_type_hints(self.fold).get("return", Any))
        except (NameError, TypeError):
            return True

    def ladder(self) -> Ladder[S_co]:
        """A fold that has seen nothing."""
        return Ladder(self.fold, FoldRung(0, self.initial))

    def encode(self, ladder: Ladder[Any]) -> bytes | None:
        """A ladder's state in bytes; None unless ``version=`` is declared and the state comes back equal."""
        adapter, stamp = self._adapter(), ladder.last_stamp
        if adapter is None or stamp is None:
            return None
        try:
            state = adapter.dump_json(ladder.state)
            if adapter.validate_json(state, strict=True) != ladder.state:
                return None
        except (PydanticSerializationError, ValidationError, TypeError):
            return None
        at, hlc, fact_id = stamp
        return b"%d %d %b %d\n%b" % (at, hlc, fact_id.hex().encode(), ladder.fact_count, state)

    def restore(self, checkpoint: bytes) -> Ladder[S_co] | None:
        """The ladder that ``encode`` wrote, without its tail; None when it cannot be read as this view's state."""
        adapter = self._adapter()
        if adapter is None:
            return None
        head, _, body = checkpoint.partition(b"\n")
        try:
            at, hlc, fact_id, count = head.split()
            stamp = (int(at), int(hlc), bytes.fromhex(fact_id.decode()))
            return Ladder(self.fold, FoldRung(int(count), adapter.validate_json(body, strict=True)), base_stamp=stamp)
        except (ValidationError, ValueError):
            return None

    def __call__(self, state: Any, fact: Any) -> S_co:
        """Apply one fact, as the decorated function does."""
        return self.fold(state, fact)

    def _adapter(self) -> TypeAdapter[S_co] | None:
        """How the state is written: by the fold's return annotation, when it has one."""
        if self.version is None:
            return None
        try:
            returned = get_type_hints(self.fold).get("return")
        except NameError:
            return None
        try:
            return None if returned is None else TypeAdapter(returned)
        except PydanticSchemaGenerationError:
            return None


def _takes_none(annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return any(map(_takes_none, get_args(annotation)))
    # What is no class (a type variable, an alias) may stand for anything.
    held = annotation if origin is None else origin
    return not isinstance(held, type) or held in (object, NoneType)


def schema_hash_of(models: Iterable[type[Fact]]) -> str:
    """Changes when one of these fact types, or an upcaster of one, changes."""
    digest = sha256(b"antiphon.view.1")
    for fact_type in sorted((model.fact_type for model in models), key=lambda each: each.kind):
        digest.update(f"{fact_type.kind} {fact_type.version} {fact_type.schema_hash}".encode())
        for step, function in sorted(fact_type.upcasters.items()):
            code = getattr(function, "__code__", None)
            digest.update(f"{step} {code.co_code.hex() if code else function!r}".encode())
    return digest.hexdigest()[:32]


class DeclareView(Protocol[F_co]):
    """What ``@view(…)`` gives: it takes the fold, and the fold's own signature says what the state is.

    Not *initial*: ``()`` alone would be the type of the empty tuple and of no other.
    """

    def __call__(self, function: Callable[[S, F_co], S], /) -> ViewSpec[S]:
        """Make the view."""


@overload
def view(
    model: type[F], /, *, initial: object, name: str | None = None, version: int | None = None
) -> DeclareView[F]: ...
@overload
def view(
    model: type[F1], other: type[F2], /, *, initial: object, name: str | None = None, version: int | None = None
) -> DeclareView[F1 | F2]: ...
@overload
def view(
    *models: type[Fact], initial: object, name: str | None = None, version: int | None = None
) -> DeclareView[Any]: ...
def view(*models: type[Fact], initial: Any, name: str | None = None, version: int | None = None) -> DeclareView[Any]:
    """Declare a view over facts of *models*: a function (state, fact) -> state that changes nothing in place.

    It is called in stamp order (the fact's time, HLC, id), whatever the order of arrival. States must be immutable
    values; the view's name is the function's unless *name* is given. Raises ``RegistrationError`` without a fact
    type, for a function that is async or does not take a state and a fact, and for an *initial* that can be changed.

    A fact on which the function raises is left out, and the view goes on: ``journal.errors()`` tells of each such fact,
    ``journal.problems`` of the first of each view. Both tell of a function that gives None where its return annotation
    promises a state: a ``return`` was forgotten.

    >>> class Counted(Fact, kind="doc.counted", version=1):
    ...     step: int
    >>> @view(Counted, initial=0)
    ... def total(state: int, fact: Counted) -> int:
    ...     return state + fact.step
    >>> total(1, Counted(step=2))
    3
    """
    given: tuple[object, ...] = models
    if not models or not all(isinstance(model, type) and hasattr(model, "fact_type") for model in given):
        raise RegistrationError(
            f"@view takes one or more fact types with a kind, such as @view(MessageSent, initial=()); got {models!r}"
        )
    if isinstance(initial, list | dict | set | bytearray):
        raise RegistrationError(
            f"@view: initial={initial!r} can be changed in place; use a tuple, a frozenset, a types.MappingProxyType "
            "or a frozen dataclass (a state is a value)"
        )
    if type(version) not in (int, type(None)):
        raise RegistrationError(f"@view: version is an integer or None; got {version!r}")

    def declare(function: Callable[[S, Any], S]) -> ViewSpec[S]:
        _check_fold(function)
        key = name or f"{function.__module__}.{function.__qualname__}"
        return ViewSpec(name or function.__name__, key, tuple(models), initial, function, version)

    return declare


def _check_fold(function: Callable[..., object]) -> None:
    """Refuse what could not fold a single fact, now and not when the first one comes."""
    where = f"@view: {getattr(function, '__qualname__', function)}"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(
            f"{where} is async; a fold is a plain function (state, fact) -> state that waits for nothing"
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as problem:
        raise RegistrationError(f"{where} cannot be called as (state, fact) -> state: {problem}") from None
    except ValueError:  # written in C, and tells nobody what it takes
        return


class LadderStatistics(NamedTuple):
    """The insides of a fold: how many facts it folded and still holds, and how often it was applied."""

    fact_count: int
    tail_count: int
    rung_count: int
    step_count: int
    refold_count: int
    poisoned_count: int


class Ladder(Generic[S]):
    """A state, the newest facts behind it in stamp order, and earlier states at growing distances.

    Costs one step a fact in order, and for a late one the steps since the rung below it. Facts older than the tail are
    gone from here: ``insert`` says so. A fact on which the fold raises is left out and noted in ``poisoned``.
    """

    def __init__(self, fold: Callable[[S, Any], S], base: FoldRung, *, base_stamp: Stamp | None = None) -> None:
        self._fold = fold
        self._rungs: list[FoldRung] = [base]
        self._base_stamp = base_stamp
        self._facts: list[Fact] = []
        self._leaving: list[Fact] = []
        self._thinned_count = 1
        self.state: S = base.state  # type: ignore[assignment]  # a rung holds what this fold returned
        self.steps = 0
        self.poisoned: list[tuple[Fact, Exception]] = []

    @property
    def fact_count(self) -> int:
        """How many facts the state is made of."""
        return self._rungs[0].fact_count + len(self._facts)

    @property
    def last_stamp(self) -> Stamp | None:
        """The stamp of the newest fact."""
        return stamp_of(self._facts[-1]) if self._facts else self._base_stamp

    def copy(self) -> Ladder[S]:
        """An equal ladder that can be climbed elsewhere; O(tail) pointers."""
        twin: Ladder[S] = Ladder(self._fold, self._rungs[0], base_stamp=self._base_stamp)
        twin._rungs, twin._facts, twin.state = list(self._rungs), list(self._facts), self.state
        return twin

    def steps_for(self, facts: Sequence[Fact]) -> int | None:
        """How many steps folding *facts* (in stamp order) takes; None when they belong before the tail."""
        last, first = self.last_stamp, stamp_of(facts[0])
        if last is None or first > last:
            return len(facts)
        if self._base_stamp is not None and first < self._base_stamp:
            return None
        return len(self._facts) - bisect_right(self._facts, first, key=stamp_of) + len(facts)

    def insert(self, facts: Sequence[Fact]) -> None:
        """Fold *facts*, which are in stamp order and not older than the tail."""
        last = self.last_stamp
        if last is None or stamp_of(facts[0]) > last:
            start = len(self._facts)
            self._facts.extend(facts)
        else:
            start = self._make_room(facts)
        self._climb(start)
        if self._leaving:
            del self._leaving[-LEAVING_FACTS_EACH * len(facts) :]
        if len(self._facts) > TAIL_FACTS_MAX:
            self._forget_tail()

    @property
    def tail_count(self) -> int:
        """How many facts are held."""
        return len(self._facts)

    @property
    def leaving_count(self) -> int:
        """How many more are on their way out: the tail has forgotten them, and their memory goes with later facts."""
        return len(self._leaving)

    @property
    def rung_count(self) -> int:
        """How many states are held."""
        return len(self._rungs)

    def _make_room(self, facts: Sequence[Fact]) -> int:
        """Put late facts in their place, step down to the rung below the earliest, and say where to fold from."""
        first = bisect_right(self._facts, stamp_of(facts[0]), key=stamp_of)
        tail = self._facts[first:]
        del self._facts[first:]
        self._facts.extend(sorted([*tail, *facts], key=stamp_of))
        base = self._rungs[0].fact_count
        while self._rungs[-1].fact_count > base + first:
            self._rungs.pop()
        self._thinned_count = min(self._thinned_count, len(self._rungs))
        self.state = self._rungs[-1].state  # type: ignore[assignment]  # a rung holds what this fold returned
        return self._rungs[-1].fact_count - base

    def _climb(self, start: int) -> None:
        fold, state = self._fold, self.state
        count = len(self._facts)
        base, rung = self._rungs[0].fact_count, self._rungs[-1].fact_count
        gap = RUNGS[0][1]
        for at in range(start, count):
            fact = self._facts[at]
            try:
                state = fold(state, fact)
            except Exception as problem:  # the user's function ends here: this fact is left out, the view goes on
                self.poisoned.append((fact, problem))
            if base + at + 1 - rung >= gap:
                rung = base + at + 1
                self._rungs.append(FoldRung(rung, state))
        self.state = state
        self.steps += count - start
        if len(self._rungs) > self._thinned_count + RUNGS[0][0] // gap:
            self._thin_rungs()

    def _thin_rungs(self) -> None:
        """Keep rungs close together near the end and far apart below, so that a long tail costs few states."""
        count = self.fact_count
        kept = [self._rungs[0]]
        for rung in self._rungs[1:]:
            distance = count - rung.fact_count
            gap = next((gap for reach, gap in RUNGS if distance <= reach), RUNGS[-1][1])
            if rung.fact_count - kept[-1].fact_count >= gap:
                kept.append(rung)
        self._rungs = kept
        self._thinned_count = len(kept)

    def _forget_tail(self) -> None:
        """Let the older half of the facts go; the lowest rung that remains is the new ground."""
        floor = self.fact_count - TAIL_FACTS_MAX // 2
        at = next(at for at, rung in enumerate(self._rungs) if rung.fact_count >= floor)
        gone = self._rungs[at].fact_count - self._rungs[0].fact_count
        self._base_stamp = stamp_of(self._facts[gone - 1])
        # To free 16,000 facts takes 7 ms, which no window should pay alone: a few go with each fact that comes.
        self._leaving += self._facts[:gone]
        del self._facts[:gone]
        del self._rungs[:at]
        self._thinned_count = len(self._rungs)


class FoldView(Generic[S]):
    """A ``ViewSpec`` at work, for the scheduler.

    Windows in order, and late ones near the end, are folded at once. Later ones wait for a refold that whoever hosts
    the view does elsewhere: ``begin_refold`` says what to do, ``Refold.run`` does it in a thread, ``finish_refold``
    takes the result; until then the view keeps its value and gathers what arrives, so that many late windows cost one
    refold.
    """

    def __init__(
        self, spec: ViewSpec[S], *, on_problem: Callable[[AppError], None], ladder: Ladder[S] | None = None
    ) -> None:
        self._spec = spec
        self._on_problem = on_problem
        self._ladder = ladder or spec.ladder()
        self._arrived: list[Fact] = []
        self._is_refolding = False
        self._reported: set[bytes] = set()
        self._is_none_told = False
        self._steps = 0
        self._refolds = 0

    @property
    def view_id(self) -> str:
        """The scheduler's name for it."""
        return self._spec.view_id

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds it folds."""
        return self._spec.kinds

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Nothing: a fold reads facts only."""
        return ()

    @property
    def signal(self) -> Signal[Any]:
        """Where its value is published."""
        return self._spec.signal

    @property
    def value(self) -> S:
        """The newest value."""
        return self._ladder.state

    @property
    def needs_refold(self) -> bool:
        """Whether late facts wait for a refold that nobody has begun."""
        return bool(self._arrived) and not self._is_refolding

    def update(self, batch: Batch[Fact], /) -> S | Unchanged:
        """Fold a window; the value, or ``UNCHANGED`` when the window must wait for a refold."""
        facts = batch.facts
        if facts and not self._take(facts):
            return UNCHANGED
        return self._ladder.state

    def begin_refold(self, *, from_history: bool = False) -> Refold[S]:
        """Take what waits and say how to fold it; the view gathers on. The log holds what waits, too."""
        arrived, self._arrived = sorted(self._arrived, key=stamp_of), []
        self._is_refolding = True
        if from_history or self._ladder.steps_for(arrived) is None:
            return Refold(self._spec, None, ())
        return Refold(self._spec, self._ladder.copy(), arrived)

    def finish_refold(self, ladder: Ladder[S]) -> None:
        """Take the refolded ladder over and fold what arrived meanwhile, as far as that is cheap."""
        self._ladder = ladder
        self._is_refolding = False
        self._refolds += 1
        self._note(ladder)
        arrived, self._arrived = self._arrived, []
        if arrived:
            self._take(arrived)

    def abandon_refold(self) -> None:
        """Give a refold up that could not be done; the next late window asks for another."""
        self._is_refolding = False

    @property
    def checkpoint_key(self) -> tuple[str, int, str] | None:
        """View id, version and schema hash, for a view that declares ``version=``."""
        spec = self._spec
        return None if spec.version is None else (spec.view_id, spec.version, spec.schema_hash)

    def checkpoint(self) -> bytes | None:
        """The state in bytes, for a view that declares ``version=`` and whose state can be written; else None."""
        return None if self._arrived or self._is_refolding else self._spec.encode(self._ladder)

    def statistics(self) -> LadderStatistics:
        """A frozen record of the insides."""
        ladder = self._ladder
        return LadderStatistics(
            ladder.fact_count, ladder.tail_count, ladder.rung_count, self._steps, self._refolds, len(self._reported)
        )

    def _take(self, facts: Sequence[Fact]) -> bool:
        """Fold *facts* now when that is cheap, else keep them for a refold."""
        if self._is_refolding or self._arrived:
            self._arrived.extend(facts)
            return False
        if len(facts) > 1 and not is_ordered(facts):
            facts = sorted(facts, key=stamp_of)
        steps = self._ladder.steps_for(facts)
        if steps is None or steps - len(facts) > INLINE_STEPS_MAX:
            self._arrived.extend(facts)
            return False
        self._ladder.insert(facts)
        self._note(self._ladder)
        return True

    def _note(self, ladder: Ladder[S]) -> None:
        self._steps += ladder.steps
        ladder.steps = 0
        if ladder.state is None and not self._is_none_told:
            self._tell_none()
        poisoned, ladder.poisoned = ladder.poisoned, []
        for fact, problem in poisoned:
            record = get_record(fact)
            if record.fact_id not in self._reported:
                self._reported.add(record.fact_id)
                what = f"{record.kind} {record.fact_id.hex()[:12]}"
                text = f"view {self._spec.name} failed on {what}: {type(problem).__name__}: {problem}"
                self._on_problem(AppError("view-failed", text, record.kind, record.fact_id.hex()))

    def _tell_none(self) -> None:
        """Tell, once, of a state that is None though the fold promises another: before what fails because of it."""
        self._is_none_told = True
        spec = self._spec
        if spec.initial is not None and not spec.may_be_none:
            text = f"view {spec.name}: its fold gave None where its annotation promises a state; is a return forgotten?"
            self._on_problem(AppError("view-without-state", text))


@dataclass(frozen=True, slots=True)
class Refold(Generic[S]):
    """A refold to be done off the loop: from a copied ladder, or from the whole history when there is none."""

    spec: ViewSpec[S]
    ladder: Ladder[S] | None
    facts: Sequence[Fact]

    def run(self, read_history: Callable[[], Iterable[Fact]]) -> Ladder[S]:
        """Fold; *read_history* is called only when it is needed, and gives the facts in any order."""
        if self.ladder is None:
            return fold_history(self.spec, read_history)
        self.ladder.insert(self.facts)
        return self.ladder


def fold_history(spec: ViewSpec[S], read_history: Callable[[], Iterable[Fact]]) -> Ladder[S]:
    """Fold facts that come in any order: as they stream in while none is later than the tail reaches, else sorted."""
    ladder = spec.ladder()
    stream = iter(read_history())
    while chunk := sorted(islice(stream, HISTORY_CHUNK), key=stamp_of):
        if ladder.steps_for(chunk) is None:
            ladder = spec.ladder()
            ladder.insert(sorted(read_history(), key=stamp_of))
            return ladder
        ladder.insert(chunk)
    return ladder


def is_ordered(facts: Sequence[Fact]) -> bool:
    """Whether *facts* are in stamp order already, as a window of one author is; a third of the cost of sorting."""
    stamps = list(map(_STAMP_OF, map(get_record, facts)))
    return all(map(lt, stamps, islice(stamps, 1, None)))


_STAMP_OF = itemgetter(*map(FactRecord._fields.index, ("at", "hlc", "fact_id")))


def stamp_of(fact: Fact) -> Stamp:
    """The key by which facts are ordered."""
    record = get_record(fact)
    return (record.at, record.hlc, record.fact_id)
