"""What the journal holds, without the facts themselves: chains, heads, roots and where each sealed run lies.

A chain is a tree of sealed runs: one gap-free line for an honest writer on a healthy disk, several heads where it
forked, a hole where a damaged frame took runs away. Costs O(chains + runs) of memory and nothing O(facts), but for
forked chains (see ``ForkedIds``); every question below is O(1), O(log runs) or O(chains). It decides what continues a
chain and what a peer lacks, and writes nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from enum import Enum
from hashlib import sha256
from itertools import islice, takewhile
from typing import NamedTuple

from antiphon.facts import AfterLink, ChainId, ChainInfo, FactId, FactRecord, InvalidLine, Namespace, parse_line
from antiphon.facts.ids import NO_FACT

from .bases import ChainBase
from .chain import CHAIN_START, RUN_FACTS_MAX, Head, link_ids
from .errors import LogDamaged, StoreUnavailable
from .sketch import RunSketch, run_item
from .stores.position import RunRow, row_of_seal

ROOT_PREFIX = b"antiphon.root.1"
FINGERPRINT_PREFIX = b"antiphon.fingerprint.1"
EMPTY_ROOT = bytes(32)

ReadRun = Callable[[RunRow], bytes]


class Continuation(Enum):
    """How a run stands to what the journal holds of its chain."""

    NEXT = "next"
    """It continues a head."""
    FORK = "fork"
    """It continues a fact that something else continues already."""
    KNOWN = "known"
    GAP = "gap"
    """What it continues is not held."""


class Hole(NamedTuple):
    """Facts that are missing although later ones of their chain are held: ``to_id`` is the last of them."""

    chain: ChainId
    from_seq: int
    to_seq: int
    to_id: FactId


@dataclass(slots=True)
class ForkedIds:
    """The ids of a forked chain's facts from ``from_seq`` on.

    Two seals may cover the same facts, and each must count once. About 100 bytes a fact, for forked chains only, and
    only once a run came that could repeat some.
    """

    from_seq: int
    ids: set[bytes]


@dataclass(slots=True)
class ChainState:
    """One chain as far as this journal holds it; ``runs`` are in order of their first number.

    ``head`` is the foremost of ``heads`` (by id: the sealed facts that no held run continues). ``fork_seq`` is the
    first number that two runs give to a successor of one fact; 0 while there is one story only.
    """

    info: ChainInfo
    head: Head = CHAIN_START
    runs: list[RunRow] = field(default_factory=list)
    links: dict[ChainId, int] = field(default_factory=dict)
    """Other chains' numbers that this chain's facts name in ``after``."""
    heads: dict[bytes, Head] = field(default_factory=dict)
    fork_seq: int = 0
    last_seq: int = 0
    """The highest number that any held run has, be it behind a hole."""
    collapsed: list[RunRow] = field(default_factory=list)
    """Runs of which only their bases are left, here or at whoever told of them: members as any other, in order too."""
    bases: dict[tuple[bytes, bytes], ChainBase] = field(default_factory=dict)
    """Those bases, by the fact that the run continued and the one it ended in."""
    _ends: dict[bytes, RunRow] = field(default_factory=dict)
    _twins: dict[bytes, list[RunRow]] = field(default_factory=dict)
    _waiting: dict[bytes, list[RunRow]] = field(default_factory=dict)
    """Runs that are held and do not hang together with the chain's start, by the fact that they continue."""
    _loose: set[bytes] = field(default_factory=set)
    """Where those runs end."""
    _forked: ForkedIds | None = None
    _lost: set[tuple[bytes, bytes]] = field(default_factory=set)
    """Runs that were held and cannot be read any more, by the fact that they continue and the one they end in."""
    _stranded: set[bytes] = field(default_factory=set)
    """Where runs end that name facts which are missing here: they wait, as what lies behind a hole does."""

    @property
    def is_forked(self) -> bool:
        """Whether the writer sealed two stories."""
        return self.fork_seq > 0

    @property
    def has_hole(self) -> bool:
        """Whether facts are missing before others that are held."""
        return bool(self._waiting)

    def holes(self) -> list[Hole]:
        """What is missing before runs that are held, in order."""
        found = []
        for fact_id, runs in self._waiting.items():
            if self.holds_end(FactId(fact_id)):
                continue
            first = runs[0].first_seq
            before = [
                run.last_seq
                for rows in (self.runs, self.collapsed)
                for place in (bisect_left(rows, first, key=_first_seq),)
                for run in rows[max(0, place - 8) : place]
                if run.last_seq < first
            ]
            from_seq = max(before, default=0) + 1
            found.append(Hole(self.info.chain, min(from_seq, first - 1), first - 1, FactId(fact_id)))
        return sorted(found, key=lambda hole: (hole.to_seq, hole.to_id))

    def has_sealed(self, seq: int, fact_id: bytes) -> bool:
        """Whether the seal of a member ends in this fact; *fact_id* in full or cut. O(log runs), plus the branches."""
        if not seq:
            return fact_id == NO_FACT[: len(fact_id)]
        return any(self._has_sealed(rows, seq, fact_id) for rows in (self.runs, self.collapsed))

    def _has_sealed(self, rows: Sequence[RunRow], seq: int, fact_id: bytes) -> bool:
        width = len(fact_id)
        for place in range(bisect_right(rows, seq, key=_first_seq) - 1, -1, -1):
            run = rows[place]
            if run.last_seq == seq and run.last_id[:width] == fact_id:
                return run.last_id not in self._loose
            if run.first_seq <= seq - RUN_FACTS_MAX or not self.is_forked:
                return False
        return False

    def runs_with(self, seq: int) -> list[RunRow]:
        """The held runs that hold a fact of number *seq*: one for each branch and seal. O(log runs + their number)."""
        first = bisect_right(self.runs, seq - RUN_FACTS_MAX, key=_first_seq)
        last = bisect_right(self.runs, seq, key=_first_seq)
        found = []
        for run in reversed(self.runs[first:last]):
            if run.last_seq >= seq:
                found.append(run)
            elif not (self.is_forked or self.has_hole):
                break
        return found

    def member_bases(self) -> Iterator[ChainBase]:
        """What is left of the collapsed runs that hang together with the chain's start, in order."""
        found = ((run, self.base_of(run)) for run in self.collapsed)
        return (base for run, base in found if base is not None and self.is_member(run))

    def _holds(self, run: RunRow) -> bool:
        held = self._ends.get(run.last_id)
        if held is None:
            return False
        start = (run.first_previous_id, run.first_seq)
        twins = self._twins.get(run.last_id, ())
        return any((each.first_previous_id, each.first_seq) == start for each in (held, *twins))

    def _knows(self, seq: int, fact_id: bytes) -> bool:
        """Whether a run may continue this fact."""
        if (seq, fact_id) == (0, NO_FACT):
            return True
        held = self._ends.get(fact_id)
        return held is not None and held.last_seq == seq

    def holds_end(self, fact_id: bytes) -> bool:
        """Whether a held seal ends in this fact, be it behind a hole."""
        return fact_id in self._ends or fact_id == NO_FACT

    def base_of(self, run: RunRow) -> ChainBase | None:
        """What is left of a run that was collapsed; None of one that is held, or not known."""
        return self.bases.get((run.first_previous_id, run.last_id))

    def is_member(self, run: RunRow) -> bool:
        """Whether a held run hangs together with the chain's start, so that others can take it in."""
        return run.last_id not in self._loose

    def is_lost(self, run: RunRow) -> bool:
        """Whether this very run was held before, and its facts are known though its bytes are damaged."""
        return (run.first_previous_id, run.last_id) in self._lost

    def _without(self, lost: RunRow) -> ChainState:
        """The chain as if that run had never been held; O(runs of the chain)."""
        state = self._again([run for run in self.runs if run != lost], self._stranded)
        state._lost.add((lost.first_previous_id, lost.last_id))
        return state

    def _again(self, runs: Sequence[RunRow], stranded: set[bytes]) -> ChainState:
        """The chain of these runs, of which those that end in *stranded* wait for facts that they name."""
        state = ChainState(self.info, links=self.links)
        state._lost, state._stranded = {*self._lost}, stranded
        state.bases = self.bases
        for run in [*self.collapsed, *runs]:
            state._insert(run, self.heads[run.last_id].hlc if run.last_id in self.heads else 0)
        return state

    def _is_continued(self, fact_id: bytes) -> bool:
        if fact_id == NO_FACT:
            return bool(self.runs) and self.runs[0].first_previous_id == fact_id
        is_inside = fact_id in self._ends and fact_id not in self.heads and fact_id not in self._loose
        return fact_id in self._waiting or is_inside

    def _insert(self, run: RunRow, hlc: int) -> list[RunRow]:
        """Hold a run; the runs that hang together with the chain's start from now on are returned."""
        previous_id = run.first_previous_id
        self.last_seq = max(self.last_seq, run.last_seq)
        if self._is_continued(previous_id):
            self.fork_seq = min(self.fork_seq or run.first_seq, run.first_seq)
        is_loose = (
            not self._knows(run.first_seq - 1, previous_id)
            or previous_id in self._loose
            or run.last_id in self._stranded
        )
        is_twin = run.last_id in self._ends
        rows = self.collapsed if self.base_of(run) else self.runs
        if not rows or run.first_seq > rows[-1].first_seq:
            rows.append(run)
        else:
            insort(rows, run, key=_first_seq)
        if is_twin:
            self._twins.setdefault(run.last_id, []).append(run)
        else:
            self._ends[run.last_id] = run
        if is_loose:
            self._waiting.setdefault(previous_id, []).append(run)
            if not is_twin:
                self._loose.add(run.last_id)
            return []
        joined = self._join(run, hlc, is_twin=is_twin)
        self._choose_head()
        return joined

    def _choose_head(self) -> None:
        if len(self.heads) == 1:
            self.head = next(iter(self.heads.values()))
        else:
            self.head = max(self.heads.values(), key=lambda head: (head.seq, head.fact_id))

    def _let_go(self, gone: Sequence[ChainBase]) -> list[RunRow]:
        """Hold no longer the facts of runs that were collapsed here: they stay members; those that were held are
        returned. O(runs of the chain)."""
        keys: dict[tuple[bytes, bytes], ChainBase] = {(base.seal.from_id, base.seal.to_id): base for base in gone}
        dropped = [run for run in self.runs if (run.first_previous_id, run.last_id) in keys]
        if not dropped:
            return []
        left = {(run.first_previous_id, run.last_id) for run in dropped}
        self.bases.update((key, keys[key]) for key in left)
        self.runs = [run for run in self.runs if (run.first_previous_id, run.last_id) not in left]
        self.collapsed = sorted([*self.collapsed, *(row_of_seal(keys[key].seal) for key in left)], key=_first_seq)
        for places in (self._twins, self._waiting):
            for fact_id, runs in places.items():
                places[fact_id] = [self._as_left(run) for run in runs]
        self._ends.update((run.last_id, self._as_left(self._ends[run.last_id])) for run in dropped)
        return dropped

    def _as_left(self, run: RunRow) -> RunRow:
        base = self.base_of(run)
        return row_of_seal(base.seal) if base is not None else run

    def _join(self, run: RunRow, hlc: int, *, is_twin: bool) -> list[RunRow]:
        """Make members of a run that continues one, and of all that waited for it."""
        joined = []
        queue = [(run, hlc, not is_twin)]
        while queue:
            each, clock, is_new_end = queue.pop()
            # Two seals may end in one fact: the first of them to join brings it, with all that waited for it.
            was_member = not is_new_end and each.last_id not in self._loose
            joined.append(each)
            self.heads.pop(each.first_previous_id, None)
            self._loose.discard(each.last_id)
            if was_member:
                continue
            followers = self._waiting.pop(each.last_id, [])
            if not followers:
                self.heads[each.last_id] = Head(each.last_seq, FactId(each.last_id), clock)
            # A run's row keeps no clock: 0 stands for one that is read back when it is needed.
            queue.extend((one, 0, False) for one in followers)
        return joined


class JournalIndex:
    """Chains by namespace, their heads and the roots over them.

    ``root`` and ``fingerprint`` are cached until a head moves. Single owner: only the journal's loop calls it.
    *read_run* reads a held run's bytes back; it is used for forked chains only, whose runs may overlap.
    """

    def __init__(self, read_run: ReadRun | None = None) -> None:
        self._chains: dict[ChainId, ChainState] = {}
        self._namespaces: dict[Namespace, dict[ChainId, ChainState]] = {}
        self._roots: dict[Namespace, bytes] = {}
        self._sketches: dict[Namespace, RunSketch] = {}
        self._broken: set[ChainId] = set()
        # What was missing when causes were last settled: chains that are named, and the links of runs that name them.
        self._missed: set[ChainId] = set()
        self._named: dict[tuple[bytes, bytes], tuple[AfterLink, ...]] = {}
        self.read_run = read_run
        self.fact_count = 0
        self.collapsed_count = 0
        self.repeated_count = 0
        self.hlc_seen = 0

    def chain(self, chain: ChainId) -> ChainState | None:
        """A chain's state, or None when it was never met."""
        return self._chains.get(chain)

    def chains(self, namespace: Namespace | None = None) -> Iterator[ChainState]:
        """All chains, or those of one namespace."""
        yield from (self._chains if namespace is None else self._namespaces.get(namespace, {})).values()

    def namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces that hold at least one fact, sorted."""
        return tuple(
            sorted(name for name, chains in self._namespaces.items() if any(c.head.seq for c in chains.values()))
        )

    def introduce(self, info: ChainInfo) -> ChainState:
        """Make a chain known; what was learned of its author since is kept."""
        state = self._chains.get(info.chain)
        if state is None:
            state = self._chains[info.chain] = ChainState(info)
            self._namespaces.setdefault(info.namespace, {})[info.chain] = state
        elif info.authority and not state.info.authority:
            state.info = info
        return state

    def take_bases(self, bases: Iterable[ChainBase]) -> None:
        """Take what is left of collapsed runs: of one that is not held it becomes a member in the run's place; of one
        that is held nothing changes, unless this replica collapsed it itself. Then its facts are held no longer, and
        counted in ``collapsed_count``. ~20 µs each, and O(runs of a chain that was collapsed here).
        """
        chains: dict[ChainId, list[ChainBase]] = {}
        for base in bases:
            self.introduce(base.info)
            chains.setdefault(base.info.chain, []).append(base)
        for chain, each in chains.items():
            self._take_bases(self._chains[chain], each)
        if chains and self._missed:
            self.settle_causes()

    def _take_bases(self, state: ChainState, bases: Sequence[ChainBase]) -> None:
        sketch = self._sketches.get(state.info.namespace)
        dropped = state._let_go([base for base in bases if base.is_own])
        count = sum(run.last_seq - run.first_seq + 1 for run in dropped)
        self.fact_count -= count
        self.collapsed_count += count
        for run in dropped:
            if sketch is not None and run_item(run) in sketch.runs:
                sketch.runs[run_item(run)] = state._as_left(run)
        for base in bases:
            row = row_of_seal(base.seal)
            if state._holds(row):
                continue
            state.bases[row.first_previous_id, row.last_id] = base
            joined = state._insert(row, base.hlc)
            self.hlc_seen = max(self.hlc_seen, base.hlc)
            if sketch is not None:
                for run in joined:
                    sketch.add(run_item(run), run)
        if state.has_hole or state.is_forked:
            self._broken.add(state.info.chain)
        else:
            self._broken.discard(state.info.chain)
        self._roots.pop(state.info.namespace, None)

    def base_of(self, run: RunRow) -> ChainBase | None:
        """What is left of a run that was collapsed; None of one that is held, or not known. O(1)."""
        state = self._chains.get(ChainId(run.chain))
        return state.base_of(run) if state is not None else None

    @property
    def position(self) -> int:
        """How many facts were ever taken in: what a place in the log counts, whatever was collapsed since."""
        return self.fact_count + self.collapsed_count

    def classify(self, run: RunRow) -> Continuation:
        """Say whether a run continues its chain, is already held, leaves a gap, or contradicts what is held. O(1)."""
        state = self._chains.get(ChainId(run.chain))
        if run.first_seq < 1 or run.last_seq < run.first_seq:
            return Continuation.GAP  # numbers that no chain has
        if state is None:
            is_start = (run.first_seq, run.first_previous_id) == (1, NO_FACT)
            return Continuation.NEXT if is_start else Continuation.GAP
        if state._holds(run):
            return Continuation.KNOWN
        if not state._knows(run.first_seq - 1, run.first_previous_id):
            return Continuation.GAP
        return Continuation.FORK if state._is_continued(FactId(run.first_previous_id)) else Continuation.NEXT

    def admit(self, run: RunRow, *, hlc: int, records: Sequence[FactRecord] = ()) -> frozenset[int]:
        """Make a run a member: the next of its chain, another branch, or one behind a hole.

        Of *records* the causal links and, in a forked chain, the ids are looked at. Returns the places
        of those that were held already under another seal: none but for chains whose writer sealed facts twice.
        """
        state = self._chains[ChainId(run.chain)]
        assert not state._holds(run), "a run is admitted once"
        is_first_fork = not state.is_forked
        has_twins = state.is_forked or state._forked is not None or self.overlaps(run)
        joined = state._insert(run, hlc)
        if state.is_lost(run):
            state._lost.discard((run.first_previous_id, run.last_id))
            repeated = frozenset(range(run.last_seq - run.first_seq + 1))
            self.repeated_count -= len(repeated)  # counted when it was lost
        else:
            repeated = self._find_repeated(state, run, records) if has_twins or state.is_forked else frozenset()
        if state.is_forked and is_first_fork:
            self._broken.add(state.info.chain)
        for record in records:
            for link in record.after:
                state.links[link.chain] = max(link.seq, state.links.get(link.chain, 0))
        if state.has_hole:
            self._broken.add(state.info.chain)
        elif not state.is_forked:
            self._broken.discard(state.info.chain)
        self._roots.pop(state.info.namespace, None)
        sketch = self._sketches.get(state.info.namespace)
        if sketch is not None:
            for each in joined:
                sketch.add(run_item(each), each)
        self.fact_count += run.last_seq - run.first_seq + 1 - len(repeated)
        self.repeated_count += len(repeated)
        self.hlc_seen = max(self.hlc_seen, hlc)
        if state._stranded or state.info.chain in self._missed:
            self.settle_causes()
        return repeated

    def lose(self, run: RunRow) -> frozenset[ChainId]:
        """Hold a run no longer because its bytes are damaged: a hole, which peers are asked to fill. O(runs of it).

        Its facts stay counted, since whoever follows the log has them; when the run is admitted again, all of them are
        repeated. Returns the other chains that wait for it, as ``settle_causes`` does.
        """
        state = self._chains[ChainId(run.chain)]
        self._become(state, state._without(run))
        self.repeated_count += run.last_seq - run.first_seq + 1
        return self.settle_causes()

    def settle_causes(self) -> frozenset[ChainId]:
        """Let runs wait whose facts name others that are missing, and all that follows from them; take back the others.

        Nobody else could take them in, and replicas must not differ for ever over what is lost for good. To be called
        where facts were lost; from then on it is done whenever some of them come. Returns the chains that wait.
        O(chains and their links), and reads the runs of those chains that may name what is missing.
        """
        self._missed.clear()
        waiting = {chain for chain, state in self._chains.items() if state._stranded}
        for chain in waiting:
            state = self._chains[chain]
            self._become(state, state._again(state.runs, set()))
        waiting.clear()
        suspects = [state for state in self._chains.values() if state.links]
        is_settled = False
        while not is_settled:
            is_settled = True
            for state in suspects:
                stranded = self._find_stranded(state)
                if stranded:
                    self._become(state, state._again(state.runs, state._stranded | stranded))
                    waiting.add(state.info.chain)
                    is_settled = False
        if not waiting:
            self._named.clear()
        return frozenset(waiting)

    def _find_stranded(self, state: ChainState) -> set[bytes]:
        """Where those members of a chain end that name a fact which is missing."""
        if not any(self._may_lack(chain, seq) for chain, seq in state.links.items()):
            return set()
        stranded = set()
        for run in state.runs:
            if not state.is_member(run):
                continue
            missing = [link.chain for link in self._links_of(run) if not self.has(link)]
            if missing:
                stranded.add(run.last_id)
                self._missed.update(missing)
        return stranded

    def _may_lack(self, chain: ChainId, seq: int) -> bool:
        state = self._chains.get(chain)
        if state is None or state.has_hole or state.is_forked:
            return True
        return seq > state.last_seq

    def _links_of(self, run: RunRow) -> tuple[AfterLink, ...]:
        """The facts of other chains that a run's facts name; none when its bytes cannot be read."""
        key = (run.first_previous_id, run.last_id)
        found = self._named.get(key)
        if found is None:
            with suppress(LogDamaged, InvalidLine, StoreUnavailable):
                found = tuple(
                    link
                    for line in self._read_lines(run)
                    for link in parse_line(line).header.after
                    if link.chain != run.chain
                )
                self._named[key] = found
        return found or ()

    def _become(self, state: ChainState, other: ChainState) -> None:
        """Let a chain be as *other* is; in place, since others may hold on to the state."""
        for each in fields(ChainState):
            setattr(state, each.name, getattr(other, each.name))
        if state.has_hole or state.is_forked:
            self._broken.add(state.info.chain)
        else:
            self._broken.discard(state.info.chain)
        self._roots.pop(state.info.namespace, None)
        self._sketches.pop(state.info.namespace, None)

    def set_clock(self, chain: ChainId, hlc: int) -> None:
        """Tell the HLC of a chain's only head, which a run's row does not keep."""
        state = self._chains[chain]
        if len(state.heads) == 1 and not state.has_hole:
            state.head = state.head._replace(hlc=max(hlc, state.head.hlc))
            state.heads = {state.head.fact_id: state.head}
        self.hlc_seen = max(self.hlc_seen, hlc)

    def clocks(self) -> Iterator[int]:
        """Each head's HLC."""
        return (head.hlc for state in self._chains.values() for head in state.heads.values())

    # Forks and holes

    def forked(self, namespace: Namespace | None = None) -> dict[ChainId, int]:
        """The chains with two stories, and the number from which on they differ."""
        return {
            chain: state.fork_seq
            for chain in self._broken
            if (state := self._chains[chain]).is_forked and namespace in (None, state.info.namespace)
        }

    def holes(self, namespace: Namespace | None = None) -> list[Hole]:
        """What is missing before runs that are held. O(chains with a hole or a fork)."""
        return [
            hole
            for chain in sorted(self._broken)
            if (state := self._chains[chain]).has_hole and namespace in (None, state.info.namespace)
            for hole in state.holes()
        ]

    def is_anything_missing(self) -> bool:
        """Whether facts are known to be missing here: before others that are held, or lost behind all of them."""
        return any(state.has_hole or state._lost for state in self._chains.values())

    def siblings(self, chain: ChainId) -> tuple[RunRow, RunRow] | None:
        """Two held runs that continue one fact: the earliest fork of *chain*, the smaller ids first; or None."""
        state = self._chains.get(chain)
        if state is None or not state.is_forked:
            return None
        after: dict[bytes, list[RunRow]] = {}
        for rows in (state.runs, state.collapsed):
            place = bisect_left(rows, state.fork_seq, key=_first_seq)
            for run in takewhile(lambda run: run.first_seq == state.fork_seq, islice(rows, place, None)):
                after.setdefault(run.first_previous_id, []).append(run)
        twins = min(
            sorted(runs, key=lambda run: (run.last_id, run.last_seq))[:2] for runs in after.values() if len(runs) > 1
        )
        return twins[0], twins[1]

    def unread(self, run: RunRow) -> list[RunRow]:
        """The held runs whose ids are needed before *run* is admitted, since it may repeat facts of theirs.

        Empty unless it forks its chain or the chain is forked. Read them off the loop and hand the ids to
        ``learn_ids``, or ``admit`` reads them itself.
        """
        state = self._chains.get(ChainId(run.chain))
        if state is None:
            return []
        is_fork = self.classify(run) is Continuation.FORK or self.overlaps(run)
        if not is_fork and not state.is_forked:
            return []
        fork_seq = min(state.fork_seq or run.first_seq, run.first_seq) if is_fork else state.fork_seq
        return self._unread_of(state, fork_seq)

    def overlaps(self, run: RunRow) -> bool:
        """Whether held runs have numbers of *run*, as in a chain whose writer sealed facts twice or forked it.

        O(1) for what continues a chain, else O(runs within a thousand numbers)."""
        state = self._chains.get(ChainId(run.chain))
        if state is None or run.first_seq > state.last_seq:
            return False
        first = bisect_right(state.runs, run.first_seq - RUN_FACTS_MAX, key=_first_seq)
        last = bisect_right(state.runs, run.last_seq, key=_first_seq)
        return any(each.last_seq >= run.first_seq for each in state.runs[first:last])

    def may_repeat(self, run: RunRow) -> bool:
        """Whether admitting *run* needs the ids of its facts: it forks a chain, or is of one that was forked or sealed
        twice. O(1) for what continues a chain."""
        state = self._chains.get(ChainId(run.chain))
        if state is None:
            return False
        is_odd = state.is_forked or state._forked is not None or state._is_continued(FactId(run.first_previous_id))
        return is_odd or self.overlaps(run)

    def learn_ids(self, run: RunRow, rows: Sequence[RunRow], ids: Iterable[bytes]) -> None:
        """Take in the ids of the facts of *rows*, which ``unread(run)`` named."""
        state = self._chains[ChainId(run.chain)]
        first = min((row.first_seq for row in rows), default=run.first_seq)
        forked = state._forked or ForkedIds(first, set())
        forked.from_seq = min(forked.from_seq, first, run.first_seq)
        forked.ids.update(ids)
        state._forked = forked

    def has_fact(self, chain: ChainId, fact_id: bytes) -> bool:
        """Whether a forked chain's fact is a member, as far as ``learn_ids`` was told."""
        state = self._chains.get(chain)
        return state is not None and state._forked is not None and fact_id in state._forked.ids

    def read_ids(self, row: RunRow) -> list[FactId]:
        """The ids of a held run's facts, hashed again from its bytes. Raises ``LogDamaged``."""
        ids = link_ids(FactId(row.first_previous_id), [parse_line(line) for line in self._read_lines(row)])
        if not ids or ids[-1] != row.last_id:
            raise LogDamaged(f"log file {row.file_number}, bytes {row.offset}..: not what was sealed")
        return ids

    def head_before(self, run: RunRow) -> Head | None:
        """The fact that *run* continues, with its HLC; None when it is not held. O(1), or one read of a run that is
        not a head. Raises ``LogDamaged``."""
        state = self._chains.get(ChainId(run.chain))
        if state is None:
            return CHAIN_START if (run.first_seq, run.first_previous_id) == (1, NO_FACT) else None
        if not state._knows(run.first_seq - 1, run.first_previous_id):
            return None
        if run.first_previous_id == NO_FACT:
            return CHAIN_START
        head = state.heads.get(run.first_previous_id)
        if head is not None and head.hlc:
            return head
        held = state._ends[run.first_previous_id]
        base = state.base_of(held)
        if base is not None:
            return base.head
        return Head(held.last_seq, FactId(held.last_id), parse_line(self._read_lines(held)[-1]).header.hlc)

    def has(self, link: AfterLink) -> bool:
        """Whether a causal link's fact is a member. A link names a sealed fact, by its number and its id's half."""
        state = self._chains.get(link.chain)
        return state is not None and state.has_sealed(link.seq, link.short_id)

    # Agreement

    def root(self, namespace: Namespace) -> bytes:
        """Hash of the sorted heads: equal on replicas that hold the same members of *namespace*, since a head commits
        to all before it and what lies behind a hole counts when the hole is filled. O(chains) when a head moved."""
        cached = self._roots.get(namespace)
        if cached is None:
            heads = sorted(
                entry
                for chain, state in self._namespaces.get(namespace, {}).items()
                for entry in _root_of(chain, state)
            )
            cached = sha256(ROOT_PREFIX + b"".join(heads)).digest() if heads else EMPTY_ROOT
            self._roots[namespace] = cached
        return cached

    def roots(self) -> Mapping[Namespace, bytes]:
        """The root of every namespace that holds facts."""
        return {namespace: self.root(namespace) for namespace in self.namespaces()}

    def fingerprint(self) -> str:
        """Hash of the sorted (namespace, root) pairs, in hex: equal on converged replicas."""
        digest = sha256(FINGERPRINT_PREFIX)
        for namespace, root in sorted(self.roots().items()):
            name = namespace.encode()
            digest.update(len(name).to_bytes(2, "big") + name + root)
        return digest.hexdigest()

    def sketch(self, namespace: Namespace) -> RunSketch:
        """The coded symbols over the runs of *namespace*, collapsed or not; built when first asked for (~2 µs a run),
        kept from then on."""
        sketch = self._sketches.get(namespace)
        if sketch is None:
            runs = [
                run
                for state in self.chains(namespace)
                for run in (*state.runs, *state.collapsed)
                if state.is_member(run)
            ]
            sketch = self._sketches[namespace] = RunSketch.over({run_item(run): run for run in runs})
        return sketch

    def runs_after(self, chain: ChainId, seq: int) -> list[RunRow]:
        """The member runs that hold facts after *seq*, of every branch and collapsed or not, in order; O(log runs) plus
        the answer."""
        state = self._chains.get(chain)
        if state is None:
            return []
        found = _rows_after(state.runs, seq)
        if state.collapsed:
            found = sorted([*_rows_after(state.collapsed, seq), *found], key=_first_seq)
        return [run for run in found if state.is_member(run)] if state.has_hole else found

    def head_of(self, chain: ChainId) -> Head:
        """The foremost head of *chain*; its start when nothing of it is held."""
        state = self._chains.get(chain)
        return state.head if state else CHAIN_START

    # Helpers

    def _find_repeated(self, state: ChainState, run: RunRow, records: Sequence[FactRecord]) -> frozenset[int]:
        if not records:
            state._forked = None  # read from a table: the ids are fetched when they are needed
            return frozenset()
        from_seq = min(state.fork_seq or run.first_seq, run.first_seq)
        rows = [row for row in self._unread_of(state, from_seq) if row is not run]
        if state._forked is None or rows:
            self.learn_ids(run, rows, (fact_id for row in rows for fact_id in self.read_ids(row)))
        assert state._forked is not None, "learned just now"
        ids = state._forked.ids
        repeated = frozenset(place for place, record in enumerate(records) if record.fact_id in ids)
        ids.update(record.fact_id for record in records)
        return repeated

    def _unread_of(self, state: ChainState, fork_seq: int) -> list[RunRow]:
        rows = [row for row in state.runs[self._place_of(state, fork_seq) :] if row.last_seq >= fork_seq]
        known_from = state._forked.from_seq if state._forked else None
        return [row for row in rows if known_from is None or row.first_seq < known_from]

    def _place_of(self, state: ChainState, seq: int) -> int:
        return bisect_right(state.runs, seq - 1 - RUN_FACTS_MAX, key=_first_seq)

    def _read_lines(self, row: RunRow) -> list[bytes]:
        assert self.read_run is not None, "an index over a log is given the means to read it"
        lines = self.read_run(row).split(b"\n")[: row.last_seq - row.first_seq + 1]
        try:
            parse_line(lines[-1])
        except (InvalidLine, IndexError) as problem:
            raise LogDamaged(f"log file {row.file_number}, bytes {row.offset}..: {problem}") from problem
        return lines


def _rows_after(rows: Sequence[RunRow], seq: int) -> list[RunRow]:
    """The runs among *rows* that hold numbers after *seq*."""
    # A run spans at most so many numbers, so none that begins further back reaches behind seq.
    first = bisect_right(rows, seq - RUN_FACTS_MAX, key=_first_seq)
    last = bisect_right(rows, seq, key=_first_seq)
    return [*(run for run in rows[first:last] if run.last_seq > seq), *rows[last:]]


def _root_of(chain: ChainId, state: ChainState) -> Iterator[bytes]:
    for head in state.heads.values():
        yield chain + head.seq.to_bytes(8, "big") + head.fact_id


def _first_seq(run: RunRow) -> int:
    return run[1]
