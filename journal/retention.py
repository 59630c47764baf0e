"""Retention: which payloads this node lets go because they are old, decided by the delivery policies.

Local: nothing is said to peers, membership does not shrink, and every id stays, so that roots are as before. What was
let go is remembered as local lines, so that it does not come back from a peer who keeps it longer. Reads no clock, and
the files are rewritten elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple, cast

from antiphon.facts import ChainId, FactId, FactRecord

from .delivery import DeliveryPolicies
from .frame import LocalNote
from .lattices.consistency import Acknowledgment, Consistency

RETIRED_NOTE = "retired"
# A frame closes at 256 KiB: so many halves of ids, in hex, fit into it with room to spare.
RETIRED_IDS_MAX = 3_000
_HALF = 16


class RetentionItem(NamedTuple):
    """A fact that still has its payload: where it is, how old, how large, and who acknowledged it (ms by peer).

    ``is_let_go``: its acknowledgements were dropped, which the same policy had allowed.
    """

    fact_id: FactId
    chain: ChainId
    seq: int
    kind: str
    at_ms: int
    payload_bytes: int
    acks: Mapping[str, int] = {}
    is_let_go: bool = False


class KindRetention(NamedTuple):
    """What becomes of one kind: facts whose payload goes and its bytes, facts too young, and facts somebody needs."""

    kind: str
    retired_count: int
    payload_bytes: int
    young_count: int
    needed_count: int


class RetentionPlan(NamedTuple):
    """What a pass lets go, and why the rest stays; ``horizons`` is, by kind, the time up to which everything goes."""

    retired: tuple[RetentionItem, ...]
    horizons: Mapping[str, int]
    kinds: tuple[KindRetention, ...]

    @property
    def payload_bytes(self) -> int:
        """How much of what facts say goes."""
        return sum(each.payload_bytes for each in self.kinds)

    def notes(self) -> Iterator[LocalNote]:
        """The local lines that remember it: the horizons, and the single facts that are younger than theirs."""
        yield LocalNote(RETIRED_NOTE, {"facts": [], "upto": dict(sorted(self.horizons.items()))})
        single = [
            item.fact_id[:_HALF].hex() for item in self.retired if item.at_ms > self.horizons.get(item.kind, _NEVER)
        ]
        for start in range(0, len(single), RETIRED_IDS_MAX):
            yield LocalNote(RETIRED_NOTE, {"facts": single[start : start + RETIRED_IDS_MAX], "upto": {}})


# Before every time that a fact can have.
_NEVER = -(2**63)


def plan_retention(
    items: Iterable[RetentionItem], policies: DeliveryPolicies, *, now_ms: int, totals: Mapping[str, int] | None = None
) -> RetentionPlan:
    """Which payloads may go at *now_ms*; ~2 µs each. *items* may leave out facts that are too young; *totals* then says
    how many of each kind there are in all. Facts from the future are of age 0.

    A fact goes when its policy names its kind in ``retired_kinds`` and ``can_gc`` says so: always at ``max_retention``,
    never before ``min_retention``, in between once nobody needs it any more.
    """
    retired: list[RetentionItem] = []
    counts: dict[str, list[int]] = {}
    for item in items:
        policy = policies.for_kind(item.kind)
        if item.kind not in policy.retired_kinds:
            continue
        count = counts.setdefault(item.kind, [0, 0, 0, 0])
        age = timedelta(milliseconds=max(0, now_ms - item.at_ms))
        account = Consistency(acknowledgment=Acknowledgment(item.acks))
        if policy.can_gc(age, account, policy.peers) or (item.is_let_go and age >= policy.min_retention):
            retired.append(item)
            count[0] += 1
            count[1] += item.payload_bytes
        else:
            count[2 if age < policy.min_retention else 3] += 1
    for kind, total in (totals or {}).items():
        count = counts.setdefault(kind, [0, 0, 0, 0])
        count[2] += total - count[0] - count[2] - count[3]
    kinds = tuple(KindRetention(kind, *count) for kind, count in sorted(counts.items()))
    return RetentionPlan(tuple(retired), horizons_of(policies, now_ms=now_ms), kinds)


def horizons_of(policies: DeliveryPolicies, *, now_ms: int) -> dict[str, int]:
    """By kind, the time up to which every payload goes."""
    return {
        kind: now_ms - policy.max_retention // timedelta(milliseconds=1)
        for kind, policy in policies.retired_kinds.items()
        if policy.max_retention is not None
    }


def eligible_before(policies: DeliveryPolicies, *, now_ms: int) -> dict[str, int]:
    """By kind, the time before which payloads may go at all: younger ones need not be looked at."""
    return {
        kind: now_ms - policy.min_retention // timedelta(milliseconds=1)
        for kind, policy in policies.retired_kinds.items()
    }


class RetentionBook:
    """What this node let go: by kind the time up to which all did, and single facts younger than that.

    About 100 bytes for each single fact; what their kind's horizon has passed by is dropped when the journal is opened.
    """

    def __init__(self) -> None:
        self._upto: dict[str, int] = {}
        self._single: set[bytes] = set()

    def __bool__(self) -> bool:
        """Whether anything was ever let go."""
        return bool(self._upto or self._single)

    def take(self, notes: Iterable[LocalNote]) -> None:
        """Take in local lines, in any order and as often as they come: horizons only rise, and facts only join."""
        for note in notes:
            if note.kind != RETIRED_NOTE:
                continue
            horizons, halves = cast("dict[str, int]", note.value["upto"]), cast("list[str]", note.value["facts"])
            for kind, upto in horizons.items():
                self._upto[kind] = max(upto, self._upto.get(kind, _NEVER))
            self._single.update(map(bytes.fromhex, halves))

    def is_retired(self, record: FactRecord) -> bool:
        """Whether a fact's payload is gone here, or is not to be kept when it comes; O(1)."""
        return record.at <= self._upto.get(record.kind, _NEVER) or record.fact_id[:_HALF] in self._single

    @property
    def horizons(self) -> Mapping[str, int]:
        """By kind, the time up to which payloads are gone."""
        return dict(self._upto)
