"""The account that a journal keeps of what it spent, revealed and still has to send, in memory and as local lines.

Synchronous and without I/O: what is checked here is taken in the same step, so two plans that both saw the last
headroom cannot both spend it. Knows neither the log nor the clock; ``runtime/guards`` writes the notes, in the frame of
the plan's facts, and tells the book what became of it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import orjson

from antiphon.facts import LocalViolation

from .budgets import FLOW_LIMIT_DEFAULT, LEAKAGE_WINDOW_MS, FlowBudget, InsufficientBudget, LeakageExceeded
from .frame import LocalNote
from .lattices.counters import GCounter
from .replay_window import ReplayWindow

PLANS_NOTE = "guard.plans"
DONE_NOTE = "guard.done"
EPOCH_NOTE = "guard.epoch"
BUDGET_NOTE = "guard.budget"
RESET_NOTE = "guard.reset"
SEEN_NOTE = "guard.seen"
STATE_NOTE = "guard.state"

# A plan that comes again after so many others counts as new; whoever retries does it long before.
PLANS_MAX = 10_000
# Each is at most 256 KiB, so this is a bound on the memory too; beyond it sends are refused.
OUTBOX_MAX = 10_000
METADATA_MAX = 10_000
DEFAULT_LEAKAGE: Mapping[str, int] = {"External": 1_000, "Neighbor": 500, "InGroup": 100}


class UndefinedLeakage(NamedTuple):
    """What to do about a class of observers without an allowance: ``limit`` None permits everything, 0 denies."""

    limit: int | None = 0


DENY = UndefinedLeakage(0)
LEGACY_PERMISSIVE = UndefinedLeakage(None)
# What stands for "no limit" in a snapshot.
UNLIMITED = 2**62


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The allowances: units per epoch for each (context, peer), bits per rolling day for each class of observers."""

    flow: int = FLOW_LIMIT_DEFAULT
    flow_of: Mapping[tuple[str, str], int] = field(default_factory=dict)
    leakage: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_LEAKAGE))
    undefined: UndefinedLeakage = DENY


class Charge(NamedTuple):
    """Units spent on a peer in a context."""

    context: str
    peer: str
    amount: int


class Revealed(NamedTuple):
    """Bits that a class of observers learned by an operation."""

    context: str
    peer: str
    observer: str
    bits: int
    operation: str


class Letter(NamedTuple):
    """An envelope in the outbox: what is to go where."""

    envelope_id: str
    to: str
    context: str
    peer: str
    data: bytes
    after: tuple[tuple[str, str], ...] = ()
    """Facts to commit once it has left: their kinds and payloads."""


_ENVELOPE_ID = itemgetter(0)


class ReceiptRow(NamedTuple):
    """A signed receipt as the book keeps it: what orders it within its context, whom it is for, and its text."""

    context: str
    target: str
    epoch: int
    nonce: int
    digest: str
    previous: str
    text: str


class PlanEntry(NamedTuple):
    """What plans that share a fate take from the book together, and put into it: wholly or not at all."""

    plan_ids: tuple[str, ...]
    at_ms: int
    epoch: int = 0
    charges: tuple[Charge, ...] = ()
    leaks: tuple[Revealed, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    letters: tuple[Letter, ...] = ()
    receipts: tuple[ReceiptRow, ...] = ()
    """For its charges, made when they were taken."""


@dataclass(slots=True)
class _Account:
    epoch: int
    cap: int = UNLIMITED
    """What another device lowered the limit to."""
    mine: int = 0
    pending: int = 0
    others: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        return self.mine + self.pending + sum(self.others.values())


@dataclass(slots=True)
class _Window:
    """Bits of one rolling day: durable ones with their times, and what is not durable yet."""

    leaks: deque[tuple[int, int]] = field(default_factory=deque)
    total: int = 0
    pending: int = 0

    def sweep(self, now_ms: int) -> None:
        start = now_ms - LEAKAGE_WINDOW_MS
        while self.leaks and self.leaks[0][0] <= start:
            self.total -= self.leaks.popleft()[1]

    def add(self, at_ms: int, bits: int) -> None:
        if self.leaks and self.leaks[-1][0] >= at_ms:
            # A clock that went back: the leak counts from the latest, so the window stays in order and errs to safety.
            last, before = self.leaks.pop()
            self.leaks.append((last, before + bits))
        else:
            self.leaks.append((at_ms, bits))
        self.total += bits


class OutboxFull(LocalViolation):
    """Too much waits to be sent already; nothing was taken."""

    def __init__(self) -> None:
        super().__init__(f"the outbox holds {OUTBOX_MAX} envelopes; reach the peers they are for first")


class BookStatistics(NamedTuple):
    """The insides of a book."""

    account_count: int
    leak_count: int
    plan_count: int
    letter_count: int
    pending_count: int
    epoch: int


class _Plans:
    """The plans that were taken, the last 10,000: in groups as they came, since a window's come and go together."""

    __slots__ = ("_groups", "_known")

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._groups: deque[tuple[int, tuple[str, ...]]] = deque()

    def __contains__(self, plan_id: str) -> bool:
        return plan_id in self._known

    def __len__(self) -> int:
        return len(self._known)

    def is_new(self, plan_ids: Iterable[str]) -> bool:
        """Whether none of them was taken."""
        return self._known.isdisjoint(plan_ids)

    def add(self, plan_ids: tuple[str, ...], at_ms: int) -> None:
        """Take plans that are new."""
        self._known.update(plan_ids)
        groups = self._groups
        groups.append((at_ms, plan_ids))
        while (excess := len(self._known) - PLANS_MAX) > 0:
            first_ms, oldest = groups.popleft()
            self._known.difference_update(oldest[:excess])
            if len(oldest) > excess:
                groups.appendleft((first_ms, oldest[excess:]))

    def rows(self) -> list[list[object]]:
        """Each plan and when it was taken, oldest first."""
        return [[plan_id, at_ms] for at_ms, plan_ids in self._groups for plan_id in plan_ids]

    def clear(self) -> None:
        """Forget all of them."""
        self._known.clear()
        self._groups.clear()


class GuardBook:
    """Budgets, leakage, plans and outbox of one journal; *device* names it among the devices of its author."""

    def __init__(self, device: str, *, limits: GuardLimits | None = None, notes: Iterable[LocalNote] = ()) -> None:
        self.device = device
        self.limits = limits or GuardLimits()
        self.epoch = 0
        self.version = 0
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._leaks: dict[tuple[str, str, str], _Window] = {}
        self._plans = _Plans()
        self._pending: dict[str, PlanEntry] = {}
        # Those whose frame has its place in the log already, by their first plan.
        self._offered: dict[str, PlanEntry] = {}
        self._letters: dict[str, Letter] = {}
        self._metadata: OrderedDict[str, str] = OrderedDict()
        # The newest durable receipt of each context, and those on their way after it. One that was not written
        # is taken out again, unless later ones name it: then it is void, and goes along with the next line.
        self._receipts: dict[str, ReceiptRow] = {}
        self._outstanding: dict[str, list[ReceiptRow]] = {}
        self._void: list[ReceiptRow] = []
        self._receipt_of: dict[str, ReceiptRow] = {}
        self.replays = ReplayWindow(is_kept=True)
        """Which envelopes were received and taken in."""
        for note in notes:
            self.apply(note)
        self._former = frozenset(self._letters)

    # Looking

    def remaining(self, context: str, peer: str) -> int:
        """What may still be spent on *peer* in *context* in this epoch; never below 0."""
        account = self._accounts.get((context, peer))
        limit = self._limit(context, peer)
        if account is None:
            return limit
        if account.epoch < self.epoch:
            return max(0, limit - account.pending)
        return max(0, min(limit, account.cap) - account.spent)

    def remaining_bits(self, context: str, peer: str, observer: str, *, now_ms: int) -> int:
        """The bits that may still be revealed to *observer*: 0 when no allowance is set and the policy is to deny."""
        limit = self.limits.leakage.get(observer, self.limits.undefined.limit)
        if limit is None:
            return UNLIMITED
        window = self._leaks.get((context, peer, observer))
        if window is None:
            return limit
        window.sweep(now_ms)
        return max(0, limit - window.total - window.pending)

    def budget(self, context: str, peer: str) -> FlowBudget:
        """The account as the lattice that devices of one author join."""
        account = self._account(context, peer)
        spent = {**account.others, self.device: account.mine}
        return FlowBudget(min(self._limit(context, peer), account.cap), GCounter(spent), self.epoch)

    @property
    def letters(self) -> tuple[Letter, ...]:
        """What is durable and has not left yet, oldest first."""
        return tuple(self._letters.values())

    @property
    def former_letters(self) -> tuple[Letter, ...]:
        """Those of them that earlier lives put there."""
        return tuple(letter for letter in self._letters.values() if letter.envelope_id in self._former)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The texts that plans stored, the last 10,000."""
        return dict(self._metadata)

    def knows_plan(self, plan_id: str) -> bool:
        """Whether a plan of this id was taken already, durable or on its way."""
        return plan_id in self._plans or plan_id in self._pending

    def letter(self, envelope_id: str) -> Letter | None:
        """An envelope that is still in the outbox."""
        return self._letters.get(envelope_id)

    def last_receipt(self, context: str) -> ReceiptRow | None:
        """The newest receipt of a context in this epoch, which the next one names; None when that is the first."""
        outstanding = self._outstanding.get(context)
        found = outstanding[-1] if outstanding else self._receipts.get(context)
        return found if found is not None and found.epoch == self.epoch else None

    def receipt_of(self, envelope_id: str) -> ReceiptRow | None:
        """The receipt for what an envelope in the outbox cost."""
        return self._receipt_of.get(envelope_id)

    def holds(self, envelope_id: str) -> bool:
        """Whether an envelope is still in the outbox."""
        return envelope_id in self._letters

    def statistics(self) -> BookStatistics:
        """A frozen record of the insides."""
        return BookStatistics(
            len(self._accounts),
            sum(len(window.leaks) for window in self._leaks.values()),
            len(self._plans),
            len(self._letters),
            len(self._pending),
            self.epoch,
        )

    # Taking: check and take are one step

    def reserve(self, entry: PlanEntry, *, issue: Callable[[Charge], ReceiptRow] | None = None) -> PlanEntry:
        """Take what a plan needs, wholly or not at all; the entry with the receipts that *issue* made for its charges.

        Raises ``InsufficientBudget``, ``LeakageExceeded`` or ``OutboxFull`` when it is not there any more.
        """
        if not (self._plans.is_new(entry.plan_ids) and self._pending.keys().isdisjoint(entry.plan_ids)):
            raise LocalViolation(f"a plan of {entry.plan_ids[:3]} was taken already; look it up before")
        if entry.letters and len(self._letters) + len(self._pending) + len(entry.letters) > OUTBOX_MAX:
            raise OutboxFull
        for context, peer, amount in entry.charges if len(entry.charges) == 1 else _summed(entry.charges):
            remaining = self.remaining(context, peer)
            if amount > remaining:
                raise InsufficientBudget(required=amount, remaining=remaining)
        if entry.leaks:
            self._check_leaks(entry)
        for charge in entry.charges:
            self._account(charge.context, charge.peer).pending += charge.amount
        for leak in entry.leaks:
            self._window(leak.context, leak.peer, leak.observer).pending += leak.bits
        if issue is not None:
            void, self._void = self._void, []
            receipts = list(void)
            for charge in entry.charges:
                if charge.amount:
                    receipts.append(issue(charge))
                    self._outstanding.setdefault(charge.context, []).append(receipts[-1])
            if receipts:
                entry = entry._replace(receipts=tuple(receipts))
        self._pending.update(dict.fromkeys(entry.plan_ids, entry))
        self.version += 1
        return entry

    def note_offered(self, entry: PlanEntry) -> None:
        """What was reserved has its place in the log: whatever is written from now on comes after it."""
        self._offered[entry.plan_ids[0]] = entry

    def settle(self, entry: PlanEntry) -> None:
        """What was reserved is durable."""
        self._give_back(entry)
        self._take(entry)

    def release(self, entry: PlanEntry) -> None:
        """What was reserved was not written, so nothing of it happened; its receipts prove nothing to anybody."""
        self._give_back(entry)
        self._void.extend(entry.receipts)
        for context in {receipt.context for receipt in entry.receipts}:
            outstanding = self._outstanding.get(context, [])
            while outstanding and outstanding[-1] in self._void:
                self._void.remove(outstanding.pop())
        self.version += 1

    def finish(self, envelope_id: str) -> None:
        """An envelope has left."""
        self._letters.pop(envelope_id, None)
        self._receipt_of.pop(envelope_id, None)

    def put_back(self, letter: Letter, receipt: ReceiptRow | None) -> None:
        """That an envelope has left was not written: it waits still."""
        self._letters[letter.envelope_id] = letter
        if receipt is not None:
            self._receipt_of[letter.envelope_id] = receipt

    # Notes: what the log keeps

    def apply(self, note: LocalNote) -> None:
        """Take in a local line that was read back, in the log's order; those of others are passed over."""
        value = note.value
        match note.kind:
            case "guard.plans":
                for data in _list(orjson.loads(str(value["plans"]))):
                    self._take(read_entry(data))
            case "guard.done":
                for envelope_id in _list(value["ids"]):
                    self.finish(str(envelope_id))
            case "guard.epoch":
                self.rotate_epoch(_int(value["epoch"]))
            case "guard.budget":
                self.absorb(str(value["context"]), str(value["peer"]), FlowBudget().from_data(value["budget"]))
            case "guard.reset":
                self.reset(str(value["context"]), str(value["peer"]), str(value["observer"]))
            case "guard.seen":
                for seen in map(_list, _list(orjson.loads(str(value["seen"])))):
                    self.replays.note(str(seen[0]), str(seen[1]), str(seen[2]))
            case "guard.state":
                self._restore(value)
            case _:
                pass

    def rotate_epoch(self, epoch: int) -> bool:
        """Begin a later epoch, in which nothing is spent; False, and nothing changes, when *epoch* is not later."""
        if epoch <= self.epoch:
            return False
        self.epoch = epoch
        self.version += 1
        return True

    def absorb(self, context: str, peer: str, other: FlowBudget) -> None:
        """Join what another device of this author says of the same budget: its charges count here from now on."""
        self.rotate_epoch(other.epoch)
        if other.epoch < self.epoch:
            return
        account = self._account(context, peer)
        joined = self.budget(context, peer).join(other)
        account.cap = joined.limit
        spent = dict(joined.charges.entries)
        account.mine = spent.pop(self.device, 0)
        account.others = spent
        self.version += 1

    def reset(self, context: str, peer: str, observer: str) -> None:
        """Forget what *observer* learned; who may ask for that is the capability ``privacy:reset``.

        What is on its way is yet to be learned, and stays.
        """
        window = self._leaks.pop((context, peer, observer), None)
        if window is not None and window.pending:
            self._leaks[context, peer, observer] = _Window(pending=window.pending)
        self.version += 1

    def state_note(self) -> LocalNote:
        """All of it in one line, in place of every line before: what is still needed when log files are sealed.

        Plans whose frames were offered count as taken, so those frames go before it; those of others come after it.
        """
        settled = GuardBook(self.device, limits=self.limits)
        settled._restore(self._state())
        for entry in self._offered.values():
            settled._take(entry)
        return LocalNote(STATE_NOTE, settled._state())

    def state_data(self) -> dict[str, object]:
        """What is durable, as canonical JSON data: equal data mean equal books."""
        return self._state()

    # Insides

    def _limit(self, context: str, peer: str) -> int:
        return self.limits.flow_of.get((context, peer), self.limits.flow)

    def _account(self, context: str, peer: str) -> _Account:
        account = self._accounts.get((context, peer))
        if account is None or account.epoch < self.epoch:
            pending = account.pending if account is not None else 0
            account = _Account(self.epoch, pending=pending)
            self._accounts[context, peer] = account
        return account

    def _window(self, context: str, peer: str, observer: str) -> _Window:
        return self._leaks.setdefault((context, peer, observer), _Window())

    def _check_leaks(self, entry: PlanEntry) -> None:
        wanted: dict[tuple[str, str, str], int] = {}
        for leak in entry.leaks:
            key = (leak.context, leak.peer, leak.observer)
            wanted[key] = wanted.get(key, 0) + leak.bits
        for (context, peer, observer), bits in wanted.items():
            remaining = self.remaining_bits(context, peer, observer, now_ms=entry.at_ms)
            if bits > remaining:
                raise LeakageExceeded(observer=observer, requested=bits, remaining=remaining)

    def _give_back(self, entry: PlanEntry) -> None:
        self._offered.pop(entry.plan_ids[0], None)
        for plan_id in entry.plan_ids:
            del self._pending[plan_id]
        for charge in entry.charges:
            self._account(charge.context, charge.peer).pending -= charge.amount
        for leak in entry.leaks:
            self._window(leak.context, leak.peer, leak.observer).pending -= leak.bits

    def _take(self, entry: PlanEntry) -> None:
        if entry.plan_ids[0] in self._plans:
            return  # they came together, so all of them are known
        self._plans.add(entry.plan_ids, entry.at_ms)
        # What was taken in a later epoch says that it began, if nothing else in the log does any more.
        self.rotate_epoch(entry.epoch)
        for charge in entry.charges:
            account = self._account(charge.context, charge.peer)
            if account.epoch == entry.epoch:  # else a later epoch began while it was on its way
                account.mine += charge.amount
        for leak in entry.leaks:
            window = self._window(leak.context, leak.peer, leak.observer)
            window.sweep(entry.at_ms)
            window.add(entry.at_ms, leak.bits)
        for key, text in entry.metadata:
            self._metadata[key] = text
            self._metadata.move_to_end(key)
            if len(self._metadata) > METADATA_MAX:
                self._metadata.popitem(last=False)
        self._letters.update(zip(map(_ENVELOPE_ID, entry.letters), entry.letters, strict=True))
        if entry.receipts:
            self._take_receipts(entry)

    def _take_receipts(self, entry: PlanEntry) -> None:
        by_target: dict[tuple[str, str], ReceiptRow] = {}
        for receipt in entry.receipts:
            by_target[receipt.context, receipt.target] = receipt  # the plan's own come last
            last = self._receipts.get(receipt.context)
            place = (receipt.epoch, receipt.nonce)
            if last is None or (last.epoch, last.nonce) < place:
                self._receipts[receipt.context] = receipt
            outstanding = self._outstanding.pop(receipt.context, [])
            later = [each for each in outstanding if (each.epoch, each.nonce) > place]
            if later:
                self._outstanding[receipt.context] = later
        if len(entry.charges) == 1:  # every letter's account is charged, so all of them are this one's
            (charge,) = entry.charges
            if charge.amount:
                receipt = by_target[charge.context, charge.peer]
                self._receipt_of.update(dict.fromkeys(map(_ENVELOPE_ID, entry.letters), receipt))
            return
        charged = {(charge.context, charge.peer) for charge in entry.charges if charge.amount}
        for letter in entry.letters:
            if (letter.context, letter.peer) in charged:
                self._receipt_of[letter.envelope_id] = by_target[letter.context, letter.peer]

    def _state(self) -> dict[str, object]:
        accounts = [
            [context, peer, account.cap, account.mine, [list(pair) for pair in account.others.items()]]
            for (context, peer), account in sorted(self._accounts.items())
            if account.epoch == self.epoch and (account.mine or account.others or account.cap < UNLIMITED)
        ]
        leaks = [
            [*key, [list(leak) for leak in window.leaks]] for key, window in sorted(self._leaks.items()) if window.leaks
        ]
        return {
            "accounts": accounts,
            "epoch": self.epoch,
            "leaks": leaks,
            "letters": [_letter_data(letter) for letter in self._letters.values()],
            "metadata": [list(pair) for pair in self._metadata.items()],
            "plans": self._plans.rows(),
            "receipts": [list(receipt) for receipt in self._receipts.values()],
            "receipts_of": [[name, *receipt] for name, receipt in self._receipt_of.items()],
            "seen": [[*key, list(ids)] for key, ids in self.replays.ids().items()],
        }

    def _restore(self, value: Mapping[str, object]) -> None:
        self.epoch = _int(value["epoch"])
        self._accounts.clear()
        for data in _list(value["accounts"]):
            context, peer, cap, mine, others = _list(data)
            spent = {str(pair[0]): _int(pair[1]) for pair in map(_list, _list(others))}
            self._accounts[str(context), str(peer)] = _Account(self.epoch, _int(cap), _int(mine), 0, spent)
        self._leaks.clear()
        for data in _list(value["leaks"]):
            context, peer, observer, leaks = _list(data)
            window = self._leaks[str(context), str(peer), str(observer)] = _Window()
            for at_ms, bits in map(_list, _list(leaks)):
                window.add(_int(at_ms), _int(bits))
        letters = map(_read_letter, _list(value["letters"]))
        self._letters = {letter.envelope_id: letter for letter in letters}
        self._metadata = OrderedDict((str(pair[0]), str(pair[1])) for pair in map(_list, _list(value["metadata"])))
        self._plans.clear()
        for plan_id, at_ms in map(_list, _list(value["plans"])):
            self._plans.add((str(plan_id),), _int(at_ms))
        self._receipts = {row.context: row for row in map(_read_receipt, _list(value.get("receipts", [])))}
        self._receipt_of = {
            str(row[0]): _read_receipt(row[1:]) for row in map(_list, _list(value.get("receipts_of", [])))
        }
        self.replays.clear()
        # An earlier version kept none.
        for source, context, ids in map(_list, _list(value.get("seen", []))):
            for envelope_id in _list(ids):
                self.replays.note(str(source), str(context), str(envelope_id))


def plans_note(entries: Sequence[PlanEntry]) -> LocalNote:
    """What plans took, as one local line."""
    # As one text: written by one call, and not a list in a list in a list for the checker and the collector to walk.
    return LocalNote(PLANS_NOTE, {"plans": orjson.dumps(list(map(_entry_row, entries))).decode()})


def done_note(envelope_ids: Iterable[str]) -> LocalNote:
    """Envelopes that have left."""
    return LocalNote(DONE_NOTE, {"ids": list(envelope_ids)})


def seen_note(seen: Sequence[tuple[str, str, str]]) -> LocalNote:
    """Envelopes that were taken in: sources, contexts, ids."""
    return LocalNote(SEEN_NOTE, {"seen": orjson.dumps(seen).decode()})


def epoch_note(epoch: int) -> LocalNote:
    """A later epoch begins."""
    return LocalNote(EPOCH_NOTE, {"epoch": epoch})


def budget_note(context: str, peer: str, budget: FlowBudget) -> LocalNote:
    """What another device spent."""
    return LocalNote(BUDGET_NOTE, {"budget": budget.to_data(), "context": context, "peer": peer})


def reset_note(context: str, peer: str, observer: str) -> LocalNote:
    """What an observer learned is forgotten."""
    return LocalNote(RESET_NOTE, {"context": context, "observer": observer, "peer": peer})


def _entry_row(entry: PlanEntry) -> tuple[object, ...]:
    """An entry as tuples without names and texts, which are written fastest."""
    plan_ids, at_ms, epoch, charges, leaks, metadata, letters, receipts = entry
    rows = [(name, to, context, peer, data.hex(), after) for name, to, context, peer, data, after in letters]
    return (
        plan_ids,
        at_ms,
        epoch,
        list(map(tuple, charges)),
        list(map(tuple, leaks)),
        metadata,
        rows,
        list(map(tuple, receipts)),
    )


def read_entry(data: object) -> PlanEntry:
    """Read what ``plans_note`` wrote; also a plan by itself with at most one letter, as it was written once."""
    ids, at_ms, epoch, charges, leaks, metadata, letters, *receipts = _list(data)
    if isinstance(ids, str):
        ids, letters = [ids], [] if letters is None else [letters]
    return PlanEntry(
        tuple(map(str, _list(ids))),
        _int(at_ms),
        _int(epoch),
        tuple(Charge(str(each[0]), str(each[1]), _int(each[2])) for each in map(_list, _list(charges))),
        tuple(
            Revealed(str(each[0]), str(each[1]), str(each[2]), _int(each[3]), str(each[4]))
            for each in map(_list, _list(leaks))
        ),
        tuple((str(pair[0]), str(pair[1])) for pair in map(_list, _list(metadata))),
        tuple(map(_read_letter, _list(letters))),
        tuple(map(_read_receipt, _list(receipts[0]))) if receipts else (),
    )


def _read_receipt(data: object) -> ReceiptRow:
    context, target, epoch, nonce, digest, previous, text = _list(data)
    return ReceiptRow(str(context), str(target), _int(epoch), _int(nonce), str(digest), str(previous), str(text))


def _letter_data(letter: Letter) -> list[object]:
    return [
        letter.envelope_id,
        letter.to,
        letter.context,
        letter.peer,
        letter.data.hex(),
        [list(each) for each in letter.after],
    ]


def _read_letter(data: object) -> Letter:
    envelope_id, to, context, peer, text, after = _list(data)
    facts = tuple((str(pair[0]), str(pair[1])) for pair in map(_list, _list(after)))
    return Letter(str(envelope_id), str(to), str(context), str(peer), bytes.fromhex(str(text)), facts)


def _summed(charges: Iterable[Charge]) -> list[Charge]:
    totals: dict[tuple[str, str], int] = {}
    for context, peer, amount in charges:
        totals[context, peer] = totals.get((context, peer), 0) + amount
    return [Charge(context, peer, amount) for (context, peer), amount in totals.items()]


def _list(value: object) -> list[object]:
    # A frame's hash covers what was written, so another shape is a fault of ours.
    assert isinstance(value, list), f"a guard's line holds {type(value).__name__} where a list was written"
    return value


def _int(value: object) -> int:
    assert isinstance(value, int), f"a guard's line holds {type(value).__name__} where a number was written"
    return value
