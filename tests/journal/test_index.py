"""The index: what is held, by runs alone; equal for equal sets, whatever the order in which they came."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import DEFAULT_NAMESPACE, AuthorityId, ChainId, Namespace
from antiphon.journal import CHAIN_START, Continuation, Draft, Head, JournalIndex, RunRow, SealedRun
from antiphon.journal.index import EMPTY_ROOT
from antiphon.testing.records import ChainWriter

SAID = Draft("test.said", 1, b"{}", None)


def story(name: str, *, count: int = 4, namespace: str = DEFAULT_NAMESPACE) -> list[SealedRun]:
    writer = ChainWriter(name, namespace=namespace)
    return [writer.seal(*[SAID] * (1 + number % 3)) for number in range(count)]


STORIES = [story("ada"), story("ben"), story("eve", namespace="work"), story("dan", count=1)]


def admit(index: JournalIndex, run: SealedRun) -> RunRow:
    row, last = run.row(file_number=1, offset=0), run.records[-1]
    index.introduce(last.chain)
    index.admit(row, hlc=last.hlc, records=run.records)
    return row


@st.composite
def interleavings(draw: st.DrawFn) -> list[SealedRun]:
    """All runs of all chains, each chain in its own order."""
    order = draw(st.permutations([number for number, runs in enumerate(STORIES) for _ in runs]))
    waiting = [list(runs) for runs in STORIES]
    return [waiting[number].pop(0) for number in order]


@given(interleavings(), interleavings())
def test_roots_and_fingerprint_do_not_depend_on_the_order_of_arrival(
    first: list[SealedRun], second: list[SealedRun]
) -> None:
    one, other = JournalIndex(), JournalIndex()
    for run in first:
        admit(one, run)
    for run in second:
        admit(other, run)
    assert one.roots() == other.roots()
    assert one.fingerprint() == other.fingerprint()
    assert one.fact_count == other.fact_count == sum(len(run.records) for runs in STORIES for run in runs)
    assert one.namespaces() == (DEFAULT_NAMESPACE, "work")


@given(interleavings())
def test_every_admitted_run_moves_the_fingerprint_and_no_other_namespace(order: list[SealedRun]) -> None:
    index = JournalIndex()
    seen = {index.fingerprint()}
    for run in order:
        mine = run.records[0].chain.namespace
        others = {name: root for name, root in index.roots().items() if name != mine}
        before = index.root(mine)
        admit(index, run)
        assert index.root(mine) != before
        assert {name: root for name, root in index.roots().items() if name != mine} == others
        assert index.fingerprint() not in seen
        seen.add(index.fingerprint())


def test_an_empty_index_and_one_that_only_met_chains_are_equal() -> None:
    empty, met = JournalIndex(), JournalIndex()
    met.introduce(STORIES[0][0].records[0].chain)
    assert empty.fingerprint() == met.fingerprint()
    assert met.root(DEFAULT_NAMESPACE) == EMPTY_ROOT
    assert met.namespaces() == ()


def test_one_set_in_two_namespaces_has_two_fingerprints() -> None:
    one, other = JournalIndex(), JournalIndex()
    admit(one, story("ada", count=1)[0])
    admit(other, story("ada", count=1, namespace="work")[0])
    assert one.fingerprint() != other.fingerprint()


def test_a_run_is_next_known_a_gap_or_a_fork() -> None:
    index = JournalIndex()
    first, second, third, fourth = story("ada")
    rows = [run.row(file_number=1, offset=0) for run in (first, second, third, fourth)]
    assert index.classify(rows[0]) is Continuation.NEXT
    assert index.classify(rows[1]) is Continuation.GAP
    for run in (first, second):
        admit(index, run)
    assert [index.classify(row) for row in rows] == [
        Continuation.KNOWN,
        Continuation.KNOWN,
        Continuation.NEXT,
        Continuation.GAP,
    ]
    assert index.classify(rows[0]._replace(last_id=b"x" * 32)) is Continuation.FORK
    assert index.classify(rows[2]._replace(first_previous_id=b"x" * 32)) is Continuation.FORK
    assert index.classify(rows[0]._replace(last_seq=rows[1].last_seq)) is Continuation.FORK


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 5), (-1, 2), (3, 2), (1, 0)])
@pytest.mark.parametrize("is_known", [False, True])
def test_numbers_that_no_chain_has_are_classified_and_not_stumbled_over(
    first: int, last: int, *, is_known: bool
) -> None:
    index = JournalIndex()
    run = story("ada")[0]
    if is_known:
        admit(index, run)
    row = run.row(file_number=1, offset=0)._replace(first_seq=first, last_seq=last)
    assert index.classify(row) is not Continuation.KNOWN


def test_what_a_peer_lacks_is_everything_behind_its_head() -> None:
    index = JournalIndex()
    rows = [admit(index, run) for run in STORIES[0]]
    chain = ChainId(rows[0].chain)
    assert index.runs_after(chain, 0) == rows
    for earlier, later in pairwise(rows):
        assert index.runs_after(chain, earlier.last_seq)[0] == later
        assert index.runs_after(chain, later.last_seq - 1)[0] == later, "a run travels whole"
    assert index.runs_after(chain, rows[-1].last_seq) == []
    assert index.runs_after(ChainId(bytes(16)), 0) == []
    assert index.head_of(ChainId(bytes(16))) == CHAIN_START
    last = STORIES[0][-1].records[-1]
    assert index.head_of(chain) == Head(last.seq, last.fact_id, last.hlc)


def test_only_the_next_run_is_admitted() -> None:
    index = JournalIndex()
    first, second, *_ = story("ada")
    index.introduce(first.records[0].chain)
    with pytest.raises(AssertionError, match="only the next run"):
        index.admit(second.row(file_number=1, offset=0), hlc=0)
    assert index.fact_count == 0


def test_what_is_learned_of_an_author_is_kept() -> None:
    index = JournalIndex()
    described = STORIES[0][0].records[0].chain
    bare = replace(described, label="", authority=AuthorityId(""))
    index.introduce(bare)
    assert index.introduce(described).info.label == "ada"
    assert index.introduce(bare).info.label == "ada"
    assert index.chain(described.chain) is not None
    assert [state.info.label for state in index.chains(Namespace("nowhere"))] == []
