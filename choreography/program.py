"""Effect programs: what a role does, as data that can be joined, checked against a protocol and run by any handler.

    Program().send("Hotel", "Ask", {"nights": 2}).offer("Hotel").branch({"Free": paying, "Full": Program()}).end()

Performs nothing: `runtime/choreography/program_runner.py` does. Adding an effect costs O(1); a program shares its parts
with those it was made from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, Self, TypeAlias

from .deep import Deep, run_deep
from .fsm import StateMachine, show_step
from .local import LocalType
from .merge import Step

# Clocks inside clocks: each is a task that waits for the next, and nobody writes that many.
TIMEOUT_DEPTH_MAX = 64


class ProgramFault(ValueError):
    """A program that cannot be what it says: something after its end, a branch without labels, shared footprints.

    ``reasons`` has each fault by itself.
    """

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons))


class FootprintOverlap(ProgramFault):
    """Two programs that should run side by side touch the same session or budget."""

    def __init__(self, shared: Iterable[str]) -> None:
        self.shared = tuple(sorted(shared))
        super().__init__(f"programs side by side both use {', '.join(self.shared)}; run them one after another instead")


@dataclass(frozen=True, slots=True)
class Hole:
    """In place of a value: it is filled in under this name before the program ends."""

    name: str


@dataclass(frozen=True, slots=True)
class SendEffect:
    """Send a message under a label."""

    to: str
    label: str
    value: object = None


@dataclass(frozen=True, slots=True)
class RecvEffect:
    """Receive the message of a label, read as `kind` (None: plain data)."""

    sender: str
    label: str
    kind: type[object] | None = None


@dataclass(frozen=True, slots=True)
class ChooseEffect:
    """Tell a label."""

    to: str
    label: str


@dataclass(frozen=True, slots=True)
class OfferEffect:
    """Wait for a label; a message of that name is still to be received."""

    sender: str


@dataclass(frozen=True, slots=True)
class BranchEffect:
    """Go on by the label of the choice or offer right before."""

    cases: "tuple[tuple[str, Program], ...]"


@dataclass(frozen=True, slots=True)
class ChoiceHole:
    """A choice that is not made yet: a program for each label that may be chosen, which begins with choosing it."""

    cases: "tuple[tuple[str, Program], ...]"

    @property
    def name(self) -> str:
        """Its labels, as in `Accept|Reject`."""
        return "|".join(label for label, _ in self.cases)


@dataclass(frozen=True, slots=True)
class LoopEffect:
    """The body `count` times; with None until a round in which `until` was chosen or offered (None: for ever)."""

    body: "Program"
    count: int | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class TimeoutEffect:
    """The body, cut off when the clock of `at` fires; then `on_timeout`."""

    at: str
    milliseconds: int
    body: "Program"
    on_timeout: "Program | None" = None


@dataclass(frozen=True, slots=True)
class ParallelEffect:
    """Parts of one session whose order does not matter: they run in the order of their declaration."""

    parts: "tuple[Program, ...]"


@dataclass(frozen=True, slots=True)
class SideBySideEffect:
    """Programs over different sessions at the same time, all within one timeout; the first failure stops the others."""

    parts: "tuple[Program, ...]"
    milliseconds: int | None = None


@dataclass(frozen=True, slots=True)
class SessionEffect:
    """A program over the session of that name."""

    session: str
    body: "Program"


@dataclass(frozen=True, slots=True)
class ExtensionEffect:
    """Anything a handler knows by its class."""

    effect: object


Effect: TypeAlias = (
    SendEffect
    | RecvEffect
    | ChooseEffect
    | OfferEffect
    | BranchEffect
    | ChoiceHole
    | LoopEffect
    | TimeoutEffect
    | ParallelEffect
    | SideBySideEffect
    | SessionEffect
    | ExtensionEffect
)


# --- extensions that ship -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ValidateCapability:
    """The role must have a capability."""

    capability: str
    role: str


@dataclass(frozen=True, slots=True)
class ChargeFlowCost:
    """Charge a budget."""

    cost: int
    role: str
    budget: str = "flow"


@dataclass(frozen=True, slots=True)
class JournalFact:
    """Record a fact."""

    fact: str
    role: str


@dataclass(frozen=True, slots=True)
class RecordLeakage:
    """Account bits that a class of observers learns."""

    bits: int
    observer: str
    role: str


@dataclass(frozen=True, slots=True)
class JournalMerge:
    """Take in what others have recorded, before the program goes on."""

    role: str


@dataclass(frozen=True, slots=True)
class ExecuteGuardChain:
    """Ask the whole chain at once: a capability, a cost, leaks (observer, bits) and facts by name, as one plan.

    `operation` is `module:verb`, by which policies decide; without a `capability` none is needed.
    """

    operation: str
    role: str
    capability: str = ""
    cost: int = 0
    leaks: tuple[tuple[str, int], ...] = ()
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Tell the log."""

    event: str


class Tried(NamedTuple):
    """What came of a ``try_…``: the program, or None and why not."""

    program: "Program | None"
    faults: tuple[str, ...] = ()


Asked = ParamSpec("Asked")


def _tried(build: "Callable[Concatenate[Program, Asked], Program]") -> "Callable[Concatenate[Program, Asked], Tried]":
    """The form of a builder that answers with its faults where that one raises ProgramFault."""

    @wraps(build)
    def attempt(program: "Program", /, *args: Asked.args, **named: Asked.kwargs) -> Tried:
        try:
            return Tried(build(program, *args, **named))
        except ProgramFault as fault:
            return Tried(None, fault.reasons)

    attempt.__name__ = f"try_{build.__name__}"
    attempt.__qualname__ = f"Program.{attempt.__name__}"
    return attempt


class Program:
    """Effects in order; an immutable value. Only a program that was ended runs.

    `then` is associative and the empty program is its unit. Building raises ProgramFault for what cannot be: an effect
    after `end`, a branch without labels, programs side by side that share a session or a budget. Each builder has a
    `try_` form, which takes the same and answers with the faults instead:

    >>> Program().try_branch({})
    Tried(program=None, faults=('a branch needs at least one label',))
    """

    __slots__ = ("_effects", "_length", "is_ended")

    def __init__(self, effects: Iterable[Effect] = (), *, is_ended: bool = False) -> None:
        # Programs that grew from one another share one list; whoever is not at its end copies it.
        self._effects: list[Effect] = list(effects)
        self._length = len(self._effects)
        self.is_ended = is_ended

    @classmethod
    def new(cls) -> Self:
        """The empty program."""
        return cls()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What it does, in order."""
        return tuple(self._effects[: self._length])

    def __iter__(self) -> Iterator[Effect]:
        return (self._effects[place] for place in range(self._length))

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program):
            return NotImplemented
        return self.is_ended == other.is_ended and _tokens(self) == _tokens(other)

    def __hash__(self) -> int:
        return hash((self.is_ended, self._length))

    def __repr__(self) -> str:
        return f"<Program of {self._length} effects{'' if self.is_ended else ', not ended'}>"

    # --- building

    def send(self, to: str, label: str, value: object = None) -> "Program":
        """Send a message."""
        return self._with(SendEffect(to, label, value))

    def recv(self, sender: str, label: str, kind: type[object] | None = None) -> "Program":
        """Receive a message."""
        return self._with(RecvEffect(sender, label, kind))

    def choose(self, to: str, label: str) -> "Program":
        """Tell a label."""
        return self._with(ChooseEffect(to, label))

    def offer(self, sender: str) -> "Program":
        """Wait for a label."""
        return self._with(OfferEffect(sender))

    def branch(self, cases: "Mapping[str, Program]") -> "Program":
        """Go on by the label just chosen or offered."""
        if not cases:
            raise ProgramFault("a branch needs at least one label")
        return self._with(BranchEffect(tuple(cases.items())))

    def choice(self, cases: "Mapping[str, Program]") -> "Program":
        """Leave a choice open: each case begins with choosing its label."""
        if not cases:
            raise ProgramFault("a choice needs at least one label")
        return self._with(ChoiceHole(tuple(cases.items())))

    def loop(self, body: "Program", count: int | None = None, *, until: str | None = None) -> "Program":
        """Repeat; see `LoopEffect`."""
        if count is not None and count < 0:
            raise ProgramFault(f"a loop of {count} rounds; expected 0 or more")
        return self._with(LoopEffect(body, count, until))

    def timeout(self, at: str, milliseconds: int, body: "Program", on_timeout: "Program | None" = None) -> "Program":
        """Do a body within a time."""
        if milliseconds < 0:
            raise ProgramFault(f"a timeout of {milliseconds} ms; expected 0 or more")
        return self._with(TimeoutEffect(at, milliseconds, body, on_timeout))

    def parallel(self, *parts: "Program") -> "Program":
        """Parts of this session in any order: they run in this one."""
        if not parts:
            raise ProgramFault("parallel needs at least one part")
        return self._with(ParallelEffect(parts))

    def par(self, *parts: "Program", milliseconds: int | None = None) -> "Program":
        """Programs over different sessions, at the same time. Raises FootprintOverlap when two share one."""
        taken: set[str] = set()
        for part in parts:
            mine = part.footprint()
            if taken & mine:
                raise FootprintOverlap(taken & mine)
            taken |= mine
        return self._with(SideBySideEffect(parts, milliseconds))

    def on(self, session: str) -> "Program":
        """This program, over the session of that name."""
        return Program([SessionEffect(session, self)])

    def ext(self, effect: object) -> "Program":
        """An extension effect, performed by whoever knows its class."""
        return self._with(ExtensionEffect(effect))

    def then(self, other: "Program") -> "Program":
        """This program and then another, with one end, last, when either has one."""
        return Program([*self, *other], is_ended=self.is_ended or other.is_ended)

    def end(self) -> "Program":
        """The whole program. Raises ProgramFault when it was ended already, or `validate` finds anything."""
        if self.is_ended:
            raise ProgramFault("a program has one end")
        ended = self._copy(is_ended=True)
        faults = ended.validate()
        if faults:
            raise ProgramFault(*faults)
        return ended

    # --- holes

    def holes(self) -> tuple[str, ...]:
        """The names of what is still open, sorted."""
        return tuple(sorted({name for effect, _ in _all_effects(self) for name in _hole_names(effect)}))

    def fill(self, values: "Mapping[str, object]") -> "Program":
        """The program with holes filled: a value for what is sent, for a choice the label.

        A choice in a loop without count may be given labels for its rounds: `{"Chunk|Done": ["Chunk", "Done"]}` writes
        the loop out. What is not named stays open. Raises ProgramFault for a name that is no hole and for a label that
        a choice does not have.
        """
        unknown = sorted(set(values) - set(self.holes()))
        if unknown:
            known = ", ".join(self.holes()) or "none"
            raise ProgramFault(f"the program has no hole {', '.join(unknown)}; there are {known}")
        return run_deep(_filled(self, values))

    # --- the same, with faults as an answer

    try_send = _tried(send)
    try_recv = _tried(recv)
    try_choose = _tried(choose)
    try_offer = _tried(offer)
    try_branch = _tried(branch)
    try_choice = _tried(choice)
    try_loop = _tried(loop)
    try_timeout = _tried(timeout)
    try_parallel = _tried(parallel)
    try_par = _tried(par)
    try_ext = _tried(ext)
    try_then = _tried(then)
    try_end = _tried(end)
    try_fill = _tried(fill)

    # --- looking

    def roles_involved(self) -> frozenset[str]:
        """Everybody it names."""
        return frozenset(name for effect, _ in _all_effects(self) for name in _roles_of(effect))

    def send_count(self) -> int:
        """How many sends are written, those in every branch and once a loop."""
        return sum(isinstance(effect, SendEffect) for effect, _ in _all_effects(self))

    def recv_count(self) -> int:
        """How many receives are written."""
        return sum(isinstance(effect, RecvEffect) for effect, _ in _all_effects(self))

    def has_timeouts(self) -> bool:
        """Whether any part is timed."""
        return any(isinstance(effect, TimeoutEffect) for effect, _ in _all_effects(self))

    def has_parallel(self) -> bool:
        """Whether any parts are in any order or side by side."""
        return any(isinstance(effect, ParallelEffect | SideBySideEffect) for effect, _ in _all_effects(self))

    def footprint(self) -> frozenset[str]:
        """The sessions and budgets it touches; the session that it is run over is called `this session`."""
        found: set[str] = set()
        waiting: list[tuple[Program, str]] = [(self, "this session")]
        while waiting:
            program, session = waiting.pop()
            for effect in program:
                if isinstance(effect, SessionEffect):
                    waiting.append((effect.body, f"session {effect.session}"))
                    continue
                if isinstance(effect, ExtensionEffect):
                    found |= _budgets_of(effect.effect)
                elif isinstance(effect, SendEffect | RecvEffect | ChooseEffect | OfferEffect):
                    found.add(session)
                waiting += ((part, session) for part in _parts_of(effect))
        return frozenset(found)

    def validate(self) -> tuple[str, ...]:
        """What is wrong with it, in words: no end, a branch that follows no choice, clocks too deep in each other."""
        faults = [] if self.is_ended else ["a program without its end does not run: call end()"]
        if holes := self.holes():
            faults.append(f"nothing is filled in for {', '.join(holes)}")
        waiting: list[tuple[Program, int]] = [(self, 0)]
        while waiting:
            program, clocks = waiting.pop()
            before: Effect | None = None
            for place, effect in enumerate(program):
                if isinstance(effect, BranchEffect) and not isinstance(before, ChooseEffect | OfferEffect):
                    faults.append(f"the branch at {place} follows no choice and no offer")
                depth = clocks + isinstance(effect, TimeoutEffect)
                if depth > TIMEOUT_DEPTH_MAX:
                    faults.append(f"more than {TIMEOUT_DEPTH_MAX} clocks run in each other")
                    continue
                waiting += ((part, depth) for part in _parts_of(effect))
                before = effect
        return tuple(faults)

    def _with(self, effect: Effect) -> "Program":
        if self.is_ended:
            raise ProgramFault("nothing comes after the end")
        grown = self._copy(is_ended=False)
        if len(grown._effects) != grown._length:
            grown._effects = grown._effects[: grown._length]
        grown._effects.append(effect)
        grown._length += 1
        return grown

    def _copy(self, *, is_ended: bool) -> "Program":
        copy = Program(is_ended=is_ended)
        copy._effects, copy._length = self._effects, self._length
        return copy


def _parts_of(effect: Effect) -> tuple[Program, ...]:
    """The programs inside an effect, in order."""
    match effect:
        case BranchEffect(cases=cases) | ChoiceHole(cases=cases):
            return tuple(program for _, program in cases)
        case LoopEffect(body=body) | SessionEffect(body=body):
            return (body,)
        case TimeoutEffect(body=body, on_timeout=late):
            return (body,) if late is None else (body, late)
        case ParallelEffect(parts=parts) | SideBySideEffect(parts=parts):
            return parts
        case _:
            return ()


def _with_parts(effect: Effect, parts: tuple[Program, ...]) -> Effect:
    """The same effect around other programs, in the order of `_parts_of`."""
    match effect:
        case BranchEffect(cases=cases):
            return BranchEffect(tuple((label, part) for (label, _), part in zip(cases, parts, strict=True)))
        case ChoiceHole(cases=cases):
            return ChoiceHole(tuple((label, part) for (label, _), part in zip(cases, parts, strict=True)))
        case LoopEffect() | SessionEffect():
            return replace(effect, body=parts[0])
        case TimeoutEffect():
            return replace(effect, body=parts[0], on_timeout=parts[1] if parts[1:] else None)
        case ParallelEffect() | SideBySideEffect():
            return replace(effect, parts=parts)
        case _:
            return effect


def _hole_names(effect: Effect) -> Iterator[str]:
    if isinstance(effect, SendEffect) and isinstance(effect.value, Hole):
        yield effect.value.name
    elif isinstance(effect, ChoiceHole):
        yield effect.name


def _budgets_of(effect: object) -> set[str]:
    match effect:
        case ChargeFlowCost(budget=budget):
            return {f"budget {budget}"}
        case RecordLeakage(observer=observer):
            return {f"leakage {observer}"}
        case ExecuteGuardChain(cost=cost, leaks=leaks):
            return {f"leakage {observer}" for observer, _ in leaks} | ({"budget flow"} if cost else set())
        case _:
            return set()


def _filled(program: Program, values: Mapping[str, object]) -> Deep[Program]:
    effects: list[Effect] = []
    for effect in program:
        match effect:
            case SendEffect(to=to, label=label, value=Hole(name=name)) if name in values:
                effects.append(SendEffect(to, label, values[name]))
            case ChoiceHole() if effect.name in values:
                chosen: Program = yield _filled(_chosen(effect, values[effect.name]), values)
                effects += chosen
            case LoopEffect(body=body, count=None) if (rounds := _rounds(body, values)) is not None:
                for chosen_label in rounds.labels:
                    once: Program = yield _filled(body, {**values, rounds.name: chosen_label})
                    effects += once
            case _:
                parts: list[Program] = []
                for part in _parts_of(effect):
                    parts.append((yield _filled(part, values)))
                effects.append(_with_parts(effect, tuple(parts)) if parts else effect)
    return Program(effects, is_ended=program.is_ended)


class _RoundLabels(NamedTuple):
    name: str
    labels: list[object]


def _rounds(body: Program, values: Mapping[str, object]) -> _RoundLabels | None:
    """The choice of a loop's body that is made anew each round, and its labels."""
    for effect in body:
        if isinstance(effect, ChoiceHole) and isinstance(labels := values.get(effect.name), list | tuple):
            return _RoundLabels(effect.name, list(labels))
    return None


def _chosen(choice: ChoiceHole, label: object) -> Program:
    found = next((program for name, program in choice.cases if name == label), None)
    if found is None:
        raise ProgramFault(f"{label!r} is no label of the choice {choice.name}")
    return found


def _all_effects(root: Program) -> Iterator[tuple[Effect, Program]]:
    waiting = [root]
    while waiting:
        program = waiting.pop()
        for effect in program:
            yield effect, program
            waiting += _parts_of(effect)


def _roles_of(effect: Effect) -> tuple[str, ...]:
    match effect:
        case SendEffect(to=role) | ChooseEffect(to=role):
            return (role,)
        case RecvEffect(sender=role) | OfferEffect(sender=role) | TimeoutEffect(at=role):
            return (role,)
        case _:
            return ()


def _tokens(root: Program) -> list[object]:
    """A program as a flat list, so that comparing needs no recursion."""
    tokens: list[object] = []
    waiting: list[object] = [root]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, Program):
            tokens.append(item)
            continue
        pieces: list[object] = ["("]
        for effect in item:
            parts = _parts_of(effect)
            pieces += [type(effect), *parts, _own(effect)] if parts else [effect]
        waiting += reversed([*pieces, ")"])
    return tokens


def _own(effect: Effect) -> tuple[object, ...]:
    """What an effect says besides the programs inside."""
    match effect:
        case BranchEffect(cases=cases) | ChoiceHole(cases=cases):
            return tuple(label for label, _ in cases)
        case LoopEffect():
            return (effect.count, effect.until)
        case TimeoutEffect():
            return (effect.at, effect.milliseconds, effect.on_timeout is None)
        case SideBySideEffect():
            return (effect.milliseconds, len(effect.parts))
        case SessionEffect():
            return (effect.session,)
        case ParallelEffect():
            return (len(effect.parts),)
        case _:
            return ()


# --- against a protocol -------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where a run of a program may be: the machine's state, a label announced whose message is still to travel, the
    label of the choice or offer right before, and the last one of all."""

    state: int
    announced: str | None = None
    choice: str | None = None
    latest: str | None = None


_Places: TypeAlias = frozenset[_Place]


def check_program(program: Program, machine: StateMachine | LocalType) -> tuple[str, ...]:
    """Where a program leaves a role's protocol, in words; empty when every run of it is a run of the role.

    A receive that is not the only one there is needs an offer and a branch with every label. Extensions are free.
    Costs O(effects × places); loops are followed until no new place is found.
    """
    if not isinstance(machine, StateMachine):
        from .fsm import build_machine

        machine = build_machine("this role", machine)
    checking = _Checking(machine)
    places = run_deep(checking.walk(program, frozenset({_Place(0)})))
    for place in sorted(places, key=lambda one: one.state):
        if not machine.is_final(place.state):
            checking.fault(f"ends where {checking.expected(place.state)} is expected")
    return tuple(dict.fromkeys(checking.faults))


class _Checking:
    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self.faults: list[str] = []

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def expected(self, state: int) -> str:
        return " or ".join(show_step(step) for step in self._machine.expected(state)) or "nothing"

    def walk(self, program: Program, places: _Places) -> Deep[_Places]:
        for effect in program:
            match effect:
                case LoopEffect():
                    places = yield self._loop(effect, places)
                case BranchEffect():
                    places = yield self._branch(effect, places)
                case TimeoutEffect():
                    places = yield self._timeout(effect, places)
                case ChoiceHole(cases=cases):
                    after: set[_Place] = set()
                    for _, case in cases:
                        reached: _Places = yield self.walk(case, places)
                        after |= reached
                    places = frozenset(after)
                case ParallelEffect(parts=parts):
                    for part in parts:
                        places = yield self.walk(part, places)
                case SideBySideEffect() | SessionEffect():
                    self.fault("runs over another session, which another protocol describes")
                case ExtensionEffect():
                    pass
                case _:
                    places = frozenset(after for place in places for after in self._exchange(effect, place))
            if not places:
                break
        return places

    def _exchange(
        self, effect: SendEffect | RecvEffect | ChooseEffect | OfferEffect, place: _Place
    ) -> Iterator[_Place]:
        if isinstance(effect, OfferEffect):
            yield from self._offers(effect, place)
            return
        is_out = isinstance(effect, SendEffect | ChooseEffect)
        partner = effect.to if isinstance(effect, SendEffect | ChooseEffect) else effect.sender
        step = Step("send" if is_out else "recv", partner, effect.label)
        timed = self._timed(place)
        if timed:
            self.fault(f"{show_step(step)} where {timed} begins: give the program a timeout")
            return
        found = next((one for one in self._machine.own(place.state) if one.step == step), None)
        alone = found is not None and found.message is None
        if found is None or (place.announced is not None and place.announced != effect.label):
            awaited = f"the message of {place.announced}" if place.announced else self.expected(place.state)
            self.fault(f"{show_step(step)} where {awaited} is expected")
        elif isinstance(effect, ChooseEffect):
            after = found.target if alone else place.state
            yield _Place(after, None if alone else effect.label, effect.label, effect.label)
        elif alone:
            verb = "choose" if is_out else "offer"
            self.fault(f"{show_step(step)} as a message where the label travels alone: {verb} it")
        else:
            others = [one for one in self._steps(place) if one.partner == partner and one != step]
            if not is_out and others and place.announced is None:
                self.fault(f"{show_step(step)} where also {show_step(others[0])} may come: offer, and branch")
            yield _Place(found.target, None, None, place.latest)

    def _offers(self, effect: OfferEffect, place: _Place) -> Iterator[_Place]:
        timed = self._timed(place)
        if timed:
            self.fault(f"an offer from {effect.sender} where {timed} begins: give the program a timeout")
            return
        steps = [one for one in self._steps(place) if one.direction == "recv"]
        steps = [one for one in steps if one.partner == effect.sender and place.announced in (None, one.label)]
        if not steps:
            self.fault(f"an offer from {effect.sender} where {self.expected(place.state)} is expected")
        for step in steps:
            found = self._machine.find(place.state, step)
            assert found is not None, "what is expected is found"
            if found.message is None:
                yield _Place(found.target, None, step.label, step.label)
            else:
                yield _Place(place.state, step.label, step.label, step.label)

    def _steps(self, place: _Place) -> list[Step]:
        return [step for one in self._machine.own(place.state) if (step := one.step) is not None]

    def _timed(self, place: _Place) -> str:
        """The timed part that begins here, in words; "" when none does. Every role in it enters it as one."""
        state = self._machine.states[place.state]
        return f"a timeout of {state.milliseconds} ms at {state.owner}" if state.kind == "timeout" else ""

    def _branch(self, effect: BranchEffect, places: _Places) -> Deep[_Places]:
        cases = dict(effect.cases)
        after: set[_Place] = set()
        for label in sorted({place.choice for place in places if place.choice is not None}):
            here = frozenset(place for place in places if place.choice == label)
            if label not in cases:
                self.fault(f"the label {label} may come and has no branch; there are {', '.join(cases)}")
                continue
            reached: _Places = yield self.walk(cases[label], here)
            after |= reached
        if any(place.choice is None for place in places):
            self.fault("a branch that follows no choice and no offer")
        return frozenset(after)

    def _loop(self, effect: LoopEffect, places: _Places) -> Deep[_Places]:
        if effect.count is None:
            left: _Places = yield self._endless(effect, places)
            return left
        seen: dict[_Places, int] = {}
        rounds = 0
        while rounds < effect.count and places:
            if places in seen:
                # From here on the rounds repeat themselves: only what is left over of the last turn matters.
                turn = rounds - seen[places]
                rounds += (effect.count - rounds) // turn * turn
                seen = {}
                if rounds == effect.count:
                    break
            seen[places] = rounds
            places = yield self.walk(effect.body, places)
            rounds += 1
        return places

    def _endless(self, effect: LoopEffect, places: _Places) -> Deep[_Places]:
        begun: set[_Place] = set()
        left: set[_Place] = set()
        fresh = frozenset(one._replace(latest=None) for one in places)
        while fresh:
            begun |= fresh
            reached: _Places = yield self.walk(effect.body, fresh)
            out = frozenset(one for one in reached if effect.until is not None and one.latest == effect.until)
            left |= out
            fresh = frozenset(one._replace(latest=None) for one in reached - out) - begun
        return frozenset(left)

    def _timeout(self, effect: TimeoutEffect, places: _Places) -> Deep[_Places]:
        after: set[_Place] = set()
        for place in sorted(places, key=lambda one: one.state):
            state = self._machine.states[place.state]
            body, late = state.part("body"), state.part("timeout")
            told = f"a timeout of {effect.milliseconds} ms at {effect.at}"
            if body is None or late is None or (state.owner, state.milliseconds) != (effect.at, effect.milliseconds):
                is_timed = f"{state.milliseconds} ms at {state.owner}" if body is not None else "none"
                self.fault(f"{told} where {is_timed} is expected")
                continue
            in_time: _Places = yield self.walk(effect.body, frozenset({_Place(body.target)}))
            after |= in_time
            if effect.on_timeout is not None:
                too_late: _Places = yield self.walk(effect.on_timeout, frozenset({_Place(late.target)}))
                after |= too_late
            elif not self._machine.is_final(late.target):
                self.fault(f"{told} without what comes when it fires: {self.expected(late.target)}")
        return frozenset(after)
