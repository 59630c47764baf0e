"""Every command that a page names exists, with its options, and every link leads somewhere; nothing is run here."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from antiphon.app.cli.root import app

PROGRAM: Any = typer.main.get_command(app)
COMMAND = re.compile(r"`antiphon ([^`\n]+)`|^(?:\$ |    )antiphon ([a-z].*)$", flags=re.MULTILINE)
LINK = re.compile(r"\[[^\]\n]*\]\((?![a-z]+:)([^)\s#]*)#?([^)\s]*)\)")


def command_problem(text: str) -> str | None:
    """What is wrong with the words behind ``antiphon``, if anything."""
    words = shlex.split(text.partition(" #")[0].rstrip(" &"))
    command = PROGRAM
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no option {unknown}; expected some of {sorted(known)}" if unknown else None


def anchors(page: Path) -> set[str]:
    """What a link into *page* may name."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def link_problem(page: Path, path: str, anchor: str) -> str | None:
    """What is wrong with a link on *page*, if anything."""
    target = page.parent / path if path else page
    if not target.exists():
        return f"{path} does not exist"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"{target.name} has no title for #{anchor}"
    return None


def problems_of(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for found in COMMAND.finditer(text):
        if problem := command_problem(found[1] or found[2]):
            yield f"line {text.count(chr(10), 0, found.start()) + 1}: {problem}: {found[0]}"
    for found in LINK.finditer(text):
        if problem := link_problem(page, found[1], found[2]):
            yield f"line {text.count(chr(10), 0, found.start()) + 1}: {problem}"


def test_every_page_names_commands_that_exist_and_links_that_lead_somewhere(
    repository: Path, repository_files: tuple[Path, ...]
) -> None:
    pages = [repository / name for name in repository_files if name.suffix == ".md" and name.parts[0] != "changes.d"]
    assert len(pages) > 10
    problems = [f"{page.relative_to(repository)}: {problem}" for page in pages for problem in problems_of(page)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "page", ["`antiphon nonesuch`", "$ antiphon sync here --nonesuch", "[here](nonesuch.md)", "# A\n[here](#nonesuch)"]
)
def test_what_is_not_there_is_noticed(tmp_path: Path, page: str) -> None:
    (tmp_path / "page.md").write_text(page)
    assert len(list(problems_of(tmp_path / "page.md"))) == 1
