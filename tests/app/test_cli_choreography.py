"""The protocol commands: their JSON forms, exit codes, and that no file is changed that should not be."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result
from typer.testing import CliRunner

from antiphon.app.cli.root import app
from antiphon.choreography import LocalBranch, LocalEnd, LocalRecv, Run, simulate
from antiphon.testing.certificates import make_certificate
from antiphon.testing.nats_server import NatsServer

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples/choreography").glob("*.*"))
RUNNER = CliRunner()
STREAM = """\
protocol Stream =
  roles Producer, Consumer, Clerk
  loop decide by Producer
    Producer -> Consumer : Chunk of bytes.Block
    Consumer -> Producer : Ack
  Producer -> Clerk : Bill(sum : u32)
"""
OBSERVED = """\
protocol Observed =
  roles Sender, Receiver, Observer
  loop decide by Sender
    Sender -> Receiver : Data
    Receiver -> Observer : Forward
"""
BROKEN = "protocol Broken =\n  roles A, B\n  A -> Z : x\n"
FAMILY = "protocol Scatter =\n  roles Boss, W[N]\n  Boss -> W[*] : Job\n  W[i] -> Boss : First\n"


def run(*arguments: str | Path) -> Result:
    return RUNNER.invoke(app, [str(one) for one in arguments])


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"stream": STREAM, "observed": OBSERVED, "broken": BROKEN, "family": FAMILY}.items():
        (tmp_path / f"{name}.tell").write_text(text)
    return tmp_path


# --- check --------------------------------------------------------------------------------------------------------


def test_check_writes_one_object_a_file_in_the_order_given(folder: Path) -> None:
    result = run("check", "--json", folder / "stream.tell", folder / "broken.tell", folder / "observed.tell")
    stream, broken, observed = lines(result)
    assert result.exit_code == 1
    assert stream == {
        "file": str(folder / "stream.tell"),
        "ok": True,
        "parsed": True,
        "valid": True,
        "projectable": True,
        "projection_error": None,
        "tier": "session_projectable",
        "protocol": "Stream",
        "roles": ["Producer", "Consumer", "Clerk"],
        "diagnostics": [],
    }
    assert (broken["ok"], broken["parsed"], broken["projectable"]) == (False, False, False)
    diagnostics = broken["diagnostics"]
    assert isinstance(diagnostics, list)
    first = diagnostics[0]
    assert set(first) == {"kind", "severity", "line", "column", "end_line", "end_column", "message", "hint"}
    assert (first["kind"], first["severity"], first["line"], first["column"]) == ("UndefinedRole", "error", 3, 8)
    assert (observed["ok"], observed["valid"], observed["projectable"]) == (True, True, False)
    assert "Observer cannot tell branch Data from branch Done" in str(observed["projection_error"])
    assert observed["tier"] == "proof_only"


def test_check_is_content_with_what_is_valid_unless_told_otherwise(folder: Path) -> None:
    assert run("check", folder / "observed.tell").exit_code == 0
    assert run("check", folder / "observed.tell", "--require-projectable").exit_code == 1
    assert run("check", folder / "stream.tell", "--require-projectable").exit_code == 0
    assert run("check", folder / "stream.tell", "--require-projectable", "--strict").exit_code == 1


def test_check_shows_a_person_the_place(folder: Path) -> None:
    shown = run("check", folder / "broken.tell").stdout
    assert f"{folder / 'broken.tell'}:3:8" in shown
    assert "^" in shown


def test_wrong_usage_is_2(folder: Path) -> None:
    for arguments in (
        ["check"],
        ["check", folder / "nowhere.tell"],
        ["check", folder],
        ["check", folder / "stream.tell", "--bind", "W"],
        ["check", folder / "stream.tell", "--bind", "W=2"],
        *(
            ["check", folder / "family.tell", "--bind", wrong]
            for wrong in ("W=2,", ",", "W=2,i", "W=2,i=1,W=3", "W=2,Q=1")
        ),
        ["project", folder / "stream.tell", "--role", "Nobody"],
        ["graph", folder / "stream.tell", "--role", "Nobody"],
        ["graph", folder / "stream.tell", "--format", "png"],
    ):
        assert run(*arguments).exit_code == 2, arguments


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"protocol P {", b"\x1b[31m", b"x" * 100_000, b"(" * 5_000])
def test_any_bytes_are_diagnosed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "odd.tell"
    path.write_bytes(data)
    result = run("check", "--json", path)
    assert result.exit_code == 1
    (shown,) = lines(result)
    assert shown["diagnostics"]
    assert "\x1b" not in run("check", path).output


def test_the_examples_are_checked_in_one_call() -> None:
    result = run("check", "--json", "--require-projectable", *EXAMPLES)
    assert result.exit_code == 0
    assert [line["ok"] for line in lines(result)] == [True] * len(EXAMPLES)


# --- project ------------------------------------------------------------------------------------------------------


def test_project_writes_the_local_types(folder: Path) -> None:
    (shown,) = lines(run("project", "--json", folder / "stream.tell"))
    assert (shown["file"], shown["protocol"]) == (str(folder / "stream.tell"), "Stream")
    roles = shown["roles"]
    assert isinstance(roles, dict)
    assert roles["Clerk"] == {
        "kind": "recv",
        "partner": "Producer",
        "branches": [{"label": "Bill", "type": "(sum : u32)", "continuation": {"kind": "end"}}],
    }
    assert roles["Consumer"] == {
        "kind": "rec",
        "name": "Loop1",
        "body": {
            "kind": "recv",
            "partner": "Producer",
            "branches": [
                {
                    "label": "Chunk",
                    "type": "bytes.Block",
                    "continuation": {
                        "kind": "send",
                        "partner": "Producer",
                        "branches": [{"label": "Ack", "type": None, "continuation": {"kind": "var", "name": "Loop1"}}],
                    },
                },
                {"label": "Done", "type": None, "continuation": {"kind": "end"}},
            ],
        },
    }


def test_project_writes_one_role_and_says_why_another_has_none(folder: Path) -> None:
    sender = run("project", "--json", "--role", "Sender", folder / "observed.tell")
    assert sender.exit_code == 0
    observer = run("project", "--json", "--role", "Observer", folder / "observed.tell")
    assert observer.exit_code == 1
    (shown,) = lines(observer)
    assert shown["roles"] == {}
    assert "let Receiver, who knows, send Observer a message in branch Done" in str(shown["projection_errors"])
    told = run("project", folder / "observed.tell")
    assert "Receiver: rec Loop1." in told.stdout
    assert "cannot project Observer" in told.stderr


def test_strict_switches_absorption_off(folder: Path) -> None:
    assert run("project", folder / "stream.tell", "--role", "Clerk").exit_code == 0
    strict = run("project", folder / "stream.tell", "--role", "Clerk", "--strict", "--json")
    assert strict.exit_code == 1
    assert lines(strict)[0]["roles"] == {}


def test_families_are_expanded_with_bind(folder: Path) -> None:
    unbound = run("project", "--json", folder / "family.tell")
    assert unbound.exit_code == 1
    assert lines(unbound)[0]["projection_errors"]
    bound = run("project", "--json", "--bind", "W=2", "--bind", "i=1", folder / "family.tell")
    assert run("project", "--json", "--bind", "W=2, i=1", folder / "family.tell").output == bound.output
    roles = lines(bound)[0]["roles"]
    assert isinstance(roles, dict)
    assert bound.exit_code == 0
    assert list(roles) == ["Boss", "W[0]", "W[1]"]


@pytest.mark.parametrize("command", ["check", "project", "graph", "stubs", "simulate", "run"])
def test_an_unbound_family_is_told_once_with_the_option_that_binds_it(folder: Path, command: str) -> None:
    (folder / "crowd.tell").write_text(
        "protocol Crowd =\n  roles Boss, W[N]\n  Boss -> W[*] : Job\n  W[*] -> Boss : Done\n  Boss -> W[*] : Thanks\n"
    )
    told = run(command, folder / "crowd.tell").output
    assert told.count("all of `W` cannot be projected unbound") == 1
    assert "--bind W=3" in told


def test_explain_names_the_tier_of_what_was_bound(folder: Path) -> None:
    bound = run("explain", folder / "family.tell", "--bind", "N=2,i=1").stdout
    assert "tier     session_projectable" in bound
    assert "unbound" not in bound


def test_check_lists_the_instances_of_bound_families(folder: Path) -> None:
    (bound,) = lines(run("check", "--json", "--bind", "N=2", "--bind", "i=1", folder / "family.tell"))
    assert bound["roles"] == ["Boss", "W[0]", "W[1]"]
    (open_,) = lines(run("check", "--json", folder / "family.tell"))
    assert open_["roles"] == ["Boss", "W"]


@pytest.mark.parametrize("command", ["check", "project", "explain", "graph", "stubs", "simulate"])
def test_a_name_that_nothing_has_is_not_bound(folder: Path, command: str) -> None:
    refused = run(command, folder / "family.tell", "--bind", "V=2", "--bind", "i=0")
    assert refused.exit_code == 2
    assert "V; there are N, W, i" in " ".join(refused.stderr.replace("│", " ").split())


def test_a_name_need_be_in_one_of_the_files_only(folder: Path) -> None:
    bindings = ("--bind", "W=2", "--bind", "i=0")
    assert run("project", folder / "family.tell", folder / "stream.tell", *bindings).exit_code == 0
    assert run("check", folder / "broken.tell", folder / "stream.tell", *bindings).exit_code == 1


def test_a_family_of_none_is_empty(folder: Path) -> None:
    (empty,) = lines(run("check", "--json", "--bind", "W=0", "--bind", "i=0", folder / "family.tell"))
    assert "EmptyFamily" in json.dumps(empty["diagnostics"])
    assert "RoleLimit" not in json.dumps(empty["diagnostics"])
    # That nothing else is bound either would be told of a binding that was given.
    assert empty["projection_error"] is None


@pytest.mark.parametrize("command", ["check", "project", "fmt", "explain", "graph", "stubs", "simulate"])
@pytest.mark.parametrize("name", ["stream.txt", "stream"])
def test_a_protocol_is_a_file_with_one_of_two_endings(folder: Path, command: str, name: str) -> None:
    (folder / name).write_text(STREAM)
    refused = run(command, folder / name)
    assert refused.exit_code == 2
    assert "ends with .tell or .choreo" in " ".join(refused.stderr.replace("│", " ").split())


def test_a_protocol_of_two_thousand_messages_is_written_and_one_of_a_million_paths_is_not(tmp_path: Path) -> None:
    deep = tmp_path / "deep.tell"
    deep.write_text("protocol Deep =\n  roles A, B\n" + "".join(f"  A -> B : m{number}\n" for number in range(2_000)))
    result = run("project", "--json", deep, "--role", "A")
    assert result.exit_code == 0
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        assert lines(result)[0]["protocol"] == "Deep"
    finally:
        sys.setrecursionlimit(limit)
    wide = tmp_path / "wide.tell"
    choice = "  choice A at\n    | l => A -> B : l\n    | r => A -> B : r\n"
    wide.write_text("protocol Wide =\n  roles A, B\n" + choice * 40)
    result = run("project", "--json", wide)
    assert result.exit_code == 1
    assert "ask for the state machine" in str(lines(result)[0]["projection_errors"])
    assert run("check", wide).exit_code == 0
    assert run("graph", wide).exit_code == 0


# --- fmt, explain, graph, stubs -----------------------------------------------------------------------------------


def test_fmt_writes_to_stdout_and_in_place_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "loose.tell"
    loose = "protocol   P =\n    roles A ,B\n    A->B:x\n"
    path.write_text(loose)
    shown = run("fmt", path)
    assert (shown.exit_code, path.read_text()) == (0, loose)
    assert run("fmt", "--check", path).exit_code == 1
    assert run("fmt", "--write", path).exit_code == 0
    assert path.read_text() == shown.stdout
    assert run("fmt", "--check", path).exit_code == 0


def test_fmt_leaves_a_file_in_braces_and_a_broken_one_alone(folder: Path) -> None:
    braces = folder / "p.choreo"
    text = "protocol P {\n  roles: A, B;\n  A -> B: x;\n}\n"
    braces.write_text(text)
    assert run("fmt", "--write", braces).exit_code == 0
    assert braces.read_text() == text
    broken = folder / "broken.tell"
    assert run("fmt", "--write", broken).exit_code == 1
    assert broken.read_text() == BROKEN


def test_explain_tells_who_knows_what(folder: Path) -> None:
    shown = run("explain", folder / "stream.tell")
    assert shown.exit_code == 0
    assert "Clerk waits through the rounds and learns Done by Bill from Producer" in shown.stdout
    assert run("explain", folder / "broken.tell").exit_code == 1


def test_graph_draws_sequence_and_machines(folder: Path) -> None:
    assert run("graph", folder / "stream.tell").stdout.count("stateDiagram-v2") == 3
    ElementTree.fromstring(run("graph", "--format", "svg", folder / "stream.tell").stdout)
    ElementTree.fromstring(run("graph", "--format", "svg", "--role", "Clerk", folder / "stream.tell").stdout)
    (shown,) = lines(run("graph", "--json", folder / "stream.tell"))
    roles = shown["roles"]
    assert isinstance(roles, dict)
    assert set(roles) == {"Producer", "Consumer", "Clerk"}
    assert set(roles["Clerk"]) == {"mermaid", "svg"}


def test_graph_writes_a_folder_of_pictures(folder: Path) -> None:
    out = folder / "pictures"
    assert run("graph", folder / "stream.tell", "--out", out).exit_code == 0
    assert len(list(out.glob("*.svg"))) == len(list(out.glob("*.mmd"))) == 4


def test_graph_of_a_role_without_a_view_is_refused(folder: Path) -> None:
    assert run("graph", folder / "observed.tell").exit_code == 0
    refused = run("graph", folder / "observed.tell", "--role", "Observer")
    assert refused.exit_code == 1
    assert "cannot tell branch" in refused.stderr


def test_a_machine_too_large_to_hold_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "long.tell"
    path.write_text("protocol Long =\n  roles A, B\n  loop repeat 1000000\n    A -> B : Tick\n")
    assert run("check", "--require-projectable", path).exit_code == 0
    for command in ("graph", "stubs"):
        result = run(command, path)
        assert (result.exit_code, "more than 100,000 states" in result.stderr) == (1, True)


def test_stubs_are_written_for_what_projects(folder: Path) -> None:
    out = folder / "stream.pyi"
    assert run("stubs", folder / "stream.tell", "--out", out).exit_code == 0
    assert out.read_text() == run("stubs", folder / "stream.tell").stdout
    assert "class Producer_S0:" in out.read_text()
    assert run("stubs", folder / "observed.tell").exit_code == 1


# --- simulate -----------------------------------------------------------------------------------------------------

ENDLESS = "protocol Endless =\n  roles A, B\n  loop forever\n    A -> B : Tick\n"


def test_simulate_shows_a_run_and_how_it_came_to_an_end(folder: Path) -> None:
    shown = run("simulate", folder / "stream.tell", "--seed", "1")
    assert shown.exit_code == 0
    *events, last = shown.stdout.splitlines()
    assert "Clerk receives Bill from Producer" in events
    assert last.startswith(f"{folder / 'stream.tell'}: ended after ")


def test_the_same_seed_is_the_same_run_whatever_stands_beside_it(folder: Path) -> None:
    path = folder / "stream.tell"
    once = run("simulate", path, "--seed", "5", "--json").stdout
    assert once == run("simulate", path, "--seed", "5", "--json").stdout
    assert once == run("simulate", EXAMPLES[0], path, "--seed", "5", "--json").stdout.splitlines(keepends=True)[1]
    assert len({run("simulate", path, "--seed", seed).stdout for seed in map(str, range(10))}) > 1


def test_simulate_writes_one_object_a_file(folder: Path) -> None:
    result = run("simulate", "--json", "--seed", "3", folder / "stream.tell", folder / "broken.tell")
    found, broken = lines(result)
    assert result.exit_code == 1
    assert list(found) == ["file", "protocol", "seed", "outcome", "steps", "events", "waiting", "left"]
    assert (found["protocol"], found["seed"], found["outcome"]) == ("Stream", 3, "ended")
    events = found["events"]
    assert isinstance(events, list)
    assert set(events[0]) == {"kind", "role", "partner", "label", "options"}
    assert found["steps"] == sum(event["kind"] != "choice" for event in events)
    assert (broken["outcome"], bool(broken["diagnostics"])) == (None, True)


def test_simulate_stops_at_the_limit_without_a_complaint(tmp_path: Path) -> None:
    path = tmp_path / "endless.tell"
    path.write_text(ENDLESS)
    result = run("simulate", path, "--steps", "7")
    assert (result.exit_code, result.stdout.count("Tick")) == (0, 7)
    assert "stopped after 7 steps" in result.stdout


def test_simulate_refuses_what_has_no_views(folder: Path) -> None:
    observed = run("simulate", folder / "observed.tell")
    assert (observed.exit_code, "cannot tell branch" in observed.stderr) == (1, True)
    (shown,) = lines(run("simulate", folder / "observed.tell", "--json"))
    assert "cannot tell branch" in str(shown["projection_errors"])
    broken = run("simulate", folder / "broken.tell")
    assert (broken.exit_code, "^" in broken.stderr, broken.stdout) == (1, True, "")


def test_simulate_takes_sizes(tmp_path: Path) -> None:
    path = tmp_path / "jobs.tell"
    path.write_text("protocol Jobs =\n  roles Boss, W[N]\n  Boss -> W[*] : Job\n")
    assert run("simulate", path).exit_code == 1
    shown = run("simulate", path, "--bind", "N=3")
    assert (shown.exit_code, shown.stdout.count(" receives Job ")) == (0, 3)


def test_simulate_says_who_is_stuck(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {"A": LocalRecv("B", (LocalBranch("x", None, LocalEnd()),))}

    def deaf(roles: object, *, choose: Callable[[int], int], steps_max: int) -> Run:
        return simulate(waits, choose=choose, steps_max=steps_max)

    monkeypatch.setattr("antiphon.choreography.simulate", deaf)
    result = run("simulate", folder / "stream.tell")
    assert (result.exit_code, "stuck after 0 steps\n  A waits for ?B x" in result.stdout) == (1, True)


def test_simulate_of_a_machine_too_large_to_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.tell"
    path.write_text("protocol Long =\n  roles A, B\n  loop repeat 1000000\n    A -> B : Tick\n")
    result = run("simulate", path)
    assert (result.exit_code, "more than 100,000 states" in result.stderr) == (1, True)


@pytest.mark.parametrize("more", [["--steps", "0"], ["--seed", "x"], ["--bind", "W"]])
def test_simulate_of_wrong_usage_is_2(folder: Path, more: list[str]) -> None:
    assert run("simulate", folder / "stream.tell", *more).exit_code == 2


def test_the_command_line_is_there_without_a_script(folder: Path) -> None:
    command = [sys.executable, "-m", "antiphon.app.cli", "check", str(folder / "broken.tell"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["parsed"]) == (1, False)


# --- run ----------------------------------------------------------------------------------------------------------

BUYING = """\
protocol Buying =
  roles Buyer, Seller
  Buyer -> Seller : Title(name : String)
  Seller -> Buyer : Quote(price : u32)
  choice Buyer at
    | Accept when (price <= budget) =>
      Buyer -> Seller : Accept
    | Reject when (price > budget) =>
      Buyer -> Seller : Reject
"""


@pytest.mark.parametrize(("budget", "answer"), [(25, "Accept"), (15, "Reject")])
def test_run_draws_what_really_happened_with_the_payloads_given(tmp_path: Path, budget: int, answer: str) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    (tmp_path / "payloads.json").write_text('{"Title": {"name": "Emma"}, "Quote": {"price": 20}}')
    given = ["--payloads", tmp_path / "payloads.json", "--context", f"budget={budget}"]
    shown = run("run", tmp_path / "buying.tell", "--roles", "Seller, Buyer", *given)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-3:] == [
        "    p0->>p1: Title(name='Emma')",
        "    p1->>p0: Quote(price=20)",
        f"    p0->>p1: {answer}",
    ]
    once = run("run", tmp_path / "buying.tell", *given, "--json")
    assert once.stdout == run("run", tmp_path / "buying.tell", *given, "--json").stdout
    assert json.loads(once.stdout)["outcome"] == "ended"
    assert json.loads(once.stdout)["events"][-1] == {"sender": "Buyer", "receiver": "Seller", "text": answer}


def test_run_takes_roles_that_are_given_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    given = ["--context", "budget=25", "--roles", "Seller", "--roles", "Buyer"]
    shown = run("run", tmp_path / "buying.tell", *given)
    assert shown.exit_code == 0, shown.stderr
    assert "Quote(price=" in shown.stdout


def test_run_shows_how_far_it_came_when_it_fails_or_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    undecided = run("run", tmp_path / "buying.tell")
    assert undecided.exit_code == 1
    assert "Quote(price=" in undecided.stdout
    assert "failed: " in undecided.stderr
    assert "budget is not given" in undecided.stderr
    (tmp_path / "endless.tell").write_text(ENDLESS)
    endless = run("run", tmp_path / "endless.tell", "--steps", "5", "--json")
    assert (endless.exit_code, json.loads(endless.stdout)["outcome"]) == (0, "steps")
    assert len(json.loads(endless.stdout)["events"]) == 5


def test_run_refuses_what_it_cannot_do(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "typo.json").write_text('{"Chunk": {}, "Chonk": {}}')
    for arguments, reason in (
        (["--roles", "Producer"], "Consumer, Clerk would be elsewhere"),
        (["--roles", "Ghost"], "no role Ghost"),
        (["--context", "x=?"], "expected NAME=JSON"),
        (["--payloads", tmp_path / "list.json"], "expected an object"),
        (["--payloads", tmp_path / "typo.json"], "no message is called Chonk; there are Ack, Bill, Chunk"),
        (["--key", tmp_path / "list.json"], "--key belongs to a --certificate"),
    ):
        refused = run("run", folder / "stream.tell", *arguments)
        assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.stderr
    assert run("run", folder / "broken.tell").exit_code == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_every_example_runs_to_its_end(path: Path, seed: str) -> None:
    shown = run("run", path, "--seed", seed, "--context", "all_voted_yes=true", "--context", "budget=50", "--json")
    assert json.loads(shown.stdout)["outcome"] == "ended", shown.stdout


@pytest.mark.parametrize("is_secret", [False, True], ids=["tcp", "tls"])
def test_two_processes_run_one_protocol_where_a_topology_says(tmp_path: Path, is_secret: bool) -> None:
    ports = []
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for probe in probes:
        ports.append(probe.getsockname()[1])
        probe.close()
    (tmp_path / "buying.tell").write_text(BUYING)
    places = f"  Buyer: 127.0.0.1:{ports[0]}\n  Seller: 127.0.0.1:{ports[1]}\n"
    (tmp_path / "both.topology").write_text(f"topology Both for Buying {{\n{places}}}\n")
    main = [sys.executable, "-c", "from antiphon.app.cli import main; main()", "run", "buying.tell", "--json"]
    given = ["--topology", "both.topology", "--context", "budget=1000"]
    signed = {role: make_certificate(tmp_path, role) for role in ("Buyer", "Seller")}
    sides = []
    for role, other in (("Buyer", "Seller"), ("Seller", "Buyer")):
        shown = ["--certificate", signed[role].certificate, "--key", signed[role].key]
        secret = [*shown, "--trusted", signed[other].certificate] if is_secret else []
        command = [*main, "--roles", role, *given, *map(str, secret)]
        sides.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
    said = [json.loads(side.communicate(timeout=60)[0]) for side in sides]
    assert [one["outcome"] for one in said] == ["ended", "ended"], said
    assert [event["text"].partition("(")[0] for event in said[0]["events"]] == ["Title", "Accept"]
    assert [event["text"].partition("(")[0] for event in said[1]["events"]] == ["Quote"]


def happenings(shown: Result) -> list[tuple[str, ...]]:
    ending = json.loads(shown.stdout)
    assert (shown.exit_code, ending["outcome"]) == (0, "ended"), shown.stdout
    return sorted(tuple(one.values()) for one in ending["events"])


@pytest.mark.parametrize("transport", ["tcp", "ws", "unix"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_protocol_does_the_same_whatever_carries_it(path: Path, transport: str) -> None:
    given = ["--context", "all_voted_yes=true", "--context", "budget=50", "--json"]
    assert happenings(run("run", path, "--transport", transport, *given)) == happenings(run("run", path, *given))


@pytest.mark.system
def test_a_protocol_does_the_same_through_a_nats_server(tmp_path: Path) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    given = ["--context", "budget=1000", "--json"]
    (tmp_path / "access").write_text("ada:s3cret")
    with NatsServer(tmp_path / "nats", options=["--user", "ada", "--pass", "s3cret"]) as server:
        meeting = ["--transport", f"{server.address}/shop"]
        refused = run("run", tmp_path / "buying.tell", *meeting, *given)
        shown = run("run", tmp_path / "buying.tell", *meeting, "--nats-access", tmp_path / "access", *given)
    assert (refused.exit_code, "Authorization" in refused.stderr) == (1, True)
    assert happenings(shown) == happenings(run("run", tmp_path / "buying.tell", *given))


def test_roles_of_two_processes_meet_at_socket_files_without_a_topology(tmp_path: Path) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    main = [sys.executable, "-m", "antiphon.app.cli", "run", "buying.tell", "--json", "--context", "budget=1000"]
    sides = [
        subprocess.Popen(
            [*main, "--roles", role, "--transport", f"unix://{tmp_path}"], cwd=tmp_path, stdout=subprocess.PIPE
        )
        for role in ("Buyer", "Seller")
    ]
    said = [json.loads(side.communicate(timeout=60)[0]) for side in sides]
    assert [one["outcome"] for one in said] == ["ended", "ended"], said
    assert [len(one["events"]) for one in said] == [2, 1]


def test_a_transport_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    (tmp_path / "near.topology").write_text("topology Near for Buying { mode: local }")
    for arguments, reason in (
        (["--transport", "pigeon"], "expected memory, tcp, ws, unix, nats"),
        (["--transport", "tcp://127.0.0.1:7070"], "gives all roles one port"),
        (["--transport", "nats://127.0.0.1"], "is no address"),
        (["--transport", "tcp", "--roles", "Buyer"], "Seller would be elsewhere"),
        (["--transport", "nats", "--topology", tmp_path / "near.topology"], "met by tcp or ws"),
    ):
        refused = run("run", tmp_path / "buying.tell", *arguments)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert reason in " ".join(refused.stderr.split())


def test_a_topology_that_does_not_fit_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "buying.tell").write_text(BUYING)
    for text, reason in (
        ("topology Half for Buying { Buyer: 127.0.0.1:7811 }", "Seller has no location"),
        ("topology Odd for Buying { Byer: 127.0.0.1:7811 }", "Byer"),
        ("topology Else for Selling { mode: local }", "Else is a topology for Selling, and this is Buying"),
    ):
        (tmp_path / "wrong.topology").write_text(text)
        refused = run("run", tmp_path / "buying.tell", "--topology", tmp_path / "wrong.topology")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert reason in " ".join(refused.stderr.split())


# --- files that are written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("graph", "stream.tell", "-o", "taken"), ("stubs", "stream.tell", "-o", "taken/stream.pyi")]
)
def test_a_place_that_cannot_be_written_is_named_in_one_line(folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / "taken").write_text("a file where a folder is wanted")
    done = subprocess.run(
        [sys.executable, "-m", "antiphon.app.cli", *arguments], capture_output=True, text=True, check=False, cwd=folder
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert done.stderr.startswith("antiphon: taken")
    assert "could not be written" in done.stderr


def test_stubs_make_the_folder_that_they_are_to_lie_in(folder: Path) -> None:
    assert run("stubs", folder / "stream.tell", "-o", folder / "new" / "stream.pyi").exit_code == 0
    assert "class" in (folder / "new" / "stream.pyi").read_text()
