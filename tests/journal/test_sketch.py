"""Coded symbols: what is decoded is the difference, kept symbols are the encoded ones, and nobody can make it hang."""

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import DEFAULT_NAMESPACE
from antiphon.journal import RunRow
from antiphon.journal.sketch import (
    CELLS_MAX,
    KEPT_CELLS,
    Cell,
    Difference,
    RunSketch,
    encode_items,
    hash_item,
    indices,
    subtract,
)
from antiphon.journal.sketch import decode as peel
from antiphon.journal.sync.messages import Message, Sketch, decode, encode
from antiphon.journal.sync.messages import Probe as ProbeWord
from antiphon.journal.sync.repair import NO_SALT, Encode, Repair, Telling, estimate

NAME = "antiphon.default"


def item(number: int) -> bytes:
    return sha256(f"item {number}".encode()).digest()[:16]


def row(number: int) -> RunRow:
    return RunRow(bytes(16), number, number, bytes(32), item(number) * 2, 1, 0, 0)


def sketch_of(numbers: set[int]) -> RunSketch:
    return RunSketch.over({item(number): row(number) for number in numbers})


numbers = st.sets(st.integers(0, 400), max_size=120)


@given(numbers, numbers, st.sampled_from([b"", b"salt of the hour"]))
def test_what_is_decoded_is_the_difference(ours: set[int], theirs: set[int], salt: bytes) -> None:
    first, second = ({item(number) for number in held} for held in (ours, theirs))
    count = max(16, 3 * len(first ^ second) + 16)
    cells = subtract(encode_items(first, count, salt=salt), encode_items(second, count, salt=salt))
    found = peel(cells, salt=salt)
    while found is None and count < 4_096:
        count *= 2
        cells = subtract(encode_items(first, count, salt=salt), encode_items(second, count, salt=salt))
        found = peel(cells, salt=salt)
    assert found == Difference(frozenset(first - second), frozenset(second - first))


@given(numbers, st.integers(1, KEPT_CELLS))
def test_symbols_kept_item_by_item_equal_those_encoded_from_scratch(held: set[int], count: int) -> None:
    kept = RunSketch.over({})
    for number in held:
        kept.add(item(number), row(number))
        kept.add(item(number), row(number))
    assert kept.cells(0, count) == encode_items([item(number) for number in held], count)


@given(numbers, st.integers(1, 600), st.integers(1, 600))
def test_a_longer_stream_begins_like_a_shorter_one(held: set[int], one: int, other: int) -> None:
    items = [item(number) for number in held]
    short, long = sorted((one, other))
    assert encode_items(items, long)[:short] == encode_items(items, short)


def test_python_and_numpy_map_alike() -> None:
    items = [item(number) for number in range(200)]
    whole = encode_items(items, 512)
    parts = [encode_items(items[at : at + 50], 512) for at in range(0, 200, 50)]
    joined = [Cell(0, 0, 0)] * 512
    for part in parts:
        joined = [Cell(a[0] ^ b[0], a[1] ^ b[1], a[2] + b[2]) for a, b in zip(joined, part, strict=True)]
    assert joined == whole


@pytest.mark.parametrize(("held", "differing", "most"), [(2_000, 10, 3.5), (10_000, 100, 1.8), (10_000, 500, 1.5)])
def test_a_difference_costs_about_one_symbol_and_a_half_an_item(held: int, differing: int, most: float) -> None:
    first = [item(number) for number in range(held)]
    cells = subtract(encode_items(first, KEPT_CELLS), encode_items(first[differing:], KEPT_CELLS))
    needed = next(count for count in range(differing, KEPT_CELLS) if peel(cells[:count]) is not None)
    assert needed <= most * differing
    assert differing / 2 <= estimate(cells) <= differing * 2


@given(st.lists(st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 2**32 - 1), st.integers(-3, 3)), max_size=60))
def test_invented_symbols_end_without_a_difference_or_with_one_that_fits(
    given_cells: list[tuple[int, int, int]],
) -> None:
    cells = [Cell(*each) for each in given_cells]
    found = peel(cells)
    if found is not None:
        assert subtract(encode_items(found.first, len(cells)), encode_items(found.second, len(cells))) == cells


def test_symbols_that_never_empty_end_too() -> None:
    """A cell that gives the same pure item again and again, with every checksum right."""
    one = item(1)
    check, _ = hash_item(one, b"")
    cells = [Cell(int.from_bytes(one, "big"), check, 1)] * 500
    assert peel(cells) is None


def test_an_item_maps_to_few_symbols_and_always_to_the_first() -> None:
    rng = Random(1)
    for _ in range(200):
        found = indices(rng.getrandbits(64), KEPT_CELLS)
        assert found[0] == 0
        assert found == sorted(set(found))
        assert len(found) < 60


class Conversation:
    """A repair and its answers, over the wire's own bytes."""

    def __init__(self, ours: set[int], theirs: set[int]) -> None:
        self.repair = Repair(NAME, sketch_of(ours), b"s" * 16)  # type: ignore[arg-type]
        self.telling = Telling(NAME, sketch_of(theirs))  # type: ignore[arg-type]
        self.bytes = 0
        self.words = 0

    def run(self, *, meddle: bool = False) -> Difference | None:
        word: Message | Encode | None = self.repair.begin()
        rng = Random(3)
        for _ in range(2_000):
            if isinstance(word, Encode):
                word = self.repair.encoded(encode_items(word.items, CELLS_MAX, salt=word.salt))
                continue
            if word is None:
                return self.repair.difference
            assert isinstance(word, ProbeWord)
            answer = self.telling.answer(self.carry(word))  # type: ignore[arg-type]
            if isinstance(answer, Encode):
                answer = self.telling.encoded(answer.salt, encode_items(answer.items, CELLS_MAX, salt=answer.salt))
            assert answer is not None
            heard = self.carry(answer)
            if meddle and hasattr(heard, "cells"):
                bad = [Cell(rng.getrandbits(128), rng.getrandbits(32), 1) for _ in heard.cells]
                heard = type(heard)(heard.namespace, heard.salt, heard.start, heard.item_count, tuple(bad))
            word = self.repair.hear(heard)  # type: ignore[arg-type]
        raise AssertionError("the repair does not end")

    def carry(self, word: Message) -> Message:
        frame = encode(word)
        self.bytes += 4 + len(frame)
        self.words += 1
        return decode(frame)


@given(numbers, numbers)
@settings(max_examples=40)
def test_a_repair_finds_the_difference(ours: set[int], theirs: set[int]) -> None:
    found = Conversation(ours, theirs).run()
    assert found is not None
    assert found.first == {item(number) for number in ours - theirs}
    assert found.second == {item(number) for number in theirs - ours}


@pytest.mark.parametrize("differing", [700, 3_000])
def test_a_difference_beyond_the_kept_symbols_is_found_under_a_salt(differing: int) -> None:
    talk = Conversation(set(range(4_000)), set(range(differing, 4_000)))
    found = talk.run()
    assert found is not None
    assert len(found.first) == differing
    assert not found.second


def test_symbols_that_say_nothing_end_in_lists_and_the_right_difference() -> None:
    talk = Conversation(set(range(300)), set(range(20, 310)))
    found = talk.run(meddle=True)
    assert found is not None
    assert found.first == {item(number) for number in range(20)}
    assert found.second == {item(number) for number in range(300, 310)}


def test_answers_to_other_questions_are_not_taken() -> None:
    talk = Conversation({1, 2}, {2, 3})
    asked = talk.repair.begin()
    told = talk.telling.answer(asked)
    assert not isinstance(told, Encode)
    assert talk.repair.hear(type(told)(told.namespace, told.salt, 7, told.item_count, told.cells)) is None  # type: ignore[union-attr,call-arg]
    assert talk.repair.difference is None
    assert bytes(16) == NO_SALT


@pytest.mark.parametrize("sizes", [(100, 0), (0, 100), (50, 50), (300, 0), (150, 150)])
def test_a_difference_is_found_in_two_or_three_trips_near_the_least_bytes(sizes: tuple[int, int]) -> None:
    rng, row = Random(sum(sizes)), RunRow(bytes(16), 1, 1, bytes(32), bytes(32), 1, 0, 0)
    trips, symbols = [], []
    for _ in range(10):
        common = [rng.randbytes(16) for _ in range(20)]
        sides = [RunSketch.over(dict.fromkeys((*common, *(rng.randbytes(16) for _ in range(n))), row)) for n in sizes]
        repair, telling = Repair(DEFAULT_NAMESPACE, sides[0], b"s" * 16), Telling(DEFAULT_NAMESPACE, sides[1])
        asked: ProbeWord | Encode | None = repair.begin()
        trips.append(0)
        while repair.difference is None:
            assert isinstance(asked, ProbeWord)
            symbols[len(trips) - 1 :] = [asked.stop]
            answer = telling.answer(asked)
            assert isinstance(answer, Sketch)
            trips[-1] += 1
            asked = repair.hear(answer)
        assert (len(repair.difference.first), len(repair.difference.second)) == sizes
    assert max(trips) <= 4
    assert sum(trips) <= 2.5 * len(trips)
    assert sum(symbols) <= 2.2 * sum(sizes) * len(symbols)
