"""Sealing: what a window becomes, whatever the clock does."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import AfterLink, ChainId, hlc_ms
from antiphon.facts.encoding import AFTER_COUNT_MAX, build_header, build_line, is_canonical, parse_line, salt_text
from antiphon.journal import CHAIN_START, Draft, Head, JournalIndex, OwnChain, seal_run, verify_run, with_links
from antiphon.testing.records import ChainWriter

drafts = st.lists(
    st.builds(
        Draft,
        st.sampled_from(["test.said", "test.other"]),
        st.integers(min_value=1, max_value=3),
        st.sampled_from([b"{}", b'{"text":"a"}']),
        st.none() | st.integers(min_value=-(2**63), max_value=2**63 - 1),
        st.just(()),
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(st.tuples(drafts, st.integers(min_value=-(10**12), max_value=10**13)), min_size=1, max_size=8))
def test_whatever_the_wall_says_a_chain_verifies_and_its_clock_rises(windows: list[tuple[list[Draft], int]]) -> None:
    writer = ChainWriter("ada")
    head, hlcs = CHAIN_START, []
    for window, wall_ms in windows:
        run = writer.say(*window, wall_ms=wall_ms)
        verified = verify_run(run.info, head, run.lines, run.seal_line)
        head = verified.head
        hlcs += [record.hlc for record in verified.records]
        assert head == writer.head
    assert all(earlier < later for earlier, later in pairwise(hlcs))


@given(drafts, st.integers(min_value=0, max_value=10**13))
def test_the_fast_path_writes_the_very_bytes_of_the_plain_one(window: list[Draft], wall_ms: int) -> None:
    writer = ChainWriter("ada")
    writer.say()
    start, draws = writer.head, writer._draws
    run = writer.seal(*window, wall_ms=wall_ms)
    writer._draws = draws
    salts = writer.randomness(16 * len(window))
    for at, (record, draft) in enumerate(zip(run.records, window, strict=True)):
        header = build_header(
            chain_text=writer.chain.info.text,
            kind=draft.kind,
            version=draft.version,
            seq=start.seq + 1 + at,
            hlc=record.hlc,
            at=hlc_ms(run.records[0].hlc) if draft.at is None else draft.at,
        )
        line = build_line(header, draft.payload, salt_text(salts[16 * at : 16 * at + 16]))
        assert record.line == line
        parsed = parse_line(line)
        assert (record.payload, record.salt) == (draft.payload, salt_text(salts[16 * at : 16 * at + 16]))
        assert (parsed.header.at, parsed.header.hlc, parsed.header.seq) == (record.at, record.hlc, record.seq)
        assert is_canonical(header)


def test_the_clock_follows_the_wall_its_own_past_and_what_was_received() -> None:
    def first_hlc(*, last: int, wall_ms: int, floor: int) -> int:
        writer = ChainWriter("ada")
        chain = OwnChain(writer.chain.info, Head(5, CHAIN_START.fact_id, last))
        draft = Draft("test.said", 1, b"{}", None)
        run = seal_run(chain, [draft], wall_ms=wall_ms, hlc_floor=floor, randomness=bytes(16), signer=writer.writer)
        return run.records[0].hlc

    assert first_hlc(last=0, wall_ms=9, floor=0) == 9 << 16
    assert first_hlc(last=10 << 16, wall_ms=9, floor=0) == (10 << 16) + 1
    assert first_hlc(last=0, wall_ms=9, floor=(11 << 16) + 7) == (11 << 16) + 7


def make_links(count: int) -> tuple[AfterLink, ...]:
    return tuple(AfterLink(ChainId(number.to_bytes(16, "big")), number + 1, bytes(16)) for number in range(count))


@pytest.mark.parametrize("count", [0, 1, 64, 65, 128, 200])
def test_links_go_into_the_first_fact_and_what_is_too_much_into_merges_before_it(count: int) -> None:
    window = [Draft("test.said", 1, b"{}", None), Draft("test.said", 1, b"{}", None)]
    links = make_links(count)
    whole = with_links(window, links)
    assert [draft._replace(after=()) for draft in whole[-2:]] == window
    assert whole[-1].after == ()
    assert tuple(link for draft in whole for link in draft.after) == links
    assert all(len(draft.after) <= AFTER_COUNT_MAX for draft in whole)
    assert all(draft.kind == "journal.merge" for draft in whole[:-2])
    writer = ChainWriter("ada")
    run = writer.say(*whole)
    verify_run(run.info, CHAIN_START, run.lines, run.seal_line)


def indexed(*writers: ChainWriter) -> JournalIndex:
    """An index that holds everything the writers have said; each run is sealed here."""
    index = JournalIndex()
    for writer in writers:
        index.introduce(writer.chain.info)
    return index


def say(index: JournalIndex, writer: ChainWriter, *after: AfterLink) -> None:
    run = writer.seal(Draft("test.said", 1, b"{}", None, tuple(sorted(after))))
    last = run.records[-1]
    index.admit(run.row(file_number=1, offset=0), hlc=last.hlc, records=run.records)


def test_only_maximal_heads_that_were_not_named_yet_are_named() -> None:
    ada, ben, eve = ChainWriter("ada"), ChainWriter("ben"), ChainWriter("eve")
    index = indexed(ben, eve)
    own = OwnChain(ada.chain.info)
    assert own.uncovered(index) == ()
    say(index, ben)
    say(index, eve, ben.link)
    own.fresh = {ben.chain.info.chain, eve.chain.info.chain}
    assert own.uncovered(index) == (eve.link,), "eve has named ben"
    own.cover([eve.link])
    assert own.uncovered(index) == ()
    say(index, ben)
    own.fresh.add(ben.chain.info.chain)
    assert own.uncovered(index) == (ben.link,), "ben has gone on since"
    say(index, eve)
    own.fresh.add(eve.chain.info.chain)
    assert own.uncovered(index) == tuple(sorted((ben.link, eve.link)))


def test_a_chain_without_facts_is_not_named() -> None:
    ada, ben = ChainWriter("ada"), ChainWriter("ben")
    own = OwnChain(ada.chain.info, fresh={ben.chain.info.chain, ChainId(bytes(16))})
    assert own.uncovered(indexed(ben)) == ()


def test_an_opening_says_who_writes_and_what_came_before() -> None:
    ada = ChainWriter("ada")
    run = ada.say()
    verified = verify_run(replace(run.info, label="", authority=""), CHAIN_START, run.lines, run.seal_line)  # type: ignore[arg-type]
    assert verified.info.label == "ada"
    assert verified.info.device == ada.chain.info.device
    assert verified.records[0].kind == "journal.chain_opened"
