"""Who had the right to moderate: judged over what the author of a fact had seen of the home when they said it.

What an author had seen: what they said before in the same chain, what the fact names in ``basis``, what its header
names in ``after``, and what the authors of all that had seen. So a moderator's act stands although they were revoked at
the same time elsewhere, and nobody acts by a right they had not been given yet. Folds nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from antiphon.facts import FactId, FactRecord
from antiphon.facts.fact import get_record
from antiphon.facts.ids import ChainId
from antiphon.facts.moderation import HomeDeclared, HomeGrantModerator, HomeRevokeModerator

_Seen = dict[ChainId, int]

# Only the owner does these.
_OWNERS_OWN = (HomeDeclared, HomeGrantModerator, HomeRevokeModerator)


class HomeRights:
    """The moderation facts of one home, and which of them count.

    A fact that comes after all it builds on, as a journal delivers them, costs O(chains). One that others had already
    built on or passed over has all of them judged anew, once a window.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._facts: dict[FactId, Any] = {}
        self._seen: dict[FactId, _Seen] = {}
        self._last: dict[ChainId, FactId] = {}
        self._places: dict[ChainId, list[FactId]] = {}  # in order of seq
        self._claimed: _Seen = {}  # how far anybody claims to have seen each chain
        self._missing: set[str] = set()  # what was named and is not here
        self._roles: dict[str, list[Any]] = {}  # by target: what the owner said of their role
        self._members: frozenset[str] = frozenset()
        self._rightful: dict[FactId, bool] = {}
        self._is_stale = False
        self._fresh: list[Any] = []

    def add(self, fact: Any) -> None:
        """Take a fact whose actor signed it; judged when ``settle`` is called."""
        record = get_record(fact)
        if record.fact_id in self._facts:
            return
        self._facts[record.fact_id] = fact
        self._fresh.append(fact)
        if isinstance(fact, HomeGrantModerator | HomeRevokeModerator) and fact.actor_id == self._owner:
            self._roles.setdefault(fact.target_id, []).append(fact)
        chain = record.chain.chain
        self._is_stale = (
            self._is_stale or record.seq <= self._claimed.get(chain, 0) or record.fact_id.hex() in self._missing
        )
        if not self._is_stale:
            self._place(fact, record)

    def admit(self, members: Iterable[str]) -> None:
        """Know who was let in: only they can moderate. Where that changes for one who was named, all is judged anew."""
        before, self._members = self._members, frozenset(members)
        self._is_stale = self._is_stale or not self._roles.keys().isdisjoint(before ^ self._members)

    def settle(self) -> tuple[list[Any], bool]:
        """The facts that count now and did not before; and whether some no longer do, so that all must be read anew."""
        if self._is_stale:
            self._replay()
        judged = {get_record(fact).fact_id: self._judge(fact) for fact in self._to_judge()}
        is_undone = any(self._rightful.get(fact_id, False) and not right for fact_id, right in judged.items())
        gained = [self._facts[each] for each, right in judged.items() if right and not self._rightful.get(each, False)]
        self._rightful.update(judged)
        self._fresh.clear()
        self._is_stale = False
        return gained, is_undone

    def rightful(self) -> Iterator[Any]:
        """All that count, in no order."""
        return (fact for fact_id, fact in self._facts.items() if self._rightful.get(fact_id, False))

    def unrightful(self) -> Iterator[FactId]:
        """All that do not, in no order."""
        return (fact_id for fact_id, is_right in self._rightful.items() if not is_right)

    @property
    def void_count(self) -> int:
        """How many do not count; O(facts)."""
        return sum(not right for right in self._rightful.values())

    def tips(self) -> Iterable[FactId]:
        """The newest fact of each chain of those who moderate or did, without what another of them had seen."""
        last = {chain: each for chain, each in self._last.items() if self._may_matter(get_record(self._facts[each]))}
        return [
            fact_id
            for chain, fact_id in last.items()
            if not any(
                self._seen[other].get(chain, 0) >= self._seen[fact_id][chain]
                for other in last.values()
                if other != fact_id
            )
        ]

    def _may_matter(self, record: FactRecord) -> bool:
        """Whether the author is the owner or was named by them: strangers cannot crowd out who counts."""
        authority = record.chain.authority
        return authority == self._owner or authority in self._roles

    def _to_judge(self) -> Iterable[Any]:
        return list(self._facts.values()) if self._is_stale else self._fresh

    def _replay(self) -> None:
        """Place all facts anew: by chain and number, each after what it names."""
        for table in (self._seen, self._last, self._places, self._claimed):
            table.clear()
        self._missing.clear()
        records = sorted(map(get_record, self._facts.values()), key=_place_of)
        for record in records:
            self._places.setdefault(record.chain.chain, []).append(record.fact_id)
        waiting = [record.fact_id for record in records]
        for fact_id in waiting:
            self._see(fact_id)
        for record in records:
            self._last[record.chain.chain] = record.fact_id

    def _place(self, fact: Any, record: FactRecord) -> None:
        chain = record.chain.chain
        seen = self._gather(fact, record, self._last.get(chain))
        self._seen[record.fact_id] = seen
        self._places.setdefault(chain, []).append(record.fact_id)
        self._last[chain] = record.fact_id
        _rise(self._claimed, seen)

    def _see(self, start: FactId) -> None:
        """Work out what the author of a fact had seen, what it builds on first; without recursion, chains are long."""
        path, entered = [start], set[FactId]()
        while path:
            fact_id = path[-1]
            if fact_id in self._seen:
                path.pop()
                continue
            entered.add(fact_id)
            fact = self._facts[fact_id]
            record = get_record(fact)
            # No fact can name a later one, for its id is a hash; if one seems to, the circle is cut and not followed.
            needed = [each for each in self._grounds(fact, record) if each not in self._seen and each not in entered]
            if needed:
                path += needed
                continue
            path.pop()
            seen = self._gather(fact, record, None)
            self._seen[fact_id] = seen
            _rise(self._claimed, seen)

    def _grounds(self, fact: Any, record: FactRecord) -> Iterator[FactId]:
        """The facts here that *fact* builds on directly."""
        before = self._newest_in(record.chain.chain, record.seq - 1)
        if before is not None:
            yield before
        for named in fact.basis if hasattr(fact, "basis") else ():
            fact_id = FactId(bytes.fromhex(named))
            if fact_id in self._facts:
                yield fact_id
        for link in record.after:
            found = self._newest_in(link.chain, link.seq)
            if found is not None:
                yield found

    def _gather(self, fact: Any, record: FactRecord, before: FactId | None) -> _Seen:
        seen: _Seen = {} if before is None else dict(self._seen[before])
        for ground in self._grounds(fact, record):
            _rise(seen, self._seen.get(ground, {}))
        for link in record.after:
            _rise(seen, {link.chain: link.seq})
        _rise(seen, {record.chain.chain: record.seq})
        self._missing.update(
            named for named in getattr(fact, "basis", ()) if FactId(bytes.fromhex(named)) not in self._facts
        )
        return seen

    def _newest_in(self, chain: ChainId, seq: int) -> FactId | None:
        """The newest fact here of *chain* up to number *seq*."""
        places = self._places.get(chain, [])
        low, high = 0, len(places)
        while low < high:
            middle = (low + high) // 2
            if get_record(self._facts[places[middle]]).seq <= seq:
                low = middle + 1
            else:
                high = middle
        return places[low - 1] if low else None

    def _judge(self, fact: Any) -> bool:
        if isinstance(fact, HomeDeclared):
            return bool(fact.owner_id == self._owner)
        if fact.actor_id == self._owner:
            return True
        if isinstance(fact, _OWNERS_OWN) or fact.actor_id not in self._roles or fact.actor_id not in self._members:
            return False
        if getattr(fact, "target_id", None) == self._owner:
            return False
        seen = self._seen[get_record(fact).fact_id]
        known = [role for role in self._roles[fact.actor_id] if _is_within(get_record(role), seen)]
        granted = max((role.granted_at for role in known if isinstance(role, HomeGrantModerator)), default=None)
        revoked = max((role.revoked_at for role in known if isinstance(role, HomeRevokeModerator)), default=None)
        return granted is not None and (revoked is None or granted > revoked)


def _place_of(record: FactRecord) -> tuple[bytes, int, bytes]:
    return (record.chain.chain, record.seq, record.fact_id)


def _is_within(record: FactRecord, seen: _Seen) -> bool:
    return record.seq <= seen.get(record.chain.chain, 0)


def _rise(seen: _Seen, other: _Seen) -> None:
    for chain, seq in other.items():
        if seq > seen.get(chain, 0):
            seen[chain] = seq
