"""The protocol as a state machine against a model of the API: read, send, reply, lost reply, commit, crash, resume.

Everything that decides is the program's own (feed, settling, log entries, progress); the shell around it, the disk and
the API are models, so that hypothesis may put any step between any two others. The oracle is the model's user pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bulkdel.core.account_match import Instant, Presence, Sampled, presences
from bulkdel.core.chunk_state import ChunkState, Evidence, LookUp
from bulkdel.core.chunker import chunks_of
from bulkdel.core.decision import Decision, NextStep, NoResponse, decision_on_no_response
from bulkdel.core.id_rules import IdRules
from bulkdel.core.id_type import IdSet
from bulkdel.core.log_entries import (
    Annotation,
    Entry,
    Event,
    Intent,
    Outcome,
    Released,
    Session,
    Skipped,
    decode_line,
)
from bulkdel.core.outcome import Detail
from bulkdel.core.ranges import positions_in
from bulkdel.core.record import Chunk, Record
from bulkdel.core.run_state import RunState
from tests import recorded
from tests.examples import examples
from tests.inputs import rows_of
from tests.mutants import mutant
from tests.recorded import encode_line, fold
from tests.syntax import swap

WORKERS = 3
STEPS_MAX = 1_000
"""More than it takes to settle everything; a broken program may go round for ever."""
PASSES = 2
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CREATED = EPOCH - timedelta(days=9)
SAMPLED = Sampled(CREATED.timestamp(), 0, 0)
LATER = timedelta(minutes=10)
"""Between a crash and the next run: beyond the skew of presence, so that a new account is known for one."""

UNKNOWN = Decision(NextStep.LOOK_UP, detail=Detail(404, extra=(("apiCode", 2004),)))
REFUSED = Decision(NextStep.SPLIT, detail=Detail(409))
SETTLED = Decision(NextStep.SETTLED)
UNSUCCESSFUL = Decision(NextStep.LOOK_UP, maybe_applied=True)
NEVER_LEFT = decision_on_no_response(NoResponse("no connection", sent=False))
LOST = decision_on_no_response(NoResponse("no answer", sent=True))


@dataclass
class Client:
    """The accounts that exist, as (id → when created), and what was done. policy: about ids that do not exist.

    others: whether the pool has users beside those of the export, which a control could find.
    again: ids that a new account was registered under.
    """

    users: dict[str, datetime]
    refused: frozenset[str]
    policy: str
    others: bool
    effects: Counter[str] = field(default_factory=Counter)
    again: set[str] = field(default_factory=set)

    def delete(self, ids: Sequence[str], *, effect: bool = True) -> Decision:
        if self.refused.intersection(ids):
            return REFUSED
        unknown = [id_ for id_ in ids if id_ not in self.users]
        if unknown and self.policy == "refuse":
            return UNKNOWN
        if effect:
            for id_ in ids:
                if self.users.pop(id_, None) is not None:
                    self.effects[id_] += 1
        return UNKNOWN if unknown and self.policy == "partial" else SETTLED


@dataclass
class Worker:
    """One chunk under way. intent: waits until so many entries of the log are durable. verdict: a reply on its way."""

    work: Chunk
    chunk_state: ChunkState
    intent: int = 0
    decision: Decision | None = None


@mutant(
    "in doubt taken for fresh",
    "_split",
    swap("max(begin, start), min(end, stop), doubt", "max(begin, start), min(end, stop), doubt if end < 0 else None"),
)
@mutant(
    "released although it may have had effect",
    "ChunkState.end",
    swap(
        "[record for sub_chunk in sub_chunks if not sub_chunk.touched for record in sub_chunk.records]",
        "[record for sub_chunk in sub_chunks for record in sub_chunk.records]",
    ),
)
class Protocol(RuleBasedStateMachine):
    """One export from its first run until nothing remains."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Entry] = []
        self.lines: list[bytes] = []
        self.gathered: list[Entry] = []
        self.workers: list[Worker] = []
        self.late: list[list[str]] = []
        self.came_late: set[str] = set()
        self.progress: RunState | None = None
        self.feed: Iterator[Chunk] = iter(())
        self.passes = 0
        self.proven = False
        self.now = EPOCH
        self.later = False  # whether no look-up can lag behind what was sent any more

    # --- an export, an API ---

    @initialize(
        rows=st.lists(st.sampled_from(["there", "there", "there", "never", "refused", "bad"]), min_size=1, max_size=24),
        policy=st.sampled_from(["accept", "refuse", "partial"]),
        size=st.integers(1, 6),
        others=st.booleans(),
        reusable=st.booleans(),
    )
    def begin(self, rows: list[str], policy: str, size: int, others: bool, reusable: bool) -> None:
        self.reusable = reusable
        self.ids = [f"u{position}" for position in range(len(rows))]
        self.kinds = dict(zip(self.ids, rows, strict=True))
        self.rows: list[str | None] = [None if kind == "bad" else f"u{position}" for position, kind in enumerate(rows)]
        existing = [id_ for id_, kind in self.kinds.items() if kind in {"there", "refused"}]
        there = dict.fromkeys(existing, CREATED)
        self.client = Client(
            there, frozenset(id_ for id_, kind in self.kinds.items() if kind == "refused"), policy, others
        )
        bad = [(position, position + 1) for position, kind in enumerate(rows) if kind == "bad"]
        self.skipped = recorded.skipped(invalid=bad)
        self.append(recorded.header(len(rows), self.skipped))
        self.to_disk(len(self.gathered))
        self.start(size, sees=True)

    def stamp(self) -> str:
        return self.now.isoformat(timespec="milliseconds")

    # --- the log ---

    def append(self, *entries: Entry) -> int:
        self.gathered += entries
        return len(self.log) + len(self.gathered)

    def to_disk(self, count: int) -> None:
        """The first `count` entries that have gathered become a line, as the reader will see it."""
        taken, self.gathered = self.gathered[:count], self.gathered[count:]
        if taken:
            line = encode_line(len(self.lines) + 1, taken)
            self.lines.append(line)
            self.log += decode_line(line, len(self.lines)).entries

    @precondition(lambda self: self.gathered)
    @rule(count=st.integers(1, 8))
    def commit(self, count: int) -> None:
        before = len(self.log)
        self.to_disk(count)
        for entry in self.log[before:]:
            assert self.progress is not None
            self.progress.apply(entry)

    # --- the run ---

    def start(self, size: int, *, sees: bool) -> None:
        """Begin a session. sees: whether its look-ups find accounts; without the permission they find none."""
        self.sees = sees
        self.size = size
        self.progress = fold(self.log, self.skipped)
        self.append(Session("start", self.stamp(), "", {}))
        self.passes, self.workers, self.proven = 0, [], self.control()
        self.next_pass()

    def control(self) -> bool:
        """Whether a look-up of an account that exists finds it."""
        return self.sees and (self.client.others or bool(self.client.users))

    def next_pass(self) -> None:
        assert self.progress is not None
        self.passes += 1
        self.doubtful = frozenset(positions_in(self.progress.in_doubt.ranges))
        batches = [rows_of(self.rows[start : start + 5], start) for start in range(0, len(self.rows), 5)]
        self.feed = chunks_of(batches, self.progress, self.size, IdSet())

    def is_running(self) -> bool:
        return self.progress is not None

    @precondition(lambda self: self.is_running() and len(self.workers) < WORKERS)
    @rule()
    def read(self) -> None:
        for item in self.feed:
            worker = Worker(
                item,
                ChunkState(
                    item,
                    IdRules(resend_unproven=not self.reusable),
                    old_doubt=self.later and item.doubt is not None,
                ),
            )
            self.workers.append(worker)
            doubtful = {record.position in self.doubtful for record in item.records}
            assert doubtful == {item.doubt is not None}, "in doubt and not looked up first"
            if item.doubt is None:
                worker.intent = self.append(Intent(self.stamp(), item.records.ranges, None, 0))
            return
        if not self.workers and not self.gathered:  # a pass is over when no worker has a chunk and all is durable
            assert self.progress is not None
            if self.passes < PASSES and not self.progress.complete:
                self.next_pass()
            else:
                self.progress = None

    def ready(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.decision is None and worker.intent <= len(self.log)]

    @precondition(lambda self: self.is_running() and self.ready())
    @rule(
        which=st.integers(0, WORKERS - 1),
        how=st.sampled_from(["well", "well", "well", "before", "after", "late", "never", "false", "false_after"]),
    )
    def send(self, which: int, how: str) -> None:
        """One request: its effect, and the verdict that its worker will see, if it is still there then."""
        worker = self.ready()[which % len(self.ready())]
        step = worker.chunk_state.next_step()
        assert step is not None
        if isinstance(step, LookUp):
            self.look_up(worker, step.records, fails=how in {"before", "after", "late", "never"})
            return
        if how == "never":
            self.take(worker, NEVER_LEFT)
            return
        self.check_may_be_sent(step.records)
        ids = [record.id for record in step.records]
        if how == "late":
            self.late.append(ids)
        decision = self.client.delete(ids, effect=how in {"well", "after", "false_after"})
        if decision is SETTLED and how.startswith("false"):
            decision = UNSUCCESSFUL
        worker.decision = LOST if how in {"before", "after", "late"} else decision

    @precondition(lambda self: any(worker.decision for worker in self.workers))
    @rule(which=st.integers(0, WORKERS - 1), arrives=st.booleans())
    def response(self, which: int, arrives: bool) -> None:
        """A reply arrives, or is lost on the way back."""
        waiting = [worker for worker in self.workers if worker.decision]
        worker = waiting[which % len(waiting)]
        decision, worker.decision = worker.decision, None
        assert decision is not None
        self.take(worker, decision if arrives else LOST)

    @precondition(lambda self: self.is_running())
    @rule(how=st.sampled_from(["well", "before", "after", "false"]))
    def go_on(self, how: str) -> None:
        """Several steps in a row, so that the deeper states are met often: read, commit, send, reply, commit."""
        if len(self.workers) < WORKERS:
            self.read()
        for hows in (how, "well", "well"):
            self.commit(len(self.gathered))
            if self.ready():
                self.send(0, hows)
            if any(worker.decision for worker in self.workers):
                self.response(0, arrives=True)
        self.commit(len(self.gathered))

    def take(self, worker: Worker, decision: Decision) -> None:
        worker.chunk_state.replied(decision)
        self.after_a_step(worker)

    def look_up(self, worker: Worker, records: Sequence[Record], *, fails: bool) -> None:
        there = [record.id for record in records if self.sees and record.id in self.client.users]
        found = None if fails else self.presences_of(there, len(records), worker)
        # A look-up that finds no account is followed by a control; one that finds an account needs none.
        self.proven = self.proven or (found is not None and self.control())
        worker.chunk_state.looked_up(None if found is None else Evidence(found, self.proven))
        self.after_a_step(worker)

    def presences_of(self, there: Sequence[str], asked: int, worker: Worker) -> dict[str, Presence]:
        now = Instant(self.stamp(), 0)
        created = {id_: self.client.users[id_].timestamp() for id_ in there}
        since = worker.work.doubt.since if worker.work.doubt else now
        return presences(created, asked - len(there), since, SAMPLED, now, reusable=self.reusable, resend=False)

    def after_a_step(self, worker: Worker) -> None:
        if worker.chunk_state.next_step() is None:
            self.finish(worker)

    def finish(self, worker: Worker) -> None:
        self.workers.remove(worker)
        untouched, _ = worker.chunk_state.end()
        self.append(
            *(
                Outcome(self.stamp(), s.attempts, s.kind, s.records.ranges, None, s.reason)
                for s in worker.chunk_state.settled
            )
        )
        if untouched:
            self.append(Released(untouched))

    @precondition(lambda self: self.is_running())
    @rule()
    def drain(self) -> None:
        """A signal: no new chunk, no worker waits for a response any more, all that is known goes to the disk."""
        for worker in list(self.workers):
            if worker.decision is not None:
                worker.chunk_state.touch()
            self.finish(worker)
        self.commit(len(self.gathered))
        self.progress = None

    @precondition(lambda self: self.is_running())
    @rule(written=st.integers(0, 4))
    def crash(self, written: int) -> None:
        """What was not durable may or may not be on the disk: some first part of it is."""
        self.to_disk(written)
        self.gathered, self.workers, self.progress = [], [], None

    @precondition(lambda self: not self.is_running())
    @rule(size=st.integers(1, 6), sees=st.sampled_from([True, True, False]))
    def resume(self, size: int, sees: bool) -> None:
        self.now += LATER
        self.start(size, sees=sees)

    @precondition(lambda self: not self.is_running())
    @rule(event=st.sampled_from(["undo", "forget"]))
    def annotate(self, event: Event) -> None:
        """Between two runs something is done about the run; nothing that it says of its rows may change."""
        before = recorded.state(fold(self.log, self.skipped))
        self.append(Annotation(event, self.stamp(), ""))
        self.to_disk(1)
        assert recorded.state(fold(self.log, self.skipped)) == before

    # --- the world goes on ---

    @precondition(lambda self: self.late)
    @rule()
    def have_a_late_effect(self) -> None:
        """A request that its client has given up arrives after all."""
        ids = self.late.pop(0)
        if not self.client.again.intersection(ids):
            self.came_late.update(ids)
            self.client.delete(ids)

    @precondition(lambda self: self.reusable and not self.is_running() and not self.late)
    @rule(which=st.integers(0, 30))
    def create_again(self, which: int) -> None:
        """Between two runs an account is registered under an id that was deleted."""
        gone = [id_ for id_ in self.ids if self.client.effects[id_] and id_ not in self.client.users]
        if gone:
            self.now += LATER
            self.client.users[(id_ := gone[which % len(gone)])] = self.now
            self.client.again.add(id_)

    # --- what always holds ---

    def check_may_be_sent(self, records: Sequence[Record]) -> None:
        durable = fold(self.log, self.skipped)
        for record in records:
            assert record.position in durable.in_doubt, "sent before its intent was durable"
            assert record.position not in durable.settled, "sent after it was settled"

    @invariant()
    def nothing_is_lost(self) -> None:
        """Whatever was done at the server is settled in the log, or in doubt there: the next run will ask."""
        durable = fold(self.log, self.skipped)
        assert durable.remaining + sum(durable.counts.values()) == durable.rows
        for position, id_ in enumerate(self.ids):
            assert self.client.effects[id_] <= 1, "a new account was deleted"
            if self.client.effects[id_]:
                assert position in durable.settled or position in durable.in_doubt, f"{id_} is lost"

    @invariant()
    def no_outcome_is_wrong(self) -> None:
        for entry in self.log:
            if not isinstance(entry, Outcome):
                continue
            for position in positions_in(entry.ranges):
                id_ = self.ids[position]
                if entry.kind == "refused":
                    assert id_ in self.client.users or id_ in self.came_late
                    continue
                assert id_ not in self.client.users or id_ in self.client.again, (
                    f"{id_} is {entry.kind} and still there"
                )
                if entry.kind == "absent":
                    claims = self.client.policy != "partial" or entry.reason != "unproven"
                    assert not (claims and self.client.effects[id_]), f"{id_} was deleted by us"

    def teardown(self) -> None:
        """From wherever it has come to, with a server that is well: three more runs settle everything."""
        if not hasattr(self, "client"):
            return
        self.crash(0)
        self.client.others = self.later = True
        steps = count()
        for _ in range(3):
            self.late.clear()
            self.resume(4, sees=True)
            for _ in range(STEPS_MAX):
                if not self.is_running():
                    break
                self.read()
                self.commit(len(self.gathered))
                while (ready := self.ready()) and next(steps) < STEPS_MAX:
                    self.send(0, "well")
                    if ready[0].decision is not None:
                        self.response(0, arrives=True)
                    self.commit(len(self.gathered))
            self.nothing_is_lost()
            self.no_outcome_is_wrong()
        durable = fold(self.log, self.skipped)
        assert durable.complete, durable
        ends: dict[int, str] = dict.fromkeys(self.skipped.rows.between(0, len(self.ids)), "invalid")
        ends |= {
            position: entry.kind if isinstance(entry, Outcome) else entry.reason
            for entry in self.log
            if isinstance(entry, Outcome | Skipped)
            for position in positions_in(entry.ranges)
        }
        for position, id_ in enumerate(self.ids):
            allowed = {
                # Which of them is right, no_outcome_is_wrong says. Of a newer account it may be hard to tell.
                "there": {"done", "absent", "refused", *({"unknown"} if id_ in self.client.again else ())},
                "never": {"done", "absent"},
                "refused": {"refused"},
                "bad": {"invalid"},
            }[self.kinds[id_]]
            assert ends[position] in allowed, (id_, self.kinds[id_], ends[position])


Protocol.TestCase.settings = settings(deadline=None, max_examples=examples(400), stateful_step_count=60)
TestProtocol = Protocol.TestCase
