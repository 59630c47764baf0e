"""The session converges whatever the interleaving, costs little in sync, and lets nothing in that nobody asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import DEFAULT_NAMESPACE, AfterLink, ChainId, ChainInfo, FactId, Namespace
from antiphon.journal import RunRow, parse_run
from antiphon.journal.bases import ChainBase, build_base
from antiphon.journal.chain import parse_seal_line
from antiphon.journal.errors import UnsealedBytes
from antiphon.journal.forks import prove_fork
from antiphon.journal.index import ChainState
from antiphon.journal.sketch import CELLS_MAX, encode_items
from antiphon.journal.sync import session as session_module
from antiphon.journal.sync.messages import (
    LENGTH_BYTES,
    Acks,
    Base,
    Busy,
    Done,
    Error,
    ErrorCode,
    Facts,
    Fork,
    Frontier,
    FrontierEntry,
    Hello,
    IncomingRun,
    IngestResult,
    Limits,
    MalformedMessage,
    Message,
    MessageViolation,
    Need,
    NeedRange,
    Refusal,
    Root,
    Roots,
    Served,
    WireRun,
    decode,
    encode,
    take_run_apart,
)
from antiphon.journal.sync.session import (
    IDLE_ROUNDS_MAX,
    PENDING_RUNS_MAX,
    TRANSITIONS,
    Action,
    Encode,
    Finish,
    Ingest,
    Outcome,
    ProveFork,
    ReadAndSend,
    Send,
    SessionReport,
    State,
    SyncSession,
    TakeAcks,
    Witness,
    build_facts,
)
from antiphon.testing.replica import MemoryReplica

OTHER = Namespace("garden.plans")


class Side:
    """A replica, its session, and what it has said: performs actions at once, without a wire."""

    def __init__(self, replica: MemoryReplica, nonce: int, *, is_live: bool = False, rounds_max: int = 10) -> None:
        self.replica = replica
        self.session = SyncSession(
            replica.index,
            journal_id=bytes.fromhex(replica.journal_id),
            nonce=nonce.to_bytes(16, "big"),
            is_live=is_live,
            rounds_max=rounds_max,
        )
        self.outbox: deque[bytes] = deque()
        self.said: list[Message] = []
        self.waiting: deque[Ingest] = deque()
        self.report: SessionReport | None = None
        self._forget = replica.add_run_listener(lambda rows: self.perform(self.session.published(rows)))
        self.perform(self.session.start())

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(message):
                    self.say(message)
                case ReadAndSend():
                    more = self.session.transmitted(action)
                    self.say(build_facts(action, [self.replica.read_run(run.row) for run in action.runs]))
                    self.perform(more)
                case Ingest():
                    self.waiting.append(action)
                case TakeAcks(acks):
                    self.replica.take_acks(acks)
                case Finish(report):
                    self.report = report
                case Encode():
                    self.perform(self.session.encoded(action, encode_items(action.items, CELLS_MAX, salt=action.salt)))
                case ProveFork():
                    rows = (self.replica.read_run(row).split(b"\n")[-2] for row in action.rows)
                    proof = prove_fork(action.info, *map(parse_seal_line, rows))
                    self.say(Fork(action.namespace, proof.encode()))
                case Witness(proof):
                    self.replica.proofs[proof.info.chain] = proof

    def say(self, message: Message) -> None:
        self.said.append(message)
        self.outbox.append(encode(message))

    def hear(self, frame: bytes) -> None:
        self.perform(self.session.receive(decode(frame)))

    def ingest(self) -> None:
        runs = self.waiting.popleft().runs
        self.perform(self.session.ingested(runs, self.replica.ingest_nowait(runs)))

    def forget(self) -> None:
        self._forget()

    @property
    def final(self) -> SessionReport:
        assert self.report is not None
        return self.session.final_report(self.report)

    def count(self, kind: type[Message]) -> int:
        return sum(isinstance(message, kind) for message in self.said)


def carry(speaker: Side, listener: Side, meddle: Callable[[bytes], Iterable[bytes]]) -> None:
    for frame in meddle(speaker.outbox.popleft()):
        listener.hear(frame)


def converse(
    first: Side,
    second: Side,
    *,
    rng: Random | None = None,
    steps_max: int = 100_000,
    meddle: Callable[[bytes], Iterable[bytes]] = lambda frame: (frame,),
    meanwhile: Callable[[int], None] = lambda step: None,
) -> None:
    """Carry frames and ingest, in an order drawn from *rng*, until nothing is left to do."""
    rng = rng or Random(0)
    for step in range(steps_max):
        moves: list[Callable[[], None]] = []
        for speaker, listener in ((first, second), (second, first)):
            if speaker.outbox:
                moves.append(partial(carry, speaker, listener, meddle))
            if speaker.waiting:
                moves.append(speaker.ingest)
        if not moves:
            return
        rng.choice(moves)()
        meanwhile(step)
    raise AssertionError("the conversation does not end")


def sync(first: MemoryReplica, second: MemoryReplica, *, seed: int = 0, **options: int) -> tuple[Side, Side]:
    sides = Side(first, 1, **options), Side(second, 2, **options)  # type: ignore[arg-type]
    converse(*sides, rng=Random(seed))
    for side in sides:
        side.forget()
    return sides


def replica(seed: int, *windows: int, namespace: Namespace = DEFAULT_NAMESPACE) -> MemoryReplica:
    made = MemoryReplica(seed=seed)
    for number, count in enumerate(windows):
        made.commit_texts([f"{seed}.{number}.{one}" for one in range(count)], namespace=namespace)
    return made


def check_equal(*replicas: MemoryReplica) -> None:
    first = replicas[0]
    for other in replicas[1:]:
        assert other.index.fingerprint() == first.index.fingerprint()
        assert [(fact.fact_id, fact.line) for fact in other.facts()] == [
            (fact.fact_id, fact.line) for fact in first.facts()
        ]


# --- agreement ----------------------------------------------------------------------------------------------------


def test_two_replicas_exchange_what_either_lacks() -> None:
    ada, bob = replica(1, 3, 4), replica(2, 5)
    here, there = sync(ada, bob)
    check_equal(ada, bob)
    assert (here.final.outcome, here.final.is_success, here.final.sent, here.final.received) == (
        Outcome.AGREED,
        True,
        8,
        6,
    )
    assert (there.final.sent, there.final.received) == (6, 8)


def test_replicas_in_sync_spend_one_word_of_50_bytes() -> None:
    ada, bob = replica(1, 3), replica(2, 2)
    sync(ada, bob)
    for side in sync(ada, bob):
        assert [type(message) for message in side.said] == [Hello, Root]
        assert LENGTH_BYTES + len(encode(side.said[1])) <= 96
        assert side.final.is_success


def test_empty_replicas_agree() -> None:
    here, _ = sync(MemoryReplica(seed=1), MemoryReplica(seed=2))
    assert here.final.outcome is Outcome.AGREED


def test_a_new_replica_receives_everything_in_a_causal_order() -> None:
    ada, bob, eve = replica(1, 2), replica(2, 2), MemoryReplica(seed=3)
    for turn in range(5):
        sync(ada, bob)
        ada.commit_texts([f"ada {turn}"])
        sync(ada, bob)
        bob.commit_texts([f"bob {turn}"])
    sync(bob, eve)
    here, _ = sync(ada, eve)
    check_equal(bob, eve, ada)
    assert not here.final.refused
    assert eve.index.fact_count == 16


def test_namespaces_are_compared_and_exchanged_apart() -> None:
    ada, bob = replica(1, 3), replica(2, 2, namespace=OTHER)
    sync(ada, bob)
    ada.commit_texts(["more"], namespace=OTHER)
    here, there = sync(ada, bob)
    check_equal(ada, bob)
    told = {message.namespace for message in (*here.said, *there.said) if isinstance(message, Frontier)}
    assert told == {OTHER}


def test_more_runs_than_one_message_holds_are_exchanged() -> None:
    ada, bob = replica(1, *[250] * 12), MemoryReplica(seed=2)
    here, _ = sync(ada, bob)
    check_equal(ada, bob)
    assert here.count(Facts) >= 3
    assert all(sum(len(run.data) for run in word.runs) <= 256 * 1024 for word in here.said if isinstance(word, Facts))


def test_the_same_session_twice_moves_nothing() -> None:
    ada, bob = replica(1, 3), replica(2, 3)
    sync(ada, bob)
    before = ada.ingest_count, bob.ingest_count
    here, _ = sync(ada, bob)
    assert (ada.ingest_count, bob.ingest_count) == before
    assert (here.final.sent, here.final.received, here.final.known) == (0, 0, 0)


commits = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([DEFAULT_NAMESPACE, OTHER]), st.integers(1, 5)), max_size=12
)


@given(commits, commits, st.integers(0, 2**32))
@settings(max_examples=60)
def test_three_replicas_converge_whatever_the_interleaving(
    early: list[tuple[int, Namespace, int]], late: list[tuple[int, Namespace, int]], seed: int
) -> None:
    replicas = [MemoryReplica(seed=number) for number in range(3)]
    for batch in (early, late):
        for who, namespace, count in batch:
            replicas[who].commit_texts([f"{who} says {one}" for one in range(count)], namespace=namespace)
        for pair in ((0, 1), (1, 2), (0, 1)):
            here, _ = sync(replicas[pair[0]], replicas[pair[1]], seed=seed)
            assert here.final.is_success
    check_equal(*replicas)


@given(commits, commits, st.integers(0, 2**32), st.integers(1, 60))
@settings(max_examples=60)
def test_a_session_cut_anywhere_is_made_good_by_the_next(
    mine: list[tuple[int, Namespace, int]], theirs: list[tuple[int, Namespace, int]], seed: int, cut: int
) -> None:
    ada, bob = MemoryReplica(seed=1), MemoryReplica(seed=2)
    for made, batch in ((ada, mine), (bob, theirs)):
        for _, namespace, count in batch:
            made.commit_texts(["x"] * count, namespace=namespace)
    here, there = Side(ada, 1), Side(bob, 2)
    try:
        converse(here, there, rng=Random(seed), steps_max=cut)
    except AssertionError:
        for side in (here, there):
            side.perform(side.session.lose("cut"))
            while side.waiting:
                side.ingest()
            assert side.report is None or side.report.outcome in (Outcome.LOST, Outcome.AGREED)
    sync(ada, bob, seed=seed)
    check_equal(ada, bob)


@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=60)
def test_facts_that_come_up_to_five_times_count_once(windows: list[int], seed: int, copies: int) -> None:
    ada, bob = replica(1, *windows), replica(2, 2)
    here, there = Side(ada, 1), Side(bob, 2)

    def repeat(frame: bytes) -> list[bytes]:
        return [frame] * (copies if isinstance(decode(frame), Facts) else 1)

    converse(here, there, rng=Random(seed), meddle=repeat)
    check_equal(ada, bob)
    assert here.final.is_success
    assert there.final.received == sum(windows) + bool(windows)


@given(st.integers(0, 2**32), st.booleans(), st.integers(0, 30))
@settings(max_examples=40)
def test_commits_during_a_session_do_not_confuse_it(seed: int, is_live: bool, last_commit: int) -> None:
    ada, bob = replica(1, 3, 3), replica(2, 4)
    here, there = Side(ada, 1, is_live=is_live), Side(bob, 2, is_live=is_live)

    def write(step: int) -> None:
        if step < last_commit:
            (ada, bob)[step % 2].commit_texts([f"at {step}"], namespace=(DEFAULT_NAMESPACE, OTHER)[step % 3 == 0])

    converse(here, there, rng=Random(seed), meanwhile=write)
    for side in (here, there):
        side.forget()
    if is_live:
        assert here.session.state is there.session.state is State.LIVE
    else:
        assert here.final.outcome is there.final.outcome
        assert here.final.is_success
        sync(ada, bob)
    check_equal(ada, bob)


def test_writing_without_end_ends_as_caught_up() -> None:
    ada, bob = replica(1, 3), replica(2, 3)
    here, there = Side(ada, 1, rounds_max=3), Side(bob, 2, rounds_max=3)
    had = {fact.fact_id for fact in ada.facts()}
    converse(here, there, meanwhile=lambda step: ada.commit_texts([f"{step}"]))
    assert here.final.outcome is there.final.outcome is Outcome.CAUGHT_UP
    assert here.final.rounds == 4
    assert had <= {fact.fact_id for fact in bob.facts()}


def test_one_round_is_enough_for_still_replicas() -> None:
    here, _ = sync(replica(1, 3), replica(2, 3), rounds_max=1)
    assert here.final.is_success


# --- live ---------------------------------------------------------------------------------------------------------


def live_pair(ada: MemoryReplica, bob: MemoryReplica) -> tuple[Side, Side]:
    here, there = Side(ada, 1, is_live=True), Side(bob, 2, is_live=True)
    converse(here, there)
    assert here.session.state is there.session.state is State.LIVE
    return here, there


def test_new_runs_are_pushed_both_ways_with_one_message_each() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    here.said.clear()
    there.said.clear()
    ada.commit_texts(["hello"])
    converse(here, there)
    bob.commit_texts(["hello yourself"])
    converse(here, there)
    check_equal(ada, bob)
    assert [type(word) for word in here.said] == [Facts]
    assert [type(word) for word in there.said] == [Facts]


def test_what_came_from_a_peer_is_not_sent_back_but_passed_on() -> None:
    ada, bob, eve = replica(1, 1), replica(2, 1), replica(3, 1)
    ada_bob, bob_ada = live_pair(ada, bob)
    bob_eve, eve_bob = live_pair(bob, eve)
    converse(ada_bob, bob_ada)
    converse(bob_eve, eve_bob)
    for side in (ada_bob, bob_ada, bob_eve):
        side.said.clear()
    ada.commit_texts(["for everybody"])
    converse(ada_bob, bob_ada)
    converse(bob_eve, eve_bob)
    check_equal(ada, bob, eve)
    assert bob_ada.said == []
    assert bob_eve.count(Facts) == 1


def test_a_new_chain_may_be_pushed() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    ada.commit_texts(["elsewhere"], namespace=OTHER)
    converse(here, there)
    check_equal(ada, bob)


def test_a_peer_too_slow_for_the_pushes_is_caught_up_by_a_round() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    pushes: list[Action] = []
    rows: list[RunRow] = []
    stop = ada.add_run_listener(rows.extend)
    here.forget()
    for number in range(PENDING_RUNS_MAX + 2):
        ada.commit_texts([f"{number}"])
    stop()
    for row in rows:
        pushes.extend(here.session.published([row]))
    assert here.session.statistics().queued_runs == PENDING_RUNS_MAX
    here.perform(pushes)
    converse(here, there)
    check_equal(ada, bob)
    assert here.session.is_agreed
    assert there.session.is_agreed


def test_a_burst_larger_than_the_queue_is_found_by_a_round() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    rows: list[RunRow] = []
    here.forget()
    ada.add_run_listener(rows.extend)
    for number in range(PENDING_RUNS_MAX + 2):
        ada.commit_texts([f"{number}"])
    here.perform(here.session.published(rows))
    converse(here, there)
    check_equal(ada, bob)


def test_a_gap_in_what_is_pushed_is_asked_for() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    ada.commit_texts(["lost"])
    here.outbox.clear()
    ada.commit_texts(["heard"])
    converse(here, there)
    check_equal(ada, bob)
    assert there.count(Need) >= 1
    assert there.session.statistics().refusals == 0


def test_leaving_ends_both_sides_in_good_order() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    ada.commit_texts(["last words"])
    here.perform(here.session.leave())
    converse(here, there)
    check_equal(ada, bob)
    assert isinstance(here.said[-1], Done)
    assert here.final.outcome is there.final.outcome is Outcome.LEFT
    assert here.final.is_success
    assert there.final.is_success


def test_a_live_side_serves_a_one_shot_visitor() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = Side(ada, 1, is_live=True), Side(bob, 2)
    converse(here, there)
    assert here.final.outcome is there.final.outcome is Outcome.AGREED
    check_equal(ada, bob)


# --- differences that cannot be settled -----------------------------------------------------------------------------


def forked_pair() -> tuple[MemoryReplica, MemoryReplica]:
    """One writer, two stories: a copied folder went on writing."""
    story, other_story = replica(1, 2), replica(1, 2)
    story.commit_texts(["one thing"])
    other_story.commit_texts(["another"])
    return story, other_story


@pytest.mark.parametrize("tail", [(), (3,), (1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_both_stories_of_a_forked_chain_are_exchanged_and_it_is_named(tail: tuple[int, ...], seed: int) -> None:
    story, other_story = forked_pair()
    for count in tail:
        story.commit_texts(["more"] * count)
    here, there = sync(story, other_story, seed=seed)
    chain = next(story.index.chains()).info
    assert here.final.outcome is there.final.outcome is Outcome.AGREED
    assert here.final.forked == there.final.forked == (chain.text,)
    assert story.index.forked() == {chain.chain: 4}
    assert here.final.rounds <= 4
    check_equal(story, other_story)


def test_the_proof_of_a_fork_is_the_first_that_is_told_of_a_namespace() -> None:
    story, other_story = forked_pair()
    sync(story, other_story)
    eve = replica(9, 4)
    here, _ = sync(story, eve)
    words = [type(word) for word in here.said]
    assert words.index(Fork) < words.index(Frontier)
    assert len(encode(here.said[words.index(Fork)])) + LENGTH_BYTES <= 1_024
    assert set(eve.proofs) == set(story.index.forked())
    check_equal(story, eve)


def test_a_forked_writer_opens_a_new_chain_and_everything_goes_on() -> None:
    story, other_story = forked_pair()
    sync(story, other_story)
    story.commit_texts(["a new life"])
    other_story.commit_texts(["and another"])
    sync(story, other_story)
    check_equal(story, other_story)
    assert len(list(story.index.chains())) == 2


def test_a_fork_that_starts_far_back_is_found_though_the_heads_are_of_different_ages() -> None:
    story, other_story = forked_pair()
    for number in range(10):
        story.commit_texts([f"long {number}"])
    here, _ = sync(story, other_story)
    assert here.final.is_success
    check_equal(story, other_story)


def lose(made: MemoryReplica, lost: set[int]) -> MemoryReplica:
    """What is left of *made* when the runs at these places, in order of arrival, are taken away."""
    left = MemoryReplica(seed=77)
    rows = sorted((row for state in made.index.chains() for row in state.runs), key=lambda row: row.offset)
    for place, row in enumerate(rows):
        state = made.index.chain(ChainId(row.chain))
        assert state is not None
        left.index.introduce(state.info)
        if place not in lost:
            left.load(row, made.read_run(row))
    return left


@pytest.mark.parametrize("lost", [{2}, {1, 2}, {1, 3}, {0}, {4}, {0, 1, 2, 3}])
def test_holes_are_asked_for_and_filled(lost: set[int]) -> None:
    whole = replica(1, 2, 2, 2, 2, 2)
    damaged = lose(whole, lost)
    assert bool(damaged.index.holes()) is (lost != {4})
    here, there = sync(damaged, whole)
    assert here.final.outcome is there.final.outcome is Outcome.AGREED
    assert here.final.rounds == 2
    assert damaged.index.holes() == []
    check_equal(damaged, whole)


def test_two_replicas_fill_each_others_holes_and_agree_on_those_that_both_have() -> None:
    whole = replica(1, *[2] * 12)
    one, other = lose(whole, {2, 5, 8}), lose(whole, {3, 5, 9})
    here, _ = sync(one, other)
    assert here.final.is_success
    assert one.index.holes()[0].to_seq == other.index.holes()[0].to_seq
    sync(one, whole)
    sync(one, other)
    sync(other, whole)
    check_equal(one, other, whole)
    assert not one.index.holes()
    assert not other.index.holes()


def test_a_replica_with_a_hole_that_nobody_can_fill_agrees_with_others_and_goes_on() -> None:
    """What was lost at its only holder is lost; what comes after must not wait for it for ever."""
    whole = replica(1, 2, 2, 2)
    damaged, friend = lose(whole, {1}), replica(2, 2)
    assert sync(damaged, friend)[0].final.is_success
    damaged.commit_texts(["life goes on"])
    assert sync(damaged, friend)[0].final.is_success
    assert friend.index.fingerprint() == damaged.index.fingerprint()
    assert len(damaged.index.holes()) == 1
    sync(friend, whole)
    sync(damaged, friend)
    check_equal(damaged, friend)


def collapse(made: MemoryReplica, place: int) -> MemoryReplica:
    """*made* as one that collapsed each of its chains up to its run at *place*, all but the opening run."""
    left = MemoryReplica(seed=78)
    for state in made.index.chains():
        left.index.introduce(state.info)
        for at, row in enumerate(state.runs):
            if 0 < at <= place:
                left.index.take_bases([base_at(made, state, row)])
            else:
                left.load(row, made.read_run(row))
    return left


def base_at(made: MemoryReplica, state: ChainState, row: RunRow) -> ChainBase:
    """What is left of a run when it is collapsed."""
    data = made.read_run(row)
    records = parse_run(state.info, row, data)
    before = records[-2].fact_id if len(records) > 1 else row.first_previous_id
    seal = parse_seal_line(data.split(b"\n")[-2])
    return build_base(state.info, previous_id=before, line=records[-1].line, seal=seal)


@pytest.mark.parametrize("place", [1, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_new_replica_starts_where_facts_were_collapsed_and_agrees_with_those_that_hold_all(
    place: int, seed: int
) -> None:
    whole, fresh = replica(1, 2, 2, 2, 2, 2), replica(2, 1)
    collapsed = collapse(whole, place)
    assert collapsed.index.fingerprint() == whole.index.fingerprint()
    here, there = sync(fresh, collapsed, seed=seed)
    assert here.final.outcome is there.final.outcome is Outcome.AGREED
    assert here.final.rounds == 2
    assert there.count(Base) == 1
    (state,) = (state for state in fresh.index.chains() if state.collapsed)
    assert len(state.collapsed) == place
    assert state.info.authority, "its opening says whose chain it is"
    assert fresh.index.holes() == []
    for known in (sync(fresh, whole), sync(whole, fresh), sync(collapsed, whole)):
        assert all(side.final.is_success for side in known)
        assert all(side.final.refused == () for side in known)
    assert len({each.index.fingerprint() for each in (fresh, collapsed, whole)}) == 1
    assert fresh.index.fact_count < whole.index.fact_count, "what was collapsed did not come back"
    another = replica(3, 1)
    assert all(side.final.is_success for side in sync(another, fresh))
    assert another.index.fingerprint() == fresh.index.fingerprint()


def test_a_replica_that_holds_a_part_takes_bases_for_the_rest_and_keeps_its_part() -> None:
    whole = replica(1, 2, 2, 2, 2, 2)
    part, collapsed = lose(whole, {2, 3, 4}), collapse(whole, 3)
    assert sync(part, collapsed)[0].final.is_success
    assert part.index.fingerprint() == whole.index.fingerprint()
    assert [(len(state.runs), len(state.collapsed)) for state in part.index.chains()] == [(3, 2)]


def test_a_hole_below_a_base_ends_when_nobody_else_can_fill_it() -> None:
    whole = replica(1, 2, 2, 2, 2, 2)
    damaged, collapsed = lose(whole, {1}), collapse(whole, 3)
    assert sync(damaged, collapsed)[0].final.is_success
    assert damaged.index.holes() == []
    assert damaged.index.fingerprint() == whole.index.fingerprint()


def test_a_repair_with_a_collapsed_replica_moves_only_what_differs() -> None:
    """The symbols are made of runs, collapsed or not; what was collapsed would come as a difference otherwise."""
    story, other_story = forked_pair()
    friend = replica(9, *[1] * 40)
    for each in (story, other_story):
        sync(each, friend)
    chains = [state.info.chain for state in friend.index.chains() if state.head.seq > 30]
    collapsed = MemoryReplica(seed=79)
    for state in other_story.index.chains():
        collapsed.index.introduce(state.info)
        for at, row in enumerate(state.runs):
            if at == 0 or at > 30 or state.info.chain not in chains:
                collapsed.load(row, other_story.read_run(row))
            else:
                collapsed.index.take_bases([base_at(other_story, state, row)])
    for one, other in ((story, collapsed), (collapsed, story)):
        here, there = sync(one, other)
        assert here.final.is_success
        assert here.final.known == there.final.known == 0
    assert story.index.fingerprint() == collapsed.index.fingerprint()


def test_a_base_that_nobody_asked_for_is_refused() -> None:
    whole, victim = replica(1, 2, 2, 2), replica(2, 1)
    (base,) = next(collapse(whole, 1).index.chains()).bases.values()
    run = WireRun(base.info.public_key, base.info.nonce, base.seal.to_seq, base.previous_id, base.encode())
    side = tell(Side(victim, 1), hello(), Root(bytes(32), 1, 9), Base(DEFAULT_NAMESPACE, (run,)))
    assert side.session.statistics().refusals == 1
    assert not side.waiting


@pytest.mark.parametrize("change", ["payload", "previous", "seal", "seq", "lines"])
def test_a_base_that_is_not_what_was_sealed_never_enters(change: str) -> None:
    whole, victim = replica(1, 2, 2, 2), replica(2, 1)
    (base,) = next(collapse(whole, 1).index.chains()).bases.values()
    rows = next(whole.index.chains()).runs
    opening = take_run_apart(DEFAULT_NAMESPACE, _wire_of(whole, base.info, rows[0]))
    run = IncomingRun(
        base.info,
        (base.line,),
        base.encode().split(b"\n")[1],
        base.seal.to_seq,
        base.previous_id,
        is_base=True,
    )
    last = parse_run(base.info, rows[1], whole.read_run(rows[1]))[-1]
    changed = {
        "payload": run._replace(lines=(last.line,)),
        "previous": run._replace(first_previous_id=FactId(bytes(32))),
        "seal": run._replace(seal_line=opening.seal_line),
        "seq": run._replace(first_seq=run.first_seq + 1),
        "lines": run._replace(lines=(base.line.replace(b'"e":"', b'"e":"0', 1),)),
    }[change]
    result = victim.ingest_nowait([opening, changed])
    assert [refusal.is_sender_at_fault for refusal in result.refused] == [True]
    assert all(not state.collapsed for state in victim.index.chains())
    (state,) = (state for state in victim.index.chains() if state.info.chain == base.info.chain)
    assert state.head.seq == opening.last_seq


def test_a_base_waits_for_the_run_that_its_seal_continues_and_the_opening_is_never_one() -> None:
    whole, victim = replica(1, 2, 2, 2), replica(2, 1)
    state = next(whole.index.chains())
    first, *rest = (
        take_run_apart(DEFAULT_NAMESPACE, _wire_base(base_at(whole, state, row)), is_base=True)
        for row in state.runs[1:]
    )
    before = victim.index.fingerprint()
    result = victim.ingest_nowait([*rest, first])
    assert (result.refused, result.parked_runs) == ((), 2)
    assert victim.index.fingerprint() == before, "nobody has said whose chain it is"
    victim.ingest_nowait([take_run_apart(DEFAULT_NAMESPACE, _wire_of(whole, state.info, state.runs[0]))])
    assert victim.index.chain(state.info.chain).head[:2] == state.head[:2]  # type: ignore[union-attr]  # just taken in
    with pytest.raises(UnsealedBytes, match="never collapsed"):
        base_at(whole, state, state.runs[0])


def _wire_base(base: ChainBase) -> WireRun:
    return WireRun(base.info.public_key, base.info.nonce, base.seal.to_seq, base.previous_id, base.encode())


def _wire_of(made: MemoryReplica, info: ChainInfo, row: RunRow) -> WireRun:
    return WireRun(info.public_key, info.nonce, row.first_seq, row.first_previous_id, made.read_run(row))


def test_what_nobody_can_take_ends_as_diverged_and_not_in_a_loop() -> None:
    """A writer that names a fact which nobody ever sealed: its own replica believes it, no other does."""
    eve, ada = replica(1, 2), replica(2, 2)
    nowhere = AfterLink(ChainId(b"n" * 16), 7, b"x" * 16)
    eve.commit_linked("bad", nowhere)
    eve.commit_texts(["and more"])
    here, there = sync(eve, ada)
    assert here.final.outcome is there.final.outcome is Outcome.DIVERGED
    assert not here.final.is_success
    assert here.final.rounds <= 5
    friend = replica(3, 1)
    sync(ada, friend)
    check_equal(ada, friend)


def test_a_live_link_over_a_fork_exchanges_both_stories_as_they_grow() -> None:
    story, other_story = forked_pair()
    here, there = Side(story, 1, is_live=True), Side(other_story, 2, is_live=True)
    converse(here, there)
    assert here.session.state is there.session.state is State.LIVE
    assert here.session.is_agreed
    story.commit_texts(["in another context"], namespace=OTHER)
    converse(here, there)
    check_equal(story, other_story)


def test_rechecks_without_end_are_bounded() -> None:
    eve, ada = replica(1, 2), replica(2, 2)
    eve.commit_linked("bad", AfterLink(ChainId(b"n" * 16), 7, b"x" * 16))
    here, there = Side(eve, 1, is_live=True), Side(ada, 2, is_live=True)
    for _ in range(IDLE_ROUNDS_MAX + 2):
        converse(here, there)
        here.perform(here.session.recheck())
    converse(here, there)
    assert Outcome.VIOLATION in {here.final.outcome, there.final.outcome}


# --- hostile peers --------------------------------------------------------------------------------------------------


def hello(**options: object) -> Hello:
    return Hello(bytes(16), b"peer of the test", **options)  # type: ignore[arg-type]


def entry_of(made: MemoryReplica, *, seq: int | None = None) -> FrontierEntry:
    state = next(made.index.chains())
    return FrontierEntry(state.info.public_key, state.info.nonce, seq or state.head.seq, state.head.fact_id)


def wire_runs(made: MemoryReplica) -> list[WireRun]:
    return [
        WireRun(state.info.public_key, state.info.nonce, row.first_seq, row.first_previous_id, made.read_run(row))
        for state in made.index.chains()
        for row in state.runs
    ]


def tell(side: Side, *words: Message) -> Side:
    for word in words:
        side.hear(encode(word))
    return side


def pulling(victim: MemoryReplica, source: MemoryReplica) -> Side:
    """A side that has asked a hand-driven peer for all of *source*."""
    side = Side(victim, 1)
    root = source.index.root(DEFAULT_NAMESPACE)
    tell(
        side,
        hello(),
        Root(bytes(32), 1, 1),
        Roots(((DEFAULT_NAMESPACE, root),)),
        Frontier(DEFAULT_NAMESPACE, (entry_of(source),)),
    )
    assert isinstance(side.said[-1], Need)
    return side


def check_closed(side: Side, code: ErrorCode, reason: str, *, outcome: Outcome = Outcome.VIOLATION) -> None:
    last = side.said[-1]
    assert isinstance(last, Error)
    assert last.code is code
    assert reason in last.text
    assert side.final.outcome is outcome
    assert side.session.state is State.CLOSED
    assert side.session.receive(Root(bytes(32), 0, 0)) == []


def test_every_flipped_bit_is_refused() -> None:
    source = replica(2, 3)
    (run,) = wire_runs(source)
    for at in range(0, len(run.data) * 8, 7):
        victim = MemoryReplica(seed=1)
        side = pulling(victim, source)
        data = bytearray(run.data)
        data[at // 8] ^= 1 << at % 8
        tell(side, Facts(DEFAULT_NAMESPACE, (run._replace(data=bytes(data)),)))
        while side.waiting:
            side.ingest()
        assert victim.index.fact_count == 0
        assert side.session.statistics().refusals == 1


def test_good_runs_beside_a_bad_one_are_let_in() -> None:
    source, other = replica(2, 3), replica(3, 2)
    sync(source, other)
    victim = MemoryReplica(seed=1)
    side = Side(victim, 1)
    tell(
        side,
        hello(),
        Root(bytes(32), 1, 1),
        Roots(((DEFAULT_NAMESPACE, source.index.root(DEFAULT_NAMESPACE)),)),
        Frontier(
            DEFAULT_NAMESPACE,
            tuple(
                FrontierEntry(state.info.public_key, state.info.nonce, state.head.seq, state.head.fact_id)
                for state in source.index.chains()
            ),
        ),
    )
    good, bad = wire_runs(source)
    tell(side, Facts(DEFAULT_NAMESPACE, (bad._replace(data=bad.data.replace(b"test.", b"tost.")), good)))
    while side.waiting:
        side.ingest()
    assert victim.index.fact_count == good.data.count(b"\n") - 1
    assert side.session.statistics().refusals == 1


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
def test_a_word_out_of_order_ends_the_session(state: State) -> None:
    words: dict[type[Message], Message] = {
        Hello: hello(),
        Root: Root(bytes(32), 0, 0),
        Roots: Roots(()),
        Frontier: Frontier(DEFAULT_NAMESPACE, ()),
        Need: Need(()),
        Facts: Facts(DEFAULT_NAMESPACE, tuple(wire_runs(replica(2, 1)))),
        Done: Done(bytes(32)),
        Acks: Acks(bytes(16), 1, ()),
        Busy: Busy(1),
        Error: Error(ErrorCode.GARBAGE, ""),
    }
    for kind in words.keys() - TRANSITIONS[state]:
        side = at_state(state)
        tell(side, words[kind])
        check_closed(side, ErrorCode.UNEXPECTED, kind.__name__)


def at_state(state: State) -> Side:
    source = replica(2, 3)
    side = Side(replica(1, 1), 1, is_live=True)
    root = side.replica.index.fingerprint() if state is State.LIVE else "00" * 32
    script: list[Message] = [
        hello(is_live=True),
        Root(bytes.fromhex(root), 1, 1),
        Roots(((DEFAULT_NAMESPACE, source.index.root(DEFAULT_NAMESPACE)),)),
        Frontier(DEFAULT_NAMESPACE, (entry_of(source),)),
    ]
    count = [State.GREETING, State.COMPARING, State.NAMING, State.EXPLORING, State.PULLING].index(
        State.NAMING if state is State.LIVE else state
    )
    tell(side, *script[:count])
    assert side.session.state is state
    return side


def test_facts_that_nobody_asked_for_are_refused() -> None:
    victim = replica(1, 1)
    side = Side(victim, 1)
    tell(side, hello(), Facts(DEFAULT_NAMESPACE, tuple(wire_runs(replica(2, 3)))))
    assert not side.waiting
    assert "nobody asked" in side.session.final_report(at_end(side)).refused[0].reason


def test_facts_beyond_what_was_asked_for_are_refused() -> None:
    source = replica(2, 2, 2)
    victim = MemoryReplica(seed=1)
    side = Side(victim, 1)
    tell(
        side,
        hello(),
        Root(bytes(32), 1, 1),
        Roots(((DEFAULT_NAMESPACE, bytes(32)),)),
        Frontier(DEFAULT_NAMESPACE, (entry_of(source, seq=3),)),
        Facts(DEFAULT_NAMESPACE, tuple(wire_runs(source))),
    )
    while side.waiting:
        side.ingest()
    assert victim.index.fact_count == 3


def at_end(side: Side) -> SessionReport:
    side.perform(side.session.lose("the test ends it"))
    return side.final


def test_eight_refused_runs_close_the_session() -> None:
    side = Side(replica(1, 1), 1)
    tell(side, hello())
    for seed in range(2, 10):
        tell(side, Facts(DEFAULT_NAMESPACE, tuple(wire_runs(replica(seed, 1)))))
    check_closed(side, ErrorCode.OVERSPENT, "8 runs were refused")
    assert len(side.final.refused) == 8


def test_facts_faster_than_they_can_be_ingested_close_the_session() -> None:
    source = MemoryReplica(seed=2)
    while source.index.fact_count < 200:
        source.commit_texts(["x" * 60_000] * 4)
    side = pulling(MemoryReplica(seed=1), source)
    for run in wire_runs(source):
        if side.session.state is not State.CLOSED:
            tell(side, Facts(DEFAULT_NAMESPACE, (run,)))
    check_closed(side, ErrorCode.OVERSPENT, "before any was ingested")


def test_asking_for_a_chain_while_it_is_sent_is_overspending() -> None:
    made = replica(1, 3)
    side = SyncSession(made.index, journal_id=bytes(16), nonce=bytes(16))
    side.start()
    side.receive(hello())
    chain = next(made.index.chains()).info.chain
    need = Need((NeedRange(chain, 1, 3),))
    action, served = side.receive(need)
    assert served == Send(Served())
    assert isinstance(action, ReadAndSend)
    answer = side.receive(need)
    assert isinstance(answer[0], Send)
    assert isinstance(answer[0].message, Error)


def test_asking_again_after_it_was_sent_is_served() -> None:
    made = replica(1, 3)
    side = Side(made, 1)
    need = Need((NeedRange(next(made.index.chains()).info.chain, 1, 3),))
    tell(side, hello(), need, need)
    assert side.count(Facts) == 2


def test_asking_for_an_unknown_chain_gives_nothing() -> None:
    side = Side(replica(1, 3), 1)
    tell(side, hello(), Need((NeedRange(ChainId(bytes(16)), 1, 3),)))
    assert side.count(Facts) == 0
    assert side.report is None


def test_more_ranges_than_granted_close_the_session() -> None:
    made = replica(1, 3)
    session = SyncSession(made.index, journal_id=bytes(16), nonce=bytes(16), limits=Limits(range_count=2))
    session.start()
    session.receive(hello())
    ranges = tuple(NeedRange(ChainId(bytes((one,)) * 16), 1, 1) for one in range(3))
    answer = session.receive(Need(ranges, is_last=False))
    assert isinstance(answer[-1], Finish)
    assert answer[-1].report.outcome is Outcome.VIOLATION


def test_a_peer_that_grants_few_ranges_is_asked_over_several_rounds() -> None:
    ada, bob = MemoryReplica(seed=1), MemoryReplica(seed=2)
    for seed in range(3, 8):
        sync(ada, replica(seed, 1))
    here, there = Side(ada, 1), Side(bob, 2)

    def grant_two(frame: bytes) -> list[bytes]:
        word = decode(frame)
        return [encode(replace(word, limits=Limits(range_count=2))) if isinstance(word, Hello) else frame]

    converse(here, there, meddle=grant_two)
    assert there.final.is_success
    check_equal(ada, bob)


@pytest.mark.parametrize(
    ("word", "code", "reason"),
    [
        (Hello(bytes(16), bytes(16), protocol=9), ErrorCode.UNSUPPORTED, "protocol 9"),
        (Hello(bytes(16), (1).to_bytes(16, "big")), ErrorCode.REFLECTED, "my own HELLO"),
        (Hello(bytes(16), bytes(16), limits=Limits(frame_bytes=1_000)), ErrorCode.UNSUPPORTED, "limits"),
    ],
)
def test_a_greeting_that_cannot_be_met_is_answered_with_why(word: Hello, code: ErrorCode, reason: str) -> None:
    side = Side(replica(1, 1), 1)
    tell(side, word)
    check_closed(side, code, reason)


def test_garbage_is_answered_with_an_error() -> None:
    side = Side(replica(1, 1), 1)
    side.perform(side.session.fail(MalformedMessage("three bytes early")))
    check_closed(side, ErrorCode.GARBAGE, "three bytes early")


def test_silence_is_answered_with_an_error() -> None:
    side = Side(replica(1, 1), 1)
    side.perform(side.session.time_out(10))
    check_closed(side, ErrorCode.TIMEOUT, "10 s", outcome=Outcome.TIMED_OUT)


def test_local_trouble_is_not_told_in_detail() -> None:
    side = Side(replica(1, 1), 1)
    side.perform(side.session.abandon("the disk of ada is full"))
    check_closed(side, ErrorCode.LOCAL_TROUBLE, "cannot go on", outcome=Outcome.LOCAL_TROUBLE)
    assert "ada" not in str(side.said[-1])


def test_a_peers_error_text_cannot_move_the_cursor() -> None:
    side = Side(replica(1, 1), 1)
    tell(side, Error(ErrorCode.GARBAGE, "\x1b[2Jgone"))
    assert side.final.outcome is Outcome.REFUSED_BY_PEER
    assert side.final.reason.endswith("?[2Jgone")


def test_a_busy_peer_says_when_to_come_back() -> None:
    side = Side(replica(1, 1), 1)
    tell(side, Busy(250))
    assert (side.final.outcome, side.final.retry_after_ms) == (Outcome.BUSY, 250)


def test_a_recorded_session_that_is_replayed_harms_nothing() -> None:
    ada, bob, eve = replica(1, 3), replica(2, 3), replica(3, 1)
    _, there = sync(ada, bob)
    recorded = [encode(word) for word in there.said]
    victim = Side(eve, 7)
    for frame in recorded:
        victim.hear(frame)
        while victim.waiting:
            victim.ingest()
    assert {fact.fact_id for fact in eve.facts()} <= {
        *(fact.fact_id for fact in bob.facts()),
        *(fact.fact_id for fact in replica(3, 1).facts()),
    }
    for frame in recorded:
        victim.hear(frame)
    assert not victim.waiting


def test_a_root_that_does_not_follow_from_the_roots_ends_without_a_loop() -> None:
    made = replica(1, 2)
    side = Side(made, 1)
    lie = Root(bytes(32), 1, 1)
    truth = Roots(tuple(made.index.roots().items()))
    tell(side, hello(), lie, truth, lie)
    assert side.final.outcome is Outcome.DIVERGED
    assert "moved no fact" in side.final.reason


def test_a_frontier_of_a_namespace_that_was_not_named_ends_the_session() -> None:
    side = at_state(State.EXPLORING)
    tell(side, Frontier(OTHER, ()))
    check_closed(side, ErrorCode.UNEXPECTED, "FRONTIER")


def test_a_chain_under_another_namespace_is_another_chain() -> None:
    source = replica(2, 3)
    side = pulling(MemoryReplica(seed=1), source)
    tell(side, Facts(OTHER, tuple(wire_runs(source))))
    assert not side.waiting
    assert side.session.statistics().refusals == 1


def test_a_refusal_that_is_not_the_senders_fault_is_not_counted_against_it() -> None:
    source = replica(2, 3)
    side = pulling(MemoryReplica(seed=1), source)
    tell(side, Facts(DEFAULT_NAMESPACE, tuple(wire_runs(source))))
    runs = side.waiting.popleft().runs
    refusal = Refusal(runs[0].info.text, 1, "the writer broke a rule", False)
    side.perform(side.session.ingested(runs, IngestResult(0, 0, 0, (refusal,))))
    assert side.session.statistics().refusals == 0
    assert side.session.state is State.COMPARING


def test_a_chain_that_was_set_aside_is_asked_for_again_in_a_later_round() -> None:
    ada, bob = replica(1, 1), replica(2, 1)
    here, there = live_pair(ada, bob)
    ada.commit_texts(["not now"])
    there.hear(here.outbox.popleft())
    runs = there.waiting.popleft().runs
    refusal = Refusal(runs[0].info.text, runs[0].first_seq, "this journal is writing that chain", False)
    there.perform(there.session.ingested(runs, IngestResult(0, 0, 0, (refusal,))))
    ada.commit_texts(["nor this"])
    converse(here, there)
    assert not there.session.is_agreed
    assert not there.waiting
    there.perform(there.session.recheck())
    converse(here, there)
    ada.commit_texts(["but this"])
    converse(here, there)
    check_equal(ada, bob)
    assert there.session.is_agreed


def test_repeating_known_facts_without_end_closes_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KNOWN_FACTS_MAX", 20)
    made = replica(1, 3)
    side = Side(made, 1)
    tell(side, hello(), *[Facts(DEFAULT_NAMESPACE, tuple(wire_runs(made)))] * 5)
    assert side.report is None
    tell(side, Facts(DEFAULT_NAMESPACE, tuple(wire_runs(made))))
    check_closed(side, ErrorCode.OVERSPENT, "known here")


def test_a_frontier_without_end_closes_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CHAINS_MAX", 4)
    side = at_state(State.EXPLORING)
    entries = tuple(FrontierEntry(bytes((one,)) * 32, bytes(16), 1, bytes(32)) for one in range(5))
    tell(side, Frontier(DEFAULT_NAMESPACE, entries, is_last=False))
    check_closed(side, ErrorCode.OVERSPENT, "more than 4 chains")


def test_namespaces_without_end_close_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "NAMESPACES_MAX", 4)
    side = at_state(State.NAMING)
    tell(side, Roots(tuple((Namespace(f"n{one}"), bytes(32)) for one in range(5)), is_last=False))
    check_closed(side, ErrorCode.OVERSPENT, "more than 4 namespaces")


@given(st.lists(st.binary(max_size=80), max_size=12), st.integers(0, 9))
def test_no_bytes_whatever_break_a_session(frames: list[bytes], kind: int) -> None:
    made = replica(1, 2)
    before = made.index.fingerprint()
    side = Side(made, 1, is_live=True)
    tell(side, hello(is_live=True))
    for noise in frames:
        try:
            message = decode(bytes((1, kind)) + noise)
        except MessageViolation as problem:
            side.perform(side.session.fail(problem))
        else:
            side.perform(side.session.receive(message))
    assert made.index.fingerprint() == before


def ack_of(*numbers: int, acknowledger: int = 7) -> Acks:
    return Acks(bytes([acknowledger]) * 16, 5, tuple(FactId(bytes([number]) * 32) for number in numbers))


def serving(facts: int) -> Side:
    """A side that has just sent so many facts to a live peer."""
    ada = replica(1, facts - 1)
    side = Side(ada, 1, is_live=True)
    state = next(iter(ada.index.chains()))
    tell(side, hello(is_live=True), Need((NeedRange(state.info.chain, 1, facts),)))
    assert side.session.statistics().sent == facts
    return side


def test_acknowledgements_of_what_was_sent_are_handed_on() -> None:
    side = serving(3)
    tell(side, ack_of(1, 2), ack_of(3))
    assert side.report is None
    assert side.replica.acks == [ack_of(1, 2), ack_of(3)]


def test_acknowledging_more_than_was_sent_ends_the_session() -> None:
    side = serving(3)
    tell(side, ack_of(1, 2, 3), ack_of(4))
    check_closed(side, ErrorCode.OVERSPENT, "4 facts acknowledged of 3")


def test_acknowledging_in_two_names_ends_the_session() -> None:
    side = serving(3)
    tell(side, ack_of(1), ack_of(2, acknowledger=8))
    check_closed(side, ErrorCode.UNEXPECTED, "two authorities")


def test_acknowledgements_go_out_before_the_root_that_could_end_the_session() -> None:
    source, ben = replica(1, 2), replica(2)
    there = pulling(ben, source)
    tell(there, Facts(DEFAULT_NAMESPACE, tuple(wire_runs(source))))
    runs = there.waiting.popleft().runs
    result = ben.ingest_nowait(runs)._replace(acks=(ack_of(1),))
    before = len(there.said)
    there.perform(there.session.ingested(runs, result))
    assert [type(word) for word in there.said[before:]] == [Acks, Root]


def test_a_reserved_session_says_nothing_of_itself_before_it_knows_the_peer() -> None:
    ada = replica(1, 2)
    session = SyncSession(ada.index, journal_id=bytes(16), nonce=b"1" * 16, is_reserved=True)
    assert [type(action.message) for action in session.start() if isinstance(action, Send)] == [Hello]
    heard = session.receive(Hello(b"2" * 16, b"2" * 16))
    assert [type(action.message) for action in heard if isinstance(action, Send)] == [Root]


# --- forks below what was collapsed ---------------------------------------------------------------------------------


def collapse_some(made: MemoryReplica, chain: ChainId, place: int) -> None:
    """Let *made* collapse its runs of *chain* up to *place*, as a replica does: not of a forked chain, nor causes."""
    state = made.index.chain(chain)
    if state is None or state.is_forked or state.has_hole:
        return
    left = []
    for row in sorted([*state.runs, *state.collapsed], key=lambda row: row.first_seq)[1 : place + 1]:
        if state.base_of(row) is None:
            if any(record.after for record in parse_run(state.info, row, made.read_run(row))):
                break
            left.append(base_at(made, state, row)._replace(is_own=True))
    made.index.take_bases(left)


def two_stories(place: int, *tails: int) -> list[MemoryReplica]:
    """One writer, rolled back to its run at *place*: a replica for each story, of that many runs behind it."""
    made = []
    for number, tail in enumerate(tails):
        story = replica(1, *[1] * (place + 1))
        for more in range(tail):
            story.commit_texts([f"story {number}, {more}"])
        made.append(story)
    return made


@pytest.mark.parametrize("tail", [1, 2, 7])
@pytest.mark.parametrize("holds_both", [True, False])
def test_a_fork_below_what_one_replica_collapsed_divides_nobody(tail: int, holds_both: bool) -> None:
    """The other story ends below the base, or beyond it; the collapsed middle is held by somebody, or by nobody.

    Before bases were kept run by run, both sides said ``diverged`` for ever, and no later fact of either passed."""
    first, second = two_stories(1, 4, tail)
    chain = next(first.index.chains()).info.chain
    xena, yann = replica(2, 1), replica(3, 1)
    sync(xena, first)
    collapse_some(xena, chain, 4)
    if holds_both:
        sync(yann, first)
    assert sync(yann, second)[0].final.is_success
    xena.commit_texts(["of xena"])
    yann.commit_texts(["of yann"])
    assert sync(xena, yann)[0].final.outcome is Outcome.AGREED
    assert xena.index.forked() == yann.index.forked() == {chain: 4}
    assert xena.index.fingerprint() == yann.index.fingerprint()
    xena.commit_texts(["later"])
    assert sync(yann, xena)[0].final.outcome is Outcome.AGREED
    others = [{fact.fact_id for fact in each.facts() if fact.chain.chain != chain} for each in (xena, yann)]
    assert others[0] == others[1]
    told = [
        {fact.line for fact in each.facts() if fact.chain.chain == chain and fact.seq > 3 and b"story 1" in fact.line}
        for each in (xena, yann)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == tail
    assert xena.proofs.keys() | yann.proofs.keys() == {chain}


def test_bases_are_pushed_to_whoever_is_linked() -> None:
    """Found by the simulator: they were not, and whoever was linked only through others never heard of them."""
    whole, middle, end = replica(1, 2, 2, 2, 2), replica(2, 1), replica(3, 1)
    collapsed = collapse(whole, 2)
    here, there = Side(middle, 1, is_live=True), Side(end, 2, is_live=True)
    converse(here, there)
    converse(Side(collapsed, 3), Side(middle, 4))
    converse(here, there)
    assert middle.index.fingerprint() == collapsed.index.fingerprint()
    assert end.index.fingerprint() == middle.index.fingerprint()
    assert [len(state.collapsed) for state in end.index.chains() if state.collapsed] == [2]


def test_what_is_named_below_a_base_must_be_what_was_sealed_there() -> None:
    """A writer that names a fact nobody sealed is judged alike by who collapsed that chain and who did not."""
    ada, eve = replica(1, 1, 1, 1, 1), replica(2, 1)
    chain = next(ada.index.chains()).info.chain
    xena, yann = replica(3, 1), replica(4, 1)
    for each in (eve, xena, yann):
        sync(each, ada)
    collapse_some(xena, chain, 3)
    sync(xena, yann)
    eve.commit_linked("bad", AfterLink(chain, 3, b"x" * 16))
    for each in (xena, yann):
        assert sync(eve, each)[0].final.outcome is Outcome.DIVERGED
    assert sync(xena, yann)[0].final.outcome is Outcome.AGREED


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whoever_collapses_forks_and_meets_in_whatever_order_all_agree_in_the_end(data: st.DataObject) -> None:
    stories = two_stories(data.draw(st.integers(0, 3)), *data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=3)))
    chain = next(stories[0].index.chains()).info.chain
    others = [replica(number, 1) for number in (5, 6, 7)]
    everybody = [*stories, *others]
    step = st.one_of(
        st.tuples(st.just("meet"), st.integers(0, 5), st.integers(0, 5)),
        st.tuples(st.just("collapse"), st.integers(0, 5), st.integers(1, 6)),
        st.tuples(st.just("say"), st.integers(0, 5), st.just(0)),
    )
    for word, one, other in data.draw(st.lists(step, max_size=14)):
        who = everybody[one % len(everybody)]
        if word == "meet" and other % len(everybody) != one % len(everybody):
            sync(who, everybody[other % len(everybody)], seed=one)
        elif word == "collapse":
            collapse_some(who, chain, other)
        elif word == "say":
            who.commit_texts(["more"])
    owed = {
        (row.first_previous_id, row.last_id)
        for each in everybody
        for state in each.index.chains()
        for row in (*state.runs, *state.collapsed)
    }
    hub, *rest = everybody
    for _ in range(2):
        for each in rest:
            assert sync(hub, each)[0].final.outcome is Outcome.AGREED
    assert len({each.index.fingerprint() for each in everybody}) == 1
    for each in everybody:
        assert each.index.holes() == []
        assert each.index.forked() == hub.index.forked()
        assert owed <= {
            (row.first_previous_id, row.last_id)
            for state in each.index.chains()
            for row in (*state.runs, *state.collapsed)
        }
