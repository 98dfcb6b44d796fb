"""The steps of a worker with one chunk: look up, prepare, write the intent, send, write the outcomes.

`pipeline.settle_chunk` calls them in this order. `core.chunk_state` and its rules decide what follows from a response,
and `http.client` when a request may leave. `checkpoint` makes intents and outcomes durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bulkdel.core.absence import IN_PATH, ODD_IN_PATH
from bulkdel.core.account_match import Instant, lag_left_s
from bulkdel.core.chunk_state import LookUp, LookUpReason, Send, Step
from bulkdel.core.decision import NextStep, Request, decision_per_id
from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import Entry, Intent, Released, Skipped
from bulkdel.core.look_up_lag import INTENT_AGE_MAX_S, LOOKS_AGAIN_MAX, look_again_s
from bulkdel.core.ranges import positions_in, ranges_of
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.redaction import IdRedactor
from bulkdel.core.retry import RETRY_MAX_S
from bulkdel.engine.backup import Backup, line_of
from bulkdel.engine.drain import Stop
from bulkdel.engine.session_context import SessionContext, enqueue_settled
from bulkdel.engine.snapshot import Event
from bulkdel.engine.strategy import WITHOUT_ROW, Strategy
from bulkdel.engine.tally import counts_of
from bulkdel.errors import Halted
from bulkdel.format import counted
from bulkdel.http.client import WorkerState, WorkerStatus

DECIDING = frozenset({LookUpReason.UNKNOWN_ID, LookUpReason.CALLED_ABSENT, LookUpReason.UNSURE})
"""Look-ups that decide what a received response meant. A drain waits for them."""


class ChunkInHand:
    """One chunk and the worker that settles it. state: what follows from the responses."""

    def __init__(self, chunk: Chunk, worker: WorkerStatus, context: SessionContext, strategy: Strategy) -> None:
        self._chunk = chunk
        self._worker = worker
        self._context = context
        self._strategy = strategy
        self.state = strategy.state
        # The positions whose intent is enqueued, by this session or before, and the time of the first of these intents.
        self._intended = set(chunk.records.positions) if chunk.doubt is not None else set[int]()
        self._intent_at = chunk.doubt.since if chunk.doubt is not None else None
        self._sent_at: tuple[float, float] | None = None  # just before the first request: wall and monotonic clock
        self._redact = IdRedactor()  # for the request that is prepared
        self._saved: set[str] = set()  # ids whose copy is durable
        self._copied = False  # whether some of these copies are in no intent yet
        self._at_gate = False  # whether the chunk has a place at the gate
        self._enqueued_at: tuple[float, float] | None = None  # when this session enqueued their latest intent

    def next_step(self) -> Step | None:
        """What to do now; None when the chunk is done, or must wait for the next run because this one drains."""
        step = self.state.next_step()
        decides = isinstance(step, LookUp) and step.why in DECIDING and not step.again
        if step is None or (self._context.drain.stop is not None and not decides):
            return None
        self._worker.state = WorkerState.DECIDING if decides else WorkerState.SETTLING
        return step

    async def look_up(self, step: LookUp) -> None:
        """Ask which ids exist, and take in the result. A repetition waits first: the look-up before may have lagged."""
        tally = self._context.tally
        if step.again and tally.waits_for_lag:
            await asyncio.sleep(look_again_s(step.again))
        evidence = await self._strategy.look_up(step, self._intent_at)
        if step.again and evidence is not None:
            lagged = self._strategy.has_lagged(step, evidence.found)
            tally.note_wait(lagged=lagged, last=step.again == LOOKS_AGAIN_MAX)
        if self._context.drain.stop is None or evidence is not None:  # else the drain cut it off, and it stays due
            self.state.looked_up(evidence)

    async def prepare(self, step: Send) -> Sequence[Request]:
        """Sign in, check once more that no id is protected, make the copies durable, and build the requests.

        Raises Halted, and nothing is sent, for a protected id, for an id without a copy (--backup), and for an id that
        the server may read otherwise than it is sent.
        """
        context, ids = self._context, step.records.ids
        self._redact = self._strategy.redactor(ids)
        await context.client.auth.ensure()  # after it the owner of the token is known
        # The chunker has left protected ids out already. But a renewed token may name another owner: that halts the
        # run, and the next run excludes that owner.
        if context.client.auth.users:
            context.tally.own.update(context.client.auth.users)
        if context.lookup.look_ups.misread is not IN_PATH and self._strategy.in_path.intersection(ids):
            raise Halted(
                f"an id in the path of a request has {ODD_IN_PATH}. The server may read it as another id, and only "
                "look-ups with the id in their path show whether it does. The job has none, so such an id is not sent"
            )
        if context.protects(ids):
            raise Halted("a protected id was about to be sent; nothing more is sent. Run the same command again")
        if context.backup is not None:
            await self._save_copies(context.backup, step.records)
        # Before the intent: if the job fails here, nothing was sent.
        return context.action.calls(self._strategy.as_sent(step))

    async def write_intent(self, step: Send) -> None:
        """Make the intent of the chunk durable, before its first request leaves.

        Rows in doubt have an intent already. They get another one when copies of them were made since: it notes the
        size of the backup with these copies. See also `_renew_intent`.
        """
        if self._intended.issuperset(step.records.positions) and not self._copied:
            return
        await self._context.gate.enter()
        self._at_gate = True
        self._enqueue_intent(step.records)
        await self._context.log.flush()

    def _enqueue_intent(self, records: Records) -> None:
        at, ahead_s = self._context.now()
        backup = self._context.backup
        self._intended.update(records.positions)  # it is written even if the wait is cancelled
        self._copied = False
        self._intent_at = self._intent_at or Instant(at, ahead_s)
        self._enqueued_at = self._context.clocks()
        self._context.log.enqueue(Intent(at, records.ranges, backup.saved if backup else None, ahead_s))

    def _renew_intent(self, records: Records) -> None:
        """Write another intent for a request that leaves long after the latest one: look-ups may lag behind it.

        The request does not wait for it: the rows are in doubt by the earlier intent already.
        """
        if self._enqueued_at is None or self._context.age_s(self._enqueued_at) > INTENT_AGE_MAX_S:
            self._enqueue_intent(records)

    async def send(self, step: Send, requests: Sequence[Request]) -> None:
        """Send the request that is due, after its backoff, and take in the decision on its response."""
        context = self._context
        client, read = context.client, context.action.read
        if step.attempt > 1:
            await client.back_off(step.attempt - 1, self.state.after_s, context.log.place.world.chance())

        def leaves_too_late() -> bool:
            """Leave the gate, and renew the intent unless it is too late. Called just before the request leaves."""
            self._pass_gate()
            if self._id_may_be_reused() or self._is_stale(step.records.ids):
                return True
            self._renew_intent(step.records)
            return False

        async with client.action_requests.sending():
            self._sent_at = self._sent_at or context.clocks()
            decision = await client.ask(requests[step.request_no], read, self._worker, self._redact, leaves_too_late)
        if decision is None:  # it was drained, or was too late
            if self._id_may_be_reused():
                self.state.give_up()
            elif self._is_stale(step.records.ids):
                self._renew_look_up()
            return
        self._worker.state = WorkerState.ON_WIRE  # also while the job reads the response: it may fail
        if decision.next_step is NextStep.SETTLED:
            decision = self._strategy.accepted(step, decision, self._intent_at)
        if decision.next_step is NextStep.PER_ID:
            decision = decision_per_id(step.records.ids, decision)
            context.tally.note_uncertain(decision.reason)
        if decision.accepted:
            context.tally.note_accepted()
        elif decision.next_step is NextStep.FORBIDDEN:  # before any success the key is refused, later the ids
            decision = decision._replace(next_step=NextStep.SPLIT if context.tally.succeeded else NextStep.HALT)
        self.state.replied(decision, len(requests))
        self._worker.state = WorkerState.SETTLING

    def enqueue_outcomes(self) -> None:
        """Enqueue the outcomes of the chunk. Does not wait: the next intent of the worker is flushed after them.

        Some are held back, and with them some of earlier chunks (`core.held_outcomes`).
        """
        state, strategy, context, tally = self.state, self._strategy, self._context, self._context.tally
        self._pass_gate()
        if self._worker.state is WorkerState.ON_WIRE:
            state.touch()
        self._worker.state = WorkerState.IDLE
        for sub_chunk in state.left if context.lookup.look_ups.possible else ():  # `state.end` empties it
            tally.leave(unproven=sum(record.id in strategy.unproven for record in sub_chunk.records))
            for record in sub_chunk.records:
                if record.id in strategy.loose:
                    tally.note_uncertain(
                        f"row {record.position} (counted from 0): a look-up returned an account that the id does not "
                        "name, and a guard or a backup needs the one that is meant. In a new export, write the id as "
                        "the API shows it"
                    )
        untouched, _ = state.end()  # takes refusals back, so `state.settled` is read after it
        entries: list[Entry] = []
        controlled = context.lookup.control.controlled
        enqueue_settled(context, context.held.take(state.settled, controlled=controlled), strategy.noted)
        for why, records in self._by_reason(state.spared).items():
            entries.append(Skipped("excluded", Records.of(records).ranges, why))
            if why is not None:
                tally.exclude(spared=len(records))
            elif not state.protected:  # the chunker has left those out already, and --limit does not count them
                tally.exclude(protected=len(records))
        if released := self._intended.intersection(positions_in(untouched)):
            entries.append(Released(ranges_of(sorted(released))))
        context.log.enqueue(*entries)
        if context.on_event is not None:
            chunk: dict[str, Any] = {"chunk": list(state.chunk.records.ranges), "requests": state.requests}
            context.on_event(Event("debug", "chunk.settled", chunk | counts_of(state.settled)))
        doubt = self._chunk.doubt
        lag_s = lag_left_s(doubt.latest, context.now()) if state.contradicted and doubt is not None else 0
        tally.leave(contradicted=state.contradicted, lag_s=lag_s)
        if context.held.halt is not None:
            context.drain.begin(Stop(context.held.halt, error=Halted(context.held.halt)))
        strategy.end()

    def _pass_gate(self) -> None:
        if self._at_gate:
            self._at_gate = False
            self._context.gate.leave()

    def _id_may_be_reused(self) -> bool:
        """Whether one of these ids may belong to another account by now.

        So it is if a request that may have had effect was sent more than RETRY_MAX_S ago.
        """
        if not self._context.id_type.reusable or not self.state.due.may_have_had_effect or self._sent_at is None:
            return False
        return self._context.age_s(self._sent_at) > RETRY_MAX_S

    def _is_stale(self, ids: Sequence[str]) -> bool:
        """Whether the look-up of one of these ids began too long ago, or there was none.

        The guards compare the account that it has found. The backup has a copy of that account, and the id may belong
        to another account since.
        """
        context = self._context
        if not context.guards and (context.backup is None or not context.id_type.reusable):
            return False
        seen = {self._strategy.seen_at.get(id_) for id_ in ids}  # ids of one look-up have one time
        return any(at is None or context.age_s(at) > RETRY_MAX_S for at in seen)

    def _renew_look_up(self) -> None:
        """Look the ids of the request that was due up again, before it is sent: an account may be active, or new."""
        self._saved.clear()
        if not self.state.requests:
            self._sent_at = None
        if not self.state.renew_look_up():
            self._context.tally.note_uncertain(
                f"look-ups were over {RETRY_MAX_S / 60:.0f} minutes old when their requests could leave, so neither a "
                "guard nor a backup could rely on them: raise --rate or lower --concurrency"
            )

    def _by_reason(self, records: Sequence[Record]) -> dict[Spared | None, list[Record]]:
        """Spared records by the guard that spares them; None for an exclude file and for the key's own user."""
        found: dict[Spared | None, list[Record]] = {}
        for record in sorted(records):
            kept = self._context.administrator.meets(record.id)
            found.setdefault(Spared.ADMINISTRATOR if kept else self._strategy.spared.get(record.id), []).append(record)
        return found

    async def _save_copies(self, backup: Backup, records: Records) -> None:
        """Make a durable copy of every account with one of the ids of these records.

        The copies are made just before sending: so the backup has no account that is protected or re-created.
        """
        missing = [record for record in records if record.id not in self._saved]
        if unseen := [record for record in missing if record.id not in self._strategy.accounts]:
            raise Halted(f"no look-up returned a record of {counted(len(unseen), 'id')} about to be sent (--backup)")
        if missing:
            await backup.save([line for record in missing for line in self._copies_of(record)])
            self._saved.update(record.id for record in missing)
            self._copied = True

    def _copies_of(self, record: Record) -> list[bytes]:
        """The lines of the backup for one row. Raises Halted for an account if no restore could read its copy."""
        try:
            return [line_of(raw) for raw in self._strategy.accounts[record.id].records]
        except ValueError as error:
            raise Halted(
                f"row {record.position} (counted from 0): the record of this {self._context.job.words.noun} {error} "
                f"(--backup). The chunk was not sent. {WITHOUT_ROW}"
            ) from error
