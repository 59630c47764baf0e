"""What a forked author grants binds only those who could not know; every order of arrival shows the same."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from antiphon import Journal, open_history
from antiphon.app.cli.root import app
from antiphon.facts import AfterLink, Fact
from antiphon.facts.chat import MessageSent
from antiphon.facts.invitations import ChannelInvitation, InvitationAccepted, InvitationSent
from antiphon.facts.moderation import HomeBan, HomeDeclared, HomeGrantModerator, home_context
from antiphon.journal.forks import VoidBook, causal_facts, find_void, judge_runs
from antiphon.journal.ingest import Ingest
from antiphon.journal.parking import Parking
from antiphon.journal.sync.messages import IncomingRun
from antiphon.runtime.services.sync import sync_in_process
from antiphon.testing.records import ChainWriter, make_draft
from antiphon.testing.replica import MemoryReplica
from antiphon.views import HOMES_SIGNAL

ADA = ChainWriter("ada").chain.info.authority
HOME = home_context(ADA, "garden")
BEN, CID, EVE = (ChainWriter(name).chain.info.authority for name in ("ben", "cid", "eve"))


def grant(whom: str, at: int) -> Fact:
    return HomeGrantModerator(context_id=HOME, target_id=whom, actor_id=ADA, granted_at=at)


def ban(whom: str, at: int, *, actor: str = ADA) -> Fact:
    return HomeBan(context_id=HOME, target_id=whom, channel_id=None, actor_id=actor, banned_at=at, reason="")


def offer(whom: str) -> Fact:
    return InvitationSent(
        context_id=HOME,
        invitation_id=whom,
        sender_id=ADA,
        receiver_id=whom,
        invitation_type=ChannelInvitation(home_id=HOME),
        sent_at=1,
    )


def accept(whom: str) -> Fact:
    return InvitationAccepted(context_id=HOME, invitation_id=whom, acceptor_id=whom, accepted_at=2)


# Ada's numbers: her chain's beginning, the home, two offers, a grant; then she tells two stories.
FORKED_AT = 6


class Story:
    """Ada's two stories, and what others built on them: in the first Ben moderates, in the second Eve is banned."""

    def __init__(self) -> None:
        one, other = ChainWriter("ada", namespace=HOME), ChainWriter("ada", namespace=HOME)
        declared = HomeDeclared(context_id=HOME, name="garden", owner_id=ADA, declared_at=1)
        before = [declared, offer(BEN), offer(CID), grant(CID, 2)]
        self.start = one.say_fact(*before)
        other.say_fact(*before)
        self.first = one.say_fact(grant(BEN, 3))
        link_first = one.link
        self.first_later = one.say_fact(ban(BEN, 9), self.said("first story"))
        self.second = other.say_fact(ban(EVE, 4), self.said("second story"))
        link_second = other.link
        self.ben = ChainWriter("ben", namespace=HOME)
        self.ben_joined = self.ben.say_fact(accept(BEN))
        self.ban_of_ben = self.ben.say(make_draft(ban(EVE, 20, actor=BEN), after=(link_first,)))
        self.cid = ChainWriter("cid", namespace=HOME)
        self.cid_joined = self.cid.say_fact(accept(CID))
        self.cid_saw_both = self.cid.say(
            make_draft(self.said("both", CID), after=tuple(sorted((link_first, link_second))))
        )

    @staticmethod
    def said(text: str, who: str = ADA) -> Fact:
        return MessageSent(
            context_id=HOME, channel_id="general", message_id=text, sender_id=who, sender_name="", text=text, sent_at=5
        )

    @property
    def runs(self) -> list[IncomingRun]:
        joined = [self.ben_joined, self.cid_joined]
        return [self.start, *joined, self.first, self.first_later, self.second, self.ban_of_ben, self.cid_saw_both]


STORY = Story()


async def shown(journal: Journal) -> tuple[list[str], list[str]]:
    """Who moderates the home, and who is banned from it."""
    await journal.wake(HOMES_SIGNAL)
    await journal.flush()
    home = (await journal.snapshot(HOMES_SIGNAL)).home(HOME)
    assert home is not None
    return list(home.moderators), [each.target_id for each in home.bans]


@pytest.mark.asyncio
async def test_three_journals_with_a_fork_show_equal_homes(tmp_path: Path) -> None:
    orders = [STORY.runs, STORY.runs[::-1], [*STORY.runs[5:], *STORY.runs[:5]]]
    found = []
    journals = [await Journal.open(tmp_path / name) for name in "abc"]
    for journal, order in zip(journals, orders, strict=True):
        for run in order:
            await journal.engine.ingest([run])
            await journal.wake(HOMES_SIGNAL)
        found.append(await shown(journal))
    # What Ben and Cid had seen of one story only holds; what nobody built on in time does not.
    assert found == [(sorted([BEN, CID]), [EVE])] * 3
    for journal in journals:
        rows = await journal.engine.follower.run(
            lambda database: database.query("SELECT kind FROM internal.facts WHERE hidden = 'void'").rows
        )
        assert rows == [("moderation.home_ban",)] * 2
    for pair in ((0, 1), (1, 2), (2, 0), (0, 1)):
        assert (await sync_in_process(journals[pair[0]].engine, journals[pair[1]].engine)).is_success
    assert len({journal.fingerprint for journal in journals}) == 1
    for journal in journals:
        await journal.close()
    for path in (tmp_path / "b").glob("journal.duckdb*"):
        path.unlink()
    for name in "abc":
        async with Journal.open(tmp_path / name) as journal:
            assert await shown(journal) == found[0], "opened again"
            assert {who: seq for who, (_, seq) in journal.forked_authors.items()} == {ADA: FORKED_AT}


@pytest.mark.asyncio
async def test_a_grant_from_a_fork_holds_until_the_fork_is_known_and_again_once_somebody_vouches(
    tmp_path: Path,
) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        await journal.engine.ingest([STORY.start, STORY.ben_joined, STORY.cid_joined, STORY.first])
        assert await shown(journal) == (sorted([BEN, CID]), [])
        await journal.engine.ingest([STORY.second])
        assert await shown(journal) == ([CID], []), "both stories are void"
        await journal.engine.ingest([STORY.ban_of_ben])
        assert await shown(journal) == (sorted([BEN, CID]), [EVE]), "Ben acted on one story and knew of no other"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(order=st.permutations(range(8)), cut=st.integers(1, 8))
def test_runs_judged_as_they_come_or_all_at_once_give_one_answer(order: list[int], cut: int) -> None:
    replica = MemoryReplica(seed=1)
    arrived: list[tuple[bytes, Sequence[object]]] = []
    ingest_order = [STORY.runs[place] for place in order]
    parking = Parking()
    for part in (ingest_order[:cut], ingest_order[cut:]):
        ingest = Ingest(replica.index, parking)
        ingest.take(part)
        for info in ingest.introduced:
            replica.index.introduce(info)
        replica._publish(ingest.runs)
        arrived.extend((run.seal.from_id, run.records) for run in ingest.runs)
    forks = replica.index.forked()
    assert set(forks.values()) == {FORKED_AT}
    runs = [causal_facts(start, records) for start, records in arrived]  # type: ignore[arg-type]  # records of runs
    book = VoidBook(forks)
    for run in runs:
        book.add(run)
    whole = judge_runs(forks, runs[::-1])
    flat = find_void([fact for run in runs for fact in run], forks)
    assert frozenset(book.void) == frozenset(whole.void) == flat
    assert sorted(book.void.values()) == ["moderation.home_ban"] * 2


def test_a_link_to_nowhere_stops_nothing() -> None:
    (fact,) = causal_facts(bytes(32), [])[:1] or [None]
    assert fact is None
    nowhere = AfterLink(ChainWriter("x").chain.info.chain, 3, bytes(16))
    run = ChainWriter("dan", namespace=HOME)
    sealed = run.seal(make_draft(Story.said("hello"), after=(nowhere,)))
    assert judge_runs({}, [causal_facts(sealed.seal.from_id, sealed.records)]).void == {}


def run_cli(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in (0, 1), result.output
    return result.stdout


@pytest.mark.asyncio
async def test_the_commands_that_look_name_forks_holes_and_evidence(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "j") as journal:
        for run in STORY.runs:
            await journal.engine.ingest([run], peer="tcp://friend")
        bad = ChainWriter("mallory", namespace=HOME).say_fact(Story.said("hello"))
        bad = bad._replace(lines=(bad.lines[0], bad.lines[1].replace(b"hello", b"jello")))
        await journal.engine.ingest([bad], peer="tcp://mallory")
        await journal.flush()
    folder = str(tmp_path / "j")
    for command in ("verify", "stats"):
        found = orjson.loads(await asyncio.to_thread(run_cli, command, "--journal", folder, "--json"))
        assert [(fork["author"], fork["authority"], fork["from_seq"]) for fork in found["forks"]] == [
            ("ada", ADA, FORKED_AT)
        ]
        assert found["void"] == 2
        assert found["holes"] == found["bases"] == []
        assert [(each["peer"], each["is_sender_at_fault"]) for each in found["evidence"]] == [("tcp://mallory", True)]
    assert f"tells two stories from number {FORKED_AT} on" in await asyncio.to_thread(
        run_cli, "verify", "--journal", folder
    )
    doctor = orjson.loads(await asyncio.to_thread(run_cli, "doctor", folder, folder, "--json"))
    assert [each["forks"][0]["author"] for each in doctor["troubles"]] == ["ada", "ada"]
    hidden = await asyncio.to_thread(run_cli, "log", "--hidden", "--json", "--journal", folder)
    assert [orjson.loads(line)["hidden"] for line in hidden.splitlines()] == ["void", "void"]
    plain = await asyncio.to_thread(run_cli, "log", "--json", "--journal", folder, "--kind", "moderation.*")
    assert len(plain.splitlines()) == 3, "two grants and the ban of Ben's"
    told = await asyncio.to_thread(run_cli, "log", "--evidence", "--json", "--journal", folder)
    assert [(row["what"], row["peer"], row["author"]) for row in map(orjson.loads, told.splitlines())] == [
        ("forked", "", "ada"),
        ("refused", "tcp://mallory", ""),
    ]
    told = await asyncio.to_thread(run_cli, "log", "--evidence", "--journal", folder, "--author", "ada")
    assert f"from number {FORKED_AT}; at fault: ada; its writer told two stories" in told
    assert len(told.splitlines()) == 1
    with open_history(tmp_path / "j") as history:
        rows = history.sql("SELECT kind FROM history WHERE hidden = 'void'").fetchall()
    assert len(rows) == 2
