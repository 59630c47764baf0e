"""What the chat view costs: a window folded beside a bare dict fold, and a million messages beside those shown."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from antiphon.facts import AuthorityId, ChainId, ChannelCreated, Fact, FactId, FactRecord, MessageSent, Namespace
from antiphon.facts.fact import with_record
from antiphon.reactive import Batch
from antiphon.testing.strategies import ADA, BEN, commit_by, make_chain
from antiphon.views import ChatSignalView

from .measure import Burst, Figure, Sample, Settings, Stopwatch, interleave
from .reactive import ratio_figure

WINDOW = 100
MESSAGES = 1_000_000
CHAIN = make_chain(BEN, namespace=Namespace("home"))
OPEN = commit_by(
    BEN, ChannelCreated(context_id="home", channel_id="general", name="general", created_at=0, creator_id=BEN)
)


def message(number: int) -> Fact:
    """Always the same for a number, so that it can be read back without a journal."""
    fact = MessageSent(
        context_id="home",
        channel_id="general",
        message_id=hashlib.sha1(b"%d" % number, usedforsecurity=False).hexdigest(),
        sender_id=BEN,
        sender_name="ben",
        text=f"hello there, this is number {number}",
        sent_at=number,
    )
    fact_id = FactId(hashlib.sha256(b"%d" % number).digest())
    return with_record(fact, FactRecord(fact_id, CHAIN, number, number << 16, number, "chat.message_sent", 1, b"", 0))


def recall(places: Sequence[tuple[ChainId, int]]) -> list[Fact]:
    return [message(number) for _, number in places]


def window(facts: Sequence[Fact]) -> Batch[Fact]:
    return Batch(batch_id=1, facts=facts, now_ms=0, changed=frozenset(), inputs={})


def build_view() -> ChatSignalView:
    view = ChatSignalView(AuthorityId(ADA))
    view.use_recall(recall)
    view.update(window([OPEN]))
    return view


async def fold(settings: Settings) -> Figure:
    """Windows of new messages into a channel that already packs, and the same into dicts with the same snapshot."""
    view, numbers = build_view(), count(1)
    view.update(window([message(next(numbers)) for _ in range(5_000)]))
    bare: dict[str, dict[str, object]] = {}
    shown: list[tuple[dict[str, object], ...]] = []

    def fold_bare(facts: Sequence[Fact]) -> None:
        for fact in facts:
            assert isinstance(fact, MessageSent)
            record = fact.record
            bare.setdefault(
                fact.message_id,
                {
                    "id": fact.message_id,
                    "stamp": record.stamp,
                    "sender": fact.sender_id,
                    "name": fact.sender_name,
                    "text": fact.text,
                    "reply_to": fact.reply_to,
                    "is_own": fact.sender_id == ADA,
                },
            )
        shown[:] = [tuple(bare.values())[-500:]]

    def timed(is_ours: bool) -> Burst:
        async def run() -> Sequence[Sample]:
            samples = []
            for _ in range(10):
                facts = [message(next(numbers)) for _ in range(WINDOW)]
                if not is_ours and len(bare) > 5_000:
                    bare.clear()
                with Stopwatch() as watch:
                    if is_ours:
                        view.update(window(facts))
                    else:
                        fold_bare(facts)
                samples.append(watch.sample(per=WINDOW))
            return samples

        return run

    taken = await interleave([timed(True), timed(False)], repeats=settings.pick(40, 10))
    return ratio_figure(
        "chat_fold", "100 facts into the chat view, a fact", taken, goal=3.0, reference_name="bare dict fold"
    )


def memory(settings: Settings) -> Figure:
    """Resident bytes of a new process, before and after; the messages themselves are gone by then."""
    messages = settings.pick(MESSAGES, MESSAGES // 5)
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.views", str(messages)],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    grown = float(found.stdout.split()[-1]) / 1e6
    return Figure(
        name="chat_memory",
        title="a chat view over 1,000,000 messages, 500 shown",
        unit="MB",
        ours=grown,
        reference=None,
        value=grown,
        goal=50,
        final_goal=50,
        value_unit=" MB",
        details={"messages": messages},
    )


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fold_many(messages: int) -> int:
    """How many bytes folding that many leaves behind."""
    view = build_view()
    before = resident_bytes()
    for start in range(1, messages + 1, 2_000):
        view.update(window([message(number) for number in range(start, min(start + 2_000, messages + 1))]))
    return resident_bytes() - before


async def measure(settings: Settings) -> list[Figure]:
    """Both."""
    return [await fold(settings), memory(settings)]


if __name__ == "__main__":
    print(fold_many(int(sys.argv[1])))
