"""Ingest: membership by bytes alone, in any order, without ever stopping or changing its mind."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import AfterLink, ChainId, ErasedFact, FactId, FactsErased
from antiphon.journal import Draft, JournalIndex
from antiphon.journal.erasure import ErasureBook
from antiphon.journal.ingest import Ingest
from antiphon.journal.parking import PARKED_BYTES_MAX, PARKED_BYTES_TOTAL_MAX, PARKED_FACTS_MAX, Parking
from antiphon.journal.sync.messages import IncomingRun, IngestResult
from antiphon.testing.records import ChainWriter


def said(text: str, *after: AfterLink) -> Draft:
    return Draft("test.said", 1, b'{"text":"%b"}' % text.encode(), None, tuple(after))


class Replica:
    """An index that grows by what it is sent, as an engine's does."""

    def __init__(self) -> None:
        self.bytes: dict[int, bytes] = {}
        self.index = JournalIndex(lambda row: self.bytes[row.offset])
        self.parked = Parking()
        self.new: list[FactId] = []

    def take(self, *runs: IncomingRun, peer: str = "") -> IngestResult:
        ingest = Ingest(self.index, self.parked, peer=peer)
        result = ingest.take(runs)
        for run in ingest.runs:
            last, offset = run.records[-1], len(self.bytes)
            self.bytes[offset] = run.text
            self.index.introduce(last.chain)
            repeated = self.index.admit(run.row(file_number=1, offset=offset), hlc=last.hlc, records=run.records)
            assert repeated == run.repeated
            self.new.extend(record.fact_id for record in run.new_records)
        assert result.admitted_facts == sum(len(run.new_records) for run in ingest.runs)
        assert len(self.new) == len(set(self.new)) == self.index.fact_count
        return result


def test_a_run_is_admitted_once_and_known_ever_after() -> None:
    replica, run = Replica(), ChainWriter("ada").say(said("a"))
    assert replica.take(run) == IngestResult(2, 0, 0)
    assert replica.take(run) == IngestResult(0, 2, 0)
    assert Replica().take(run, run) == IngestResult(2, 2, 0)


def test_runs_of_one_chain_follow_each_other_within_a_batch() -> None:
    ada = ChainWriter("ada")
    runs = [ada.say(said(str(number))) for number in range(5)]
    replica = Replica()
    assert replica.take(*runs) == IngestResult(6, 0, 0)
    assert replica.index.head_of(ada.chain.info.chain) == ada.head


def test_what_leaves_a_gap_waits_and_follows_what_fills_it() -> None:
    ada = ChainWriter("ada")
    first, second, third = ada.say(said("a")), ada.say(said("b")), ada.say(said("c"))
    replica = Replica()
    assert replica.take(third, second) == IngestResult(0, 0, 2)
    assert replica.take(first) == IngestResult(4, 0, 0)


def test_what_nobody_sealed_does_not_wait() -> None:
    ada = ChainWriter("ada")
    ada.say(said("a"))
    bad = ada.say(said("b"))._replace(seal_line=ChainWriter("eve").say(said("b")).seal_line)
    replica = Replica()
    (refusal,) = replica.take(bad).refused
    assert refusal.is_sender_at_fault
    assert not len(replica.parked)


def test_both_branches_of_a_fork_become_members_in_any_order() -> None:
    ada, twin = ChainWriter("ada"), ChainWriter("ada")
    common = ada.say(said("common"))
    twin.say(said("common"))
    runs = [common, ada.say(said("one")), ada.say(said("more")), twin.say(said("other")), twin.say(said("again"))]
    roots = set()
    for order in permutations(runs):
        replica = Replica()
        for run in order:
            replica.take(run)
        state = next(replica.index.chains())
        assert {head.fact_id for head in state.heads.values()} == {ada.head.fact_id, twin.head.fact_id}
        roots.add(replica.index.fingerprint())
        together = Replica()
        together.take(*order)
        roots.add(together.index.fingerprint())
        assert set(replica.new) == set(together.new)
    assert len(roots) == 1


def test_facts_that_a_writer_sealed_twice_count_once() -> None:
    eve = ChainWriter("eve")
    first = eve.say(said("a"))
    start = eve.head
    second, third = eve.say(said("b")), eve.say(said("c"))
    whole = eve.seal_lines([*second.lines, *third.lines], start=start)
    counts = set()
    for order in permutations([first, second, third, whole]):
        replica = Replica()
        for run in order:
            replica.take(run)
        counts.add(
            (replica.index.fact_count, replica.index.fingerprint(), replica.index.chain(eve.chain.info.chain).fork_seq)
        )  # type: ignore[union-attr]
    assert len(counts) == 1
    assert counts.pop()[0] == 4


def test_a_branch_whose_clock_stands_is_refused_wherever_it_forks() -> None:
    """The clock of the fact before is read back when it is not a head any more."""
    eve = ChainWriter("eve")
    runs = [eve.say(said("a"))]
    start = eve.head
    line = eve.line(hlc=start.hlc)
    stale = eve.seal_lines([line], start=start)
    runs += [eve.say(said("b")), eve.say(said("c"))]
    replica = Replica()
    replica.take(*runs)
    (refusal,) = replica.take(stale).refused
    assert "clock" in refusal.reason
    assert not refusal.is_sender_at_fault


def test_a_link_to_another_id_is_never_admitted_and_ends_the_chain_for_everyone() -> None:
    ada, eve = ChainWriter("ada"), ChainWriter("eve")
    past = ada.say(said("a"))
    wrong = eve.say(said("b", ada.link._replace(short_id=b"x" * 16)))
    more = eve.say(said("c"))
    for order in permutations([past, wrong, more]):
        replica = Replica()
        for run in order:
            replica.take(run)
        assert replica.index.fact_count == 2
        assert len(replica.parked) == 2


def test_a_fact_waits_for_its_causal_past_and_follows_it() -> None:
    ada, ben = ChainWriter("ada"), ChainWriter("ben")
    past = ada.say(said("a"))
    waiting = ben.say(said("b", ada.link))
    replica = Replica()
    assert replica.take(waiting) == IngestResult(0, 0, 1)
    assert replica.take(waiting).parked_runs == 1, "waiting twice is waiting once"
    assert replica.index.fact_count == 0
    assert replica.take(past) == IngestResult(4, 0, 0)


def test_a_chain_of_waiting_runs_comes_in_whole() -> None:
    writers = [ChainWriter(f"writer{number}") for number in range(10)]
    runs = [writers[0].say(said("0"))]
    for before, writer in pairwise(writers):
        runs.append(writer.say(said(writer.name, before.link)))
    replica = Replica()
    assert replica.take(*reversed(runs)).admitted_facts == 20
    assert not len(replica.parked)


NOBODY = AfterLink(ChainId(b"n" * 16), 1, bytes(16))


def waiting_runs(count: int) -> list[IncomingRun]:
    return [ChainWriter(f"eve{number}").say(said("a", NOBODY)) for number in range(count)]


def test_what_one_peer_lets_wait_is_bounded_and_its_oldest_goes() -> None:
    replica = Replica()
    friend = ChainWriter("ben").say(said("a", NOBODY))
    replica.take(friend, peer="friend")
    parking, runs = replica.parked, waiting_runs(60)
    for run in runs:
        # As if each held more facts than it does: what is counted is lines.
        parking.park(
            run._replace(lines=run.lines * 100), run.lines[-1][-32:] + run.first_previous_id, "eve", (b"", b"x")
        )
    kept = [each.run.info.chain for each in parking if each.peer == "eve"]
    assert len(kept) == PARKED_FACTS_MAX // 200
    assert kept == [run.info.chain for run in runs[-len(kept) :]]
    assert parking.dropped_runs == 60 - len(kept)
    assert next(iter(parking)).peer == "friend", "a flood drops its own"


def test_bytes_that_wait_are_bounded_for_one_peer_and_for_all() -> None:
    parking = Parking()
    (run,) = waiting_runs(1)
    large = run._replace(lines=(b"x" * (PARKED_BYTES_MAX // 4),))
    for number in range(100):
        parking.park(large, bytes([number]), f"peer{number // 10}", (b"", b"x"))
    assert parking.size <= PARKED_BYTES_TOTAL_MAX
    assert all(sum(each.run.size for each in parking if each.peer == f"peer{n}") <= PARKED_BYTES_MAX for n in range(10))


def test_what_was_dropped_comes_in_when_it_is_sent_again() -> None:
    replica = Replica()
    ada, ben = ChainWriter("ada"), ChainWriter("ben")
    past = ada.say(said("a"))
    waiting = ben.say(said("b", ada.link))
    replica.take(waiting)
    replica.parked = Parking()
    replica.take(past)
    assert replica.take(waiting).admitted_facts == 2


@pytest.mark.parametrize(
    "change",
    [
        {"lines": ()},
        {"lines": (b"",)},
        {"lines": (b"garbage",)},
        {"seal_line": b""},
        {"seal_line": b"{}"},
        {"first_seq": 0},
        {"first_seq": -1},
        {"first_seq": 2**63},
        {"first_previous_id": b"short"},
        {"first_previous_id": b"x" * 32},
        {"info": ChainWriter("ben").chain.info},
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_whatever_a_peer_sends_is_refused_with_a_reason_and_harms_nothing(
    change: dict[str, object], *, is_known: bool
) -> None:
    ada = ChainWriter("ada")
    run = ada.say(said("a"))
    replica = Replica()
    if is_known:
        replica.take(run)
    before = replica.index.fingerprint()
    bad = run._replace(**change)  # type: ignore[arg-type]
    result = replica.take(bad)
    assert result.admitted_facts == 0
    assert result.refused or result.known_facts
    assert replica.index.fingerprint() == before
    assert replica.take(run, ada.say(said("b"))).refused == ()


def test_a_bad_run_does_not_stop_the_batch() -> None:
    ada, ben, eve = ChainWriter("ada"), ChainWriter("ben"), ChainWriter("eve")
    bad = eve.say(said("x"))._replace(seal_line=b"nonsense")
    replica = Replica()
    result = replica.take(ada.say(said("a")), bad, ben.say(said("b")))
    assert result.admitted_facts == 4
    assert [refusal.is_sender_at_fault for refusal in result.refused] == [True]


def test_a_rule_broken_under_the_writers_seal_ends_the_chain_there_and_blames_no_sender() -> None:
    eve = ChainWriter("eve")
    replica = Replica()
    replica.take(eve.say(said("honest")))
    (refusal,) = replica.take(eve.seal_lines([eve.line(hlc=1)])).refused
    assert not refusal.is_sender_at_fault
    assert "clock" in refusal.reason


def test_a_chain_that_this_journal_is_writing_is_left_alone() -> None:
    ada = ChainWriter("ada")
    run = ada.say(said("a"))
    ingest = Ingest(JournalIndex(), Parking(), [run.info.chain])
    (refusal,) = ingest.take([run]).refused
    assert not refusal.is_sender_at_fault
    assert not ingest.runs


def test_a_link_to_the_chain_itself_neither_waits_nor_harms() -> None:
    eve = ChainWriter("eve")
    replica = Replica()
    replica.take(eve.say(said("a")))
    link = AfterLink(eve.chain.info.chain, 2**62, bytes(16))
    assert replica.take(eve.say(said("b", link))).parked_runs == 0


CAST = [ChainWriter("ada"), ChainWriter("ben"), ChainWriter("eve")]
STORY = [
    CAST[0].say(said("0")),
    CAST[1].say(said("1", CAST[0].link)),
    CAST[0].say(said("2")),
    CAST[2].say(said("3", CAST[1].link)),
    CAST[0].say(said("4", CAST[2].link)),
]


def test_every_order_of_delivery_gives_one_root() -> None:
    roots = set()
    for order in permutations(STORY):
        replica = Replica()
        for run in order:
            replica.take(run)
        assert not len(replica.parked)
        roots.add(replica.index.fingerprint())
    assert len(roots) == 1


@given(st.lists(st.integers(min_value=0, max_value=4), max_size=30), st.integers(min_value=1, max_value=5))
def test_any_deliveries_lost_doubled_or_reordered_end_in_one_root_once_all_is_sent(order: list[int], size: int) -> None:
    replica, reference = Replica(), Replica()
    reference.take(*STORY)
    for start in range(0, len(order), size):
        replica.take(*(STORY[at] for at in order[start : start + size]))
    replica.take(*STORY)
    assert replica.index.fingerprint() == reference.index.fingerprint()
    assert replica.index.fact_count == reference.index.fact_count == 8


def test_what_is_erased_while_a_batch_is_decided_never_comes_in() -> None:
    ada = ChainWriter("ada")
    run = ada.say(said("kept"), said("swordfish"), said("kept too"))
    book = ErasureBook(lambda by, target, record: True)
    ingest = Ingest(JournalIndex(), Parking(), erasures=book)
    ingest.take([run])
    secret = next(record for record in ingest.runs[0].records if b"swordfish" in record.line)
    named = ErasedFact(chain=secret.chain.text, fact_id=secret.fact_id.hex(), kind=secret.kind, seq=secret.seq)
    book.take(secret, FactsErased(facts=(named,), namespace=secret.chain.namespace))
    before = ingest.runs[0]
    ingest.erase()
    (after,) = ingest.runs
    assert b"swordfish" not in after.text
    assert b"kept too" in after.text
    assert [record.payload is None for record in after.records] == [False, False, True, False]
    assert (after.entries, after.seal) == (before.entries, before.seal), "ids and seal stay"
    assert after.text.splitlines()[-1] == run.seal_line
    ingest.erase()
    assert ingest.runs == [after], "once more changes nothing"
