"""The front door to somebody who mistook it: one sentence at the call, which says what to do instead."""

import asyncio
import gc
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon import CHAT_SIGNAL, Fact, Journal, JournalHeld, LocalViolation, SignalNotFound, view
from antiphon.app.intent_errors import IntentError
from antiphon.app.intents import read_intent
from antiphon.reactive import TypeMismatch
from antiphon.runtime import NamespaceGate
from antiphon.views import ChatQuery


class Said(Fact, kind="test.said", version=1):
    text: str


class Tagged(Fact, kind="test.tagged", version=1):
    tags: list[str]


class Counted(Fact, kind="test.counted", version=1):
    step: int


@view(Said, initial=())
def texts(state: tuple[str, ...], fact: Said) -> tuple[str, ...]:
    return (*state, fact.text)


@view(Tagged, initial=())
def tags(state: tuple[tuple[str, ...], ...], fact: Tagged) -> tuple[tuple[str, ...], ...]:
    return (*state, tuple(fact.tags))


@view(Said, initial=(), name="kept facts")
def kept(state: tuple[Said, ...], fact: Said) -> tuple[Said, ...]:
    return (*state, fact)


@view(Counted, initial=0, name="forgetful")
def forgetful(state: int, fact: Counted) -> int:  # type: ignore[return]  # what is told of
    state += fact.step


@view(Counted, initial=0, name="fading")
def fading(state: int | None, fact: Counted) -> int | None:
    return None


@view(Counted, initial=0)
def picky(state: int, fact: Counted) -> int:
    return state + 1 // fact.step


# Opening


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"namespace": ""}, "1..[0-9]+ bytes"),
        ({"namespace": "x" * 1000}, "1..[0-9]+ bytes"),
        ({"namespace": 5}, "namespace is text; got 5"),
        ({"namespace": None}, "namespace is text; got None"),
        ({"author": 5}, "author is a display name; got 5"),
        ({"types": Said}, "types are fact classes"),
        ({"types": [Said(text="a")]}, "types are fact classes"),
        ({"types": ["test.said"]}, "types are fact classes"),
        ({"types": 5}, "types are fact classes"),
    ],
)
@pytest.mark.asyncio
async def test_an_argument_of_another_type_is_refused_and_nothing_is_made(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(LocalViolation, match=expected):
        await Journal.open(tmp_path / "chat", **options)
    assert not (tmp_path / "chat").exists()


def test_a_path_of_another_type_is_refused() -> None:
    with pytest.raises(LocalViolation, match="path is the journal's folder"):
        Journal.open(5)  # type: ignore[arg-type]  # that is the point


def test_a_journal_that_is_made_instead_of_opened_is_told_how() -> None:
    with pytest.raises(LocalViolation, match=r"Journal\.open\('folder'\)"):
        Journal("folder")  # type: ignore[arg-type]  # that is the point


def test_an_opening_that_nobody_awaited_says_what_it_is(tmp_path: Path) -> None:
    opening: Any = Journal.open(tmp_path / "chat")
    assert repr(opening) == "<OpeningJournal 'chat': await it, or enter it with async with>"
    with pytest.raises(AttributeError, match=r"not open yet.*'commit'; await it, or enter it with async with"):
        opening.commit(Said(text="a"))
    with pytest.raises(AttributeError, match=r"no 'comit'$"):
        _ = opening.comit


@pytest.mark.asyncio
async def test_a_held_journal_is_one_sentence_without_the_system_error_behind_it(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat"):
        with pytest.raises(JournalHeld) as refused:
            await Journal.open(tmp_path / "chat")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


# Using


@pytest.mark.parametrize("source", [5, "texts", Said, None, lambda state, fact: state])
@pytest.mark.asyncio
async def test_what_is_neither_a_view_nor_a_signal_is_refused(tmp_path: Path, source: Any) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        for operation in ("watch", "read"):
            with pytest.raises(LocalViolation, match=f"{operation} takes a @view or a Signal; got "):
                getattr(journal, operation)(source)
        for operation in ("snapshot", "wake"):
            with pytest.raises(LocalViolation, match=f"{operation} takes a @view or a Signal; got "):
                await getattr(journal, operation)(source)


@pytest.mark.asyncio
async def test_a_peer_of_another_type_is_refused(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        bad: Any = 5
        with pytest.raises(LocalViolation, match="another open Journal; got 5"):
            await journal.sync_with(bad)
        with pytest.raises(LocalViolation, match=r"sync takes an address such as 'tcp:.*; got 5"):
            await journal.sync(bad)
        with pytest.raises(LocalViolation, match=r"serve takes an address such as 'tcp:.*; got 5"):
            journal.serve(bad)
        with pytest.raises(LocalViolation, match=r"link takes an address such as 'tcp:.*; got 5"):
            journal.link(bad)


@pytest.mark.asyncio
async def test_reading_what_sleeps_tells_how_to_wake_it(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        sources: tuple[Any, ...] = (texts, CHAT_SIGNAL)
        for source in sources:
            with pytest.raises(SignalNotFound, match=r"await journal\.wake\(…\), or use await journal\.snapshot"):
                journal.read(source)
        await journal.wake(texts)
        assert journal.read(texts) == ()


@pytest.mark.asyncio
async def test_one_fact_is_not_several(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(LocalViolation, match="use commit for one"):
            await journal.commit_all(Said(text="a"))  # type: ignore[arg-type]  # that is the point
        receipt = await journal.commit_all([Said(text="a"), Said(text="b")])
        assert repr(receipt) == "<BatchReceipt: 2 facts in 1 windows>"


@pytest.mark.asyncio
async def test_what_is_no_fact_is_told_what_to_commit_instead(tmp_path: Path) -> None:
    several: Any = [Said(text="a")]
    made_of_none: Any = Said
    no_fact: Any = {"text": "a"}
    async with Journal.open(tmp_path / "chat") as journal:
        for wrong, told in ((several, "use commit_all"), (made_of_none, "make one of it"), (no_fact, "derive it from")):
            with pytest.raises(LocalViolation, match=told):
                await journal.commit(wrong)


def test_a_plain_with_block_is_told_that_it_is_async_with(tmp_path: Path) -> None:
    opening: Any = Journal.open(tmp_path / "chat")
    with pytest.raises(TypeError, match=r"async with Journal\.open"), opening:
        pass


@pytest.mark.asyncio
async def test_a_table_that_is_none_is_told_where_the_tables_are_listed(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(LocalViolation, match="SHOW TABLES") as refused:
            await journal.sql("select * from nothing")
    assert "pg_" not in str(refused.value)


@pytest.mark.asyncio
async def test_what_gives_updates_shows_of_what_and_how_to_get_them(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        watch = journal.watch(texts)
        assert repr(watch) == "<Watch of texts: enter it with async with>"
        assert repr(journal.watch(CHAT_SIGNAL)) == "<Watch of app:chat: enter it with async with>"
        async with watch as updates, journal.errors() as troubles:
            assert repr(updates) == f"<SignalStream of {texts.signal.signal_id}: async for gives its updates>"
            assert repr(troubles) == "<SignalStream of app:error: async for gives its updates>"


@pytest.mark.asyncio
async def test_a_server_and_a_link_show_where_they_are_and_how_they_do(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "ada") as ada, Journal.open(tmp_path / "ben") as ben:
        idle = ada.serve("tcp://127.0.0.1:0")
        assert "not listening; enter it with async with" in repr(idle)
        async with idle as server, ben.link(server.address) as link:
            await link.wait_live()
            assert repr(server) == f"<SyncServer at {server.address}: 1 session>"
            assert repr(link) == f"<Link to {server.address}: live>"


@pytest.mark.parametrize(("option", "value"), [("policy", "lastest"), ("capacity", 0), ("capacity", "many")])
@pytest.mark.asyncio
async def test_a_watch_refuses_an_odd_option_at_the_call(tmp_path: Path, option: str, value: Any) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        with pytest.raises(LocalViolation, match=f"{option}={value!r}; expected"):
            journal.watch(texts, **{option: value})


@pytest.mark.asyncio
async def test_a_watch_that_is_iterated_before_it_is_entered_says_how(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        watch: Any = journal.watch(texts)
        with pytest.raises(TypeError, match=r"async with journal\.watch\(…\) as updates"):
            async for _ in watch:
                pass


# What a view is given


@pytest.mark.asyncio
async def test_a_view_folds_what_was_sealed_and_not_what_its_author_made_of_it(tmp_path: Path) -> None:
    words = ["sealed"]
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.wake(tags)
        fact = Tagged(tags=words)
        committing = asyncio.ensure_future(journal.commit(fact))
        await asyncio.sleep(0)
        fact.tags.append("later")  # taken already, folded not yet
        receipt = await committing
        assert await journal.snapshot(tags) == (("sealed",),)
        assert fact.meta.fact_id == receipt.fact_id, "the author's own object has its place all the same"
    async with Journal.open(tmp_path / "chat") as journal:
        assert await journal.snapshot(tags) == (("sealed",),)


@pytest.mark.asyncio
async def test_a_fact_that_cannot_change_is_given_to_views_as_it_is(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.wake(kept)
        await journal.commit(Tagged(tags=["a list, so that the journal has to look"]))
        fact = Said(text="a")
        await journal.commit(fact)
        assert [each is fact for each in await journal.snapshot(kept)] == [True]


# What went wrong


@pytest.mark.asyncio
async def test_the_first_failure_of_a_view_is_a_problem_of_the_journal_and_the_next_is_not(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        await journal.wake(picky)
        await journal.commit_all([Counted(step=0), Counted(step=1), Counted(step=0)])
        assert await journal.snapshot(picky) == 1
        (problem,) = journal.problems
        assert "view picky failed on test.counted" in problem
        assert "ZeroDivisionError" in problem


@pytest.mark.asyncio
async def test_problems_are_bounded_and_the_rest_is_counted(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "chat") as journal:
        for number in range(250):
            journal.engine.note_problem(f"problem {number}")
        assert len(journal.problems) == 101
        assert journal.problems[-2:] == ("problem 99", "… and 150 more")
        assert journal.statistics().problems == journal.problems


# A loop that ended first


async def _use(folder: Path, commit: Callable[[Journal], Any]) -> Journal:
    journal = await Journal.open(folder)
    await commit(journal)
    return journal


def test_a_journal_whose_loop_ended_is_closed_from_another_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    journal = asyncio.run(_use(tmp_path / "chat", lambda journal: journal.commit(Said(text="a"))))
    asyncio.run(journal.close())
    asyncio.run(journal.close())

    async def read() -> tuple[str, ...]:
        async with Journal.open(tmp_path / "chat") as again:
            assert (await again.sql("select count(*) from test_said")).fetchall() == [(1,)]
            await again.commit(Said(text="b"))
            return await again.snapshot(texts)

    assert asyncio.run(read()) == ("a", "b")


def test_a_journal_that_is_dropped_unclosed_warns_of_its_lock(tmp_path: Path) -> None:
    program = (
        "import asyncio, gc, warnings\n"
        "from antiphon import Journal\n"
        "warnings.simplefilter('always')\n"
        "async def use():\n"
        f"    journal = await Journal.open({str(tmp_path / 'chat')!r})\n"
        "asyncio.run(use())\n"
        "gc.collect()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "ResourceWarning: <Journal 'chat'" in ended.stderr
    assert "was not closed" in ended.stderr


@pytest.mark.asyncio
async def test_a_journal_that_was_closed_goes_in_silence(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        await (await Journal.open(tmp_path / "chat")).close()
        gc.collect()
    assert [warning for warning in said if "was not closed" in str(warning.message)] == []


# The names


def test_the_front_door_gives_every_name_it_lists() -> None:
    assert all(getattr(antiphon, name) is not None for name in antiphon.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Jurnal'"):
        _ = antiphon.Jurnal  # type: ignore[attr-defined]  # that is the point


# What is no signal, query, level, gate or policy


@pytest.mark.asyncio
async def test_a_handler_says_what_it_takes_instead_of_what_it_got(tmp_path: Path) -> None:
    wrong: Any = "chat"
    async with await Journal.open(tmp_path / "j") as journal, antiphon.UnifiedHandler.for_owner(journal) as handler:
        for mistake in (
            lambda: handler.query(wrong),
            lambda: handler.register_query(CHAT_SIGNAL, wrong),
        ):
            with pytest.raises(LocalViolation, match=r"expected a query.*journal\.sql"):
                await mistake()
        with pytest.raises(LocalViolation, match="isolation is ReadUncommitted"):
            await handler.query(ChatQuery(), isolation=wrong)
        with pytest.raises(TypeMismatch, match="'chat' got a str as its key; expected a Signal"):
            await handler.register_query(wrong, ChatQuery())
        with pytest.raises(TypeMismatch, match="expected a Signal"):
            handler.subscribe(wrong)
        with pytest.raises(LocalViolation, match="live takes a @view or a Signal"):
            journal.live(wrong)
        with pytest.raises(LocalViolation, match=r"name the class in Journal.open\(types"):
            await handler.commit_fact("test.nobody", text="a")


@pytest.mark.asyncio
async def test_a_gate_a_policy_and_a_fold_are_known_before_they_are_needed(tmp_path: Path) -> None:
    wrong: Any = "anything"
    async with await Journal.open(tmp_path / "j") as journal:
        for gate in (wrong, NamespaceGate):
            with pytest.raises(LocalViolation, match="serve takes a gate"):
                journal.serve(gate=gate)
        with pytest.raises(LocalViolation, match="register_delivery_policy takes a delivery policy"):
            journal.register_delivery_policy("chat", wrong)
        with pytest.raises(LocalViolation, match="cut takes a LatticeFold"):
            await journal.cut(wrong)
        await journal.retire()
        for meet in (journal.sync, journal.link):
            with pytest.raises(LocalViolation, match=r"a token is bytes.*urlsafe_b64decode"):
                await meet("tcp://127.0.0.1:1", token=wrong)


@pytest.mark.asyncio
async def test_a_core_says_what_it_takes_instead_of_what_it_got() -> None:
    wrong: Any = "hello"
    async with antiphon.demo_core("ada") as core:
        with pytest.raises(IntentError, match="a core takes intents") as refused:
            await core.submit(wrong)
        assert refused.value.move == "application"
        refusal = core.check(wrong)
        assert refusal is not None
        assert refusal.kind == "validation"
        for follow in (core.read, core.subscribe, core.live):
            with pytest.raises(TypeMismatch, match="expected a Signal"):
                follow(wrong)
        with pytest.raises(IntentError, match="a function to call back"):
            core.on(CHAT_SIGNAL, wrong)
        with pytest.raises(IntentError, match="fields are a mapping"):
            read_intent("send_message", wrong)


def test_the_front_door_lists_its_names_before_they_are_loaded() -> None:
    code = "import antiphon; print(set(antiphon.__all__) - set(dir(antiphon)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["", "  "])
async def test_an_author_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalViolation, match="is no name"):
        await Journal.open(tmp_path / "journal", author=name)
    assert not (tmp_path / "journal").exists()


@pytest.mark.asyncio
async def test_a_fold_without_its_return_is_a_problem_that_names_the_view(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        await journal.commit_all([Counted(step=1), Counted(step=2)])
        await journal.snapshot(forgetful)
        await journal.commit(Counted(step=3))
        assert "view forgetful: its fold gave None" in journal.problems[0]
        assert "return" in journal.problems[0]
        assert sum("gave None" in problem for problem in journal.problems) == 1
    async with Journal.open(tmp_path / "journal") as journal:
        assert await journal.snapshot(fading) is None
        assert journal.problems == ()


@pytest.mark.asyncio
async def test_a_pattern_that_fits_no_kind_is_told_with_those_near_it(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "journal", author="ada") as journal:
        await journal.commit(Said(text="a"))
    with antiphon.open_history(tmp_path / "journal") as history:
        with pytest.warns(UserWarning, match=r"no kind here goes by 'test\.sad'; did you mean test\.said"):
            assert history.facts("test.sad").count() == 0
        with pytest.warns(UserWarning, match=r"history\.kinds\(\)"):
            assert history.facts("task.*").count() == 0
        assert history.facts("test.*").count() == 1
        assert history.facts("*").count() >= 1
