"""What this node remembers beside facts, as DuckDB tables: acknowledgements, peers, where chains were collapsed, and
which payloads were let go.

Fed with the log's local lines in the order of the log, so that it is rebuilt with everything else; nothing in it ever
leaves the node. Works on a connection and inside a transaction that somebody else owns; every call blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import orjson

from antiphon.facts import ChainId, FactId

from ..bases import BASE_NOTE, ChainBase, bases_of, bases_of_note
from ..frame import LocalNote
from ..retention import RETIRED_NOTE, RetentionItem

if TYPE_CHECKING:  # what only reads the log need not load a database
    import duckdb

ACKS_NOTE = "acks"
ACKS_DROPPED_NOTE = "acks_dropped"
PEER_NOTE = "peer"
QUARANTINE_NOTE = "quarantine"
GUARD_PREFIX = "guard."
GUARD_STATE_NOTE = "guard.state"
"""What guards write down begins with the prefix; their state takes the place of every line before it."""

_TEXTS = "FROM (SELECT unnest(from_json(?::JSON, '[\"VARCHAR\"]')) AS f)"
_LIVE_ACKS = """
    SELECT a.fact_id, a.peer, min(a.acked_at) AS acked_at FROM internal.fact_acks AS a
    ANTI JOIN internal.acks_dropped AS d ON d.fact_id = a.fact_id {where} GROUP BY ALL
"""

# What was noted later tells of more meetings. A note that was copied forward from an old log file comes after newer
# ones, so the order of the log decides nothing: this is a join.
_PEER_AGE = "(succeeded + failed, last_seen, back_off_until, trust, authority)"
_DROP_OLDER_PEER = f"DELETE FROM internal.peers WHERE address = ? AND {_PEER_AGE} < (?, ?, ?, ?, ?)"
_ADD_PEER = """
    INSERT INTO internal.peers SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?)) AS given
    WHERE NOT EXISTS (SELECT 1 FROM internal.peers WHERE address = ?)
"""
_ADD_HORIZONS = """
    INSERT INTO internal.retired_upto SELECT key, value::BIGINT FROM json_each(?::JSON)
"""
_REFUSED = ("at_ms", "peer", "chain", "first_seq", "reason", "is_sender_at_fault", "size", "digest", "first_bytes")
_ADD_REFUSED = "INSERT INTO internal.refused SELECT ?, ?, ?, ?, ?, ?, ?, ?, unhex(?)"
_ITEMS = """
    SELECT f.fact_id, unhex(c.chain), f.seq, f.kind, f.at_ms, coalesce(octet_length(f.raw), strlen(f.payload), 0),
        EXISTS (SELECT 1 FROM internal.acks_dropped AS d WHERE d.fact_id = f.fact_id)
    FROM internal.facts AS f JOIN internal.chains AS c ON c.chain_number = f.chain_number
    JOIN (SELECT key, value::BIGINT AS upto FROM json_each(?::JSON)) AS g ON g.key = f.kind AND f.at_ms <= g.upto
    WHERE f.digest IS NULL ORDER BY f.position
"""
_UNRETIRED = """
    SELECT f.fact_id, unhex(c.chain), f.seq, f.kind, f.at_ms
    FROM internal.facts AS f JOIN internal.chains AS c ON c.chain_number = f.chain_number
    WHERE f.digest IS NULL AND (
        f.fact_id[1:16] IN (SELECT id_half FROM internal.retired_facts)
        OR EXISTS (SELECT 1 FROM internal.retired_upto AS r WHERE r.kind = f.kind AND f.at_ms <= r.at_ms))
"""


class TrackedAcks(NamedTuple):
    """A fact with acknowledgements: its kind, time and place, and when each peer acknowledged it first (ms)."""

    fact_id: bytes
    kind: str
    at_ms: int
    chain: bytes
    seq: int
    acks: Mapping[str, int]


class PeerRow(NamedTuple):
    """What is remembered of a peer; times in ms, ``back_off_until`` 0 when it may be met."""

    address: str
    authority: str
    trust: int
    succeeded: int
    failed: int
    last_seen: int
    back_off_until: int


def build_acks_note(peer: str, *, acked_at: int, fact_ids: Iterable[bytes]) -> LocalNote:
    """Note that *peer* holds these facts durably."""
    return LocalNote(ACKS_NOTE, {"at": acked_at, "facts": [each.hex() for each in fact_ids], "peer": peer})


def build_acks_dropped_note(*, dropped_at: int, fact_ids: Iterable[bytes]) -> LocalNote:
    """Note that the acknowledgements of these facts were let go."""
    return LocalNote(ACKS_DROPPED_NOTE, {"at": dropped_at, "facts": [each.hex() for each in fact_ids]})


def build_peer_note(peer: PeerRow) -> LocalNote:
    """Note what is known of a peer, in place of what was known before."""
    return LocalNote(PEER_NOTE, peer._asdict())


def apply_notes(connection: duckdb.DuckDBPyConnection, notes: Sequence[LocalNote]) -> None:
    """Take local lines in, in the log's order; kinds that have no table are passed over."""
    _keep_guard_notes(connection, [note for note in notes if note.kind.startswith(GUARD_PREFIX)])
    for note in notes:
        match note:
            case LocalNote("acks", value):
                connection.execute(
                    f"INSERT INTO internal.fact_acks SELECT unhex(f), ?, ? {_TEXTS}",
                    [value["peer"], value["at"], orjson.dumps(value["facts"]).decode()],
                ).fetchall()
            case LocalNote("acks_dropped", value):
                facts = orjson.dumps(value["facts"]).decode()
                connection.execute(
                    f"INSERT INTO internal.acks_dropped SELECT unhex(f), ? {_TEXTS}", [value["at"], facts]
                ).fetchall()
                connection.execute(
                    f"DELETE FROM internal.fact_acks WHERE fact_id IN (SELECT unhex(f) {_TEXTS})", [facts]
                ).fetchall()
            case LocalNote("peer", value):
                connection.execute(_DROP_OLDER_PEER, [value["address"], *_peer_age(value)]).fetchall()
                connection.execute(_ADD_PEER, [*_peer_row(value), value["address"]]).fetchall()
            case LocalNote("retired", value):
                upto = orjson.dumps(value["upto"]).decode()
                connection.execute(_ADD_HORIZONS, [upto]).fetchall()
                halves = orjson.dumps(value["facts"]).decode()
                connection.execute(f"INSERT INTO internal.retired_facts SELECT unhex(f) {_TEXTS}", [halves]).fetchall()
            case LocalNote("base"):
                _add_bases(connection, note)
            case LocalNote("quarantine", value):
                connection.execute(_ADD_REFUSED, [value[name] for name in _REFUSED]).fetchall()


def _add_bases(connection: duckdb.DuckDBPyConnection, note: LocalNote) -> None:
    """A line that was copied forward is the same line."""
    text = orjson.dumps(note.value, option=orjson.OPT_SORT_KEYS).decode()
    last = bases_of_note(note)[-1]
    place = [last.info.chain, last.seal.to_seq]
    connection.execute("DELETE FROM internal.bases WHERE chain = ? AND seq = ? AND note = ?", [*place, text]).fetchall()
    connection.execute("INSERT INTO internal.bases VALUES (?, ?, ?)", [*place, text]).fetchall()


def load_bases(connection: duckdb.DuckDBPyConnection) -> list[ChainBase]:
    """What is left of all runs that were collapsed; ~15 µs each."""
    rows = connection.execute("SELECT note FROM internal.bases ORDER BY chain, seq").fetchall()
    return bases_of(LocalNote(BASE_NOTE, orjson.loads(row[0])) for row in rows)


def _keep_guard_notes(connection: duckdb.DuckDBPyConnection, notes: Sequence[LocalNote]) -> None:
    """As they were written, in one statement: only the guards themselves know what they come to."""
    if not notes:
        return
    states = [place for place, note in enumerate(notes) if note.kind == GUARD_STATE_NOTE]
    if states:
        connection.execute("DELETE FROM internal.guard_notes").fetchall()
        notes = notes[states[-1] :]
    texts = [orjson.dumps({"kind": note.kind, "value": note.value}).decode() for note in notes]
    first = connection.execute("SELECT coalesce(max(place), 0) FROM internal.guard_notes").fetchall()[0][0]
    connection.execute(
        "INSERT INTO internal.guard_notes SELECT ? + row_number() OVER (), f "
        "FROM (SELECT unnest(from_json(?::JSON, '[\"VARCHAR\"]')) AS f)",
        [first, orjson.dumps(texts).decode()],
    ).fetchall()


def load_guard_notes(connection: duckdb.DuckDBPyConnection) -> list[LocalNote]:
    """What guards wrote down since their last state, in the order of the log."""
    rows = connection.execute("SELECT note FROM internal.guard_notes ORDER BY place").fetchall()
    return [LocalNote(**orjson.loads(row[0])) for row in rows]


def load_acks(connection: duckdb.DuckDBPyConnection, fact_ids: Iterable[bytes]) -> dict[bytes, dict[str, int]]:
    """When each peer first acknowledged each of these facts; facts without an acknowledgement are left out."""
    asked = orjson.dumps([each.hex() for each in fact_ids]).decode()
    query = _LIVE_ACKS.format(where=f"WHERE a.fact_id IN (SELECT unhex(f) {_TEXTS})")
    found: dict[bytes, dict[str, int]] = {}
    for fact_id, peer, acked_at in connection.execute(query, [asked]).fetchall():
        found.setdefault(fact_id, {})[peer] = acked_at
    return found


def load_tracked(connection: duckdb.DuckDBPyConnection) -> list[TrackedAcks]:
    """Every fact with acknowledgements that is a member here; one pass over the acknowledgements and two columns."""
    rows = connection.execute(
        f"SELECT l.fact_id, f.kind, f.at_ms, unhex(c.chain), f.seq, l.peer, l.acked_at "
        f"FROM ({_LIVE_ACKS.format(where='')}) AS l "
        "JOIN internal.facts AS f ON f.fact_id = l.fact_id JOIN internal.chains AS c USING (chain_number) "
        "ORDER BY l.fact_id, l.peer"
    ).fetchall()
    found: dict[bytes, TrackedAcks] = {}
    for fact_id, kind, at_ms, chain, seq, peer, acked_at in rows:
        tracked = found.setdefault(fact_id, TrackedAcks(fact_id, kind, at_ms, chain, seq, {}))
        found[fact_id] = tracked._replace(acks={**tracked.acks, peer: acked_at})
    return list(found.values())


def load_unacked(
    connection: duckdb.DuckDBPyConnection, peer: str, kinds: Iterable[str], *, after: int, upto: int
) -> list[bytes]:
    """Facts of *kinds* by others than *peer*, at the log's positions after..upto, that *peer* has not acknowledged."""
    rows = connection.execute(
        "SELECT fact_id FROM internal.facts JOIN internal.chains USING (chain_number) "
        f"WHERE position > ? AND position <= ? AND kind IN (SELECT f {_TEXTS}) AND authority <> ? "
        "AND fact_id NOT IN (SELECT fact_id FROM internal.fact_acks WHERE peer = ?) "
        "AND fact_id NOT IN (SELECT fact_id FROM internal.acks_dropped) ORDER BY position",
        [after, upto, orjson.dumps(sorted(kinds)).decode(), peer, peer],
    ).fetchall()
    return [row[0] for row in rows]


def load_peers(connection: duckdb.DuckDBPyConnection) -> list[PeerRow]:
    """Every peer that is remembered."""
    return [PeerRow(*row) for row in connection.execute("SELECT * FROM internal.peers ORDER BY address").fetchall()]


def load_retention_items(connection: duckdb.DuckDBPyConnection, upto: Mapping[str, int]) -> list[RetentionItem]:
    """The facts that have a payload, of each kind up to its time, with their acknowledgements; in the log's order."""
    rows = connection.execute(_ITEMS, [orjson.dumps(upto).decode()]).fetchall()
    acks = load_acks(connection, [row[0] for row in rows])
    return [
        RetentionItem(FactId(fact_id), ChainId(chain), seq, kind, at_ms, size, acks.get(fact_id, {}), is_let_go)
        for fact_id, chain, seq, kind, at_ms, size, is_let_go in rows
    ]


def count_payloads(connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]) -> dict[str, int]:
    """How many facts of each of *kinds* have a payload; kinds that nobody has are left out."""
    rows = connection.execute(
        f"SELECT kind, count(*) FROM internal.facts WHERE digest IS NULL AND kind IN (SELECT f {_TEXTS}) GROUP BY kind",
        [orjson.dumps(sorted(kinds)).decode()],
    ).fetchall()
    return dict(rows)


def load_first_skeletons(connection: duckdb.DuckDBPyConnection, kind: str) -> dict[bytes, int]:
    """By chain, the lowest number of a fact of *kind* whose payload is gone."""
    rows = connection.execute(
        "SELECT unhex(c.chain), min(f.seq) FROM internal.facts AS f JOIN internal.chains AS c USING (chain_number) "
        "WHERE f.kind = ? AND f.digest IS NOT NULL GROUP BY ALL",
        [kind],
    ).fetchall()
    return dict(rows)


def load_unretired(connection: duckdb.DuckDBPyConnection) -> list[RetentionItem]:
    """The facts that were let go and have their payload still, because the process ended before it was done."""
    rows = connection.execute(_UNRETIRED).fetchall()
    return [
        RetentionItem(FactId(fact_id), ChainId(chain), seq, kind, at_ms, 0) for fact_id, chain, seq, kind, at_ms in rows
    ]


def load_retired(connection: duckdb.DuckDBPyConnection) -> LocalNote:
    """Everything that was let go, as one note: the horizons, and the single facts that none of them covers."""
    horizons = connection.execute("SELECT kind, max(at_ms) FROM internal.retired_upto GROUP BY kind").fetchall()
    singles = connection.execute(
        "SELECT DISTINCT lower(hex(id_half)) FROM internal.retired_facts ANTI JOIN (SELECT fact_id[1:16] AS id_half "
        "FROM internal.facts AS f JOIN internal.retired_upto AS r ON r.kind = f.kind AND f.at_ms <= r.at_ms) "
        "USING (id_half)"
    ).fetchall()
    return LocalNote(RETIRED_NOTE, {"facts": [row[0] for row in singles], "upto": dict(horizons)})


def _peer_age(value: Mapping[str, object]) -> tuple[object, ...]:
    peer = PeerRow(**value)  # type: ignore[arg-type]  # what the log says is of these types
    return (peer.succeeded + peer.failed, peer.last_seen, peer.back_off_until, peer.trust, peer.authority)


def _peer_row(value: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(value[name] for name in PeerRow._fields)
