"""Sessions against set union: whatever forks, is lost, is sealed twice or cut off, all honest replicas end alike."""

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from antiphon.facts import DEFAULT_NAMESPACE, ChainId, Namespace, parse_line
from antiphon.journal import Draft, Head
from antiphon.journal.chain import link_ids, parse_seal_line
from antiphon.journal.forks import prove_fork
from antiphon.journal.sketch import CELLS_MAX, encode_items
from antiphon.journal.sync.messages import Fork, IncomingRun, decode, encode
from antiphon.journal.sync.repair import Encode
from antiphon.journal.sync.session import (
    Action,
    Finish,
    Ingest,
    ProveFork,
    ReadAndSend,
    Send,
    SyncSession,
    Witness,
    build_facts,
)
from antiphon.testing.records import ChainWriter
from antiphon.testing.replica import MemoryReplica

OTHER = Namespace("garden.plans")
REPLICAS = 3


class Side:
    """A replica in a session; frames wait in ``outbox``."""

    def __init__(self, replica: MemoryReplica, nonce: int) -> None:
        self.replica = replica
        self.session = SyncSession(replica.index, journal_id=bytes(16), nonce=nonce.to_bytes(16, "big"))
        self.outbox: list[bytes] = []
        self.waiting: list[Ingest] = []
        self.is_over = False
        self.perform(self.session.start())

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(message):
                    self.outbox.append(encode(message))
                case ReadAndSend():
                    self.perform(self.session.transmitted(action))
                    data = [self.replica.read_run(run.row) for run in action.runs]
                    self.outbox.append(encode(build_facts(action, data)))
                case Ingest():
                    self.waiting.append(action)
                case Encode():
                    cells = encode_items(action.items, CELLS_MAX, salt=action.salt)
                    self.perform(self.session.encoded(action, cells))
                case ProveFork():
                    seals = (parse_seal_line(self.replica.read_run(row).split(b"\n")[-2]) for row in action.rows)
                    self.outbox.append(encode(Fork(action.namespace, prove_fork(action.info, *seals).encode())))
                case Witness(proof):
                    self.replica.proofs[proof.info.chain] = proof
                case Finish():
                    self.is_over = True

    def step(self, peer: "Side") -> None:
        if self.waiting:
            runs = self.waiting.pop(0).runs
            self.perform(self.session.ingested(runs, self.replica.ingest_nowait(runs)))
        elif self.outbox:
            peer.perform(peer.session.receive(decode(self.outbox.pop(0))))

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.outbox)


def converse(one: MemoryReplica, other: MemoryReplica, rng: Random, *, steps_max: int | None = None) -> None:
    sides = (Side(one, rng.getrandbits(100)), Side(other, rng.getrandbits(100)))
    steps = 0
    while any(side.has_work for side in sides):
        steps += 1
        assert steps < 20_000, "a session ends"
        if steps_max is not None and steps > steps_max:
            for side in sides:  # the connection is lost; what was received is ingested
                side.perform(side.session.lose("cut"))
                while side.waiting:
                    side.step(side)
            return
        here, there = sides if rng.random() < 0.5 else sides[::-1]
        here.step(there)


class SessionMachine(RuleBasedStateMachine):
    """Three honest replicas, any number of writers that tell two stories, damaged disks, connections that break."""

    stories = Bundle("stories")

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.rng = Random(seed)
        self.replicas = [MemoryReplica(seed=number) for number in range(REPLICAS)]
        self.expected: set[bytes] = set()
        self.liars = 0

    @rule(who=st.integers(0, REPLICAS - 1), count=st.integers(1, 4), name=st.sampled_from([DEFAULT_NAMESPACE, OTHER]))
    def commit(self, who: int, count: int, name: Namespace) -> None:
        self.replicas[who].commit_texts([f"{who} {self.rng.random()}"] * count, namespace=name)

    @rule(
        seats=st.lists(st.integers(0, REPLICAS - 1), min_size=2, max_size=4),
        trunk=st.integers(1, 3),
        lengths=st.lists(st.integers(1, 3), min_size=2, max_size=4),
        is_resealed=st.booleans(),
    )
    def equivocate(self, seats: list[int], trunk: int, lengths: list[int], is_resealed: bool) -> None:
        """One writer tells each replica another story after a common beginning, and seals some of it twice."""
        self.liars += 1
        name = f"liar {self.liars} {self.rng.random()}"
        for branch, (seat, length) in enumerate(zip(seats, lengths, strict=False)):
            writer = ChainWriter(name)
            said = Draft("test.said", 1, b"{}", None)
            runs = [writer.say(said) for _ in range(trunk)]
            writer.randomness(branch)
            start = writer.head
            story = [writer.say(Draft("test.said", 1, b'{"n":%d}' % branch, None)) for _ in range(length)]
            if is_resealed and branch == 0:
                lines = [line for run in story for line in run.lines]
                story = [self.reseal(writer, lines[: len(lines) // 2 + 1], start), *story]
            self.replicas[seat].ingest_nowait([*runs, *story])

    def reseal(self, writer: ChainWriter, lines: list[bytes], start: Head) -> IncomingRun:
        return writer.seal_lines(lines, start=start)

    @rule(who=st.integers(0, REPLICAS - 1), share=st.floats(0, 0.5))
    def damage(self, who: int, share: float) -> None:
        """A disk loses runs; somebody else still has them, or they were never anybody else's to expect."""
        held = self.replicas[who]
        held.leave_own_chains()
        others = {
            (row.chain, row.first_previous_id, row.last_id)
            for other in self.replicas
            if other is not held
            for state in other.index.chains()
            for row in state.runs
        }
        left = MemoryReplica(seed=self.rng.getrandbits(40))
        rows = sorted((row for state in held.index.chains() for row in state.runs), key=lambda row: row.offset)
        for row in rows:
            state = held.index.chain(ChainId(row.chain))
            assert state is not None
            left.index.introduce(state.info)
            is_elsewhere = (row.chain, row.first_previous_id, row.last_id) in others
            if not (is_elsewhere and self.rng.random() < share):
                left.load(row, held.read_run(row))
        self.replicas[who] = left

    @rule(one=st.integers(0, REPLICAS - 1), other=st.integers(0, REPLICAS - 1), cut=st.integers(0, 60))
    def meet(self, one: int, other: int, cut: int) -> None:
        if one != other:
            converse(self.replicas[one], self.replicas[other], self.rng, steps_max=cut)

    def teardown(self) -> None:
        if not hasattr(self, "replicas"):
            return
        whole = set().union(*map(ids_of, self.replicas))
        for _ in range(4):
            for one, other in ((0, 1), (1, 2), (0, 2)):
                converse(self.replicas[one], self.replicas[other], self.rng)
        prints = {replica.index.fingerprint() for replica in self.replicas}
        assert len(prints) == 1
        for replica in self.replicas:
            assert not replica.index.holes()
            assert ids_of(replica) >= whole
            assert len(ids_of(replica)) == replica.index.fact_count
        forks = [replica.index.forked() for replica in self.replicas]
        assert forks[0] == forks[1] == forks[2]


def ids_of(replica: MemoryReplica) -> set[bytes]:
    found: set[bytes] = set()
    for state in replica.index.chains():
        for row in state.runs:
            lines = replica.read_run(row).split(b"\n")[:-2]
            found.update(link_ids(row.first_previous_id, [parse_line(line) for line in lines]))  # type: ignore[arg-type]
    return found


TestSessions: Any = SessionMachine.TestCase
TestSessions.settings = settings(
    max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
