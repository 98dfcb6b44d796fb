"""One chunk in the hands of a worker: the effects of its steps, each in its order. `pipeline.settle_chunk` calls them.

What follows from an answer is decided in `core.chunk_state`; when a request may leave, in `http.client`; what is
durable, in `checkpoint`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.absence import may_be_split
from bulkdel.core.account_match import Instant, Presence, Sampled, age_s, presences
from bulkdel.core.chunk_state import ChunkState, Found, LookUp, LookUpReason, Send, Step
from bulkdel.core.chunker import ChunkTask
from bulkdel.core.decision import Decision, NextStep, Request
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Entry, Intent, Outcome, Released, Skipped
from bulkdel.core.outcome import Settled
from bulkdel.core.record import Record, ids_of, positions_of
from bulkdel.core.redaction import without_ids
from bulkdel.core.refused_limit import RefusedLimit
from bulkdel.core.retry import LAG_MAX_S, LAG_VAIN_MAX, LOOKS_AGAIN_MAX, RETRY_MAX_S, backoff_s, look_again_s
from bulkdel.engine.backup import Backup
from bulkdel.engine.drain import Drain, Stop
from bulkdel.engine.surroundings import Surroundings
from bulkdel.errors import Halted
from bulkdel.format import counted, stamp
from bulkdel.http.client import Client, WorkerState, WorkerStatus
from bulkdel.http.lookup import AccountLookup
from bulkdel.job import Account, Action

DECIDING = frozenset({LookUpReason.UNKNOWN_ID, LookUpReason.UNSURE})
"""Look-ups that decide what a received response meant. A drain waits for them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How to send.

    in_doubt_resend: --in-doubt resend. look_first: look every id up before it is sent.
    on_settled: called with every chunk that is done.
    """

    refused_max: RefusedLimit
    in_doubt_resend: bool = False
    look_first: bool = False
    on_settled: Callable[[ChunkState], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Parts:
    """What all chunks of a session share.

    action: how the ids of a chunk are deleted. log: where intents and outcomes become durable. backup: where a copy of
    every record is kept; None without --backup. protected: ids that must never be sent.
    """

    client: Client
    lookup: AccountLookup
    action: Action
    log: Checkpoint
    id_type: IdType
    rules: Rules
    surroundings: Surroundings
    drain: Drain
    backup: Backup | None
    protected: IdSet


@dataclass(slots=True)
class Tally:
    """What the chunks of a session have counted.

    settled, refused: rows, for --max-refused. kept: rows that were not sent, because the looked-up record is protected.
    unproven: rows that this pass left, because a look-up did not find them and does not prove absence (commas).
    contradicted: rows that this pass left in doubt, because the API refuses them as unknown and look-ups find them.
    lags_in_vain: chunks in a row for which waiting for a lagging look-up changed nothing.
    succeeded: whether a deletion was ever accepted. own: ids of the key's own user, as the tokens named them.
    """

    own: IdSet
    succeeded: bool
    settled: int = 0
    refused: int = 0
    kept: int = 0
    unproven: int = 0
    contradicted: int = 0
    lags_in_vain: int = 0


@dataclass(slots=True)
class ChunkInHand:
    """One chunk and the worker that settles it.

    intended: whether its intent is appended.
    sent_at: the time just before its first request, by the wall clock and by the monotonic clock; None before it.
    accounts: the accounts that look-ups of this chunk returned.
    saved: ids whose copy is durable.
    unproven: ids that the latest look-ups did not find, without proof that they are absent.
    """

    task: ChunkTask
    worker: WorkerStatus
    parts: Parts
    tally: Tally
    state: ChunkState = field(init=False)
    intended: bool = field(init=False)
    sent_at: tuple[float, float] | None = None
    accounts: dict[str, Account] = field(default_factory=dict)
    saved: set[str] = field(default_factory=set)
    unproven: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rules, since, protected = self.parts.rules, self.task.in_doubt_since, self.task.protected
        self.intended = since is not None
        self.state = ChunkState(
            self.task.chunk,
            in_doubt=since is not None,
            # Without a look-up, a protected id is not sent again, nor one that must be looked up or copied first.
            resend_unproven=(rules.in_doubt_resend or not self.parts.id_type.reusable)
            and not (protected or rules.look_first),
            look_first=rules.look_first,
            protected=protected,
            lag_over=since is not None and self._lag_over(since),
        )

    def hide(self, text: str) -> str:
        """Take the ids of this chunk and the credentials out of a text."""
        return without_ids(self.parts.client.auth.hide(text), self.task.chunk.ids)

    def next_step(self) -> Step | None:
        """What to do now; None when the chunk is done, or must wait for the next run because this one drains."""
        step = self.state.next_step()
        decides = isinstance(step, LookUp) and step.why in DECIDING and not step.again
        if step is None or (self.parts.drain.stop is not None and not decides):
            return None
        self.worker.enter(WorkerState.DECIDING if decides else WorkerState.SETTLING)
        return step

    async def look_up(self, step: LookUp) -> None:
        """Ask which ids exist, and take in the answer. A repetition waits first: the look-up before may have lagged."""
        if step.again and self.tally.lags_in_vain < LAG_VAIN_MAX:
            await asyncio.sleep(look_again_s(step.again))
        found = await self._find(step.records)
        if step.again and found is not None:
            self._note_lag(step, changed=len(found) < len(step.records))
        if self.parts.drain.stop is None or found is not None:
            self.state.looked_up(found, proven=self.parts.lookup.proven, unproven=self.unproven)

    async def prepare(self, step: Send) -> Request:
        """Sign in, check once more that no id is protected, have the copies durable, and build the request."""
        await self.parts.client.auth.ensure()  # before it the owner of the token is not known
        self._check_protected(step.records)
        if self.parts.backup is not None:
            await self._save_copies(self.parts.backup, step.records)
        return self.parts.action.call(step.records)  # before the intent: if the job fails here, nothing was sent

    async def write_intent(self, step: Send) -> None:
        """Have the intent of the chunk durable, before its first request leaves."""
        if self.intended:
            return
        backup = self.parts.backup
        intent = Intent(
            stamp(self.parts.surroundings.wall()),
            positions_of(step.records),
            backup.saved if backup else None,
            self.parts.client.transport.ahead_s,
        )
        self.intended = True  # it is written even if the wait is cancelled
        await self.parts.log.append(intent)

    async def send(self, step: Send, request: Request) -> None:
        """Send the request, after its backoff, and take in the decision on its response."""
        client, around = self.parts.client, self.parts.surroundings
        if step.attempt > 1:
            client.figures.retries += 1
            await asyncio.sleep(max(self.state.after_s, backoff_s(step.attempt - 1, around.chance())))
        self.sent_at = self.sent_at or (around.wall(), around.steady())
        ids = ids_of(step.records)
        decision = await client.ask(request, self.parts.action.read, self.worker, ids, self._too_late)
        if decision is not None:
            self.state.replied(self._judged(decision))
        elif self._too_late():
            self.state.give_up()

    def write_outcomes(self) -> None:
        """Append the outcomes of the chunk. Not awaited: the worker's next intent comes after them in the same log."""
        state, tally, parts = self.state, self.tally, self.parts
        if self.worker.state is WorkerState.ON_WIRE:
            state.touch()
        self.worker.enter(WorkerState.IDLE)
        tally.unproven += sum(record.id in self.unproven for sub_chunk in state.left for record in sub_chunk.records)
        untouched, _ = state.leave()
        at, ahead_s = stamp(parts.surroundings.wall()), parts.client.transport.ahead_s
        entries: list[Entry] = [_outcome(settled, at, ahead_s) for settled in state.settled]
        if state.spared:
            entries.append(Skipped("excluded", positions_of(sorted(state.spared))))
            if not state.protected:
                tally.kept += len(state.spared)
        if untouched and self.intended:
            entries.append(Released(untouched))
        parts.log.enqueue(*entries)
        parts.rules.on_settled(state)
        tally.contradicted += state.contradicted
        for part in state.settled:
            tally.settled += len(part.records)
            tally.refused += len(part.records) if part.kind == "refused" else 0
        if parts.rules.refused_max.exceeded(tally.refused, tally.settled):
            why = f"{tally.refused:,} of {tally.settled:,} ids settled now were refused (--max-refused)"
            parts.drain.begin(Stop(why, error=Halted(why)))

    def _too_late(self) -> bool:
        """Whether one of these ids may belong to another account by now.

        So it is when the chunk was sent without a response long ago: the server was away, or this process was stopped.
        """
        if not self.parts.id_type.reusable or not self.state.maybe_applied or self.sent_at is None:
            return False
        wall, steady = self.sent_at
        around = self.parts.surroundings
        return max(around.wall() - wall, around.steady() - steady) > RETRY_MAX_S

    def _note_lag(self, step: LookUp, *, changed: bool) -> None:
        if changed:
            self.tally.lags_in_vain = 0
        elif step.again == LOOKS_AGAIN_MAX:
            self.tally.lags_in_vain += 1

    def _lag_over(self, since: Instant) -> bool:
        """Whether an intent is so old, by both clocks, that look-ups cannot lag behind its request any more."""
        now = self._now()
        return min(age_s(since, now), now.ours - since.ours) > LAG_MAX_S

    def _now(self) -> Instant:
        return Instant(stamp(self.parts.surroundings.wall()), self.parts.client.transport.ahead_s)

    def _check_protected(self, records: Sequence[Record]) -> None:
        """Check again just before sending that no id is protected; the row filter has left them out already.

        A renewed token may name another owner. That halts the run, and the next run excludes that owner.
        """
        if users := self.parts.client.auth.users:
            self.tally.own.update(users)
        if self._protects(ids_of(records)):
            raise Halted("a protected id was about to be sent; nothing more is sent. Run the same command again")

    def _protects(self, ids: Sequence[str]) -> bool:
        return self.parts.protected.meets_any(ids) or self.tally.own.meets_any(ids)

    async def _save_copies(self, backup: Backup, records: Sequence[Record]) -> None:
        """Make a durable copy of every user of these records.

        It happens just before sending, so that the backup has no user that turned out to be protected or re-created.
        """
        missing = [record.id for record in records if record.id not in self.saved]
        if unseen := [id_ for id_ in missing if id_ not in self.accounts]:
            raise Halted(
                f"{counted(len(unseen), 'id')} would be deleted of which no look-up returned a record (--backup)"
            )
        if missing:
            await backup.save(raw for id_ in missing for raw in self.accounts[id_].records)
            self.saved.update(missing)

    async def _find(self, records: Sequence[Record]) -> Found | None:
        """Look records up; None when the look-up failed, or found an account that must not be deleted by these ids."""
        lookup, ids = self.parts.lookup, [record.id for record in records]
        looked = await lookup.find(ids, self.worker)
        if looked is None:
            return None
        accounts = looked.accounts
        self.unproven.difference_update(ids)
        self.unproven |= looked.unproven
        if not accounts and not all(map(may_be_split, ids)):  # ids with a comma have their own control
            await lookup.prove_since(self.parts.client.clock(), self.worker)
        protected = {id_ for id_, account in accounts.items() if self._protects(account.ids)}
        if self.parts.backup is not None:
            if loose := [id_ for id_, account in accounts.items() if not account.certain and id_ not in protected]:
                # The account does not have this id, so deleting by the id may delete an account without a copy.
                lookup.failed = f"{len(loose)} looked-up ids returned an account that they do not name (--backup)"
                return None
            self.accounts.update(accounts)
        since = self.task.in_doubt_since
        found = presences(
            {id_: account.created_at for id_, account in accounts.items()},
            len(ids) - len(accounts) - len(looked.unproven),
            since or self._now(),
            Sampled.from_json(self.parts.log.progress.header.sample),
            self._now(),
            reusable=self.parts.id_type.reusable and since is not None,
            resend=self.parts.rules.in_doubt_resend and not self.task.protected,
        )
        return {
            id_: Presence.PROTECTED if id_ in protected and each is Presence.OLD else each
            for id_, each in found.items()
        }

    def _judged(self, decision: Decision) -> Decision:
        """Decide a 403: before any success the permission is missing (halt), after one the ids are refused (split)."""
        if decision.next_step is NextStep.SETTLED:
            self.tally.succeeded = True
        if decision.next_step is NextStep.FORBIDDEN:
            return decision._replace(next_step=NextStep.SPLIT if self.tally.succeeded else NextStep.HALT)
        return decision


def _outcome(settled: Settled, at: str, ahead_s: int | None) -> Outcome:
    named = settled.kind in {"refused", "unknown"}
    return Outcome(
        at=at,
        attempts=settled.attempts,
        kind=settled.kind,
        ranges=settled.ranges,
        request_id=settled.detail.request_id,
        reason=settled.reason,
        exceptions=tuple(
            {"position": record.position, "id": record.id, **settled.detail.to_json()} for record in settled.records
        )
        if named
        else (),
        ahead_s=ahead_s,
    )
