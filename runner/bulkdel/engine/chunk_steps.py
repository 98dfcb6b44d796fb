"""The steps of a worker with one chunk: look up, prepare, write the intent, send, write the outcomes.

`pipeline.settle_chunk` calls them in this order. `core.chunk_state` decides what follows from a response, and
`http.client` when a request may leave. `checkpoint` makes intents and outcomes durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any
from urllib.parse import unquote

from bulkdel.core.absence import IN_PATH, ODD_IN_PATH, odd_in_path
from bulkdel.core.account_match import Instant, Presence, Sampled, lag_is_over, lag_left_s, presences
from bulkdel.core.chunk_state import ChunkState, Found, LookUp, LookUpReason, Send, Step
from bulkdel.core.decision import Decision, NextStep, Request, decision_per_id
from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import Entry, Intent, Released, Skipped
from bulkdel.core.look_up_lag import INTENT_AGE_MAX_S, LAG_VAIN_MAX, LOOKS_AGAIN_MAX, look_again_s
from bulkdel.core.ranges import positions_in, ranges_of
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.redaction import IdRedactor
from bulkdel.core.retry import RETRY_MAX_S
from bulkdel.engine.backup import Backup, line_of
from bulkdel.engine.drain import Stop
from bulkdel.engine.session_context import SessionContext, counts_of, write_settled
from bulkdel.engine.snapshot import Event
from bulkdel.errors import Halted
from bulkdel.format import counted
from bulkdel.http.client import WorkerState, WorkerStatus
from bulkdel.job import Account

DECIDING = frozenset({LookUpReason.UNKNOWN_ID, LookUpReason.CALLED_ABSENT, LookUpReason.UNSURE})
"""Look-ups that decide what a received response meant. A drain waits for them."""

WITHOUT_ROW = "To go on without this row, add --exclude FILE with its id to the same command"


class ChunkInHand:
    """One chunk and the worker that settles it.

    Where accounts are created, `engine.creation_strategy.CreationInHand` replaces some of its methods.
    """

    def __init__(self, chunk: Chunk, worker: WorkerStatus, context: SessionContext) -> None:
        self._chunk = chunk
        self._worker = worker
        self._context = context
        # The positions whose intent is enqueued, by this session or before.
        self._intended = set(chunk.records.positions) if chunk.doubt is not None else set[int]()
        self._sent_at: tuple[float, float] | None = None  # just before the first request: wall and monotonic clock
        self._redact = IdRedactor()  # for the request that is prepared
        self._accounts: dict[str, Account] = {}  # by id, as the look-ups of this chunk returned them
        self._saved: set[str] = set()  # ids whose copy is durable
        self._copied = False  # whether some of these copies are in no intent yet
        self._seen_at: dict[str, tuple[float, float]] = {}  # by id, when its latest look-up began: by both clocks
        self._spared: dict[str, Spared] = {}  # by id, why its account is spared
        self._unproven: set[str] = set()  # not found by the latest look-ups, without proof that they are absent
        self._loose: set[str] = set()  # ids whose latest look-up returned an account without that id
        self._uncontrolled: set[str] = set()  # ids that were not found while there was no control
        self._at_gate = False  # whether the chunk has a place at the gate
        self._intent_at = self._since  # time of the first intent for these records
        self._enqueued_at: tuple[float, float] | None = None  # when this session enqueued their latest intent

    @property
    def _since(self) -> Instant | None:
        """Since when the rows are in doubt; None for rows that were not sent before."""
        return None if self._chunk.doubt is None else self._chunk.doubt.since

    @cached_property
    def state(self) -> ChunkState:
        """What follows from the responses."""
        return self._make_state(lag_over=self._lag_over)

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
        if step.again and tally.lags_in_vain < LAG_VAIN_MAX:
            await asyncio.sleep(look_again_s(step.again))
        began = self._now_s()
        found = await self._find(step)
        self._seen_at.update(dict.fromkeys(found or (), began))
        if step.again and found is not None:
            if self._has_lagged(step, found):
                tally.lags_in_vain = 0
            elif step.again == LOOKS_AGAIN_MAX:
                tally.lags_in_vain += 1
        if self._context.drain.stop is None or found is not None:
            unproven = self._unproven | self._uncontrolled | self._loose
            misread = (self._unproven & self._in_path) | self._loose
            self.state.looked_up(found, proven=self._proven, unproven=unproven, misread=misread)

    async def prepare(self, step: Send) -> Sequence[Request]:
        """Sign in, check once more that no id is protected, make the copies durable, and build the requests.

        Raises Halted, and nothing is sent, for a protected id, for an id without a copy (--backup), and for an id that
        the server may read otherwise than it is sent.
        """
        context, ids = self._context, step.records.ids
        self._redact = self._redactor(ids)
        await context.client.auth.ensure()  # after it the owner of the token is known
        # The chunker has left protected ids out already. But a renewed token may name another owner: that halts the
        # run, and the next run excludes that owner.
        if context.client.auth.users:
            context.tally.own.update(context.client.auth.users)
        if context.lookup.look_ups.misread is not IN_PATH and self._in_path.intersection(ids):
            raise Halted(
                f"an id in the path of a request has {ODD_IN_PATH}. The server may read it as another id, and only "
                "look-ups with the id in their path show whether it does. The job has none, so such an id is not sent"
            )
        if self._protects(ids):
            raise Halted("a protected id was about to be sent; nothing more is sent. Run the same command again")
        if context.backup is not None:
            await self._save_copies(context.backup, step.records)
        # Before the intent: if the job fails here, nothing was sent.
        return context.action.calls(self.as_sent(step))

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
        self._enqueued_at = self._now_s()
        self._context.log.enqueue(Intent(at, records.ranges, backup.saved if backup else None, ahead_s))

    def _renew_intent(self, records: Records) -> None:
        """Write another intent for a request that leaves long after the latest one: look-ups may lag behind it.

        The request does not wait for it: the rows are in doubt by the earlier intent already.
        """
        if self._enqueued_at is None or self._age_s(self._enqueued_at) > INTENT_AGE_MAX_S:
            self._enqueue_intent(records)

    async def send(self, step: Send, requests: Sequence[Request]) -> None:
        """Send the request that is due, after its backoff, and take in the decision on its response."""
        context = self._context
        client, around, read = context.client, context.surroundings, context.action.read
        if step.attempt > 1:
            await client.back_off(step.attempt - 1, self.state.after_s, around.chance())

        def expired() -> bool:
            self._pass_gate()
            if self._id_may_be_reused() or self._is_stale(step.records.ids):
                return True
            self._renew_intent(step.records)
            return False

        async with client.action_requests.sending():
            self._sent_at = self._sent_at or self._now_s()
            decision = await client.ask(requests[step.part], read, self._worker, self._redact, expired)
        if decision is None:
            if self._id_may_be_reused():
                self.state.give_up()
            elif self._is_stale(step.records.ids):
                self._renew_look_up()
            return
        self._worker.state = WorkerState.ON_WIRE  # also while the job reads the response: it may fail
        if decision.next_step is NextStep.SETTLED:
            decision = self.accepted(step, decision)
        if decision.next_step is NextStep.PER_ID:
            decision = decision_per_id(step.records.ids, decision)
            context.tally.uncertain = decision.reason or context.tally.uncertain
        if decision.accepted:
            context.tally.succeeded = True
        elif decision.next_step is NextStep.FORBIDDEN:  # before any success the key is refused, later the ids
            decision = decision._replace(next_step=NextStep.SPLIT if context.tally.succeeded else NextStep.HALT)
        self.state.replied(decision, len(requests))
        self._worker.state = WorkerState.SETTLING

    def write_outcomes(self) -> None:
        """Enqueue the outcomes of the chunk. Does not wait: the next intent of the worker is flushed after them.

        Some are held back, and with them some of earlier chunks (`core.held_outcomes`).
        """
        state, context, tally = self.state, self._context, self._context.tally
        self._pass_gate()
        if self._worker.state is WorkerState.ON_WIRE:
            state.touch()
        self._worker.state = WorkerState.IDLE
        for sub_chunk in state.left if context.lookup.look_ups.possible else ():
            tally.unproven += sum(record.id in self._unproven for record in sub_chunk.records)
            for record in sub_chunk.records:
                if record.id in self._loose:
                    tally.uncertain = (
                        f"row {record.position} (counted from 0): a look-up returned an account that the id does not "
                        "name, and a guard or a backup needs the one that is meant. In a new export, write the id as "
                        "the API shows it"
                    )
        untouched, _ = state.leave()
        entries: list[Entry] = []
        controlled = context.lookup.control.proven and not context.lookup.control.uncontrolled
        write_settled(context, context.held.take(state.settled, controlled=controlled), self.noted)
        for why, records in self._by_reason(state.spared).items():
            entries.append(Skipped("excluded", Records.of(records).ranges, why))
            tally.spared += len(records) if why is not None else 0
            tally.kept += len(records) if why is None and not state.protected else 0
        if released := self._intended.intersection(positions_in(untouched)):
            entries.append(Released(ranges_of(sorted(released))))
        context.log.enqueue(*entries)
        if context.on_event is not None:
            chunk: dict[str, Any] = {"chunk": list(state.chunk.records.ranges), "requests": state.requests}
            context.on_event(Event("debug", "chunk.settled", chunk | counts_of(state.settled)))
        tally.contradicted += state.contradicted
        if state.contradicted and (doubt := self._chunk.doubt) is not None:
            tally.lag_s = max(tally.lag_s, lag_left_s(doubt.latest, context.now()))
        if context.held.halt is not None:
            context.drain.begin(Stop(context.held.halt, error=Halted(context.held.halt)))

    def _pass_gate(self) -> None:
        if self._at_gate:
            self._at_gate = False
            self._context.gate.leave()

    @property
    def _lag_over(self) -> bool:
        """Whether the latest intent is so old, by both clocks, that look-ups cannot lag behind its request any more."""
        doubt = self._chunk.doubt
        return doubt is not None and lag_is_over(doubt.latest, self._context.now())

    def _id_may_be_reused(self) -> bool:
        """Whether one of these ids may belong to another account by now.

        So it is if a request that may have had effect was sent more than RETRY_MAX_S ago.
        """
        if not self._context.id_type.reusable or not self.state.may_have_had_effect or self._sent_at is None:
            return False
        return self._age_s(self._sent_at) > RETRY_MAX_S

    def _now_s(self) -> tuple[float, float]:
        """The time by the wall clock and by the monotonic clock: the first may be set, the second may stand still."""
        return self._context.surroundings.wall(), self._context.surroundings.steady()

    def _age_s(self, since: tuple[float, float]) -> float:
        """Seconds since then: the larger of the ages by the two clocks."""
        return max(now - then for now, then in zip(self._now_s(), since, strict=True))

    def _is_stale(self, ids: Sequence[str]) -> bool:
        """Whether the look-up of one of these ids began too long ago, or there was none.

        The guards compare the account that it has found. The backup has a copy of that account, and the id may belong
        to another account since.
        """
        context = self._context
        if not context.guards and (context.backup is None or not context.id_type.reusable):
            return False
        seen = {self._seen_at.get(id_) for id_ in ids}  # ids of one look-up have one time
        return any(at is None or self._age_s(at) > RETRY_MAX_S for at in seen)

    def _renew_look_up(self) -> None:
        """Look the ids of the request that was due up again, before it is sent: an account may be active, or new."""
        self._saved.clear()
        if not self.state.requests:
            self._sent_at = None
        if not self.state.renew_look_up():
            self._context.tally.uncertain = (
                f"look-ups were over {RETRY_MAX_S / 60:.0f} minutes old when their requests could leave, so neither a "
                "guard nor a backup could rely on them: raise --rate or lower --concurrency"
            )

    def _by_reason(self, records: Sequence[Record]) -> dict[Spared | None, list[Record]]:
        """Spared records by the guard that spares them; None for an exclude file and for the key's own user."""
        found: dict[Spared | None, list[Record]] = {}
        for record in sorted(records):
            kept = self._context.administrator.meets(record.id)
            found.setdefault(Spared.ADMINISTRATOR if kept else self._spared.get(record.id), []).append(record)
        return found

    def _spares(self, record: Record, account: Account) -> bool:
        """Whether an account that a look-up has found is never sent. Notes why.

        Raises Halted when its record lacks what a guard compares.
        """
        context = self._context
        self._spared.pop(record.id, None)
        if self._protects(account.ids):
            if context.administrator.meets_any(account.ids):
                self._spared[record.id] = Spared.ADMINISTRATOR
            return True
        judged = context.guards.judge(account.facts)
        if (guard := judged.missing) is not None:
            lacking = f"{guard.words} that can be read ({context.lookup.look_ups.fields.get(guard.fact, guard.fact)})"
            noun = context.job.words.noun
            raise Halted(
                f"row {record.position} (counted from 0): the {noun} that a look-up returned has no {lacking}, "
                f"and {guard.option} needs it. The chunk was not sent. {WITHOUT_ROW}"
            )
        if judged.spared is not None:
            self._spared[record.id] = judged.spared
        return judged.spared is not None

    def _protects(self, ids: Sequence[str]) -> bool:
        return self._context.protected.meets_any(ids) or self._context.tally.own.meets_any(ids)

    async def _save_copies(self, backup: Backup, records: Records) -> None:
        """Make a durable copy of every account with one of the ids of these records.

        The copies are made just before sending: so the backup has no account that is protected or re-created.
        """
        missing = [record for record in records if record.id not in self._saved]
        if unseen := [record for record in missing if record.id not in self._accounts]:
            raise Halted(f"no look-up returned a record of {counted(len(unseen), 'id')} about to be sent (--backup)")
        if missing:
            await backup.save([line for record in missing for line in self._copies_of(record)])
            self._saved.update(record.id for record in missing)
            self._copied = True

    def _copies_of(self, record: Record) -> list[bytes]:
        """The lines of the backup for one row. Raises Halted for an account if no restore could read its copy."""
        try:
            return [line_of(raw) for raw in self._accounts[record.id].records]
        except ValueError as error:
            raise Halted(
                f"row {record.position} (counted from 0): the record of this {self._context.job.words.noun} {error} "
                f"(--backup). The chunk was not sent. {WITHOUT_ROW}"
            ) from error

    # What differs where accounts are created

    def _make_state(self, *, lag_over: bool) -> ChunkState:
        """Make the state machine. lag_over: no look-up can lag behind an earlier session's request any more."""
        context, chunk = self._context, self._chunk
        # A server that reads an id otherwise in the path of the request would do the action to another account.
        look_first = context.look_first or bool(self._in_path)
        return ChunkState(
            chunk,
            in_doubt=chunk.doubt is not None,
            # Without a look-up these ids are not sent again: protected ones, and those to look up or to copy first.
            resend_unproven=(context.in_doubt_resend or not context.id_type.reusable)
            and not (chunk.protected or look_first),
            look_first=look_first,
            protected=chunk.protected,
            several_requests=context.several_requests,
            can_look_up=context.lookup.look_ups.possible,
            absence_reaches=context.job.target_state.absence_reaches,
            lag_over=lag_over,
            to_check=context.to_check,
        )

    @cached_property
    def _in_path(self) -> frozenset[str]:
        """The ids of the chunk that stand in the path of the request, and have a dot or a character that a URL encodes.

        Ids that only have a capital letter are left out: hardly a server ignores case in a path, and each of them would
        take a look-up.
        """
        odd = frozenset(filter(odd_in_path, self._chunk.records.ids))
        requests = self._context.action.calls(self._chunk.records) if odd else ()
        return odd.intersection(unquote(part) for request in requests for part in request.path.split("/"))

    @property
    def _proven(self) -> bool:
        """Whether an empty response to a look-up proves that the ids are absent."""
        return self._context.lookup.control.proven

    @property
    def noted(self) -> Mapping[str, Mapping[str, Any]]:
        """By id, what the log notes of a row besides its outcome."""
        return {}

    def _redactor(self, ids: Sequence[str]) -> IdRedactor:
        """Make the redactor that takes these ids out of messages."""
        return IdRedactor(self._context.lookup.look_ups.texts(ids))

    def as_sent(self, step: Send) -> Records:
        """The records as the action gets them."""
        return step.records

    def accepted(self, step: Send, decision: Decision) -> Decision:  # noqa: ARG002 - it is about all of them
        """Read an accepted request."""
        return decision

    def _has_lagged(self, step: LookUp, found: Found) -> bool:
        """Whether a repeated look-up shows that the one before lagged: an account that was there is gone now."""
        return len(found) < sum(record.id not in self._loose for record in step.records)

    async def _find(self, step: LookUp) -> Found | None:
        """Look records up; None when the look-up failed."""
        context, records, ids = self._context, step.records, step.records.ids
        looked = await context.lookup.find_proven(ids, self._worker)
        if looked is None:
            return None
        accounts = looked.accounts
        self._unproven.difference_update(ids)
        self._unproven |= looked.unproven
        self._uncontrolled.difference_update(ids)
        missing = [id_ for id_ in ids if id_ not in accounts]
        if context.lookup.control.uncontrolled:
            self._uncontrolled.update(looked.empty)
        protected = {one.id for one in records if one.id in accounts and self._spares(one, accounts[one.id])}
        self._loose.difference_update(ids)
        if context.guards or context.backup is not None:
            # The server found this account by a rule of its own. The action may reach another one, which a guard spares
            # or of which there is no copy.
            loose = {id_: one for id_, one in accounts.items() if not one.certain and id_ not in protected}
            accounts = {id_: one for id_, one in accounts.items() if id_ not in loose}
            self._loose.update(loose)
        if context.backup is not None:
            self._accounts.update(accounts)
        since, now = self._since, context.now()
        compare = partial(
            presences,
            {id_: account.created_at for id_, account in accounts.items()},
            len(missing) - len(looked.unproven),
            since or now,
            Sampled.from_json(context.log.progress.header.sample),
            now,
            reusable=context.id_type.reusable and since is not None,
        )
        found = compare(resend=False)
        if context.in_doubt_resend and not self._chunk.protected:  # a protected id is not sent again
            found |= {id_: each for id_, each in compare(resend=True).items() if id_ not in protected}
        sent = since is not None or self.state.requests > 0
        for id_, each in found.items():
            # An account that was sent, and is in the target state, is settled, even if it is protected since.
            if accounts[id_].reached and each is not Presence.NEW and (sent or id_ not in protected):
                found[id_] = Presence.REACHED
            elif id_ in protected and each is Presence.OLD:
                found[id_] = Presence.PROTECTED
        return found
