"""A view at any time, what changed in it and why, asked by the owner, by another process and in a copied folder."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import pytest_asyncio

from antiphon import CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, Fact, Journal, view
from antiphon.app.history import History, HistoryError, open_history
from antiphon.facts import ChannelCreated, MessageDeleted, MessageEdited
from antiphon.facts import MessageSent as ChatMessage
from antiphon.testing.clock import VirtualClock
from antiphon.views import UNREAD_COUNT_SIGNAL

NOON = 1_700_000_000_000


class Said(Fact, kind="travel.said", version=1, time="at_ms"):
    room: str
    text: str
    at_ms: int


@view(Said, initial=())
def lines(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, f"{fact.room}: {fact.text}")[-5:]


@view(Said, initial=MappingProxyType({}))
def rooms(state: MappingProxyType[str, str], fact: Said) -> MappingProxyType[str, str]:
    return MappingProxyType({name: text for name, text in {**state, fact.room: fact.text}.items() if text})


def chat_message(journal: Journal, number: int) -> ChatMessage:
    return ChatMessage(
        context_id="team",
        channel_id="lobby",
        message_id=f"m{number}",
        sender_id=journal.authority,
        sender_name="ada",
        text=f"text {number}",
        sent_at=NOON + 1_000 + number,
    )


async def fill(journal: Journal) -> None:
    """Facts of our own and of a kind that ships, in another order than that of their stamps."""
    said = [Said(room=f"r{number % 3}", text=str(number), at_ms=NOON + number) for number in range(30)]
    await journal.commit_all([*said[10:], *said[:10]])
    actor = journal.authority
    where = {"context_id": "team", "channel_id": "lobby"}
    await journal.commit(ChannelCreated(**where, name="Lobby", created_at=NOON, creator_id=actor, is_dm=False))
    await journal.commit_all([chat_message(journal, number) for number in range(6)])
    await journal.commit(
        MessageEdited(**where, message_id="m1", editor_id=actor, new_text="better", edited_at=NOON + 3_000)
    )
    await journal.commit(MessageDeleted(**where, message_id="m2", deleter_id=actor, deleted_at=NOON + 4_000))


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal.open(tmp_path / "chat", author="ada") as opened:
        await fill(opened)
        yield opened


@pytest.fixture
def history(journal: Journal) -> Any:
    with open_history(journal.path) as opened:
        yield opened


ASK = """
import json, sys
from antiphon import CHAT_SIGNAL
from antiphon.app.history import open_history
noon = 1_700_000_000_000
with open_history(sys.argv[1]) as history:
    print(json.dumps([
        history.facts().fetchall(),
        history.facts("travel.*").between(noon + 3, noon + 9).fetchall(),
        history.sql(
            "select payload->>'room', count(*) from history where kind = 'travel.said' group by all order by all"
        ).fetchall(),
        [list(kind) for kind in history.kinds()],
        history.view(CHAT_SIGNAL).to_json(),
        history.view(CHAT_SIGNAL, as_of=noon + 1_002).to_json(),
        history.diff(CHAT_SIGNAL, noon + 2_000).fetchall(),
        history.why(CHAT_SIGNAL, "m1").fetchall(),
        history.timeline(every="minute").fetchall(),
    ], default=str, sort_keys=True))
"""


def ask_elsewhere(folder: Path) -> list[Any]:
    done = subprocess.run([sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.mark.asyncio
async def test_owner_other_process_and_copied_folder_answer_alike(journal: Journal, tmp_path: Path) -> None:
    with open_history(journal.path) as own:
        owners: list[Any] = json.loads(
            json.dumps(
                [own.facts().fetchall(), own.view(CHAT_SIGNAL).to_json(), [list(kind) for kind in own.kinds()]],
                default=str,
                sort_keys=True,
            )
        )
    elsewhere = await asyncio.to_thread(ask_elsewhere, journal.path)
    await asyncio.to_thread(shutil.copytree, journal.path, tmp_path / "copy")
    copied = await asyncio.to_thread(ask_elsewhere, tmp_path / "copy")
    assert elsewhere == copied
    assert owners == [elsewhere[0], elsewhere[4], elsewhere[3]]
    assert len(elsewhere[1]) == 7
    table = await journal.sql("select room, count(*) from travel_said group by all order by all")
    assert [list(row) for row in table.fetchall()] == elsewhere[2] == [["r0", 10], ["r1", 10], ["r2", 10]]


@pytest.mark.asyncio
async def test_another_process_sees_whole_windows_while_the_owner_goes_on_writing(journal: Journal) -> None:
    asked = asyncio.create_task(asyncio.to_thread(ask_elsewhere, journal.path))
    number = 100
    while not asked.done():
        await journal.commit_all([Said(room="live", text=str(number), at_ms=NOON + 90_000 + number)] * 3)
        number += 1
    rooms_seen = dict((await asked)[2])
    assert rooms_seen.get("live", 0) % 3 == 0
    assert (rooms_seen["r0"], rooms_seen["r1"]) == (10, 10)
    again = dict((await asyncio.to_thread(ask_elsewhere, journal.path))[2])
    assert again["live"] == 3 * (number - 100)


@pytest.mark.asyncio
async def test_a_view_now_is_what_the_running_journal_shows(journal: Journal, history: History) -> None:
    for source in (lines, rooms):
        assert history.view(source) == await journal.snapshot(source)
    for signal in (CHAT_SIGNAL, CONTACTS_SIGNAL, INVITATIONS_SIGNAL, UNREAD_COUNT_SIGNAL):
        assert history.view(signal) == await journal.snapshot(signal)


@pytest.mark.asyncio
async def test_a_view_at_a_moment_is_that_of_a_journal_with_only_the_facts_stamped_by_then(
    history: History, tmp_path: Path
) -> None:
    for moment in (NOON - 1, NOON, NOON + 7, NOON + 29):
        async with Journal.open(tmp_path / f"then {moment}", author="ben") as then:
            await then.commit_all(
                [Said(room=f"r{at % 3}", text=str(at), at_ms=NOON + at) for at in range(30)][: moment - NOON + 1]
            )
            assert history.view(lines, as_of=moment) == await then.snapshot(lines)
            assert history.view(rooms, as_of=moment) == await then.snapshot(rooms)
    messages = history.view(CHAT_SIGNAL, as_of=NOON + 1_003).messages
    assert [message.content for (shown,) in [messages.values()] for message in shown] == [
        "text 0",
        "text 1",
        "text 2",
        "text 3",
    ]


@pytest.mark.asyncio
async def test_what_is_not_due_is_not_shown_now_and_is_at_its_time(journal: Journal) -> None:
    await journal.commit(Said(room="later", text="x", at_ms=NOON + 3_600_000))
    with open_history(
        journal.path, clock=VirtualClock(datetime.fromtimestamp(NOON / 1_000 + 1_000, tz=UTC))
    ) as history:
        assert "later" not in history.view(rooms)
        assert history.view(rooms, as_of=NOON + 3_600_000)["later"] == "x"


@pytest.mark.asyncio
async def test_a_diff_names_what_was_added_changed_and_removed_with_the_facts_behind(
    journal: Journal, history: History
) -> None:
    await journal.commit_all(
        [
            Said(room="r1", text="", at_ms=NOON + 40),
            Said(room="new", text="first", at_ms=NOON + 41),
            Said(room="new", text="second", at_ms=NOON + 42),
        ]
    )
    history.refresh()
    found = history.diff(rooms, NOON + 28, NOON + 50)
    assert [(each.what, each.key, each.before, each.after) for each in found] == [
        ("changed", ("r2",), "26", "29"),
        ("added", ("new",), None, "second"),
        ("removed", ("r1",), "28", None),
    ]
    assert [[fact.text for fact in each.facts] for each in found] == [["29"], ["first", "second"], [""]]
    assert (len(found.added), len(found.changed), len(found.removed), len(found)) == (1, 1, 1, 3)
    assert [row[:4] for row in found.fetchall()] == [
        ("changed", "r2", "26", "29"),
        ("added", "new", None, "second"),
        ("removed", "r1", "28", None),
    ]
    assert found.pl().height == found.arrow().num_rows == len(found.df()) == 3
    assert len(history.diff(rooms, NOON + 50, NOON + 50)) == 0


@pytest.mark.asyncio
async def test_a_diff_of_the_chat_is_by_message(history: History) -> None:
    found = {each.key[-1]: each for each in history.diff(CHAT_SIGNAL, NOON + 2_000) if each.key[0] == "messages"}
    assert (found["m1"].what, found["m1"].before.content, found["m1"].after.content) == ("changed", "text 1", "better")
    assert found["m2"].what == "removed"
    assert [type(fact) for fact in found["m1"].facts] == [MessageEdited]
    assert set(found) == {"m1", "m2"}
    since_the_start = history.diff(CHAT_SIGNAL, NOON - 1)
    assert all(each.facts for each in since_the_start), "each change has facts, the first message of a channel too"


@pytest.mark.asyncio
async def test_the_facts_behind_a_value_are_few_and_give_it_alone(journal: Journal, history: History) -> None:
    found = history.why(CHAT_SIGNAL, "m1")
    assert {type(fact) for fact in found.facts} == {ChannelCreated, ChatMessage, MessageEdited}
    assert len(found) == 3
    assert found.is_minimal
    assert (found.value.content, found.value.edit_count) == ("better", 1)
    assert [row[0] for row in found.fetchall()] == [fact.fact_type.kind for fact in found.facts]
    assert [fact.text for fact in history.why(rooms, "r1").facts] == ["28"]
    assert [fact.text for fact in history.why(rooms, "r1", as_of=NOON + 5).facts] == ["4"]
    assert [fact.text for fact in history.why(lines, -1).facts] == ["29"]
    assert history.why(CHAT_SIGNAL, "channels/team/lobby/name").value == "Lobby"


@pytest.mark.asyncio
async def test_a_key_that_means_nothing_or_much_is_refused_with_what_there_is(history: History) -> None:
    with pytest.raises(HistoryError, match=r"no part 'r9' at that time; it has 3, such as 'r2', 'r1', 'r0'"):
        history.why(rooms, "r9")
    with pytest.raises(HistoryError, match="such as 'Lobby'"):  # what a record is called, since its key is an id
        history.why(CHAT_SIGNAL, "Loby")
    with pytest.raises(HistoryError, match="it is empty"):
        history.why(rooms, "r1", as_of=0)
    with pytest.raises(HistoryError, match="may be 2 parts"):
        history.why(CHAT_SIGNAL, "lobby")


@pytest.mark.asyncio
async def test_what_is_no_view_and_what_goes_backwards_is_refused(history: History) -> None:
    with pytest.raises(HistoryError, match="decorate it with @view"):
        history.view(lines.fold)  # type: ignore[arg-type]
    with pytest.raises(HistoryError, match="app:chat"):
        history.view("chat")  # type: ignore[arg-type]
    with pytest.raises(HistoryError, match="forward in time"):
        history.diff(rooms, NOON + 1, NOON)
    with pytest.raises(HistoryError, match="by kind, author or namespace"):
        history.timeline("colour")  # type: ignore[arg-type]
    with pytest.raises(HistoryError, match="counts every"):
        history.timeline(every="fortnight")  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_timeline_is_not_undone_by_stamps_at_the_ends_of_time(tmp_path: Path) -> None:
    class Stamped(Fact, kind="travel.stamped", version=1, time="at_ms"):
        at_ms: int

    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        await journal.commit_all([Stamped(at_ms=at) for at in (-(2**63), 0, 3_600_000, 2**63 - 1)])
    with open_history(tmp_path / "journal") as history:
        found = history.timeline(pattern="travel.stamped")
        assert (found.every, [row[2] for row in found.fetchall()]) == ("minute", [1, 1])
        assert history.facts("travel.stamped").count() == 4
        assert "facts" in history._repr_html_()


@pytest.mark.asyncio
async def test_a_timeline_counts_by_kind_author_or_namespace_and_draws_itself(history: History) -> None:
    counted = history.timeline(every="day", query=history.facts("travel.*"))
    assert [row[1:] for row in counted.fetchall()] == [("travel.said", 30)]
    assert [row[1:] for row in history.timeline("author", every="year", pattern="chat.*").fetchall()] == [("ada", 9)]
    assert {row[1] for row in history.timeline("namespace").fetchall()} == {"antiphon.default", "team"}
    assert history.timeline(pattern="travel.*").every == "minute"
    assert history.timeline().every == "week"
    picture = counted.chart().to_dict()
    assert picture["mark"]["type"] == "bar"
    assert "█" in counted._repr_html_()


@pytest.mark.asyncio
async def test_everything_shows_itself_without_anybodys_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    async with Journal.open(tmp_path / "evil", author=evil, namespace="<i>") as journal:
        await journal.commit_all([Said(room=evil, text="<b>&", at_ms=NOON + at) for at in range(3)])
        with open_history(journal.path) as history:
            shown: list[Any] = [
                history,
                history.facts(),
                history.facts().result(),
                history.kinds(),
                history.statistics(),
                history.timeline(),
                history.timeline("author"),
                history.timeline("namespace"),
                history.diff(rooms, 0),
                history.why(rooms, evil),
            ]
            for item in shown:
                text = item._repr_html_()
                assert "<table>" in text
                assert not any(markup in text for markup in ("<script", "<b>", "<i>"))


@pytest.mark.asyncio
async def test_generic_facts_are_in_every_answer_and_fold_once_their_type_is_known(
    journal: Journal, tmp_path: Path
) -> None:
    async with Journal.open(tmp_path / "other", author="ben") as other:
        await other.sync_with(journal)
        assert other.fingerprint == journal.fingerprint
    asked = await asyncio.to_thread(ask_elsewhere, tmp_path / "other")
    assert len(asked[1]) == 7, "no type of ours is registered in the other process, nor in the other journal"
    with open_history(tmp_path / "other") as history:
        assert history.view(rooms) == await journal.snapshot(rooms)


def secrets_in(history: History) -> list[Any]:
    found = history.sql("SELECT payload->>'text' FROM history WHERE payload->>'room' = 'secret'").fetchall()
    return [text for (text,) in found]


@pytest.mark.asyncio
async def test_an_erased_fact_leaves_every_answer_of_a_history_that_had_read_it(journal: Journal) -> None:
    receipt = await journal.commit(Said(room="secret", text="hush", at_ms=NOON + 60))
    with open_history(journal.path) as before:
        assert secrets_in(before) == ["hush"]
        await journal.erase(receipt, reason="said in error")
        before.refresh()
        with open_history(journal.path) as after:
            for history in (before, after):
                assert secrets_in(history) == []
                assert "secret" not in history.view(rooms)
                assert "hush" not in str(history.facts().with_hidden().fetchall())
                (row,) = history.sql(
                    "SELECT is_erased, hidden, payload FROM history WHERE fact_id = ?", [receipt.fact_id]
                ).fetchall()
                assert row == (True, None, None), "that it is erased says why it has no payload"
            assert before.facts().with_hidden().fetchall() == after.facts().with_hidden().fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{folder}/LOCK')",
        "SELECT * FROM read_blob('{folder}/keys/*')",
        "SELECT * FROM '{folder}/journal.duckdb'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{folder}/LOCK')",
        "SELECT * FROM query('FROM read_text(''{folder}/LOCK'')')",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/journal.duckdb' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "EXPORT DATABASE '{folder}/out'",
        "CREATE SECRET s (TYPE s3, KEY_ID 'x')",
        "CALL pragma_version()",
    ],
)
@pytest.mark.asyncio
async def test_sql_reaches_nothing_but_the_facts(journal: Journal, history: History, sql: str) -> None:
    text = sql.format(folder=journal.path)
    with pytest.raises(HistoryError):
        history.sql(text).fetchall()
    with pytest.raises(HistoryError):
        await journal.sql(text)
    assert not (journal.path / "stolen.csv").exists()


@pytest.mark.asyncio
async def test_sql_sees_no_secret(journal: Journal, history: History) -> None:
    keys = [path for path in (journal.path / "keys").rglob("*") if path.is_file()]
    assert keys
    with pytest.raises(HistoryError, match="disabled by configuration"):
        history.sql("SELECT * FROM duckdb_secrets()").fetchall()
    settings = history.sql("SELECT name, value FROM duckdb_settings()").fetchall()
    secret = [path.read_bytes().hex()[:32] for path in keys]
    assert not any(part in str(settings) for part in secret)
