"""Public means exported by a room's `__init__`, exactly once, and documented where it is defined.

Read from the syntax trees, so that a docstring is one that somebody wrote and not one a base class or a dataclass lent.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("facts", "journal", "choreography", "reactive", "views", "runtime", "app", "testing")
FRONT_DOOR = "antiphon"


class Module(NamedTuple):
    """One parsed file: its dotted name, its tree, and its lines for the comments a tree forgets."""

    name: str
    is_package: bool
    tree: ast.Module
    lines: tuple[str, ...]


def parsed(name: str, text: str, *, is_package: bool = False) -> Module:
    return Module(name, is_package, ast.parse(text), tuple(text.splitlines()))


def load(name: str) -> Module | None:
    """The module of ours with this dotted name; None when it is not ours."""
    first, *rest = name.split(".")
    if first != FRONT_DOOR:
        return None
    folder = ROOT.joinpath(*rest) if rest else ROOT / "src/antiphon"
    for path, is_package in ((folder / "__init__.py", True), (folder.with_suffix(".py"), False)):
        if path.is_file():
            return parsed(name, path.read_text(encoding="utf-8"), is_package=is_package)
    return None


def exported(module: Module) -> list[str]:
    """The names in `__all__`."""
    for statement in module.tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = statement.value  # type: ignore[attr-defined]  # both kinds of assignment have one
            return [str(name) for name in ast.literal_eval(value)]
    return []


def top_level(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """Each statement of a module with the one after it, looking into `if` and `try`."""
    for statement, following in zip(body, [*body, None][1:], strict=True):
        yield statement, following
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try):
                yield from top_level(getattr(statement, block, []))


def imported_from(module: Module, name: str) -> tuple[str, str] | None:
    """The module and the name there that an import binds `name` to."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                parts = module.name.split(".")
                base = parts[: len(parts) - node.level + module.is_package] if node.level else []
                return ".".join([*base, *([node.module] if node.module else [])]), alias.name
    return None


def has_comment(module: Module, statement: ast.stmt, following: ast.stmt | None) -> bool:
    """Whether a constant is explained: a string right below it, a comment right above it or on its line."""
    is_followed_by_text = (
        isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
        and isinstance(following.value.value, str)
    )
    above = module.lines[statement.lineno - 2].strip() if statement.lineno > 1 else ""
    last = module.lines[(statement.end_lineno or statement.lineno) - 1]
    first = module.lines[statement.lineno - 1]
    return is_followed_by_text or above.startswith("#") or "  # " in last or "  # " in first


def bound_names(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {statement.name}
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    return {target.id for target in targets if isinstance(target, ast.Name)}


def is_overload(statement: ast.stmt) -> bool:
    """Whether a function only declares a signature; the one that is documented follows."""
    decorators = getattr(statement, "decorator_list", [])
    return any(ast.unparse(decorator).split(".")[-1] == "overload" for decorator in decorators)


def undocumented_methods(definition: ast.ClassDef) -> Iterator[str]:
    """A class's public methods and properties without a docstring; what `@override` declares is documented above."""
    for member in definition.body:
        if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) or member.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator).split(".")[-1] for decorator in member.decorator_list}
        if not ast.get_docstring(member) and not decorators & {"override", "overload", "setter"}:
            yield f"{definition.name}.{member.name}"


def problems_with(module: Module, name: str) -> list[str]:
    """What is missing from the documentation of one exported name."""
    for statement, following in top_level(module.tree.body):
        if name not in bound_names(statement) or is_overload(statement):
            continue
        place = f"{module.name}:{statement.lineno}"
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            missing = [] if ast.get_docstring(statement) else [name]
            if isinstance(statement, ast.ClassDef):
                missing += undocumented_methods(statement)
            return [f"{place}: {one} is public and has no docstring: say what it means and raises" for one in missing]
        if has_comment(module, statement, following):
            return []
        return [f"{place}: {name} is public: say why it has its value, in a string below or a comment above"]
    origin = imported_from(module, name)
    if origin is None:
        return [f"{module.name}: {name} is in __all__ and never bound: import it (under TYPE_CHECKING when it is lazy)"]
    source = load(origin[0])
    if source is None:
        as_module = load(".".join(origin))
        return [] if as_module or not origin[0].startswith(FRONT_DOOR) else [f"{module.name}: no module {origin[0]}"]
    return problems_with(source, origin[1])


def room_module(room: str) -> Module:
    module = load(f"{FRONT_DOOR}.{room}")
    assert module is not None
    return module


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_of_a_room_is_documented(room: str) -> None:
    module = room_module(room)
    problems = [problem for name in exported(module) for problem in problems_with(module, name)]
    assert not problems, "\n" + "\n".join(problems)


def test_every_name_of_the_front_door_is_documented() -> None:
    module = load(FRONT_DOOR)
    assert module is not None
    problems = [problem for name in exported(module) for problem in problems_with(module, name)]
    assert not problems, "\n" + "\n".join(problems)


def test_the_front_door_has_the_names_of_its_contract() -> None:
    module = load(FRONT_DOOR)
    assert module is not None
    promised = {"Fact", "Journal", "view", "upcast", "open_history", "Signal", "Receipt", "BatchReceipt"}
    promised |= {"AntiphonError", "LocalViolation", "RemoteViolation", "FactError", "SchemaDrift", "NotAJournal"}
    promised |= {"JournalHeld", "JournalClosed", "FormatTooNew", "StoreUnavailable", "SignalNotFound", "HistoryError"}
    promised |= {"PeerUnreachable", "CHAT_SIGNAL", "CONTACTS_SIGNAL", "INVITATIONS_SIGNAL"}
    missing = promised - set(exported(module))
    assert not missing, f"antiphon/__init__.py must export {sorted(missing)}: the front door is a contract"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_opens_with_a_sentence(room: str) -> None:
    assert ast.get_docstring(room_module(room).tree), f"{room}/__init__.py must open with one sentence"


def test_every_module_opens_with_a_sentence() -> None:
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    silent = [str(file.relative_to(ROOT)) for file in files if not ast.get_docstring(ast.parse(file.read_text()))]
    assert not silent, f"open with one sentence, then what the module deliberately does not do: {silent}"


def test_a_name_is_exported_by_one_room_only() -> None:
    rooms_of: dict[str, list[str]] = {}
    for room in ROOMS:
        for name in exported(room_module(room)):
            rooms_of.setdefault(name, []).append(room)
    twice = {name: rooms for name, rooms in rooms_of.items() if len(rooms) > 1}
    assert not twice, f"a name lives in one room; others import it from there: {twice}"


@pytest.mark.parametrize("room", [*ROOMS, ""])
def test_an_export_list_names_nothing_twice_and_nothing_of_ours(room: str) -> None:
    module = load(f"{FRONT_DOOR}.{room}".rstrip("."))
    assert module is not None
    names = exported(module)
    assert [name for name, count in Counter(names).items() if count > 1] == []
    private = [name for name in names if name.startswith("_") and name != "__version__"]
    assert not private, f"an underscore means ours; do not export {private}"


# --- the rules can fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class Chain: ...", "Chain is public and has no docstring"),
        ("def join(): ...", "join is public and has no docstring"),
        ("async def serve(): ...", "serve is public and has no docstring"),
        ('class Chain:\n    """A chain."""\n    def head(self): ...', "Chain.head is public and has no docstring"),
        ("WINDOW_MS = 5", "WINDOW_MS is public: say why"),
        ("Id = NewType('Id', str)", "Id is public: say why"),
    ],
)
def test_an_undocumented_name_is_seen(source: str, expected: str) -> None:
    name = next(word for word in ("Chain", "join", "serve", "WINDOW_MS", "Id") if word in source)
    (problem,) = problems_with(parsed("antiphon.facts.planted", source), name)
    assert expected in problem


@pytest.mark.parametrize(
    "source",
    [
        'class Name:\n    """A name."""\n    def _ours(self): ...',
        'class Name(Base):\n    """A name."""\n    @override\n    def theirs(self): ...',
        'def Name():\n    """A name."""',
        'Name = 5\n"""Why five."""',
        "# Why five.\nName = 5",
        "Name = 5  # why five",
        'if X:\n    Name = 5\n    """Why five."""',
        "from pathlib import Path as Name",
    ],
)
def test_a_documented_name_is_fine(source: str) -> None:
    assert problems_with(parsed("antiphon.facts.planted", source), "Name") == []


def test_a_name_that_is_listed_and_not_there_is_seen() -> None:
    (problem,) = problems_with(parsed("antiphon.facts.planted", "import os"), "ghost")
    assert "never bound" in problem


def test_a_name_is_followed_to_where_it_is_defined() -> None:
    module = parsed("antiphon.facts", "from .ghost import Name", is_package=True)
    assert problems_with(module, "Name") == ["antiphon.facts: no module antiphon.facts.ghost"]


def test_exports_are_read_from_the_list() -> None:
    assert exported(parsed("antiphon.facts", '__all__ = ["Fact", "Stamp"]')) == ["Fact", "Stamp"]
