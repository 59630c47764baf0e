"""Importing IRC logs: plans the facts that a log's lines are, leaves out those the journal holds, commits the rest.

Reads files and decides nothing about what a line says: ``irc.py`` does. What is imported once is never imported again,
and an import that was interrupted is continued by starting it anew.

What becomes of a line: what was said, done or noted is a ``chat.message_imported``; joining and leaving is a
``chat.membership_imported``; a change of nick is a system message, and the old nick leaves as the new one joins (a nick
is a contact of its own, since a log cannot tell who is behind it); anything else a server says is a system message.
Every nick is a ``contact.added`` of the importer's, dated when it was last seen.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from antiphon.facts import (
    AuthorityId,
    ChannelCreated,
    ContactAdded,
    Fact,
    LocalViolation,
    MembershipImported,
    MessageImported,
    Namespace,
    PayloadTooLarge,
)
from antiphon.facts.chat import MembershipEvent, MessageStyle
from antiphon.facts.ids import NAMESPACE_LENGTH_MAX
from antiphon.journal import PlacedRun, read_members

from .irc import LineProblem, LogLine, ParsedLog, Reply, day_of, nick_key, parse_annotations, parse_log

if TYPE_CHECKING:
    from .journal import Journal

# A window's worth a call; more calls in flight than windows may be pending only wait.
BATCH_FACTS = 1_000
IN_FLIGHT_MAX = 4
# An import makes a few million objects that all live until the next sync; Python would look through them every 700.
_ALLOCATIONS_BETWEEN_COLLECTIONS = 200_000
# A byte becomes at most 8 in a payload (escaped in the text, and in base64 once more), so shorter lines always fit.
_SURELY_FITS_BYTES = 7_000
# Who speaks in lines that name nobody.
SERVER_NAME = "server"
_LOG_SUFFIXES = (".raw.txt", ".raw.log", ".txt", ".log")
_KNOWN_KINDS: tuple[type[Fact], ...] = (ChannelCreated, MessageImported, MembershipImported, ContactAdded)


class UnreadableLog(LocalViolation):
    """A file that was named cannot be read; nothing was imported."""


class ImportPlace(NamedTuple):
    """Where imported lines go: the channel and its context, and the network whose nicks they name."""

    channel_id: str
    context_id: str
    network: str

    @classmethod
    def of(cls, channel: str, *, context: str | None = None, network: str = "") -> ImportPlace:
        """The place of *channel*; unless given, its context is ``irc.<network>.<channel>`` in plain letters.

        >>> ImportPlace.of("#ubuntu").context_id, ImportPlace.of("#ubuntu", network="Libera").context_id
        ('irc.ubuntu', 'irc.libera.ubuntu')
        """
        if not channel.strip():
            raise LocalViolation("a channel needs a name; give one such as --channel '#ubuntu'")
        if context is None:
            context = ".".join(["irc", *filter(None, (_slug(network), _slug(channel) or "channel"))])
        if not 1 <= len(context.encode()) <= NAMESPACE_LENGTH_MAX:
            raise LocalViolation(f"a context has 1..{NAMESPACE_LENGTH_MAX} bytes; got {len(context.encode())}")
        return cls(channel, context, network)


class ImportProblem(NamedTuple):
    """A line that was not imported: its file's name, its number (from 0), a word for the reason, and the reason."""

    file: str
    line: int
    code: str
    reason: str


class ImportProgress(NamedTuple):
    """How far an import is; ``byte_count`` of ``byte_total`` were planned, ``fact_count`` facts made or found."""

    file: str
    byte_count: int
    byte_total: int
    fact_count: int


@dataclass(slots=True)
class ImportReport:
    """What an import did. ``added`` counts the facts by kind that are new and durable; ``known_count`` those found.

    ``line_count`` is that of the logs; ``undecodable_count`` of them were not UTF-8 (kept, with the original bytes).
    """

    place: ImportPlace
    file_count: int = 0
    line_count: int = 0
    undecodable_count: int = 0
    known_count: int = 0
    added: dict[str, int] = field(default_factory=dict)
    problems: list[ImportProblem] = field(default_factory=list)
    empty_files: list[str] = field(default_factory=list)

    @property
    def added_count(self) -> int:
        """How many facts are new."""
        return sum(self.added.values())

    def to_json(self) -> dict[str, object]:
        """Everything, ready for a JSON encoder."""
        return {
            "channel": self.place.channel_id,
            "context": self.place.context_id,
            "files": self.file_count,
            "lines": self.line_count,
            "facts": self.added_count,
            "added": dict(sorted(self.added.items())),
            "known": self.known_count,
            "undecodable": self.undecodable_count,
            "problems": [problem._asdict() for problem in self.problems],
            "files_without_lines": self.empty_files,
        }


@dataclass(slots=True)
class KnownFacts:
    """What the journal holds of one place already, so that it is not said again."""

    message_ids: set[str] = field(default_factory=set)
    moves: set[tuple[str, str, str, int]] = field(default_factory=set)  # participant, event, file, line
    contacts: dict[str, tuple[int, str]] = field(default_factory=dict)  # the newest addition: time and nickname
    created_at: int | None = None  # the earliest

    def note(self, fact: Fact, *, owner: AuthorityId) -> None:
        """Take a fact of the place; others than those below say nothing."""
        match fact:
            case MessageImported():
                self.message_ids.add(fact.message_id)
            case MembershipImported():
                self.moves.add((fact.participant_id, fact.event, fact.source, fact.line))
            case ContactAdded() if fact.owner_id == owner:
                seen = (fact.added_at, fact.nickname)
                self.contacts[fact.contact_id] = max(seen, self.contacts.get(fact.contact_id, seen))
            case ChannelCreated():
                self.created_at = fact.created_at if self.created_at is None else min(self.created_at, fact.created_at)


@dataclass(frozen=True, slots=True)
class LogSource:
    """A log on disk: its file, its day and its annotations, if they lie beside it."""

    path: Path
    day: date
    size: int
    annotations: Path | None

    @property
    def name(self) -> str:
        """The file's name, which enters the ids; its folder does not."""
        return self.path.name


# A new fact, and where to note that it is known from now on.
_Planned = tuple[Fact, set[Any], Any]
_MESSAGE_STYLES: Mapping[str, MessageStyle] = {"message": "message", "action": "action", "notice": "notice"}


class LogPlanner:
    """Turns logs of one place into facts, in any order of files; pure.

    Ids are hashes of the channel, the file's name without its suffix, its day, the line's number and its bytes, so the
    same line is the same message wherever and however often it is imported.
    """

    def __init__(self, place: ImportPlace, owner: AuthorityId, known: KnownFacts, report: ImportReport) -> None:
        self.place = place
        self._owner = owner
        self._known = known
        self._report = report
        self._people: dict[str, str] = {}
        self._seen: dict[str, tuple[int, str]] = {}
        self._server = self.contact_id(SERVER_NAME, is_server=True)

    def contact_id(self, nick: str, *, is_server: bool = False) -> str:
        """The id of whoever uses *nick* on this network."""
        found = None if is_server else self._people.get(nick)
        if found is None:
            kind = b"server" if is_server else b"nick"
            key = _digest(b"antiphon.irc.contact.1", self.place.network.lower(), nick_key(nick), kind.decode())
            found = f"irc:{key.hexdigest()[:32]}"
            if not is_server:
                self._people[nick] = found
        return found

    def plan(self, log: ParsedLog, *, source: str, day: date, replies: Sequence[Reply] = ()) -> Iterator[Fact]:
        """The facts of a log that the journal lacks, in the order of its lines."""
        if not log.lines:
            return
        yield from self._plan_channel(log.lines[0].at)
        base = _digest(
            b"antiphon.irc.message.1",
            self.place.network.lower(),
            self.place.channel_id,
            Path(source).stem,
            day.isoformat(),
        )
        answers = self._answers(log, replies, source, base)
        seen: dict[str, int] = {}
        for line in log.lines:
            facts = self._facts_of(line, source, base, answers)
            if len(line.raw) > _SURELY_FITS_BYTES and not _fit(facts):
                self.refuse(
                    source,
                    LineProblem(
                        line.number, "too-long", f"the line of {len(line.raw):,} bytes makes a fact beyond 64 KiB"
                    ),
                )
                continue
            seen[line.nick] = line.at
            if line.style == "renamed":
                seen[line.text] = line.at
            for fact, keys, key in facts:
                keys.add(key)
                yield fact
        self._meet(seen)

    def plan_contacts(self) -> Iterator[Fact]:
        """One addition for each nick met, unless the journal knows it from as late a time; afterwards none is left."""
        for contact_id, (at, nick) in self._seen.items():
            known = self._known.contacts.get(contact_id)
            if known is not None and known >= (at, nick):
                self._report.known_count += 1
                continue
            self._known.contacts[contact_id] = (at, nick)
            yield ContactAdded(
                context_id=self.place.context_id,
                owner_id=self._owner,
                contact_id=contact_id,
                nickname=nick,
                added_at=at,
            )
        self._seen.clear()

    def refuse(self, source: str, problem: LineProblem) -> None:
        """Report a line that is not imported."""
        self._report.problems.append(ImportProblem(source, *problem))

    def _plan_channel(self, first_at: int) -> Iterator[Fact]:
        # The earliest creation counts, so whatever file comes first, the channel begins with its first line.
        if self._known.created_at is not None and self._known.created_at <= first_at:
            return
        self._known.created_at = first_at
        yield ChannelCreated(
            context_id=self.place.context_id,
            channel_id=self.place.channel_id,
            name=self.place.channel_id,
            created_at=first_at,
            creator_id=self._owner,
        )

    def _facts_of(self, line: LogLine, source: str, base: _Digest, answers: Mapping[int, str]) -> list[_Planned]:
        """What a line is, less what is known."""
        number, style = line.number, line.style
        facts: list[_Planned] = []
        # A membership has no room for bytes that are not text, and nothing of a log is lost.
        if style not in ("joined", "left") or not line.is_decodable:
            message_id = _message_id(base, line)
            if message_id in self._known.message_ids:
                self._report.known_count += 1
            else:
                facts.append(
                    (self._message(line, message_id, source, answers.get(number)), self._known.message_ids, message_id)
                )
        for nick, event in _moves_of(line):
            key = (self.contact_id(nick), event, source, number)
            if key in self._known.moves:
                self._report.known_count += 1
            else:
                facts.append((self._move(line, nick, event, source), self._known.moves, key))
        return facts

    def _message(self, line: LogLine, message_id: str, source: str, reply_to: str | None) -> MessageImported:
        return MessageImported(
            context_id=self.place.context_id,
            channel_id=self.place.channel_id,
            message_id=message_id,
            sender_id=self.contact_id(line.nick) if line.nick else self._server,
            sender_name=line.nick or SERVER_NAME,
            text=f"{line.nick} is now known as {line.text}" if line.style == "renamed" else line.text,
            style=_MESSAGE_STYLES.get(line.style, "system"),
            sent_at=line.at,
            reply_to=reply_to,
            source=source,
            line=line.number,
            raw=None if line.is_decodable else line.raw,
        )

    def _move(self, line: LogLine, nick: str, event: MembershipEvent, source: str) -> MembershipImported:
        return MembershipImported(
            context_id=self.place.context_id,
            channel_id=self.place.channel_id,
            participant_id=self.contact_id(nick),
            participant_name=nick,
            event=event,
            changed_at=line.at,
            source=source,
            line=line.number,
        )

    def _meet(self, seen: Mapping[str, int]) -> None:
        """Take when each nick was last seen in one log."""
        for nick, at in seen.items():
            if nick:
                contact_id = self.contact_id(nick)
                self._seen[contact_id] = max((at, nick), self._seen.get(contact_id, (at, nick)))

    def _answers(self, log: ParsedLog, replies: Sequence[Reply], source: str, base: _Digest) -> dict[int, str]:
        """What each answering line answers, by its number."""
        if not replies:
            return {}
        said = {line.number: line for line in log.lines if line.style not in ("joined", "left")}
        answers: dict[int, str] = {}
        for parent, child in replies:
            if parent in said and child in said:
                answers[child] = _message_id(base, said[parent])
            else:
                missing = child if parent in said else parent
                self.refuse(
                    source, LineProblem(child, "no-reply", f"its annotation links line {missing}, which is no message")
                )
        return answers


async def import_logs(
    journal: Journal,
    files: Iterable[str | Path],
    place: ImportPlace,
    *,
    day: date | None = None,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportReport:
    """Import *files* into *journal*, oldest day first; returns when every new fact is durable.

    The order of *files*, and in how many calls they come, makes no difference to any view. Cancelled, it leaves whole
    windows behind; started again, it adds what is missing. Raises ``UndatedLog`` or ``UnreadableLog`` before it adds
    anything, and what a commit raises.

    While it runs, Python's garbage collector looks for cycles less often, in the whole process.
    """
    with _few_collections():
        return await _import(journal, files, place, day=day, on_progress=on_progress)


async def _import(
    journal: Journal,
    files: Iterable[str | Path],
    place: ImportPlace,
    *,
    day: date | None,
    on_progress: Callable[[ImportProgress], None] | None,
) -> ImportReport:
    sources = await asyncio.to_thread(find_logs, files, day=day)
    report = ImportReport(place)
    known = await _read_known(journal, place)
    planner = LogPlanner(place, journal.authority, known, report)
    async with _Pipeline(journal, report) as pipeline:
        done = 0
        total = sum(source.size for source in sources)
        for source in sources:
            log, replies, problems = await asyncio.to_thread(_read_source, source)
            report.file_count += 1
            report.line_count += log.line_count
            report.undecodable_count += log.undecodable_count
            if log.line_count and not log.lines:
                report.empty_files.append(source.name)
            for problem in log.problems:
                planner.refuse(source.name, problem)
            for problem in problems:
                assert source.annotations is not None, "problems of annotations come from a file"
                planner.refuse(source.annotations.name, problem)
            for fact in planner.plan(log, source=source.name, day=source.day, replies=replies):
                if pipeline.put(fact):
                    await pipeline.send()
            done += source.size
            if on_progress is not None:
                on_progress(ImportProgress(source.name, done, total, pipeline.fact_count + report.known_count))
        for fact in planner.plan_contacts():
            if pipeline.put(fact):
                await pipeline.send()
    return report


@contextmanager
def _few_collections() -> Iterator[None]:
    """Facts come and go a window at a time and form no cycles; looking for cycles costs a fifth of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    try:
        yield
    finally:
        # Only its own: the others may have been changed meanwhile, by a journal that began or ended its work.
        gc.set_threshold(before[0], *gc.get_threshold()[1:])
        gc.unfreeze()


def find_logs(files: Iterable[str | Path], *, day: date | None = None) -> list[LogSource]:
    """The logs that *files* name, in order of day and name; *day* is that of the only file, when its name tells none.

    Raises ``UndatedLog`` or ``UnreadableLog``.
    """
    paths = [Path(file) for file in files]
    if day is not None and len(paths) != 1:
        raise LocalViolation(
            f"--day is the day of one log; got {len(paths)} files, so import them one by one or name each after its day"
        )
    sources = [_find_log(path, day) for path in paths]
    return sorted(sources, key=lambda source: (source.day, source.name, source.path))


def annotations_beside(path: Path) -> Path | None:
    """The reply links that belong to the log *path*: ``day.annotation.txt`` to ``day.raw.txt`` or ``day.txt``."""
    for suffix in _LOG_SUFFIXES:
        if path.name.endswith(suffix):
            beside = path.with_name(path.name.removesuffix(suffix) + ".annotation.txt")
            return beside if beside != path and beside.is_file() else None
    return None


class _Pipeline:
    """Facts on their way into the journal: a few calls of ``commit_all`` at once, and planning goes on meanwhile."""

    def __init__(self, journal: Journal, report: ImportReport) -> None:
        self._journal = journal
        self._report = report
        self._group = asyncio.TaskGroup()
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._batch: list[Fact] = []
        self.fact_count = 0

    def put(self, fact: Fact) -> bool:
        """Add a fact; whether it is time to ``send``."""
        self._batch.append(fact)
        return len(self._batch) >= BATCH_FACTS

    async def send(self, *, flush: bool = False) -> None:
        """Hand the batch over; waits while enough others are under way."""
        await self._room.acquire()
        batch, self._batch = self._batch, []
        self.fact_count += len(batch)
        self._group.create_task(self._commit(batch, flush=flush))

    async def _commit(self, batch: list[Fact], *, flush: bool) -> None:
        try:
            await self._journal.commit_all(batch, flush=flush)
        finally:
            self._room.release()
        added = self._report.added
        for fact in batch:
            kind = fact.fact_type.kind
            added[kind] = added.get(kind, 0) + 1

    async def __aenter__(self) -> _Pipeline:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None and self._batch:
                await self.send(flush=True)
        except BaseException as problem:
            await self._leave(problem)
            raise
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """End the group; the first thing that went wrong is the one to tell."""
        try:
            await self._group.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None


async def _read_known(journal: Journal, place: ImportPlace) -> KnownFacts:
    """Read what the journal holds of *place*: once, off the loop, ~8 µs a fact."""
    await journal.flush()
    engine = journal.engine
    runs = [
        PlacedRun(state.info, row) for state in engine.index.chains(Namespace(place.context_id)) for row in state.runs
    ]
    kinds = frozenset(model.fact_type.kind for model in _KNOWN_KINDS)
    owner = journal.authority

    def read() -> KnownFacts:
        known = KnownFacts()
        for record in read_members(runs, engine.read_run, kinds=kinds):
            fact = engine.registry.decode(record)
            if isinstance(fact, _KNOWN_KINDS) and _is_about(fact, place, record.chain.authority):
                known.note(fact, owner=owner)
        return known

    return await asyncio.to_thread(read) if runs else KnownFacts()


def _is_about(fact: Fact, place: ImportPlace, signer: AuthorityId) -> bool:
    """Whether a fact counts as known: of this channel, and signed by whom it names."""
    if isinstance(fact, ContactAdded):
        return fact.owner_id == signer
    if isinstance(fact, ChannelCreated):
        return fact.channel_id == place.channel_id and fact.creator_id == signer
    assert isinstance(fact, MessageImported | MembershipImported), "the caller asked for these kinds"
    return fact.channel_id == place.channel_id


def _find_log(path: Path, day: date | None) -> LogSource:
    try:
        if path.is_dir():
            raise UnreadableLog(f"{path} is a folder; name the files in it, such as {path}/*.txt")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as problem:
        reason = "there is no such file" if isinstance(problem, FileNotFoundError) else problem.strerror
        raise UnreadableLog(f"cannot read {path}: {reason}; check the name and the permissions") from problem
    return LogSource(path, day or day_of(path.name), size, annotations_beside(path))


def _read_source(source: LogSource) -> tuple[ParsedLog, tuple[Reply, ...], tuple[LineProblem, ...]]:
    """Read and parse a log and its annotations; blocks on the disk."""
    try:
        log = parse_log(source.path.read_bytes(), source.day)
        annotations = source.annotations.read_bytes() if source.annotations else b""
    except OSError as problem:
        raise UnreadableLog(
            f"cannot read {problem.filename}: {problem.strerror}; what was imported before it is kept, "
            "start again to go on"
        ) from problem
    return log, *parse_annotations(annotations, log.line_count)


if TYPE_CHECKING:
    from hashlib import _Hash as _Digest


def _digest(prefix: bytes, *parts: str) -> _Digest:
    """A hash that has taken *parts*, each behind its length, so that no two lists of parts look alike."""
    digest = sha256(prefix)
    for part in parts:
        data = part.encode()
        digest.update(b"%d:" % len(data) + data)
    return digest


def _message_id(base: _Digest, line: LogLine) -> str:
    digest = base.copy()
    digest.update(b"%d:" % line.number + line.raw)
    return digest.hexdigest()[:32]


def _moves_of(line: LogLine) -> tuple[tuple[str, MembershipEvent], ...]:
    """Who joins and who leaves by a line."""
    match line.style:
        case "joined":
            return ((line.nick, "joined"),)
        case "left":
            return ((line.nick, "left"),)
        case "renamed" if nick_key(line.nick) != nick_key(line.text):
            return ((line.nick, "left"), (line.text, "joined"))
        case _:
            return ()


def _fit(facts: Iterable[_Planned]) -> bool:
    try:
        for fact, _, _ in facts:
            fact.fact_type.encode(fact)
    except PayloadTooLarge:
        return False
    return True


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
