"""Commands for protocols: ``check``, ``project``, ``fmt``, ``explain``, ``graph``, ``stubs``, ``simulate``, ``run``."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from .reaching import CertificateOption, KeyOption, NatsAccessOption, TrustedOption, transports_of
from .screen import JsonOption, clean, say, write, write_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from antiphon.choreography import Choreography, Run, StateMachine
    from antiphon.choreography.compiled import Checked
    from antiphon.choreography.draw import Happening
    from antiphon.choreography.merge import MergeMode
    from antiphon.choreography.topology import Topology
    from antiphon.runtime.choreography import InMemoryHandler
    from antiphon.runtime.topology.factory import RemoteScheme
    from antiphon.runtime.transports.reach import Transports


def _protocol_files(files: list[Path]) -> list[Path]:
    from antiphon.choreography.dsl.parse import SUFFIXES

    for file in files:
        if file.suffix not in SUFFIXES:
            seen = f"not with {file.suffix}" if file.suffix else "and this has no ending"
            raise typer.BadParameter(f"{file}: a protocol's file ends with {' or '.join(SUFFIXES)}, {seen}")
    return files


def _protocol_file(file: Path) -> Path:
    return _protocol_files([file])[0]


FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        exists=True,
        dir_okay=False,
        readable=True,
        callback=_protocol_files,
        help="Protocols, .tell or .choreo.",
    ),
]
FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        callback=_protocol_file,
        help="A protocol, .tell or .choreo.",
    ),
]
BindOption = Annotated[
    list[str] | None,
    typer.Option("--bind", metavar="NAME=N,…", help="Sizes of families, values of indices and counts, such as W=3."),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Project without loop-head absorption: a role outside a loop must be told.")
]
RoleOption = Annotated[str | None, typer.Option("--role", "-r", help="Only this role.")]


# What a hint proposes to bind a name to.
_BINDING = re.compile(r"`(\w+=\d+)`")


class Picture(StrEnum):
    """How a graph is written."""

    MERMAID = "mermaid"
    SVG = "svg"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (check, project, fmt, explain, graph, stubs, simulate, run):
        app.command()(command)


def check(
    files: FilesArgument,
    require_projectable: Annotated[
        bool, typer.Option("--require-projectable", help="A protocol that cannot be projected is not ok.")
    ] = False,
    strict: StrictOption = False,
    bind: BindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check protocols; exit code 1 when one does not parse or is not valid.

    JSON: one line a file: {file, ok, parsed, valid, projectable, projection_error, tier, protocol, roles, diagnostics:
    [{kind, severity, line, column, end_line, end_column, message, hint}]}.
    """
    from antiphon.choreography import render_all

    bindings = _bindings(bind, files)
    are_ok = True
    for file in files:
        text = file.read_bytes()
        checked = _checked(file, text, bindings, strict=strict)
        is_ok = checked.is_valid and (checked.is_projectable or not require_projectable)
        are_ok = are_ok and is_ok
        if as_json:
            write(json.dumps(_check_json(file, checked, is_ok), ensure_ascii=False))
            continue
        if checked.problems:
            write(_clean_lines(render_all(checked.problems, text.decode("utf-8", "replace"), file=str(file))))
        refused = _projection_error(checked)
        if checked.is_valid and refused is not None:
            write(f"{file}: {_clean_lines(refused)}")
        write(f"{file}: {_verdict(checked, is_ok)}")
    if not are_ok:
        raise typer.Exit(1)


def project(
    files: FilesArgument,
    role: RoleOption = None,
    strict: StrictOption = False,
    bind: BindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each role does; exit code 1 when a protocol is not valid or a role has no view of it.

    JSON: one line a file: {file, protocol, roles: {ROLE: LOCAL}}, where LOCAL is {kind: send|recv, partner, branches:
    [{label, type, continuation}]}, {kind: rec, name, body}, {kind: var, name}, {kind: timeout, role, after_ms, body,
    on_timeout, on_cancel}, {kind: repeat, count, body, continuation} (loops of more than 64 rounds) or {kind: end}.
    What went wrong is added as diagnostics and projection_errors.
    """
    bindings = _bindings(bind, files)
    are_ok = True
    for file in files:
        checked = _checked(file, file.read_bytes(), bindings, strict=strict)
        if role is not None and checked.projections is not None and role not in checked.roles:
            raise typer.BadParameter(f"{file} has no role {role!r}; it has {', '.join(checked.roles)}")
        views, errors = _views(checked, role)
        are_ok = are_ok and not errors and checked.is_valid
        if as_json:
            write(_project_json(file, checked, views, errors))
            continue
        for name, (shown, _) in views.items():
            write(f"{name}: {shown}")
        for error in errors:
            say(f"{file}: {_clean_lines(error)}")
        _complain(file, checked)
    if not are_ok:
        raise typer.Exit(1)


def fmt(
    files: FilesArgument,
    write_back: Annotated[bool, typer.Option("--write", "-w", help="Change the files in place.")] = False,
    only_check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 names what would change.")
    ] = False,
) -> None:
    """Write protocols in canonical form to stdout, or in place with --write; exit code 1 when one does not parse.

    The canonical form is the layout dialect: a file in braces is shown so, and never changed in place.
    """
    from antiphon.choreography import format_choreography, parse

    are_ok = True
    for file in files:
        data = file.read_bytes()
        result = parse(data, file=str(file))
        if result.tree is None or result.errors:
            say(_clean_lines(result.render()))
            are_ok = False
            continue
        formatted = format_choreography(result.tree)
        is_changed = formatted.encode() != data
        if result.tree.dialect == "brace" and (only_check or write_back):
            say(f"{file} is written in braces and left as it is; its layout form: antiphon fmt {file} > NAME.tell")
        elif only_check:
            are_ok = are_ok and not is_changed
            if is_changed:
                write(str(file))
        elif not write_back:
            write(formatted.removesuffix("\n"))
        elif is_changed:
            write_file(file, formatted)
            say(f"formatted {file}")
    if not are_ok:
        raise typer.Exit(1)


def explain(file: FileArgument, strict: StrictOption = False, bind: BindOption = None) -> None:
    """Tell what each statement became, who learns each choice and when, and what every role does."""
    from antiphon.choreography.explain import explain_protocol

    checked = _checked(file, file.read_bytes(), _bindings(bind, [file]), strict=strict)
    _complain(file, checked)
    if checked.is_parsed:
        write(_clean_lines(explain_protocol(checked, mode=_mode(strict))).removesuffix("\n"))
    if not checked.is_valid:
        raise typer.Exit(1)


def graph(
    file: FileArgument,
    role: RoleOption = None,
    form: Annotated[Picture, typer.Option("--format", help="mermaid or svg.")] = Picture.MERMAID,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Write every picture in both forms there.")
    ] = None,
    strict: StrictOption = False,
    bind: BindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a protocol as a sequence diagram and each role as a state machine, as Mermaid or SVG.

    Without --role and --out the sequence diagram goes to stdout (and, as Mermaid, every role's machine after it).
    JSON: one object: {file, protocol, sequence: {mermaid, svg}, roles: {ROLE: {mermaid, svg}}}.
    """
    checked = _checked(file, file.read_bytes(), _bindings(bind, [file]), strict=strict)
    if checked.global_type is None or not checked.is_valid or checked.choreography is None:
        _complain(file, checked)
        if (refused := _projection_error(checked)) is not None:
            say(f"{file}: {_clean_lines(refused)}")
        raise typer.Exit(1)
    if role is not None and role not in checked.roles:
        raise typer.BadParameter(f"{file} has no role {role!r}; it has {', '.join(checked.roles)}")
    sequence = _sequence_pictures(checked)
    machines = _machine_pictures(checked.choreography.name, _machines(file, checked))
    if role is not None and role not in machines:
        say(f"{file}: {_clean_lines(_projection_error(checked) or 'no view')}")
        raise typer.Exit(1)
    if out is not None:
        _write_pictures(out, checked.choreography.name, sequence, machines)
    elif as_json:
        shown = {"file": str(file), "protocol": checked.choreography.name, "sequence": sequence, "roles": machines}
        write(json.dumps(shown, ensure_ascii=False))
    elif role is not None:
        write(machines[role][form].removesuffix("\n"))
    elif form is Picture.SVG:
        write(sequence[form].removesuffix("\n"))
    else:
        write(
            "\n".join([sequence["mermaid"], *(pictures["mermaid"] for pictures in machines.values())]).removesuffix(
                "\n"
            )
        )


def stubs(
    file: FileArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.pyi", help="Write there, not to stdout.")
    ] = None,
    callbacks: Annotated[
        str | None,
        typer.Option(
            "--callbacks",
            metavar="MODULE",
            help="Instead, the methods of each role in the callback style, with the messages of the stubs in MODULE.",
        ),
    ] = None,
    strict: StrictOption = False,
    bind: BindOption = None,
) -> None:
    """Write typed stubs: one Python class for each state of each role, for the type checker to follow."""
    from antiphon.choreography.ast import TypeAliasDeclaration
    from antiphon.choreography.stubs import generate_stubs

    checked = _checked(file, file.read_bytes(), _bindings(bind, [file]), strict=strict)
    tree = checked.choreography
    if tree is None or checked.projections is None or not (checked.is_valid and checked.is_projectable):
        _complain(file, checked)
        say(f"{file}: {_clean_lines(_projection_error(checked) or 'not valid')}")
        raise typer.Exit(1)
    machines = _machines(file, checked)
    aliases = {one.name: one.type for one in tree.declarations if isinstance(one, TypeAliasDeclaration)}
    if callbacks is None:
        text = generate_stubs(tree.name, machines, aliases=aliases, source=file.name)
    else:
        from antiphon.runtime.choreography import callbacks_stub

        text = callbacks_stub(tree.name, machines, aliases=aliases, messages_from=callbacks)
    if out is None:
        write(text.removesuffix("\n"))
    else:
        write_file(out, text)


def simulate(
    files: FilesArgument,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, another run.")] = 0,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Stop after so many: not every protocol ends.")
    ] = 1000,
    strict: StrictOption = False,
    bind: BindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the roles run once, each step picked by the seed; exit code 1 when they get stuck or a file does not check.

    The same seed gives the same run. A timeout's outcome is picked, not waited for.
    JSON: one line a file: {file, protocol, seed, outcome: ended|steps|stuck, steps, events: [{kind:
    choice|send|receive|timeout, role, partner, label, options}], waiting: {ROLE: TEXT}, left: [{sender, receiver,
    label}]}. What went wrong before is {file, protocol, outcome: null, diagnostics, projection_errors}.
    """
    import random

    from antiphon.choreography import simulate as run_once

    bindings = _bindings(bind, files)
    are_ok = True
    for file in files:
        checked = _checked(file, file.read_bytes(), bindings, strict=strict)
        name = checked.choreography.name if checked.choreography is not None else None
        found = errors = None
        if checked.projections is None or not (checked.is_valid and checked.is_projectable):
            errors = _projection_error(checked)
        else:
            try:
                # A dice of its own for each file: what stands beside it does not change its run.
                dice = random.Random(seed)
                found = run_once(checked.projections.local, choose=dice.randrange, steps_max=steps)
            except ValueError as problem:
                errors = str(problem)
        are_ok = are_ok and found is not None and found.outcome != "stuck"
        if as_json:
            shown = _run_json(found, seed) if found is not None else _unrun_json(checked, errors)
            write(json.dumps({"file": str(file), "protocol": name, **shown}, ensure_ascii=False))
        elif found is not None:
            _show_run(file, found)
        else:
            _complain(file, checked)
            say(f"{file}: {_clean_lines(errors or 'not valid')}")
    if not are_ok:
        raise typer.Exit(1)


def run(
    file: FileArgument,
    roles: Annotated[
        list[str] | None,
        typer.Option("--roles", metavar="A,B", help="Who takes part here (default: every role); may be given again."),
    ] = None,
    topology: Annotated[
        Path | None,
        typer.Option("--topology", metavar="FILE", exists=True, dir_okay=False, help="Where each role is."),
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(
            "--transport",
            metavar="KIND|ADDRESS",
            help="What carries the messages: memory (default), tcp, ws, unix, nats; or unix:///FOLDER or "
            "nats://HOST:PORT/ROOM, where roles of other processes are met. With --topology: tcp or ws.",
        ),
    ] = None,
    payloads: Annotated[
        Path | None,
        typer.Option(
            "--payloads",
            metavar="FILE.json",
            exists=True,
            dir_okay=False,
            help="Payloads by label; others are made up.",
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="NAME=JSON", help="A name that guards may ask for, such as budget=30."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Other dice: other choices and payloads.")] = 0,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Stop a role after so many: not every protocol ends.")
    ] = 1000,
    strict: StrictOption = False,
    bind: BindOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    trusted: TrustedOption = None,
    nats_access: NatsAccessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a protocol: every role a monitored endpoint, guards evaluated, clocks running; draw what really happened.

    Guards are those of choices; what annotations ask for (capabilities, costs, facts) is left out.

    The roles play by themselves: in this process, over the transport that is named, or where a topology says.
    Stdout is a Mermaid sequence diagram of what they sent, also of a run that failed; exit code 1 when it did.
    Fields of messages are names in the guards' context.
    JSON: one object: {file, protocol, outcome: ended|steps|failed, error, events: [{sender, receiver, text}]}.
    """
    import asyncio
    from tempfile import TemporaryDirectory

    from antiphon.choreography.draw import transcript_mermaid

    checked = _checked(file, file.read_bytes(), _bindings(bind, [file]), strict=strict)
    tree = checked.choreography
    if tree is None or checked.projections is None or not (checked.is_valid and checked.is_projectable):
        _complain(file, checked)
        say(f"{file}: {_clean_lines(_projection_error(checked) or 'not valid')}")
        raise typer.Exit(1)
    with TemporaryDirectory(prefix="antiphon-") as folder:
        transports = transports_of(certificate, key, trusted, nats_access)
        carrying = _Carrying.of(transport, topology, transports, name=tree.name, folder=folder)
        here = _roles_here(roles, checked.roles, is_alone=not carrying.is_wide)
        machines = {machine.role: machine for machine in _machines(file, checked) if machine.role in here}
        played = asyncio.run(
            _play(
                tree,
                machines,
                carrying.handlers(tree, machines, checked),
                given=_payloads(payloads, _machines(file, checked)),
                context=_context(context),
                seed=seed,
                steps=steps,
            )
        )
    if as_json:
        events = [one._asdict() for one in played.events]
        ending = {"outcome": played.outcome, "error": played.error, "events": events}
        write(json.dumps({"file": str(file), "protocol": tree.name, **ending}, ensure_ascii=False))
    else:
        diagram = transcript_mermaid(played.events, checked.roles, title=tree.name)
        write(_clean_lines(diagram).removesuffix("\n"))
        say(f"{file}: {played.outcome}{f': {_clean_lines(played.error)}' if played.error else ''}")
    if played.outcome == "failed":
        raise typer.Exit(1)


# --- parts --------------------------------------------------------------------------------------------------------


def _bindings(pairs: list[str] | None, files: list[Path]) -> dict[str, int]:
    bindings: dict[str, int] = {}
    for pair in (pair for given in pairs or () for pair in given.split(",")):
        name, equals, number = (part.strip() for part in pair.partition("="))
        if not equals or not name or not number.isdecimal():
            expected = "expected NAME=N, such as W=3, or several: N=3,i=1"
            raise typer.BadParameter(f"{expected}; got {pair!r}", param_hint="--bind")
        if bindings.setdefault(name, int(number)) != int(number):
            raise typer.BadParameter(f"{name} is bound to {bindings[name]} and to {number}", param_hint="--bind")
    if bindings:
        _refuse_unknown(bindings, files)
    return bindings


def _refuse_unknown(bindings: dict[str, int], files: list[Path]) -> None:
    """End the command when a name is in no file; a file that does not parse may have meant it."""
    from antiphon.choreography import parse
    from antiphon.choreography.roles import bindable_names

    known: set[str] = set()
    for file in files:
        parsed = parse(file.read_bytes(), file=str(file))
        if parsed.tree is None or parsed.errors:
            return
        names = bindable_names(parsed.tree)
        known |= names.counts | names.indices
    unknown = [name for name in bindings if name not in known]
    if unknown:
        there = f"there are {', '.join(sorted(known))}" if known else "there is none to bind"
        raise typer.BadParameter(f"no family or symbol is called {', '.join(unknown)}; {there}", param_hint="--bind")


def _mode(strict: bool) -> MergeMode:
    return "full" if strict else "full+"


def _checked(file: Path, text: bytes, bindings: dict[str, int], *, strict: bool) -> Checked:
    from antiphon.choreography import parse
    from antiphon.choreography.compiled import Checked, check_tree

    parsed = parse(text, file=str(file))
    if parsed.tree is None or parsed.errors:
        return Checked(parsed.problems, parsed.tree)
    counts, indices = _sorted_bindings(parsed.tree, bindings)
    return check_tree(parsed.tree, problems=parsed.problems, counts=counts, indices=indices, mode=_mode(strict))


def _sorted_bindings(tree: Choreography, bindings: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Which of the names are sizes or rounds of this protocol, and which are indices of references."""
    from antiphon.choreography.roles import bindable_names

    if not bindings:
        return {}, {}
    names = bindable_names(tree)
    counts = {name: number for name, number in bindings.items() if name in names.counts}
    return counts, {name: number for name, number in bindings.items() if name in names.indices}


def _projection_error(checked: Checked) -> str | None:
    """Why there is no view for every role; None when there is, or when that was not asked because of errors."""
    if checked.refusals:
        return "\n".join(str(refusal) for refusal in checked.refusals)
    return "\n".join(_obstacles(checked)) or None


def _obstacles(checked: Checked) -> list[str]:
    """What stands in the way of all views, each once, and the option that helps against it."""
    told = list(dict.fromkeys(f"{one.kind}: {one.message}" for one in checked.obstacles))
    sizes = dict.fromkeys(found[1] for one in checked.obstacles if (found := _BINDING.search(one.hint or "")))
    return [*told, f"bind it on the command line: {' '.join(f'--bind {size}' for size in sizes)}"] if sizes else told


def _check_json(file: Path, checked: Checked, is_ok: bool) -> dict[str, object]:
    tree = checked.choreography
    return {
        "file": str(file),
        "ok": is_ok,
        "parsed": checked.is_parsed,
        "valid": checked.is_valid,
        "projectable": checked.is_valid and checked.is_projectable,
        "projection_error": _projection_error(checked),
        "tier": _tier(checked),
        "protocol": tree.name if tree is not None else None,
        # As many as take part: families by their instances as soon as their sizes are known.
        "roles": list(checked.roles) or ([role.name for role in tree.roles] if tree is not None else []),
        "diagnostics": [problem.to_json() for problem in checked.problems],
    }


def _tier(checked: Checked) -> str | None:
    from antiphon.choreography import tier_of

    if not checked.is_parsed or checked.choreography is None:
        return None
    # A role without a view can be run by nothing, the protocol machine included: it needs a local type each.
    return "proof_only" if checked.refusals else tier_of(checked.concrete or checked.choreography).tier


def _verdict(checked: Checked, is_ok: bool) -> str:
    errors = sum(problem.severity == "error" for problem in checked.problems)
    warnings = len(checked.problems) - errors
    noted = f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    if errors:
        return f"{errors} error{'s' if errors > 1 else ''}{noted}"
    able = "projectable" if checked.is_projectable else "not projectable"
    return f"{'ok' if is_ok else 'no'}, {_tier(checked)}, {able}{noted}"


def _views(checked: Checked, role: str | None) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Each role's view, short and as JSON, and why others have none."""
    from antiphon.choreography.local import local_json_text, show_local

    if checked.projections is None or not checked.is_valid:
        return {}, _obstacles(checked)
    views: dict[str, tuple[str, str]] = {}
    errors = [str(one) for one in checked.refusals if role in (None, one.role)]
    for name, view in checked.projections.local.items():
        if role in (None, name):
            try:
                nested = local_json_text(view)
            except ValueError as problem:
                errors.append(f"{name}: {problem}")
            else:
                views[name] = (show_local(view), nested)
    return views, errors


def _project_json(file: Path, checked: Checked, views: dict[str, tuple[str, str]], errors: list[str]) -> str:
    """One line; the views are text already, since the standard encoder gives up at a few hundred levels."""
    name = checked.choreography.name if checked.choreography is not None else None
    shown = ", ".join(f"{json.dumps(role)}: {nested}" for role, (_, nested) in views.items())
    head = f'"file": {json.dumps(str(file), ensure_ascii=False)}, "protocol": {json.dumps(name)}, "roles": {{{shown}}}'
    extra = ""
    if checked.problems:
        problems = json.dumps([problem.to_json() for problem in checked.problems], ensure_ascii=False)
        extra += f', "diagnostics": {problems}'
    if errors:
        extra += f', "projection_errors": {json.dumps(errors, ensure_ascii=False)}'
    return f"{{{head}{extra}}}"


def _show_run(file: Path, run: Run) -> None:
    for event in run.events:
        write(str(event))
    steps = f"{run.steps} step{'' if run.steps == 1 else 's'}"
    match run.outcome:
        case "ended":
            write(f"{file}: ended after {steps}")
        case "steps":
            write(f"{file}: stopped after {steps}; --steps lets it go on")
        case "stuck":
            write(f"{file}: stuck after {steps}")
            for role, what in run.waiting.items():
                write(f"  {role} waits for {what}")
            for sender, receiver, label in run.left:
                write(f"  nobody has taken {label} from {sender} to {receiver}")


def _run_json(run: Run, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "outcome": run.outcome,
        "steps": run.steps,
        "events": [event._asdict() for event in run.events],
        "waiting": dict(run.waiting),
        "left": [{"sender": sender, "receiver": receiver, "label": label} for sender, receiver, label in run.left],
    }


def _unrun_json(checked: Checked, errors: str | None) -> dict[str, object]:
    diagnostics = [problem.to_json() for problem in checked.problems]
    return {"outcome": None, "diagnostics": diagnostics, "projection_errors": [errors] if errors else []}


class _Played(NamedTuple):
    events: list[Happening]
    outcome: str
    error: str | None = None


async def _play(
    tree: Choreography,
    machines: dict[str, StateMachine],
    handlers: Sequence[InMemoryHandler],
    *,
    given: dict[str, object],
    context: dict[str, object],
    seed: int,
    steps: int,
) -> _Played:
    """Let roles play; what was told until the end, or until the first that failed."""
    import asyncio
    import random

    from antiphon.choreography.ast import TypeAliasDeclaration
    from antiphon.facts import AntiphonError
    from antiphon.runtime.choreography import ChannelClosed, Endpoint, RolePlan
    from antiphon.runtime.choreography.player import Player, StepsUsedUp

    aliases = {one.name: one.type for one in tree.declarations if isinstance(one, TypeAliasDeclaration)}
    from antiphon.runtime.topology import TopologyHandler

    events: list[Happening] = []
    placed = [handler for handler in handlers if isinstance(handler, TopologyHandler)]
    try:
        for place in placed:
            await place.initialize()
        async with asyncio.TaskGroup() as group:
            for number, handler in enumerate(handlers):
                plan = RolePlan(machines[handler.role], protocol=tree.qualified_name, aliases=aliases)
                # It plays with made-up payloads: nobody's budget is touched.
                endpoint = Endpoint(plan, handler, unguarded=True, context=context)
                # A dice of its own for each role: what one draws does not depend on when the others act.
                dice = random.Random(f"{seed}:{number}")
                group.create_task(Player(endpoint, dice, given, events.append, steps).play())
    except BaseExceptionGroup as problems:
        causes = [one for one in problems.exceptions if isinstance(one, AntiphonError)]
        if len(causes) < len(problems.exceptions):
            raise
        first = next((one for one in causes if not isinstance(_root(one), ChannelClosed)), causes[0])
        return _Played(events, "steps" if isinstance(first, StepsUsedUp) else "failed", str(first))
    finally:
        for place in placed:
            await place.close()
    return _Played(events, "ended")


class _Carrying(NamedTuple):
    """What carries the messages of a run: an address where all meet, or a topology and what lies between places."""

    address: str | None
    topology: Path | None
    scheme: RemoteScheme
    is_wide: bool
    transports: Transports

    @classmethod
    def of(
        cls, transport: str | None, topology: Path | None, transports: Transports, *, name: str, folder: str
    ) -> _Carrying:
        """Read the options; ends the command when they do not go together."""
        kind = (transport or "").partition("://")[0]
        if topology is not None:
            if kind not in ("", "tcp", "ws") or "://" in (transport or ""):
                message = f"a topology's endpoints are met by tcp or ws, not by {transport}"
                raise typer.BadParameter(message, param_hint="--transport")
            return cls(None, topology, "ws" if kind == "ws" else "tcp", True, transports)
        if kind in ("", "memory"):
            return cls(None, None, "tcp", False, transports)
        address = transport if transport and "://" in transport else _meeting_address(kind, name=name, folder=folder)
        return cls(address, None, "tcp", address == transport and kind in ("unix", "nats"), transports)

    def handlers(
        self, tree: Choreography, machines: dict[str, StateMachine], checked: Checked
    ) -> Sequence[InMemoryHandler]:
        """A handler for each role here; ends the command when the topology is none, or does not fit the protocol."""
        from antiphon.runtime.choreography import InMemoryHandler, MemoryHub

        if self.address is None and self.topology is None:
            return InMemoryHandler.network(*machines)
        from antiphon.choreography.topology import Topology
        from antiphon.facts import AntiphonError
        from antiphon.runtime.topology import MeetingPlace, Places, TopologyHandler, TransportFactory

        places: Places
        try:
            if self.topology is None:
                topology, places = Topology.local_mode(), MeetingPlace(self.address or "", transports=self.transports)
            else:
                topology = _fitting_topology(self.topology, tree, checked)
                places = TransportFactory(topology, scheme=self.scheme, transports=self.transports)
        except AntiphonError as problem:
            raise typer.BadParameter(str(problem), param_hint="--transport") from problem
        roles = checked.roles
        hub, name = MemoryHub(roles), tree.qualified_name
        return [TopologyHandler(topology, one, protocol=name, roles=roles, hub=hub, places=places) for one in machines]


def _fitting_topology(file: Path, tree: Choreography, checked: Checked) -> Topology:
    """The topology of a file; ends the command when it is none, is for another protocol, or does not fit this one."""
    from antiphon.choreography.topology import TopologyError, branch_requirements, load_topology, validate_topology

    assert checked.global_type is not None, "looked at by the command"
    try:
        loaded = load_topology(str(file))
        if loaded.for_protocol not in (tree.name, tree.qualified_name):
            message = f"{loaded.name} is a topology for {loaded.for_protocol}, and this is {tree.qualified_name}"
            raise typer.BadParameter(message, param_hint="--topology")
        validate_topology(loaded.topology, checked.roles, branch_requirements(checked.global_type)).raise_for_failure()
    except TopologyError as problem:
        raise typer.BadParameter(str(problem), param_hint="--topology") from problem
    return loaded.topology


def _meeting_address(kind: str, *, name: str, folder: str) -> str:
    """Where the roles of this process alone meet: a free port each, a folder, or a room that nobody else knows."""
    from antiphon.runtime.entropy import system_random

    match kind:
        case "tcp" | "ws":
            return f"{kind}://127.0.0.1:0"
        case "unix":
            return f"unix://{folder}"
        case "nats":
            return f"nats://127.0.0.1:4222/{name[:40]}-{system_random(6).hex()}"
        case _:
            message = f"expected memory, tcp, ws, unix, nats, unix:///FOLDER or nats://HOST:PORT/ROOM, got {kind!r}"
            raise typer.BadParameter(message, param_hint="--transport")


def _root(problem: Exception) -> BaseException:
    from antiphon.runtime.choreography import ChoreoError

    return problem.root_cause() if isinstance(problem, ChoreoError) else problem


def _roles_here(given: Iterable[str] | None, known: tuple[str, ...], *, is_alone: bool) -> list[str]:
    named = [name.strip() for text in given for name in text.split(",")] if given is not None else list(known)
    unknown = [name for name in named if name not in known]
    if unknown:
        raise typer.BadParameter(f"no role {', '.join(unknown)}; there are {', '.join(known)}", param_hint="--roles")
    absent = [name for name in known if name not in named]
    if absent and is_alone:
        advice = "give --topology, or --transport with an address where they are met"
        raise typer.BadParameter(f"{', '.join(absent)} would be elsewhere; {advice}", param_hint="--roles")
    return named


def _payloads(file: Path | None, machines: Iterable[StateMachine]) -> dict[str, object]:
    """Payloads by label; ends the command for a label that no role here sends or hears: it would be passed over."""
    if file is None:
        return {}
    known = sorted({one.label for machine in machines for state in machine.states for one in state.transitions})
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise typer.BadParameter(f"{file}: {problem}", param_hint="--payloads") from problem
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{file}: expected an object, payloads by label", param_hint="--payloads")
    unknown = [label for label in found if label not in known]
    if unknown:
        there = f"{', '.join(unknown)}; there are {', '.join(known)}"
        raise typer.BadParameter(f"{file}: no message is called {there}", param_hint="--payloads")
    return found


def _context(pairs: list[str] | None) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs or ():
        name, _, text = pair.partition("=")
        try:
            found[name.strip()] = json.loads(text)
        except ValueError as problem:
            message = f"expected NAME=JSON, such as budget=30, got {pair!r}"
            raise typer.BadParameter(message, param_hint="--context") from problem
    return found


def _complain(file: Path, checked: Checked) -> None:
    from antiphon.choreography import render_all

    if checked.problems:
        text = file.read_bytes().decode("utf-8", "replace")
        typer.echo(_clean_lines(render_all(checked.problems, text, file=str(file))), err=True)


def _machines(file: Path, checked: Checked) -> list[StateMachine]:
    """Every role's machine; ends the command when one is too large to be held."""
    from antiphon.choreography import build_machine

    views = checked.projections.local if checked.projections else {}
    try:
        return [build_machine(role, view) for role, view in views.items()]
    except ValueError as problem:
        say(f"{file}: {problem}")
        raise typer.Exit(1) from None


def _sequence_pictures(checked: Checked) -> dict[str, str]:
    from antiphon.choreography import sequence_mermaid, sequence_svg

    assert checked.global_type is not None, "looked at by the command"
    assert checked.choreography is not None, "a global type comes from a choreography"
    name = checked.choreography.name
    return {
        "mermaid": sequence_mermaid(checked.global_type, checked.roles, title=name),
        "svg": sequence_svg(checked.global_type, checked.roles, title=name),
    }


def _machine_pictures(name: str, machines: list[StateMachine]) -> dict[str, dict[str, str]]:
    from antiphon.choreography import machine_mermaid, machine_svg

    titles = {machine.role: f"{name} · {machine.role}" for machine in machines}
    return {
        machine.role: {
            "mermaid": machine_mermaid(machine, title=titles[machine.role]),
            "svg": machine_svg(machine, title=titles[machine.role]),
        }
        for machine in machines
    }


def _write_pictures(out: Path, name: str, sequence: dict[str, str], machines: dict[str, dict[str, str]]) -> None:
    for stem, pictures in {name: sequence, **{f"{name}.{role}": found for role, found in machines.items()}}.items():
        for suffix, form in ((".mmd", "mermaid"), (".svg", "svg")):
            path = out / f"{stem}{suffix}"
            write_file(path, pictures[form])
            write(str(path))


def _clean_lines(text: str) -> str:
    """Text whose lines cannot steer a terminal."""
    return "\n".join(clean(line) for line in text.split("\n"))


__all__ = ["register"]
