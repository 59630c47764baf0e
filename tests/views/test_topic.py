"""A topic as a shared text: a function of the set of statements and changes, in which two people keep their words."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.journal import SharedText
from antiphon.views.topic import CHANGE_COUNT_MAX, TOPIC_LENGTH_MAX, Topic

TEA = (1, 0, b"tea")
BASIS = TEA[2].hex()
BEGUN = SharedText(BASIS, "tea at five")


def read(*facts: tuple) -> str:
    topic = Topic()
    for stamp, *said in facts:
        if len(said) == 1:
            topic.state(stamp, said[0])
        else:
            topic.change(stamp, basis=said[0], update=said[1])
    return topic.shown


def changed(at: int, text: str, *, of: SharedText = BEGUN) -> tuple:
    return ((at, 0, f"{at} {text}".encode()), of.name, of.changed_to(text, actor=f"{at} {text}"))


def test_changes_of_different_parts_are_both_kept_in_every_order() -> None:
    facts = [(TEA, "tea at five"), changed(2, "green tea at five"), changed(3, "tea at five o'clock")]
    assert {read(*order) for order in permutations(facts)} == {"green tea at five o'clock"}


def test_a_newer_statement_ends_the_text_and_an_older_one_does_not() -> None:
    facts = [(TEA, "tea at five"), changed(2, "green tea at five")]
    assert {read(*order) for order in permutations([*facts, ((5, 0, b"x"), "closed")])} == {"closed"}
    assert {read(*order) for order in permutations([*facts, ((0, 0, b"x"), "before")])} == {"green tea at five"}


def test_a_change_of_a_change_waits_for_it() -> None:
    green = changed(2, "green tea at five")
    then = changed(3, "green tea at six", of=BEGUN.with_updates([green[2]]))
    for order in permutations([(TEA, "tea at five"), green, then]):
        assert read(*order) == "green tea at six"


def test_what_is_no_change_harms_nobody_and_the_text_is_bounded() -> None:
    nonsense = [((9, 0, bytes([n])), BASIS, update) for n, update in enumerate((b"", b"\0", b"\xff" * 40, b"text"))]
    assert read((TEA, "tea at five"), *nonsense, changed(2, "tea")) == "tea"
    assert len(read((TEA, "tea at five"), changed(2, "x" * 5_000))) == TOPIC_LENGTH_MAX
    topic = Topic()
    topic.state(TEA, "tea at five")
    for at in range(CHANGE_COUNT_MAX + 10):
        topic.change((at, 0, b"%d" % at), basis=BASIS, update=BEGUN.changed_to(f"tea {at}", actor=str(at)))
    assert len(topic.shared.updates) == CHANGE_COUNT_MAX


@given(st.data())
@settings(max_examples=100)
def test_the_topic_is_a_function_of_the_set(data: st.DataObject) -> None:
    texts = st.text("ab ☕", max_size=6)
    facts: list[tuple] = [((data.draw(st.integers(0, 3)), 0, b"%d" % n), data.draw(texts)) for n in range(2)]
    bases = [SharedText(stamp[2].hex(), text) for stamp, text in facts]
    for at in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, 1))
        facts.append(changed(at, data.draw(texts), of=bases[place]))
        if data.draw(st.booleans()):
            bases[place] = bases[place].with_updates([facts[-1][2]])
    seen = read(*facts)
    for _ in range(4):
        order = data.draw(st.permutations(facts))
        assert read(*order, *order[:3]) == seen
