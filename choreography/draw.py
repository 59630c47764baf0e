"""Pictures: a protocol as a sequence diagram, a role as a state machine, each as Mermaid text and as SVG.

Pure functions from data to text: same input, same picture, byte for byte. Lays out for reading, not for beauty, and
draws nothing by itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple, Protocol

from .core import (
    Comm,
    Custom,
    GlobalType,
    Local,
    Parallel,
    Rec,
    Repeat,
    Timeout,
    Var,
    children_first,
    participants,
    successors,
)
from .local import type_text

# A picture of more rows than this is read by nobody; what follows is said to be left out.
ROWS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG text that a notebook shows by itself."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


class DrawnTransition(Protocol):
    """What a picture needs of a transition; its text is its label."""

    @property
    def target(self) -> int:
        """Where the arrow points."""


class DrawnState(Protocol):
    """What a picture needs of a state."""

    @property
    def number(self) -> int:
        """What stands in the circle."""

    @property
    def kind(self) -> str:
        """A final state gets a ring, a timeout its clock."""

    @property
    def owner(self) -> str:
        """Whose clock runs, of a timeout."""

    @property
    def milliseconds(self) -> int:
        """How long, of a timeout."""

    @property
    def transitions(self) -> Sequence[DrawnTransition]:
        """The arrows out."""


class DrawnMachine(Protocol):
    """What a picture needs of a state machine, such as `fsm.StateMachine`; the first state is where it begins."""

    @property
    def role(self) -> str:
        """Whose machine it is."""

    @property
    def states(self) -> Sequence[DrawnState]:
        """All states, each at the place of its number."""


# --- the rows of a sequence diagram -------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row: a message, the beginning or end of a frame, a divider in one, a note, or a jump.

    kind: message · open · divide · close · note.
    """

    kind: str
    text: str
    sender: str = ""
    receiver: str = ""
    depth: int = 0


def sequence_rows(root: GlobalType, *, rows_max: int = ROWS_MAX) -> tuple[Row, ...]:
    """A protocol as rows, top to bottom.

    Where branches meet again, what follows them is drawn once, after the frame; that keeps twenty choices in a row as
    long as they are written.
    """
    return tuple(_Rows(root, rows_max).rows)


class _Rows:
    def __init__(self, root: GlobalType, rows_max: int) -> None:
        self.rows: list[Row] = []
        self._rows_max = rows_max
        self._joins = _Joins(root)
        # What is still to be drawn: a node and where to stop, or a finished row.
        self._waiting: list[tuple[GlobalType, GlobalType | None, int] | Row] = [(root, None, 0)]
        self._run()

    def _run(self) -> None:
        while self._waiting:
            if len(self.rows) >= self._rows_max:
                self.rows.append(Row("note", f"… left out after {self._rows_max} rows"))
                return
            item = self._waiting.pop()
            if isinstance(item, Row):
                self.rows.append(item)
            else:
                self._draw(*item)

    def _draw(self, node: GlobalType, stop: GlobalType | None, depth: int) -> None:
        if node is stop:
            return
        match node:
            case Comm(sender=sender, receiver=receiver, branches=(only,)):
                self.rows.append(Row("message", _label(only.label, type_text(only.payload)), sender, receiver, depth))
                self._later((only.continuation, stop, depth))
            case Comm(sender=sender, receiver=receiver, branches=branches):
                join = self._joins.join_of(node)
                self._frame(f"choice of {sender}", join, stop, depth)
                items: list[tuple[GlobalType, GlobalType | None, int] | Row] = []
                for number, branch in enumerate(branches):
                    if number:
                        items.append(Row("divide", branch.label, depth=depth))
                    text = _label(branch.label, type_text(branch.payload))
                    items.append(Row("message", text, sender, receiver, depth + 1))
                    items.append((branch.continuation, join or stop, depth + 1))
                self._later(*items)
            case Parallel(branches=parts, continuation=after):
                self._frame("par", after, stop, depth)
                self._later(*_divided([("", part) for part in parts], None, depth))
            case Timeout(owner=owner, milliseconds=milliseconds):
                join = self._joins.join_of(node)
                named = [("", node.body), ("on timeout", node.on_timeout)]
                named += [] if node.on_cancel is None else [("on cancel", node.on_cancel)]
                self._frame(f"timeout {milliseconds} ms, {owner}'s clock", join, stop, depth)
                self._later(*_divided(named, join or stop, depth))
            case Rec(name=name, body=body):
                join = self._joins.exit_of(node)
                self._frame(f"loop {name}", join, stop, depth)
                self._later((body, join or stop, depth + 1))
            case Repeat(count=count, body=body, continuation=after):
                self._frame(f"repeat {count} times", after, stop, depth)
                self._later((body, None, depth + 1))
            case Var(name=name):
                self.rows.append(Row("note", f"continue {name}", depth=depth))
            case Local(actor=actor, action=action, continuation=after):
                self.rows.append(Row("note", f"{actor or 'local'}: {type(action).__name__.lower()}", depth=depth))
                self._later((after, stop, depth))
            case Custom(statement=statement, continuation=after):
                self.rows.append(Row("note", statement.keyword, depth=depth))
                self._later((after, stop, depth))
            case _:
                pass

    def _frame(self, title: str, join: GlobalType | None, stop: GlobalType | None, depth: int) -> None:
        """Open a frame now; its end, and what follows it, come after its content."""
        self.rows.append(Row("open", title, depth=depth))
        if join is not None:
            self._waiting.append((join, stop, depth))
        self._waiting.append(Row("close", "", depth=depth))

    def _later(self, *items: "tuple[GlobalType, GlobalType | None, int] | Row") -> None:
        self._waiting.extend(reversed(items))


def _label(name: str, carried: str | None) -> str:
    if not carried:
        return name
    return f"{name}{carried}" if carried.startswith("(") else f"{name} of {carried}"


def _divided(
    parts: Sequence[tuple[str, GlobalType]], stop: GlobalType | None, depth: int
) -> Iterator["tuple[GlobalType, GlobalType | None, int] | Row"]:
    for number, (title, part) in enumerate(parts):
        if number:
            yield Row("divide", title, depth=depth)
        yield part, stop, depth + 1


class _Joins:
    """Where the branches of a node meet again: the first node that every way to the end passes.

    Lowering appends what follows a block to each of its branches as one shared object, so this is where the block ended
    in the text. Immediate postdominators, computed once; ways that go round a loop do not count.
    """

    def __init__(self, root: GlobalType) -> None:
        order = children_first(root)
        self._rank = {id(node): rank for rank, node in enumerate(order)}
        self._node = {id(node): node for node in order}
        self._next: dict[int, int | None] = {}
        for node in order:
            self._next[id(node)] = self._meet(node)

    def join_of(self, node: GlobalType) -> GlobalType | None:
        """Where the branches of a node meet; None when they end apart."""
        key = self._next[id(node)]
        found = None if key is None else self._node[key]
        return None if found is None or not successors(found) else found

    def exit_of(self, loop: Rec) -> GlobalType | None:
        """What follows a loop: the first node on every way out that belongs to no branch of a choice in the loop."""
        body = loop.body
        if isinstance(body, Comm) and len(body.branches) > 1:
            leaving = [one.continuation for one in body.branches if not self._returns(one.continuation)]
            if len(leaving) == 1 and len(body.branches) == 2 and successors(leaving[0]):
                return leaving[0]
        return None

    def _returns(self, node: GlobalType) -> bool:
        return self._next[id(node)] is None

    def _meet(self, node: GlobalType) -> int | None:
        if isinstance(node, Var):
            return None
        ways = list(successors(node))
        if isinstance(node, Parallel | Repeat):
            ways = ways[-1:]
        ends = [id(after) for after in ways if not self._is_lost(after)]
        if not ends:
            return None
        meeting: int | None = ends[0]
        for other in ends[1:]:
            meeting = self._common(meeting, other)
        return meeting

    def _is_lost(self, node: GlobalType) -> bool:
        return isinstance(node, Var) or (bool(successors(node)) and self._next[id(node)] is None)

    def _common(self, one: int | None, other: int | None) -> int | None:
        while one is not None and other is not None and one != other:
            if self._rank[one] > self._rank[other]:
                one = self._next[one]
            else:
                other = self._next[other]
        return one if one == other else None


# --- Mermaid ------------------------------------------------------------------------------------------------------


def sequence_mermaid(root: GlobalType, roles: Sequence[str] | None = None, *, title: str = "") -> str:
    """The protocol as a Mermaid sequence diagram."""
    names = tuple(roles) if roles is not None else participants(root)
    ids = {name: f"p{number}" for number, name in enumerate(names)}
    lines = [*(["---", f"title: {title}", "---"] if title else []), "sequenceDiagram"]
    lines += [f"    participant {ids[name]} as {_plain(name)}" for name in names]
    opened: list[str] = []
    anchor = ",".join(dict.fromkeys((ids[names[0]], ids[names[-1]]))) if names else "p0"
    for row in sequence_rows(root):
        margin = "    " * (1 + row.depth)
        match row.kind:
            case "message":
                lines.append(f"{margin}{ids[row.sender]}->>{ids[row.receiver]}: {_plain(row.text)}")
            case "open":
                word = "loop" if row.text.startswith(("loop", "repeat")) else "par" if row.text == "par" else "alt"
                opened.append("and" if word == "par" else "else")
                lines.append(
                    f"{margin}{word} {_plain(row.text.removeprefix('loop ').removeprefix('par')) or 'at once'}"
                )
            case "divide":
                lines.append(f"{margin}{opened[-1]} {_plain(row.text)}".rstrip())
            case "close":
                opened.pop()
                lines.append(f"{margin}end")
            case _:
                lines.append(f"{margin}Note over {anchor}: {_plain(row.text)}")
    # The drawing was cut short: frames still open are closed, so that the text stays a diagram.
    lines += ["    end"] * len(opened)
    return "\n".join(lines) + "\n"


def machine_mermaid(machine: DrawnMachine, *, title: str = "") -> str:
    """A role's states as a Mermaid state diagram."""
    lines = [*(["---", f"title: {title}", "---"] if title else []), "stateDiagram-v2", "    [*] --> s0"]
    for state in machine.states:
        if state.kind == "timeout":
            lines.append(f"    s{state.number} : {state.number} timeout {state.milliseconds} ms {_plain(state.owner)}")
        else:
            lines.append(f"    s{state.number} : {state.number}")
        lines += [f"    s{state.number} --> s{one.target} : {_plain(str(one))}" for one in state.transitions]
        if state.kind == "final":
            lines.append(f"    s{state.number} --> [*]")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text without what Mermaid would read as syntax."""
    return (
        text.replace("#", "#35;")
        .replace(";", "#59;")
        .replace("#35#59;", "#35;")
        .replace(":", "#58;")
        .replace("\n", " ")
    )


# --- SVG ----------------------------------------------------------------------------------------------------------

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24}.m{text-anchor:middle}.s{font-size:11px;fill:#57606a}"
    ".l{stroke:#8c959f;stroke-dasharray:3 3}.a{stroke:#0b62a4;fill:none;stroke-width:1.4}"
    ".b{fill:#eef4fa;stroke:#0b62a4}.f{fill:none;stroke:#8c959f}.d{stroke:#8c959f;stroke-dasharray:5 3}"
    ".n{fill:#fff8d6;stroke:#c9a400}.e{fill:#0b62a4}"
)
_ARROW = (
    '<defs><marker id="h" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" class="e"/></marker></defs>'
)
_ROW_HEIGHT = 30


def _svg(width: int, height: int, title: str, body: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title><style>{_STYLE}</style>{_ARROW}'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
    )
    return "\n".join([head, *body, "</svg>"]) + "\n"


def sequence_svg(root: GlobalType, roles: Sequence[str] | None = None, *, title: str = "protocol") -> str:
    """The protocol as an SVG sequence diagram."""
    names = tuple(roles) if roles is not None else participants(root)
    rows = sequence_rows(root)
    widest = max((len(name) for name in names), default=4)
    text = max((len(row.text) for row in rows if row.kind == "message"), default=8)
    gap = min(320, max(110, 8 * widest + 24, 4 * text + 40))
    columns = {name: 70 + gap * number for number, name in enumerate(names)}
    width = 140 + gap * max(0, len(names) - 1)
    height = 70 + _ROW_HEIGHT * (len(rows) + 1)
    body = list(_lifelines(columns, height))
    frames: list[tuple[int, Row]] = []
    for number, row in enumerate(rows):
        body += _row_svg(row, 70 + _ROW_HEIGHT * number, columns, width, frames)
    return _svg(width, height, title, body)


def _lifelines(columns: Mapping[str, int], height: int) -> Iterator[str]:
    for name, x in columns.items():
        half = max(35, 4 * len(name) + 8)
        yield f'<line x1="{x}" y1="40" x2="{x}" y2="{height - 10}" class="l"/>'
        yield f'<rect x="{x - half}" y="14" width="{2 * half}" height="26" rx="4" class="b"/>'
        yield f'<text x="{x}" y="31" class="m">{escape(name)}</text>'


def _row_svg(row: Row, y: int, columns: Mapping[str, int], width: int, frames: list[tuple[int, Row]]) -> Iterator[str]:
    inset = 6 + 6 * min(row.depth, 8)
    match row.kind:
        case "message":
            start, end = columns[row.sender], columns[row.receiver]
            yield f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}" class="a" marker-end="url(#h)"/>'
            yield f'<text x="{(start + end) // 2}" y="{y - 5}" class="m">{escape(row.text)}</text>'
        case "open":
            frames.append((y, row))
            yield f'<text x="{inset + 5}" y="{y + 2}" class="s">{escape(row.text)}</text>'
        case "divide":
            yield f'<line x1="{inset}" y1="{y - 12}" x2="{width - inset}" y2="{y - 12}" class="d"/>'
            yield f'<text x="{inset + 5}" y="{y + 2}" class="s">{escape(row.text)}</text>'
        case "close":
            top, _ = frames.pop()
            yield (
                f'<rect x="{inset}" y="{top - 14}" width="{width - 2 * inset}" height="{y - top + 4}" '
                'rx="3" class="f"/>'
            )
        case _:
            yield f'<rect x="{inset + 12}" y="{y - 14}" width="{7 * len(row.text) + 14}" height="20" class="n"/>'
            yield f'<text x="{inset + 19}" y="{y}" class="s">{escape(row.text)}</text>'


def machine_svg(machine: DrawnMachine, *, title: str = "") -> str:
    """A role's states as an SVG drawing: one row for each distance from the start."""
    levels = _levels(machine)
    rows: dict[int, list[int]] = {}
    for number, level in levels.items():
        rows.setdefault(level, []).append(number)
    widest = max(len(numbers) for numbers in rows.values())
    column = max(120, 8 * max((len(str(one)) for state in machine.states for one in state.transitions), default=8))
    width = 120 + column * max(2, widest)
    places = {
        number: ((width * (place + 1)) // (len(numbers) + 1), 50 + 90 * level)
        for level, numbers in rows.items()
        for place, number in enumerate(numbers)
    }
    body = [edge for state in machine.states for edge in _edges_svg(machine, state.number, places)]
    body += [_state_svg(machine, number, x, y) for number, (x, y) in sorted(places.items())]
    return _svg(width, 100 + 90 * max(rows), title or machine.role, body)


def _levels(machine: DrawnMachine) -> dict[int, int]:
    levels = {0: 0}
    waiting = [0]
    for number in waiting:
        for one in machine.states[number].transitions:
            if one.target not in levels:
                levels[one.target] = levels[number] + 1
                waiting.append(one.target)
    return levels


def _state_svg(machine: DrawnMachine, number: int, x: int, y: int) -> str:
    state = machine.states[number]
    ring = f'<circle cx="{x}" cy="{y}" r="19" class="f"/>' if state.kind == "final" else ""
    note = f'<text x="{x + 24}" y="{y + 4}" class="s">{state.milliseconds} ms {escape(state.owner)}</text>'
    shown = note if state.kind == "timeout" else ""
    return (
        f'<circle cx="{x}" cy="{y}" r="15" class="b"/>{ring}<text x="{x}" y="{y + 4}" class="m">{number}</text>{shown}'
    )


def _edges_svg(machine: DrawnMachine, number: int, places: Mapping[int, tuple[int, int]]) -> Iterator[str]:
    # Transitions between the same two states share one arrow, with their labels on one line each.
    targets: dict[int, list[str]] = {}
    for one in machine.states[number].transitions:
        targets.setdefault(one.target, []).append(str(one))
    x, y = places[number]
    for place, (target, labels) in enumerate(targets.items()):
        to_x, to_y = places[target]
        if target == number:
            path = f"M{x + 13} {y - 8}C{x + 60} {y - 40} {x + 60} {y + 40} {x + 14} {y + 8}"
            middle = (x + 54, y)
        elif to_y > y and (to_y - y == 90 or place == 0):
            path = f"M{x} {y + 16}L{to_x} {to_y - 18}"
            middle = ((x + to_x) // 2 + 6, (y + to_y) // 2)
        else:
            bend = 50 + 24 * place
            path = (
                f"M{x - 14} {y + 6}C{x - bend} {(y + to_y) // 2} {to_x - bend} {(y + to_y) // 2} {to_x - 14} {to_y + 8}"
            )
            middle = ((x + to_x) // 2 - bend + 10, (y + to_y) // 2)
        yield f'<path d="{path}" class="a" marker-end="url(#h)"/>'
        for line, label in enumerate(labels):
            yield f'<text x="{middle[0]}" y="{middle[1] + 14 * line}" class="s">{escape(label)}</text>'
