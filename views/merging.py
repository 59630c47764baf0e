"""Channels that were provisional and became part of another one: which belong together, and what is shown of them.

Moves nothing: each channel keeps its own log, and they are joined when they are drawn. So a word that comes late, that
it was another channel or that it is none any more, needs no history; and who looks at the facts in another order, sees
the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeVar

from .chat_state import MESSAGE_COUNT_MAX, Message
from .message_entry import AUTHOR, MessageEntry
from .message_log import MessageLog, claim_of

K = TypeVar("K", bound=tuple[str, str])


class MergedMessages(NamedTuple):
    """The newest visible messages of several logs, each once, and how many there are."""

    shown: tuple[Message, ...]
    visible_count: int
    unread_count: int


def roots_of(canonical: Mapping[K, K]) -> dict[K, K]:
    """Where each channel ends up that points elsewhere; of channels in a circle all in the first of them.

    >>> roots_of({("c", "a"): ("c", "b"), ("c", "b"): ("c", "d")})
    {('c', 'a'): ('c', 'd'), ('c', 'b'): ('c', 'd')}
    """
    found: dict[K, K] = {}
    for key in canonical:
        way, place = [key], key
        while (place := canonical.get(place, place)) not in way:
            way.append(place)
        root = min(way[way.index(place) :])
        if root != key:
            found[key] = root
    return found


def merge_logs(root: MessageLog, others: Sequence[MessageLog]) -> MergedMessages:
    """What a channel shows with those that were merged into it; O(what each shows, and what its closing hides).

    Of messages with one id the one with the best claim to it is shown. What is said about it counts wherever it was
    said: edits, reactions and marks, and what its author took back in one of the channels is gone from all.
    """
    logs = (root, *others)
    said = [(entry, message, root) for entry, message in root.shown_entries]
    visible, unread = root.visible_count, root.unread_count
    for log in others:
        hidden = (0, 0) if root.hidden_until is None else log.count_until(root.hidden_until)
        visible += log.visible_count - hidden[0]
        unread += log.unread_count - hidden[1]
        pairs = log.shown_entries
        said += [(*pair, log) for pair in pairs if root.hidden_until is None or pair[0][0] > root.hidden_until]
    said.sort(key=itemgetter(0))
    best = _best_claims(said, logs)
    kept: dict[str, Message] = {}
    for entry, message, home in said:
        if best.get(message.id) is entry:
            joined = kept[message.id] = home.with_words_of((log for log in logs if log is not home), entry, message)
            unread -= joined.is_read and not message.is_read
        else:
            visible -= 1
            unread -= not message.is_read
    return MergedMessages(tuple(kept.values())[-MESSAGE_COUNT_MAX:], visible, unread)


def messages_before(root: MessageLog, others: Sequence[MessageLog], message_id: str, count: int) -> tuple[Message, ...]:
    """The newest *count* messages before that one, each once, oldest first; none before one that nobody knows."""
    logs = (root, *others)
    stamp = next((found for log in logs if (found := log.stamp_of(message_id)) is not None), None)
    if stamp is None:
        return ()
    said = [(*pair, log) for log in logs for pair in log.before(stamp, count)]
    said = [each for each in said if root.hidden_until is None or each[0][0] > root.hidden_until]
    page: dict[str, Message] = {}
    best = _best_claims(said, logs)
    for entry, message, home in sorted(said, key=itemgetter(0)):
        if best.get(message.id) is entry:
            page[message.id] = home.with_words_of((log for log in logs if log is not home), entry, message)
    return tuple(page.values())[-count:]


def _best_claims(
    said: Iterable[tuple[MessageEntry, Message, MessageLog]], logs: Sequence[MessageLog]
) -> dict[str, MessageEntry]:
    """By message id the one that is shown, of those that their authors took back in none of the channels."""
    best: dict[str, MessageEntry] = {}
    for entry, message, _ in said:
        known = best.get(message.id)
        if known is not None and claim_of(entry) >= claim_of(known):
            continue
        if not any(log.is_taken_back(message.id, entry[AUTHOR]) for log in logs):
            best[message.id] = entry
    return best
