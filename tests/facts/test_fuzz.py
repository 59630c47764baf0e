"""Reading what anybody may have written: random and mutated bytes end in a fact, a generic one or a typed problem."""

from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from antiphon.facts import (
    Fact,
    FactError,
    FactProblem,
    FactRecord,
    GenericFact,
    InvalidLine,
    build_fact_registry,
    parse_line,
    reduce_record,
)
from antiphon.facts.encoding import parse_header
from antiphon.testing.records import ChainWriter, make_draft
from antiphon.testing.strategies import journal_facts, standard_facts

REGISTRY = build_fact_registry()
SNIPPETS = (
    b"{",
    b"}",
    b"[" * 40,
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"1e999",
    b"-0",
    b"9" * 25,
    b"\xff",
    b",",
    b":",
)


def samples() -> list[tuple[Fact, bytes]]:
    """One payload of every type that ships, drawn once."""
    found: dict[str, tuple[Fact, bytes]] = {}

    from hypothesis import given, settings

    @given(standard_facts() | journal_facts())
    @settings(max_examples=1_500, database=None, derandomize=True)
    def collect(fact: Fact) -> None:
        found.setdefault(fact.fact_type.kind, (fact, fact.fact_type.encode(fact)))

    collect()
    return [found[kind] for kind in sorted(found)]


def mutated(data: bytes, rng: Random) -> bytes:
    """*data* with a few bytes flipped, cut, doubled, or replaced by something that JSON readers trip over."""
    for _ in range(rng.randrange(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.randrange(0, 9)
        part = rng.choice((b"", rng.randbytes(length), rng.choice(SNIPPETS), data[place : place + length] * 2))
        data = data[:place] + part + data[place + length :]
    return data


def cases(count: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    rng, known = Random(seed), samples()
    for _ in range(count):
        fact, payload = rng.choice(known)
        yield fact.fact_type.kind, rng.randbytes(rng.randrange(200)) if rng.random() < 0.1 else mutated(payload, rng)


def check_decoding(count: int, *, seed: int) -> None:
    """Every way in: the type's own decoder, the registry, the reducer, and the parsers of lines and headers."""
    template = ChainWriter("ada", namespace="home").seal(make_draft(samples()[0][0])).records[-1]
    head, tail = template.line[: 5 + template.header_length] + b',"p":', template.line[-32:]
    assert tail.startswith(b',"r":"')
    for kind, payload in cases(count, seed=seed):
        fact_type = REGISTRY.get(kind)
        assert fact_type is not None
        with suppress(FactError):
            assert isinstance(fact_type.decode(payload), Fact)
        record: FactRecord = template._replace(kind=kind, line=head + payload + tail)
        assert record.payload == payload
        assert isinstance(REGISTRY.decode(record), Fact | GenericFact | FactProblem)
        assert reduce_record(REGISTRY, record, context_id="home").kind == kind
        for parse in (parse_line, parse_header):
            with suppress(InvalidLine):
                parse(payload)  # type: ignore[operator]  # two parsers of bytes


def test_mutated_payloads_end_in_typed_errors_only() -> None:
    check_decoding(5_000, seed=1)


@pytest.mark.long
def test_a_hundred_thousand_mutated_payloads_end_in_typed_errors_only() -> None:
    check_decoding(100_000, seed=2)
