"""One message as it was said: what the chat view keeps of a fact while the message may be on a screen.

Decides nothing about order or visibility; ``message_log.py`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import intern
from typing import Final

from antiphon.facts import ChainId, Fact, FactRecord, MembershipImported, MessageImported, Stamp
from antiphon.facts.chat import MessageSent, MessageSentSealed
from antiphon.facts.fact import get_record

MessageEntry = tuple[
    int,  # sent at, ms; the first three are the stamp, so that entries sort by it
    int,  # HLC; 0 for an imported line
    bytes,  # fact id, distinct: comparing never gets beyond it; an imported line's file and number stand before it
    str,  # message id
    str,  # author: the authority who signed, and who alone may edit and delete
    str,  # sender id, the author's or a foreign one
    str,  # sender name
    str | bytes,  # text, or what is sealed
    str | None,  # reply to
    int | None,  # epoch hint
    str,  # style
    str | None,  # label of the importer; None when said here
    str | None,  # file it was imported from
    int | None,  # line there
    bytes,  # chain
    int,  # number in it
]
"""A plain tuple of plain values, because the garbage collector stops looking at those."""

MESSAGE_ID: Final = 3
AUTHOR: Final = 4
SENDER: Final = 5
EPOCH: Final = 9
SOURCE: Final = 12
LINE: Final = 13
CHAIN: Final = 14
SEQ: Final = 15

Recall = Callable[[Sequence[tuple[ChainId, int]]], Sequence[Fact]]
"""Reads members back from the journal, by chain and number; of a forked chain all that have the number, of what was
erased or damaged none."""


def place_of_import(fact: MessageImported | MembershipImported, record: FactRecord) -> Stamp:
    """Where an imported line stands among those of its time: by file and line, since what a clock read when it was
    imported says nothing of when it was said; so files may be imported in any order."""
    return (record.at, 0, place_in_source(fact.source, fact.line) + record.fact_id)


def place_in_source(source: str, line: int) -> bytes:
    """A line of a file, in bytes that sort like the two, and of which none begins with all of another's."""
    return source.encode().replace(b"\0", b"\0\xff") + b"\0\0" + (line + 2**63).to_bytes(8, "big")


def entry_of(fact: MessageSent | MessageSentSealed | MessageImported, record: FactRecord) -> MessageEntry:
    """What is kept of a message."""
    chain = record.chain
    if isinstance(fact, MessageImported):
        return (
            *place_of_import(fact, record),
            fact.message_id,
            chain.authority,
            intern(fact.sender_id),
            intern(fact.sender_name),
            fact.text,
            fact.reply_to,
            None,
            fact.style,
            chain.label,
            intern(fact.source),
            fact.line,
            chain.chain,
            record.seq,
        )
    return said_entry(fact, record, fact.text if isinstance(fact, MessageSent) else fact.payload)


def said_entry(fact: MessageSent | MessageSentSealed, record: FactRecord, text: str | bytes) -> MessageEntry:
    """What is kept of a message that was said here, for who knows its type already: asking costs as much again."""
    chain = record.chain
    authority = chain.authority
    return (
        record.at,
        record.hlc,
        record.fact_id,
        fact.message_id,
        authority,
        authority,
        intern(fact.sender_name),
        text,
        fact.reply_to,
        fact.epoch_hint,
        "message",
        None,
        None,
        None,
        chain.chain,
        record.seq,
    )


def entries_among(facts: Sequence[Fact], *, channel_id: str) -> list[MessageEntry]:
    """The messages of one channel among facts that were read back, signed by who they say."""
    return [
        entry_of(fact, get_record(fact))
        for fact in facts
        if isinstance(fact, MessageSent | MessageSentSealed | MessageImported)
        and fact.channel_id == channel_id
        and (isinstance(fact, MessageImported) or fact.sender_id == get_record(fact).chain.authority)
    ]
