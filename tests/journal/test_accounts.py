"""What a node remembers for itself is a join: local lines mean the same in whatever order they come, and how often.

Sealing a log file copies its live lines forward, so that an old one stands behind newer ones in the log.
"""

from itertools import permutations
from pathlib import Path

from antiphon.journal.frame import LocalNote
from antiphon.journal.stores.accounts import (
    PeerRow,
    apply_notes,
    build_acks_dropped_note,
    build_acks_note,
    build_peer_note,
    load_acks,
    load_peers,
    load_retired,
)
from antiphon.journal.stores.tables import connect, create_tables

FACTS = (bytes(range(32)), bytes(range(1, 33)))


def remembered(folder: Path, notes: tuple[LocalNote, ...]) -> str:
    connection = connect(":memory:", spool=folder / "spool", thread_count=1)
    create_tables(connection)
    for note in notes:
        apply_notes(connection, [note])
    horizons = load_retired(connection).value
    found = (load_peers(connection), load_acks(connection, FACTS), sorted(map(repr, horizons.items())))
    connection.close()
    return repr(found)


def test_a_peers_old_note_that_was_copied_forward_does_not_undo_what_came_after(tmp_path: Path) -> None:
    """Red until 2026-11: the last line won, so that sealing a file brought back an old opinion of a peer."""
    first = build_peer_note(PeerRow("tcp://a:1", "aa", 52, 1, 0, 1_000, 0))
    failed = build_peer_note(PeerRow("tcp://a:1", "aa", 52, 1, 1, 1_000, 400_000))
    healed = build_peer_note(PeerRow("tcp://a:1", "aa", 54, 2, 1, 900, 0))
    other = build_peer_note(PeerRow("tcp://b:1", "", 45, 0, 1, 0, 5))
    expected = remembered(tmp_path, (first, failed, healed, other))
    assert "trust=54" in expected
    for order in permutations((first, failed, healed, other)):
        assert remembered(tmp_path, (*order, *order[:2])) == expected


def test_acknowledgements_and_what_was_let_go_mean_the_same_in_any_order(tmp_path: Path) -> None:
    notes = (
        build_acks_note("aa", acked_at=5, fact_ids=FACTS),
        build_acks_note("aa", acked_at=3, fact_ids=FACTS[:1]),
        build_acks_dropped_note(dropped_at=9, fact_ids=FACTS[1:]),
        LocalNote("retired", {"facts": [FACTS[0][:16].hex()], "upto": {"a.b": 7}}),
        LocalNote("retired", {"facts": [], "upto": {"a.b": 9, "c.d": 1}}),
    )
    expected = remembered(tmp_path, notes)
    for order in permutations(notes):
        assert remembered(tmp_path, (*order, order[0])) == expected
