"""Ingest: membership by bytes alone, in any order, without ever stopping or changing its mind."""

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import AfterLink, ChainId
from antiphon.journal import Draft, JournalIndex
from antiphon.journal.ingest import PARKED_RUNS_MAX, Ingest, ParkedRun
from antiphon.journal.sync.messages import IncomingRun, IngestResult
from antiphon.testing.records import ChainWriter


def said(text: str, *after: AfterLink) -> Draft:
    return Draft("test.said", 1, b'{"text":"%b"}' % text.encode(), None, tuple(after))


class Replica:
    """An index that grows by what it is sent, as an engine's does."""

    def __init__(self) -> None:
        self.index = JournalIndex()
        self.parked: dict[tuple[ChainId, int], ParkedRun] = {}

    def take(self, *runs: IncomingRun) -> IngestResult:
        ingest = Ingest(self.index, self.parked)
        result = ingest.take(runs)
        for run in ingest.runs:
            last = run.records[-1]
            self.index.introduce(last.chain)
            self.index.admit(run.row(file_number=1, offset=0), hlc=last.hlc, records=run.records)
        assert result.admitted_facts == sum(len(run.records) for run in ingest.runs)
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


def test_a_gap_is_refused_without_blame_and_heals_when_sent_in_order() -> None:
    ada = ChainWriter("ada")
    first, second = ada.say(said("a")), ada.say(said("b"))
    replica = Replica()
    (refusal,) = replica.take(second).refused
    assert not refusal.is_sender_at_fault
    assert "send from the head" in refusal.reason
    assert replica.take(first, second).admitted_facts == 3


def test_a_fork_is_refused_without_blame_and_the_held_branch_stays() -> None:
    ada, twin = ChainWriter("ada"), ChainWriter("ada")
    common = ada.say(said("common"))
    twin.say(said("common"))
    one, other = ada.say(said("one")), twin.say(said("other"))
    replica = Replica()
    replica.take(common, one)
    head = replica.index.head_of(ada.chain.info.chain)
    for run in (other, twin.say(said("more"))):
        (refusal,) = replica.take(run).refused
        assert not refusal.is_sender_at_fault
        assert "fork" in refusal.reason or "missing" in refusal.reason
    assert replica.index.head_of(ada.chain.info.chain) == head


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
    assert not replica.parked


def test_waiting_runs_are_bounded_and_the_oldest_goes() -> None:
    replica = Replica()
    nobody = AfterLink(ChainId(b"n" * 16), 1, bytes(16))
    runs = [ChainWriter(f"eve{number}").say(said("a", nobody)) for number in range(PARKED_RUNS_MAX + 10)]
    for run in runs:
        replica.take(run)
    assert len(replica.parked) == PARKED_RUNS_MAX
    assert (runs[0].info.chain, 1) not in replica.parked
    assert (runs[-1].info.chain, 1) in replica.parked


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
    ingest = Ingest(JournalIndex(), {}, [run.info.chain])
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


def test_every_order_of_delivery_that_keeps_chains_in_order_gives_one_root() -> None:
    roots = set()
    for order in permutations(range(len(STORY))):
        if order.index(0) < order.index(2) < order.index(4):
            replica = Replica()
            for at in order:
                replica.take(STORY[at])
            replica.take(STORY[2], STORY[4])  # what had waited behind a parked run is sent again
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
