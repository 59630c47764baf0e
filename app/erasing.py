"""Erasing facts on a person's behalf: finding what they mean, checking the right, committing the erasure.

What an erasure does is decided in ``journal/erasure.py`` and done by the engine; this is the way in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from antiphon.facts import ChainId, ErasedFact, Fact, FactRecord, FactsErased, LocalViolation
from antiphon.journal.erasure import KEPT_PREFIX

if TYPE_CHECKING:
    from antiphon.journal.stores.duckdb import DuckdbFollower
    from antiphon.runtime.engine import JournalEngine


class CommittedFact(Protocol):
    """Whatever names a committed fact, such as a receipt."""

    @property
    def fact_id(self) -> str:
        """64 hex digits."""


# One fact carries so many names well within 64 KiB; more facts are more erasures.
NAMED_MAX = 250


async def erase_facts(
    engine: JournalEngine, facts: Sequence[Fact | CommittedFact | str], *, reason: str
) -> tuple[FactRecord, ...]:
    """Commit erasures of *facts*, one for each namespace and 250 facts, and wait until they are done here; of what is
    erased already, the erasure that did it is returned, and no other is made."""
    ids = [_id_of(fact) for fact in facts]
    if not ids:
        raise LocalViolation("erase takes one or more facts, receipts or fact ids; got none")
    named_facts = await engine.follower.run(lambda database: _find(database, ids))
    _check_right(engine, named_facts)
    earlier = {each.fact_id: record for _, each in named_facts if (record := _earlier(engine, each)) is not None}
    found = [(where, each) for where, each in named_facts if each.fact_id not in earlier]
    erasures: list[FactsErased] = []
    for namespace in sorted({namespace for namespace, _ in found}):
        named = [each for where, each in found if where == namespace]
        for start in range(0, len(named), NAMED_MAX):
            part = tuple(named[start : start + NAMED_MAX])
            erasures.append(FactsErased(namespace=namespace, facts=part, reason=reason))
    made = (await engine.commit(erasures, flush=True)).records if erasures else ()
    await engine.forgotten()
    return (*{record.fact_id: record for record in earlier.values()}.values(), *made)


def _earlier(engine: JournalEngine, fact: ErasedFact) -> FactRecord | None:
    """The erasure by which a fact is erased already; None when there is none."""
    state = engine.index.chain(ChainId(bytes.fromhex(fact.chain)))
    return None if state is None else engine.erasures.erasure_of(fact, state.info)


async def contexts_about(engine: JournalEngine, fact_ids: Iterable[str]) -> set[str]:
    """The contexts that these facts were said in; ids that are not here add none."""
    wanted = list(fact_ids)
    query = "SELECT DISTINCT namespace FROM history WHERE list_contains(?, fact_id)"
    rows = await engine.follower.run(lambda database: database.query(query, [wanted]).rows)
    return {str(namespace) for (namespace,) in rows}


def _id_of(fact: object) -> str:
    if isinstance(fact, Fact):
        return fact.meta.fact_id
    fact_id = fact if isinstance(fact, str) else getattr(fact, "fact_id", None)
    if not isinstance(fact_id, str) or len(fact_id) != 64 or set(fact_id) - set("0123456789abcdef"):
        raise LocalViolation(f"erase takes committed facts, receipts or fact ids of 64 hex digits; got {fact!r}")
    return fact_id


def _find(database: DuckdbFollower, ids: Iterable[str]) -> list[tuple[str, ErasedFact]]:
    wanted = list(dict.fromkeys(ids))
    rows = database.query(
        "SELECT fact_id, namespace, chain, seq, kind FROM history WHERE list_contains(?, fact_id)", [wanted]
    ).rows
    found = {
        str(fact_id): (
            str(namespace),
            ErasedFact(chain=str(chain), fact_id=str(fact_id), kind=str(kind), seq=int(str(seq))),
        )
        for fact_id, namespace, chain, seq, kind in rows
    }
    missing = [fact_id for fact_id in wanted if fact_id not in found]
    if missing:
        raise LocalViolation(f"no fact {missing[0]} is here; erase it where it is, or sync first")
    return [found[fact_id] for fact_id in wanted]


def _check_right(engine: JournalEngine, found: Iterable[tuple[str, ErasedFact]]) -> None:
    for _, each in found:
        if each.kind.startswith(KEPT_PREFIX):
            raise LocalViolation(f"{each.kind} {each.fact_id[:12]} is what chains are judged by; it cannot be erased")
        state = engine.index.chain(ChainId(bytes.fromhex(each.chain)))
        if state is None or not engine.erasures.may_erase(engine.authority, state.info):
            raise LocalViolation(
                f"{each.kind} {each.fact_id[:12]} was said by {state.info.label if state else 'somebody else'}; only "
                "its author, or the owner of the home, may erase it"
            )
