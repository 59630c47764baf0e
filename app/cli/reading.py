"""Commands that look: ``show``, ``log``, ``tail``, ``query`` and ``stats``, also while another process is writing."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .screen import JournalOption, JsonOption, clean, counted, newest, say, show_time, write, write_json, write_table
from .travelling import SHIPPED, AsOfOption, ViewArgument, load_view, moment_of, opened, plain_state

if TYPE_CHECKING:
    from antiphon.app.hidden import HiddenJudge
    from antiphon.app.history import History
    from antiphon.app.offline import OfflineJournal
    from antiphon.facts import FactRecord
    from antiphon.views import ChatState, ContactsState, HomesState, InvitationsState

# Following looks at two file sizes: often while facts come, so that a person sees them at once, then ever less often.
_FOLLOW_SECONDS_MIN = 0.02
_FOLLOW_SECONDS_MAX = 0.5
_MESSAGES_SHOWN = 20
_PAYLOAD_SHOWN = 160

KindOption = Annotated[str, typer.Option("--kind", help="Only kinds that match, such as 'chat.*'.")]
WhoOption = Annotated[
    str | None, typer.Option("--author", help="Only facts of this author: display name, or authority in hex.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only facts stamped then or later; ISO (UTC) or ms.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only facts stamped by then.")]


class Choice(NamedTuple):
    """Which facts are listed."""

    pattern: str
    author: str | None
    since_ms: int | None
    until_ms: int | None

    @classmethod
    def of(cls, pattern: str, author: str | None, since: str | None, until: str | None) -> Choice:
        """Read the moments; raises ``HistoryError`` for what is none."""
        if since is None and until is None:
            return cls(pattern, author, None, None)
        from antiphon.app.moment import to_ms

        first, last = moment_of(since), moment_of(until)
        return cls(pattern, author, None if first is None else to_ms(first), None if last is None else to_ms(last))

    def takes_evidence(self, row: Mapping[str, Any]) -> bool:
        """Whether a piece of evidence is listed."""
        return (
            (self.author is None or self.author in (row["author"], row["authority"]))
            and (self.since_ms is None or row["at_ms"] >= self.since_ms)
            and (self.until_ms is None or row["at_ms"] <= self.until_ms)
        )

    def takes(self, record: FactRecord) -> bool:
        """Whether a fact is listed."""
        return (
            fnmatchcase(record.kind, self.pattern)
            and (self.author is None or self.author in (record.chain.label, record.chain.authority))
            and (self.since_ms is None or record.at >= self.since_ms)
            and (self.until_ms is None or record.at <= self.until_ms)
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (show, log, tail, query, stats):
        app.command()(command)


def show(
    view: ViewArgument,
    journal: JournalOption,
    channel: Annotated[
        str | None, typer.Option("--channel", "-c", help="Only this channel (id or name); for chat.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, help="At most so many of each list, the newest; 0 for all.")
    ] = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a view shows the journal's owner, now or as it was.

    JSON: one object. chat: {total_unread, channels: [{…, messages: […]}]}, at most the newest 500 messages a channel;
    contacts: {contacts: […]}; invitations: {pending, sent, history}; homes: {homes: […]}; any other view: {state: …}.
    Exit code 1 when --channel names none.
    """
    if view in _SHOWN and as_of is None:
        state = _fold_now(journal, view)
    else:
        source = load_view(view)
        with opened(journal) as history:
            state = history.view(source, as_of=moment_of(as_of))
    if view == "chat":
        _show_chat(state, channel, limit, as_json=as_json)
    elif view in _SHOWN:
        _SHOWN[view](state, limit, as_json=as_json)
    elif as_json:
        write_json({"state": plain_state(state)})
    else:
        _show_state(state)


def _fold_now(journal: Path, view: str) -> Any:
    """The state now, straight from the log."""
    from antiphon import views
    from antiphon.app.offline import fold_view, open_offline
    from antiphon.app.troubles import find_void
    from antiphon.facts import AuthorityId
    from antiphon.runtime.clock import SystemClock

    offline = open_offline(journal)
    records = list(offline.read_records())
    void = find_void(offline)
    records = [record for record in records if record.fact_id not in void] if void else records
    _tell_damages(offline)
    owner = offline.owner
    authority = owner.authority if owner else AuthorityId("")
    return fold_view(records, getattr(views, SHIPPED[view]), authority=authority, now_ms=SystemClock().now_ms())


def log(
    journal: JournalOption,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Only facts that views do not show, each with the reason.")
    ] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Instead: what peers and writers did that they must not do.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="The newest so many; 0 for all.")] = 50,
    kind: KindOption = "*",
    author: WhoOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """List facts in the order in which this journal took them, the newest last.

    JSON: one object a line: fact_id, kind, version, namespace, chain, seq, at_ms, hlc, author, authority, payload; with
    --hidden also hidden (a word) and reason, and payload is null when it was erased or is no JSON. With --evidence:
    what (refused or forked), at_ms, peer, chain, first_seq, author, authority, reason, is_sender_at_fault, size,
    digest, first_bytes (hex), as the SQL view evidence has them; --author, --since and --until choose there as well.
    """
    if evidence:
        if hidden or kind != "*":
            raise typer.BadParameter("--evidence lists no facts, so it goes with neither --hidden nor --kind")
        _list_evidence(journal, Choice.of(kind, author, since, until), limit, as_json=as_json)
        return
    from antiphon.app.hidden import HiddenJudge
    from antiphon.app.offline import open_offline
    from antiphon.runtime.clock import SystemClock

    offline = open_offline(journal)
    choice, judge = Choice.of(kind, author, since, until), HiddenJudge(SystemClock().now_ms())
    chosen = deque(_choose(offline, judge, choice, only_hidden=hidden), maxlen=limit or None)
    if judge.learn(offline):
        # Only the whole log says what is void or without right, so a journal with either is read twice.
        chosen = deque(_choose(open_offline(journal), judge, choice, only_hidden=hidden), maxlen=limit or None)
    for line in chosen:
        _write_fact(line, as_json=as_json)
    if not chosen:
        _tell_kinds(offline, kind)
    _tell_damages(offline)


def _tell_kinds(offline: OfflineJournal, pattern: str) -> None:
    """Tell somebody who mistook a kind which ones there are; nothing when the pattern names one."""
    from antiphon.app.kind_advice import advise_on_kind

    known = {kind for kind, _ in offline.registrations}
    told = advise_on_kind(pattern, known, otherwise="antiphon stats lists the kinds that are there")
    if told is not None:
        say(told)


def _list_evidence(journal: Path, choice: Choice, limit: int, *, as_json: bool) -> None:
    with opened(journal) as history:
        result = history.sql("SELECT * FROM evidence ORDER BY at_ms, digest")
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]
    chosen: list[dict[str, Any]] = [row for row in rows if choice.takes_evidence(row)]
    for row in chosen[newest(chosen, limit) :]:
        if as_json:
            write_json(row | {"first_bytes": row["first_bytes"].hex()}, is_line=True)
            continue
        whose = f" of chain {row['chain'][:8]} from number {row['first_seq']}" if row["chain"] else ""
        fault = (row["peer"] or "the sender") if row["is_sender_at_fault"] else row["author"] or "the chain's writer"
        write(
            f"{show_time(row['at_ms'])}  {row['what']}  {row['size']} bytes{whose}; at fault: {clean(fault)}; "
            f"{clean(row['reason'])}"
        )


def tail(
    journal: JournalOption,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Begin with the newest so many.")] = 10,
    kind: KindOption = "*",
    author: WhoOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest facts, and with --follow those that come, until interrupted (exit code 130).

    JSON: one object a line, as ``log`` writes it.
    """
    from antiphon.app.hidden import HiddenJudge
    from antiphon.app.offline import open_offline
    from antiphon.runtime.clock import SystemClock

    offline = open_offline(journal)
    clock = SystemClock()
    choice, judge = Choice.of(kind, author, since, until), HiddenJudge(clock.now_ms())
    for line in deque(_choose(offline, judge, choice), maxlen=limit):
        _write_fact(line, as_json=as_json)
    _tell_damages(offline)
    pause = _FOLLOW_SECONDS_MIN
    while follow:
        time.sleep(pause)
        pause = min(pause * 2, _FOLLOW_SECONDS_MAX)
        if offline.has_grown():
            judge.now_ms = clock.now_ms()
            for line in _choose(offline, judge, choice):
                _write_fact(line, as_json=as_json)
                pause = _FOLLOW_SECONDS_MIN


def query(
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL", help="One reading statement; kind chat.message_sent is the view chat_message_sent."
        ),
    ],
    journal: JournalOption,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV with a line of column names.")] = False,
) -> None:
    """Ask the journal's history in SQL.

    Every kind is a view with its fields as columns; ``history`` holds all facts. JSON: one object a line, by column.
    """
    from antiphon.app.history import HistoryError

    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    with opened(journal) as history:
        try:
            columns, rows = _ask(history, sql)
        except HistoryError as problem:
            # DuckDB marks the place with a caret below the line, so the lines stay as they are.
            say("\n".join(clean(line) for line in str(problem).rstrip().split("\n")))
            raise typer.Exit(2) from None
    if as_json:
        for row in rows:
            write_json(dict(zip(columns, row, strict=True)), is_line=True)
    elif as_csv:
        _write_csv(columns, rows)
    else:
        write_table(columns, rows)


def _ask(history: History, sql: str) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """The answer to a query; an interrupt ends it inside DuckDB, which hears of none by itself while it computes."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(history.sql, sql).result()
        fetching = thread.submit(result.fetchall)
        try:
            while not fetching.done():
                # Bounded, so that an interrupt is seen.
                wait([fetching], timeout=_FOLLOW_SECONDS_MAX)
        except KeyboardInterrupt:
            while not fetching.done():
                result.interrupt()
                wait([fetching], timeout=_FOLLOW_SECONDS_MIN)
            raise
        return result.columns, fetching.result()


def stats(journal: JournalOption, as_json: JsonOption = False) -> None:
    """Count what the journal holds.

    JSON: one object: journal, journal_id, author, authority, fingerprint, facts, frames, log_bytes, first_ms, last_ms,
    kinds {kind: facts}, namespaces {name: {facts, chains, root}}, authors [{author, authority, facts}], strays,
    damages, holes, forks, void, evidence and bases as verify tells them, and last_run: what the process that closed
    the journal last had done {windows, batches, facts_folded, latency_p50_us and latency_p95_us from commit to signal,
    lagged, recomputations, view_failures, views {id: {runs, changes, failures}}}, or null.
    """
    from antiphon.app.offline import open_offline
    from antiphon.app.troubles import find_troubles
    from antiphon.journal.stores.folder import last_run_of

    offline = open_offline(journal)
    found = _count(offline)
    last_run = last_run_of(journal)
    found["last_run"] = dict(last_run) if last_run is not None else None
    troubles = find_troubles(offline)
    found |= troubles.describe()
    _tell_damages(offline)
    for line in troubles.lines():
        say(clean(line))
    if as_json:
        write_json(found)
        return
    write(
        f"{found['journal']}: {counted(found['facts'], 'fact')} by {counted(len(found['authors']), 'author')} "
        f"in {found['log_bytes']:,} bytes of log"
    )
    write(f"from {show_time(found['first_ms'])} to {show_time(found['last_ms'])}, fingerprint {found['fingerprint']}")
    write("")
    write_table(("kind", "facts"), sorted(found["kinds"].items()))
    write("")
    write_table(
        ("namespace", "facts", "chains"),
        [(name, entry["facts"], entry["chains"]) for name, entry in found["namespaces"].items()],
    )
    if last_run is not None:
        write("")
        write(_tell_run(last_run))


def _tell_run(run: Mapping[str, object]) -> str:
    p50, p95 = run.get("latency_p50_us"), run.get("latency_p95_us")
    latency = (
        f", commit to signal {p50 / 1_000:.1f} ms (p95 {p95 / 1_000:.1f})"
        if isinstance(p50, int | float) and isinstance(p95, int | float)
        else ""
    )
    return clean(
        f"last run: {run.get('windows')} windows, {run.get('recomputations')} recomputations in "
        f"{run.get('batches')} batches, {run.get('lagged')} snapshots lost by slow subscribers{latency}"
    )


# What facts are listed, and how


def _choose(
    offline: OfflineJournal, judge: HiddenJudge, choice: Choice, *, only_hidden: bool = False
) -> Iterator[dict[str, object]]:
    """The facts to list: those that views may show, or only the others with the reason."""
    for record in offline.read_records():
        judge.note(offline, record)
        if not choice.takes(record):
            continue
        reason = judge.find(record)
        if reason is not None and only_hidden:
            yield _describe(record) | {"hidden": reason.code, "reason": reason.reason}
        elif reason is None and not only_hidden:
            yield _describe(record)


def _describe(record: FactRecord) -> dict[str, object]:
    import orjson

    try:
        payload = orjson.loads(record.payload) if record.payload is not None else None
    except orjson.JSONDecodeError:
        payload = None
    return {
        "fact_id": record.fact_id.hex(),
        "kind": record.kind,
        "version": record.version,
        "namespace": record.chain.namespace,
        "chain": record.chain.text,
        "seq": record.seq,
        "at_ms": record.at,
        "hlc": record.hlc,
        "author": record.chain.label,
        "authority": record.chain.authority,
        "payload": payload,
    }


def _write_fact(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(line, is_line=True)
        return
    import json

    payload = clean(json.dumps(_without_ids(line["payload"]), ensure_ascii=False))
    if len(payload) > _PAYLOAD_SHOWN:
        payload = payload[:_PAYLOAD_SHOWN] + "…"
    reason = f"  [{line['hidden']}: {clean(line['reason'])}]" if "hidden" in line else ""
    author = clean(line["author"] or line["authority"][:8])
    write(f"{show_time(line['at_ms'])}  {line['fact_id'][:12]}  {author}  {line['kind']}{reason}  {payload}")


def _without_ids(payload: object) -> object:
    """What a person wants to see of a payload, what was said first: ids and absent fields are left to --json."""
    if not isinstance(payload, dict):
        return payload
    names = sorted(payload, key=lambda name: name != "text")
    return {name: payload[name] for name in names if payload[name] is not None and not name.endswith("_id")}


def _write_csv(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    for row in (columns, *rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(
            [value.hex() if isinstance(value, bytes) else value for value in row]
        )
        write(text.getvalue())


def _count(offline: OfflineJournal) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    namespaces: Counter[str] = Counter()
    authors: Counter[tuple[str, str]] = Counter()
    first: int | None = None
    last: int | None = None
    for run in offline.read_runs():
        kinds.update(record.kind for record in run.records)
        namespaces[run.info.namespace] += len(run.records)
        authors[run.info.label, run.info.authority] += len(run.records)
        # The journal's own bookkeeping is dated by its clock; the span is that of what people did.
        times = [record.at for record in run.records if not record.kind.startswith("journal.")]
        first = min([*times, *([] if first is None else [first])], default=None)
        last = max([*times, *([] if last is None else [last])], default=None)
    owner = offline.owner
    roots = offline.index.roots()
    return {
        "journal": str(offline.folder),
        "journal_id": offline.cursor.journal,
        "author": owner.label if owner else None,
        "authority": owner.authority if owner else None,
        "fingerprint": offline.index.fingerprint(),
        "facts": offline.index.fact_count,
        "frames": offline.frame_count,
        "log_bytes": offline.log_bytes,
        "first_ms": first,
        "last_ms": last,
        "kinds": dict(sorted(kinds.items())),
        "namespaces": {
            name: {
                "facts": namespaces[name],
                "chains": sum(1 for _ in offline.index.chains(name)),
                "root": root.hex(),
            }
            for name, root in sorted(roots.items())
        },
        "authors": [
            {"author": label, "authority": authority, "facts": count}
            for (label, authority), count in sorted(authors.items())
        ],
        "strays": offline.stray_count,
        "damages": len(offline.damages),
    }


def _tell_damages(offline: OfflineJournal) -> None:
    for damage in offline.damages:
        say(f"log file {damage.file_number}, byte {damage.offset}: {damage.reason}; run antiphon verify")


# What the views show


def _show_chat(state: ChatState, channel: str | None, limit: int | None, *, as_json: bool) -> None:
    keys = [
        key
        for key in sorted(state.channels)
        if channel is None or channel in (key.channel_id, state.channels[key].name)
    ]
    if channel is not None and not keys:
        names = ", ".join(key.channel_id for key in sorted(state.channels))
        say(f"no channel {channel!r} here; there are: {names or 'none'}")
        raise typer.Exit(1)
    if as_json:
        found = state.to_json()
        wanted = {(key.context_id, key.channel_id) for key in keys}
        channels: Any = found["channels"]
        kept = [entry for entry in channels if (entry["context_id"], entry["id"]) in wanted]
        for entry in kept:
            entry["messages"] = entry["messages"][newest(entry["messages"], limit or 0) :]
        write_json(found | {"channels": kept})
        return
    for key in keys:
        entry, messages = state.channels[key], state.messages[key]
        write(
            f"{clean(entry.name)} ({clean(key.context_id)}): {counted(entry.message_count, 'message')}, "
            f"{entry.unread_count:,} unread, {counted(entry.member_count, 'member')}"
        )
        for message in messages[newest(messages, _MESSAGES_SHOWN if limit is None else limit) :]:
            who = {"action": "* {}", "notice": "-{}-", "system": "{}:"}.get(message.style, "<{}>")
            write(
                f"  {show_time(message.timestamp)}  {who.format(clean(message.sender_name))} {clean(message.content)}"
            )


def _show_contacts(state: ContactsState, limit: int | None, *, as_json: bool) -> None:
    if as_json:
        contacts: Any = state.to_json()["contacts"]
        write_json({"contacts": contacts[newest(contacts, limit or 0) :] if limit else contacts})
        return
    rows = [
        (each.effective_name, each.relationship_state, show_time(each.last_interaction), each.id)
        for each in state.by_name()
    ]
    write_table(("name", "relationship", "last seen", "id"), rows[: limit or None])


def _show_invitations(state: InvitationsState, limit: int | None, *, as_json: bool) -> None:
    if as_json:
        lists: dict[str, Any] = state.to_json()
        write_json(
            {name: items[: limit or None] if isinstance(items, list) else items for name, items in lists.items()}
        )
        return
    rows = [
        (each.direction, each.type, each.status, each.from_name, each.to_name, show_time(each.created_at), each.id)
        for each in (*state.pending, *state.sent, *state.history)
    ]
    write_table(("direction", "type", "status", "from", "to", "created", "id"), rows[: limit or None])


def _show_homes(state: HomesState, limit: int | None, *, as_json: bool) -> None:
    if as_json:
        homes: Any = state.to_json()["homes"]
        write_json({"homes": homes[: limit or None]})
        return
    for context_id in sorted(state.homes)[: limit or None]:
        home = state.homes[context_id]
        write(f"{clean(home.name or context_id)} ({clean(context_id)}): {counted(len(home.members), 'member')}")
        for person in home.members:
            write(f"  {home.role_of(person)}  {clean(person)}")
        for what, sanctions in (("banned", home.bans), ("muted", home.mutes)):
            for each in sanctions:
                where = "everywhere" if each.channel_id is None else f"in {clean(each.channel_id)}"
                until = "" if each.expires_at is None else f" until {show_time(each.expires_at)}"
                reason = f": {clean(each.reason)}" if each.reason else ""
                write(f"  {what}  {clean(each.target_id)} {where}{until}{reason}")
        for kick in home.kicks:
            write(f"  kicked  {clean(kick.target_id)} from {clean(kick.channel_id)} {show_time(kick.kicked_at)}")
        for pin in home.pins:
            write(f"  pinned  {clean(pin.message_id)} in {clean(pin.channel_id)}")


def _show_unread(state: int, limit: int | None, *, as_json: bool) -> None:
    write_json({"total_unread": state}) if as_json else write(f"{state:,} unread")


def _show_state(state: object) -> None:
    from antiphon.views.keyed import key_text, parts_of

    for key, part in parts_of(state):
        value = clean(part if isinstance(part, str) else repr(part))
        write(f"{clean(key_text(key))}: {value}" if key and value != key_text(key) else value)


# Views with a page of their own; any other is shown part by part.
_SHOWN: Mapping[str, Callable[..., None]] = {
    "chat": _show_chat,
    "contacts": _show_contacts,
    "invitations": _show_invitations,
    "homes": _show_homes,
    "unread": _show_unread,
}
