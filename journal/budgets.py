"""Flow and leakage budgets as lattices: what was spent only grows, what is allowed only shrinks, within an epoch.

Pure bookkeeping of one (context, peer) pair; keep many in a ``MapLattice``. The bound is per replica: between two
syncs, d devices may together spend d times the headroom; merging shows it, and no more is allowed then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar, NamedTuple

from antiphon.facts import LocalViolation
from antiphon.facts.encoding import INTEGER_MAX, INTEGER_MIN

from .lattice import JoinValue, check_natural, freeze, read_list, read_map, read_natural, read_naturals, read_text
from .lattices.counters import GCounter

# One default, of the two that the reference found.
FLOW_LIMIT_DEFAULT = 1_024
LEAKAGE_WINDOW_MS = 24 * 60 * 60 * 1_000


class InsufficientBudget(LocalViolation):
    """A charge exceeds the headroom; nothing was charged."""

    def __init__(self, *, required: int, remaining: int) -> None:
        self.required = required
        self.remaining = remaining
        super().__init__(
            f"the charge is {required} and {remaining} are left of the flow budget; wait for the next epoch or raise it"
        )


class LeakageExceeded(LocalViolation):
    """What would be revealed to an observer exceeds its allowance; nothing was recorded."""

    def __init__(self, *, observer: str, requested: int, remaining: int) -> None:
        self.observer = observer
        self.requested = requested
        self.remaining = remaining
        super().__init__(
            f"{requested} bits for the observer {observer!r}, and {remaining} are left in its window; "
            "wait until older ones leave it"
        )


class LeakageBudgetUndefined(LocalViolation):
    """No allowance is set for an observer, and the policy is to deny."""

    def __init__(self, observer: str) -> None:
        self.observer = observer
        super().__init__(f"no leakage budget is set for the observer {observer!r}; set one, or choose another policy")


@dataclass(frozen=True, slots=True)
class FlowBudget(JoinValue):
    """An allowance per epoch: ``limit`` units, and what each device has spent of them.

    A join takes the higher epoch outright; in one epoch the smaller limit and each device's larger spending, so two
    devices' charges add up. The bottom has no limit and is not a budget to start from; ``fresh`` is.

    >>> phone, laptop = FlowBudget.fresh(100).charge("phone", 30), FlowBudget.fresh(100).charge("laptop", 40)
    >>> phone.join(laptop).spent, phone.join(laptop).headroom
    (70, 30)
    """

    lattice_name: ClassVar[str] = "flow_budget"
    limit: int = INTEGER_MAX
    charges: GCounter = field(default_factory=GCounter)
    epoch: int = 0

    def __post_init__(self) -> None:
        check_natural("the limit", self.limit)
        check_natural("the epoch", self.epoch)

    @classmethod
    def fresh(cls, limit: int = FLOW_LIMIT_DEFAULT, *, epoch: int = 0) -> FlowBudget:
        """An untouched budget."""
        return cls(limit, GCounter(), epoch)

    @property
    def spent(self) -> int:
        """What all devices have spent in this epoch."""
        return self.charges.value

    @property
    def headroom(self) -> int:
        """What may still be spent; 0 when devices overspent together."""
        return max(0, self.limit - self.spent)

    @property
    def is_overspent(self) -> bool:
        """Whether devices, each within its own view, spent more than the limit together."""
        return self.spent > self.limit

    def can_charge(self, cost: int) -> bool:
        """Whether *cost* fits; exactly using up the rest does, and a cost of 0 always does."""
        check_natural("a cost", cost)
        return cost <= self.headroom

    def charge(self, device: str, cost: int) -> FlowBudget:
        """The budget after *device* has spent *cost*. ``InsufficientBudget`` when it does not fit."""
        if not self.can_charge(cost):
            raise InsufficientBudget(required=cost, remaining=self.headroom)
        return replace(self, charges=self.charges.add(device, cost))

    def lower_limit(self, limit: int) -> FlowBudget:
        """The budget with a limit of at most *limit*; it never rises within an epoch."""
        return replace(self, limit=min(self.limit, limit))

    def rotate_epoch(self, epoch: int, *, limit: int | None = None) -> FlowBudget:
        """The budget of a later epoch, with nothing spent and *limit* if given; unchanged when *epoch* is not later."""
        if epoch <= self.epoch:
            return self
        return FlowBudget(self.limit if limit is None else limit, GCounter(), epoch)

    def bottom(self) -> FlowBudget:
        """Epoch 0, nothing spent, no limit."""
        return FlowBudget()

    def join(self, other: FlowBudget) -> FlowBudget:
        """The higher epoch, or within one the smaller limit and the larger charges."""
        if self.epoch != other.epoch:
            return self if self.epoch > other.epoch else other
        return FlowBudget(min(self.limit, other.limit), self.charges.join(other.charges), self.epoch)

    def to_data(self) -> object:
        """Limit, charges by device, epoch."""
        return {"charges": self.charges.to_data(), "epoch": self.epoch, "limit": self.limit}

    def from_data(self, data: object) -> FlowBudget:
        """Read what ``to_data`` wrote."""
        parts = read_map(data)
        return FlowBudget(
            read_natural(parts["limit"]), GCounter(read_naturals(parts["charges"])), read_natural(parts["epoch"])
        )


class Leak(NamedTuple):
    """Bits revealed to an observer by the operation ``leak_id``, and when (milliseconds since 1970)."""

    leak_id: str
    observer: str
    bits: int
    at_ms: int


class UndefinedObserver(Enum):
    """What to do about an observer without an allowance."""

    DENY = "deny"
    PERMIT = "permit"


@dataclass(frozen=True, slots=True)
class LeakageBudget(JoinValue):
    """Bits revealed to each class of observers in a rolling window of 24 hours, and how many may be.

    ``leaks`` is a set, so that telling one twice counts once. ``horizons`` say up to
    when leaks of an observer no longer count, because they were swept or reset; they only move forward. Observers
    are independent.

    >>> budget = LeakageBudget({"Neighbor": 500}).record("op-1", "Neighbor", 32, at_ms=1_000)
    >>> budget.remaining("Neighbor", now_ms=2_000), budget.remaining("Neighbor", now_ms=2_000 + LEAKAGE_WINDOW_MS)
    (468, 500)
    """

    lattice_name: ClassVar[str] = "leakage_budget"
    limits: Mapping[str, int] = field(default_factory=dict)
    leaks: frozenset[Leak] = frozenset()
    horizons: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (*self.limits.items(), *self.horizons.items()):
            check_natural(f"the limit or horizon of {name!r}", value)
        horizons = {observer: at_ms for observer, at_ms in self.horizons.items() if at_ms}
        living = frozenset(leak for leak in self.leaks if leak.at_ms > horizons.get(leak.observer, INTEGER_MIN - 1))
        object.__setattr__(self, "limits", freeze(self.limits))
        object.__setattr__(self, "leaks", living)
        object.__setattr__(self, "horizons", freeze(horizons))

    def spent(self, observer: str, *, now_ms: int) -> int:
        """The bits of the 24 hours before *now_ms*. O(leaks)."""
        start = now_ms - LEAKAGE_WINDOW_MS
        return sum(leak.bits for leak in self.leaks if leak.observer == observer and leak.at_ms > start)

    def remaining(self, observer: str, *, now_ms: int) -> int | None:
        """The bits that may still be revealed; None when no allowance is set."""
        limit = self.limits.get(observer)
        return None if limit is None else max(0, limit - self.spent(observer, now_ms=now_ms))

    def check(
        self,
        observer: str,
        bits: int,
        *,
        now_ms: int,
        undefined: UndefinedObserver | int = UndefinedObserver.DENY,
    ) -> None:
        """Raise unless *bits* more may be revealed. *undefined*: deny, permit, or the allowance of those without one.

        ``LeakageExceeded`` or ``LeakageBudgetUndefined``.
        """
        remaining = self.remaining(observer, now_ms=now_ms)
        if remaining is None and undefined is UndefinedObserver.DENY:
            raise LeakageBudgetUndefined(observer)
        if remaining is None and isinstance(undefined, int):
            remaining = max(0, undefined - self.spent(observer, now_ms=now_ms))
        if remaining is not None and bits > remaining:
            raise LeakageExceeded(observer=observer, requested=bits, remaining=remaining)

    def record(self, leak_id: str, observer: str, bits: int, *, at_ms: int) -> LeakageBudget:
        """The budget after a leak, which was checked before; the same id again changes nothing."""
        check_natural("leaked bits", bits)
        return self.join(LeakageBudget(leaks=frozenset({Leak(leak_id, observer, bits, at_ms)})))

    def with_limit(self, observer: str, bits: int) -> LeakageBudget:
        """The budget with an allowance of at most *bits* for *observer*."""
        return self.join(LeakageBudget({observer: bits}))

    def reset(self, observer: str, *, at_ms: int) -> LeakageBudget:
        """The budget in which what *observer* learned up to *at_ms* no longer counts; who may do that is not asked."""
        return self.join(LeakageBudget(horizons={observer: at_ms}))

    def sweep(self, *, now_ms: int) -> LeakageBudget:
        """The budget without the leaks that have left the window."""
        start = max(0, now_ms - LEAKAGE_WINDOW_MS)
        return self.join(LeakageBudget(horizons={leak.observer: start for leak in self.leaks}))

    def bottom(self) -> LeakageBudget:
        """No allowances, no leaks."""
        return LeakageBudget()

    def join(self, other: LeakageBudget) -> LeakageBudget:
        """The smaller allowance, every leak, the later horizon."""
        return LeakageBudget(
            _merged(self.limits, other.limits, min),
            self.leaks | other.leaks,
            _merged(self.horizons, other.horizons, max),
        )

    def to_data(self) -> object:
        """Limits, sorted leaks, horizons."""
        leaks = [list(leak) for leak in sorted(self.leaks)]
        return {"horizons": dict(self.horizons), "leaks": leaks, "limits": dict(self.limits)}

    def from_data(self, data: object) -> LeakageBudget:
        """Read what ``to_data`` wrote."""
        parts = read_map(data)
        leaks = frozenset(_read_leak(leak) for leak in read_list(parts["leaks"]))
        return LeakageBudget(read_naturals(parts["limits"]), leaks, read_naturals(parts["horizons"]))


def _merged(mine: Mapping[str, int], theirs: Mapping[str, int], choose: Callable[[int, int], int]) -> dict[str, int]:
    merged = dict(mine)
    for key, value in theirs.items():
        merged[key] = choose(merged[key], value) if key in merged else value
    return merged


def _read_leak(data: object) -> Leak:
    leak_id, observer, bits, at_ms = read_list(data)
    if type(at_ms) is not int or not INTEGER_MIN <= at_ms <= INTEGER_MAX:
        raise ValueError(f"expected a time in milliseconds, got {at_ms!r:.80}")
    return Leak(read_text(leak_id), read_text(observer), read_natural(bits), at_ms)
