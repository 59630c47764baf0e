"""The chat view against a fold written twice: once incrementally, once slowly and plainly below."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.facts import (
    AuthorityId,
    ChainId,
    ChannelClosed,
    ChannelCreated,
    ChannelEpochCommitted,
    ChannelRebound,
    ChannelUpdated,
    ConvergenceCertified,
    Fact,
    MembershipChanged,
    MembershipImported,
    MessageDeleted,
    MessageDeliveryUpdated,
    MessageEdited,
    MessageEditedSealed,
    MessageImported,
    MessageReacted,
    MessageRead,
    MessageSeen,
    MessageSent,
    MessageSentSealed,
    OperationFinalized,
    OperationReverted,
    TopicEdited,
    channel_transition_id,
    home_owner,
)
from antiphon.journal import SharedText, is_text_update
from antiphon.reactive import UNCHANGED, Batch, Unchanged
from antiphon.testing.strategies import (
    ADA,
    BEN,
    CONTEXT,
    EVE,
    actor_of,
    chat_facts,
    commit_by,
    deliveries,
    histories,
    protocol_facts,
    rebound_facts,
    topic_facts,
)
from antiphon.views import CHAT_SIGNAL, ChatSignalView, ChatState, Message, Opener, Recall, UnreadCountView
from antiphon.views.registers import owned_id

ABOUT_A_MESSAGE = (
    MessageEdited | MessageEditedSealed | MessageRead | MessageSeen | MessageDeliveryUpdated | MessageReacted
)
TEXTS = ("new_text", "new_payload", "text", "payload")
RANKS = ["sending", "failed", "sent", "delivered", "read"]


def stamp(fact: Fact) -> tuple[int, int, bytes]:
    if isinstance(fact, MessageImported | MembershipImported):
        # Among those of one time, imported lines stand by file and line: the clock tells only when they were imported.
        place = fact.source.encode() + b"\0\0" + (fact.line + 2**63).to_bytes(8, "big")
        return (fact.record.at, 0, place + fact.record.fact_id)
    return fact.record.stamp


def expected_chat(history: Iterable[Fact], me: str, *, shown_max: int = 500) -> dict[str, object]:
    """The whole table of rules, for a set of facts at once."""
    facts = {fact.record.fact_id: fact for fact in history}.values()
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.channel_id is None:  # type: ignore[attr-defined]  # about something that is no message
            continue
        if actor_of(fact) in (None, fact.record.chain.authority):
            context = getattr(fact, "channel_context_id", fact.record.chain.namespace)
            groups[context, fact.channel_id].append(fact)  # type: ignore[attr-defined]
    merged: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for key in sorted(groups):
        merged[expected_root(key, groups)].append(key)
    channels = [
        channel
        for root in sorted(merged)
        if (channel := expected_channel(root, groups, me, shown_max, [key for key in merged[root] if key != root]))
    ]
    return {"total_unread": sum(channel["unread_count"] for channel in channels), "channels": channels}


Groups = dict[tuple[str, str], list[Fact]]


def expected_root(key: tuple[str, str], groups: Groups) -> tuple[str, str]:
    """Where a channel is shown: go on to where the newest word leads, while anybody opened or named that."""
    way = [key]
    while True:
        words = sorted((each for each in groups[way[-1]] if isinstance(each, ChannelRebound)), key=stamp)
        there = (way[-1][0], words[-1].canonical_id) if words else way[-1]
        if not any(
            isinstance(each, ChannelCreated) or (isinstance(each, ChannelUpdated) and each.name is not None)
            for each in groups.get(there, ())
        ):
            return way[-1]
        if there in way:
            return min(way[way.index(there) :])
        way.append(there)


def expected_topic(stated: list, changed: list[TopicEdited]) -> str | None:
    """The newest statement, with all that was changed of it."""
    stated = [fact for fact in stated if fact.topic is not None]
    basis = stated[-1].record.fact_id.hex() if stated else ""
    text = SharedText(basis, stated[-1].topic if stated else "")
    return text.with_updates(fact.update for fact in changed if fact.basis == basis).text or None


def expected_channel(
    key: tuple[str, str], groups: Groups, me: str, shown_max: int, others: list[tuple[str, str]]
) -> dict | None:
    facts = sorted(groups[key], key=stamp)
    created = [fact for fact in facts if isinstance(fact, ChannelCreated)]
    updated = [fact for fact in facts if isinstance(fact, ChannelUpdated)]
    closed = [stamp(fact) for fact in facts if isinstance(fact, ChannelClosed)]
    naming = [fact for fact in (*created, *updated) if fact.name is not None]
    naming.sort(key=stamp)
    opening = created or naming
    if not opening or (closed and stamp(opening[-1])[:2] <= closed[-1][:2]):
        return None
    own_words = [fact.event for fact in facts if isinstance(fact, MembershipChanged) and fact.participant_id == me]
    if own_words and own_words[-1] == "left":
        return None

    judges = judges_of(key, created)
    messages = expected_messages(facts, me, hidden_until=closed[-1][0] if closed else None, judges=judges)
    if others:
        messages = expected_merge(key, others, groups, me, hidden_until=closed[-1][0] if closed else None)
    stated = [fact for fact in facts if isinstance(fact, ChannelCreated | ChannelUpdated)]
    changed = [fact for fact in facts if isinstance(fact, TopicEdited) and is_text_update(fact.update)]
    counts = [fact.member_count for fact in updated if fact.member_count is not None]
    is_dm = created[0].is_dm if created else False
    members = expected_members(facts, created, updated, me, is_dm=is_dm)
    for other in others:
        about = sorted(groups[other], key=stamp)
        founded = [fact for fact in about if isinstance(fact, ChannelCreated)]
        lists = [fact for fact in about if isinstance(fact, ChannelUpdated)]
        members |= expected_members(about, founded, lists, me, is_dm=founded[0].is_dm if founded else False)
    shown = messages[-shown_max:]
    times = [fact.record.at for fact in (*created, *updated, *changed)] + [message["timestamp"] for message in messages]
    return {
        "id": key[1],
        "context_id": key[0],
        "name": naming[-1].name,
        "topic": expected_topic(stated, changed),
        "channel_type": "direct_message" if is_dm else "home",
        "is_dm": is_dm,
        "creator_id": created[0].creator_id if created else None,
        "created_at": created[0].created_at if created else None,
        "unread_count": sum(not message["is_read"] for message in messages),
        "message_count": len(messages),
        "has_more": len(messages) > shown_max,
        "member_ids": tuple(sorted(members)),
        "member_count": max([*counts[-1:], len(members), 2 if is_dm else 0]),
        "last_message": messages[-1]["content"] if messages else None,
        "last_message_time": messages[-1]["timestamp"] if messages else None,
        "last_activity": max(times),
        "last_finalized_epoch": expected_epoch(facts, judges_of(key, created)),
        "merged_ids": tuple(other[1] for other in others),
        "messages": shown,
    }


def expected_merge(
    key: tuple[str, str],
    others: list[tuple[str, str]],
    groups: Groups,
    me: str,
    *,
    hidden_until: int | None,
) -> list[dict]:
    """All of them by stamp, each once, with what was said about it in any of the channels."""
    words = [fact for each in (key, *others) for fact in groups[each] if isinstance(fact, ABOUT_A_MESSAGE)]

    def all_about(channel: tuple[str, str]) -> list[Fact]:
        return sorted({fact.record.fact_id: fact for fact in (*groups[channel], *words)}.values(), key=stamp)

    created = [fact for fact in sorted(groups[key], key=stamp) if isinstance(fact, ChannelCreated)]
    messages = expected_messages(all_about(key), me, hidden_until=hidden_until, judges=judges_of(key, created))
    for other in others:
        facts = all_about(other)
        closed = [fact.record.at for fact in facts if isinstance(fact, ChannelClosed)]
        judges = judges_of(other, [fact for fact in facts if isinstance(fact, ChannelCreated)])
        said = expected_messages(facts, me, hidden_until=max(closed) if closed else None, judges=judges)
        messages += [each for each in said if hidden_until is None or each["timestamp"] > hidden_until]
    by_id = {fact.record.fact_id.hex(): fact for each in (key, *others) for fact in groups[each]}
    deletions = [fact for fact in by_id.values() if isinstance(fact, MessageDeleted)]
    merged: dict[str, dict] = {}
    for message in sorted(messages, key=lambda each: stamp(by_id[each["fact_id"]])):
        author = by_id[message["fact_id"]].record.chain.authority
        is_gone = any((each.message_id, each.deleter_id) == (message["id"], author) for each in deletions)
        if message["id"] not in merged and not is_gone:
            merged[message["id"]] = dict(message)
    return list(merged.values())


def judges_of(key: tuple[str, str], created: list[ChannelCreated]) -> set[str]:
    return {home_owner(key[0])} if home_owner(key[0]) else {fact.creator_id for fact in created[:1]}


def expected_epoch(facts: list[Fact], judges: set[str]) -> int | None:
    """The newest epoch that is final: step by step from 0, by a certified transition that nothing contradicts."""
    ways = defaultdict(set)
    for fact in facts:
        if isinstance(fact, ChannelEpochCommitted) and fact.actor_id in judges:
            identity = {name: getattr(fact, name) for name in IDENTITY}
            is_next = fact.successor_epoch == fact.parent_epoch + 1
            is_witnessed = 0 < fact.threshold <= len(set(fact.witnesses)) and fact.certificate_digest
            if is_next and is_witnessed and fact.transition_id == channel_transition_id(**identity):
                ways[fact.parent_epoch].add(fact.transition_id)
    epoch = None
    while len(ways[0 if epoch is None else epoch + 1]) == 1:
        epoch = 0 if epoch is None else epoch + 1
    return epoch


IDENTITY = ("context_id", "channel_id", "parent_epoch", "successor_epoch", "commitment")


def expected_agreement(fact: Fact, facts: list[Fact], judges: set[str]) -> str:
    final_epoch, epoch = expected_epoch(facts, judges), getattr(fact, "epoch_hint", None)
    about = [each for each in facts if getattr(each, "op_id", None) == fact.record.fact_id.hex()]
    about = [each for each in about if each.actor_id in judges]  # type: ignore[attr-defined]
    if any(isinstance(each, OperationFinalized) for each in about):
        return "finalized"
    if epoch is not None and final_epoch is not None and epoch <= final_epoch:
        return "finalized"
    last = [each for each in about if isinstance(each, ConvergenceCertified | OperationReverted)][-1:]
    return "soft_safe" if last and isinstance(last[0], ConvergenceCertified) else "provisional"


def expected_text(content: str | bytes) -> str:
    return content if isinstance(content, str) else f"[sealed: {len(content)} bytes]"


def expected_messages(facts: list[Fact], me: str, *, hidden_until: int | None, judges: set[str]) -> list[dict]:
    first: dict[str, MessageSent | MessageSentSealed | MessageImported] = {}
    for fact in facts:
        if isinstance(fact, MessageSent | MessageSentSealed | MessageImported):
            first.setdefault(fact.message_id, fact)
    messages = []
    for message_id, fact in first.items():
        author = fact.record.chain.authority
        about = [each for each in facts if getattr(each, "message_id", None) == message_id]
        if any(isinstance(each, MessageDeleted) and each.deleter_id == author for each in about):
            continue
        if hidden_until is not None and fact.sent_at <= hidden_until:
            continue
        edits = [
            each for each in about if isinstance(each, MessageEdited | MessageEditedSealed) and each.editor_id == author
        ]
        content = edits[-1] if edits else fact
        content = next(getattr(content, name) for name in TEXTS if hasattr(content, name))
        readers = {each.reader_id for each in about if isinstance(each, MessageRead)}
        readers |= {me for each in about if isinstance(each, MessageSeen) and each.reader_id == me}
        is_own = author == me and fact.sender_id == me
        statuses = [each.delivery_status for each in about if isinstance(each, MessageDeliveryUpdated)]
        statuses.append("sent" if is_own else "delivered")
        if is_own and readers - {me}:
            statuses.append("read")
        imported = fact if isinstance(fact, MessageImported) else None
        messages.append(
            {
                "id": message_id,
                "channel_id": fact.channel_id,
                "sender_id": fact.sender_id,
                "sender_name": fact.sender_name,
                "content": expected_text(content),
                "timestamp": fact.sent_at,
                "reply_to": fact.reply_to,
                "is_own": is_own,
                "is_read": is_own or me in readers,
                "delivery_status": max(statuses, key=RANKS.index),
                "epoch_hint": None if imported else fact.epoch_hint,
                "style": imported.style if imported else "message",
                "edited_at": edits[-1].edited_at if edits else None,
                "edit_count": len(edits),
                "read_by": tuple(sorted(readers - {me})),
                "imported_by": author if imported else None,
                "imported_by_label": imported.record.chain.label if imported else None,
                "source": imported.source if imported else None,
                "line": imported.line if imported else None,
                "is_sealed": isinstance(content, bytes),
                "agreement": expected_agreement(fact, facts, judges),
                "fact_id": fact.record.fact_id.hex(),
                "reactions": expected_reactions(about),
            }
        )
    return messages


def expected_reactions(about: list[Fact]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    last = {(each.reaction, each.reactor_id): each for each in about if isinstance(each, MessageReacted)}
    people: dict[str, list[str]] = defaultdict(list)
    for (reaction, who), word in sorted(last.items()):
        if not word.is_taken_back:
            people[reaction].append(who)
    return tuple((sign, tuple(people[sign])) for sign in sorted(people, key=lambda sign: (-len(people[sign]), sign)))


def expected_members(
    facts: list[Fact], created: list[ChannelCreated], updated: list[ChannelUpdated], me: str, *, is_dm: bool
) -> set[str]:
    founders = ({created[0].creator_id} | ({me} if is_dm else set())) if created else set()
    lists = [fact for fact in updated if fact.member_ids is not None]
    said = [fact for fact in facts if isinstance(fact, MembershipChanged)]
    heard = [fact for fact in facts if isinstance(fact, MembershipImported) and fact.participant_id != me]
    listed = {member for fact in lists for member in fact.member_ids or ()}
    members = set()
    for person in founders | listed | {fact.participant_id for fact in (*said, *heard)}:
        words = [(stamp(fact), fact.event == "joined") for fact in said if fact.participant_id == person]
        words += [(stamp(created[0]), True)] if person in founders else []
        if not words:
            words = [(stamp(fact), fact.event == "joined") for fact in heard if fact.participant_id == person]
        words += [(stamp(fact), person in (fact.member_ids or ())) for fact in lists]
        if max(words)[1]:
            members.add(person)
    return members


def window(facts: Sequence[Fact], *, now_ms: int = 0) -> Batch[Fact]:
    return Batch(batch_id=1, facts=facts, now_ms=now_ms, changed=frozenset(), inputs={})


def fold(*windows: Sequence[Fact], me: AuthorityId = ADA) -> ChatSignalView:
    view = ChatSignalView(me)
    for facts in windows:
        view.update(window(facts))
    return view


def check_chat(
    windows: Sequence[Sequence[Fact]], *, me: AuthorityId = ADA, shown_max: int = 500, is_packing: bool = False
) -> ChatSignalView:
    """After every window the snapshot is that of the set so far, and ``UNCHANGED`` is only said when it is."""
    view = ChatSignalView(me)
    seen: list[Fact] = []
    if is_packing:
        view.use_recall(recall_from(seen))
    for facts in windows:
        before = view.state
        seen += facts
        result = view.update(window(facts))
        assert view.state.to_json() == expected_chat(seen, me, shown_max=shown_max)
        assert (result is UNCHANGED) == (view.state is before)
        assert result is UNCHANGED or view.state != before
    if is_packing:
        check_scrolling(view, expected_chat(seen, me, shown_max=len(seen) + 1))
    return view


def check_scrolling(view: ChatSignalView, everything: dict[str, list[dict]]) -> None:
    """Whoever goes back page by page from the oldest message that is shown sees all that there is."""
    for channel in everything["channels"]:
        place = (channel["context_id"], channel["id"])
        read = list(view.state.messages_in(channel["id"], context_id=channel["context_id"]))
        while read and (page := view.messages_before(*place, read[0].id, 2)):
            read = [*page, *read]
        assert [message.to_json() for message in read] == channel["messages"]


def recall_from(journal: list[Fact]) -> Recall:
    """What reads back from *journal*, as it is then."""

    def recall(places: Sequence[tuple[ChainId, int]]) -> list[Fact]:
        wanted = set(places)
        return [fact for fact in journal if (fact.record.chain.chain, fact.record.seq) in wanted]

    return recall


@given(st.data())
@settings(max_examples=500)
def test_a_snapshot_is_a_function_of_the_set_of_facts(data: st.DataObject) -> None:
    history = data.draw(histories(chat_facts()))
    check_chat(data.draw(deliveries([OPEN, *history])), me=data.draw(st.sampled_from([ADA, BEN])))


@given(st.data())
@settings(max_examples=300)
def test_channels_that_became_one_are_a_function_of_the_set_of_facts(data: st.DataObject) -> None:
    both = [OPEN, commit_by(EVE, created("other", at=1, by=EVE))]
    history = [*both, *data.draw(histories(st.one_of(chat_facts(), chat_facts(), rebound_facts(), topic_facts())))]
    check_chat(data.draw(deliveries(history)), me=data.draw(st.sampled_from([ADA, BEN])))


@given(st.data())
@settings(max_examples=150)
def test_what_is_final_is_a_function_of_the_set_of_facts(data: st.DataObject) -> None:
    said = data.draw(histories(chat_facts(), count_max=15))
    ids = [fact.record.fact_id.hex() for fact in said] or ["00" * 32]
    about = protocol_facts(ids).filter(lambda fact: hasattr(fact, "channel_id"))
    judged = data.draw(histories(about, count_max=15))
    check_chat(data.draw(deliveries([OPEN, *said, *judged])), me=data.draw(st.sampled_from([ADA, BEN])))


@given(st.data())
@settings(max_examples=300)
def test_the_newest_shown_messages_are_a_function_of_the_set_of_facts(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Small enough that histories overflow it, and that late messages come in more runs than are moved one by one.
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 2)
        patch.setattr("antiphon.views.message_log._RUN_COUNT_MAX", 1)
        check_chat(data.draw(deliveries([OPEN, *data.draw(histories(chat_facts()))])), shown_max=2)


@given(st.data())
@settings(max_examples=400)
def test_what_is_packed_and_read_back_is_the_same_function_of_the_set_of_facts(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # One or two are shown and older ones packed; late ones are placed one by one and all at once.
        shown_max = data.draw(st.sampled_from([1, 2]))
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", shown_max)
        patch.setattr("antiphon.views.message_log._WHOLE_SCREENS", 1)
        patch.setattr("antiphon.views.packed_messages._SINGLE_COUNT_MAX", data.draw(st.sampled_from([0, 64])))
        history = [OPEN, *data.draw(histories(chat_facts(), count_max=40))]
        me = data.draw(st.sampled_from([ADA, BEN]))
        check_chat(data.draw(deliveries(history)), me=me, shown_max=shown_max, is_packing=True)


def busy_history(count: int, *, seed: int) -> list[Fact]:
    """A long history of two channels with a bit of everything."""
    rng = random.Random(seed)
    facts: list[Fact] = [commit_by(BEN, created("general", at=0)), commit_by(EVE, created("other", at=1, by=EVE))]
    for index in range(count):
        who = rng.choice([ADA, BEN, EVE])
        about = {"context_id": CONTEXT, "channel_id": rng.choice(["general", "other"])}
        target = about | {"message_id": f"m{rng.randrange(count)}"}
        at = rng.randrange(1, count)
        choices: list[Fact] = [
            said(f"m{index}", by=who, at=at, channel=about["channel_id"]),
            said(f"m{index}", by=who, at=at, channel=about["channel_id"]),
            MessageRead(**target, reader_id=who, read_at=at),
            MessageEdited(**target, editor_id=who, new_text=f"edit {index}", edited_at=at),
            MessageDeleted(**target, deleter_id=who, deleted_at=at),
        ]
        facts.append(commit_by(who, rng.choice(choices), hlc=rng.randrange(1, 4), seq=index))
    return facts


def test_five_hundred_arrival_orders_of_a_busy_history_give_one_snapshot() -> None:
    history = busy_history(150, seed=7)
    expected = expected_chat(history, ADA)
    rng = random.Random(1)
    for _ in range(500):
        order = history + rng.sample(history, 10)
        rng.shuffle(order)
        size = rng.randrange(1, len(order))
        view = fold(*[order[start : start + size] for start in range(0, len(order), size)])
        assert view.state.to_json() == expected


def test_a_busy_history_with_packed_messages_is_the_same_after_every_window() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 5)
        patch.setattr("antiphon.views.packed_messages._SINGLE_COUNT_MAX", 3)
        for seed in range(12):
            history, rng = busy_history(150, seed=seed), random.Random(seed)
            rng.shuffle(history)
            windows = [history[start : start + 17] for start in range(0, len(history), 17)]
            view = check_chat(windows, shown_max=5, is_packing=True)
            assert view.statistics().packed_count > 10


def created(channel: str = "general", *, at: int = 0, by: str = BEN, **fields: object) -> ChannelCreated:
    defaults = {"context_id": CONTEXT, "name": channel}
    return ChannelCreated(channel_id=channel, created_at=at, creator_id=by, **defaults | fields)


def said(
    message_id: str, *, at: int, by: str = BEN, text: str = "hello", channel: str = "general", context: str = CONTEXT
) -> MessageSent:
    return MessageSent(
        context_id=context,
        channel_id=channel,
        message_id=message_id,
        sender_id=by,
        sender_name="somebody",
        text=text,
        sent_at=at,
    )


def on(kind: type[Fact], message_id: str = "m", **fields: object) -> Fact:
    return kind(context_id=CONTEXT, channel_id="general", message_id=message_id, **fields)


def shown(view: ChatSignalView) -> tuple[Message, ...]:
    return view.state.messages_in("general")


OPEN = commit_by(BEN, created())
HELLO = commit_by(BEN, said("m", at=10))


def test_a_late_old_message_appears_in_its_place_and_the_501st_drops_the_oldest() -> None:
    facts = [commit_by(BEN, said(f"m{index}", at=10 * index)) for index in range(1, 501)]
    view = fold([OPEN], facts)
    assert [message.timestamp for message in shown(view)] == [10 * index for index in range(1, 501)]
    view.update(window([commit_by(BEN, said("late", at=4995))]))
    assert [message.id for message in shown(view)][-3:] == ["m499", "late", "m500"]
    channel = view.state.channel("general")
    assert channel is not None
    assert (shown(view)[0].id, len(shown(view)), channel.message_count, channel.has_more) == ("m2", 500, 501, True)
    assert channel.unread_count == 501


def test_the_oldest_shown_message_returns_when_a_newer_one_is_deleted() -> None:
    facts = [commit_by(BEN, said(f"m{index}", at=10 * index)) for index in range(1, 502)]
    view = fold([OPEN, *facts])
    assert shown(view)[0].id == "m2"
    view.update(window([commit_by(BEN, on(MessageDeleted, "m300", deleter_id=BEN, deleted_at=1))]))
    assert (shown(view)[0].id, len(shown(view))) == ("m1", 500)


def test_many_late_messages_between_many_others_are_placed_at_once() -> None:
    even = [commit_by(BEN, said(f"m{at}", at=at)) for at in range(0, 2000, 2)]
    odd = [commit_by(BEN, said(f"m{at}", at=at)) for at in range(1, 2000, 2)]
    view = fold([OPEN], even, odd)
    assert [message.timestamp for message in shown(view)] == list(range(1500, 2000))


def test_of_two_messages_with_one_id_the_lower_stamp_counts_even_when_it_comes_later() -> None:
    view = fold([OPEN, commit_by(BEN, said("m", at=10)), commit_by(BEN, said("n", at=8))])
    view.update(window([commit_by(EVE, said("m", at=5, by=EVE, text="older"))]))
    assert [(message.id, message.sender_id, message.content) for message in shown(view)] == [
        ("m", EVE, "older"),
        ("n", BEN, "hello"),
    ]
    assert view.update(window([commit_by(BEN, said("m", at=10))])) is UNCHANGED


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("is_merged", [False, True])
def test_nobody_takes_a_message_away_by_saying_an_earlier_one_under_its_id(order: int, is_merged: bool) -> None:
    """Whoever sees a message knows its id, and writes any time they like; so an id can say whose it is."""
    mine, theirs = owned_id(BEN, "ab" * 16), owned_id(EVE, "ab" * 16)
    channel = "draft-1" if is_merged else "general"
    begun = [OPEN, commit_by(BEN, created("draft-1", at=0), seq=9)]
    if is_merged:
        begun.append(commit_by(BEN, rebound("draft-1", "general"), seq=10))
    said_by_ben = commit_by(BEN, said(mine, at=50, text="real"), seq=2)
    taken = commit_by(EVE, said(mine, by=EVE, at=-5, text="fake", channel=channel))
    by_eve = commit_by(EVE, said(theirs, by=EVE, at=60, text="hers"), seq=2)
    history = [*begun, *[said_by_ben, taken, by_eve][::order]]
    for windows in ([history], [[each] for each in history]):
        assert [each.content for each in shown(fold(*windows))] == ["real", "hers"]


def test_a_packed_message_is_not_taken_away_under_its_id_either() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.views.message_log.MESSAGE_COUNT_MAX", 1)
        patch.setattr("antiphon.views.message_log._WHOLE_SCREENS", 1)
        mine = owned_id(BEN, "ab" * 16)
        seen = [OPEN, *[commit_by(BEN, said(mine if at == 1 else f"m{at}", at=at), seq=at + 1) for at in range(1, 9)]]
        view = ChatSignalView(ADA)
        view.use_recall(recall_from(seen))
        view.update(window(seen))
        assert view.statistics().packed_count > 0
        view.update(window([commit_by(EVE, said(mine, by=EVE, at=-5, text="fake"))]))
        found = view.find_message(CONTEXT, "general", mine)
        assert found is not None
        assert (found.sender_id, found.timestamp) == (BEN, 1)


def test_an_edit_before_its_message_applies_when_the_message_comes() -> None:
    edit = commit_by(BEN, on(MessageEdited, editor_id=BEN, new_text="better", edited_at=11))
    view = fold([OPEN, edit])
    assert shown(view) == ()
    view.update(window([HELLO]))
    assert (shown(view)[0].content, shown(view)[0].edited_at, shown(view)[0].edit_count) == ("better", 11, 1)


def test_only_the_author_edits_and_the_later_edit_counts() -> None:
    edits = [
        commit_by(EVE, on(MessageEdited, editor_id=EVE, new_text="stolen", edited_at=99)),
        commit_by(BEN, on(MessageEdited, editor_id=BEN, new_text="second", edited_at=30)),
        commit_by(BEN, on(MessageEdited, editor_id=BEN, new_text="first", edited_at=20)),
    ]
    view = fold([OPEN, HELLO], edits)
    assert (shown(view)[0].content, shown(view)[0].edit_count) == ("second", 2)
    assert view.statistics().void_count == 1


def test_a_message_deleted_before_it_came_never_shows_whatever_follows() -> None:
    view = fold([OPEN, commit_by(BEN, on(MessageDeleted, deleter_id=BEN, deleted_at=1))])
    later = [
        HELLO,
        commit_by(BEN, said("m", at=50, text="again"), seq=2),
        commit_by(BEN, on(MessageEdited, editor_id=BEN, new_text="edited", edited_at=60)),
    ]
    assert view.update(window(later)) is UNCHANGED
    assert shown(view) == ()


def test_somebody_else_cannot_delete_a_message() -> None:
    view = fold([OPEN, HELLO, commit_by(EVE, on(MessageDeleted, deleter_id=EVE, deleted_at=20))])
    assert [message.id for message in shown(view)] == ["m"]
    assert view.statistics().void_count == 1


def test_a_fact_whose_actor_did_not_sign_it_is_ignored_and_counted() -> None:
    view = fold([OPEN, commit_by(EVE, said("m", at=10, by=BEN))])
    assert shown(view) == ()
    assert (view.statistics().wrong_actor_count, view.statistics().applied_count) == (1, 1)


def test_own_reads_lower_unread_and_reads_of_others_mark_own_messages() -> None:
    mine = commit_by(ADA, said("mine", at=5, by=ADA))
    read_by_me = commit_by(ADA, on(MessageRead, reader_id=ADA, read_at=11))
    read_by_eve = [commit_by(EVE, on(MessageRead, name, reader_id=EVE, read_at=11)) for name in ("mine", "m")]
    view = fold([OPEN, mine, HELLO])
    assert view.state.total_unread == 1
    assert [message.delivery_status for message in shown(view)] == ["sent", "delivered"]
    view.update(window([read_by_me, read_by_me, *read_by_eve]))
    assert view.state.total_unread == 0
    assert [(message.delivery_status, message.read_by) for message in shown(view)] == [
        ("read", (EVE,)),
        ("delivered", (EVE,)),
    ]


def test_a_read_before_its_message_counts() -> None:
    view = fold([OPEN, commit_by(ADA, on(MessageRead, reader_id=ADA, read_at=1))], [HELLO])
    assert view.state.total_unread == 0
    assert shown(view)[0].is_read


@pytest.mark.parametrize(
    ("statuses", "expected"), [(["read", "failed"], "read"), (["failed"], "sent"), (["delivered"], "delivered")]
)
def test_a_delivery_status_never_falls(statuses: list[str], expected: str) -> None:
    updates = [
        commit_by(BEN, on(MessageDeliveryUpdated, delivery_status=status, updated_at=at, actor_id=BEN))
        for at, status in enumerate(statuses)
    ]
    view = fold([OPEN, *updates], [commit_by(ADA, said("m", at=5, by=ADA))])
    assert shown(view)[0].delivery_status == expected


def test_a_closed_channel_is_gone_and_what_was_said_stays_hidden_when_it_opens_again() -> None:
    closing = ChannelClosed(context_id=CONTEXT, channel_id="general", closed_at=20, actor_id=BEN)
    at_closing = commit_by(BEN, said("last", at=20))
    view = fold([OPEN, HELLO, at_closing], [commit_by(BEN, closing)])
    assert view.state == ChatState()
    after = [said("new", at=31), said("late", at=19), created(at=30)]
    view.update(window([at_closing, *[commit_by(BEN, fact) for fact in after]]))
    assert [message.id for message in shown(view)] == ["new"]
    assert view.state.total_unread == 1


def test_a_channel_that_the_owner_left_is_hidden_until_they_return() -> None:
    def moved(event: str, at: int, who: AuthorityId = ADA, signer: AuthorityId = ADA) -> Fact:
        fields = {"participant_id": who, "participant_name": "x", "event": event, "changed_at": at}
        return commit_by(signer, MembershipChanged(context_id=CONTEXT, channel_id="general", **fields))

    view = fold([OPEN, HELLO, moved("left", 50, BEN, BEN)])
    assert view.state.channel("general") is not None
    assert view.update(window([moved("left", 60, ADA, EVE)])) is UNCHANGED
    view.update(window([moved("left", 30)]))
    assert (view.state.channel("general"), view.state.total_unread) == (None, 0)
    view.update(window([moved("joined", 40)]))
    assert view.state.total_unread == 1


def test_an_import_cannot_move_those_who_speak_for_themselves() -> None:
    def heard(who: str, event: str) -> Fact:
        fact = MembershipImported(
            context_id=CONTEXT,
            channel_id="general",
            participant_id=who,
            participant_name="x",
            event=event,
            changed_at=90,
            source="a.txt",
            line=0,
        )
        return commit_by(EVE, fact)

    view = fold([OPEN, heard("irc:nick", "joined"), heard(BEN, "left"), heard(ADA, "left")])
    channel = view.state.channel("general")
    assert channel is not None
    assert channel.member_ids == (BEN, "irc:nick")


def test_an_imported_message_shows_its_nick_and_who_imported_it() -> None:
    fact = on(
        MessageImported,
        sender_id="irc:nick",
        sender_name="nick",
        text="hi",
        style="action",
        sent_at=5,
        source="2004-07-05.txt",
        line=12,
    )
    (message,) = shown(fold([OPEN, commit_by(EVE, fact)]))
    assert (message.sender_name, message.content, message.style) == ("nick", "hi", "action")
    assert (message.imported_by, message.imported_by_label, message.source, message.line) == (
        EVE,
        "eve",
        "2004-07-05.txt",
        12,
    )
    assert not message.is_own


def test_lines_of_one_minute_stand_by_file_and_line_in_whatever_order_they_were_imported() -> None:
    def line(source: str, number: int, hlc: int) -> Fact:
        fields = {"sender_id": "irc:nick", "sender_name": "nick", "text": "hi", "sent_at": 5}
        fact = on(MessageImported, f"{source}:{number}", source=source, line=number, **fields)
        return commit_by(EVE, fact, hlc=hlc)

    live = commit_by(BEN, said("live", at=5), hlc=1)
    lines = [line("b.txt", 0, 2), line("a.txt", 10, 3), line("a.txt", 9, 4)]
    for windows in ([[live, *lines]], [[each] for each in (*lines, live)]):
        view = fold([OPEN], *windows)
        assert [message.id for message in shown(view)] == ["a.txt:9", "a.txt:10", "b.txt:0", "live"]


def test_an_importer_cannot_put_words_into_the_owners_mouth() -> None:
    fact = on(MessageImported, sender_id=ADA, sender_name="ada", text="I owe eve", sent_at=5, source="x", line=0)
    view = fold([OPEN, commit_by(EVE, fact)])
    assert not shown(view)[0].is_own
    assert view.state.total_unread == 1


def test_channels_of_one_name_in_two_contexts_are_apart() -> None:
    elsewhere = commit_by(EVE, said("m", at=1, by=EVE, context="work"))
    other = commit_by(EVE, created(by=EVE, context_id="work"))
    view = fold([OPEN, HELLO, other, elsewhere])
    assert [key.context_id for key in view.state.channels] == ["home", "work"]
    assert [message.sender_id for message in view.state.messages_in("general", context_id="work")] == [EVE]


def test_messages_of_an_unknown_channel_wait_for_it() -> None:
    view = ChatSignalView(ADA)
    assert view.update(window([HELLO])) is UNCHANGED
    view.update(window([OPEN]))
    assert [message.id for message in shown(view)] == ["m"]


def test_a_named_update_makes_an_unknown_channel_and_an_empty_topic_clears() -> None:
    def updated(at: int, **fields: object) -> Fact:
        about = {"context_id": CONTEXT, "channel_id": "general", "actor_id": BEN}
        return commit_by(BEN, ChannelUpdated(updated_at=at, **about, **fields))

    view = fold([updated(1, topic="old")])
    assert view.state.channel("general") is None
    view.update(window([updated(2, name="hall")]))
    channel = view.state.channel("general")
    assert channel is not None
    assert (channel.name, channel.topic, channel.creator_id) == ("hall", "old", None)
    view.update(window([updated(3, topic="")]))
    channel = view.state.channel("general")
    assert channel is not None
    assert (channel.topic, channel.last_activity) == (None, 3)


def test_a_second_delivery_and_foreign_kinds_change_nothing() -> None:
    view = fold([OPEN, HELLO])
    assert view.update(window([OPEN, HELLO])) is UNCHANGED
    assert view.update(window([])) is UNCHANGED


def test_snapshots_share_what_did_not_change() -> None:
    view = fold([OPEN, commit_by(EVE, created("other", by=EVE)), HELLO])
    before = view.state
    view.update(window([commit_by(BEN, said("m2", at=20))]))
    after = view.state
    assert after.messages_in("other") is before.messages_in("other")
    assert after.channel("other") is before.channel("other")
    assert after.messages_in("general")[0] is before.messages_in("general")[0]
    assert [message.id for message in before.messages_in("general")] == ["m"]


def test_snapshots_cannot_be_changed() -> None:
    state = fold([OPEN, HELLO]).state
    with pytest.raises(TypeError):
        del state.channels[next(iter(state.channels))]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        state.total_unread = 5  # type: ignore[misc]
    with pytest.raises(AttributeError):
        state.messages_in("general")[0].content = "x"  # type: ignore[misc]


def test_the_unread_count_follows_the_chat_snapshot() -> None:
    chat, badge = fold([OPEN, HELLO]), UnreadCountView()
    inputs: dict[str, object] = {"signals:chat": chat.state}
    batch: Batch[Fact] = Batch(2, (), 0, frozenset({"signals:chat"}), inputs)
    assert badge.update(batch) == 1
    assert badge.update(batch) is UNCHANGED
    assert isinstance(badge.update(window([])), Unchanged)


def test_the_view_names_its_signal_and_its_kinds() -> None:
    view = ChatSignalView(ADA)
    assert (view.view_id, view.signal, view.depends_on) == ("signals:chat", CHAT_SIGNAL, ("signals:homes",))
    assert {"chat.message_sent", "chat.membership_imported"} <= view.kinds
    assert CHAT_SIGNAL.accepts(view.state)


def transition(parent: int, *, by: str = BEN, commitment: str = "a", **fields: object) -> ChannelEpochCommitted:
    identity = {"context_id": CONTEXT, "channel_id": "general", "parent_epoch": parent, "successor_epoch": parent + 1}
    about = {"actor_id": by, "certificate_digest": "d", "threshold": 1, "witnesses": (BEN,), "committed_at": 1}
    made = channel_transition_id(**identity, commitment=commitment)
    return ChannelEpochCommitted(**identity | {"commitment": commitment, "transition_id": made} | about | fields)


def in_epoch(epoch: int | None, message_id: str = "m", **fields: object) -> MessageSent:
    return said(message_id, at=10).model_copy(update={"epoch_hint": epoch} | fields)


def test_a_message_that_arrives_after_its_epoch_was_closed_is_final() -> None:
    view = fold([OPEN, commit_by(BEN, transition(0))], [commit_by(BEN, in_epoch(0))])
    assert (shown(view)[0].is_finalized, view.state.channel("general").last_finalized_epoch) == (True, 0)  # type: ignore[union-attr]
    view.update(window([commit_by(BEN, in_epoch(1, "n")), commit_by(BEN, in_epoch(None, "o"))]))
    assert [message.is_finalized for message in shown(view)].count(True) == 1


def test_epochs_close_one_after_the_other_in_whatever_order_they_are_told() -> None:
    view = fold([OPEN, commit_by(BEN, in_epoch(1)), commit_by(BEN, transition(1))])
    assert not shown(view)[0].is_finalized
    view.update(window([commit_by(BEN, transition(0))]))
    assert shown(view)[0].is_finalized


def test_two_ways_out_of_one_epoch_cancel_each_other() -> None:
    view = fold([OPEN, commit_by(BEN, in_epoch(0)), commit_by(BEN, transition(0))])
    assert shown(view)[0].is_finalized
    view.update(window([commit_by(BEN, transition(0, commitment="b"))]))
    assert not shown(view)[0].is_finalized


@pytest.mark.parametrize(
    "wrong",
    [
        transition(0, by=EVE),
        transition(0, threshold=0),
        transition(0, threshold=2),
        transition(0, witnesses=()),
        transition(0, certificate_digest=""),
        transition(0, transition_id="00" * 32),
        transition(0, successor_epoch=2),
    ],
)
def test_an_epoch_without_a_right_or_a_certificate_closes_nothing(wrong: ChannelEpochCommitted) -> None:
    view = fold([OPEN, commit_by(BEN, in_epoch(0)), commit_by(AuthorityId(wrong.actor_id), wrong)])
    assert not shown(view)[0].is_finalized


def test_a_certificate_makes_a_message_safe_until_it_is_taken_back_and_a_consensus_final_for_ever() -> None:
    about = {"context_id": CONTEXT, "channel_id": "general", "op_id": HELLO.record.fact_id.hex(), "actor_id": BEN}
    safe = ConvergenceCertified(**about, prestate_hash="00", coordinator_epoch=0, certified_at=20)
    steps = [
        (safe, "soft_safe"),
        (OperationReverted(**about, reverted_at=30), "provisional"),
        (safe.model_copy(update={"certified_at": 40}), "soft_safe"),
        (OperationFinalized(**about, consensus_id="k", finalized_at=5), "finalized"),
        (OperationReverted(**about, reverted_at=50), "finalized"),
    ]
    view = fold([OPEN, HELLO])
    for step, expected in steps:
        view.update(window([commit_by(EVE, step.model_copy(update={"actor_id": EVE}))]))
        view.update(window([commit_by(BEN, step)]))
        assert shown(view)[0].agreement == expected


def sealed(payload: bytes = b"123") -> MessageSentSealed:
    about = {"context_id": CONTEXT, "channel_id": "general", "sender_id": BEN, "sender_name": "ben", "sent_at": 10}
    return MessageSentSealed(**about, message_id="m", payload=payload)


def test_a_sealed_message_shows_its_length_and_opening_it_later_refreshes() -> None:
    view = fold([OPEN, commit_by(BEN, sealed())])
    assert (shown(view)[0].content, shown(view)[0].is_sealed) == ("[sealed: 3 bytes]", True)
    view.use_opener(lambda text: text.payload[::-1].decode() if text.sender_id == BEN else None)
    assert view.update(window([])) is not UNCHANGED
    assert (shown(view)[0].content, shown(view)[0].is_sealed) == ("321", False)
    channel = view.state.channel("general")
    assert channel is not None
    assert channel.last_message == "321"
    edit = on(MessageEditedSealed, editor_id=BEN, new_payload=b"abc", edited_at=11)
    view.update(window([commit_by(BEN, edit)]))
    assert (shown(view)[0].content, shown(view)[0].edit_count) == ("cba", 1)


@pytest.mark.parametrize("opener", [lambda _: None, lambda text: text.payload, lambda text: text.missing])
def test_an_opener_that_cannot_or_breaks_leaves_the_message_sealed(opener: Opener) -> None:
    view = ChatSignalView(ADA, opener=opener)
    view.update(window([OPEN, commit_by(BEN, sealed()), commit_by(BEN, said("n", at=11))]))
    assert [message.content for message in shown(view)] == ["[sealed: 3 bytes]", "hello"]


def rebound(channel: str, to: str, *, at: int = 50) -> Fact:
    return ChannelRebound(context_id=CONTEXT, channel_id=channel, canonical_id=to, rebound_at=at, actor_id=BEN)


def test_a_provisional_channel_becomes_part_of_the_real_one_and_nothing_shows_twice() -> None:
    begun = [commit_by(BEN, created("draft-1", at=0)), commit_by(EVE, said("m1", by=EVE, at=10, channel="draft-1"))]
    again = commit_by(EVE, said("m1", by=EVE, at=12), seq=3)
    facts = [*begun, OPEN, again, commit_by(BEN, said("m2", by=BEN, at=11), seq=4)]
    word = commit_by(BEN, rebound("draft-1", "general"), seq=5)
    view = fold(facts)
    assert [key.channel_id for key in sorted(view.state.channels)] == ["draft-1", "general"]
    assert view.state.total_unread == 3
    view.update(window([word]))
    (channel,) = view.state.channels.values()
    assert (channel.id, channel.merged_ids, channel.unread_count, channel.message_count) == (
        "general",
        ("draft-1",),
        2,
        2,
    )
    assert [(each.id, each.timestamp) for each in view.state.messages_in("general")] == [("m1", 10), ("m2", 11)]
    assert view.state.channel("draft-1", context_id=CONTEXT) == view.state.channel("draft-1") == channel
    read = MessageRead(context_id=CONTEXT, channel_id="draft-1", message_id="m1", reader_id=ADA, read_at=60)
    view.update(window([commit_by(ADA, read)]))
    assert view.state.total_unread == 1


def test_a_channel_bound_to_one_that_nobody_opened_stays_until_somebody_does() -> None:
    draft = [commit_by(BEN, created("draft-1", at=0)), commit_by(BEN, rebound("draft-1", "general"), seq=2)]
    view = fold([*draft, commit_by(BEN, said("m1", by=BEN, at=5, channel="draft-1"), seq=3)])
    assert [key.channel_id for key in view.state.channels] == ["draft-1"]
    view.update(window([OPEN]))
    assert [key.channel_id for key in view.state.channels] == ["general"]
    assert [each.content for each in view.state.messages_in("general")] == [
        each.content for each in fold([*draft, OPEN, view_said("m1")]).state.messages_in("general")
    ]


def view_said(message_id: str) -> Fact:
    return commit_by(BEN, said(message_id, by=BEN, at=5, channel="draft-1"), seq=3)


def test_what_is_seen_in_private_counts_as_read_for_oneself_alone() -> None:
    def seen(who: AuthorityId) -> Fact:
        about = {"context_id": f"contacts.{who}", "channel_context_id": CONTEXT, "channel_id": "general"}
        return commit_by(who, MessageSeen(**about, message_id="m", reader_id=who, seen_at=9))

    assert fold([OPEN, HELLO]).state.total_unread == 1
    assert fold([OPEN, HELLO, seen(ADA)]).state.total_unread == 0
    theirs = fold([OPEN, HELLO, seen(ADA)], me=BEN).state.messages_in("general")[0]
    assert (theirs.delivery_status, theirs.read_by) == ("sent", ())


def test_reactions_are_counted_by_person_and_can_be_taken_back() -> None:
    def reacted(who: AuthorityId, sign: str, *, at: int, back: bool = False) -> Fact:
        word = on(MessageReacted, reactor_id=who, reaction=sign, is_taken_back=back, reacted_at=at)
        return commit_by(who, word)

    early = reacted(EVE, "+1", at=3)
    view = fold([early, OPEN, HELLO, reacted(ADA, "+1", at=4), reacted(EVE, "♥", at=4)])
    assert view.state.messages_in("general")[0].reactions == (("+1", tuple(sorted((ADA, EVE)))), ("♥", (EVE,)))
    view.update(window([reacted(EVE, "+1", at=5, back=True)]))
    assert view.state.messages_in("general")[0].reactions == (("+1", (ADA,)), ("♥", (EVE,)))


def test_strangers_cannot_fill_a_screen_with_reactions() -> None:
    signs = [
        commit_by(EVE, on(MessageReacted, reactor_id=EVE, reaction=f"s{number:02}", reacted_at=number), seq=number)
        for number in range(40)
    ]
    liked = commit_by(ADA, on(MessageReacted, reactor_id=ADA, reaction="s39", reacted_at=50))
    reactions = fold([OPEN, HELLO, *signs, liked]).state.messages_in("general")[0].reactions
    assert len(reactions) == 16
    assert reactions[0][0] == "s39"


def test_a_copy_that_was_read_in_one_of_the_channels_is_read_in_the_merged_one() -> None:
    begun = [commit_by(BEN, created("draft-1", at=0)), commit_by(EVE, said("m1", by=EVE, at=10, channel="draft-1"))]
    again = commit_by(EVE, said("m1", by=EVE, at=12), seq=3)
    read = commit_by(ADA, on(MessageRead, "m1", reader_id=ADA, read_at=60))
    view = fold([*begun, OPEN, again, read, commit_by(BEN, rebound("draft-1", "general"), seq=5)])
    (message,) = view.state.messages_in("general")
    assert (message.timestamp, message.is_read, view.state.total_unread) == (10, True, 0)


def test_what_is_said_about_a_message_counts_by_either_name_of_its_channel() -> None:
    draft = [commit_by(BEN, created("draft-1", at=0)), commit_by(EVE, said("m1", by=EVE, at=10, channel="draft-1"))]
    words = [
        commit_by(EVE, on(MessageEdited, "m1", editor_id=EVE, new_text="better", edited_at=20), seq=2),
        commit_by(BEN, on(MessageEdited, "m1", editor_id=BEN, new_text="worse", edited_at=21), seq=3),
        commit_by(BEN, on(MessageReacted, "m1", reactor_id=BEN, reaction="+1", reacted_at=22), seq=4),
        commit_by(BEN, on(MessageRead, "m1", reader_id=BEN, read_at=23), seq=5),
    ]
    word = commit_by(BEN, rebound("draft-1", "general"), seq=6)
    view = fold([*draft, OPEN, *words])
    assert [each.content for each in view.state.messages_in("draft-1")] == ["hello"], "nothing was said of it there"
    view.update(window([word]))
    (message,) = view.state.messages_in("general")
    assert (message.content, message.edit_count, message.edited_at) == ("better", 1, 20)
    assert (message.reactions, message.read_by) == ((("+1", (BEN,)),), (BEN,))
    assert view.find_message(CONTEXT, "general", "m1") == message
    there = {"context_id": CONTEXT, "channel_id": "draft-1", "message_id": "m1"}
    older = MessageEdited(**there, editor_id=EVE, new_text="first", edited_at=15)
    view.update(window([commit_by(EVE, older, seq=7)]))
    assert view.state.messages_in("general")[0].content == "better"
    view.update(window([commit_by(ADA, on(MessageRead, "m1", reader_id=ADA, read_at=24))]))
    assert (view.state.messages_in("general")[0].is_read, view.state.total_unread) == (True, 0)


def test_what_was_said_before_the_merged_channel_was_closed_is_hidden_and_not_counted() -> None:
    draft = [commit_by(BEN, created("draft-1", at=0)), commit_by(EVE, said("m1", by=EVE, at=10, channel="draft-1"))]
    late = commit_by(EVE, said("m2", by=EVE, at=40, channel="draft-1"), seq=2)
    closed = commit_by(BEN, ChannelClosed(context_id=CONTEXT, channel_id="general", closed_at=20, actor_id=BEN), seq=3)
    opened = commit_by(BEN, created("general", at=30), seq=4)
    view = fold([*draft, late, OPEN, closed, opened, commit_by(BEN, rebound("draft-1", "general"), seq=5)])
    (channel,) = view.state.channels.values()
    assert [each.id for each in view.state.messages_in("general")] == ["m2"]
    assert (channel.message_count, channel.unread_count, view.state.total_unread) == (1, 1, 1)


def test_what_its_author_took_back_in_one_of_the_channels_is_gone_from_the_merged_one() -> None:
    begun = [commit_by(BEN, created("draft-1", at=0)), commit_by(EVE, said("m1", by=EVE, at=10, channel="draft-1"))]
    again = commit_by(EVE, said("m1", by=EVE, at=12), seq=3)
    word = commit_by(BEN, rebound("draft-1", "general"), seq=5)
    by_another = commit_by(BEN, on(MessageDeleted, "m1", deleter_id=BEN, deleted_at=60))
    by_author = commit_by(EVE, on(MessageDeleted, "m1", deleter_id=EVE, deleted_at=60), seq=9)
    assert len(fold([*begun, OPEN, again, word, by_another]).state.messages_in("general")) == 1
    view = fold([*begun, OPEN, again, word, by_author])
    assert (view.state.messages_in("general"), view.state.total_unread) == ((), 0)
