"""The monitored endpoint: what is wrong changes neither wire nor state, and says what was allowed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field

from antiphon.choreography import compile_choreography
from antiphon.facts import LocalViolation
from antiphon.runtime.choreography import (
    ActionFailed,
    ChannelClosed,
    Endpoint,
    EndpointBusy,
    EndpointClosed,
    FamilyError,
    GuardDenied,
    GuardFailed,
    GuardRequest,
    IncompleteProtocol,
    InMemoryHandler,
    InsufficientResponses,
    InvalidChoice,
    InvalidRoleRange,
    Labelled,
    LocalRecord,
    MalformedMessage,
    MissingGuard,
    PayloadRefused,
    ProtocolViolation,
    Receipt,
    RoleFamilyNotFound,
    TransportFailed,
    UnexpectedMessage,
)
from antiphon.testing import virtual_time

BOOKING = compile_choreography(
    """\
module hotel exposing (Booking)
effect Bank
  authoritative funds : Unit -> Result Fault Pass
    { class : authoritative, progress : may_block, region : session, agreement_use : none, reentrancy : allow }
protocol Booking uses Bank =
  roles Guest, Hotel
  Guest -> Hotel : Ask(nights : u8)
  choice Hotel at
    | Free when (rooms > 0) =>
      Hotel -> Guest : Free(price : u32)
      choice Guest at
        | Pay when check Bank.funds(price) yields proof =>
          Guest { guard_capability : "hotel:pay", flow_cost : 7 } -> Hotel : Pay
        | leave =>
          Guest -> Hotel : Bye(reason : String)
    | Full =>
      Hotel -> Guest : Full
"""
)


@dataclass(frozen=True)
class Ask:
    nights: int


class Free(BaseModel):
    price: int = Field(ge=1)


@dataclass(frozen=True)
class Full:
    pass


MESSAGES = [Ask, Free, Full]
Seats = tuple[Endpoint[object], Endpoint[object]]


def seats(**options: Any) -> Seats:
    guest, hotel = InMemoryHandler.network("Guest", "Hotel")
    return (
        Endpoint.of(BOOKING, "Guest", guest, messages=MESSAGES, **({"unguarded": "guard" not in options} | options)),
        Endpoint.of(BOOKING, "Hotel", hotel, messages=MESSAGES),
    )


async def nothing_waits(hotel: Endpoint[object]) -> bool:
    """Whether nothing is on the wire to the hotel."""
    try:
        async with asyncio.timeout(0):
            await hotel.handler.offer(None, "Guest")
    except TimeoutError:
        return True
    return False


@pytest.mark.asyncio
async def test_a_message_may_be_received_by_the_name_of_its_label() -> None:
    guest, hotel = seats()
    async with hotel, guest:
        await guest.send("Hotel", Ask(2))
        with pytest.raises(ProtocolViolation, match="receive a Full from Guest"):
            await hotel.recv("Guest", "Full")
        assert await hotel.recv("Guest", "Ask") == Ask(2)
        await hotel.send("Guest", Full())
        assert await guest.offer("Hotel") == ("Full", Full())


@pytest.mark.asyncio
async def test_a_conversation_follows_the_protocol_to_its_end() -> None:
    guest, hotel = seats()
    async with hotel, guest:
        await guest.send("Hotel", Ask(2))
        assert await hotel.recv("Guest", Ask) == Ask(2)
        await hotel.send("Guest", Full())
        assert await guest.offer("Hotel") == ("Full", Full())
        assert guest.history == ("send Ask to Hotel", "receive Full from Hotel")
        assert guest.statistics() == (1, 1, 0)
    assert guest.outcome == hotel.outcome == "done"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda guest: guest.send("Bank", Ask(2)),  # partner
        lambda guest: guest.send("Hotel", Full()),  # label
        lambda guest: guest.send("Hotel", Ask(2), label="Pay"),  # order
        lambda guest: guest.recv("Hotel", Free),  # direction
        lambda guest: guest.offer("Hotel"),
        lambda guest: guest.choose("Hotel", "leave"),
    ],
)
@pytest.mark.asyncio
async def test_a_wrong_step_leaves_wire_and_state_and_says_what_is_allowed(wrong: Callable[..., Any]) -> None:
    guest, hotel = seats()
    async with hotel:
        await guest.__aenter__()
        with pytest.raises(ProtocolViolation, match="expected: send Ask to Hotel") as told:
            await wrong(guest)
        assert told.value.expected == ("send Ask to Hotel",)
        assert guest.state == 0
        assert await nothing_waits(hotel)
        await guest.send("Hotel", Ask(1))
        assert await hotel.recv("Guest", Ask) == Ask(1)
        await hotel.send("Guest", Full())


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (Ask(300), "nights is 300, not 0 to 255"),
        (Ask("two"), "nights is 'two', not a u8"),  # type: ignore[arg-type]
        (Labelled("Ask", {"nights": 2}), "dict, not Ask"),
    ],
)
@pytest.mark.asyncio
async def test_a_payload_that_does_not_validate_is_the_senders_error_before_it_leaves(
    payload: object, reason: str
) -> None:
    guest, hotel = seats()
    await guest.__aenter__()
    with pytest.raises(PayloadRefused, match=reason):
        await guest.send("Hotel", payload)
    assert guest.state == 0
    assert await nothing_waits(hotel)


@pytest.mark.asyncio
async def test_what_a_models_own_validators_forbid_does_not_leave_either() -> None:
    guest, hotel = seats()
    await hotel.__aenter__()
    await guest.send("Hotel", Ask(1))
    await hotel.recv("Guest", Ask)
    with pytest.raises(Exception, match="greater than or equal to 1"):
        await hotel.send("Guest", Free.model_construct(price=0), context={"rooms": 1})
    assert hotel.state == 1


@pytest.mark.parametrize("payload", [{"nights": "two"}, {"nights": 300}, {}, 7])
@pytest.mark.asyncio
async def test_a_payload_that_does_not_validate_is_the_peers_error_when_it_arrives(payload: object) -> None:
    guest, hotel = seats()
    await hotel.__aenter__()
    await guest.handler.send(None, "Hotel", Labelled("Ask", payload))
    for _ in range(2):
        with pytest.raises(MalformedMessage, match=r"no Ask"):
            await hotel.recv("Guest", Ask)
    assert hotel.state == 0


@pytest.mark.asyncio
async def test_a_message_out_of_order_is_the_peers_error_and_stays_where_it_is() -> None:
    guest, hotel = seats()
    await hotel.__aenter__()
    await guest.handler.choose(None, "Hotel", "leave")
    for attempt in (hotel.offer, hotel.offer):
        with pytest.raises(UnexpectedMessage, match="Guest sent leave; expected: Ask"):
            await attempt("Guest")
    assert hotel.state == 0


@pytest.mark.asyncio
async def test_what_is_unregistered_travels_as_plain_data_with_the_fields_of_the_text() -> None:
    guest, hotel = InMemoryHandler.network("Guest", "Hotel")
    async with (
        Endpoint.of(BOOKING, "Guest", guest, unguarded=True) as one,
        Endpoint.of(BOOKING, "Hotel", hotel) as other,
    ):
        with pytest.raises(PayloadRefused, match="nights is missing"):
            await one.send("Hotel", {"days": 1}, label="Ask")
        await one.send("Hotel", {"nights": 1}, label="Ask")
        assert await other.recv("Guest") == {"nights": 1}
        await other.send("Guest", label="Full")
        assert await one.offer("Hotel") == ("Full", None)


@pytest.mark.asyncio
async def test_strict_payloads_have_nothing_beside_what_is_declared_and_off_looks_at_nothing() -> None:
    handlers = InMemoryHandler.network("Guest", "Hotel")
    strict = Endpoint.of(BOOKING, "Guest", handlers[0], strictness="strict", unguarded=True)
    with pytest.raises(PayloadRefused, match="pets is not in Ask"):
        await strict.send("Hotel", {"nights": 1, "pets": 2}, label="Ask")
    off = Endpoint.of(BOOKING, "Guest", handlers[0], strictness="off", unguarded=True)
    await off.send("Hotel", "hello", label="Ask")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("payload", "fault"), [({"ok": "yes", "n": 1}, "ok is 'yes'"), ({"ok": True, "n": "1"}, "n is '1'")]
)
async def test_bool_and_int_are_known_with_a_capital_too(payload: dict[str, object], fault: str) -> None:
    told = compile_choreography("protocol Tell =\n  roles A, B\n  A -> B : Told(ok : Bool, n : Int)\n")
    here, _ = InMemoryHandler.network("A", "B")
    teller = Endpoint.of(told, "A", here)
    with pytest.raises(PayloadRefused, match=fault):
        await teller.send("B", payload, label="Told")
    await teller.send("B", {"ok": True, "n": 1}, label="Told")


# --- guards -------------------------------------------------------------------------------------------------------


async def asked(hotel: Endpoint[object], guest: Endpoint[object]) -> None:
    await hotel.__aenter__()
    await guest.__aenter__()
    await guest.send("Hotel", Ask(1))
    await hotel.recv("Guest", Ask)


@pytest.mark.asyncio
async def test_a_false_guard_sends_nothing() -> None:
    guest, hotel = seats()
    await asked(hotel, guest)
    refusals = (({"rooms": 0}, r"does not hold: when \(rooms > 0\)"), ({"rooms": True}, "no order"), (None, "no order"))
    for context, reason in refusals:
        with pytest.raises(GuardFailed, match=reason):
            await hotel.send("Guest", Free(price=3), context=context)
    assert hotel.state == 1
    await hotel.choose("Guest", "Free", {"rooms": 2})
    with pytest.raises(ProtocolViolation, match="send the chosen Free"):
        await hotel.send("Guest", Full())
    await hotel.send("Guest", Free(price=3))
    assert await guest.offer("Hotel") == ("Free", Free(price=3))


@pytest.mark.asyncio
async def test_a_name_that_is_not_given_leaves_a_guard_undecided() -> None:
    guest, hotel = seats()
    await asked(hotel, guest)
    with pytest.raises(GuardFailed, match="rooms is not given; the context has stars"):
        await hotel.choose("Guest", "Free", {"stars": 5})
    with pytest.raises(InvalidChoice, match="send Free to Guest or send Full to Guest"):
        await hotel.choose("Guest", "Maybe")


class Ledger:
    """A guard that refuses what is annotated, or notes."""

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open
        self.noted: list[str] = []

    async def admit(self, request: GuardRequest) -> None:
        self.noted.append(f"admit {request.label}: {', '.join(f'{one.kind} {one.value}' for one in request.commands)}")
        if request.commands and not self.is_open:
            raise GuardDenied("the purse is shut")

    async def sent(self, request: GuardRequest) -> None:
        self.noted.append(f"sent {request.label}")

    def ended(self, session: str) -> None:
        self.noted.append("ended")


def test_a_handler_that_is_another_roles_is_refused() -> None:
    guest, hotel = InMemoryHandler.network("Guest", "Hotel")
    with pytest.raises(LocalViolation, match=r"Hotel needs a handler of its own, and got Guest's InMemoryHandler"):
        Endpoint.of(BOOKING, "Hotel", guest)
    assert Endpoint.of(BOOKING, "Hotel", hotel).outcome == "new"


def test_annotated_messages_without_a_guard_are_refused_before_anything_is_sent() -> None:
    guest, hotel = InMemoryHandler.network("Guest", "Hotel")
    with pytest.raises(MissingGuard, match="Guest sends Pay under annotations") as told:
        Endpoint.of(BOOKING, "Guest", guest)
    assert told.value.labels == ("Pay",)
    # The other role sends nothing that is annotated.
    assert Endpoint.of(BOOKING, "Hotel", hotel).outcome == "new"
    assert Endpoint.of(BOOKING, "Guest", guest, unguarded=True).outcome == "new"


# --- local actions ------------------------------------------------------------------------------------------------

ENTER = compile_choreography(
    """\
effect Gate
  authoritative open : String -> Result Fault Pass
    {
      class : authoritative
      progress : may_block
      region : session
      agreement_use : none
      reentrancy : allow
    }

protocol Enter uses Gate =
  roles Guard, Visitor
  Visitor -> Guard : Ask(name : String)
  authoritative let pass = check Gate.open(name)
  Guard -> Visitor : Enter
  publish Entered(pass)
  let r = transfer Session from Guard to Visitor
  Guard -> Visitor : Key
  handoff walk to Visitor with r
  dependent work Clean(pass) required for walk
"""
)


@pytest.mark.asyncio
async def test_local_actions_are_performed_between_exchanges_and_told() -> None:
    told: list[LocalRecord] = []
    asked: list[object] = []

    async def open_gate(name: object) -> object:
        asked.append(name)
        return f"pass for {name}"

    async def tell(record: LocalRecord) -> None:
        told.append(record)

    guard, visitor = InMemoryHandler.network("Guard", "Visitor")
    me = Endpoint.of(ENTER, "Guard", guard, effects={"Gate.open": open_gate}, on_local=tell)
    other = Endpoint.of(ENTER, "Visitor", visitor)
    async with me, other:
        await other.send("Guard", {"name": "Ada"}, label="Ask")
        await me.recv("Visitor")
        me.context["name"] = "Ada"
        assert (asked, len(me.due)) == ([], 1)
        await me.send("Visitor", label="Enter")
        assert (asked, me.context["pass"]) == (["Ada"], "pass for Ada")
        await other.recv("Guard")
        await me.send("Visitor", label="Key")
        receipt = Receipt("Session", "Guard", "Visitor")
        assert me.context["r"] == receipt
        await other.recv("Guard")
    assert told == [
        LocalRecord("let", "pass", "pass for Ada"),
        LocalRecord("publish", "Entered", "pass for Ada"),
        LocalRecord("let", "r", receipt),
        LocalRecord("handoff", "walk", receipt, "Visitor"),
        LocalRecord("dependent work", "Clean", "pass for Ada", "walk"),
    ]
    assert "r" not in me.context


@pytest.mark.asyncio
async def test_an_action_that_cannot_be_performed_keeps_the_exchange_back_and_stays_due() -> None:
    guard, visitor = InMemoryHandler.network("Guard", "Visitor")
    shut = True

    async def open_gate(name: object) -> object:
        if shut:
            raise GuardDenied("not now")
        return "pass"

    async def tell(record: LocalRecord) -> None:
        """Nobody listens."""

    without = Endpoint.of(ENTER, "Guard", guard, on_local=tell)
    me = Endpoint.of(ENTER, "Guard", guard, effects={"Gate.open": open_gate}, on_local=tell)
    await visitor.send(None, "Guard", Labelled("Ask", {"name": "Ada"}))
    await me.recv("Visitor")
    with pytest.raises(ActionFailed, match="name"):
        await me.send("Visitor", label="Enter")
    me.context["name"] = "Ada"
    with pytest.raises(GuardDenied):
        await me.send("Visitor", label="Enter")
    assert (len(me.due), me.statistics().sent) == (1, 0)
    shut = False
    await me.send("Visitor", label="Enter")
    assert me.statistics().sent == 1
    await visitor.send(None, "Guard", Labelled("Ask", {"name": "Ada"}))
    await without.recv("Visitor")
    with pytest.raises(ActionFailed, match=r"Gate.open is not registered"):
        await without.send("Visitor", label="Enter")


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.asyncio
async def test_evidence_is_asked_for_once_and_the_guard_chain_before_anything_leaves(is_open: bool) -> None:
    calls: list[object] = []

    async def funds(price: object) -> str | None:
        calls.append(price)
        return "enough" if price == 3 else None

    ledger = Ledger(is_open=is_open)
    guest, hotel = seats(guard=ledger, effects={"Bank.funds": funds})
    await asked(hotel, guest)
    await hotel.send("Guest", Free(price=3), context={"rooms": 1})
    await guest.offer("Hotel")
    with pytest.raises(GuardFailed, match="found no evidence"):
        await guest.choose("Hotel", "Pay", {"price": 4})
    await guest.choose("Hotel", "Pay", {"price": 3})
    if is_open:
        await guest.send("Hotel", label="Pay")
        assert await hotel.offer("Guest") == ("Pay", None)
    else:
        for _ in range(2):
            with pytest.raises(GuardDenied, match="purse"):
                await guest.send("Hotel", label="Pay")
        assert not guest.is_done
        assert await nothing_waits(hotel)
    assert calls == [4, 3]
    assert guest.context["proof"] == "enough"
    admitted = "admit Pay: GuardCapability hotel:pay, FlowCost 7"
    free = ["admit Ask: ", "sent Ask"]
    assert ledger.noted == [*free, *([admitted, "sent Pay"] if is_open else [admitted, admitted])]


@pytest.mark.asyncio
async def test_a_label_that_is_no_messages_name_travels_before_it() -> None:
    guest, hotel = seats()
    await asked(hotel, guest)
    await hotel.send("Guest", Free(price=1), context={"rooms": 1})
    await guest.offer("Hotel")
    with pytest.raises(ProtocolViolation):
        await guest.send("Hotel", {"reason": "dear"}, label="Bye")
    await guest.choose("Hotel", "leave")
    assert await hotel.offer("Guest") == ("leave", None)
    await guest.send("Hotel", {"reason": "dear"}, label="Bye")
    assert await hotel.recv("Guest") == {"reason": "dear"}


# --- lifecycle ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_leaving_early_says_what_comes_next_and_tells_the_peer() -> None:
    guest, hotel = seats()
    with pytest.raises(IncompleteProtocol, match="Guest is not done; next comes: send Ask to Hotel"):
        async with guest:
            pass
    assert guest.outcome == "cancelled"
    with pytest.raises(ChannelClosed):
        await hotel.recv("Guest", Ask)


@pytest.mark.asyncio
async def test_leaving_with_an_error_keeps_the_error_and_wakes_the_peer() -> None:
    guest, hotel = seats()

    async def wait() -> None:
        with pytest.raises(ChannelClosed):
            await hotel.recv("Guest", Ask)

    async with asyncio.TaskGroup() as group:
        group.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            async with guest:
                raise ZeroDivisionError
    with pytest.raises(EndpointClosed, match="cancelled"):
        await guest.send("Hotel", Ask(1))
    with pytest.raises(EndpointClosed):
        await guest.__aenter__()


@pytest.mark.asyncio
async def test_two_tasks_may_not_use_one_endpoint_at_once() -> None:
    guest, hotel = seats()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(hotel.recv("Guest", Ask))
        await asyncio.sleep(0)
        with pytest.raises(EndpointBusy, match="Hotel is busy with 'receive from'"):
            await hotel.recv("Guest", Ask)
        await guest.send("Hotel", Ask(4))
        assert await waiting == Ask(4)


@pytest.mark.asyncio
async def test_a_cancelled_receive_loses_nothing_and_may_be_repeated() -> None:
    guest, hotel = seats()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await hotel.recv("Guest", Ask)
    await guest.send("Hotel", Ask(4))
    assert await hotel.recv("Guest", Ask) == Ask(4)


class Flaky(InMemoryHandler):
    """Fails once, then works; and may never come back from a send."""

    failures = 1
    is_stuck = False

    async def send(self, endpoint: object, to: str, message: object) -> None:
        if self.failures:
            self.failures -= 1
            raise TransportFailed("the line is dead")
        if self.is_stuck:
            await asyncio.Event().wait()
        await super().send(endpoint, to, message)


@pytest.mark.asyncio
async def test_a_send_that_failed_on_the_way_may_be_tried_again() -> None:
    hotel, guest = InMemoryHandler("Hotel"), Flaky("Guest")
    hotel.hub = guest.hub
    endpoint = Endpoint.of(BOOKING, "Guest", guest, messages=MESSAGES, unguarded=True)
    with pytest.raises(TransportFailed):
        await endpoint.send("Hotel", Ask(1))
    assert endpoint.state == 0
    await endpoint.send("Hotel", Ask(1))
    assert await Endpoint.of(BOOKING, "Hotel", hotel, messages=MESSAGES).recv("Guest", Ask) == Ask(1)


@pytest.mark.asyncio
async def test_after_a_send_cut_off_half_way_a_session_can_only_be_given_up() -> None:
    guest = Flaky("Guest")
    guest.failures, guest.is_stuck = 0, True
    endpoint = Endpoint.of(BOOKING, "Guest", guest, messages=MESSAGES, unguarded=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await endpoint.send("Hotel", Ask(1))
    with pytest.raises(EndpointClosed, match="whether that left is not known"):
        await endpoint.send("Hotel", Ask(1))


# --- timed parts --------------------------------------------------------------------------------------------------

CALL = compile_choreography(
    """\
protocol Call =
  roles Caller, Callee
  timeout 30s Caller at
    Callee -> Caller : PickUp
  on timeout =>
    Caller -> Callee : HangUp
    Callee -> Caller : Sorry
  on cancel =>
    Caller -> Callee : Abort
"""
)


def call() -> Seats:
    caller, callee = InMemoryHandler.network("Caller", "Callee")
    return Endpoint.of(CALL, "Caller", caller), Endpoint.of(CALL, "Callee", callee)


@virtual_time.driven
async def test_a_body_in_time_goes_on() -> None:
    caller, callee = call()

    async def answer() -> None:
        async with callee:
            async with callee.timeout() as theirs:
                await callee.send("Caller", label="PickUp")
            assert (theirs.outcome, virtual_time.now_s()) == ("body", 7.0)

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        async with caller:
            async with caller.timeout() as mine:
                await virtual_time.pass_time(7.0)
                await caller.recv("Callee")
            assert mine.outcome == "body"


@virtual_time.driven
async def test_the_owners_clock_cuts_off_and_the_other_role_learns_it() -> None:
    caller, callee = call()

    async def hesitate() -> None:
        async with callee:
            async with callee.timeout() as clock:
                await clock.wait_ended()
            assert clock.outcome == "timeout"
            await callee.recv("Caller")
            await callee.send("Caller", label="Sorry")

    async with asyncio.TaskGroup() as group:
        group.create_task(hesitate())
        async with caller:
            async with caller.timeout() as clock:
                await caller.recv("Callee")
            assert (clock.has_fired, virtual_time.now_s()) == (True, 30.0)
            await caller.send("Callee", label="HangUp")
            await caller.recv("Callee")


@virtual_time.driven
async def test_a_late_message_of_the_body_is_discarded_and_counted() -> None:
    caller, callee = call()

    async def answer_late() -> None:
        async with callee:
            async with callee.timeout() as clock:
                await virtual_time.pass_time(31.0)
                await callee.send("Caller", label="PickUp")
            assert clock.outcome == "timeout"
            await callee.recv("Caller")
            await callee.send("Caller", label="Sorry")

    async with asyncio.TaskGroup() as group:
        group.create_task(answer_late())
        async with caller:
            async with caller.timeout():
                await caller.recv("Callee")
            await caller.send("Callee", label="HangUp")
            await caller.recv("Callee")
            assert caller.statistics().discarded == 1


AGAIN = compile_choreography(
    """\
protocol Again =
  roles Asker, Teller, Third
  rec Round
    timeout 5s Asker at
      Teller -> Asker : Answer(number : u8)
      Asker -> Third : Heard
    on timeout =>
      Asker -> Teller : Again
      Asker -> Third : Wait
      continue Round
  Third -> Teller : Well
"""
)


@virtual_time.driven
async def test_a_late_message_is_not_taken_for_the_one_that_is_expected_again() -> None:
    """The first answer comes when the second round has begun: same sender, same label, same place in the protocol."""
    handlers = InMemoryHandler.network(*AGAIN.roles)
    asker, teller, third = (Endpoint.of(AGAIN, one.role, one) for one in handlers)

    async def tell() -> None:
        async with teller:
            for number, patience_s in enumerate((6.0, 0.0)):
                async with teller.timeout() as clock:
                    await virtual_time.pass_time(patience_s)
                    await teller.send("Asker", {"number": number}, label="Answer")
                if clock.has_fired:
                    await teller.recv("Asker")
            await teller.recv("Third")

    async def look_on() -> None:
        async with third:
            while True:
                async with third.timeout() as clock:
                    await third.recv("Asker")
                if clock.outcome == "body":
                    break
                await third.recv("Asker")
            await third.send("Teller", label="Well")

    async with asyncio.TaskGroup() as group:
        group.create_task(tell())
        group.create_task(look_on())
        async with asker:
            async with asker.timeout():
                await asker.recv("Teller")
            await asker.send("Teller", label="Again")
            await asker.send("Third", label="Wait")
            async with asker.timeout():
                assert await asker.recv("Teller") == {"number": 1}
                await asker.send("Third", label="Heard")
    assert (asker.statistics().discarded, third.outcome) == (1, "done")


@virtual_time.driven
async def test_the_owner_cancels_and_nobody_else_may() -> None:
    caller, callee = call()

    async def be_callee() -> None:
        async with callee:
            async with callee.timeout() as theirs:
                with pytest.raises(ProtocolViolation, match="expected: that Caller does"):
                    theirs.cancel()
                await theirs.wait_ended()
            assert theirs.outcome == "cancel"
            assert await callee.offer("Caller") == ("Abort", None)

    async with asyncio.TaskGroup() as group:
        group.create_task(be_callee())
        async with caller:
            async with caller.timeout() as clock:
                clock.cancel()
            assert clock.outcome == "cancel"
            await caller.send("Callee", label="Abort")


@virtual_time.driven
async def test_every_role_enters_a_timed_part_through_its_block_and_leaves_it_at_its_end() -> None:
    caller, callee = call()
    for end, peer in ((caller, "Callee"), (callee, "Caller")):
        with pytest.raises(ProtocolViolation, match="before the clock runs"):
            await (end.recv(peer) if end is caller else end.send(peer, label="PickUp"))
    with pytest.raises(ProtocolViolation, match="leave a timed part before its end"):
        async with caller.timeout():
            pass
    with pytest.raises(ProtocolViolation, match="begin a timed part"):
        caller.timeout()


@virtual_time.driven
async def test_a_clock_of_zero_fires_before_its_body() -> None:
    protocol = compile_choreography(
        "protocol Z =\n  roles A, B\n  timeout 0s A at\n    A -> B : Body\n  on timeout =>\n    A -> B : Late\n"
    )
    ada, bob = InMemoryHandler.network("A", "B")
    async with Endpoint.of(protocol, "A", ada) as one, Endpoint.of(protocol, "B", bob) as other:
        async with one.timeout() as clock:
            await one.send("B", label="Body")
        assert clock.has_fired
        await one.send("B", label="Late")
        async with other.timeout() as theirs:
            await other.recv("A")
        assert theirs.has_fired
        assert (await other.offer("A")).label == "Late"


# --- families -----------------------------------------------------------------------------------------------------

POLL = compile_choreography(
    """\
protocol Poll =
  roles Chair, Voter[4]
  Chair -> Voter[*] : Ask
  Voter[*] -> Chair : Vote(yes : bool)
  Chair -> Voter[*] : Result(yes : bool)
  Voter[*] -> Chair : Thanks
"""
)


def poll() -> tuple[Endpoint[object], list[Endpoint[object]]]:
    handlers = {one.role: one for one in InMemoryHandler.network(*POLL.roles)}
    chair = Endpoint.of(POLL, "Chair", handlers.pop("Chair"))
    return chair, [Endpoint.of(POLL, role, handler) for role, handler in handlers.items()]


@pytest.mark.parametrize("is_parallel", [True, False])
@pytest.mark.asyncio
async def test_a_family_is_asked_and_answers_in_any_order(is_parallel: bool) -> None:
    chair, voters = poll()
    async with chair:
        await chair.broadcast("Voter", label="Ask", is_parallel=is_parallel)
        for voter in reversed(voters):
            await voter.recv("Chair")
            await voter.send("Chair", {"yes": True}, label="Vote")
        assert set(await chair.gather("Voter")) == {f"Voter[{number}]" for number in range(4)}
        await chair.broadcast("Voter", {"yes": True}, label="Result", is_parallel=is_parallel)
        for voter in voters:
            await voter.recv("Chair")
            await voter.send("Chair", label="Thanks")
        await chair.gather("Voter")


@pytest.mark.asyncio
async def test_enough_responses_go_on_and_late_ones_are_discarded() -> None:
    chair, voters = poll()
    async with chair:
        await chair.broadcast("Voter", Labelled("Ask", None))
        for voter in voters[2:]:
            await voter.recv("Chair")
            await voter.send("Chair", {"yes": True}, label="Vote")
        answers = await chair.gather("Voter", min_responses=2)
        assert list(answers) == ["Voter[2]", "Voter[3]"]
        await chair.broadcast("Voter", Labelled("Result", {"yes": True}))
        for voter in voters[:2]:
            await voter.recv("Chair")
            await voter.send("Chair", {"yes": False}, label="Vote")
        for voter in voters:
            await voter.recv("Chair")
            await voter.send("Chair", label="Thanks")
        assert len(await chair.gather("Voter")) == 4
        assert chair.statistics().discarded == 2


@virtual_time.driven
async def test_too_few_responses_are_told_and_kept_for_another_try() -> None:
    chair, voters = poll()
    await chair.broadcast("Voter", Labelled("Ask", None))
    for voter in voters[:2]:
        await voter.recv("Chair")
        await voter.send("Chair", {"yes": True}, label="Vote")
    with pytest.raises(InsufficientResponses, match="2 of the 3") as told:
        await chair.gather("Voter", min_responses=3, within_s=5.0)
    assert (told.value.expected, told.value.received, virtual_time.now_s()) == (3, 2, 5.0)
    await voters[2].recv("Chair")
    await voters[2].send("Chair", {"yes": False}, label="Vote")
    with pytest.raises(InvalidRoleRange, match="Voter has 4 instances"):
        await chair.gather("Voter", min_responses=5)
    answers = await chair.gather("Voter", min_responses=3)
    assert [answers[f"Voter[{number}]"] for number in range(3)] == [{"yes": True}, {"yes": True}, {"yes": False}]
    for family, needed, kind in (("Nobody", 1, RoleFamilyNotFound), ("Voter", 3, FamilyError)):
        with pytest.raises(FamilyError) as refused:
            await chair.gather(family, min_responses=needed)
        assert type(refused.value) is kind


@pytest.mark.asyncio
async def test_an_instance_that_is_gone_does_not_keep_the_others_from_being_enough() -> None:
    chair, voters = poll()
    await chair.broadcast("Voter", Labelled("Ask", None))
    for voter in voters:
        await voter.recv("Chair")
    await voters[0].send("Chair", {"yes": True}, label="Vote")
    await voters[1].cancel()
    everybody = asyncio.ensure_future(chair.gather("Voter"))
    with pytest.raises(ChannelClosed):
        await everybody
    with pytest.raises(InsufficientResponses, match="of the 4") as told:
        await chair.gather("Voter", min_responses=4)
    assert isinstance(told.value.__cause__, ChannelClosed)
    enough = asyncio.ensure_future(chair.gather("Voter", min_responses=2))
    await asyncio.sleep(0)
    await voters[3].send("Chair", {"yes": False}, label="Vote")
    assert await enough == {"Voter[0]": {"yes": True}, "Voter[3]": {"yes": False}}


RELAY = compile_choreography(
    """\
protocol Relay =
  roles Boss, Worker, Clerk
  timeout 5s Boss at
    Worker -> Clerk : Draft
    Clerk -> Boss : Report
  on timeout =>
    Boss -> Worker : Stop
    Boss -> Clerk : Drop
  Boss -> Clerk : Thanks
"""
)


def relay() -> list[Endpoint[object]]:
    return [Endpoint.of(RELAY, one.role, one) for one in InMemoryHandler.network("Boss", "Worker", "Clerk")]


async def call_off(boss: Endpoint[object]) -> None:
    await boss.send("Worker", label="Stop")
    await boss.send("Clerk", label="Drop")
    await boss.send("Clerk", label="Thanks")


@virtual_time.driven
async def test_who_waits_for_somebody_else_in_a_timed_part_hears_its_owner() -> None:
    """The worker never writes its draft: the clerk waits for that, and the news comes from the boss."""
    boss, _, clerk = relay()

    async def wait() -> None:
        async with clerk:
            async with clerk.timeout() as clock:
                await clerk.recv("Worker")
            assert clock.outcome == "timeout"
            await clerk.recv("Boss")
            await clerk.recv("Boss")

    async with asyncio.TaskGroup() as group:
        group.create_task(wait())
        async with boss:
            async with boss.timeout():
                await boss.recv("Clerk")
            await call_off(boss)


@virtual_time.driven
async def test_who_was_done_with_a_timed_part_is_told_that_it_was_given_up() -> None:
    """The clerk's report crosses the boss's word that the time is over: it waits for that, and goes no step further."""
    boss, worker, clerk = relay()

    async def be_worker() -> None:
        async with worker:
            async with worker.timeout():
                await worker.send("Clerk", label="Draft")
            await worker.recv("Boss")

    async def be_clerk() -> None:
        async with clerk:
            async with clerk.timeout() as theirs:
                await clerk.recv("Worker")
                await clerk.send("Boss", label="Report")
            assert (theirs.outcome, virtual_time.now_s()) == ("timeout", 5.0)
            assert await clerk.offer("Boss") == ("Drop", None)
            assert await clerk.offer("Boss") == ("Thanks", None)

    async with asyncio.TaskGroup() as group:
        group.create_task(be_worker())
        group.create_task(be_clerk())
        async with boss:
            async with boss.timeout() as clock:
                await virtual_time.pass_time(6.0)
            assert clock.has_fired
            await call_off(boss)


@virtual_time.driven
async def test_when_an_owner_dies_nobody_waits_for_its_word() -> None:
    """The clerk and the worker did their shares, and could only listen to each other."""
    boss, worker, clerk = relay()

    async def be_worker() -> None:
        async with worker, worker.timeout():
            await worker.send("Clerk", label="Draft")

    async def be_clerk() -> None:
        async with clerk, clerk.timeout():
            await clerk.recv("Worker")
            await clerk.send("Boss", label="Report")

    async def be_boss() -> None:
        async with boss, boss.timeout():
            await boss.recv("Clerk")
            raise KeyError("it died")

    endings = await asyncio.gather(be_boss(), be_clerk(), be_worker(), return_exceptions=True)
    assert [type(one) for one in endings] == [KeyError, ChannelClosed, ChannelClosed]


@virtual_time.driven
async def test_who_sends_to_a_role_that_gave_the_part_up_and_left_hears_why() -> None:
    """The clerk heard the boss, did what was left and let its channels go; the worker still writes its draft."""
    boss, worker, clerk = relay()

    async def be_clerk() -> None:
        async with clerk:
            async with clerk.timeout():
                await clerk.recv("Worker")
            await clerk.recv("Boss")
            await clerk.recv("Boss")
        await clerk.close()

    async def be_worker() -> None:
        async with worker:
            async with worker.timeout() as clock:
                await virtual_time.pass_time(9.0)
                await worker.send("Clerk", label="Draft")
            assert clock.outcome == "timeout"
            await worker.recv("Boss")

    async with asyncio.TaskGroup() as group:
        group.create_task(be_clerk())
        group.create_task(be_worker())
        async with boss:
            async with boss.timeout():
                await boss.recv("Clerk")
            await call_off(boss)
    assert worker.statistics().sent == 0


# --- what is mistaken for something else ---------------------------------------------------------------------------


def test_plain_data_without_a_label_is_told_to_name_one() -> None:
    async def hasty() -> None:
        guest, _ = InMemoryHandler.network("Guest", "Hotel")
        await Endpoint.of(BOOKING, "Guest", guest, unguarded=True).send("Hotel", {"nights": 2})

    told = r"may not send plain data without label=… to Hotel; expected: send Ask"
    with pytest.raises(ProtocolViolation, match=told):
        virtual_time.run(hasty())


def test_a_text_is_no_protocol_and_a_name_is_no_class() -> None:
    guest, _ = InMemoryHandler.network("Guest", "Hotel")
    wrong: Any = "Ask"
    with pytest.raises(LocalViolation, match=r"what compile_choreography\(text\) returned; got 'Ask'"):
        Endpoint.of(wrong, "Guest", guest)
    with pytest.raises(LocalViolation, match="messages are classes"):
        Endpoint.of(BOOKING, "Guest", guest, messages=[wrong])
    with pytest.raises(TypeError, match="takes a protocol's text or its tree"):
        compile_choreography(Any)  # type: ignore[arg-type]
