"""The short way to a payload's bytes writes what the long way writes."""

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from antiphon.facts import Fact, canonical_bytes
from antiphon.facts.fact import to_plain


class Scanned(Fact, kind="test.scanned", version=1):
    """Everything that needs no walk: text, numbers, literals of text, and bytes."""

    text: str | None
    count: int
    style: Literal["a", "it's"]
    page: bytes
    cover: bytes | None = None


class Graded(Fact, kind="test.graded", version=1):
    """A literal of a number may be encoded by the long way only."""

    grade: Literal["a", 1]


def test_only_what_may_skip_the_walk_does() -> None:
    assert not Scanned.fact_type.needs_walk
    assert Graded.fact_type.needs_walk


@given(
    st.builds(
        Scanned,
        text=st.none() | st.text(),
        count=st.integers(min_value=-(2**63), max_value=2**63 - 1),
        style=st.sampled_from(["a", "it's"]),
        page=st.binary(),
        cover=st.none() | st.binary(),
    )
)
def test_both_ways_write_the_same_bytes(fact: Scanned) -> None:
    written = fact.fact_type.encode(fact)
    assert written == canonical_bytes({name: to_plain(value) for name, value in fact.__dict__.items()})
    assert fact.fact_type.decode(written) == fact
