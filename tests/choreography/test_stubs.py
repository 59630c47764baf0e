"""Typed stubs: real mypy accepts a right client and rejects wrong ones, each for its own reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.choreography.compiled import compile_choreography

PROTOCOL = """\
module shop exposing (Trade)
type alias Price = u32
protocol Trade =
  roles Buyer, Seller
  Buyer -> Seller : Title(name : String, copies : u32)
  Seller -> Buyer : Quote of Price
  choice Buyer at
    | Accept =>
      Buyer -> Seller : Accept of shop.Payment
      choice Seller at
        | Sent => Seller -> Buyer : Sent
        | gone => Seller -> Buyer : Sorry(reason : String)
    | Reject =>
      Buyer -> Seller : Reject
"""
HEAD = """\
import typing
from trade import Accept, Buyer, Payment, Quote, Reject, Sorry, Title
from trade import Buyer_S3_Sent, Buyer_S3_gone


"""
RIGHT = f"""{HEAD}
async def buy(start: Buyer, payment: Payment) -> str:
    quoting = await start.send("Seller", Title("Middlemarch", 1))
    quote, deciding = await quoting.recv("Seller")
    if quote.value > 20:
        (await deciding.send("Seller", Reject())).close()
        return "too dear"
    waiting = await deciding.send("Seller", Accept(payment))
    outcome = await waiting.offer("Seller")
    match outcome:
        case Buyer_S3_Sent():
            outcome.next.close()
            return outcome.label
        case Buyer_S3_gone():
            sorry, done = await outcome.next.recv("Seller")
            done.close()
            return sorry.reason
        case _:
            typing.assert_never(outcome)
"""
WRONG_ORDER = f"""{HEAD}
async def buy(start: Buyer, payment: Payment) -> None:
    await start.send("Seller", Accept(payment))
"""
MISSING_BRANCH = f"""{HEAD}
async def buy(start: Buyer, payment: Payment) -> None:
    quoting = await start.send("Seller", Title("Middlemarch", 1))
    _, deciding = await quoting.recv("Seller")
    waiting = await deciding.send("Seller", Accept(payment))
    outcome = await waiting.offer("Seller")
    match outcome:
        case Buyer_S3_Sent():
            outcome.next.close()
        case _:
            typing.assert_never(outcome)
"""
WRONG_PAYLOAD = f"""{HEAD}
async def buy(start: Buyer) -> None:
    await start.send("Seller", Title("Middlemarch", "one"))
"""


def run_mypy(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", "", *names],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of one right client and three wrong ones: one run, since starting it is most of its time."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "trade.pyi").write_text(compile_choreography(PROTOCOL).stubs(source="trade.tell"))
    clients = {
        "right": RIGHT,
        "wrong_order": WRONG_ORDER,
        "missing_branch": MISSING_BRANCH,
        "wrong_payload": WRONG_PAYLOAD,
    }
    for name, text in clients.items():
        (folder / f"{name}.py").write_text(text)
    return run_mypy(folder, "trade.pyi", *(f"{name}.py" for name in clients)).stdout


def test_mypy_accepts_the_stub_and_a_right_client(checked: str) -> None:
    assert "trade.pyi" not in checked
    assert "right.py" not in checked


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        ("wrong_order", 'Argument 2 to "send" of "Buyer_S0" has incompatible type "Accept"; expected "Title"'),
        ("missing_branch", 'Argument 1 to "assert_never" has incompatible type "Buyer_S3_gone"'),
        ("wrong_payload", 'Argument 2 to "Title" has incompatible type "str"; expected "int"'),
    ],
)
def test_mypy_rejects_a_wrong_client_for_its_own_reason(checked: str, client: str, reason: str) -> None:
    said = [line for line in checked.splitlines() if line.startswith(f"{client}.py")]
    assert any(reason in line for line in said), checked


def test_names_that_mean_something_to_python_are_given_others(tmp_path: Path) -> None:
    text = (
        "protocol P =\n  roles A, int, A_S0\n  A -> int : str(class : String, bool : bool)\n"
        "  int -> A : None\n  A -> A_S0 : object(String, u8)\n  A_S0 -> A : class of List<Maybe<x.object>>\n"
        "  timeout 5s A at\n    int -> A : Literal { f : Map<String, u8>, g : { a : u8 } }\n"
        "  on timeout =>\n    A -> int : overload\n"
    )
    (tmp_path / "odd.pyi").write_text(compile_choreography(text).stubs())
    said = run_mypy(tmp_path, "odd.pyi")
    assert said.returncode == 0, said.stdout


def test_a_stub_is_the_same_every_time_and_says_where_it_comes_from() -> None:
    text = compile_choreography(PROTOCOL).stubs(source="trade.tell")
    assert text == compile_choreography(PROTOCOL).stubs(source="trade.tell")
    assert "`antiphon stubs` from trade.tell: protocol Trade" in text.splitlines()[0]


def test_every_example_has_stubs_that_type_check(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "examples/choreography"
    names: list[str] = []
    for path in sorted(folder.glob("*.*")):
        names.append(f"{path.stem}.pyi")
        (tmp_path / names[-1]).write_text(compile_choreography(path.read_text(encoding="utf-8")).stubs())
    said = run_mypy(tmp_path, *names)
    assert len(names) >= 5
    assert said.returncode == 0, said.stdout
