"""The index: what is held, by runs alone; equal for equal sets, whatever the order in which they came."""

from dataclasses import replace
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import DEFAULT_NAMESPACE, AfterLink, AuthorityId, ChainId, FactId, Namespace
from antiphon.journal import CHAIN_START, Continuation, Draft, Head, JournalIndex, RunRow, SealedRun
from antiphon.journal.bases import BASE_NOTE, ChainBase, bases_of, bases_of_note, build_base, notes_of, read_base
from antiphon.journal.chain import build_seal_line, parse_seal_line
from antiphon.journal.errors import UnsealedBytes
from antiphon.journal.frame import LocalNote
from antiphon.journal.index import EMPTY_ROOT, Hole
from antiphon.journal.sealing import leave_out
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
    assert index.classify(rows[1]._replace(last_id=b"x" * 32)) is Continuation.FORK
    assert index.classify(rows[2]._replace(first_previous_id=b"x" * 32)) is Continuation.GAP
    assert index.classify(rows[2]._replace(first_seq=rows[2].first_seq + 1)) is Continuation.GAP


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


def test_a_run_behind_a_hole_is_held_and_the_hole_is_named_until_it_is_filled() -> None:
    first, second, third, fourth = story("ada")
    whole = JournalIndex()
    for run in (first, second, third, fourth):
        admit(whole, run)
    index = JournalIndex()
    for run in (first, fourth):
        admit(index, run)
    chain = first.records[0].chain.chain
    last = third.records[-1]
    assert index.holes() == [Hole(chain, second.records[0].seq, last.seq, last.fact_id)]
    prefix = JournalIndex()
    admit(prefix, first)
    assert index.root(DEFAULT_NAMESPACE) == prefix.root(DEFAULT_NAMESPACE), "what lies behind a hole is no member yet"
    assert [row.last_seq for row in index.runs_after(chain, 0)] == [first.records[-1].seq], "nor is it offered"
    assert index.fact_count == len(first.records) + len(fourth.records)
    admit(index, third)
    assert index.holes()[0].to_seq == second.records[-1].seq
    admit(index, second)
    assert index.holes() == []
    assert index.root(DEFAULT_NAMESPACE) == whole.root(DEFAULT_NAMESPACE)
    assert index.runs_after(chain, 0) == whole.runs_after(chain, 0)
    assert index.fact_count == whole.fact_count


class Tree:
    """A chain whose writer seals as the test likes, and an index that can read it back."""

    def __init__(self) -> None:
        self.bytes: dict[int, bytes] = {}

    def index(self) -> JournalIndex:
        return JournalIndex(lambda row: self.bytes[row.offset])

    def admit(self, index: JournalIndex, run: SealedRun) -> frozenset[int]:
        row, last = run.row(file_number=1, offset=id(run)), run.records[-1]
        self.bytes[id(run)] = run.text
        index.introduce(last.chain)
        return index.admit(row, hlc=last.hlc, records=run.records)


def forked_runs() -> list[SealedRun]:
    """A trunk, two branches from it with two runs each, and the first branch's facts sealed again in one."""
    trunk, other = ChainWriter("ada"), ChainWriter("ada")
    runs = [trunk.seal(SAID, SAID)]
    other.seal(SAID, SAID)
    start = trunk.head
    runs += [trunk.seal(SAID), trunk.seal(SAID, SAID)]
    other.randomness(1)
    runs += [other.seal(SAID, SAID), other.seal(SAID)]
    again = trunk.seal_lines([r.line for run in runs[1:3] for r in run.records], start=start)
    seal = parse_seal_line(again.seal_line)
    runs.append(
        SealedRun((*runs[1].records, *runs[2].records), b"\n".join((*again.lines, again.seal_line, b"")), (), seal)
    )
    return runs


def orders(runs: list[SealedRun]) -> list[tuple[SealedRun, ...]]:
    return [order for order in permutations(runs) if is_causal(order)]


def is_causal(order: tuple[SealedRun, ...]) -> bool:
    ends = {bytes(32)}
    for run in order:
        if run.seal.from_id not in ends:
            return False
        ends.add(run.seal.to_id)
    return True


def test_both_branches_of_a_fork_are_held_and_every_order_ends_alike() -> None:
    tree, runs = Tree(), forked_runs()
    ids = {record.fact_id for run in runs for record in run.records}
    ends = set()
    for order in orders(runs):
        index = tree.index()
        new = [record.fact_id for run in order for record in leave_out(run.records, tree.admit(index, run))]
        assert len(new) == len(set(new)) == index.fact_count
        assert set(new) == ids, "what two seals cover counts once"
        state = next(index.chains())
        assert state.fork_seq == runs[1].records[0].seq
        assert index.forked() == {state.info.chain: state.fork_seq}
        assert len(state.heads) == 2
        siblings = index.siblings(state.info.chain)
        assert siblings is not None
        assert len({siblings[0].first_previous_id, siblings[1].first_previous_id}) == 1
        ends.add((index.fingerprint(), state.head, siblings[0].last_id, siblings[1].last_id))
    assert len(ends) == 1


def test_branches_behind_a_hole_join_together_whatever_came_first() -> None:
    tree, runs = Tree(), forked_runs()
    ends = set()
    for order in permutations(runs[1:]):
        index = tree.index()
        for run in order:
            tree.admit(index, run)
        assert index.namespaces() == ()
        tree.admit(index, runs[0])
        assert not index.holes()
        state = next(index.chains())
        assert len(state.heads) == 2
        assert len(index.sketch(DEFAULT_NAMESPACE).runs) == len(runs)
        ends.add(index.fingerprint())
    whole = tree.index()
    for run in runs:
        tree.admit(whole, run)
    assert ends == {whole.fingerprint()}


def test_a_fork_that_is_read_from_a_table_counts_repeated_facts_once_too() -> None:
    """Rows alone do not say which facts two seals share; the runs are read back when that matters."""
    tree, runs = Tree(), forked_runs()
    index = tree.index()
    for run in runs[:5]:
        tree.admit(index, run)
    again = tree.index()
    state = next(index.chains())
    again.introduce(state.info)
    for row in state.runs:
        again.admit(row, hlc=0)
    assert again.fingerprint() == index.fingerprint()
    assert tree.admit(again, runs[5]) == set(range(len(runs[5].records)))
    assert again.fact_count == index.fact_count


def test_only_a_sealed_fact_can_be_named_and_only_by_its_own_id() -> None:
    index = JournalIndex()
    first, second, *_ = story("ada")
    for run in (first, second):
        admit(index, run)
    last, inner = second.records[-1], second.records[0]
    chain = last.chain.chain
    assert index.has(AfterLink(chain, last.seq, last.fact_id[:16]))
    assert not index.has(AfterLink(chain, last.seq, b"x" * 16)), "the number alone says nothing"
    assert not index.has(AfterLink(chain, last.seq - 1, last.fact_id[:16]))
    assert not index.has(AfterLink(chain, inner.seq, inner.fact_id[:16]))
    assert not index.has(AfterLink(ChainId(bytes(16)), 1, bytes(16)))


def base_of(run: SealedRun) -> ChainBase:
    """What remains of *run* when it is collapsed."""
    last, before = run.records[-1], run.records[-2].fact_id if len(run.records) > 1 else run.seal.from_id
    return build_base(last.chain, previous_id=before, line=last.line, seal=run.seal)


@given(order=st.permutations(range(6)), left=st.sets(st.integers(1, 5)), has_sketch=st.booleans())
def test_a_base_stands_for_its_run_whatever_is_held_and_whatever_came_first(
    *, order: list[int], left: set[int], has_sketch: bool
) -> None:
    runs = story("ada", count=6)
    whole, collapsed = JournalIndex(), JournalIndex()
    if has_sketch:
        collapsed.sketch(DEFAULT_NAMESPACE)
    for run in runs:
        admit(whole, run)
    for place in order:
        if place in left:
            collapsed.take_bases([base_of(runs[place])])
        else:
            admit(collapsed, runs[place])
    assert all(collapsed.classify(run.row(file_number=1, offset=0)) is Continuation.KNOWN for run in runs)
    assert collapsed.holes() == []
    assert collapsed.forked() == {}
    assert collapsed.root(DEFAULT_NAMESPACE) == whole.root(DEFAULT_NAMESPACE)
    assert collapsed.head_of(head_chain(runs[0]))[:2] == whole.head_of(head_chain(runs[0]))[:2]
    assert collapsed.sketch(DEFAULT_NAMESPACE).cells(0, 64) == whole.sketch(DEFAULT_NAMESPACE).cells(0, 64)
    for run in runs:
        last = run.records[-1]
        for seq, half in ((last.seq, last.fact_id[:16]), (last.seq, b"x" * 16), (last.seq - 1, last.fact_id[:16])):
            link = AfterLink(head_chain(run), seq, half)
            assert collapsed.has(link) == whole.has(link)


@given(left=st.sets(st.integers(1, 5), min_size=1), own=st.sets(st.integers(1, 5)))
def test_what_a_log_keeps_of_bases_is_all_of_them(left: set[int], own: set[int]) -> None:
    runs = story("ada", count=6)
    bases = [base_of(runs[place])._replace(is_own=place in own) for place in sorted(left)]
    notes = notes_of(reversed(bases))
    assert bases_of(notes) == bases
    for name in ("digests", "headers", "from", "to"):
        value = notes[0].value[name]
        spoilt = value[::-1] if isinstance(value, str) else [1, "00" * 32]
        with pytest.raises(UnsealedBytes):
            bases_of_note(LocalNote(BASE_NOTE, {**notes[0].value, name: spoilt}))


def test_a_base_that_nobody_sealed_accuses_its_sender_and_not_the_writer() -> None:
    """Numbers that are no writer's own break his rules easily; whose words they are is asked first."""
    base = base_of(story("ada", count=3)[1])
    for seal in (base.seal._replace(to_seq=base.seal.to_seq + 5), base.seal._replace(signature=bytes(64))):
        with pytest.raises(UnsealedBytes):
            read_base(base.info, base.previous_id, base.line, build_seal_line(seal))


def test_a_base_that_the_first_form_of_the_line_keeps_waits_for_what_was_below_it() -> None:
    """It stood for its chain's whole past, of which nothing is left to check anybody by: so a peer is asked."""
    runs = story("ada", count=6)
    base = base_of(runs[3])
    value = {
        "collapsed_from": 2,
        "line": base.line.decode(),
        "namespace": base.info.namespace,
        "nonce": base.info.nonce.hex(),
        "previous": base.previous_id.hex(),
        "public_key": base.info.public_key.hex(),
        "seal": base.encode().split(b"\n")[1].decode(),
    }
    (found,) = bases_of_note(LocalNote(BASE_NOTE, value))
    assert found == base._replace(is_own=True)
    with pytest.raises(UnsealedBytes):
        bases_of_note(LocalNote(BASE_NOTE, {**value, "previous": "00" * 32}))
    whole, collapsed = JournalIndex(), JournalIndex()
    for run in runs:
        admit(whole, run)
    admit(collapsed, runs[0])
    collapsed.take_bases([found])
    for run in runs[4:]:
        admit(collapsed, run)
    (hole,) = collapsed.holes()
    assert (hole.to_seq, hole.to_id) == (base.seal.from_seq, base.seal.from_id)
    collapsed.take_bases([base_of(runs[1])])
    admit(collapsed, runs[2])
    assert collapsed.holes() == []
    assert collapsed.forked() == {}
    assert collapsed.root(DEFAULT_NAMESPACE) == whole.root(DEFAULT_NAMESPACE)


@given(order=st.permutations(range(8)), left=st.sets(st.integers(1, 3)), late=st.sets(st.integers(1, 3)))
def test_a_fork_below_a_base_is_the_same_fork_in_every_order(
    *, order: list[int], left: set[int], late: set[int]
) -> None:
    """Runs 1 to 3 are collapsed before or after the other story came, by a peer or here, or not at all."""
    writer = ChainWriter("ada")
    runs = [writer.seal(SAID, SAID)]
    for _ in range(5):
        runs.append(writer.seal(SAID, SAID))
        if len(runs) == 3:
            head = writer.chain.head
    writer.chain.head = head
    runs += [writer.seal(SAID), writer.seal(SAID, SAID)]
    texts = {run.seal.to_id: run.text for run in runs}
    whole, collapsed = (JournalIndex(lambda row: texts[FactId(row.last_id)]) for _ in range(2))
    for run in runs:
        admit(whole, run)
    for place in order:
        if place in left:
            collapsed.take_bases([base_of(runs[place])])
        else:
            admit(collapsed, runs[place])
    collapsed.take_bases([base_of(runs[place])._replace(is_own=True) for place in late])
    chain = head_chain(runs[0])
    assert collapsed.forked() == whole.forked() == {chain: runs[3].seal.from_seq + 1}
    assert collapsed.root(DEFAULT_NAMESPACE) == whole.root(DEFAULT_NAMESPACE)
    assert collapsed.sketch(DEFAULT_NAMESPACE).cells(0, 64) == whole.sketch(DEFAULT_NAMESPACE).cells(0, 64)
    assert [row.last_id for row in collapsed.siblings(chain) or ()] == [
        row.last_id for row in whole.siblings(chain) or ()
    ]
    gone = sum(len(runs[place].records) for place in left | late)
    assert collapsed.fact_count == whole.fact_count - gone
    assert collapsed.position == whole.fact_count - sum(len(runs[place].records) for place in left)


def head_chain(run: SealedRun) -> ChainId:
    return run.records[0].chain.chain


def test_sketches_kept_run_by_run_equal_those_made_from_scratch() -> None:
    index = JournalIndex()
    index.sketch(DEFAULT_NAMESPACE)
    for run in (*STORIES[0], *STORIES[1]):
        admit(index, run)
    fresh = JournalIndex()
    for run in (*STORIES[0], *STORIES[1]):
        admit(fresh, run)
    assert index.sketch(DEFAULT_NAMESPACE).cells(0, 64) == fresh.sketch(DEFAULT_NAMESPACE).cells(0, 64)


def test_what_is_learned_of_an_author_is_kept() -> None:
    index = JournalIndex()
    described = STORIES[0][0].records[0].chain
    bare = replace(described, label="", authority=AuthorityId(""))
    index.introduce(bare)
    assert index.introduce(described).info.label == "ada"
    assert index.introduce(bare).info.label == "ada"
    assert index.chain(described.chain) is not None
    assert [state.info.label for state in index.chains(Namespace("nowhere"))] == []


def test_facts_under_two_seals_count_once_though_a_hole_hides_the_fork() -> None:
    """Found by the machine of sessions: what overlaps behind a hole is no fork yet, and was counted twice."""
    tree, runs = Tree(), forked_runs()
    ids = {record.fact_id for run in runs for record in run.records}
    for order in permutations(runs):
        index = tree.index()
        held = [record.fact_id for run in order for record in leave_out(run.records, tree.admit(index, run))]
        assert len(held) == len(set(held)) == index.fact_count
        assert set(held) == ids
        assert list(index.forked().values()) == [runs[1].records[0].seq]
        assert not index.holes()


def test_whatever_continues_a_chain_overlaps_nothing() -> None:
    index = JournalIndex()
    for run in story("ada", count=4):
        row = run.row(file_number=1, offset=0)
        assert not index.overlaps(row)
        admit(index, run)
        assert index.overlaps(row)


def test_what_names_a_missing_fact_waits_with_all_that_follows_until_it_comes() -> None:
    """Nobody else could take it in, and replicas must not differ for ever over what is lost for good."""
    ada, ben, eve = ChainWriter("ada"), ChainWriter("ben"), ChainWriter("eve")
    causes = [ada.seal(SAID), ada.seal(SAID)]
    free = ben.seal(SAID)
    bound = ben.seal(SAID._replace(after=(ada.link,)))
    runs = [*causes, free, bound, ben.seal(SAID), eve.seal(SAID._replace(after=(ben.link,)))]
    data = {run.records[-1].fact_id: run.text for run in runs}
    whole = JournalIndex(lambda row: data[FactId(row.last_id)])
    rows = [admit(whole, run) for run in runs]
    fingerprint, fact_count = whole.fingerprint(), whole.fact_count
    left = JournalIndex()
    admit(left, free)

    waiting = whole.lose(rows[0])
    assert waiting == {ben.chain.info.chain, eve.chain.info.chain}
    assert whole.fingerprint() == left.fingerprint()
    assert [hole.chain for hole in whole.holes()] == [ada.chain.info.chain], "nothing of ben's or eve's is missing"
    assert not whole.has(eve.link)
    assert whole.runs_after(ben.chain.info.chain, 0) == left.runs_after(ben.chain.info.chain, 0)

    admit(whole, causes[0])
    assert whole.fingerprint() == fingerprint
    assert whole.fact_count == fact_count
    assert whole.holes() == []
    assert whole.has(eve.link)


def test_what_names_a_chain_of_which_nothing_is_left_waits_for_it() -> None:
    ada, ben = ChainWriter("ada"), ChainWriter("ben")
    cause, bound = ada.seal(SAID), ben.seal(SAID._replace(after=(ada.link,)))
    index = JournalIndex(lambda _: bound.text)
    admit(index, bound)
    assert index.settle_causes() == {ben.chain.info.chain}
    assert index.namespaces() == ()
    admit(index, cause)
    assert index.has(ben.link)
