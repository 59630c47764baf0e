"""Runs and seals: one flipped bit is refused, and a rule broken under a valid seal is the writer's fault."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import AfterLink, ChainId, ChainInfo, FactId, FactRecord, InvalidLine
from antiphon.facts.encoding import build_erased_line, parse_line
from antiphon.journal import (
    CHAIN_START,
    Draft,
    Head,
    SealedViolation,
    UnsealedBytes,
    is_seal_valid,
    make_chain_info,
    verify_run,
)
from antiphon.journal.chain import (
    RUN_FACTS_MAX,
    build_opening,
    build_records,
    build_seal_line,
    check_headers,
    describe_chain,
    info_of_opening,
    link_ids,
    parse_seal_line,
    read_plain,
    seal_message,
)
from antiphon.journal.erasure import erase_line
from antiphon.journal.sync.messages import IncomingRun
from antiphon.testing.records import ChainWriter, make_signer

WRITER = ChainWriter("ada")
RUN = WRITER.say(Draft("test.said", 1, b'{"text":"one"}', None), Draft("test.said", 1, b'{"text":"two"}', None))
SECOND = WRITER.say(Draft("test.said", 1, b'{"text":"three"}', None))
FIRST_HEAD = verify_run(WRITER.chain.info, CHAIN_START, RUN.lines, RUN.seal_line).head


def verify(run: IncomingRun, previous: Head = CHAIN_START) -> None:
    verify_run(run.info, previous, run.lines, run.seal_line)


def test_an_honest_run_is_accepted_with_its_author() -> None:
    verified = verify_run(RUN.info, CHAIN_START, RUN.lines, RUN.seal_line)
    assert [record.seq for record in verified.records] == [1, 2, 3]
    assert [record.line for record in verified.records] == list(RUN.lines)
    assert (verified.info.label, verified.info.authority) == ("ada", WRITER.chain.info.authority)
    assert verified.head == FIRST_HEAD
    follow = verify_run(RUN.info, FIRST_HEAD, SECOND.lines, SECOND.seal_line)
    assert follow.head == WRITER.head


def test_an_erased_payload_keeps_the_ids_and_the_seal() -> None:
    lines = list(RUN.lines)
    part = parse_line(lines[1])
    lines[1] = build_erased_line(part.header.raw, part.digest)
    verified = verify_run(RUN.info, CHAIN_START, lines, RUN.seal_line)
    assert verified.head == FIRST_HEAD
    assert [record.payload is None for record in verified.records] == [False, True, False]


def test_every_flipped_bit_of_a_sealed_run_is_refused() -> None:
    whole = b"\n".join([*RUN.lines, RUN.seal_line])
    for at in range(len(whole)):
        for bit in range(8):
            *lines, seal = (whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]).split(b"\n")
            with pytest.raises(UnsealedBytes):
                verify_run(RUN.info, CHAIN_START, lines, seal)


@given(st.binary(max_size=400), st.integers(min_value=0), st.integers(min_value=0, max_value=60))
def test_any_replaced_stretch_of_a_sealed_run_is_refused(noise: bytes, place: int, length: int) -> None:
    whole = b"\n".join([*RUN.lines, RUN.seal_line])
    at = place % len(whole)
    changed = whole[:at] + noise + whole[at + length :]
    if changed != whole:
        *lines, seal = changed.split(b"\n")
        with pytest.raises(UnsealedBytes):
            verify_run(RUN.info, CHAIN_START, lines, seal)


@given(st.sets(st.integers(min_value=0, max_value=2), max_size=2), st.permutations([0, 1, 2]))
def test_dropping_or_reordering_facts_is_refused(kept: set[int], order: list[int]) -> None:
    for lines in ([RUN.lines[at] for at in sorted(kept)], [RUN.lines[at] for at in order]):
        if tuple(lines) != RUN.lines:
            with pytest.raises(UnsealedBytes):
                verify_run(RUN.info, CHAIN_START, lines, RUN.seal_line)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda: (RUN.lines, SECOND.seal_line, CHAIN_START), id="another run's seal"),
        pytest.param(lambda: (RUN.lines, RUN.seal_line, FIRST_HEAD), id="replayed behind itself"),
        pytest.param(lambda: (SECOND.lines, SECOND.seal_line, CHAIN_START), id="without what it continues"),
        pytest.param(lambda: (RUN.lines, foreign_seal(), CHAIN_START), id="another key's seal"),
        pytest.param(lambda: ((), RUN.seal_line, CHAIN_START), id="no facts"),
        pytest.param(lambda: (RUN.lines * 400, RUN.seal_line, CHAIN_START), id="too many facts"),
    ],
)
def test_forged_and_foreign_seals_are_the_senders_fault(
    forge: Callable[[], tuple[tuple[bytes, ...], bytes, Head]],
) -> None:
    lines, seal_line, previous = forge()
    with pytest.raises(UnsealedBytes):
        verify_run(RUN.info, previous, lines, seal_line)


def foreign_seal() -> bytes:
    """What Eve would write to pass Ada's facts off as sealed."""
    seal = parse_seal_line(RUN.seal_line)
    message = seal_message(chain=seal.chain, from_seq=0, from_id=seal.from_id, to_seq=seal.to_seq, to_id=seal.to_id)
    return build_seal_line(seal._replace(signature=make_signer("eve/writer").sign(message)))


def broken(change: Callable[[ChainWriter], bytes], reason: str, name: str) -> object:
    return pytest.param(change, reason, id=name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        broken(lambda eve: eve.line(seq=eve.head.seq + 2), "numbers have no gaps", "a gap"),
        broken(lambda eve: eve.line(seq=eve.head.seq), "numbers have no gaps", "a number twice"),
        broken(lambda eve: eve.line(hlc=eve.head.hlc), "clock stand or fall", "a clock that stands"),
        broken(lambda eve: eve.line(hlc=eve.head.hlc - 1), "clock stand or fall", "a clock that falls"),
        broken(lambda eve: eve.line(chain_text="ab" * 16), "seals a fact of chain abababab", "another chain's fact"),
        broken(lambda eve: eve.line(kind="journal.chain_opened"), "and only there", "a second opening"),
    ],
)
def test_a_rule_broken_under_a_valid_seal_is_the_writers_fault(
    change: Callable[[ChainWriter], bytes], reason: str
) -> None:
    eve = ChainWriter("eve")
    eve.say(Draft("test.said", 1, b"{}", None))
    run = eve.seal_lines([change(eve)])
    with pytest.raises(SealedViolation, match=reason):
        verify(run, eve.head)


def test_a_chain_that_does_not_open_with_its_opening_is_the_writers_fault() -> None:
    eve = ChainWriter("eve")
    with pytest.raises(SealedViolation, match="must open with"):
        verify(eve.seal_lines([eve.line(seq=1, hlc=1)], start=CHAIN_START))


def test_a_causal_link_beyond_64_bits_is_no_canonical_header() -> None:
    eve = ChainWriter("eve")
    eve.say(Draft("test.said", 1, b"{}", None))
    link = AfterLink(eve.chain.info.chain, 2**63, bytes(16))
    line = eve.line().replace(
        b'{"h":{',
        b'{"h":{"after":[["%b",%d,"%b"]],' % (link.chain.hex().encode(), link.seq, link.short_id.hex().encode()),
    )
    run = IncomingRun(eve.chain.info, (line,), RUN.seal_line, 3, eve.head.fact_id)
    with pytest.raises(UnsealedBytes, match="64 bits"):
        verify(run, eve.head)


def test_a_seal_line_is_read_back_and_has_one_spelling() -> None:
    seal = parse_seal_line(RUN.seal_line)
    assert build_seal_line(seal) == RUN.seal_line
    assert is_seal_valid(seal, RUN.info.public_key)
    assert not is_seal_valid(seal, make_signer("eve").public_key)
    assert not is_seal_valid(seal, b"\xff" * 32), "a key that is no point on the curve"


@pytest.mark.parametrize("field", ["public_key", "nonce", "namespace"])
def test_a_chain_that_is_not_the_hash_of_its_parts_is_seen(field: str) -> None:
    other = ChainWriter("eve", namespace="other", incarnation=1).chain.info
    assert RUN.info.is_authentic
    assert not replace(RUN.info, **{field: getattr(other, field)}).is_authentic


@pytest.mark.parametrize(
    ("key", "nonce", "namespace"), [(31, 16, "a"), (32, 15, "a"), (32, 16, ""), (32, 16, "語" * 86)]
)
def test_a_chain_of_parts_of_the_wrong_size_is_refused(key: int, nonce: int, namespace: str) -> None:
    with pytest.raises(UnsealedBytes):
        make_chain_info(public_key=bytes(key), nonce=bytes(nonce), namespace=namespace)


def test_a_chain_speaks_for_an_authority_only_with_its_signature() -> None:
    ada, eve = ChainWriter("ada"), ChainWriter("eve")
    honest = build_opening(
        authority=ada.authority,
        writer_key=ada.writer.public_key,
        nonce=ada.chain.info.nonce,
        namespace=ada.chain.info.namespace,
        device="",
        label="Ada",
    )
    bare = make_chain_info(
        public_key=ada.writer.public_key, nonce=ada.chain.info.nonce, namespace=ada.chain.info.namespace
    )
    encode = honest.fact_type.encode
    assert describe_chain(bare, encode(honest)).label == "Ada"
    lies: list[dict[str, str]] = [
        {"label": "Admin"},
        {"authority": eve.chain.info.authority},
        {"authority_key": eve.authority.public_key.hex()},
        {"public_key": eve.writer.public_key.hex()},
        {"signature": "00" * 64},
        {"signature": "zz"},
        {"authority_key": ""},
    ]
    for lie in lies:
        described = describe_chain(bare, encode(honest.model_copy(update=lie)))
        assert (described.label, described.authority) == ("", ""), lie
    for garbage in (b"", b"{}", b"[]", b"\xff", None):
        assert describe_chain(bare, garbage) is bare


def test_an_opening_fact_certifies_its_chain_by_itself() -> None:
    assert info_of_opening(parse_line(RUN.lines[0])) == RUN.info
    other = ChainWriter("eve").say()
    moved = RUN.lines[0].replace(RUN.info.text.encode(), other.info.text.encode())
    with pytest.raises(Exception, match="another chain"):
        info_of_opening(parse_line(moved))


def test_the_bounds_of_a_run_are_those_of_a_window() -> None:
    writer = ChainWriter("ada")
    run = writer.say(*[Draft("test.said", 1, b"{}", None)] * (RUN_FACTS_MAX - 1))
    verify(run)
    assert verify_run(run.info, CHAIN_START, run.lines, run.seal_line).records[-1].seq == RUN_FACTS_MAX
    assert isinstance(run.info.chain, bytes)
    assert ChainId(run.info.chain) == run.info.chain
    assert FactId(writer.head.fact_id) == writer.head.fact_id


LINKED = Draft("test.said", 1, b'{"text":"linked"}', None, (AfterLink(ChainId(b"z" * 16), 7, b"y" * 16),))


def plain_run() -> tuple[ChainWriter, IncomingRun, Head]:
    writer = ChainWriter("plain")
    writer.say(*[Draft("test.said", 1, b'{"text":"first"}', None)])
    start = writer.head
    return writer, writer.say(LINKED, Draft("test.told", 2, b'{"text":"\xc3\xa9\\"}"}', -5), LINKED), start


def slowly(info: ChainInfo, previous: Head, lines: Sequence[bytes]) -> tuple[FactRecord, ...]:
    parsed = [parse_line(line) for line in lines]
    check_headers(info, previous, parsed)
    return build_records(info, lines, parsed, link_ids(previous.fact_id, parsed))


def test_one_pass_reads_what_the_single_steps_read() -> None:
    _, run, start = plain_run()
    assert read_plain(run.info, start, run.lines) == slowly(run.info, start, run.lines)
    assert read_plain(run.info, start._replace(hlc=2**62), run.lines) is None
    assert read_plain(run.info, start._replace(seq=start.seq + 1), run.lines) is None
    erased = erase_line(slowly(run.info, start, run.lines)[1])
    assert read_plain(run.info, start, (run.lines[0], erased, run.lines[2])) is None
    assert read_plain(run.info, Head(0, start.fact_id, 0), run.lines) is None


@settings(max_examples=500, deadline=None)
@given(
    place=st.integers(0, 2),
    at=st.integers(0, 400),
    cut=st.integers(0, 3),
    put=st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"}", b'{"', b',"p":', b"-", b"0", b"\n", b"=="])),
)
def test_whatever_one_pass_accepts_the_single_steps_accept_alike(place: int, at: int, cut: int, put: bytes) -> None:
    _, run, start = plain_run()
    lines = list(run.lines)
    lines[place] = lines[place][:at] + put + lines[place][at + cut :]
    try:
        expected = slowly(run.info, start, lines)
    except (InvalidLine, SealedViolation):
        expected = None
    try:
        found = read_plain(run.info, start, lines)
    except InvalidLine:
        found = None
    assert found == expected
