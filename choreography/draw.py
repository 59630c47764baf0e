"""Pictures: a protocol as a sequence diagram, a role as a state machine, each as Mermaid text and as SVG.

Pure functions from data to text: same input, same picture, byte for byte. Lays out for reading, not for beauty, and
draws nothing by itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
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
from .dsl.format import format_duration
from .layered import Box, Place, place_layers
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
                self._frame(f"timeout {format_duration(milliseconds)}, {owner}'s clock", join, stop, depth)
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


class Happening(NamedTuple):
    """Something that happened: a message from one role to another, or, without a receiver, a remark about a role."""

    sender: str
    receiver: str
    text: str


def transcript_mermaid(happenings: Iterable[Happening], roles: Sequence[str], *, title: str = "") -> str:
    """What happened, in order, as a Mermaid sequence diagram."""
    ids = {name: f"p{number}" for number, name in enumerate(roles)}
    lines = [*(["---", f"title: {title}", "---"] if title else []), "sequenceDiagram"]
    lines += [f"    participant {ids[name]} as {_plain(name)}" for name in roles]
    for one in happenings:
        if one.receiver:
            lines.append(f"    {ids[one.sender]}->>{ids[one.receiver]}: {_plain(one.text)}")
        else:
            lines.append(f"    Note over {ids[one.sender]}: {_plain(one.text)}")
    return "\n".join(lines) + "\n"


def machine_mermaid(machine: DrawnMachine, *, title: str = "") -> str:
    """A role's states as a Mermaid state diagram."""
    lines = [*(["---", f"title: {title}", "---"] if title else []), "stateDiagram-v2", "    [*] --> s0"]
    for state in machine.states:
        if state.kind == "timeout":
            lines.append(f"    s{state.number} : {state.number} timeout {_plain(_clock_text(state))}")
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
    ".n{fill:#fff8d6;stroke:#c9a400}.e{fill:#0b62a4}.w{fill:#fff}"
)
_ARROW = (
    '<defs><marker id="h" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" class="e"/></marker></defs>'
)
# Pixels a letter, on the wide side: nobody here can ask the reader's font. What is longer is cut, whole in its tooltip.
_LETTER = 7.0
_SMALL_LETTER = 6.3
_LABEL_MAX = 60


def _svg(width: int, height: int, title: str, body: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title><style>{_STYLE}</style>{_ARROW}'
        f'<rect width="{width}" height="{height}" class="w"/>'
    )
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, style: str) -> str:
    shown = _shown(text)
    whole = f"<title>{escape(text)}</title>" if shown != text else ""
    return f'<text x="{round(x)}" y="{round(y)}" class="{style}">{escape(shown)}{whole}</text>'


def _shown(text: str) -> str:
    return text if len(text) <= _LABEL_MAX else f"{text[: _LABEL_MAX - 1]}…"


def _width(text: str, letter: float = _LETTER) -> float:
    return letter * len(_shown(text))


def _paper(left: float, top: float, width: float, height: float) -> str:
    """A white patch, so that no line runs through the text that comes on it."""
    return f'<rect x="{round(left)}" y="{round(top)}" width="{round(width)}" height="{height}" class="w"/>'


# --- a sequence diagram as SVG

_HEAD_HEIGHT = 52
_ROW_HEIGHTS = {"message": 30, "open": 28, "divide": 26, "close": 14, "note": 28}
_FRAME_INSET = 7


def sequence_svg(root: GlobalType, roles: Sequence[str] | None = None, *, title: str = "protocol") -> str:
    """The protocol as an SVG sequence diagram."""
    names = tuple(roles) if roles is not None else participants(root)
    rows = sequence_rows(root)
    depth = min(_DEPTH_MAX, 1 + max((row.depth for row in rows), default=0))
    columns, right = _columns(names, rows, left=8 + _FRAME_INSET * depth)
    aside = max((_width(row.text, _SMALL_LETTER) for row in rows if row.kind != "message"), default=0.0)
    width = round(max(right, aside + 2 * _FRAME_INSET * depth) + 8 + _FRAME_INSET * depth)
    height = _HEAD_HEIGHT + sum(_ROW_HEIGHTS[row.kind] for row in rows) + 24
    body = list(_lifelines(columns, height))
    frames: list[int] = []
    y = _HEAD_HEIGHT
    for row in rows:
        y += _ROW_HEIGHTS[row.kind]
        body += _row_svg(row, y, columns, width, frames)
    return _svg(width, height, title, body)


# Frames nested deeper than this are drawn on top of each other.
_DEPTH_MAX = 12


def _columns(names: Sequence[str], rows: Sequence[Row], *, left: float) -> tuple[dict[str, float], float]:
    """Where each lifeline stands, so far apart that every message fits between its two; and where the last one ends."""
    halves = [max(35.0, _width(name) / 2 + 10) for name in names]
    gaps = [max(90.0, one + other + 14) for one, other in pairwise(halves)]
    place = {name: number for number, name in enumerate(names)}
    wanted: dict[tuple[int, int], float] = {}
    for row in rows:
        if row.kind == "message":
            first, last = sorted((place[row.sender], place[row.receiver]))
            wanted[first, last] = max(wanted.get((first, last), 0.0), _width(row.text) + 28)
    for (first, last), needed in sorted(wanted.items(), key=lambda item: (item[0][1] - item[0][0], item[0])):
        missing = (needed - sum(gaps[first:last])) / max(1, last - first)
        for number in range(first, last):
            gaps[number] += max(0.0, missing)
    x = left + (halves[0] if halves else 0.0)
    columns = {}
    for name, gap in zip(names, [*gaps, 0.0], strict=True) if names else ():
        columns[name] = x
        x += gap
    return columns, x + (halves[-1] if halves else 0.0)


def _lifelines(columns: Mapping[str, float], height: int) -> Iterator[str]:
    for name, x in columns.items():
        half = max(35.0, _width(name) / 2 + 10)
        yield f'<line x1="{round(x)}" y1="40" x2="{round(x)}" y2="{height - 10}" class="l"/>'
        yield f'<rect x="{round(x - half)}" y="14" width="{round(2 * half)}" height="26" rx="4" class="b"/>'
        yield _text(x, 31, name, "m")


def _row_svg(row: Row, y: int, columns: Mapping[str, float], width: int, frames: list[int]) -> Iterator[str]:
    """One row; `y` is its lower edge. A frame is drawn at its end, when its height is known."""
    inset = 6 + _FRAME_INSET * min(row.depth, _DEPTH_MAX)
    match row.kind:
        case "message":
            start, end = round(columns[row.sender]), round(columns[row.receiver])
            middle, long = (start + end) / 2, _width(row.text)
            yield _paper(middle - long / 2 - 2, y - 21, long + 4, 14)
            yield f'<line x1="{start}" y1="{y - 4}" x2="{end}" y2="{y - 4}" class="a" marker-end="url(#h)"/>'
            yield _text(middle, y - 10, row.text, "m")
        case "open":
            frames.append(y - 20)
            yield from _aside(row.text, inset, y)
        case "divide":
            yield f'<line x1="{inset}" y1="{y - 18}" x2="{width - inset}" y2="{y - 18}" class="d"/>'
            yield from _aside(row.text, inset, y)
        case "close":
            top = frames.pop()
            size = f'width="{width - 2 * inset}" height="{y - 4 - top}"'
            yield f'<rect x="{inset}" y="{top}" {size} rx="3" class="f"/>'
        case _:
            long = round(_width(row.text, _SMALL_LETTER)) + 14
            yield f'<rect x="{inset + 4}" y="{y - 22}" width="{long}" height="20" class="n"/>'
            yield _text(inset + 11, y - 8, row.text, "s")


def _aside(text: str, inset: int, y: int) -> Iterator[str]:
    """What stands in the corner of a frame."""
    if text:
        yield _paper(inset + 2, y - 17, _width(text, _SMALL_LETTER) + 6, 14)
        yield _text(inset + 5, y - 6, text, "s")


# --- a state machine as SVG

_RADIUS = 15
_LINE_HEIGHT = 14
# A longer way is not drawn as a line: a stub says where it leads.
_SPAN_MAX = 12
# A machine of more states than this is read by nobody; ways into what is left out are stubs.
_STATES_SHOWN_MAX = 1_000


def machine_svg(machine: DrawnMachine, *, title: str = "") -> str:
    """A role's states as an SVG drawing, downwards from the first; ways with the same two ends share one line."""
    plan = _Plan(machine)
    drawing = place_layers(plan.boxes, plan.layers, plan.links, margin=34)
    body = [part for way in plan.ways for part in _way_svg(way, drawing.places, plan)]
    body += [_state_svg(machine.states[number], drawing.places[box]) for number, box in plan.box_of.items()]
    start = drawing.places[0]
    body.append(f'<circle cx="{start.x}" cy="{start.y - _RADIUS - 22}" r="4" class="e"/>')
    entry = f"M{start.x} {start.y - _RADIUS - 18}L{start.x} {start.y - _RADIUS - 1}"
    body.append(f'<path d="{entry}" class="a" marker-end="url(#h)"/>')
    return _svg(drawing.width, drawing.height, title or machine.role, body)


class _Way(NamedTuple):
    """A line from one state to another, or a stub: its boxes from top to bottom, and its labels with their box."""

    boxes: tuple[int, ...]
    labels: tuple[str, ...]
    label_box: int
    is_upwards: bool = False
    is_stub: bool = False


class _Plan:
    """What of a machine is drawn as which box, in which layer: states in the even ones, labels in the odd ones."""

    def __init__(self, machine: DrawnMachine) -> None:
        ranks = _ranks(machine)
        shown = sorted(ranks)[:_STATES_SHOWN_MAX]
        self._ranks = {number: ranks[number] for number in shown}
        self.boxes: list[Box] = []
        self.layers: list[list[int]] = [[] for _ in range(2 * max(self._ranks.values()) + 2)]
        self.links: list[tuple[int, int]] = []
        self.ways: list[_Way] = []
        self.box_of = {number: self._state_box(machine.states[number]) for number in shown}
        for number in shown:
            for target, labels in _labels_by_target(machine.states[number]).items():
                self._plan_way(number, target, labels)

    def _add(self, layer: int, box: Box) -> int:
        self.boxes.append(box)
        self.layers[layer].append(len(self.boxes) - 1)
        return len(self.boxes) - 1

    def _state_box(self, state: DrawnState) -> int:
        beside = _clock_text(state)
        loops = _labels_by_target(state).get(state.number, ())
        right = max(
            [_RADIUS + 4.0, *(_width(label, _SMALL_LETTER) + 66 for label in loops)]
            + ([_width(beside, _SMALL_LETTER) + 26] if beside else [])
        )
        height = 2.0 * max(_RADIUS + 4, _LINE_HEIGHT * len(loops) / 2 + 14 if loops else 0)
        return self._add(2 * self._ranks[state.number], Box(_RADIUS + 4, right, height))

    def _plan_way(self, source: int, target: int, labels: tuple[str, ...]) -> None:
        if source == target:
            own = self.box_of[source]
            self.ways.append(_Way((own,), labels, own))
            return
        span = self._ranks[target] - self._ranks[source] if target in self._ranks else _SPAN_MAX + 1
        if abs(span) > _SPAN_MAX:
            stub = (*labels, f"→ {target}")
            box = self._add(2 * self._ranks[source] + 1, _label_box(stub))
            self._link((self.box_of[source], box))
            self.ways.append(_Way((self.box_of[source], box), stub, box, is_stub=True))
            return
        upper, lower = (source, target) if span > 0 else (target, source)
        between = range(2 * self._ranks[upper] + 1, 2 * self._ranks[lower])
        # The label stands beside the state that the way leaves.
        labelled = between[0] if span > 0 else between[-1]
        inner = [self._add(layer, _label_box(labels) if layer == labelled else Box(4, 4, 0)) for layer in between]
        boxes = (self.box_of[upper], *inner, self.box_of[lower])
        self._link(boxes)
        self.ways.append(_Way(boxes, labels, inner[0] if span > 0 else inner[-1], is_upwards=span < 0))

    def _link(self, boxes: Sequence[int]) -> None:
        self.links += pairwise(boxes)


def _label_box(labels: Sequence[str]) -> Box:
    half = max(_width(label, _SMALL_LETTER) for label in labels) / 2 + 3
    return Box(half, half, _LINE_HEIGHT * len(labels) + 4)


def _labels_by_target(state: DrawnState) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for one in state.transitions:
        found[one.target] = (*found.get(one.target, ()), str(one))
    return found


def _ranks(machine: DrawnMachine) -> dict[int, int]:
    """How far down each state stands: below everything that leads to it, ways back upwards aside."""
    ranks: dict[int, int] = {}
    finished: list[int] = []
    is_open: dict[int, bool] = {0: True}
    forward: dict[int, list[int]] = {}
    waiting: list[tuple[int, Iterator[int]]] = [(0, iter(_labels_by_target(machine.states[0])))]
    while waiting:
        number, targets = waiting[-1]
        for target in targets:
            if not is_open.get(target, False):
                forward.setdefault(number, []).append(target)
            if target not in is_open:
                is_open[target] = True
                waiting.append((target, iter(_labels_by_target(machine.states[target]))))
                break
        else:
            waiting.pop()
            is_open[number] = False
            finished.append(number)
    for number in reversed(finished):
        ranks.setdefault(number, 0)
        for target in forward.get(number, ()):
            ranks[target] = max(ranks.get(target, 0), ranks[number] + 1)
    return ranks


def _clock_text(state: DrawnState) -> str:
    return f"{format_duration(state.milliseconds)}, {state.owner}'s clock" if state.kind == "timeout" else ""


def _state_svg(state: DrawnState, place: Place) -> str:
    x, y = place
    ring = f'<circle cx="{x}" cy="{y}" r="{_RADIUS + 4}" class="f"/>' if state.kind == "final" else ""
    beside = _clock_text(state)
    return (
        f'<circle cx="{x}" cy="{y}" r="{_RADIUS}" class="b"/>{ring}{_text(x, y + 4, str(state.number), "m")}'
        f"{_text(x + _RADIUS + 8, y + 4, beside, 's') if beside else ''}"
    )


def _way_svg(way: _Way, places: Sequence[Place], plan: _Plan) -> Iterator[str]:
    if len(way.boxes) == 1:
        x, y = places[way.boxes[0]]
        path = f"M{x + 12} {y - 9}C{x + 56} {y - 34} {x + 56} {y + 34} {x + 14} {y + 10}"
        yield f'<path d="{path}" class="a" marker-end="url(#h)"/>'
        yield from _labels_svg(way.labels, x + 51, y, "s")
        return
    points = [places[box] for box in way.boxes]
    points[0] = _rim(points[0], points[1], 1)
    if not way.is_stub:
        points[-1] = _rim(points[-1], points[-2], -1)
    line = [point for box, place in zip(way.boxes, points, strict=True) for point in _through(plan, way, box, place)]
    line = line[::-1] if way.is_upwards else line
    curve = "".join(
        f"C{one.x} {(one.y + other.y) // 2} {other.x} {(one.y + other.y) // 2} {other.x} {other.y}"
        for one, other in pairwise(line)
    )
    end = "" if way.is_stub else ' marker-end="url(#h)"'
    yield f'<path d="M{line[0].x} {line[0].y}{curve}" class="a"{end}/>'
    x, y = places[way.label_box]
    box = plan.boxes[way.label_box]
    yield _paper(x - box.left, y - box.height / 2, box.left + box.right, round(box.height))
    yield from _labels_svg(way.labels, x, y, "s m")


def _through(plan: _Plan, way: _Way, box: int, place: Place) -> tuple[Place, ...]:
    """The points of a line at one of its boxes: straight down behind a label, which hides it."""
    if box != way.label_box:
        return (place,)
    half = round(plan.boxes[box].height / 2)
    top, bottom = place._replace(y=place.y - half), place._replace(y=place.y + half)
    return (top, place) if way.is_stub else (top, bottom)


def _rim(state: Place, towards: Place, side: int) -> Place:
    """Where a line meets a state's circle: below it or above it, and a little towards where the line leads."""
    aside = max(-10, min(10, round((towards.x - state.x) * 0.2)))
    return Place(state.x + aside, state.y + side * round((_RADIUS**2 - aside**2) ** 0.5 + (2 if side < 0 else 0)))


def _labels_svg(labels: Sequence[str], x: int, y: int, style: str) -> Iterator[str]:
    top = y - _LINE_HEIGHT * (len(labels) - 1) / 2 + 4
    for number, label in enumerate(labels):
        yield _text(x, top + _LINE_HEIGHT * number, label, style)
