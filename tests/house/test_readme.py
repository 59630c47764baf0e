"""The README is a story that runs: its commands and snippets are executed in order, in one empty folder.

What only makes sense on the reader's machine (fetching the repository, installing, `make`) is not executed, and
checked instead: the make target, the extra and the folder must exist. A line that ends in `&` stays up for the rest.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
STEP_S_MAX = 120  # the slowest step is the demo: under 20 s alone, and this machine may be shared

FENCE = re.compile(r"^```(?P<language>[a-z]*)[^\n]*\n(?P<text>.*?)^```", flags=re.MULTILINE | re.DOTALL)
SHELLS = {"console", "sh", "bash", "shell"}
PROMPT = "$ "

# What the README takes for granted in the folder it is read in.
SCENE = {
    "logs/2008-07-14.raw.txt": (
        "=== ada [n=ada@host] has joined #ubuntu\n"
        "[10:02] <ada> good morning\n"
        "[10:02] <brian> hello ada\n"
        "[10:03]  * ada waves\n"
    ),
}


class Step(NamedTuple):
    """One thing the README tells the reader to do."""

    line: int
    kind: str  # "python" or "shell"
    text: str


def commands(block: str, *, has_prompts: bool) -> Iterator[tuple[int, str]]:
    """The command lines of a block with their offset in it; a trailing backslash joins the next line."""
    joined, start = "", 0
    for offset, line in enumerate(block.splitlines()):
        continues = bool(joined)
        if has_prompts and not continues:
            if not line.startswith(PROMPT):
                continue
            line = line.removeprefix(PROMPT)
        if not continues:
            start = offset
        if line.endswith("\\"):
            joined += line.removesuffix("\\") + " "
            continue
        command = (joined + line.removeprefix("> ") if continues else line).strip()
        joined = ""
        if command and not command.startswith("#"):
            yield start, command


def steps(markdown: str) -> list[Step]:
    """Every command and snippet, in the order of reading."""
    found: list[Step] = []
    for fence in FENCE.finditer(markdown):
        line = markdown.count("\n", 0, fence.start()) + 2
        text, language = fence["text"], fence["language"]
        if language == "python":
            found.append(Step(line, "python", text))
        elif language in SHELLS:
            has_prompts = language == "console"
            found += [Step(line + at, "shell", command) for at, command in commands(text, has_prompts=has_prompts)]
    return found


def is_for_the_reader(command: str) -> bool:
    """Whether a command fetches, installs or makes: things that are checked instead of run."""
    return bool(re.match(r"(git clone|cd|make|(python\S* -m )?pip install|uv (add|pip))\b", command))


def reader_problem(command: str) -> str | None:
    """What is wrong with a command that is not run, if anything."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
        unknown = set(targets) - known
        return f"the Makefile has no target {sorted(unknown)}" if unknown else None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra.strip() for group in re.findall(r"\[([a-z, ]+)\]", command) for extra in group.split(",")}
    unknown = named - set(extras)
    return f"there is no extra {sorted(unknown)}" if unknown else None


def environment() -> dict[str, str]:
    """The reader's shell: our commands first on PATH, and no terminal."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}


def run_step(step: Step, folder: Path) -> str | None:
    """Do one step; what went wrong, if anything."""
    command = [sys.executable, "-c", step.text] if step.kind == "python" else ["bash", "-euc", step.text]
    try:
        outcome = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_S_MAX,
        )
    except subprocess.TimeoutExpired:
        return f"README.md:{step.line}: still running after {STEP_S_MAX} s; end it with ` &` if it is to stay up"
    if outcome.returncode:
        return f"README.md:{step.line}: exit code {outcome.returncode}\n{step.text}\n{outcome.stdout}{outcome.stderr}"
    return None


def tell(story: list[Step], folder: Path) -> list[str]:
    """Do every step of a story in this folder; the problems, with the line of each."""
    problems: list[str] = []
    staying: list[subprocess.Popen[bytes]] = []
    try:
        for step in story:
            if step.kind == "shell" and is_for_the_reader(step.text):
                problem = reader_problem(step.text)
                problems += [f"README.md:{step.line}: {problem}: {step.text}"] if problem else []
            elif step.kind == "shell" and step.text.endswith("&"):
                command = ["bash", "-euc", "exec " + step.text.removesuffix("&")]
                staying.append(subprocess.Popen(command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL))
            else:
                problem = run_step(step, folder)
                problems += [problem] if problem else []
    finally:
        for process in staying:
            process.terminate()
            process.wait(timeout=STEP_S_MAX)
    return problems


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """The folder the README is read in."""
    for name, text in SCENE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_command_and_snippet_of_the_readme_runs(scene: Path) -> None:
    problems = tell(steps(README.read_text(encoding="utf-8")), scene)
    assert not problems, "\n\n".join(problems)


def test_every_command_and_snippet_of_the_page_on_history_runs(scene: Path) -> None:
    problems = tell(steps((ROOT / "docs" / "history.md").read_text(encoding="utf-8")), scene)
    assert not problems, "in docs/history.md: " + "\n\n".join(problems)


def test_the_readme_shows_code_and_the_two_commands() -> None:
    story = steps(README.read_text(encoding="utf-8"))
    assert any(step.kind == "python" for step in story), "the README must hold the first signal as a ```python block"
    shown = {step.text.split(" #")[0].strip() for step in story}
    assert {"make demo", "make test"} <= shown, "the README must show `make demo` and `make test`"


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing, f"the README links to what is not there: {missing}"


# --- the reader can be disappointed -------------------------------------------------------------------------------


def test_steps_are_found_in_order_with_their_lines() -> None:
    markdown = (
        "# x\n```python\nprint(1)\n```\n```console\n$ echo a \\\n    b\na b\n$ echo c\n```\n```sh\n# no\nls\n```\n"
    )
    assert steps(markdown) == [
        Step(3, "python", "print(1)\n"),
        Step(6, "shell", "echo a      b"),
        Step(9, "shell", "echo c"),
        Step(13, "shell", "ls"),
    ]


def test_a_block_in_another_language_is_not_run() -> None:
    assert steps("```text\nrm -r x\n```\n```toml\nx = 1\n```\n") == []


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step(3, "python", "raise SystemExit(4)"), "README.md:3: exit code 4"),
        (Step(5, "shell", "antiphon no-such-command"), "README.md:5: exit code"),
        (Step(6, "shell", "false | true; false"), "README.md:6: exit code 1"),
        (Step(7, "shell", "make no-such-target"), "README.md:7: the Makefile has no target"),
        (Step(8, "shell", "pip install 'antiphon[nosuchextra, web]'"), "README.md:8: there is no extra"),
    ],
)
def test_a_step_that_fails_is_told_with_its_line(tmp_path: Path, step: Step, expected: str) -> None:
    (problem,) = tell([step], tmp_path)
    assert problem.startswith(expected)


def test_the_steps_share_one_folder_and_what_stays_up_is_ended(tmp_path: Path) -> None:
    story = [
        Step(1, "shell", "sleep 1000 &"),
        Step(2, "shell", "echo ready > note"),
        Step(3, "python", "assert open('note').read() == 'ready\\n'"),
        Step(4, "shell", "make demo"),
        Step(5, "shell", "pip install 'antiphon[notebook]'"),
    ]
    assert tell(story, tmp_path) == []
