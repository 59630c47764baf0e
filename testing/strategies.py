"""Hypothesis strategies for histories: committed facts by several authors, some of them hostile, in any order.

Makes no valid bytes: chains and records are put together by hand, distinct in everything a view may look at. What
really is hashed and sealed comes from a journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

from hypothesis import strategies as st

from antiphon.facts import (
    AuthorityId,
    ChainId,
    ChainInfo,
    ChannelClosed,
    ChannelCreated,
    ChannelInvitation,
    ChannelUpdated,
    ContactAdded,
    ContactInvitation,
    ContactRemoved,
    ContactRenamed,
    Fact,
    FactId,
    FactRecord,
    FriendshipAccepted,
    FriendshipProposed,
    FriendshipRevoked,
    GuardianBound,
    GuardianInvitation,
    InvitationAccepted,
    InvitationCancelled,
    InvitationDeclined,
    InvitationSent,
    MembershipChanged,
    MembershipImported,
    MessageDeleted,
    MessageDeliveryUpdated,
    MessageEdited,
    MessageImported,
    MessageRead,
    MessageSent,
    Namespace,
    ReadReceiptPolicyUpdated,
    with_record,
)

CONTEXT = Namespace("home")

ADA = AuthorityId("ada0" * 8)
BEN = AuthorityId("be00" * 8)
EVE = AuthorityId("e5e0" * 8)
AUTHORITIES = (ADA, BEN, EVE)
LABELS = {ADA: "ada", BEN: "ben", EVE: "eve"}


def make_chain(authority: AuthorityId, *, namespace: Namespace = CONTEXT, label: str | None = None) -> ChainInfo:
    """A chain of *authority* in *namespace*, as if its opening fact were known."""
    return ChainInfo(
        chain=ChainId(sha256(f"{authority}/{namespace}".encode()).digest()[:16]),
        public_key=bytes(32),
        nonce=bytes(16),
        namespace=namespace,
        authority=authority,
        label=LABELS.get(authority, "") if label is None else label,
    )


def make_record(fact: Fact, chain: ChainInfo, *, hlc: int, seq: int) -> FactRecord:
    """The record of *fact* as number *seq* of *chain*: an id of its own for each of the three, an empty line."""
    fact_type = fact.fact_type
    at = fact_type.time_of(fact)
    return FactRecord(
        fact_id=FactId(sha256(b"%d/" % seq + chain.chain + fact_type.encode(fact)).digest()),
        chain=chain,
        seq=seq,
        hlc=hlc,
        at=hlc if at is None else at,
        kind=fact_type.kind,
        version=fact_type.version,
        line=b"",
        header_length=0,
    )


def commit_by(authority: AuthorityId, fact: Fact, *, hlc: int = 1, seq: int = 1) -> Fact:
    """*fact* as if *authority* had committed it in the context that it names.

    >>> commit_by(ADA, ContactRemoved(context_id="home", owner_id=ADA, contact_id="x", removed_at=5)).meta.at
    5
    """
    chain = make_chain(authority, namespace=Namespace(fact.fact_type.context_of(fact) or CONTEXT))
    return with_record(fact, make_record(fact, chain, hlc=hlc, seq=seq))


# A small world, so that facts meet: few ids, and few times, so that they tie.
_authorities = st.sampled_from(AUTHORITIES)
_contexts = st.sampled_from([CONTEXT, CONTEXT, CONTEXT, Namespace("work")])
_channels = st.sampled_from(["general", "general", "general", "other"])
_messages = st.sampled_from(["m0", "m1", "m2", "m3"])
_times = st.integers(min_value=-2, max_value=12)
_names = st.sampled_from(["", "  ", "Ada", "Ben", "the other one"])
_texts = st.sampled_from(["one", "two", "three", ""])
_events = st.sampled_from(["joined", "left"])
_people = st.sampled_from([*AUTHORITIES, "irc:nick", "irc:other"])


def chat_facts() -> st.SearchStrategy[Fact]:
    """One chat fact, not committed; its actor is one of `AUTHORITIES`."""
    place = {"context_id": _contexts, "channel_id": _channels}
    about = place | {"message_id": _messages}
    imported = {"source": st.sampled_from(["a.txt", "b.txt"]), "line": st.integers(min_value=0, max_value=9)}
    sent = st.builds(
        MessageSent,
        **about,
        sender_id=_authorities,
        sender_name=_names,
        text=_texts,
        sent_at=_times,
        reply_to=st.none() | _messages,
        epoch_hint=st.none() | st.just(1),
    )
    created = st.builds(
        ChannelCreated,
        **place,
        name=_names,
        topic=st.none() | _texts,
        is_dm=st.booleans(),
        created_at=_times,
        creator_id=_authorities,
    )
    updated = st.builds(
        ChannelUpdated,
        **place,
        name=st.none() | _names,
        topic=st.none() | _texts,
        member_count=st.none() | st.integers(min_value=0, max_value=5),
        member_ids=st.none() | st.lists(_people, max_size=3).map(tuple),
        updated_at=_times,
        actor_id=_authorities,
    )
    statuses = st.sampled_from(["sent", "delivered", "read", "failed"])
    return st.one_of(
        sent,
        sent,
        created,
        updated,
        st.builds(ChannelClosed, **place, closed_at=_times, actor_id=_authorities),
        st.builds(MessageRead, **about, reader_id=_authorities, read_at=_times),
        st.builds(MessageEdited, **about, editor_id=_authorities, new_text=_texts, edited_at=_times),
        st.builds(MessageDeliveryUpdated, **about, delivery_status=statuses, updated_at=_times, actor_id=_authorities),
        st.builds(MessageDeleted, **about, deleter_id=_authorities, deleted_at=_times),
        st.builds(
            MembershipChanged,
            **place,
            participant_id=_authorities,
            participant_name=_names,
            event=_events,
            changed_at=_times,
        ),
        st.builds(
            MessageImported,
            **about,
            **imported,
            sender_id=_people,
            sender_name=_names,
            text=_texts,
            style=st.sampled_from(["message", "action", "notice", "system"]),
            sent_at=_times,
            reply_to=st.none() | _messages,
            raw=st.none() | st.binary(max_size=3),
        ),
        st.builds(
            MembershipImported,
            **place,
            **imported,
            participant_id=_people,
            participant_name=_names,
            event=_events,
            changed_at=_times,
        ),
    )


def contact_facts() -> st.SearchStrategy[Fact]:
    """One contact, friendship or guardian fact, not committed."""
    mine = {"context_id": _contexts, "owner_id": _authorities, "contact_id": _people}
    pair = {"context_id": _contexts, "requester_id": _authorities, "accepter_id": _authorities}
    codes = st.none() | st.sampled_from(["c", "d"])
    names = st.one_of(_names, st.just(BEN), st.just(BEN[:8] + "..."))
    return st.one_of(
        st.builds(ContactAdded, **mine, nickname=names, added_at=_times, invitation_code=codes),
        st.builds(ContactRemoved, **mine, removed_at=_times),
        st.builds(ContactRenamed, **mine, new_nickname=names, renamed_at=_times),
        st.builds(ReadReceiptPolicyUpdated, **mine, policy=st.sampled_from(["disabled", "enabled"]), updated_at=_times),
        st.builds(FriendshipProposed, **pair, proposed_at=_times),
        st.builds(FriendshipAccepted, **pair, accepted_at=_times),
        st.builds(FriendshipRevoked, **pair, revoked_at=_times, actor_id=_authorities),
        st.builds(GuardianBound, context_id=_contexts, account_id=_authorities, guardian_id=_people, bound_at=_times),
    )


def invitation_facts() -> st.SearchStrategy[Fact]:
    """One invitation fact, not committed."""
    about = {"context_id": _contexts, "invitation_id": st.sampled_from(["i0", "i1", "i2"])}
    offers = st.one_of(
        st.builds(ContactInvitation, nickname=st.none() | _names),
        st.builds(GuardianInvitation, subject_authority=_authorities),
        st.builds(ChannelInvitation, home_id=st.just("house"), nickname_suggestion=st.none() | _names),
    )
    return st.one_of(
        st.builds(
            InvitationSent,
            **about,
            sender_id=_authorities,
            receiver_id=_authorities,
            invitation_type=offers,
            sent_at=_times,
            expires_at=st.none() | _times,
            receiver_nickname=st.none() | _names,
            message=st.none() | _texts,
        ),
        st.builds(InvitationAccepted, **about, acceptor_id=_authorities, accepted_at=_times),
        st.builds(InvitationDeclined, **about, decliner_id=_authorities, declined_at=_times),
        st.builds(InvitationCancelled, **about, canceller_id=_authorities, cancelled_at=_times),
    )


_ACTORS = (
    "creator_id",
    "actor_id",
    "sender_id",
    "reader_id",
    "editor_id",
    "deleter_id",
    "participant_id",
    "owner_id",
    "account_id",
    "acceptor_id",
    "decliner_id",
    "canceller_id",
)


def actor_of(fact: Fact) -> AuthorityId | None:
    """Who acts, as the fact itself says; None for an import, whose signer is its importer."""
    if fact.fact_type.kind.endswith("_imported"):
        return None
    if isinstance(fact, FriendshipProposed):
        return AuthorityId(fact.requester_id)
    if isinstance(fact, FriendshipAccepted):
        return AuthorityId(fact.accepter_id)
    return next(AuthorityId(getattr(fact, field)) for field in _ACTORS if field in type(fact).model_fields)


@st.composite
def histories(draw: st.DrawFn, facts: st.SearchStrategy[Fact], *, count_max: int = 30) -> list[Fact]:
    """Committed facts with distinct ids: most are signed by whom they name, about one in eight by somebody else."""
    history: list[Fact] = []
    # Drawn apart, because lists left to themselves have five items, among which little meets.
    count = draw(st.integers(min_value=0, max_value=count_max))
    for seq, fact in enumerate(draw(st.lists(facts, min_size=count, max_size=count)), start=1):
        actor = actor_of(fact)
        is_forged = actor is None or draw(st.integers(min_value=0, max_value=7)) == 7
        signer = draw(_authorities) if is_forged or actor is None else actor
        history.append(commit_by(signer, fact, hlc=draw(st.integers(min_value=1, max_value=4)), seq=seq))
    return history


@st.composite
def deliveries(draw: st.DrawFn, history: Sequence[Fact]) -> list[list[Fact]]:
    """The windows in which a replica may see *history*: in any order, cut anywhere, with some facts twice."""
    repeated = draw(st.lists(st.sampled_from(history), max_size=5)) if history else []
    order = draw(st.permutations([*history, *repeated]))
    cuts = sorted(draw(st.sets(st.integers(min_value=0, max_value=len(order)), max_size=6)))
    edges = [0, *cuts, len(order)]
    return [list(order[start:end]) for start, end in pairwise(edges)]
