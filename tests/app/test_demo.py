"""The demo: two real processes that converge, a failure that has a reason, sums that are right, a readable picture."""

import asyncio
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from antiphon.app.demo.cues import PLAYERS, Cast, Cue, Player, facts_for
from antiphon.app.demo.director import DemoFailed, Plan, Stage, perform
from antiphon.app.demo.pane import ChannelLine, ContactLine, InvitationLine, MessageLine, Pane
from antiphon.app.demo.replica import REAL_TIME
from antiphon.app.demo.report import (
    Latency,
    LatencyLedger,
    ReplicaReport,
    Report,
    convergence_problem,
    measure,
    percentile,
)
from antiphon.app.demo.screen import StageView, draw, printable
from antiphon.app.demo.script import Chorus, Exchange, Line, Turn, build_script, plan_beat, script_from_log
from antiphon.app.demo.signs import SignReader, sign_of
from antiphon.app.demo.wire import Hello, Perform, Shown, read_order, read_report, write_line
from antiphon.facts import AuthorityId, MessageSent
from antiphon.reactive import Batch
from antiphon.testing.strategies import ADA, BEN, commit_by
from antiphon.views.chat import ChatSignalView
from antiphon.views.chat_state import ChatState

RUN = "import sys; from antiphon.app.demo import run_demo; sys.exit(run_demo({}))"
RUN_S_MAX = 120

LOG = (
    "=== cyd [n=cyd@host] has joined #ubuntu\n"
    + "".join(f"[10:{minute:02}] <{nick}> line {minute}\n" for minute in range(60) for nick in ("cyd", "dan", "eve"))
    + "[11:00]  * cyd waves\n"
).encode() + b"[11:01] <dan> caf\xe9 \x1b[31mred\n"


def run_command(
    folder: Path,
    *,
    as_json: bool = True,
    headless: bool = True,
    irc: Path | None = None,
    keep: Path | None = None,
    seconds: float = 0,
) -> subprocess.Popen[str]:
    """Start the demo as its own process, with the temporary files of its own in *folder*."""
    arguments = f"headless={headless}, as_json={as_json}, irc=irc, seconds={seconds}, seed=3, keep=keep"
    paths = f"from pathlib import Path; irc, keep = {str(irc)!r}, {str(keep)!r}; "
    paths += "irc, keep = (None if each == 'None' else Path(each) for each in (irc, keep)); "
    return subprocess.Popen(
        [sys.executable, "-c", paths + RUN.format(arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )


@contextmanager
def started(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_meeting(process: subprocess.Popen[str]) -> int:
    """Read along until both are linked, with most of the play ahead; the child's process id."""
    assert process.stderr is not None
    child = 0
    for line in process.stderr:
        if found := re.search(r"bob is process (\d+)", line):
            child = int(found[1])
        if "a channel each" in line:
            return child
    raise AssertionError(f"the play ended early: {process.wait()}")


@contextmanager
def watched(pid: int) -> Iterator[Callable[[], None]]:
    """Gives a wait for the end of a process that is somebody else's child."""
    handle = os.pidfd_open(pid)
    try:
        yield lambda: check_ended(handle)
    finally:
        os.close(handle)


def check_ended(handle: int) -> None:
    ended, _, _ = select.select([handle], [], [], RUN_S_MAX)
    assert ended, "the child still runs"


def check_latency(latency: dict[str, float]) -> None:
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < 60_000
    assert latency["samples"] > 10


# --- the whole play ----------------------------------------------------------------------------------------------


def test_a_headless_run_converges_and_says_so_in_json(tmp_path: Path) -> None:
    output, complaints = (process := run_command(tmp_path)).communicate(timeout=RUN_S_MAX)
    assert process.returncode == 0, complaints
    (line,) = output.splitlines()
    report = json.loads(line)
    assert report["converged"] is True
    assert report["reason"] is None
    assert report["replicas"] == 2
    assert set(report["fingerprints"]) == {"ada", "bob"}
    assert len(set(report["fingerprints"].values())) == 1
    assert report["differed_apart"] is True, "meeting again proves nothing when they were equal all along"
    first, second = (report["by_replica"][player] for player in PLAYERS)
    assert first["pid"] == process.pid != second["pid"]
    assert first["authority"] != second["authority"]
    assert first["facts"] == second["facts"] == report["facts"] > 300
    assert report["windows"] == first["windows"] + second["windows"] > 50
    # Every fact is a line of a hundred bytes or more, and travels once.
    assert report["bytes"] > report["facts"] * 100
    check_latency(report["latency_ms"])
    check_latency(report["commit_ms"])
    assert report["commit_ms"]["p50"] < report["latency_ms"]["p99"]
    assert 0 < report["seconds"] < RUN_S_MAX
    assert list(tmp_path.iterdir()) == [], "the folder of the play is gone"


def test_a_real_log_is_played_and_the_report_is_text_when_nobody_looks(tmp_path: Path) -> None:
    log, keep, scratch = tmp_path / "2008-07-14.txt", tmp_path / "kept", tmp_path / "scratch"
    scratch.mkdir()
    log.write_bytes(LOG)
    process = run_command(scratch, headless=False, as_json=False, irc=log, keep=keep)
    output, complaints = process.communicate(timeout=RUN_S_MAX)
    assert process.returncode == 0, complaints
    assert "no terminal" in complaints
    assert output.startswith("result:")
    assert "converged: the fingerprints are equal" in output
    kept = b"".join(path.read_bytes() for path in sorted((keep / "bob" / "log").iterdir()))
    for minute in range(60):
        assert f'"line {minute}"'.encode() in kept, "each line of the log reached the other replica"
    assert list(scratch.iterdir()) == []


def test_a_child_that_dies_is_the_reason_and_the_exit_code_says_no(tmp_path: Path) -> None:
    with started(run_command(tmp_path, as_json=False, seconds=20)) as process:
        child = wait_for_meeting(process)
        os.kill(child, signal.SIGKILL)
        output, complaints = process.communicate(timeout=RUN_S_MAX)
    assert process.returncode == 1
    reason = f"bob's process {child} ended with exit code -9"
    assert f"not converged: {reason}" in output
    assert f"demo: {reason}" in complaints
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_an_interrupted_play_leaves_nothing_behind(tmp_path: Path, interrupt: signal.Signals) -> None:
    with (
        started(run_command(tmp_path, as_json=False, seconds=20)) as process,
        watched(wait_for_meeting(process)) as wait,
    ):
        process.send_signal(interrupt)
        output, complaints = process.communicate(timeout=RUN_S_MAX)
        wait()
    assert process.returncode == 130
    assert output == ""
    assert complaints.splitlines()[-1] == "demo: interrupted; both replicas are closed"
    assert "Traceback" not in complaints
    assert list(tmp_path.iterdir()) == []


def test_a_child_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    with (
        started(run_command(tmp_path, as_json=False, seconds=20)) as process,
        watched(wait_for_meeting(process)) as wait,
    ):
        process.kill()
        wait()


@pytest.mark.asyncio
async def test_a_play_that_cannot_go_on_says_what_was_waited_for(tmp_path: Path) -> None:
    """No screen shows a message in a channel that nobody created."""
    script = (Turn("meet", "meet"), Exchange("a farewell", (Cue("ada", "say", "no such channel", "m1", "hello?"),)))
    stage = Stage(Plan(script, 0, tmp_path, is_drawn=False, step_timeout_s=2), REAL_TIME)
    with pytest.raises(BaseExceptionGroup) as caught:
        await perform(stage.plan, stage)
    assert caught.group_contains(DemoFailed, match="waited 2 s for the other to see ada say \\(a farewell\\), in vain")


@pytest.mark.parametrize(
    ("log", "expected"),
    [(None, "cannot read"), (b"", "holds nothing that anybody said"), (b"\xff\xfe\n", "holds nothing")],
    ids=["missing", "empty", "no log"],
)
def test_a_log_that_is_none_is_refused_before_anything_starts(tmp_path: Path, log: bytes | None, expected: str) -> None:
    path = tmp_path / "log.txt"
    if log is not None:
        path.write_bytes(log)
    process = run_command(tmp_path, irc=path)
    output, complaints = process.communicate(timeout=RUN_S_MAX)
    assert process.returncode == 2
    assert output == ""
    assert expected in complaints


def test_a_folder_that_holds_a_play_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept" / "bob").mkdir(parents=True)
    process = run_command(tmp_path, keep=tmp_path / "kept")
    _, complaints = process.communicate(timeout=RUN_S_MAX)
    assert process.returncode == 2
    assert "holds bob already" in complaints


@pytest.mark.asyncio
async def test_the_beats_of_a_script_are_waited_out_through_the_given_pace(tmp_path: Path) -> None:
    """The pace is a parameter: this play of an hour takes no longer than it must."""
    pauses: list[float] = []

    async def skip(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    script = (
        Turn("meet", "meet"),
        Exchange("one", (Cue("ada", "create_channel", "lobby"), Cue("bob", "join_channel", "lobby"))),
    )
    plan = Plan(script, plan_beat(script, seconds=3600), tmp_path, is_drawn=False)
    stage = Stage(plan, REAL_TIME)
    await perform(plan, stage, timing=REAL_TIME._replace(sleep=skip))
    assert stage.build_report().is_converged
    assert sum(pauses) == pytest.approx(3600)


# --- the report --------------------------------------------------------------------------------------------------


def replica_report(fingerprint: str = "f", conversation: str = "c", facts: int = 7) -> ReplicaReport:
    return ReplicaReport(1, "a" * 32, facts, 3, fingerprint, conversation)


def report_of(ada: ReplicaReport, bob: ReplicaReport, reason: str | None = None) -> Report:
    return Report(reason, {"ada": ada, "bob": bob}, measure([0.004]), measure([0.010, 0.020]), True, 12.5, 4_096, 1.5)


def test_a_percentile_is_the_nearest_rank() -> None:
    hundred = [float(each) for each in range(1, 101)]
    assert [percentile(hundred, rank) for rank in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([5.0], 99) == 5
    assert measure([]) is None


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1), st.integers(min_value=0, max_value=100))
def test_a_percentile_is_a_sample_that_enough_do_not_exceed(samples: list[float], rank: int) -> None:
    value = percentile(sorted(samples), rank)
    assert value in samples
    assert sum(sample <= value for sample in samples) * 100 >= rank * len(samples)


@pytest.mark.parametrize(("values", "rank"), [([], 50), ([1.0], 101), ([1.0], -1)])
def test_a_percentile_of_nothing_or_beyond_all_is_refused(values: list[float], rank: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 100 of at least one"):
        percentile(values, rank)


def test_latencies_are_milliseconds_in_whatever_order_they_came() -> None:
    assert measure([0.030, 0.010, 0.020]) == Latency(pytest.approx(20), pytest.approx(30), pytest.approx(30), 3)


@pytest.mark.parametrize(
    ("bob", "expected"),
    [
        (replica_report(), None),
        (replica_report(fingerprint="g", facts=6), "the fingerprints differ (ada holds 7 facts, bob holds 6 facts)"),
        (replica_report(conversation="d"), "the screens show different conversations"),
    ],
)
def test_what_differs_is_told(bob: ReplicaReport, expected: str | None) -> None:
    report = report_of(replica_report(), bob)
    assert report.is_converged == (expected is None)
    assert report.to_json()["converged"] == (expected is None)
    assert expected is None or expected in str(convergence_problem(report.replicas))
    assert expected is None or expected in report.to_text()


def test_a_reason_outweighs_equal_fingerprints() -> None:
    report = report_of(replica_report(), replica_report(), reason="the disk is full")
    assert not report.is_converged
    assert "not converged: the disk is full" in report.to_text()


def test_a_play_that_broke_off_early_still_has_a_report() -> None:
    report = Report("bob is gone", {}, None, None, False, None, 0, 0.2)
    assert report.to_json()["latency_ms"] is None
    assert report.to_json()["facts"] == 0
    assert "bob is gone" in report.to_text()


def test_only_what_was_committed_while_linked_is_a_latency() -> None:
    ledger = LatencyLedger()
    ledger.note_started("ada", "said m1", 1.0, is_linked=True)
    ledger.note_started("bob", "said m2", 1.0, is_linked=False)
    ledger.note_seen("bob", "said m1", 1.5)
    ledger.note_seen("ada", "said m2", 60.0)
    assert ledger.samples_s == [0.5]
    assert not ledger.outstanding


def test_a_sign_on_the_own_screen_is_no_latency() -> None:
    ledger = LatencyLedger()
    ledger.note_started("ada", "said m1", 1.0, is_linked=True)
    ledger.note_seen("ada", "said m1", 1.1)
    assert ledger.samples_s == []
    assert ledger.outstanding == {("ada", "said m1")}


@given(st.permutations(["start", "seen"]))
def test_the_two_reports_of_a_fact_may_come_in_any_order(order: Sequence[str]) -> None:
    ledger = LatencyLedger()
    for report in order:
        if report == "start":
            ledger.note_started("bob", "read m1", 2.0, is_linked=True)
        else:
            ledger.note_seen("ada", "read m1", 2.25)
    assert ledger.samples_s == [0.25]


# --- the script --------------------------------------------------------------------------------------------------


def cues_in(script: Sequence[object]) -> list[Cue]:
    return [cue for step in script if isinstance(step, Exchange | Chorus) for cue in step.cues]


@given(st.integers())
def test_the_script_is_the_seeds_and_shows_all_that_it_promises(seed: int) -> None:
    script = build_script(seed)
    assert script == build_script(seed)
    cues = cues_in(script)
    said = [cue.subject for cue in cues if cue.verb == "say"]
    assert len(said) == len(set(said)), "each message has an id of its own"
    assert {"invite", "accept_invitation", "accept_friendship", "edit", "delete", "read"} <= {cue.verb for cue in cues}
    turns = [step.to for step in script if isinstance(step, Turn)]
    assert turns == ["meet", "part", "meet"]
    apart = script[next(at for at, step in enumerate(script) if step == Turn(step.title, "part")) + 1]
    assert isinstance(apart, Chorus)
    assert {cue.actor for cue in apart.cues} == set(PLAYERS), "both edit while apart"
    assert {"say", "edit", "delete"} <= {cue.verb for cue in apart.cues}


@given(st.lists(st.builds(Line, st.sampled_from(["cyd", "dan", "eve"]), st.text(max_size=5)), min_size=1))
def test_every_line_of_a_log_is_said_once_and_a_nick_stays_with_its_player(log: list[Line]) -> None:
    cues = cues_in(script_from_log(log, seed=5))
    said = [cue for cue in cues if cue.verb == "say" and cue.speaker]
    assert [Line(cue.speaker, cue.text) for cue in said] == log
    assert len({(cue.speaker, cue.actor) for cue in said}) == len({line.nick for line in log})


def test_a_beat_fills_the_time_there_is() -> None:
    script = build_script(1)
    assert plan_beat(script, seconds=10) == pytest.approx(plan_beat(script, seconds=5) * 2)
    assert plan_beat(script, seconds=0) == 0
    assert plan_beat((), seconds=5) == 0


# --- cues and signs ----------------------------------------------------------------------------------------------

CAST = Cast(ADA, "ada", BEN, "bob")


def screen_of(viewer: AuthorityId, *facts: object) -> ChatState:
    view = ChatSignalView(viewer)
    view.update(Batch(0, tuple(facts), 0, frozenset(), {}))  # type: ignore[arg-type]  # facts by construction
    return view.state


def test_what_a_cue_takes_shows_its_sign_on_the_other_screen_and_only_once() -> None:
    created, *_ = facts_for(Cue("ada", "create_channel", "lobby"), CAST, ChatState(), now_ms=1)
    said, *_ = facts_for(Cue("ada", "say", "lobby", "m1", "hello"), CAST, ChatState(), now_ms=2)
    assert isinstance(said, MessageSent)
    reader = SignReader()
    screen = screen_of(BEN, commit_by(ADA, created), commit_by(ADA, said, seq=2))
    signs = reader.read_chat(screen)
    assert {sign_of(created), sign_of(said)} <= set(signs)
    assert reader.read_chat(screen) == ()


def test_reading_is_for_what_is_unread_and_then_there_is_nothing_left_to_read() -> None:
    created, *_ = facts_for(Cue("ada", "create_channel", "lobby"), CAST, ChatState(), now_ms=1)
    said, *_ = facts_for(Cue("ada", "say", "lobby", "m1", "hello"), CAST, ChatState(), now_ms=2)
    committed = [commit_by(ADA, created), commit_by(ADA, said, seq=2)]
    bob = Cast(BEN, "bob", ADA, "ada")
    (read,) = facts_for(Cue("bob", "read"), bob, screen_of(BEN, *committed), now_ms=3)
    committed.append(commit_by(BEN, read))
    assert facts_for(Cue("bob", "read"), bob, screen_of(BEN, *committed), now_ms=4) == ()
    assert sign_of(read) in SignReader().read_chat(screen_of(ADA, *committed)), "the author sees that it was read"
    assert facts_for(Cue("ada", "read"), CAST, screen_of(ADA, *committed), now_ms=5) == (), "one's own is read"


# --- the wire ----------------------------------------------------------------------------------------------------


def test_orders_and_reports_survive_their_line() -> None:
    order = Perform(number=3, cues=(Cue("bob", "say", "lobby", "m1", "two\nlines \u2028 é", "dän"),), line_s=0.5)
    line = write_line(order)
    assert line.count(b"\n") == 1
    assert read_order(line) == order
    for report in (Hello(player="ada", authority="a" * 32, pid=3, clock_s=1.25), Shown(pane=PANES["ada"])):
        assert read_report(write_line(report)) == report


# --- the picture -------------------------------------------------------------------------------------------------

PANES: dict[Player, Pane] = {
    "ada": Pane(
        player="ada",
        is_linked=True,
        facts=1_234,
        windows=56,
        total_unread=3,
        channels=(ChannelLine("garden", "what grows where", 3, 12), ChannelLine("lobby", "", 0, 4)),
        messages=(
            MessageLine("garden", "ada", "roses by the wall", "read", True, True, False),
            MessageLine("garden", "ada", "mint by the well", "delivered", True, True, True),
            MessageLine("garden", "bob", "sage \x1b[2Jby the gate " + "on and " * 40, "delivered", False, False, False),
        ),
        contacts=(ContactLine("bob", "friend"),),
        invitations=(InvitationLine(True, "garden", "accepted"),),
    ),
    "bob": Pane("bob", False, 1_200, 50, 0),
}


def picture(width: int, height: int, *, panes: dict[Player, Pane] = PANES, colour: bool = False) -> str:
    view = StageView(
        title="they talk",
        step=5,
        step_count=12,
        is_linked=True,
        panes=panes,
        commit=Latency(6.5, 12.0, 13.0, 70),
        signal=Latency(9.5, 20.0, 25.0, 300),
        byte_count=123_456,
        fingerprints={"ada": "aa" * 32, "bob": "bb" * 32},
    )
    console = Console(
        file=io.StringIO(), record=True, width=width, height=height, force_terminal=colour, color_system="truecolor"
    )
    console.print(draw(view, width=width, height=height))
    return console.export_text(styles=colour)


def test_a_picture_shows_both_replicas_and_the_figures() -> None:
    text = picture(120, 30)
    for expected in (
        "ada · linked · 3 unread",
        "bob · apart",
        "1,234 facts · 56 windows",
        "#garden 12 · 3 unread  what grows where",
        "bob · friend",
        "invited to #garden · accepted",
        "✓✓ read ada roses by the wall",
        "mint by the well (edited)",
        "new     bob sage",
        "5/12 they talk",
        "fingerprints differ · ada aaaaaaaa bob bbbbbbbb",
        "commit p50 6.5 p99 12.0 ms · 123,456 bytes",
        "commit → signal at the other's p50 9.5 p99 20.0 ms",
    ):
        assert expected in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("width", "height"), [(200, 60), (120, 30), (84, 24), (83, 24), (60, 20), (40, 16), (30, 10), (30, 8)]
)
def test_a_picture_never_exceeds_its_terminal(width: int, height: int) -> None:
    lines = picture(width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert any("ada" in line for line in lines)
    assert any("they talk" in line for line in lines)


def test_a_narrow_picture_stacks_the_panes_and_keeps_the_unread_counts() -> None:
    text = picture(60, 24)
    lines = text.splitlines()
    ada = next(at for at, line in enumerate(lines) if "ada · linked" in line)
    bob = next(at for at, line in enumerate(lines) if "bob · apart" in line)
    assert bob > ada + 2, "one below the other"
    assert "#garden 12 · 3 unread" in text


def test_colour_adds_nothing_that_words_do_not_say() -> None:
    plain, coloured = picture(120, 30), picture(120, 30, colour=True)
    assert "\x1b[" in coloured
    assert "✓✓ read" in plain
    assert "✓✓      ada mint" in plain


def test_a_picture_can_be_drawn_before_anybody_is_there() -> None:
    text = picture(100, 24, panes={})
    assert "ada · apart" in text
    assert "bob · apart" in text


@given(st.text())
def test_what_is_drawn_moves_no_cursor(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
