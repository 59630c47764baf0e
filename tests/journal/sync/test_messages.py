"""The words of anti-entropy have one spelling each, and nothing else is ever read."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.facts import ChainId, FactId, Namespace, RemoteViolation
from antiphon.journal import UnsealedBytes
from antiphon.journal.forks import PROOF_BYTES
from antiphon.journal.sketch import CELLS_MAX, Bucket, Cell
from antiphon.journal.sync.messages import (
    ACKS_COUNT_MAX,
    FRAME_BYTES_MAX,
    FRONTIER_ENTRIES_MAX,
    LENGTH_BYTES,
    NEED_RANGES_MAX,
    RUN_BYTES_MAX,
    SEQ_MAX,
    SKETCH_CELLS_MAX,
    Acks,
    Base,
    Buckets,
    Busy,
    Done,
    Error,
    ErrorCode,
    Facts,
    Fork,
    Frontier,
    FrontierEntry,
    Hello,
    Items,
    Limits,
    MalformedMessage,
    Message,
    MessageViolation,
    Need,
    NeedRange,
    OversizedFrame,
    Probe,
    ProbeFor,
    Root,
    Roots,
    Served,
    Sketch,
    UnknownMessageKind,
    UnsupportedWireVersion,
    Want,
    WireRun,
    decode,
    encode,
    take_run_apart,
)

bytes_16 = st.binary(min_size=16, max_size=16)
bytes_32 = st.binary(min_size=32, max_size=32)
seqs = st.integers(1, SEQ_MAX)
u32 = st.integers(0, 2**32 - 1)
short_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
namespaces = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(Namespace)
limits = st.builds(Limits, u32, u32)
ranges = st.tuples(bytes_16, seqs, seqs).map(lambda t: NeedRange(ChainId(t[0]), min(t[1:]), max(t[1:])))
wire_runs = st.builds(WireRun, bytes_32, bytes_16, seqs, bytes_32, st.binary(min_size=2, max_size=200))
cells = st.builds(Cell, st.integers(0, 2**128 - 1), st.integers(0, 2**32 - 1), st.integers(-(2**40), 2**40))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, bytes_16, bytes_16, short_text, st.booleans(), limits, st.integers(0, 65_535)),
    st.builds(Root, bytes_32, u32, st.integers(0, 2**63)),
    st.builds(Roots, st.lists(st.tuples(namespaces, bytes_32), max_size=5).map(tuple), st.booleans()),
    st.builds(
        Frontier,
        namespaces,
        st.lists(st.builds(FrontierEntry, bytes_32, bytes_16, seqs, bytes_32), max_size=5).map(tuple),
        st.booleans(),
    ),
    st.builds(Base, namespaces, st.lists(wire_runs, min_size=1, max_size=4).map(tuple)),
    st.builds(Need, st.lists(ranges, max_size=5).map(tuple), st.booleans()),
    st.builds(Facts, namespaces, st.lists(wire_runs, min_size=1, max_size=4).map(tuple)),
    st.builds(Done, bytes_32),
    st.builds(Busy, u32),
    st.builds(Acks, bytes_16, st.integers(0, SEQ_MAX), st.lists(bytes_32, max_size=5).map(tuple)),
    st.builds(Error, st.sampled_from(ErrorCode), short_text),
    st.builds(Fork, namespaces, st.binary(min_size=PROOF_BYTES, max_size=PROOF_BYTES)),
    st.builds(
        lambda name, salt, start, count: Probe(name, ProbeFor.CELLS, salt, start, start + count),
        namespaces,
        bytes_16,
        st.integers(0, CELLS_MAX - SKETCH_CELLS_MAX),
        st.integers(1, SKETCH_CELLS_MAX),
    ),
    st.builds(Probe, namespaces, st.just(ProbeFor.BUCKETS), bytes_16, u32, u32),
    st.builds(Probe, namespaces, st.just(ProbeFor.ITEMS), bytes_16, st.integers(0, 255), u32),
    st.builds(Sketch, namespaces, bytes_16, st.integers(0, 9_000), u32, st.lists(cells, max_size=5).map(tuple)),
    st.builds(
        Buckets,
        namespaces,
        st.lists(st.builds(Bucket, st.integers(0, 65_535), bytes_16), min_size=256, max_size=256).map(tuple),
    ),
    st.builds(Items, namespaces, st.integers(0, 255), u32, st.lists(bytes_16, max_size=5).map(tuple), st.booleans()),
    st.builds(Want, namespaces, st.lists(bytes_16, max_size=5).map(tuple)),
    st.just(Served()),
)


@given(messages)
def test_every_message_survives_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages)
def test_a_message_has_one_spelling(message: Message) -> None:
    assert encode(decode(encode(message))) == encode(message)


@given(messages, st.integers(1, 40))
def test_a_message_cut_short_is_refused(message: Message, cut: int) -> None:
    frame = encode(message)
    with pytest.raises(MessageViolation):
        decode(frame[: max(0, len(frame) - cut)])


@given(messages, st.binary(min_size=1, max_size=40))
def test_bytes_behind_a_message_are_refused(message: Message, rest: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(encode(message) + rest)


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_a_violation(noise: bytes) -> None:
    check_total(noise)


@given(st.integers(0, 24), st.binary(max_size=300))
def test_random_bodies_raise_nothing_but_a_violation(kind: int, noise: bytes) -> None:
    check_total(bytes((1, kind)) + noise)


@given(messages, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutated_messages_raise_nothing_but_a_violation(message: Message, changes: list[tuple[int, int]]) -> None:
    frame = bytearray(encode(message))
    for at, value in changes:
        frame[at % len(frame)] = value
    check_total(bytes(frame))


@pytest.mark.long
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages, st.integers(0, 2**32))
def test_a_hundred_thousand_mutations_raise_nothing_but_a_violation(message: Message, seed: int) -> None:
    """500 messages, 200 mutations each: to draw each mutation by itself costs a hundred times its checking."""
    whole, rng = encode(message), Random(seed)
    for _ in range(200):
        frame = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            # Heads of messages hold the counts, so half of the changes go there.
            at = rng.randrange(min(64, len(frame)) if rng.random() < 0.5 else len(frame))
            frame[at] = rng.randrange(256)
        check_total(bytes(frame[: rng.randint(2, len(frame))] if rng.random() < 0.1 else frame))


@given(messages, st.data())
def test_every_length_field_may_lie(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    at = data.draw(st.integers(2, max(2, len(frame) - 2)))
    frame[at : at + 2] = data.draw(st.sampled_from([b"\xff\xff", b"\x7f\xff", b"\0\0", b"\x10\x01"]))
    check_total(bytes(frame))


def check_total(frame: bytes) -> None:
    """Decoding either gives a message that is spelled just so, or raises a violation of the peer's."""
    try:
        message = decode(frame)
    except MessageViolation:
        assert issubclass(MessageViolation, RemoteViolation)
    else:
        assert encode(message) == frame


def test_the_words_of_agreement_fit_96_bytes() -> None:
    root, done = encode(Root(bytes(32), 2**32 - 1, 2**63)), encode(Done(bytes(32)))
    assert LENGTH_BYTES + len(root) == 50
    assert LENGTH_BYTES + len(root) + LENGTH_BYTES + len(done) <= 96


def test_a_golden_frame_of_each_small_kind() -> None:
    """Changing one of these bytes is changing the protocol: raise the version."""
    zeros = bytes(16)
    assert encode(Hello(zeros, zeros, "ada", True)).hex() == (
        "0101" + "0002" + "00" * 32 + "01" + "00100000" + "00010000" + "0003" + b"ada".hex()
    )
    assert encode(Root(bytes(32), 2, 3)).hex() == "0102" + "00" * 32 + "00000002" + "0000000000000003"
    assert encode(Roots(((Namespace("a"), bytes(32)),))).hex() == "0103" + "01" + "0001" + "0001" + "61" + "00" * 32
    assert encode(Need((NeedRange(ChainId(zeros), 1, 2),))).hex() == (
        "0105" + "01" + "0001" + "00" * 16 + "0000000000000001" + "0000000000000002"
    )
    assert encode(Done(bytes(32))).hex() == "0107" + "00" * 32
    assert encode(Busy(5)).hex() == "0108" + "00000005"
    assert encode(Error(ErrorCode.TIMEOUT, "x")).hex() == "0109" + "0005" + "0001" + "78"


@pytest.mark.parametrize("kind", [0, 11, 15, 24, 255])
def test_an_unknown_kind_is_a_typed_error(kind: int) -> None:
    with pytest.raises(UnknownMessageKind, match=f"kind {kind}"):
        decode(bytes((1, kind)) + b"later work")


def test_another_version_is_a_typed_error() -> None:
    with pytest.raises(UnsupportedWireVersion, match="version 2"):
        decode(bytes((2, 1)))


def test_a_frame_beyond_its_bound_is_not_read() -> None:
    with pytest.raises(OversizedFrame):
        decode(bytes(FRAME_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("frame", "claim"),
    [
        (bytes((1, Frontier.kind)) + b"\0\1a\1" + (FRONTIER_ENTRIES_MAX + 1).to_bytes(2, "big"), "at most 4096"),
        (bytes((1, Frontier.kind)) + b"\0\1a\1" + FRONTIER_ENTRIES_MAX.to_bytes(2, "big"), "4096 items in 0 bytes"),
        (bytes((1, Need.kind)) + b"\1" + (NEED_RANGES_MAX + 1).to_bytes(2, "big"), "at most 1024"),
        (bytes((1, Facts.kind)) + b"\0\1a" + b"\0\0", "without a run"),
        (bytes((1, Roots.kind)) + b"\2\0\0", "yes or no"),
        (bytes((1, Roots.kind)) + b"\1\0\1\0\0" + bytes(40), "namespace without a name"),
    ],
)
def test_counts_and_flags_are_checked_before_anything_is_allocated(frame: bytes, claim: str) -> None:
    with pytest.raises(MalformedMessage, match=claim):
        decode(frame)


def test_a_run_beyond_its_bound_is_refused() -> None:
    run = WireRun(bytes(32), bytes(16), 1, bytes(32), bytes(RUN_BYTES_MAX + 1))
    with pytest.raises(MalformedMessage, match="a run of"):
        decode(encode(Facts(Namespace("a"), (run,))))


def test_a_large_run_travels_alone_or_not_at_all() -> None:
    run = WireRun(bytes(32), bytes(16), 1, bytes(32), bytes(200 * 1024))
    assert isinstance(decode(encode(Facts(Namespace("a"), (run,)))), Facts)
    with pytest.raises(MalformedMessage, match="travels alone"):
        decode(encode(Facts(Namespace("a"), (run, run))))


@pytest.mark.parametrize("data", [b"", b"no newline", b"\n", b"seal only\n", b"x\n" * 1_002])
def test_a_run_that_is_not_lines_and_a_seal_is_the_senders_fault(data: bytes) -> None:
    with pytest.raises(UnsealedBytes):
        take_run_apart(Namespace("a"), WireRun(bytes(32), bytes(16), 1, bytes(32), data))


def test_more_acknowledgements_than_a_frame_of_facts_could_ask_for_are_refused() -> None:
    frame = encode(Acks(bytes(16), 5, (FactId(bytes(32)),) * ACKS_COUNT_MAX))
    assert len(decode(frame).fact_ids) == ACKS_COUNT_MAX  # type: ignore[union-attr]  # it is what was written
    count = (ACKS_COUNT_MAX + 1).to_bytes(2, "big")
    with pytest.raises(MalformedMessage, match="at most 1000"):
        decode(frame[:26] + count + frame[28:] + bytes(32))


def test_an_acknowledgement_beyond_the_end_of_time_is_refused() -> None:
    frame = encode(Acks(bytes(16), 0, ()))
    with pytest.raises(MalformedMessage, match="acknowledged at"):
        decode(frame[:18] + b"\xff" * 8 + frame[26:])
