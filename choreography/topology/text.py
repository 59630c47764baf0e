"""The `.topology` text: read, written back, loaded from a file.

    topology Lend_Prod for Lend {
      mode: local
      Shelf: shelf.lan:9000
      Helper: colocated(Reader)
      role_constraints   { Voter: min = 2, max = 5 }
      channel_capacities { Shelf -> Reader: 4 }
      constraints        { separated: Shelf, Reader }
    }

All parts are optional and stand in this order; `;` may follow any entry. Checks no protocol: `checking.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations, starmap
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from .types import (
    CAPACITY_BITS_MAX,
    LOCAL,
    Channel,
    Colocated,
    ColocatedRoles,
    Layout,
    Location,
    PinnedRole,
    RegionOfRole,
    Remote,
    RoleFamilyConstraint,
    SeparatedRoles,
    TopologyConstraint,
    TopologyEndpoint,
    TopologyError,
    TopologyMode,
)

# More roles than any protocol has; whatever is larger is no topology.
TEXT_BYTES_MAX = 4 * 1024 * 1024
LoadProblem: TypeAlias = Literal["io", "parse"]
Made = TypeVar("Made")

_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_ROLE = re.compile(r"[^\W\d]\w*(?:\[\d+\])?")
_NAME = re.compile(r"[^\W\d]\w*")
_REGION = re.compile(r"\w+(?:-\w+)*")
_NUMBER = re.compile(r"[0-9]+")
_WORD = re.compile(r"[^\s;{},()]+")
_MODE = re.compile(r"[^\s;{}(]+(?:\([^)\n]*\))?")
_PROTOCOL = re.compile(rf"(?:{_NAME.pattern}\.)*{_NAME.pattern}")


class TopologySyntaxError(TopologyError):
    """A text is no topology: where (from 1), what was seen there, what could have stood there instead."""

    def __init__(self, *, line: int, column: int, seen: str, expected: str, hint: str = "") -> None:
        self.line = line
        self.column = column
        self.seen = seen
        self.expected = expected
        self.hint = hint
        advice = f"; {hint}" if hint else ""
        super().__init__(f"line {line}, column {column}: {seen} where {expected} is expected{advice}")


class UnknownMode(TopologySyntaxError):
    """A mode other than `local`; `mode` is its text."""

    def __init__(self, mode: str, *, line: int, column: int) -> None:
        self.mode = mode
        super().__init__(
            line=line,
            column=column,
            seen=f"mode {mode!r}",
            expected="`local`",
            hint="a topology names places; whatever finds or starts processes stands outside and writes them here",
        )


class TopologyLoadError(TopologyError):
    """A file could not be read (`kind` "io") or holds no topology ("parse"); `__cause__` says more."""

    def __init__(self, path: str, kind: LoadProblem, reason: str) -> None:
        self.path = path
        self.kind = kind
        super().__init__(f"{path}: {reason}")


class Written(NamedTuple):
    """What a text says: its own name, the protocol it is for, and what is where."""

    name: str
    for_protocol: str
    layout: Layout


def read_text(text: str) -> Written:
    """Read a `.topology` text. Raises `TopologySyntaxError`, `UnknownMode` among them."""
    return _Reader(text).topology()


def read_file(path: str | PathLike[str]) -> Written:
    """Read a `.topology` file. Raises `TopologyLoadError`."""
    shown = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise TopologyLoadError(shown, "io", problem.strerror or str(problem)) from problem
    if len(data) > TEXT_BYTES_MAX:
        raise TopologyLoadError(shown, "parse", f"{len(data):,} bytes; a topology has at most {TEXT_BYTES_MAX:,}")
    try:
        return read_text(data.decode("utf-8-sig"))
    except (TopologyError, UnicodeDecodeError) as problem:
        raise TopologyLoadError(shown, "parse", str(problem)) from problem


def text_of(name: str, for_protocol: str, topology: Layout) -> str:
    """The text of a topology, one entry a line."""
    lines = [f"topology {name} for {for_protocol} {{"]
    lines += [f"  mode: {topology.mode}"] if topology.mode else []
    lines += [f"  {role}: {location}" for role, location in topology.locations.items()]
    lines += _block("role_constraints", [f"{name}: {one}" for name, one in topology.role_constraints.items()])
    capacities = topology.channel_capacities.items()
    lines += _block("channel_capacities", [f"{ends[0]} -> {ends[1]}: {bits}" for ends, bits in capacities])
    lines += _block("constraints", [str(one) for one in topology.constraints])
    return "\n".join([*lines, "}", ""])


def _block(name: str, entries: list[str]) -> list[str]:
    return [f"  {name} {{", *(f"    {entry}" for entry in entries), "  }"] if entries else []


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._skip()

    def topology(self) -> Written:
        self._word("topology")
        name = self._take(_NAME, "the topology's name")
        self._word("for")
        protocol = self._take(_PROTOCOL, "the protocol's name")
        self._mark("{")
        mode = self._mode()
        locations = self._locations()
        families: dict[str, RoleFamilyConstraint] = {}
        capacities: dict[Channel, int] = {}
        constraints: list[TopologyConstraint] = []
        self._section("role_constraints", lambda: self._family(families))
        self._section("channel_capacities", lambda: self._capacity(capacities))
        self._section("constraints", lambda: constraints.extend(self._constraints()))
        if not self._sees("}"):
            self._fail(
                "`}`", "the order is mode, roles, role_constraints, channel_capacities, constraints, each once at most"
            )
        self._mark("}")
        if self._at < len(self._text):
            self._fail("the end of the text", "one file holds one topology")
        return Written(name, protocol, Layout(locations, capacities, tuple(constraints), families, mode))

    # Parts

    def _mode(self) -> TopologyMode | None:
        if not self._sees_entry("mode"):
            return None
        self._word("mode")
        self._mark(":")
        start = self._at
        mode = self._take(_MODE, "`local`")
        if mode != "local":
            line, column = self._place(start)
            raise UnknownMode(mode, line=line, column=column)
        self._end_entry()
        return "local"

    def _locations(self) -> dict[str, Location]:
        locations: dict[str, Location] = {}
        while self._sees_role_line():
            start = self._at
            role = self._role()
            if role == "mode":
                self._at = start
                self._fail("a role", "the mode stands before all roles, once, and no role is called so")
            if role in locations:
                self._at = start
                self._fail("another role", f"{role} has a location already")
            self._mark(":")
            locations[role] = self._location()
            self._end_entry()
        return locations

    def _family(self, families: dict[str, RoleFamilyConstraint]) -> None:
        start = self._at
        name = self._take(_NAME, "a family's name")
        if name in families:
            self._at = start
            self._fail("another family", f"{name} is constrained already")
        self._mark(":")
        bounds: dict[str, int] = {}
        while True:
            at = self._at
            key = self._take(_NAME, "`min` or `max`")
            if key not in ("min", "max") or key in bounds:
                self._at = at
                self._fail("`min` or `max`, each once", "such as Voter: min = 2, max = 5")
            self._mark("=")
            bounds[key] = self._number("a count")
            if not self._sees(","):
                break
            self._mark(",")
        families[name] = self._checked(start, lambda: RoleFamilyConstraint(bounds.get("min", 0), bounds.get("max")))

    def _capacity(self, capacities: dict[Channel, int]) -> None:
        start = self._at
        sender = self._role()
        self._mark("->")
        receiver = self._role()
        if (sender, receiver) in capacities:
            self._at = start
            self._fail("another pair", f"{sender} -> {receiver} has a capacity already")
        self._mark(":")
        at = self._at
        bits = self._number("a capacity in bits")
        if bits > CAPACITY_BITS_MAX:
            self._at = at
            self._fail(f"0..{CAPACITY_BITS_MAX} bits", "a choice of n labels takes log2(n) bits")
        capacities[sender, receiver] = bits

    def _constraints(self) -> Iterator[TopologyConstraint]:
        """What one line of the text says; three roles and more stand for each pair of them."""
        start = self._at
        word = self._take(_NAME, "`colocated`, `separated`, `pinned` or `region`")
        self._mark(":")
        if word in ("colocated", "separated"):
            roles = [self._role()]
            self._mark(",")
            roles.append(self._role())
            while self._sees(","):
                self._mark(",")
                roles.append(self._role())
            yield from starmap(ColocatedRoles if word == "colocated" else SeparatedRoles, combinations(roles, 2))
        elif word in ("pinned", "region"):
            role = self._role()
            self._mark("->")
            if word == "pinned":
                yield PinnedRole(role, self._location())
            else:
                yield RegionOfRole(role, self._take(_REGION, "a region's name"))
        else:
            self._at = start
            self._fail("`colocated`, `separated`, `pinned` or `region`")

    def _location(self) -> Location:
        start = self._at
        word = self._take(_WORD, "`local`, host:port or colocated(Role)")
        if word == "colocated" and self._sees("("):
            self._mark("(")
            peer = self._role()
            self._mark(")")
            return Colocated(peer)
        return LOCAL if word == "local" else Remote(self._checked(start, lambda: TopologyEndpoint.parse(word)))

    def _section(self, name: str, entry: Callable[[], None]) -> None:
        if not self._sees_word(name):
            return
        self._word(name)
        self._mark("{")
        while not self._sees("}"):
            entry()
            self._end_entry()
        self._mark("}")
        self._end_entry()

    def _end_entry(self) -> None:
        while self._sees(";"):
            self._mark(";")

    # Words

    def _role(self) -> str:
        return self._take(_ROLE, "a role's name")

    def _number(self, expected: str) -> int:
        # Longer than any number that is meant, and than Python would convert for nothing.
        digits = self._take(_NUMBER, expected)
        return int(digits) if len(digits) < 10 else 10**9

    def _checked(self, start: int, make: Callable[[], Made]) -> Made:
        try:
            return make()
        except TopologyError as problem:
            self._at = start
            self._fail("something else", str(problem))

    def _sees(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _sees_word(self, word: str) -> bool:
        found = _NAME.match(self._text, self._at)
        return found is not None and found.group() == word and not self._sees_entry(word)

    def _sees_entry(self, word: str) -> bool:
        """Whether *word* and a colon come next: then it is a role, or the mode."""
        found = _NAME.match(self._text, self._at)
        if found is None or found.group() != word:
            return False
        behind = _SPACE.match(self._text, found.end())
        return self._text.startswith(":", behind.end() if behind else found.end())

    def _sees_role_line(self) -> bool:
        found = _ROLE.match(self._text, self._at)
        if found is None:
            return False
        behind = _SPACE.match(self._text, found.end())
        # What is followed by `{` is a section, or meant to be one.
        return not self._text.startswith("{", behind.end() if behind else found.end())

    def _word(self, word: str) -> None:
        found = _NAME.match(self._text, self._at)
        if found is None or found.group() != word:
            self._fail(f"`{word}`")
        self._advance(found.end())

    def _mark(self, mark: str) -> None:
        if not self._sees(mark):
            self._fail(f"`{mark}`")
        self._advance(self._at + len(mark))

    def _take(self, pattern: re.Pattern[str], expected: str) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            self._fail(expected)
        self._advance(found.end())
        return found.group()

    def _advance(self, to: int) -> None:
        self._at = to
        self._skip()

    def _skip(self) -> None:
        behind = _SPACE.match(self._text, self._at)
        self._at = behind.end() if behind else self._at
        if self._text.startswith("/*", self._at):
            self._fail("`*/` further on", "this comment is never closed")

    def _place(self, at: int) -> tuple[int, int]:
        before = self._text[:at]
        return before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1

    def _fail(self, expected: str, hint: str = "") -> NoReturn:
        line, column = self._place(self._at)
        found = _WORD.match(self._text, self._at)
        word = found.group()[:40] if found else self._text[self._at : self._at + 1]
        raise TopologySyntaxError(
            line=line, column=column, seen=repr(word) if word else "the end", expected=expected, hint=hint
        )
