"""Hypothesis strategies for histories: committed facts by several authors, some of them hostile, in any order.

Makes no valid bytes: chains and records are put together by hand, distinct in everything a view may look at. What
really is hashed and sealed comes from a journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from antiphon.facts import (
    AfterLink,
    AuthorityId,
    ChainId,
    ChainInfo,
    ChainOpened,
    ChannelClosed,
    ChannelCreated,
    ChannelEpochCommitted,
    ChannelInvitation,
    ChannelRebound,
    ChannelUpdated,
    ContactAdded,
    ContactInvitation,
    ContactRemoved,
    ContactRenamed,
    ConvergenceCertified,
    DeviceInvitation,
    ErasedFact,
    Fact,
    FactId,
    FactRecord,
    FactsErased,
    ForkProven,
    FriendshipAccepted,
    FriendshipProposed,
    FriendshipRevoked,
    GuardianBound,
    GuardianInvitation,
    HeadsMerged,
    HomeBan,
    HomeDeclared,
    HomeGrantModerator,
    HomeKick,
    HomeMute,
    HomePin,
    HomeRevokeModerator,
    HomeUnban,
    HomeUnmute,
    HomeUnpin,
    InvitationAccepted,
    InvitationCancelled,
    InvitationCeremonyAborted,
    InvitationCeremonyAcceptanceReceived,
    InvitationCeremonyCommitted,
    InvitationCeremonyInitiated,
    InvitationCeremonySuperseded,
    InvitationDeclined,
    InvitationSent,
    LeakageRecorded,
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
    Namespace,
    OperationFinalized,
    OperationReverted,
    ReadReceiptPolicyUpdated,
    RecoveryGranted,
    SnapshotBase,
    SnapshotTaken,
    TopicEdited,
    channel_transition_id,
    home_context,
    with_record,
)
from antiphon.journal import SharedText

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


_Fields = dict[str, st.SearchStrategy[Any]]

# A small world, so that facts meet: few ids, and few times, so that they tie.
_authorities = st.sampled_from(AUTHORITIES)
_contexts = st.sampled_from([CONTEXT, CONTEXT, CONTEXT, Namespace("work")])
_channels = st.sampled_from(["general", "general", "general", "other"])
_messages = st.sampled_from(["m0", "m1", "m2", "m3"])
_times = st.integers(min_value=-2, max_value=12)
_names = st.sampled_from(["", "  ", "Ada", "Ben", "the other one"])
_texts = st.sampled_from(["one", "two", "three", ""])
_events = st.sampled_from(["joined", "left"])
_sealed_bytes = st.sampled_from([b"", b"one", b"two", b"\xff\xfe"])
_epochs = st.integers(min_value=0, max_value=3)
_people = st.sampled_from([*AUTHORITIES, "irc:nick", "irc:other"])
_replies = st.none() | _messages


_places: _Fields = {"context_id": _contexts, "channel_id": _channels}
_in_place: _Fields = _places | {"message_id": _messages}
_imported: _Fields = {"source": st.sampled_from(["a.txt", "b.txt"]), "line": st.integers(min_value=0, max_value=9)}
_styles = st.sampled_from(["message", "action", "notice", "system"])


def chat_facts() -> st.SearchStrategy[Fact]:
    """One chat fact, not committed; its actor is one of `AUTHORITIES`."""
    return st.one_of(
        _sent(_in_place, reply_to=_replies, epoch_hint=st.none() | _epochs),
        *_sealed(),
        *_about_channels(),
        *_about_messages(),
        _joined(_places),
        *_imports(),
    )


def _sent(about: _Fields, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Fact]:
    """Said by somebody; twice as often as any other fact, since most facts are about what was said."""
    who: _Fields = {"sender_id": _authorities, "sender_name": _names}
    sent = st.builds(MessageSent, **about, **who, text=_texts, sent_at=_times, **fields)
    return sent | sent


def _joined(place: _Fields) -> st.SearchStrategy[Fact]:
    who: _Fields = {"participant_id": _authorities, "participant_name": _names}
    return st.builds(MembershipChanged, **place, **who, event=_events, changed_at=_times)


def _sealed() -> Iterator[st.SearchStrategy[Fact]]:
    who: _Fields = {"sender_id": _authorities, "sender_name": _names, "payload": _sealed_bytes}
    hint = st.none() | _epochs
    yield st.builds(MessageSentSealed, **_in_place, **who, sent_at=_times, reply_to=_replies, epoch_hint=hint)
    edit: _Fields = {"editor_id": _authorities, "new_payload": _sealed_bytes}
    yield st.builds(MessageEditedSealed, **_in_place, **edit, edited_at=_times)


def _about_channels() -> Iterator[st.SearchStrategy[Fact]]:
    made: _Fields = {"name": _names, "topic": st.none() | _texts, "is_dm": st.booleans()}
    yield st.builds(ChannelCreated, **_places, **made, created_at=_times, creator_id=_authorities)
    changed: _Fields = {
        "name": st.none() | _names,
        "topic": st.none() | _texts,
        "member_count": st.none() | st.integers(min_value=0, max_value=5),
        "member_ids": st.none() | st.lists(_people, max_size=3).map(tuple),
    }
    yield st.builds(ChannelUpdated, **_places, **changed, updated_at=_times, actor_id=_authorities)
    yield st.builds(ChannelClosed, **_places, closed_at=_times, actor_id=_authorities)


def _about_messages() -> Iterator[st.SearchStrategy[Fact]]:
    yield st.builds(MessageRead, **_in_place, reader_id=_authorities, read_at=_times)
    there: _Fields = _in_place | {"context_id": st.just("own"), "channel_context_id": _contexts}
    yield st.builds(MessageSeen, **there, reader_id=_authorities, seen_at=_times)
    reaction: _Fields = {
        "reactor_id": _authorities,
        "reaction": st.sampled_from(["+1", "\N{HEAVY BLACK HEART}"]),
        "is_taken_back": st.booleans(),
    }
    yield st.builds(MessageReacted, **_in_place, **reaction, reacted_at=_times)
    yield st.builds(MessageEdited, **_in_place, editor_id=_authorities, new_text=_texts, edited_at=_times)
    status: _Fields = {"delivery_status": st.sampled_from(["sent", "delivered", "read", "failed"])}
    yield st.builds(MessageDeliveryUpdated, **_in_place, **status, updated_at=_times, actor_id=_authorities)
    yield st.builds(MessageDeleted, **_in_place, deleter_id=_authorities, deleted_at=_times)


def _imports() -> Iterator[st.SearchStrategy[Fact]]:
    said: _Fields = {"sender_id": _people, "sender_name": _names, "text": _texts, "style": _styles, "sent_at": _times}
    raw = st.none() | st.binary(max_size=3)
    yield st.builds(MessageImported, **_in_place, **_imported, **said, reply_to=_replies, raw=raw)
    who: _Fields = {"participant_id": _people, "participant_name": _names, "event": _events, "changed_at": _times}
    yield st.builds(MembershipImported, **_places, **_imported, **who)


def topic_facts() -> st.SearchStrategy[Fact]:
    """A change of a topic that nobody stated, or of one that nobody knows; some are no change at all; not committed."""
    updates = [SharedText("", "").changed_to(text, actor=text) for text in ("tea", "at five", "\N{HOT BEVERAGE}")]
    return st.builds(
        TopicEdited,
        **_places,
        editor_id=_authorities,
        basis=st.sampled_from(["", "", "00" * 32]),
        update=st.sampled_from([*updates, b"", b"no update"]),
        edited_at=_times,
    )


def rebound_facts() -> st.SearchStrategy[Fact]:
    """A channel that becomes part of another one, or of itself, or of one that does not exist; not committed."""
    return st.builds(
        ChannelRebound,
        context_id=_contexts,
        channel_id=_channels,
        canonical_id=st.sampled_from(["general", "other", "other", "nowhere"]),
        rebound_at=_times,
        actor_id=_authorities,
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
        st.builds(
            DeviceInvitation,
            subject_authority=_authorities,
            initiator_device_id=_texts,
            device_id=_texts,
            key_package=_sealed_bytes,
            baseline_tree_ops=st.lists(_sealed_bytes, max_size=2).map(tuple),
            ceremony_id=_texts,
            pending_epoch=_epochs,
        ),
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


def ceremony_fact_parts() -> st.SearchStrategy[Fact]:
    """One part of an invitation's ceremony, not committed."""
    place = {"context_id": _contexts, "invitation_id": st.sampled_from([None, "i0", "i1"]), "timestamp_ms": _times}
    about = place | {"ceremony_id": st.sampled_from(["c0", "c1"])}
    modes = {"agreement_mode": st.sampled_from([None, "provisional", "consensus_finalized"])}
    return st.one_of(
        st.builds(
            InvitationCeremonyInitiated,
            **about,
            **modes,
            sender_id=_authorities,
            required=st.none() | st.integers(min_value=1, max_value=3),
            pending_epoch=st.none() | _epochs,
        ),
        st.builds(InvitationCeremonyAcceptanceReceived, **about, **modes, acceptor_id=_authorities),
        st.builds(
            InvitationCeremonyCommitted,
            **about,
            **modes,
            actor_id=_authorities,
            relationship_id=st.just("rel-" + "0f" * 8),
            consensus_id=st.none() | _texts,
        ),
        st.builds(InvitationCeremonyAborted, **about, actor_id=_authorities, reason=_texts),
        st.builds(
            InvitationCeremonySuperseded,
            **place,
            superseded_ceremony_id=st.sampled_from(["c0", "c1"]),
            superseding_ceremony_id=st.sampled_from(["c1", "c2"]),
            actor_id=_authorities,
            reason=_texts,
        ),
    )


HOME = home_context(ADA, "friends")
"""The home of `ADA`; what others do there needs a right."""


def moderation_facts() -> st.SearchStrategy[Fact]:
    """One moderation fact of `HOME`, not committed; whether its actor may is another question."""
    home = {"context_id": st.just(HOME), "actor_id": _authorities}
    against = home | {"target_id": _authorities}
    scope = {"channel_id": st.sampled_from([None, "general", "other"])}
    pinned = home | {"channel_id": _channels, "message_id": _messages}
    return st.one_of(
        st.builds(HomeDeclared, context_id=st.just(HOME), owner_id=_authorities, name=_names, declared_at=_times),
        st.builds(HomeMute, **against, **scope, muted_at=_times, expires_at=st.none() | _times),
        st.builds(HomeUnmute, **against, **scope, unmuted_at=_times),
        st.builds(HomeBan, **against, **scope, reason=_texts, banned_at=_times, expires_at=st.none() | _times),
        st.builds(HomeUnban, **against, **scope, unbanned_at=_times),
        st.builds(HomeKick, **against, channel_id=_channels, reason=_texts, kicked_at=_times),
        st.builds(HomePin, **pinned, pinned_at=_times),
        st.builds(HomeUnpin, **pinned, unpinned_at=_times),
        st.builds(HomeGrantModerator, **against, granted_at=_times),
        st.builds(HomeGrantModerator, **against, granted_at=_times),
        st.builds(HomeRevokeModerator, **against, revoked_at=_times),
    )


@st.composite
def epochs(draw: st.DrawFn) -> ChannelEpochCommitted:
    """A transition of a channel's epoch, not committed; about one in four breaks a rule."""
    parent = draw(_epochs)
    context, channel = draw(_contexts), draw(_channels)
    successor = parent + draw(st.sampled_from([1, 1, 1, 1, 1, 2]))
    commitment = draw(st.sampled_from(["a", "a", "a", "b"]))
    witnesses = draw(st.lists(_people, max_size=3))
    return ChannelEpochCommitted(
        context_id=context,
        channel_id=channel,
        actor_id=draw(_authorities),
        parent_epoch=parent,
        successor_epoch=successor,
        commitment=commitment,
        transition_id=channel_transition_id(
            context_id=context,
            channel_id=draw(st.sampled_from([channel, channel, channel, "general"])),
            parent_epoch=parent,
            successor_epoch=successor,
            commitment=commitment,
        ),
        certificate_digest=draw(st.sampled_from(["d", "d", "d", ""])),
        threshold=draw(st.integers(min_value=0, max_value=2)),
        witnesses=tuple(witnesses),
        committed_at=draw(_times),
    )


def protocol_facts(op_ids: Sequence[str] = ("00" * 32, "ff" * 32)) -> st.SearchStrategy[Fact]:
    """One protocol fact, not committed, about one of *op_ids* where it is about an operation."""
    place = {"context_id": _contexts}
    channels = st.sampled_from([None, "general", "general", "other"])
    about = place | {"actor_id": _authorities, "op_id": st.sampled_from(list(op_ids)), "channel_id": channels}
    return st.one_of(
        epochs(),
        epochs(),
        st.builds(
            ConvergenceCertified,
            **about,
            prestate_hash=st.just("00"),
            coordinator_epoch=_epochs,
            acknowledged_by=st.just((ADA, BEN)),
            certified_at=_times,
        ),
        st.builds(OperationReverted, **about, reason=_texts, reverted_at=_times),
        st.builds(OperationFinalized, **about, consensus_id=st.sampled_from(["k0", "k1"]), finalized_at=_times),
        st.builds(
            LeakageRecorded,
            **place,
            actor_id=_authorities,
            observer=st.sampled_from(["external", "neighbor", "in_group"]),
            amount=st.integers(min_value=0, max_value=9) | st.just(2**63 - 1),
            operation=_texts,
            recorded_at=_times,
        ),
        st.builds(
            RecoveryGranted,
            **place,
            account_id=_authorities,
            guardian_id=_authorities,
            operation_id=_texts,
            granted_at=_times,
        ),
    )


def journal_facts() -> st.SearchStrategy[Fact]:
    """What a journal writes about itself, with made-up keys: no journal would accept such an opening."""
    hex_text = st.sampled_from(["00" * 32, "0f" * 32])
    return st.one_of(
        st.just(HeadsMerged()),
        st.builds(
            SnapshotTaken,
            namespace=_contexts,
            folded_kind=st.just("test.counted"),
            lattice=st.just("g_set"),
            sequence=st.integers(min_value=1, max_value=9),
            bases=st.lists(
                st.builds(SnapshotBase, chain=hex_text, fact_id=hex_text, seq=st.integers(1, 9)), max_size=3
            ).map(tuple),
            state=st.just("[]"),
            state_hash=hex_text,
        ),
        st.builds(
            ForkProven, chain=hex_text, namespace=_contexts, seq=st.integers(min_value=1, max_value=9), proof=hex_text
        ),
        st.builds(
            FactsErased,
            namespace=st.just("antiphon.default"),
            facts=st.lists(
                st.builds(
                    ErasedFact,
                    chain=st.just("0f" * 16),
                    fact_id=st.just("0f" * 32),
                    kind=st.just("doc.said"),
                    seq=st.integers(2, 1_000),
                ),
                max_size=3,
            ).map(tuple),
            reason=st.text(st.characters(codec="utf-8"), max_size=20),
        ),
        st.builds(
            ChainOpened,
            authority=_authorities,
            authority_key=hex_text,
            device=hex_text,
            label=_names,
            namespace=_contexts,
            nonce=hex_text,
            predecessor=st.none() | hex_text,
            public_key=hex_text,
            signature=hex_text,
        ),
    )


def standard_facts() -> st.SearchStrategy[Fact]:
    """One fact of any type that ships, not committed."""
    return st.one_of(
        chat_facts(),
        rebound_facts(),
        topic_facts(),
        contact_facts(),
        invitation_facts(),
        ceremony_fact_parts(),
        moderation_facts(),
        protocol_facts(),
        journal_facts(),
    )


_ACTORS = (
    "creator_id",
    "actor_id",
    "sender_id",
    "reader_id",
    "reactor_id",
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
    if isinstance(fact, RecoveryGranted):
        return AuthorityId(fact.guardian_id)
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


def _home_invitations() -> st.SearchStrategy[Fact]:
    """Invitations to `HOME`, and their answers."""
    about = {"context_id": st.just(HOME), "invitation_id": st.sampled_from(["i0", "i1", "i2"])}
    return st.one_of(
        st.builds(
            InvitationSent,
            **about,
            sender_id=_authorities,
            receiver_id=_authorities,
            invitation_type=st.builds(ChannelInvitation, home_id=st.sampled_from([HOME, HOME, HOME, "elsewhere"])),
            sent_at=_times,
            expires_at=st.none() | _times,
        ),
        st.builds(InvitationAccepted, **about, acceptor_id=_authorities, accepted_at=_times),
        st.builds(InvitationAccepted, **about, acceptor_id=_authorities, accepted_at=_times),
        st.builds(InvitationCancelled, **about, canceller_id=_authorities, cancelled_at=_times),
    )


def _home_messages() -> st.SearchStrategy[Fact]:
    """What is said in `HOME`, taken back, and who joins."""
    place: _Fields = {"context_id": st.just(HOME), "channel_id": st.just("general")}
    about = place | {"message_id": _messages}
    return st.one_of(
        _sent(about, reply_to=st.none()),
        st.builds(MessageDeleted, **about, deleter_id=_authorities, deleted_at=_times),
        _joined(place),
    )


@st.composite
def home_histories(draw: st.DrawFn, *, with_messages: bool = False, count_max: int = 25) -> list[Fact]:
    """Committed facts of `HOME`, in an order in which they may have been said.

    Each author has one chain and names some of what was said before, in ``basis`` or in the header; about one in eight
    is signed by somebody else than it names.
    """
    parts = [moderation_facts(), moderation_facts(), moderation_facts(), _home_invitations()]
    facts = st.one_of(*parts, *([_home_messages()] * 3 if with_messages else []))
    history: list[Fact] = []
    heads = dict.fromkeys(AUTHORITIES, 0)
    count = draw(st.integers(min_value=0, max_value=count_max))
    for fact in draw(st.lists(facts, min_size=count, max_size=count)):
        actor = actor_of(fact) or ADA
        signer = actor if draw(st.integers(min_value=0, max_value=7)) else draw(_authorities)
        seen = draw(st.sets(st.sampled_from(history), max_size=2)) if history else set()
        if "basis" in type(fact).model_fields and draw(st.booleans()):
            fact = fact.model_copy(update={"basis": tuple(sorted(each.record.fact_id.hex() for each in seen))})
            seen = set()
        heads[signer] += 1
        placed = commit_by(signer, fact, hlc=draw(st.integers(min_value=1, max_value=4)), seq=heads[signer])
        record = placed.record
        after = tuple(
            AfterLink(each.record.chain.chain, each.record.seq, each.record.fact_id[:16])
            for each in sorted(seen, key=lambda each: each.record.fact_id)
            if each.record.chain.chain != record.chain.chain
        )
        history.append(with_record(fact, record._replace(after=after)))
    return history


@st.composite
def deliveries(draw: st.DrawFn, history: Sequence[Fact]) -> list[list[Fact]]:
    """The windows in which a replica may see *history*: in any order, cut anywhere, with some facts twice."""
    repeated = draw(st.lists(st.sampled_from(history), max_size=5)) if history else []
    order = draw(st.permutations([*history, *repeated]))
    cuts = sorted(draw(st.sets(st.integers(min_value=0, max_value=len(order)), max_size=6)))
    edges = [0, *cuts, len(order)]
    return [list(order[start:end]) for start, end in pairwise(edges)]
