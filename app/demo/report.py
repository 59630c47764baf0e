"""The report: what the two replicas measured, added up.

Pure. Latencies are differences of readings of one clock that both processes share; nothing here is estimated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from .cues import Player


class Latency(NamedTuple):
    """Milliseconds: the median, the 99th of 100, the worst, and of how many."""

    p50: float
    p99: float
    max: float
    samples: int

    def to_json(self) -> dict[str, object]:
        """All of them, rounded to a microsecond."""
        return {
            "p50": round(self.p50, 3),
            "p99": round(self.p99, 3),
            "max": round(self.max, 3),
            "samples": self.samples,
        }

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms ({self.samples} measured)"


class ReplicaReport(NamedTuple):
    """One replica at the end: its process, its facts (opening facts included), its windows and its fingerprint."""

    pid: int
    authority: str
    facts: int
    windows: int
    fingerprint: str
    conversation: str


class Report(NamedTuple):
    """How the demo ended.

    ``reason`` says why it did not converge, None when it did; ``has_differed`` whether the fingerprints differed while
    the two were apart, without which meeting again would prove nothing.
    """

    reason: str | None
    replicas: Mapping[Player, ReplicaReport]
    commit: Latency | None
    signal: Latency | None
    has_differed: bool
    catch_up_ms: float | None
    byte_count: int
    seconds: float

    @property
    def is_converged(self) -> bool:
        """Whether both replicas hold the same facts and show the same conversation."""
        return self.reason is None and convergence_problem(self.replicas) is None

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints; ``latency_ms`` is commit to remote signal, ``windows`` those of both replicas."""
        facts = [replica.facts for replica in self.replicas.values()]
        return {
            "converged": self.is_converged,
            "reason": self.reason,
            "facts": max(facts, default=0),
            "replicas": len(self.replicas),
            "windows": sum(replica.windows for replica in self.replicas.values()),
            "bytes": self.byte_count,
            "latency_ms": self.signal.to_json() if self.signal else None,
            "commit_ms": self.commit.to_json() if self.commit else None,
            "catch_up_ms": None if self.catch_up_ms is None else round(self.catch_up_ms, 3),
            "differed_apart": self.has_differed,
            "fingerprints": {name: replica.fingerprint for name, replica in self.replicas.items()},
            "by_replica": {name: replica._asdict() for name, replica in self.replicas.items()},
            "seconds": round(self.seconds, 3),
        }

    def to_text(self) -> str:
        """What a person reads."""
        lines = [("result", self._verdict())]
        if self.replicas:
            lines.append(("facts", ", ".join(f"{name} {each.facts:,}" for name, each in self.replicas.items())))
            lines.append(("windows", ", ".join(f"{name} {each.windows:,}" for name, each in self.replicas.items())))
            lines.append(("processes", ", ".join(f"{name} {each.pid}" for name, each in self.replicas.items())))
        if self.commit:
            lines.append(("commit", str(self.commit)))
        if self.signal:
            lines.append(("commit → remote signal", str(self.signal)))
        if self.catch_up_ms is not None:
            lines.append(("catching up", f"{self.catch_up_ms:.0f} ms after meeting again"))
        lines.append(("exchanged", f"{self.byte_count:,} bytes over TCP"))
        for name, each in self.replicas.items():
            lines.append((f"fingerprint {name}", each.fingerprint[:32] + "…"))
        lines.append(("took", f"{self.seconds:.1f} s"))
        return "\n".join(f"{label + ':':<24}{text}" for label, text in lines)

    def _verdict(self) -> str:
        if self.is_converged:
            return "converged: the fingerprints are equal, and so is what both screens show"
        return f"not converged: {self.reason or convergence_problem(self.replicas)}"


def convergence_problem(replicas: Mapping[Player, ReplicaReport]) -> str | None:
    """What still differs between the replicas; None when nothing does.

    >>> convergence_problem({})
    'only 0 of 2 replicas answered'
    """
    if len(replicas) < 2:
        return f"only {len(replicas)} of 2 replicas answered"
    if len({each.fingerprint for each in replicas.values()}) > 1:
        counts = ", ".join(f"{name} holds {each.facts} facts" for name, each in replicas.items())
        return f"the fingerprints differ ({counts})"
    if len({each.conversation for each in replicas.values()}) > 1:
        return "the fingerprints are equal, but the screens show different conversations"
    return None


def measure(samples_s: Sequence[float]) -> Latency | None:
    """The latency of *samples_s* (seconds, in any order); None without any.

    >>> measure([0.003, 0.001, 0.002])
    Latency(p50=2.0, p99=3.0, max=3.0, samples=3)
    """
    if not samples_s:
        return None
    ordered = sorted(sample * 1000 for sample in samples_s)
    return Latency(percentile(ordered, 50), percentile(ordered, 99), ordered[-1], len(ordered))


def percentile(ordered: Sequence[float], rank: int) -> float:
    """The smallest value that at least *rank* of 100 do not exceed (nearest rank); *ordered* rises and is not empty.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50), percentile([1.0, 2.0, 3.0, 4.0], 99)
    (2.0, 4.0)
    """
    if not ordered or not 0 <= rank <= 100:
        raise ValueError(f"rank={rank} of {len(ordered)} values; expected 0 to 100 of at least one")
    return ordered[max(ceil(len(ordered) * rank / 100), 1) - 1]


def render_json(report: Report) -> str:
    """One JSON object on one line."""
    return json.dumps(report.to_json(), ensure_ascii=False)


class LatencyLedger:
    """Matches what one replica committed with what the other one's signals showed of it.

    Reports come in any order, since they travel on two ways. Only what was committed while the two were linked counts
    as a latency; the rest is waited for all the same.

    >>> ledger = LatencyLedger()
    >>> ledger.note_started("ada", "said m1", 10.0, is_linked=True)
    >>> ledger.outstanding
    frozenset({('ada', 'said m1')})
    >>> ledger.note_seen("bob", "said m1", 10.25)
    >>> ledger.outstanding, ledger.samples_s
    (frozenset(), [0.25])
    """

    def __init__(self) -> None:
        self._started: dict[tuple[Player, str], tuple[float, bool]] = {}
        self._seen: dict[tuple[Player, str], float] = {}
        self._outstanding: set[tuple[Player, str]] = set()
        self.samples_s: list[float] = []

    @property
    def outstanding(self) -> frozenset[tuple[Player, str]]:
        """What was committed, by whom, and not seen by the other yet."""
        return frozenset(self._outstanding)

    def note_started(self, actor: Player, sign: str, at: float, *, is_linked: bool) -> None:
        """*actor* called commit at *at* for a fact with this sign; the first of several counts."""
        key = (actor, sign)
        if key in self._started:
            return
        self._started[key] = (at, is_linked)
        self._outstanding.add(key)
        self._match(key)

    def note_seen(self, viewer: Player, sign: str, at: float) -> None:
        """A signal of *viewer* showed the sign first at *at*."""
        key: tuple[Player, str] = ("bob" if viewer == "ada" else "ada", sign)
        self._seen[key] = at
        self._match(key)

    def forget_outstanding(self) -> None:
        """Stop waiting: what is not seen by now is beyond what a screen shows."""
        self._outstanding.clear()

    def _match(self, key: tuple[Player, str]) -> None:
        if key not in self._started or key not in self._seen:
            return
        self._outstanding.discard(key)
        started, is_linked = self._started[key]
        if is_linked:
            self.samples_s.append(self._seen[key] - started)
