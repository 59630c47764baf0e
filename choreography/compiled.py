"""The Python surface: a protocol compiled whole, projected for one role, or checked when its module is imported.

    @choreography('''
    protocol Greeting =
      roles Ada, Bob
      Ada -> Bob : Hello
    ''')
    class Greeting:
        protocol: ClassVar[CompiledProtocol]

Runs nothing: endpoints and programs over a compiled protocol are `runtime/`'s.
"""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from .ast import Choreography, Extension, TypeAliasDeclaration, TypeExpression
from .core import Comm, GlobalType, nodes_below
from .dsl.diagnostics import problem
from .dsl.extensions import NO_EXTENSIONS, Extensions
from .dsl.parse import DialectChoice, parse
from .errors import ChoreographyError, Problem
from .local import LocalEnd, LocalType
from .lower import inline, lower
from .merge import MergeMode
from .node import walk
from .project import ExtensionProjection, IdleLoop, ProjectableExtension, Projections, UnobservableTimeout, project_all
from .refusal import ProjectionError, explain_refusals
from .roles import bind, has_families
from .validate import UNPROJECTABLE_KINDS, validate

if TYPE_CHECKING:
    from .annotations import AnnotationRecord
    from .exploring import Exploration
    from .fsm import StateMachine
    from .knowledge import ChoiceKnowledge
    from .manifest import CompositionManifest
    from .payloads import MessageSpec
    from .program import Program

Decorated = TypeVar("Decorated")

# Plug-ins with all their hooks, or only what the statements of each keyword mean for a role.
ExtensionHooks: TypeAlias = Extensions | Mapping[str, ExtensionProjection] | None


@dataclass(frozen=True)
class CompiledProtocol:
    """A protocol that was parsed, validated, lowered and projected for every role: whoever holds one may rely on it.

    `problems` are warnings only. Machines and choice knowledge are made when first asked for, and the modules that make
    them are loaded then: checking a file on the command line needs none of them.
    """

    choreography: Choreography
    global_type: GlobalType
    roles: tuple[str, ...]
    local: Mapping[str, LocalType]
    problems: tuple[Problem, ...] = ()
    mode: MergeMode = "full+"

    @property
    def name(self) -> str:
        """The protocol's name."""
        return self.choreography.name

    @property
    def qualified_name(self) -> str:
        """`namespace.Name`, or only the name."""
        return self.choreography.qualified_name

    @cached_property
    def fsm(self) -> "Mapping[str, StateMachine]":
        """Every role's state machine."""
        from .fsm import build_machine

        return {role: build_machine(role, view) for role, view in self.local.items()}

    @cached_property
    def knowledge(self) -> "tuple[ChoiceKnowledge, ...]":
        """Who learns each choice, and when."""
        from .knowledge import choice_knowledge

        return choice_knowledge(self.global_type, self.roles, mode=self.mode)

    @cached_property
    def aliases(self) -> "Mapping[str, TypeExpression]":
        """The type aliases of its file, by name."""
        return {one.name: one.type for one in self.choreography.declarations if isinstance(one, TypeAliasDeclaration)}

    @cached_property
    def messages(self) -> "Mapping[str, MessageSpec]":
        """What travels, by label: each message as it is written, and its fields. Labels that travel alone are none.

        >>> compile_choreography("protocol P =\\n  roles A, B\\n  A -> B : Ask(n : u8)\\n").messages["Ask"].forms
        ('Ask(n : u8)',)
        """
        from .payloads import message_specs

        nodes = (node for node in nodes_below(self.global_type) if isinstance(node, Comm))
        branches = (branch for node in nodes for branch in node.branches)
        return message_specs((one.message for one in branches if one.message is not None), self.aliases)

    @cached_property
    def manifest(self) -> "CompositionManifest":
        """What it is, asks for and offers, as data for whoever admits it."""
        from .manifest import build_manifest

        return build_manifest(self)

    @cached_property
    def annotations(self) -> "tuple[AnnotationRecord, ...]":
        """Every annotation of a sender with its place, in the order of the text."""
        from .annotations import annotation_records

        return annotation_records(self.choreography)

    def explore(self, *, bound: int = 2, limit: int = 100_000) -> "Exploration":
        """Every run up to the bounds, and what goes wrong in any: nothing, for what was projected."""
        from .exploring import explore

        return explore(self.local, bound=bound, limit=limit)

    def _repr_svg_(self) -> str:
        from .draw import sequence_svg

        return sequence_svg(self.global_type, self.roles, title=self.qualified_name)

    @cached_property
    def topology(self) -> "Topologies":
        """Handlers for the roles, by places: `proto.topology.handler(role)`, `.with_topology(topology, role)`.

        Who places protocols is said with `place_with`, which `antiphon.runtime` does when it is loaded: this room acts
        on nothing. Raises ValueError before that.
        """
        if not _PLACERS:
            raise ValueError("nothing places protocols yet; import antiphon.runtime.topology")
        return _PLACERS[-1](self)

    def endpoint(self, role: str, handler: Any, /, *session: Any, **settings: Any) -> Any:
        """A role's end of a session over a handler; what else it takes, `Endpoint.of` says.

        Raises ValueError before `antiphon.runtime.choreography` was loaded: this room acts on nothing.
        """
        if not _ENDERS:
            raise ValueError("nothing runs protocols yet; import antiphon.runtime.choreography")
        return _ENDERS[-1](self, role, handler, *session, **settings)

    def program(self, role: str) -> "Program":
        """What a role does, as a program with holes for what is sent and chosen.

        Raises ProgramFault for what no program says, KeyError for a role that there is not.
        """
        from .skeleton import program_skeleton

        return program_skeleton(self.local[role], self.fsm[role])

    def stubs(self, *, source: str = "") -> str:
        """The `.pyi` text with one class a state."""
        from .stubs import generate_stubs

        return generate_stubs(self.name, tuple(self.fsm.values()), aliases=self.aliases, source=source)


class Topologies(Protocol):
    """What makes handlers for the roles of one protocol; the handlers are of the room that places it."""

    def __call__(self, role: str, topology: Any = None, /) -> Any:
        """A handler for a role: local, or as a topology says."""
        ...

    def handler(self, role: str, /) -> Any:
        """A handler whose peers are all in this process."""
        ...

    def with_topology(self, topology: Any, role: str, /) -> Any:
        """A handler for a role in a topology, which is checked against the protocol first."""
        ...

    def keep(self, name: str, topology: Any, /) -> None:
        """Keep a topology under a name."""
        ...

    def named_handler(self, name: str, role: str, /) -> Any:
        """`with_topology` for one that is kept under a name."""
        ...


_PLACERS: list[Callable[[CompiledProtocol], Topologies]] = []
_ENDERS: list[Callable[..., Any]] = []


def place_with(place: Callable[[CompiledProtocol], Topologies]) -> None:
    """Say who makes the handlers of protocols; the last word holds, for protocols that were not placed before."""
    _PLACERS.append(place)


def end_with(make: Callable[..., Any]) -> None:
    """Say who makes the endpoints of protocols, given a protocol, a role and a handler; the last word holds."""
    _ENDERS.append(make)


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that is known about a text that may be wrong; what could not be made is None."""

    problems: tuple[Problem, ...]
    choreography: Choreography | None = None
    global_type: GlobalType | None = None
    roles: tuple[str, ...] = ()
    projections: Projections | None = None
    refusals: tuple[ProjectionError, ...] = ()
    is_parsed: bool = False
    # Why a valid protocol has no core type: an unbound family, a commitment lifecycle.
    obstacles: tuple[Problem, ...] = ()
    # The choreography that was projected: calls inlined, families bound.
    concrete: Choreography | None = None

    @property
    def is_valid(self) -> bool:
        """Whether there is a protocol without errors; whether it can be projected is another question."""
        return self.is_parsed and not any(found.severity == "error" for found in self.problems)

    @property
    def is_projectable(self) -> bool:
        """Whether every role has a view."""
        return self.projections is not None and self.projections.is_projectable


def check_text(
    text: str | bytes,
    *,
    file: str = "<text>",
    dialect: DialectChoice = "auto",
    counts: Mapping[str, int] | None = None,
    indices: Mapping[str, int] | None = None,
    mode: MergeMode = "full+",
    relaxed_parallel: bool = False,
    extensions: ExtensionHooks = None,
) -> Checked:
    """Parse, validate, lower and project a text; report everything, raise nothing.

    `extensions` are plug-ins, or only what keywords of extension statements mean for a role.
    Example: `check_text(text).problems`.
    """
    with _collecting_later():
        plugins = extensions if isinstance(extensions, Extensions) else NO_EXTENSIONS
        parsed = parse(text, file=file, dialect=dialect, extensions=plugins)
        if parsed.tree is None or parsed.errors:
            return Checked(parsed.problems, parsed.tree)
        return _check_tree(parsed.tree, parsed.problems, counts, indices, mode, relaxed_parallel, extensions)


def check_tree(
    tree: Choreography,
    *,
    problems: tuple[Problem, ...] = (),
    counts: Mapping[str, int] | None = None,
    indices: Mapping[str, int] | None = None,
    mode: MergeMode = "full+",
    relaxed_parallel: bool = False,
    extensions: ExtensionHooks = None,
) -> Checked:
    """Validate, lower and project a tree; `problems` are those already known."""
    with _collecting_later():
        return _check_tree(tree, problems, counts, indices, mode, relaxed_parallel, extensions)


@contextmanager
def _collecting_later() -> Iterator[None]:
    """Let the garbage collector wait: all that is made here is kept, so looking through it again and again only costs.

    That is the difference between linear in the statements and a little worse. It concerns the whole process, for the
    fraction of a second that a check takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_tree(
    tree: Choreography,
    problems: tuple[Problem, ...],
    counts: Mapping[str, int] | None,
    indices: Mapping[str, int] | None,
    mode: MergeMode,
    relaxed_parallel: bool,
    extensions: ExtensionHooks,
) -> Checked:
    found = list(problems)
    found += validate(tree)
    hooks = _Hooks(extensions, tree)
    found += hooks.findings
    inlined = inline(tree)
    concrete = inlined.tree or tree
    if inlined.tree is not None and (counts or indices or has_families(concrete)):
        bound = bind(concrete, counts=counts, indices=indices)
        concrete = bound.tree or concrete
        if bound.tree is None and (counts or indices):
            # Why the binding fails is what there is to say; that nothing is bound would only repeat it.
            known = tuple(dict.fromkeys((*found, *bound.problems)))
            return Checked(known, tree, is_parsed=True, concrete=inlined.tree)
        found += bound.problems if counts or indices else ()
    lowered = lower(concrete)
    obstacles = tuple(one for one in lowered.problems if one.kind in UNPROJECTABLE_KINDS)
    obstacles += tuple(hooks.obstacles)
    found += (one for one in lowered.problems if one.kind not in UNPROJECTABLE_KINDS)
    known = tuple(dict.fromkeys(found))
    roles = tuple(role.name for role in concrete.roles)
    if lowered.core is None or hooks.obstacles:
        return Checked(known, tree, None, roles, is_parsed=True, obstacles=obstacles, concrete=concrete)
    projections = project_all(
        lowered.core, roles, mode=mode, relaxed_parallel=relaxed_parallel, extensions=hooks.projections
    )
    refused = [one for several in projections.refusals.values() for one in several]
    errors = explain_refusals(lowered.core, refused, mode=mode, relaxed_parallel=relaxed_parallel) if refused else []
    late = [_late(one) for one in projections.unobservable_timeouts] + hooks.refused
    late += [_idle(one) for one in projections.idle_loops]
    return Checked(
        (*known, *late), tree, lowered.core, roles, projections, tuple(errors), is_parsed=True, concrete=concrete
    )


class _Hooks:
    """What plug-ins say of the extension statements of one tree: whoever says nothing keeps it from projection."""

    def __init__(self, extensions: ExtensionHooks, tree: Choreography) -> None:
        self.findings: list[Problem] = []
        self.obstacles: list[Problem] = []
        self.refused: list[Problem] = []
        self.projections: dict[str, ExtensionProjection] = {}
        if isinstance(extensions, Extensions):
            self._ask(extensions, tree)
        else:
            self.projections |= extensions or {}

    def _ask(self, plugins: Extensions, tree: Choreography) -> None:
        for statement in (node for node in walk(tree) if isinstance(node, Extension)):
            plugin = plugins.plugin_of(statement)
            validate_it = plugin.validate if plugin else None
            self.findings += (_refusal(statement, seen) for seen in (validate_it(statement) if validate_it else ()))
            if isinstance(plugin, ProjectableExtension):
                self.projections[statement.keyword] = partial(self._projected, plugin.project)
            else:
                feature, advice = f"extension `{statement.keyword}`", "make its plug-in a ProjectableExtension"
                self.obstacles.append(problem("unsupported", statement.span, feature=feature, advice=advice))

    def _projected(self, projection: ExtensionProjection, statement: Extension, role: str) -> LocalType:
        try:
            return projection(statement, role)
        except ValueError as error:
            self.refused.append(_refusal(statement, f"{role}: {error}"))
            return LocalEnd()


def _refusal(statement: Extension, seen: str) -> Problem:
    keyword, advice = statement.keyword, "see its documentation"
    return problem("extension_refused", statement.span, keyword=keyword, seen=seen, advice=advice)


def _late(found: UnobservableTimeout) -> Problem:
    return problem("timeout_not_observable", found.span, role=found.role, owner=found.owner)


def _idle(found: IdleLoop) -> Problem:
    return problem("idle_owner", found.span, role=found.role, name=found.loop)


def compile_choreography(
    source: str | Choreography,
    *,
    file: str = "<text>",
    counts: Mapping[str, int] | None = None,
    indices: Mapping[str, int] | None = None,
    mode: MergeMode = "full+",
    relaxed_parallel: bool = False,
    extensions: ExtensionHooks = None,
) -> CompiledProtocol:
    """A protocol ready to be used, from its text or tree.

    Raises ChoreographyError with every problem when it is no valid choreography, ProjectionError when a role has no
    view of it (the others that have none are in `.others`).
    """
    if isinstance(source, str):
        checked = check_text(
            source,
            file=file,
            counts=counts,
            indices=indices,
            mode=mode,
            relaxed_parallel=relaxed_parallel,
            extensions=extensions,
        )
    else:
        _check_tree_given(source)
        checked = check_tree(
            source, counts=counts, indices=indices, mode=mode, relaxed_parallel=relaxed_parallel, extensions=extensions
        )
    if checked.refusals and checked.is_valid:
        first, *others = checked.refusals
        first.others = tuple(others)
        raise first
    if (
        not checked.is_valid
        or checked.choreography is None
        or checked.global_type is None
        or checked.projections is None
    ):
        problems = (*checked.problems, *checked.obstacles)
        raise ChoreographyError(problems, text=source if isinstance(source, str) else "", file=file)
    return CompiledProtocol(
        checked.choreography, checked.global_type, checked.roles, checked.projections.local, checked.problems, mode
    )


def project(
    choreography: Choreography | GlobalType | str,
    role: str,
    *,
    mode: MergeMode = "full+",
    counts: Mapping[str, int] | None = None,
    indices: Mapping[str, int] | None = None,
) -> LocalType:
    """One role's local type.

    Raises ProjectionError when the role has no view of the protocol, ChoreographyError when the choreography is not
    valid, ValueError when it has no such role. A core global type has every role: one that does not occur is done.

    Example: `project(parse_choreography_str(text), "Guest")`.
    """
    if isinstance(choreography, str):
        parsed = parse(choreography)
        if parsed.tree is None or parsed.errors:
            raise ChoreographyError(parsed.problems, text=choreography)
        choreography = parsed.tree
    if not isinstance(choreography, Choreography):
        return _view(choreography, role, mode)
    inlined = inline(choreography)
    if inlined.tree is None:
        raise ChoreographyError(inlined.problems)
    bound = (
        bind(inlined.tree, counts=counts, indices=indices) if counts or indices or has_families(inlined.tree) else None
    )
    lowered = lower((bound and bound.tree) or inlined.tree)
    if lowered.core is None:
        raise ChoreographyError(lowered.problems)
    roles = {one.name for one in ((bound and bound.tree) or inlined.tree).roles}
    if role not in roles:
        raise ValueError(f"{choreography.name} has no role {role!r}; it has {', '.join(sorted(roles))}")
    return _view(lowered.core, role, mode)


def _view(root: GlobalType, role: str, mode: MergeMode) -> LocalType:
    projections = project_all(root, (role,), mode=mode)
    if projections.refusals:
        raise explain_refusals(root, projections.refusals[role], mode=mode)[0]
    return projections.local[role]


def choreography(
    source: str,
    *,
    counts: Mapping[str, int] | None = None,
    indices: Mapping[str, int] | None = None,
    mode: MergeMode = "full+",
) -> Callable[[type[Decorated]], type[Decorated]]:
    """A class that carries a protocol: checked when its module is imported, found as its attribute `protocol`.

    Raises what `compile_choreography` raises, while the module is being imported.
    """

    def decorate(carrier: type[Decorated]) -> type[Decorated]:
        compiled = compile_choreography(
            source, file=f"{carrier.__module__}.{carrier.__qualname__}", counts=counts, indices=indices, mode=mode
        )
        carrier.protocol = compiled  # type: ignore[attr-defined]  # that is what the decorator adds
        return carrier

    return decorate


def protocol_of(carrier: type[object]) -> CompiledProtocol:
    """The protocol of a class decorated with `@choreography`. Raises ValueError when there is none."""
    compiled = getattr(carrier, "protocol", None)
    if not isinstance(compiled, CompiledProtocol):
        raise ValueError(f"{carrier.__qualname__} carries no protocol; decorate it with @choreography(...)")
    return compiled


def _check_tree_given(source: object) -> None:
    if not isinstance(source, Choreography):
        raise TypeError(f"compile_choreography takes a protocol's text or its tree; got {source!r:.100}")


__all__ = [
    "Checked",
    "CompiledProtocol",
    "check_text",
    "check_tree",
    "choreography",
    "compile_choreography",
    "project",
    "protocol_of",
]
