"""Laws of AppCore over random walks of intents, and what a front end is told when a disk fails or time runs out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, AppCore
from antiphon.app import intents as ask
from antiphon.app.bridge import JournalBridge
from antiphon.app.core import CoreConfig
from antiphon.app.intent_errors import IntentError
from antiphon.app.intents import INTENTS, CreateChannel, Intent, SendMessage, read_intent
from antiphon.app.typed_lines import COMMANDS, Errand, Help, Place, read_line
from antiphon.app.wiring import demo_core
from antiphon.facts import Fact, authority_id, home_context
from antiphon.testing.simulation.playground import SimulatedNet
from antiphon.views import HOMES_SIGNAL
from antiphon.views.chat_state import ChannelKey

IDENTITY = bytes(range(32))


@dataclass
class Ticking:
    """A wall clock that is read, and so moves on."""

    at_ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        self.at_ms += 1
        return self.at_ms


def new_core() -> AppCore:
    config = CoreConfig(author="ada", identity=IDENTITY)
    return AppCore(config, clock=Ticking(), random_bytes=Random(5).randbytes)


ME = new_core().authority
PEOPLE = st.sampled_from([ME, "be" * 16, "ca" * 16])
CHANNELS = st.sampled_from(["a", "b"])
HOMES = st.sampled_from([home_context(ME, "h"), home_context("be" * 16, "h"), "no home"])
TEXTS = st.sampled_from(["x", "y", "\N{PILE OF POO}", "<b>"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "channel_id": CHANNELS,
    "context_id": st.none() | HOMES,
    "contact_id": PEOPLE,
    "target_id": PEOPLE,
    "member_id": PEOPLE,
    "receiver_id": st.none() | PEOPLE,
    "home": HOMES,
    "name": st.sampled_from(["h", "Hall"]),
    "nickname": TEXTS,
    "text": TEXTS,
    "topic": TEXTS,
    "message_id": st.integers(0, 3).map(str),
    "invitation_id": st.integers(0, 3).map(str),
    "offer": st.sampled_from(["contact", "guardian", "home"]),
    "policy": st.sampled_from(["enabled", "disabled"]),
    "duration_s": st.none() | st.just(60),
    "device_id": st.just("phone"),
    "into": CHANNELS,
    "operation_id": st.just("op"),
    "reaction": st.sampled_from(["+1", "\N{PILE OF POO}"]),
    "is_taken_back": st.booleans(),
    "required": st.sampled_from([1, 2]),
}


@st.composite
def walks(draw: st.DrawFn) -> list[Intent]:
    names = draw(st.lists(st.sampled_from(sorted(INTENTS)), min_size=1, max_size=15))
    return [_drawn(draw, INTENTS[name]) for name in names]


def _drawn(draw: st.DrawFn, intent: type[Intent]) -> Intent:
    return intent(**{key: draw(FIELDS[key]) for key in intent.model_fields if key in FIELDS})


def aimed(intent: Intent, core: AppCore) -> Intent:
    """The intent with the number of a message or an invitation replaced by the id of one that there is."""
    messages = [each.id for shown in core.read(CHAT_SIGNAL).messages.values() for each in shown]
    invitations = core.read(INVITATIONS_SIGNAL)
    offers = [each.id for each in (*invitations.sent, *invitations.pending, *invitations.history)]
    fields: dict[str, str] = {}
    for name, known in (("message_id", messages), ("invitation_id", offers)):
        number = getattr(intent, name, None)
        if known and number is not None:
            fields[name] = known[int(number) % len(known)]
    return intent.model_copy(update=fields)


def shown_by(core: AppCore) -> list[object]:
    return [core.read(each).to_json() for each in (CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, HOMES_SIGNAL)]


async def walk(intents: Sequence[Intent]) -> tuple[list[object], list[str]]:
    told: list[str] = []
    async with new_core() as core:
        for each in intents:
            intent = aimed(each, core)
            before = shown_by(core)
            expected = core.check(intent)
            try:
                outcome = await core.submit(intent)
            except IntentError as refused:
                told.append(f"{refused.kind}: {refused}")
                assert expected is not None, "check tells what submit does"
                assert shown_by(core) == before, "what is refused changes nothing"
                continue
            told.append(outcome.progress)
            assert expected is None, "check tells what submit does"
            assert (outcome.progress == "nothing_to_do") == (not outcome.fact_ids)
            if not outcome.fact_ids:
                assert shown_by(core) == before
        return shown_by(core), told


@given(walks())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_asked_for_is_done_or_refused_and_the_same_every_time(intents: list[Intent]) -> None:
    assert asyncio.run(walk(intents)) == asyncio.run(walk(intents))


def kind_of(read: Callable[[], Intent | Errand | Help]) -> str:
    try:
        read()
    except IntentError as refused:
        return refused.kind
    return "read"


ANY_FIELDS = st.dictionaries(st.sampled_from(sorted(FIELDS)), st.none() | st.integers() | st.text())


@given(st.sampled_from(sorted(INTENTS)), ANY_FIELDS)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_over_a_wire_is_an_intent_or_a_validation_error(name: str, fields: dict[str, Any]) -> None:
    assert kind_of(lambda: read_intent(name, fields)) in ("read", "validation")


LINES = st.builds(lambda name, rest: f"/{name} {rest}", st.sampled_from([*COMMANDS, "fly", ""]), st.text()) | st.text()


@pytest.fixture(scope="module")
def place() -> Place:
    async def look() -> Place:
        async with demo_core("ada") as core:
            await core.submit(CreateChannel(channel_id="hall", name="Hall"))
            await core.submit(SendMessage(channel_id="hall", text="hello"))
            key = ChannelKey(core.offline.namespace, "hall")
            return Place(core.read(CHAT_SIGNAL), core.read(CONTACTS_SIGNAL), core.read(INVITATIONS_SIGNAL), key)

    return asyncio.run(look())


@given(LINES)
@settings(max_examples=300, deadline=None)
def test_whatever_is_typed_is_read_or_refused_with_a_sentence(place: Place, line: str) -> None:
    assert kind_of(lambda: read_line(line, place)) in ("read", "validation")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_told_by_help(place: Place, name: str) -> None:
    told = read_line("/help", place)
    assert isinstance(told, Help)
    assert f"/{name} {COMMANDS[name].usage}".strip() in told.text


WHO = "be" * 16
HOME = home_context(ME, "h")
IN_HOME = {"home": HOME, "target_id": WHO}


@pytest.mark.parametrize(
    ("line", "intent"),
    [
        (f"/mute {WHO} 60", ask.Mute(**IN_HOME, duration_s=60)),
        (f"/mute {WHO}", ask.Mute(**IN_HOME)),
        (f"/unmute {WHO}", ask.Unmute(**IN_HOME)),
        (f"/ban {WHO} too loud", ask.Ban(**IN_HOME, reason="too loud")),
        (f"/unban {WHO}", ask.Unban(**IN_HOME)),
        (f"/kick {WHO} enough", ask.KickMember(**IN_HOME, channel_id="porch", reason="enough")),
        (f"/moderator {WHO}", ask.GrantModerator(**IN_HOME)),
        (f"/unmoderator {WHO}", ask.RevokeModerator(**IN_HOME)),
        (f"/welcome {WHO}", ask.SendInvitation(offer="home", home=HOME, receiver_id=WHO)),
        ("/create Attic", ask.CreateChannel(home=HOME, name="Attic")),
        (f"/room {HOME} Cellar", ask.CreateChannel(home=HOME, name="Cellar")),
        ("/home old friends", ask.DeclareHome(name="old-friends", title="old friends")),
        ("/topic", ask.EditTopic(channel_id="porch", context_id=HOME, topic="")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_in_a_home_is_about_that_home(place: Place, line: str, intent: Intent) -> None:
    assert read_line(line, replace(place, channel=ChannelKey(HOME, "porch"))) == intent


def test_a_line_that_begins_with_two_slashes_says_one(place: Place) -> None:
    said = read_line("//etc", place)
    assert isinstance(said, ask.SendMessage)
    assert said.text == "/etc"


# When things fail


def test_a_disk_that_refuses_is_told_as_storage_and_nothing_shows(tmp_path: Path) -> None:
    net = SimulatedNet(tmp_path, seed=3)

    async def say() -> tuple[str, int, str]:
        journal = await net.open("ada")
        async with (
            JournalBridge(journal, clock=net.clock) as bridge,
            AppCore.with_runtime(bridge, clock=net.clock, random_bytes=Random(1).randbytes) as core,
        ):
            await core.submit(CreateChannel(channel_id="hall", name="Hall"))
            net.disk(journal).sync_error = 1.0
            with pytest.raises(IntentError) as refused:
                await core.submit(SendMessage(channel_id="hall", text="lost"))
            net.disk(journal).sync_error = 0.0
            shown = len(core.read(CHAT_SIGNAL).messages_in("hall"))
            await core.submit(SendMessage(channel_id="hall", text="kept"))
            return refused.value.kind, shown, core.read(CHAT_SIGNAL).messages_in("hall")[-1].content

    assert net.run(say()) == ("storage", 0, "kept")
    net.end()


class Stuck(JournalBridge):
    """A bridge that never comes back."""

    async def commit(self, facts: Sequence[Fact], /, *, operation: str = "") -> tuple[str, ...]:
        await asyncio.get_running_loop().create_future()
        return ()


def test_what_takes_too_long_is_told_as_a_timeout(tmp_path: Path) -> None:
    net = SimulatedNet(tmp_path)

    async def wait() -> tuple[str, float]:
        async with (
            Stuck(await net.open("ada"), clock=net.clock) as bridge,
            AppCore.with_runtime(bridge, clock=net.clock, random_bytes=Random(1).randbytes) as core,
        ):
            began = net.clock.elapsed_s
            with pytest.raises(IntentError, match="may still come about") as refused:
                await core.submit(CreateChannel(name="Hall"))
            return refused.value.kind, round(net.clock.elapsed_s - began)

    assert net.run(wait()) == ("timeout", 30)
    net.end()


def test_a_closed_journal_is_told_as_a_service_that_is_away(tmp_path: Path) -> None:
    net = SimulatedNet(tmp_path)

    async def go_on() -> str:
        journal = await net.open("ada")
        async with (
            JournalBridge(journal, clock=net.clock) as bridge,
            AppCore.with_runtime(bridge, clock=net.clock, random_bytes=Random(1).randbytes) as core,
        ):
            await net.close(journal)
            with pytest.raises(IntentError) as refused:
                await core.submit(CreateChannel(name="Hall"))
            return refused.value.kind

    assert net.run(go_on()) == "service"
    net.end()


def test_the_identity_names_the_author() -> None:
    bridge = new_core().offline
    assert bridge.authority == ME
    assert authority_id(bridge._owner.signer.public_key) == ME
