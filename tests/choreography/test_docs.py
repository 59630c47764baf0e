"""What the language's pages show is so: every program, every session at the prompt, every line of Python.

A fence says what to expect of its program: ```tell or ```choreo is valid without a word and projects; `wrong=Kind` has
problems of that kind and no other (`ProjectionError`: valid, and some role has no view); `tier=…` is valid and of that
tier, projectable or not; `bind=W=3,i=1` binds families and indices; `file=name` keeps it for the sessions at the
prompt.

The table of diagnostics is written from the language's own: `python tests/choreography/test_docs.py` writes it anew.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from antiphon import choreography
from antiphon.app.cli.root import app
from antiphon.choreography.ast import Choreography, Count, Symbol
from antiphon.choreography.compiled import Checked, check_text
from antiphon.choreography.dsl.diagnostics import DIAGNOSTICS, Diagnostic
from antiphon.choreography.dsl.words import DECLARATION_WORDS, REMOVED_WORDS, STATEMENT_WORDS
from antiphon.choreography.node import walk
from antiphon.choreography.validate import tier_of

FOLDER = Path(__file__).resolve().parents[2] / "docs/choreography"
TABLE = FOLDER / "diagnostics.md"
PAGES = sorted(FOLDER.glob("*.md"))
FENCE = re.compile(r"^```(?P<head>[^\n]*)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LANGUAGES = {"tell": "layout", "choreo": "brace"}


class Block(NamedTuple):
    """A fenced block: where it is, its language, what its head says besides, and its text."""

    page: str
    line: int
    language: str
    marks: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    page = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(page):
        language, *marks = match["head"].split() or [""]
        line = page.count("\n", 0, match.start()) + 1
        yield Block(path.name, line, language, dict(mark.split("=", 1) for mark in marks), match["text"])


BLOCKS = [block for path in PAGES for block in blocks(path)]
PROGRAMS = [block for block in BLOCKS if block.language in LANGUAGES]


def sizes(tree: Choreography) -> set[str]:
    """The names that `bind` takes as counts: families, their symbols, symbols of counted loops."""
    found = {role.name for role in tree.roles}
    found |= {role.size.name for role in tree.roles if isinstance(role.size, Symbol)}
    return found | {node.times for node in walk(tree) if isinstance(node, Count) and isinstance(node.times, str)}


def checked(block: Block) -> Checked:
    bindings = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", block.marks.get("bind", ""))}
    dialect = "layout" if block.language == "tell" else "brace"
    plain = check_text(block.text, file=str(block), dialect=dialect)
    if not bindings or plain.choreography is None:
        return plain
    counts = {name: bindings[name] for name in bindings.keys() & sizes(plain.choreography)}
    indices = {name: bindings[name] for name in bindings.keys() - counts.keys()}
    return check_text(block.text, file=str(block), dialect=dialect, counts=counts, indices=indices)


def kinds(found: Checked) -> set[str]:
    """The kinds of a text's problems, a role without a view among them; if none, of what keeps it from projection."""
    refused = {"ProjectionError"} if found.refusals else set()
    return {one.kind for one in found.problems} | refused or {one.kind for one in found.obstacles}


def tier(found: Checked) -> str:
    assert found.choreography is not None
    return tier_of(found.concrete or found.choreography).tier


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_is_as_good_or_as_wrong_as_its_page_says(block: Block) -> None:
    found = checked(block)
    wrong, wanted = block.marks.get("wrong"), block.marks.get("tier")
    if wrong is not None:
        assert kinds(found) == {wrong}
    elif wanted is not None:
        assert found.is_valid, found.problems
        assert (tier(found), found.problems) == (wanted, ())
    else:
        assert (found.problems, found.obstacles, found.refusals) == ((), (), ())
        assert found.is_projectable


def test_the_pages_show_programs_of_both_dialects_right_and_wrong() -> None:
    assert {block.language for block in PROGRAMS} == set(LANGUAGES)
    assert sum("wrong" in block.marks for block in PROGRAMS) >= 10
    assert len({block.marks["tier"] for block in PROGRAMS if "tier" in block.marks}) >= 2


@pytest.mark.parametrize(
    "text", ["protocol P =\n  roles A, B\n  A -> Z : x\n", "protocol P =\n  roles A, B, C\n  A -> B : x\n"]
)
def test_a_wrong_program_does_not_pass_for_a_right_one(text: str) -> None:
    with pytest.raises(AssertionError):
        test_a_program_is_as_good_or_as_wrong_as_its_page_says(Block("page", 1, "tell", {}, text))
    with pytest.raises(AssertionError):
        test_a_program_is_as_good_or_as_wrong_as_its_page_says(Block("page", 1, "tell", {"wrong": "SelfSend"}, text))


# --- sessions at the prompt and Python ----------------------------------------------------------------------------

SESSIONS = [block for block in BLOCKS if block.language == "console"]


@pytest.mark.parametrize("block", SESSIONS, ids=str)
def test_a_session_at_the_prompt_shows_what_the_command_says(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in PROGRAMS:
        if program.page == block.page and "file" in program.marks:
            (tmp_path / program.marks["file"]).write_text(program.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    said = ""
    for command in re.findall(r"^\$ antiphon (.*)$", block.text, flags=re.MULTILINE):
        said += f"$ antiphon {command}\n{CliRunner().invoke(app, shlex.split(command)).output}"
    assert [line.rstrip() for line in said.splitlines()] == block.text.splitlines()


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_on_a_page_runs(block: Block) -> None:
    exec(compile(block.text, str(block), "exec"), {"__name__": f"page_{block.line}"})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


# --- completeness -------------------------------------------------------------------------------------------------


def code_of(page: str) -> set[str]:
    text = (FOLDER / page).read_text(encoding="utf-8")
    return set(re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))))


def test_the_reference_shows_every_word_of_the_language() -> None:
    words = STATEMENT_WORDS | DECLARATION_WORDS | REMOVED_WORDS.keys()
    assert words - code_of("language.md") == set()


def test_the_reference_names_every_kind_of_problem_it_can_show() -> None:
    shown = {block.marks["wrong"] for block in PROGRAMS if "wrong" in block.marks}
    assert shown - code_of("language.md") == set()


# --- the table of diagnostics -------------------------------------------------------------------------------------

HEAD = """\
# Diagnostics

Every problem the language reports, by kind: what it says, and what it advises. `…` stands for what was found in the
text. Written from the language's own table; a test compares.

Beyond these rows there are the refusals of [projection](language.md#projection).
"""


def diagnostics_page() -> str:
    """The whole of diagnostics.md."""
    by_kind: dict[str, list[Diagnostic]] = {}
    for row in DIAGNOSTICS.values():
        by_kind.setdefault(_plain(row.kind), []).append(row)
    parts = [HEAD]
    for kind, rows in by_kind.items():
        is_warning = all(row.severity == "warning" for row in rows)
        lines = [f"| {_plain(row.message)} | {_plain(row.hint)} |" for row in rows]
        title = f"## {kind}{' (warning)' if is_warning else ''}"
        parts.append("\n".join([title, "", "| problem | advice |", "|---|---|", *lines]) + "\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    filled = re.sub(r"(?<!\{)\{\w+\}(?!\})", "…", text)
    return filled.replace("{{", "{").replace("}}", "}").replace("|", "\\|")


def test_the_table_of_diagnostics_is_the_language_s_own() -> None:
    assert TABLE.read_text(encoding="utf-8") == diagnostics_page(), f"run: python {Path(__file__).name}"


def test_every_python_name_of_the_reference_is_a_public_one() -> None:
    """A module of the room that is called like one of its functions would stand in its place."""
    page = (FOLDER / "language.md").read_text(encoding="utf-8")
    table = page[page.index("| Python (`antiphon.choreography`)") : page.index("Exit codes:")]
    names = [
        name for row in table.splitlines()[2:] if row.strip() for name in re.findall(r"`@?(\w+)`", row.split("|")[1])
    ]
    assert len(names) > 20
    for name in [*names, "Extension", "Extensions", "ProjectableExtension", "StatementExtension", "ExtensionConflict"]:
        assert name in choreography.__all__
        assert callable(getattr(choreography, name)), name


if __name__ == "__main__":
    TABLE.write_text(diagnostics_page(), encoding="utf-8")
    sys.stdout.write(f"wrote {TABLE.name}\n")
