"""What a type checker says of programs that use the front door: right ones pass, wrong ones are told so.

One run of mypy for all of them: its start is the dear part.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

HEAD = """
from collections.abc import Mapping
from types import MappingProxyType
from antiphon import AntiphonError, CHAT_SIGNAL, BatchReceipt, Fact, Journal, Receipt, Signal, view

class Noted(Fact, kind="demo.noted", version=1):
    text: str

class Counted(Fact, kind="demo.counted", version=1):
    step: int

@view(Noted, initial=())
def notes(lines: tuple[str, ...], fact: Noted) -> tuple[str, ...]:
    return (*lines, fact.text)

@view(Noted, Counted, initial=MappingProxyType({}))
def tally(state: Mapping[str, int], fact: Noted | Counted) -> Mapping[str, int]:
    return {**state, "all": len(state)}
"""
RIGHT = {
    "a_snapshot_has_the_type_of_the_fold": """
async def use(journal: Journal) -> tuple[str, ...]:
    size: int = len(await journal.snapshot(notes)) + len(journal.read(notes))
    print(await journal.snapshot(notes), await journal.snapshot(CHAT_SIGNAL), size)
    assert (await journal.snapshot(tally))["all"]
    return await journal.snapshot(notes)
""",
    "a_watch_has_the_type_of_the_fold": """
async def use(journal: Journal) -> str:
    async with journal.watch(notes) as updates:
        async for update in updates:
            return "".join(update.value)
    return ""
""",
    "an_awaited_opening_is_a_journal": """
async def use() -> Journal:
    journal = await Journal.open("folder", author="ada", types=(Noted,))
    receipt: Receipt = await journal.commit(Noted(text="a"))
    batch: BatchReceipt = await journal.commit_all([Noted(text=receipt.fact_id), Counted(step=1)])
    print(batch.fact_ids)
    return journal
""",
}
WRONG = {
    "a_fold_of_another_fact": (
        """
@view(Counted, initial=0)
def total(state: int, fact: Noted) -> int:
    return state
""",
        "Argument 1",
    ),
    "a_fold_that_returns_something_else": (
        """
@view(Counted, initial=0)
def total(state: int, fact: Counted) -> str:
    return str(state + fact.step)
""",
        "Cannot infer|Argument 1",
    ),
    "a_name_that_is_not_there": ("from antiphon import Jurnal\n", 'no attribute "Jurnal"'),
    "a_fact_that_is_not_there": ("from antiphon.facts import MessageSend\n", 'no attribute "MessageSend"'),
    "a_view_that_is_not_there": ("from antiphon.views import ChatStat\n", 'no attribute "ChatStat"'),
    "a_field_of_another_type": ("Noted(text=1)\n", 'Argument "text"'),
    "a_field_that_is_missing": ("Noted()\n", 'Missing named argument "text"'),
    "a_value_taken_for_another": (
        """
async def use(journal: Journal) -> int:
    return await journal.snapshot(notes)
""",
        "Incompatible return|incompatible type",
    ),
    "a_journal_that_is_not_open_yet": (
        """
async def use() -> None:
    await Journal.open("folder").commit(Noted(text="a"))
""",
        'has no attribute "commit"',
    ),
    "a_watch_that_is_not_entered": (
        """
async def use(journal: Journal) -> None:
    async for update in journal.watch(notes):
        print(update)
""",
        "__aiter__|async iterable",
    ),
    "one_fact_for_several": (
        """
async def use(journal: Journal) -> None:
    await journal.commit_all(Noted(text="a"))
""",
        'Argument 1 to "commit_all"',
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, list[str]]:
    """What mypy says of each program, the examples and the first program of the README, by name."""
    folder = tmp_path_factory.mktemp("programs")
    for name, text in {**RIGHT, **{name: text for name, (text, _) in WRONG.items()}}.items():
        (folder / f"{name}.py").write_text(HEAD + text)
    first = re.search(r"```python\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert first is not None
    (folder / "readme.py").write_text(first[1])
    programs = [*sorted(folder.glob("*.py")), *sorted((repository / "examples").glob("*.py"))]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", *programs],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    found: dict[str, list[str]] = defaultdict(list)
    for line in checked.stdout.splitlines():
        path, _, message = line.partition(":")
        found[Path(path).stem].append(message)
    return found


@pytest.mark.parametrize("name", [*RIGHT, "readme", "first_signal", "two_replicas"])
def test_a_right_program_is_accepted(said: dict[str, list[str]], name: str) -> None:
    assert said.get(name, []) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_refused_for_what_is_wrong(said: dict[str, list[str]], name: str) -> None:
    assert any(re.search(WRONG[name][1], message) for message in said.get(name, [])), said.get(name)
