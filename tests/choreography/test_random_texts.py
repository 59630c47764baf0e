"""Whole protocols by dice, every construct in every other: nothing raises, and what projects never gets stuck."""

import random

import pytest

from antiphon.choreography import format_choreography, parse
from antiphon.choreography.ast import Choreography
from antiphon.choreography.compiled import check_text
from antiphon.choreography.exploring import explore

ROLES = ("A", "B", "C", "D")
TEXTS_A_SEED = 50


class Writer:
    """One protocol, line by line; most choices and timeouts tell every role, so that many protocols project."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._lines: list[str] = []
        self._count = 0
        self._block("  ", self._dice.randint(1, 3), [])

    @property
    def text(self) -> str:
        """The whole text."""
        return "\n".join(["protocol P =", f"  roles {', '.join(ROLES)}", *self._lines]) + "\n"

    def _name(self, prefix: str = "m") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _line(self, indent: str, line: str) -> None:
        self._lines.append(indent + line)

    def _send(self, indent: str) -> None:
        sender, receiver = self._dice.sample(ROLES, 2)
        self._line(indent, f"{sender} -> {receiver} : {self._name()}")

    def _block(self, indent: str, depth: int, labels: list[str]) -> None:
        kinds = [self._choice, self._loop, self._rec, self._timeout, self._par, self._publish, self._receipt]
        for _ in range(self._dice.randint(1, 3)):
            if depth == 0 or self._dice.random() < 0.35:
                self._send(indent)
            else:
                self._dice.choices(kinds, weights=(4, 2, 2, 2, 1, 1, 1))[0](indent, depth - 1, labels)

    def _perhaps_continue(self, indent: str, labels: list[str]) -> None:
        if labels and self._dice.random() < 0.3:
            self._line(indent, f"continue {self._dice.choice(labels)}")

    def _choice(self, indent: str, depth: int, labels: list[str]) -> None:
        chooser, receiver = self._dice.sample(ROLES, 2)
        self._line(indent, f"choice {chooser} at")
        for label in (self._name(), self._name()):
            self._line(indent, f"  | {label} =>")
            self._line(indent, f"      {chooser} -> {receiver} : {label}")
            for other in ROLES:
                if other not in (chooser, receiver) and self._dice.random() < 0.75:
                    self._line(indent, f"      {chooser} -> {other} : {label}")
            if self._dice.random() < 0.5:
                self._block(indent + "      ", depth, labels)
            self._perhaps_continue(indent + "      ", labels)

    def _loop(self, indent: str, depth: int, labels: list[str]) -> None:
        decider, receiver = self._dice.sample(ROLES, 2)
        self._line(indent, f"loop decide by {decider}")
        self._line(indent, f"  {decider} -> {receiver} : {self._name()}")

    def _rec(self, indent: str, depth: int, labels: list[str]) -> None:
        label = self._name("X")
        self._line(indent, f"rec {label}")
        self._send(indent + "  ")
        self._block(indent + "  ", depth, [*labels, label])

    def _timeout(self, indent: str, depth: int, labels: list[str]) -> None:
        owner = self._dice.choice(ROLES)
        self._line(indent, f"timeout 5s {owner} at")
        self._block(indent + "  ", depth, labels)
        self._perhaps_continue(indent + "  ", labels)
        self._line(indent, "on timeout =>")
        for other in ROLES:
            if other != owner:
                self._line(indent, f"  {owner} -> {other} : {self._name()}")
        self._perhaps_continue(indent + "  ", labels)

    def _par(self, indent: str, depth: int, labels: list[str]) -> None:
        self._line(indent, "par")
        for _ in range(2):
            self._line(indent, "  |")
            self._block(indent + "      ", depth, [])

    def _publish(self, indent: str, depth: int, labels: list[str]) -> None:
        self._line(indent, "publish Happened")

    def _receipt(self, indent: str, depth: int, labels: list[str]) -> None:
        source, target = self._dice.sample(ROLES, 2)
        name = self._name("r")
        self._line(indent, f"let {name} = transfer S from {source} to {target}")
        self._send(indent)
        self._line(indent, f"handoff op to {target} with {name}")


def check_seeds(seeds: range) -> int:
    """Check the text of every seed; how many of them every role can take part in."""
    projectable = 0
    for seed in seeds:
        text = Writer(seed).text
        checked, parsed = check_text(text), parse(text)
        if parsed.tree is not None and parsed.is_ok:
            assert parse(format_choreography(parsed.tree)).tree == parsed.tree, seed
            assert Choreography.from_json(parsed.tree.to_json()) == parsed.tree, seed
        if not (checked.is_valid and checked.is_projectable and checked.projections):
            continue
        projectable += 1
        found = explore(checked.projections.local, limit=2_000).faults
        assert not found, f"seed {seed}\n{text}"
    return projectable


@pytest.mark.parametrize("start", range(0, 300, TEXTS_A_SEED))
def test_what_projects_never_gets_stuck(start: int) -> None:
    assert check_seeds(range(start, start + TEXTS_A_SEED)) > TEXTS_A_SEED // 5


@pytest.mark.long
def test_what_projects_never_gets_stuck_in_ten_thousand_texts() -> None:
    assert check_seeds(range(1_000, 11_000)) > 2_000


def test_the_texts_that_once_raised_are_refused_or_projected() -> None:
    # A view whose branch of `par` begins with a timeout that goes straight round had no first exchange to compare.
    text = (
        "protocol P =\n  roles A, B, C, D\n  par\n    | B -> D : m1\n    |\n        rec X2\n          A -> B : m3\n"
        "          timeout 5s D at\n            A -> B : m9\n            continue X2\n          on timeout =>\n"
        "            D -> A : m12\n            D -> B : m13\n            D -> C : m14\n"
    )
    # It is compared now, and D, who would only time its rounds, is refused.
    assert [one.code for one in check_text(text).problems if one.severity == "error"] == ["idle_owner"]
