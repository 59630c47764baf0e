"""AppCore: one user interface over memory, a journal and a simulated one; refusals; attach and detach."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, Journal
from antiphon.app.acknowledged import ACKNOWLEDGED_SIGNAL, Acknowledged
from antiphon.app.bridge import JournalBridge
from antiphon.app.core import CORE_SIGNALS, AppCore, CoreConfig
from antiphon.app.inspection import INSPECTOR_SIGNAL
from antiphon.app.intent_errors import IntentError, NoAgent
from antiphon.app.intents import (
    INTENTS,
    AbortCeremony,
    AcceptFriendship,
    AcceptInvitation,
    AddContact,
    AddMember,
    AgreeToCeremony,
    Ban,
    BeginCeremony,
    BindGuardian,
    CancelInvitation,
    CloseChannel,
    CommitCeremony,
    CreateChannel,
    DeclareHome,
    DeclineInvitation,
    DeleteMessage,
    EditMessage,
    EditTopic,
    EndFriendship,
    EnrolDevice,
    GrantModerator,
    GrantRecovery,
    Intent,
    JoinChannel,
    KickMember,
    LeaveChannel,
    MarkRead,
    MergeChannel,
    Mute,
    OfferFriendship,
    OpenDirectMessage,
    OpenNotes,
    PinMessage,
    ReactToMessage,
    RemoveContact,
    RenameChannel,
    RenameContact,
    RevokeModerator,
    SendInvitation,
    SendMessage,
    SetReadReceipts,
    SetTopic,
    SupersedeCeremony,
    Unban,
    Unmute,
    UnpinMessage,
    read_intent,
)
from antiphon.app.offline_bridge import OfflineBridge
from antiphon.app.runtime_bridge import RUNTIME_OPERATIONS, RuntimeBridge
from antiphon.app.wiring import core_of, demo_core, open_core
from antiphon.facts import CeremonyStatus, HomeDeclared, OperationCategory, home_context
from antiphon.facts.chat import ChannelCreated, MessageSent
from antiphon.facts.contacts import FriendshipProposed
from antiphon.facts.invitations import ContactInvitation, InvitationSent
from antiphon.reactive import SYNC_STATUS_SIGNAL, SignalNotFound, SubscriptionClosed
from antiphon.runtime.entropy import system_random
from antiphon.testing.simulation.playground import SimulatedNet
from antiphon.views import HOMES_SIGNAL

BEN = "be" * 16
CARA = "ca" * 16
PATIENCE_S = 30.0


async def live_a_little(core: AppCore) -> None:
    """What a user interface does: it knows nothing of what is behind the core."""
    me = core.authority
    submit = core.submit
    await submit(CreateChannel(channel_id="hall", name="Hall", topic="arrivals"))
    await submit(RenameChannel(channel_id="hall", name="The Hall"))
    await submit(SetTopic(channel_id="hall", topic=""))
    first = await submit(SendMessage(channel_id="hall", text="helo"))
    assert first.subject is not None
    await submit(EditMessage(channel_id="hall", message_id=first.subject, text="hello"))
    second = await submit(SendMessage(channel_id="hall", text="mistake", reply_to=first.subject))
    assert second.subject is not None
    await submit(DeleteMessage(channel_id="hall", message_id=second.subject))
    await submit(AddMember(channel_id="hall", member_id=BEN))
    await submit(CreateChannel(channel_id="attic", name="Attic"))
    await submit(LeaveChannel(channel_id="attic"))
    await submit(JoinChannel(channel_id="attic"))
    await submit(CloseChannel(channel_id="attic"))
    await submit(OpenNotes())
    await submit(AddContact(contact_id=BEN, nickname="Ben"))
    await submit(RenameContact(contact_id=BEN, nickname="Benjamin"))
    await submit(SetReadReceipts(contact_id=BEN, policy="enabled"))
    await submit(OpenDirectMessage(contact_id=BEN))
    await submit(OfferFriendship(contact_id=BEN))
    await submit(AddContact(contact_id=CARA, nickname="Cara"))
    await submit(BindGuardian(contact_id=CARA))
    await submit(OfferFriendship(contact_id=CARA))
    await submit(EndFriendship(contact_id=CARA))
    await submit(AddContact(contact_id="dd" * 16))
    await submit(RemoveContact(contact_id="dd" * 16))
    await submit(SendInvitation(offer="contact", receiver_id=BEN, message="join me"))
    taken_back = await submit(SendInvitation(offer="guardian", receiver_id=CARA))
    await submit(CancelInvitation(invitation_id=taken_back.subject or ""))
    home = home_context(me, "friends")
    await submit(DeclareHome(name="friends", title="Friends"))
    await submit(CreateChannel(home=home, channel_id="porch", name="Porch"))
    await submit(SendInvitation(offer="home", home=home, receiver_id=BEN))
    said = await submit(SendMessage(channel_id="porch", text="keep this"))
    await submit(PinMessage(home=home, channel_id="porch", message_id=said.subject or ""))
    await submit(GrantModerator(home=home, target_id=BEN))
    await submit(Mute(home=home, target_id=CARA, duration_s=3_600))
    await submit(Ban(home=home, target_id=CARA, reason="spam"))
    await submit(Unban(home=home, target_id=CARA))
    await submit(KickMember(home=home, target_id=CARA, channel_id="porch"))


def views_of(core: AppCore) -> dict[str, Any]:
    """All that a screen shows, with times and ids told by their order instead of their value."""
    states = {
        signal.signal_id: core.read(signal).to_json()
        for signal in (CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, HOMES_SIGNAL)
    }
    names: dict[str, str] = {core.authority: "me", BEN: "ben", CARA: "cara"}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {plain(key): plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            parts = [plain(each) for each in value]
            # Lists of people are in order of their ids, of which one is drawn anew each time.
            return sorted(parts) if all(isinstance(each, str) for each in parts) else parts
        if isinstance(value, str):
            return re.sub(r"[0-9a-f]{32}", lambda hit: names.setdefault(hit[0], f"id{len(names)}"), value)
        return "time" if isinstance(value, int) and value > 10**11 else value

    states["app:chat"]["channels"].sort(key=lambda each: each["name"])  # by name: contexts start with a random id
    result: dict[str, Any] = plain(states)
    return result


async def views_in_memory() -> dict[str, Any]:
    async with demo_core("ada") as core:
        await live_a_little(core)
        return views_of(core)


@pytest.mark.asyncio
async def test_one_user_interface_shows_the_same_over_memory_and_over_a_journal(tmp_path: Path) -> None:
    async with open_core(tmp_path / "j", author="ada") as core:
        await live_a_little(core)
        over_a_journal = views_of(core)
    async with open_core(tmp_path / "j") as core:
        after_a_restart = views_of(core)
    in_memory = await views_in_memory()
    assert in_memory == over_a_journal == after_a_restart
    hall = next(each for each in in_memory["app:chat"]["channels"] if each["id"] == "hall")
    assert [message["content"] for message in hall["messages"]] == ["hello"]
    (home,) = in_memory["app:homes"]["homes"]
    # Ben was named a moderator, and is none before he accepts the invitation.
    assert (home["name"], home["moderators"], len(home["mutes"]), home["bans"]) == ("Friends", [], 1, [])


def test_and_over_a_simulated_journal(tmp_path: Path) -> None:
    net = SimulatedNet(tmp_path, seed=7)

    async def over_a_virtual_disk() -> dict[str, Any]:
        journal, random_bytes = await net.open("ada"), Random(7).randbytes
        async with (
            JournalBridge(journal, clock=net.clock, random_bytes=random_bytes) as bridge,
            AppCore.with_runtime(bridge, clock=net.clock, random_bytes=random_bytes) as core,
        ):
            await live_a_little(core)
            return views_of(core)

    simulated, in_memory = net.run(over_a_virtual_disk()), net.run(views_in_memory())
    net.end()
    assert simulated == in_memory


# The bridges


def members(protocol: type) -> dict[str, Any]:
    return {name: member for name, member in vars(protocol).items() if not name.startswith("_")}


@pytest.mark.parametrize("bridge", [JournalBridge, OfflineBridge])
def test_every_bridge_has_every_member_with_its_signature(bridge: type) -> None:
    for name, member in members(RuntimeBridge).items():
        if isinstance(member, property):
            assert isinstance(inspect.getattr_static(bridge, name), property), name
            continue
        theirs = inspect.signature(getattr(bridge, name), eval_str=False)
        ours = inspect.signature(member, eval_str=False)
        assert [(each.name, each.kind) for each in theirs.parameters.values()] == [
            (each.name, each.kind) for each in ours.parameters.values()
        ], name
        assert inspect.iscoroutinefunction(getattr(bridge, name)) == inspect.iscoroutinefunction(member), name


LOCAL = {"authority", "label", "namespace", "hub", "scheduler", "now_ms", "new_id", "wake", "commit", "judge", "flush"}
LOCAL |= {"find_message", "messages_before", "topic_of"}


def test_what_is_not_local_needs_a_runtime() -> None:
    assert set(members(RuntimeBridge)) - LOCAL == set(RUNTIME_OPERATIONS)


@pytest.mark.asyncio
@pytest.mark.parametrize("operation", RUNTIME_OPERATIONS)
async def test_without_a_runtime_every_runtime_operation_says_so(operation: str) -> None:
    async with demo_core() as core:
        method = getattr(core.runtime, operation)
        given = {
            name: "reason" if parameter.kind is parameter.KEYWORD_ONLY else ()
            for name, parameter in inspect.signature(method).parameters.items()
        }
        positional = [value for name, value in given.items() if name != "reason"]
        with pytest.raises(NoAgent) as refused:
            await method(*positional, **({"reason": ""} if "reason" in given else {}))
        told = refused.value
        assert (told.kind, told.operation, told.move) == ("no_agent", operation, "application")
        assert operation in str(told)
        assert not core.has_runtime


@pytest.mark.asyncio
async def test_without_a_runtime_every_signal_can_be_read_and_followed() -> None:
    async with demo_core() as core:
        for signal in CORE_SIGNALS:
            async with core.subscribe(signal) as updates:
                assert (await anext(updates)).value == core.read(signal)
        assert core.read(SYNC_STATUS_SIGNAL).state == "idle"


@pytest.mark.asyncio
async def test_with_a_runtime_cores_serve_link_ask_and_erase(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        open_core(tmp_path / "a", author="ada") as ada,
        open_core(tmp_path / "b", author="ben") as ben,
    ):
        started, address = await ada.runtime.serve("tcp://127.0.0.1:0")
        assert (started, await ada.runtime.serve("tcp://127.0.0.1:0")) == ("started", ("already_running", address))
        await ada.submit(CreateChannel(channel_id="hall", name="Hall"))
        said = await ada.submit(SendMessage(channel_id="hall", text="hello"))
        outcome = await ben.runtime.sync(address)
        assert outcome.is_success
        assert ben.read(CHAT_SIGNAL).messages_in("hall")[0].content == "hello"
        assert await ben.runtime.link(address) == "started"
        assert await ben.runtime.link(address) == "already_running"
        async with ada.subscribe(CHAT_SIGNAL) as updates:
            await ben.submit(SendMessage(channel_id="hall", text="hello ada"))
            async for update in updates:
                if len(update.value.messages_in("hall")) == 2:
                    break
        rows = await ben.runtime.query("SELECT count(*) AS many FROM chat_message_sent")
        assert rows == (("many",), ((2,),))
        await ada.runtime.erase(said.fact_ids, reason="regret")
        standing = await ada.runtime.standing()
        assert standing.serving_at == address
        assert [each.address for each in (await ben.runtime.standing()).links] == [address]
        assert (await ben.runtime.unlink(address), await ben.runtime.unlink(address)) == ("stopped", "nothing_to_do")
        assert (await ada.runtime.stop_serving(), await ada.runtime.stop_serving()) == ("stopped", "nothing_to_do")
        with pytest.raises(IntentError) as refused:
            await ben.runtime.sync(address)
        assert refused.value.kind == "network"
        with pytest.raises(IntentError) as wrong:
            await ben.runtime.query("SELECT nothing FROM nowhere")
        assert wrong.value.kind == "validation"


@pytest.mark.asyncio
async def test_leaving_a_core_ends_its_server_and_links(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE_S),
        Journal.open(tmp_path / "a") as ada,
        Journal.open(tmp_path / "b") as ben,
        core_of(ben) as away,
    ):
        async with core_of(ada) as core:
            _, address = await core.runtime.serve("tcp://127.0.0.1:0")
            await away.runtime.link(address)
        with pytest.raises(IntentError):
            await away.runtime.sync(address)
        with pytest.raises(IntentError) as refused:
            await core.submit(OpenNotes())
        assert refused.value.kind == "service"
        assert not ada.engine.is_closed


# Attach and detach


@pytest.mark.asyncio
async def test_a_runtime_is_attached_and_detached_and_subscriptions_say_so(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j", author="ada") as journal, JournalBridge(journal) as bridge:
        async with demo_core("ada") as core:
            await core.submit(CreateChannel(channel_id="demo", name="Demo"))
            before = core.subscribe(CHAT_SIGNAL)
            await core.attach_runtime(bridge)
            assert (await before.recv()).value.channel("demo") is not None
            with pytest.raises(SubscriptionClosed):
                await before.recv()
            assert core.read(CHAT_SIGNAL).channels == {}
            await core.submit(CreateChannel(channel_id="real", name="Real"))
            with pytest.raises(IntentError):
                await core.attach_runtime(bridge)
            assert await core.detach_runtime() is bridge
            assert [key.channel_id for key in core.read(CHAT_SIGNAL).channels] == ["demo"]
            with pytest.raises(IntentError):
                await core.detach_runtime()
        assert (await journal.snapshot(CHAT_SIGNAL)).channel("real") is not None


@pytest.mark.asyncio
async def test_a_core_that_was_not_entered_refuses() -> None:
    core = demo_core()
    with pytest.raises(IntentError, match="async with"):
        await core.submit(OpenNotes())


# Intents


def test_every_intent_has_an_operation_with_a_category_and_a_name() -> None:
    for name, intent in INTENTS.items():
        assert intent.intent_name() == name
        assert isinstance(intent.category(), OperationCategory)
        assert intent.__doc__


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("fly", {}, "no intent is called 'fly'"),
        ("send_message", {}, "channel_id: Field required; text: Field required"),
        ("send_message", {"channel_id": "c", "text": "  "}, "text: "),
        ("send_message", {"channel_id": "c", "text": "x", "sender_id": BEN}, "sender_id: Extra inputs"),
        ("mute", {"home": "h", "target_id": BEN, "duration_s": -1}, "duration_s: "),
        ("set_read_receipts", {"contact_id": BEN, "policy": "maybe"}, "policy: "),
        ("send_message", {"channel_id": "c", "text": "x" * 8_001}, "text: "),
    ],
)
def test_an_intent_from_a_wire_is_validated_and_told_what_is_wrong(name: str, fields: Any, told: str) -> None:
    with pytest.raises(IntentError, match=re.escape(told)) as refused:
        read_intent(name, fields)
    assert refused.value.kind == "validation"


async def with_others() -> AppCore:
    """A core whose channel, offers and invitations come from others."""
    core = await demo_core("ada", config=CoreConfig(author="ada", identity=bytes(32))).__aenter__()
    ben = core.offline.authority_of("ben")
    about = {"context_id": core.offline.namespace}
    await core.offline.commit_as(
        "ben",
        [
            ChannelCreated(**about, channel_id="hall", name="Hall", created_at=1, creator_id=ben),
            MessageSent(
                **about, channel_id="hall", message_id="m1", sender_id=ben, sender_name="ben", text="hi", sent_at=2
            ),
            FriendshipProposed(**about, requester_id=ben, accepter_id=core.authority, proposed_at=3),
            InvitationSent(
                **about,
                invitation_id="i1",
                sender_id=ben,
                receiver_id=core.authority,
                invitation_type=ContactInvitation(),
                sent_at=4,
            ),
        ],
    )
    return core


BENS_HOME = home_context(BEN, "away")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("intent", "kind", "move", "told"),
    [
        (SendMessage(channel_id="nowhere", text="x"), "validation", "you", "create it, join it"),
        (EditMessage(channel_id="hall", message_id="m1", text="x"), "unauthorised", "them", "only ben can edit"),
        (DeleteMessage(channel_id="hall", message_id="m1"), "unauthorised", "them", "only ben can delete"),
        (DeleteMessage(channel_id="hall", message_id="m9"), "validation", "you", "no message 'm9'"),
        (CreateChannel(channel_id="hall", name="Again"), "validation", "you", "open already"),
        (CreateChannel(home=BENS_HOME, name="x"), "unauthorised", "them", "ask its owner for an invitation"),
        (CreateChannel(home="attic", name="x"), "validation", "you", "no home"),
        (RenameContact(contact_id=CARA, nickname="x"), "validation", "you", "is no contact here"),
        (AcceptFriendship(contact_id=CARA), "validation", "you", "is no contact here"),
        (AcceptInvitation(invitation_id="i9"), "validation", "you", "sync with who sent it"),
        (CancelInvitation(invitation_id="i1"), "unauthorised", "them", "you can decline it"),
        (SendInvitation(offer="home"), "validation", "you", "names it"),
        (SendInvitation(offer="home", home=BENS_HOME), "unauthorised", "them", "not in this home"),
        (Ban(home=BENS_HOME, target_id=CARA), "unauthorised", "them", "only the owner or a moderator"),
        (GrantModerator(home=BENS_HOME, target_id=CARA), "unauthorised", "them", "only the owner"),
        (Mute(home="attic", target_id=CARA), "validation", "you", "is no home"),
        (JoinChannel(channel_id="porch", context_id=BENS_HOME), "unauthorised", "them", "not in this home"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Intent) else "",
)
async def test_a_refusal_says_why_and_whose_move_it_is(intent: Intent, kind: str, move: str, told: str) -> None:
    core = await with_others()
    try:
        expected = core.check(intent)
        with pytest.raises(IntentError, match=re.escape(told)) as refused:
            await core.submit(intent)
    finally:
        await core.close()
    assert (refused.value.kind, refused.value.move, refused.value.operation) == (kind, move, intent.operation)
    assert expected is not None
    assert refused.value.to_json() == expected.to_json()


def test_the_page_about_intents_names_each_with_its_fields() -> None:
    page = (Path(__file__).parents[2] / "docs/app_core.md").read_text(encoding="utf-8")
    table = page.split("| about | intents |")[1].split("\n\n")[0]
    told = dict(re.findall(r"`([A-Z]\w+)\(([^)]*)\)`", table))
    fields = {
        model.__name__: {(f"{key}?", key)[field.is_required()] for key, field in model.model_fields.items()}
        for model in INTENTS.values()
    }
    assert {name: set(filter(None, told[name].split(", "))) for name in told} == fields


@pytest.mark.asyncio
async def test_what_others_began_is_answered() -> None:
    core = await with_others()
    ben = core.offline.authority_of("ben")
    assert core.read(CHAT_SIGNAL).total_unread == 1
    marked = await core.submit(MarkRead(channel_id="hall"))
    assert (marked.progress, len(marked.fact_ids), core.read(CHAT_SIGNAL).total_unread) == ("done", 1, 0)
    assert (await core.submit(MarkRead(channel_id="hall"))).progress == "nothing_to_do"
    with pytest.raises(IntentError, match="accept their offer"):
        await core.submit(OfferFriendship(contact_id=ben))
    accepted = await core.submit(AcceptFriendship(contact_id=ben))
    assert (accepted.progress, accepted.category) == ("started", OperationCategory.CEREMONY)
    assert core.read(CONTACTS_SIGNAL).contacts[ben].relationship_state == "friend"
    await core.submit(DeclineInvitation(invitation_id="i1"))
    assert core.read(INVITATIONS_SIGNAL).pending == ()
    with pytest.raises(IntentError, match="has ended"):
        await core.submit(AcceptInvitation(invitation_id="i1"))
    await core.close()


@pytest.mark.asyncio
async def test_an_operation_of_category_b_is_shown_and_may_be_undone() -> None:
    async with demo_core("ada") as core:
        home = home_context(core.authority, "h")
        await core.submit(DeclareHome(name="h"))
        for intent in (Mute, Unmute, GrantModerator, RevokeModerator):
            assert (await core.submit(intent(home=home, target_id=BEN))).progress == "shown"
        with pytest.raises(IntentError, match="'nobody' names nobody"):
            await core.submit(Mute(home=home, target_id="nobody"))
        await core.submit(CreateChannel(home=home, channel_id="c", name="c"))
        await core.submit(PinMessage(home=home, channel_id="c", message_id="m"))
        await core.submit(UnpinMessage(home=home, channel_id="c", message_id="m"))
        assert core.read(HOMES_SIGNAL).homes[home].pins == ()


@pytest.mark.asyncio
async def test_two_people_change_different_parts_of_a_topic_at_once(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "a", author="ada") as ada,
        Journal.open(tmp_path / "b", author="ben") as ben,
        core_of(ada) as one,
        core_of(ben) as other,
    ):

        async def meet() -> set[str | None]:
            await ada.sync_with(ben)
            await asyncio.gather(ada.flush(), ben.flush())
            found = [core.read(CHAT_SIGNAL).channel("hall") for core in (one, other)]
            return {channel.topic for channel in found if channel}

        await one.submit(CreateChannel(channel_id="hall", name="Hall"))
        await one.submit(EditTopic(channel_id="hall", topic="tea at five"))
        assert await meet() == {"tea at five"}
        await one.submit(EditTopic(channel_id="hall", topic="green tea at five"))
        await other.submit(EditTopic(channel_id="hall", topic="tea at five o'clock"))
        assert await meet() == {"green tea at five o'clock"}
        assert (await one.submit(EditTopic(channel_id="hall", topic="green tea at five o'clock"))).fact_ids == ()
        await other.submit(SetTopic(channel_id="hall", topic="closed"))
        assert await meet() == {"closed"}
        for number in range(70):
            await one.submit(EditTopic(channel_id="hall", topic=f"closed until {number}"))
        assert await meet() == {"closed until 69"}


@pytest.mark.asyncio
async def test_two_contexts_with_one_channel_id_must_be_told_apart() -> None:
    async with demo_core("ada") as core:
        home = home_context(core.authority, "h")
        await core.submit(CreateChannel(channel_id="c", name="here"))
        await core.submit(CreateChannel(channel_id="c", name="there", home=home))
        with pytest.raises(IntentError, match="name one with context_id"):
            await core.submit(SendMessage(channel_id="c", text="x"))
        await core.submit(SendMessage(channel_id="c", context_id=home, text="x"))
        assert len(core.read(CHAT_SIGNAL).messages_in("c", context_id=home)) == 1


@dataclass
class SetBack:
    """A wall clock that somebody sets."""

    at_ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


@pytest.mark.asyncio
async def test_a_clock_that_is_set_back_does_not_undo_what_is_said_next() -> None:
    clock = SetBack()
    async with AppCore(clock=clock, random_bytes=system_random) as core:
        await core.submit(CreateChannel(channel_id="c", name="one"))
        clock.at_ms -= 60_000
        await core.submit(RenameChannel(channel_id="c", name="two"))
        channel = core.read(CHAT_SIGNAL).channel("c")
        assert channel is not None
        assert channel.name == "two"


# Signals


@pytest.mark.asyncio
async def test_callbacks_are_called_until_they_are_ended() -> None:
    async with demo_core() as core:
        seen: list[int] = []
        end = core.on(CHAT_SIGNAL, lambda update: seen.append(len(update.value.channels)))
        await core.submit(CreateChannel(name="a"))
        end()
        await core.submit(CreateChannel(name="b"))
        assert seen == [0, 1]
        assert core.live(CHAT_SIGNAL).value is core.read(CHAT_SIGNAL)


@pytest.mark.asyncio
async def test_the_inspector_tells_facts_windows_and_why_queries_ran() -> None:
    async with demo_core("ada") as core:
        with pytest.raises(SignalNotFound):
            core.read(INSPECTOR_SIGNAL)
        signal = core.inspect()
        assert core.inspect() is signal
        await core.submit(CreateChannel(channel_id="hall", name="Hall"))
        ben = core.offline.authority_of("ben")
        forged = MessageSent(
            context_id=core.offline.namespace,
            channel_id="hall",
            message_id="m",
            sender_id=core.authority,
            sender_name="ada",
            text="forged",
            sent_at=core.offline.now_ms(),
        )
        await core.offline.commit_as("ben", [forged])
        newest, before = core.read(signal).windows[:2]
        assert [fact.kind for fact in before.facts] == ["chat.channel_created"]
        assert [(run.view_id, run.why, run.is_changed) for run in before.runs] == [
            ("signals:chat", "1 × chat.channel_created", True),
            ("signals:unread_count", "signals:chat changed", False),
        ]
        assert newest.facts[0].hidden is not None
        assert (newest.facts[0].author, newest.facts[0].authority) == ("ben", ben)
        assert [run.is_changed for run in newest.runs] == [False]
        assert '"text":"forged"' in str(newest.facts[0].summary)
        assert core.read(signal).to_json()


@pytest.mark.asyncio
async def test_two_cores_over_one_journal_share_an_inspector(tmp_path: Path) -> None:
    async with (
        Journal.open(tmp_path / "j", author="ada") as journal,
        core_of(journal) as first,
        core_of(journal) as second,
    ):
        assert first.inspect() is second.inspect()
        await second.submit(OpenNotes())
        assert first.read(INSPECTOR_SIGNAL).windows == second.read(INSPECTOR_SIGNAL).windows != ()
        await first.close()
        with pytest.raises(SignalNotFound):
            second.read(INSPECTOR_SIGNAL)
        await second.submit(CreateChannel(name="Hall"))
        assert second.read(second.inspect()).windows == ()


# Reactions, private reads, merged channels, old messages, ceremonies


@pytest.mark.asyncio
async def test_a_contact_is_told_what_was_read_only_when_one_says_so() -> None:
    core = await with_others()
    ben = core.offline.authority_of("ben")
    core.inspect()
    await core.submit(AddContact(contact_id=ben, nickname="Ben"))
    about = {"context_id": core.offline.namespace, "channel_id": "hall", "sender_id": ben, "sender_name": "ben"}
    quiet = await core.submit(MarkRead(channel_id="hall"))
    assert (len(quiet.fact_ids), core.read(CHAT_SIGNAL).total_unread) == (1, 0)
    assert kinds_in(core) == ["chat.message_seen"]
    await core.offline.commit_as("ben", [MessageSent(**about, message_id="m2", text="again", sent_at=5)])
    await core.submit(SetReadReceipts(contact_id=ben, policy="enabled"))
    await core.submit(MarkRead(channel_id="hall"))
    assert kinds_in(core) == ["chat.message_seen", "chat.message_read"]
    await core.close()


def kinds_in(core: AppCore) -> list[str]:
    """What was committed about reading, in order, as the inspector shows it."""
    windows = reversed(core.read(core.inspect()).windows)
    kinds = [fact.kind for window in windows for fact in window.facts]
    return [kind for kind in kinds if kind in ("chat.message_seen", "chat.message_read")]


@pytest.mark.asyncio
async def test_a_sign_is_put_to_a_message_once_and_taken_back_once() -> None:
    core = await with_others()
    thumb = ReactToMessage(channel_id="hall", message_id="m1", reaction="+1")
    back = ReactToMessage(channel_id="hall", message_id="m1", reaction="+1", is_taken_back=True)
    progress = [(await core.submit(each)).progress for each in (back, thumb, thumb)]
    assert progress == ["nothing_to_do", "done", "nothing_to_do"]
    assert core.read(CHAT_SIGNAL).messages_in("hall")[0].reactions == (("+1", (core.authority,)),)
    assert (await core.submit(back)).progress == "done"
    assert core.read(CHAT_SIGNAL).messages_in("hall")[0].reactions == ()
    await core.close()


@pytest.mark.asyncio
async def test_a_sign_that_nobody_else_would_see_is_refused_as_words_are() -> None:
    async with demo_core("ada") as core:
        ben = core.offline.authority_of("ben")
        home = home_context(ben, "away")
        porch = {"context_id": home, "channel_id": "porch"}
        said = {"message_id": "m1", "sender_id": ben, "sender_name": "ben", "text": "hi", "sent_at": 3}
        await core.offline.commit_as(
            "ben",
            [
                HomeDeclared(context_id=home, owner_id=ben, name="Away", declared_at=1),
                ChannelCreated(**porch, name="Porch", created_at=2, creator_id=ben),
                MessageSent(**porch, **said),
            ],
        )
        for intent in (
            SendMessage(**porch, text="hello"),
            ReactToMessage(**porch, message_id="m1", reaction="+1"),
        ):
            with pytest.raises(IntentError, match="not in this home"):
                await core.submit(intent)
        assert core.read(CHAT_SIGNAL).messages_in("porch")[0].reactions == ()


@pytest.mark.asyncio
async def test_a_merged_channel_is_written_in_by_either_name_and_its_messages_stay_ones_own() -> None:
    async with demo_core("ada") as core:
        await core.submit(CreateChannel(channel_id="draft", name="Tea?"))
        said = await core.submit(SendMessage(channel_id="draft", text="tee"))
        with pytest.raises(IntentError, match="no channel 'tea'"):
            await core.submit(MergeChannel(channel_id="draft", into="tea"))
        await core.submit(CreateChannel(channel_id="tea", name="Tea"))
        assert (await core.submit(MergeChannel(channel_id="tea", into="tea"))).progress == "nothing_to_do"
        assert (await core.submit(MergeChannel(channel_id="draft", into="tea"))).subject == "tea"
        await core.submit(EditMessage(channel_id="tea", message_id=said.subject or "", text="tea"))
        await core.submit(SendMessage(channel_id="draft", text="and cake"))
        (channel,) = core.read(CHAT_SIGNAL).channels.values()
        assert [each.content for each in core.read(CHAT_SIGNAL).messages_in(channel.id)] == ["tea", "and cake"]


@pytest.mark.asyncio
async def test_a_message_too_old_for_the_screen_is_changed_and_taken_back(tmp_path: Path) -> None:
    """In memory as over a journal, where its words have to be read back from the log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 3)
        patch.setattr("antiphon.views.message_log._WHOLE_SCREENS", 1)
        for core_like in (demo_core("ada"), open_core(tmp_path / "j", author="ada")):
            async with core_like as core:
                await core.submit(CreateChannel(channel_id="hall", name="Hall"))
                ids = [(await core.submit(SendMessage(channel_id="hall", text=f"t{n}"))).subject for n in range(20)]
                shown = [each.content for each in core.read(CHAT_SIGNAL).messages_in("hall")]
                assert shown == ["t17", "t18", "t19"]
                oldest, second = ids[0] or "", ids[1] or ""
                again = await core.submit(SendMessage(channel_id="hall", text="t0", message_id=oldest))
                assert again.progress == "nothing_to_do"
                await core.submit(EditMessage(channel_id="hall", message_id=oldest, text="first"))
                for message_id in ids[2:]:
                    await core.submit(DeleteMessage(channel_id="hall", message_id=message_id or ""))
                with pytest.raises(IntentError, match="deleted or hidden"):
                    await core.submit(EditMessage(channel_id="hall", message_id=ids[2] or "", text="x"))
                await core.submit(DeleteMessage(channel_id="hall", message_id=second))
                assert [each.content for each in core.read(CHAT_SIGNAL).messages_in("hall")] == ["first"]


@asynccontextmanager
async def two_people(tmp_path: Path) -> AsyncIterator[tuple[AppCore, AppCore, Callable[[], Awaitable[None]]]]:
    async with open_core(tmp_path / "ada", author="ada") as ada, open_core(tmp_path / "ben", author="ben") as ben:
        _, address = await ada.runtime.serve("tcp://127.0.0.1:0")

        async def meet() -> None:
            assert (await ben.runtime.sync(address)).is_success

        await meet()
        yield ada, ben, meet


@pytest.mark.asyncio
async def test_a_guardian_is_set_up_by_invitation_and_ceremony(tmp_path: Path) -> None:
    async with two_people(tmp_path) as (ada, ben, meet):
        await ada.submit(AddContact(contact_id=ben.authority, nickname="Ben"))
        invited = (await ada.submit(SendInvitation(offer="guardian", receiver_id=ben.authority))).subject or ""
        with pytest.raises(IntentError, match="only an accepted invitation"):
            await ada.submit(BeginCeremony(invitation_id=invited))
        await meet()
        await ben.submit(AcceptInvitation(invitation_id=invited))
        await meet()
        begun = await ada.submit(BeginCeremony(invitation_id=invited))
        assert (begun.category, begun.progress) == (OperationCategory.CEREMONY, "started")
        for again in (BeginCeremony(invitation_id=invited), CommitCeremony(invitation_id=invited)):
            with pytest.raises(IntentError):
                await ada.submit(again)
        renewed = await ada.submit(SupersedeCeremony(invitation_id=invited))
        await meet()
        (old, new) = sorted(ceremonies(ben, invited), key=lambda each: each.ceremony_id == renewed.subject)
        assert (old.phase.value, old.superseded_by, new.received) == ("superseded", renewed.subject, 1)
        await ben.submit(AgreeToCeremony(invitation_id=invited))
        assert (await ben.submit(AgreeToCeremony(invitation_id=invited))).progress == "nothing_to_do"
        await meet()
        assert not ada.read(CONTACTS_SIGNAL).contacts[ben.authority].is_guardian
        await ada.submit(CommitCeremony(invitation_id=invited))
        assert ada.read(CONTACTS_SIGNAL).contacts[ben.authority].is_guardian
        await meet()
        assert {each.phase.value for each in ceremonies(ben, invited)} == {"superseded", "committed"}
        await ben.submit(AddContact(contact_id=ada.authority))
        granted = await ben.submit(GrantRecovery(contact_id=ada.authority, operation_id="op-1"))
        assert (granted.category, granted.progress) == (OperationCategory.CEREMONY, "started")


@pytest.mark.asyncio
async def test_an_invitation_to_become_contacts_makes_them_so_on_both_sides(tmp_path: Path) -> None:
    async with two_people(tmp_path) as (ada, ben, meet):
        invited = (await ada.submit(SendInvitation(offer="contact", receiver_id=ben.authority))).subject or ""
        await meet()
        await ben.submit(AcceptInvitation(invitation_id=invited))
        assert ben.read(CONTACTS_SIGNAL).contacts[ada.authority].effective_name == "ada"
        await meet()
        await ada.submit(BeginCeremony(invitation_id=invited, required=1))
        await ada.submit(CommitCeremony(invitation_id=invited))
        assert ben.authority in ada.read(CONTACTS_SIGNAL).contacts


@pytest.mark.asyncio
async def test_a_device_is_enrolled_and_the_ceremony_can_be_ended_without_a_result(tmp_path: Path) -> None:
    async with two_people(tmp_path) as (ada, ben, meet):
        asked = EnrolDevice(device_id="phone", receiver_id=ben.authority, name="Phone", key_package=b"a2V5")
        invited = (await ada.submit(asked)).subject or ""
        await meet()
        assert ben.read(INVITATIONS_SIGNAL).pending[0].offer == "device"
        await ben.submit(AcceptInvitation(invitation_id=invited))
        await ben.submit(BeginCeremony(invitation_id=invited, pending_epoch=2))
        await ben.submit(AbortCeremony(invitation_id=invited, reason="lost it"))
        await meet()
        (ceremony,) = ceremonies(ada, invited)
        assert (ceremony.phase.value, ceremony.reason, ceremony.pending_epoch) == ("aborted", "lost it", 2)
        with pytest.raises(IntentError, match="begin one"):
            await ada.submit(AgreeToCeremony(invitation_id=invited))


def ceremonies(core: AppCore, invitation_id: str) -> tuple[CeremonyStatus, ...]:
    found = core.read(INVITATIONS_SIGNAL).find(invitation_id)
    assert found is not None
    return found.ceremonies


@pytest.mark.asyncio
async def test_own_messages_are_marked_once_a_peer_has_acknowledged_them_and_after_a_restart(tmp_path: Path) -> None:
    async with two_people(tmp_path) as (ada, ben, meet):
        await ada.submit(CreateChannel(channel_id="hall", name="Hall"))
        await ada.submit(SendMessage(channel_id="hall", text="hello"))
        (message,) = ada.read(CHAT_SIGNAL).messages_in("hall")
        assert ada.read(ACKNOWLEDGED_SIGNAL).marked(message).icon == "\N{CHECK MARK}"
        async with ada.subscribe(ACKNOWLEDGED_SIGNAL) as marks, asyncio.timeout(PATIENCE_S):
            await meet()
            while not (await anext(marks)).value.peers_of(message.fact_id):
                pass
        assert ada.read(ACKNOWLEDGED_SIGNAL).peers_of(message.fact_id) == (ben.authority,)
        assert ada.read(ACKNOWLEDGED_SIGNAL).marked(message).delivery_status == "delivered"
        (theirs,) = ben.read(CHAT_SIGNAL).messages_in("hall")
        assert ben.read(ACKNOWLEDGED_SIGNAL).marked(theirs) is theirs
        peer = ben.authority
    async with open_core(tmp_path / "ada") as ada, ada.subscribe(ACKNOWLEDGED_SIGNAL) as marks:
        async with asyncio.timeout(PATIENCE_S):
            while (await anext(marks)).value.peers_of(message.fact_id) != (peer,):
                pass


def test_marks_of_what_is_not_shown_any_more_are_left_out() -> None:
    known = Acknowledged().with_peer(BEN, ["aa", "bb"]).with_peer(CARA, ["aa"])
    assert known.only(["aa", "cc"]).to_json() == {"by": {"aa": [BEN, CARA]}}
