"""What runs behind the stubs: one class a state, good for one step, and the same names as the stub declares."""

import asyncio
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from antiphon.choreography import compile_choreography
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import (
    InMemoryHandler,
    PayloadRefused,
    ProtocolViolation,
    StateReused,
    TimedOut,
    begin,
    states_of,
)
from antiphon.runtime.resilience import Timing
from antiphon.testing import virtual_time

SHOP = """\
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
CLIENT = """\
import asyncio
import typing

from antiphon.runtime.choreography import InMemoryHandler, begin
from trade import Accept, Buyer, Payment, Quote, Seller, Sent, Sorry, Title, Buyer_S3_Sent, Buyer_S3_gone


async def buy(start: Buyer) -> str:
    quoting = await start.send("Seller", Title("Middlemarch", 1))
    quote, deciding = await quoting.recv("Seller")
    waiting = await deciding.send("Seller", Accept(Payment()))
    outcome = await waiting.offer("Seller")
    match outcome:
        case Buyer_S3_Sent():
            outcome.next.close()
            return outcome.label
        case Buyer_S3_gone():
            sorry, done = await outcome.next.recv("Seller")
            done.close()
            return f"{quote.value} {sorry.reason}"
        case _:
            typing.assert_never(outcome)


async def sell(start: Seller) -> None:
    title, quoting = await start.recv("Buyer")
    hearing = await quoting.send("Buyer", Quote(20 * title.copies))
    heard = await hearing.offer("Buyer")
    if heard.label == "Accept":
        sorry = await heard.next.choose("Buyer", "gone")
        (await sorry.send("Buyer", Sorry("sold out"))).close()
    else:
        heard.next.close()


async def main() -> None:
    buyer, seller = InMemoryHandler.network("Buyer", "Seller")
    async with asyncio.TaskGroup() as group:
        said = group.create_task(buy(begin(Buyer, buyer)))
        group.create_task(sell(begin(Seller, seller)))
    print(said.result())


asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trade.tell").write_text(SHOP)
    (tmp_path / "trade.pyi").write_text(compile_choreography(SHOP).stubs(source="trade.tell"))
    load = "from antiphon.runtime.choreography import load_states\n\nload_states(__name__, 'trade.tell')\n"
    (tmp_path / "trade.py").write_text(load)
    (tmp_path / "client.py").write_text(CLIENT)
    return tmp_path


def test_a_client_that_the_stub_allows_runs(folder: Path) -> None:
    said = subprocess.run([sys.executable, "client.py"], cwd=folder, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("20 sold out\n", "")


def test_the_module_has_every_class_and_every_method_that_its_stub_declares(folder: Path) -> None:
    specification = importlib.util.spec_from_file_location("trade_loaded", folder / "trade.py")
    assert specification is not None
    assert specification.loader is not None
    module: ModuleType = importlib.util.module_from_spec(specification)
    sys.modules["trade_loaded"] = module
    try:
        specification.loader.exec_module(module)
    finally:
        del sys.modules["trade_loaded"]
    stub = (folder / "trade.pyi").read_text()
    for block in stub.split("\nclass ")[1:]:
        name = block.split(":")[0]
        methods = set(re.findall(r"^    (?:async )?def (\w+)", block, flags=re.MULTILINE))
        found = getattr(module, name)
        assert methods <= set(dir(found)), name
        steps = {"send", "choose", "recv", "offer", "begin", "timed_out", "cancelled", "close"}
        if re.fullmatch(r"(Buyer|Seller)_S\d+", name):
            allowed = methods | ({"send", "choose"} if methods & {"send", "choose"} else set())
            assert steps & set(dir(found)) <= allowed, name


def shop(**options: Any) -> dict[str, Any]:
    return states_of(compile_choreography(SHOP), **options)


@pytest.mark.asyncio
async def test_a_state_is_good_for_one_step_and_a_refused_one_does_not_use_it_up() -> None:
    names = shop()
    buyer, _ = InMemoryHandler.network("Buyer", "Seller")
    start = begin(names["Buyer"], buyer)
    with pytest.raises(ProtocolViolation, match="send Title to Seller"):
        await start.send("Seller", names["Reject"]())
    with pytest.raises(PayloadRefused, match="copies is 'one'"):
        await start.send("Seller", names["Title"]("Emma", "one"))
    quoting = await start.send("Seller", names["Title"]("Emma", 1))
    with pytest.raises(StateReused, match=r"Buyer_S0 was used already; go on with .* a Buyer_S1"):
        await start.send("Seller", names["Title"]("Emma", 1))
    assert not hasattr(quoting, "send")
    with pytest.raises(LocalViolation, match="no role's first state"):
        begin(type(quoting).__mro__[1], buyer)


def test_an_opaque_type_may_be_a_class_of_ones_own() -> None:
    class Payment(dict[str, int]):
        """Money."""

    names = shop(types={"shop.Payment": Payment})
    assert names["Payment"] is Payment


CALL = """\
protocol Call =
  roles Caller, Callee
  timeout 30s Caller at
    Callee -> Caller : PickUp
  on timeout =>
    Caller -> Callee : HangUp
  on cancel =>
    Caller -> Callee : Abort
"""


@pytest.mark.parametrize("part", ["body", "timeout", "cancel"])
def test_timed_states_run_their_clock_and_go_on_where_it_led(part: str) -> None:
    async def caller_side(start: Any, names: dict[str, Any]) -> None:
        ringing = await start.begin()
        with pytest.raises(StateReused):
            await start.timed_out()
        if part == "cancel":
            aborting = await start.cancelled()
            (await aborting.send("Callee", names["Abort"]())).close()
            return
        try:
            _, done = await ringing.recv("Callee")
        except TimedOut:
            hanging_up = await start.timed_out()
            done = await hanging_up.send("Callee", names["HangUp"]())
        done.close()

    async def callee_side(start: Any, names: dict[str, Any]) -> None:
        thinking = await start.begin()
        if part == "body":
            (await thinking.send("Caller", names["PickUp"]())).close()
            return
        await virtual_time.pass_time(60.0)
        label = "HangUp" if part == "timeout" else "Abort"
        late = await (start.timed_out() if part == "timeout" else start.cancelled())
        if hasattr(late, "offer"):
            assert (await late.offer("Caller")).label == label
        else:
            message, done = await late.recv("Caller")
            assert isinstance(message, names[label])
            done.close()

    async def scenario() -> None:
        names = states_of(compile_choreography(CALL))
        handlers = InMemoryHandler.network("Caller", "Callee")
        timing = Timing(elapsed_s=virtual_time.now_s)
        starts = [begin(names[one.role], one, timing=timing) for one in handlers]
        async with asyncio.TaskGroup() as group:
            group.create_task(caller_side(starts[0], names))
            group.create_task(callee_side(starts[1], names))
        assert virtual_time.now_s() == (0.0 if part == "body" else 60.0)

    virtual_time.run(scenario())
