"""The steps of a worker with one chunk: look up, prepare, write the intent, send, write the outcomes.

`pipeline.settle_chunk` calls them in this order. `core.chunk_state` decides what follows from a response, `http.client`
when a request may leave. `checkpoint` makes intents and outcomes durable.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.account_match import Instant, Presence, Sampled, age_s, presences
from bulkdel.core.chunk_state import ChunkState, Found, LookUp, LookUpReason, Send, Step
from bulkdel.core.creation_state import CreationState
from bulkdel.core.decision import NextStep, Request, decision_per_id
from bulkdel.core.guards import NO_GUARDS, Guards, Spared
from bulkdel.core.held_outcomes import HeldOutcomes, all_absent
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.log_entries import Entry, Intent, Outcome, Released, Skipped, stamp
from bulkdel.core.outcome import Settled
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.redaction import IdRedactor
from bulkdel.core.retry import LAG_MAX_S, LAG_VAIN_MAX, LOOKS_AGAIN_MAX, RETRY_MAX_S, look_again_s, too_many_refused
from bulkdel.engine.backup import Backup
from bulkdel.engine.keys import KeysInHand, keys_in_hand
from bulkdel.engine.progress import Event
from bulkdel.engine.surroundings import Surroundings
from bulkdel.engine.workers import Drain, Stop
from bulkdel.errors import Halted
from bulkdel.format import counted
from bulkdel.http.client import Client, WorkerState, WorkerStatus
from bulkdel.http.lookup import AccountLookup
from bulkdel.job import Account, Action, Job, LookUps

DECIDING = frozenset({LookUpReason.UNKNOWN_ID, LookUpReason.UNSURE})
"""Look-ups that decide what a received response meant. A drain waits for them."""


@dataclass(slots=True)
class Tally:
    """What the chunks of a session have counted.

    settled, refused: rows, for --max-refused. kept: rows that were not sent, because the looked-up record is protected.
    spared: rows that were not sent because of a guard.
    unproven: rows that this pass left, because a look-up did not find them and does not prove absence (commas).
    contradicted: rows that this pass left in doubt, because the API refuses them as unknown and look-ups find them.
    lags_in_vain: chunks in a row for which waiting for a lagging look-up changed nothing.
    refused_parts: how many records the API has refused with a part and taken without it (`Reduction.part`), such as a
        department that no longer exists.
    uncertain: why a chunk was left: its look-up returned accounts that do not have the ids that were looked up, or an
        answer per id settled only some of its ids.
    succeeded: whether a request was ever accepted. own: ids of the key's own user, as the tokens named them.
    """

    own: IdSet
    succeeded: bool
    settled: int = 0
    refused: int = 0
    kept: int = 0
    spared: int = 0
    unproven: int = 0
    contradicted: int = 0
    lags_in_vain: int = 0
    uncertain: str = ""
    refused_parts: Counter[str] = field(default_factory=Counter)

    @property
    def not_sent(self) -> int:
        """How many rows a look-up has kept from being sent."""
        return self.kept + self.spared


@dataclass(frozen=True, slots=True)
class Parts:
    """What all chunks of a session share.

    look_ups: those of the job, for records that are found by their keys. action: what is done to the ids of a chunk.
    log: where intents and outcomes become durable. backup: where a copy of every record is kept; None without --backup.
    protected: ids that must never be sent. held: outcomes that wait before they are written.
    refused_max: --max-refused. in_doubt_resend: --in-doubt resend. look_first: look every id up before it is sent.
    guards: which of the looked-up accounts are spared. administrator: ids of the one that the pool keeps.
    on_event: called with an event for every chunk that is done; None when no event is wanted.
    """

    client: Client
    lookup: AccountLookup
    look_ups: LookUps | None
    action: Action
    job: Job
    log: Checkpoint
    id_type: IdType
    surroundings: Surroundings
    drain: Drain
    protected: IdSet
    administrator: IdSet
    tally: Tally
    held: HeldOutcomes
    refused_max: int | Fraction
    backup: Backup | None = None
    in_doubt_resend: bool = False
    look_first: bool = False
    guards: Guards = NO_GUARDS
    on_event: Callable[[Event], None] | None = None

    def now(self) -> Instant:
        """The time by our clock, and how far the server's is ahead of it."""
        return Instant(stamp(self.surroundings.wall()), self.client.transport.ahead_s)


def write_settled(
    parts: Parts, settled: Sequence[Settled], seen: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> None:
    """Enqueue outcomes, and count them. Begins the drain when too many ids were refused (--max-refused).

    seen: by id, what the entry has to say of this row besides, such as the id of the created account.
    """
    tally, (at, ahead_s), counts = parts.tally, parts.now(), counts_of(settled)
    for kind, records, detail, reason, attempts in settled:
        exceptions: tuple[dict[str, Any], ...] = ()
        if kind in {"refused", "unknown"}:
            known = detail.to_json()
            exceptions = tuple(
                {"position": record.position, "id": record.id, **known, **seen.get(record.id, {})} for record in records
            )
        elif seen:
            exceptions = tuple(
                {"position": record.position, **seen[record.id]} for record in records if record.id in seen
            )
        parts.log.enqueue(Outcome(at, attempts, kind, records.ranges, detail.request_id, reason, exceptions, ahead_s))
    tally.settled += sum(counts.values())
    tally.refused += counts.get("refused", 0)
    if "refused" in counts and too_many_refused(parts.refused_max, tally.refused, tally.settled):
        why = f"{tally.refused:,} of {tally.settled:,} ids settled now were refused (--max-refused)"
        parts.drain.begin(Stop(why, error=Halted(why)))


def write_held(parts: Parts) -> None:
    """End a pass: write the refusals that were held back. The other ids get no outcome, so they are sent again.

    A refused id stays in doubt where a look-up can tell what became of it. The answer was that nothing was done.
    """
    refused, left = parts.held.end()
    write_settled(parts, refused)
    for part in left:
        if part.kind == "absent" or not parts.lookup.possible:
            parts.log.enqueue(Released(part.records.ranges))
    if left and parts.drain.stop is None:
        why = all_absent(left)
        parts.drain.begin(Stop(why, error=Halted(why)))


def counts_of(settled: Sequence[Settled]) -> dict[str, int]:
    """How many rows ended as what."""
    counts: dict[str, int] = {}
    for part in settled:
        counts[part.kind] = counts.get(part.kind, 0) + len(part.records)
    return counts


class ChunkInHand:
    """One chunk and the worker that settles it. state: what follows from the responses."""

    def __init__(self, chunk: Chunk, worker: WorkerStatus, parts: Parts) -> None:
        since, lag_over = chunk.in_doubt_since, False
        if since is not None:
            now = parts.now()
            # The intent is so old, by both clocks, that look-ups cannot lag behind its request any more.
            lag_over = min(age_s(since, now), now.ours - since.ours) > LAG_MAX_S
        self._chunk = chunk
        self._worker = worker
        self._parts = parts
        self._intended = since is not None  # whether the intent is enqueued, by this session or before
        self._sent_at: tuple[float, float] | None = None  # just before the first request: wall and monotonic clock
        self._redact = IdRedactor()  # for the request that is prepared
        self._accounts: dict[str, Account] = {}  # by id, as the look-ups of this chunk returned them
        self._saved: set[str] = set()  # ids whose copy is durable
        self._seen_at: dict[str, tuple[float, float]] = {}  # by id, when its latest look-up began: by both clocks
        self._spared: dict[str, Spared] = {}  # by id, why its account is spared
        self._unproven: set[str] = set()  # not found by the latest look-ups, without proof that they are absent
        self._intent_at = since  # of the first intent for these records
        self._keys = keys_in_hand(parts.job, parts.look_ups, chunk.records)
        self.state = _state_of(parts, chunk, lag_over=lag_over)

    def next_step(self) -> Step | None:
        """What to do now; None when the chunk is done, or must wait for the next run because this one drains."""
        step = self.state.next_step()
        decides = isinstance(step, LookUp) and step.why in DECIDING and not step.again
        if step is None or (self._parts.drain.stop is not None and not decides):
            return None
        self._worker.state = WorkerState.DECIDING if decides else WorkerState.SETTLING
        return step

    async def look_up(self, step: LookUp) -> None:
        """Ask which ids exist, and take in the result. A repetition waits first: the look-up before may have lagged."""
        tally = self._parts.tally
        if step.again and tally.lags_in_vain < LAG_VAIN_MAX:
            await asyncio.sleep(look_again_s(step.again))
        began = self._now_s()
        found = await (self._find(step.records) if self._keys is None else self._find_keys(step, self._keys))
        self._seen_at.update(dict.fromkeys(found or (), began))
        if step.again and found is not None:
            # A look-up that lagged now finds fewer accounts that are to be deleted, or one that was created.
            if bool(found) if self._keys is not None else len(found) < len(step.records):
                tally.lags_in_vain = 0
            elif step.again == LOOKS_AGAIN_MAX:
                tally.lags_in_vain += 1
        if self._parts.drain.stop is None or found is not None:
            lookup = self._parts.lookup
            proven = lookup.proven or (self._keys is not None and lookup.none_listed)
            self.state.looked_up(found, proven=proven, unproven=self._unproven)

    async def prepare(self, step: Send) -> Sequence[Request]:
        """Sign in, check once more that no id is protected, make the copies durable, and build the requests.

        Raises Halted for a protected id, or an id without a copy (--backup); nothing is sent.
        """
        parts, ids = self._parts, step.records.ids
        look_ups = parts.look_ups if self._keys is None else self._keys.look_ups
        self._redact = IdRedactor(ids if look_ups is None else look_ups.texts(ids))
        await parts.client.auth.ensure()  # after it the owner of the token is known
        # The chunker has left protected ids out already. But a renewed token may name another owner: that halts the
        # run, and the next run excludes that owner.
        if parts.client.auth.users:
            parts.tally.own.update(parts.client.auth.users)
        if self._protects(ids):
            raise Halted("a protected id was about to be sent; nothing more is sent. Run the same command again")
        if parts.backup is not None:
            await self._save_copies(parts.backup, ids)
        records = step.records if self._keys is None else self._keys.reduced(step.records, parts.tally.refused_parts)
        return parts.action.calls(records)  # before the intent: if the job fails here, nothing was sent

    async def write_intent(self, step: Send) -> None:
        """Make the intent of the chunk durable, before its first request leaves."""
        if self._intended:
            return
        at, ahead_s = self._parts.now()
        backup = self._parts.backup
        self._intended = True  # it is written even if the wait is cancelled
        self._intent_at = self._intent_at or Instant(at, ahead_s)
        intent = Intent(at, step.records.ranges, backup.saved if backup else None, ahead_s)
        self._parts.log.enqueue(intent)
        await self._parts.log.flush()

    async def send(self, step: Send, requests: Sequence[Request]) -> None:
        """Send the request that is due, after its backoff, and take in the decision on its response."""
        parts = self._parts
        client, around, read = parts.client, parts.surroundings, parts.action.read
        if step.attempt > 1:
            await client.back_off(step.attempt - 1, self.state.after_s, around.chance())
        self._sent_at = self._sent_at or self._now_s()

        def too_late() -> bool:
            return self._too_late() or self._is_stale(step.records.ids)

        decision = await client.ask(requests[step.part], read, self._worker, self._redact, too_late)
        if decision is None:
            if self._too_late():
                self.state.give_up()
            elif too_late():
                self._look_again()
            return
        if decision.next_step is NextStep.SETTLED and self._keys is not None:
            decision = self._keys.created(step.records.ids, decision)
            if decision.data and step.left_out is not None and step.left_out.part is not None:
                parts.tally.refused_parts[step.left_out.part] += 1
        if decision.next_step is NextStep.PER_ID:
            decision = decision_per_id(step.records.ids, decision)
            parts.tally.uncertain = decision.reason or parts.tally.uncertain
        if decision.accepted:
            parts.tally.succeeded = True
        elif decision.next_step is NextStep.FORBIDDEN:  # before any success the key is refused, later the ids
            decision = decision._replace(next_step=NextStep.SPLIT if parts.tally.succeeded else NextStep.HALT)
        self.state.replied(decision, len(requests))

    def write_outcomes(self) -> None:
        """Enqueue the outcomes of the chunk. Does not wait: the next intent of the worker is flushed after them.

        Some are held back, and with them some of earlier chunks (`core.held_outcomes`).
        """
        state, parts, tally = self.state, self._parts, self._parts.tally
        if self._worker.state is WorkerState.ON_WIRE:
            state.touch()
        self._worker.state = WorkerState.IDLE
        for sub_chunk in state.left if parts.lookup.possible else ():
            tally.unproven += sum(record.id in self._unproven for record in sub_chunk.records)
        untouched, _ = state.leave()
        entries: list[Entry] = []
        write_settled(parts, parts.held.take(state.settled), {} if self._keys is None else self._keys.seen)
        for why, records in self._by_reason(state.spared).items():
            entries.append(Skipped("excluded", Records.of(records).ranges, why))
            tally.spared += len(records) if why is not None else 0
            tally.kept += len(records) if why is None and not state.protected else 0
        if untouched and self._intended:
            entries.append(Released(untouched))
        parts.log.enqueue(*entries)
        if parts.on_event is not None:
            chunk: dict[str, Any] = {"chunk": list(state.chunk.records.ranges), "requests": state.requests}
            parts.on_event(Event("debug", "chunk.settled", chunk | counts_of(state.settled)))
        tally.contradicted += state.contradicted
        if parts.held.halt is not None:
            parts.drain.begin(Stop(parts.held.halt, error=Halted(parts.held.halt)))

    def _too_late(self) -> bool:
        """Whether one of these ids may belong to another account by now.

        That is so when a request was sent long ago and may have been applied. In the meantime the server was away, or
        this process was stopped.
        """
        if not self._parts.id_type.reusable or not self.state.maybe_applied or self._sent_at is None:
            return False
        wall, steady = self._sent_at
        around = self._parts.surroundings
        return max(around.wall() - wall, around.steady() - steady) > RETRY_MAX_S

    def _now_s(self) -> tuple[float, float]:
        """The time by the wall clock and by the monotonic clock: the first may be set, the second may stand still."""
        return self._parts.surroundings.wall(), self._parts.surroundings.steady()

    def _is_stale(self, ids: Sequence[str]) -> bool:
        """Whether the guards compared one of these ids with a look-up that began too long ago, or with none."""
        if not self._parts.guards:
            return False
        wall, steady = self._now_s()
        seen = [self._seen_at.get(id_) for id_ in ids]
        return any(at is None or max(wall - at[0], steady - at[1]) > RETRY_MAX_S for at in seen)

    def _look_again(self) -> None:
        """Look the ids of the request that was due up again, before it is sent: an account may be active by now."""
        if not self.state.requests:
            self._sent_at = None
        if not self.state.look_again():
            self._parts.tally.uncertain = (
                f"look-ups were over {RETRY_MAX_S / 60:.0f} minutes old when their requests could leave, so the guards "
                "could not tell: raise --rate or lower --concurrency"
            )

    def _by_reason(self, records: Sequence[Record]) -> dict[Spared | None, list[Record]]:
        """Spared records by the guard that spares them; None for an exclude file and for the key's own user."""
        found: dict[Spared | None, list[Record]] = {}
        for record in sorted(records):
            kept = self._parts.administrator.meets(record.id)
            found.setdefault(Spared.ADMINISTRATOR if kept else self._spared.get(record.id), []).append(record)
        return found

    def _spares(self, record: Record, account: Account) -> bool:
        """Whether an account that a look-up has found is never sent. Notes why.

        Raises Halted when its record lacks what a guard compares.
        """
        parts = self._parts
        self._spared.pop(record.id, None)
        if self._protects(account.ids):
            if parts.administrator.meets_any(account.ids):
                self._spared[record.id] = Spared.ADMINISTRATOR
            return True
        judged = parts.guards.judge(account.facts)
        if (guard := judged.missing) is not None:
            lacking = f"{guard.words} that can be read ({parts.lookup.fields.get(guard.fact, guard.fact)})"
            noun = parts.job.words.noun
            raise Halted(
                f"row {record.position} (counted from 0): the {noun} that a look-up returned has no {lacking}, "
                f"and {guard.option} needs it. The chunk was not sent. To go on without this row, add --exclude FILE "
                "with its id to the same command"
            )
        if judged.spared is not None:
            self._spared[record.id] = judged.spared
        return judged.spared is not None

    def _protects(self, ids: Sequence[str]) -> bool:
        return self._parts.protected.meets_any(ids) or self._parts.tally.own.meets_any(ids)

    async def _save_copies(self, backup: Backup, ids: Sequence[str]) -> None:
        """Make a durable copy of every user with one of these ids.

        It happens just before sending, so that the backup has no user that turned out to be protected or re-created.
        """
        missing = [id_ for id_ in ids if id_ not in self._saved]
        if unseen := [id_ for id_ in missing if id_ not in self._accounts]:
            raise Halted(f"no look-up returned a record of {counted(len(unseen), 'id')} about to be sent (--backup)")
        if missing:
            await backup.save(raw for id_ in missing for raw in self._accounts[id_].records)
            self._saved.update(missing)

    async def _find_keys(self, step: LookUp, keys: KeysInHand) -> Found | None:
        """Look up the keys of records that are to be created; None when the look-up failed."""
        parts, ids = self._parts, step.records.ids
        look_ups = keys.look_ups if step.why is LookUpReason.FIRST else keys.brief
        looked = await parts.lookup.find_keys(look_ups, ids, self._worker)
        if looked is None:
            return None
        self._unproven = set(looked.unproven)
        if looked.empty and self.state.maybe_applied:
            proven = await parts.lookup.prove_since(parts.client.clock(), self._worker)
            if not proven and parts.lookup.lost:
                return None  # look-ups have ceased to find accounts
        return keys.judged(ids, looked.accounts, self._intent_at if self.state.maybe_applied else None, parts.now())

    async def _find(self, records: Records) -> Found | None:
        """Look records up; None when the look-up failed, or found accounts that do not have these ids (--backup)."""
        parts, ids = self._parts, records.ids
        looked = await parts.lookup.find(ids, self._worker)
        if looked is None:
            return None
        accounts = looked.accounts
        self._unproven.difference_update(ids)
        self._unproven |= looked.unproven
        missing = [id_ for id_ in ids if id_ not in accounts]
        # Ids with a comma have their own control.
        if missing and (looked.empty or not accounts) and not all(map(parts.lookup.splits, missing)):
            proven = await parts.lookup.prove_since(parts.client.clock(), self._worker)
            if not proven and (accounts or parts.lookup.lost):
                return None  # look-ups have ceased to find accounts
        protected = {one.id for one in records if one.id in accounts and self._spares(one, accounts[one.id])}
        if parts.backup is not None:
            if loose := [id_ for id_, account in accounts.items() if not account.certain and id_ not in protected]:
                # The account does not have this id, so the action may reach an account without a copy.
                parts.tally.uncertain = (
                    f"{len(loose)} looked-up ids returned an account that they do not name (--backup)"
                )
                return None
            self._accounts.update(accounts)
        since, now = self._chunk.in_doubt_since, parts.now()
        compare = partial(
            presences,
            {id_: account.created_at for id_, account in accounts.items()},
            len(missing) - len(looked.unproven),
            since or now,
            Sampled.from_json(parts.log.progress.header.sample),
            now,
            reusable=parts.id_type.reusable and since is not None,
        )
        found = compare(resend=False)
        if parts.in_doubt_resend and not self._chunk.protected:  # a protected id is not sent again
            found |= {id_: each for id_, each in compare(resend=True).items() if id_ not in protected}
        sent = since is not None or self.state.requests > 0
        for id_, each in found.items():
            # What was sent and is in the target state has its outcome, also when it is protected since.
            if accounts[id_].reached and each is not Presence.NEW and (sent or id_ not in protected):
                found[id_] = Presence.REACHED
            elif id_ in protected and each is Presence.OLD:
                found[id_] = Presence.PROTECTED
        return found


def _state_of(parts: Parts, chunk: Chunk, *, lag_over: bool) -> ChunkState:
    """Make the state machine of a chunk."""
    in_doubt, target_state = chunk.in_doubt_since is not None, parts.job.target_state
    if target_state.created:
        lag_over = lag_over or parts.tally.lags_in_vain >= LAG_VAIN_MAX
        return CreationState(
            chunk,
            in_doubt=in_doubt,
            look_first=True,
            absence_reaches=False,
            lag_over=lag_over,
            reductions_of=parts.job.reductions,
        )
    return ChunkState(
        chunk,
        in_doubt=in_doubt,
        # Without a look-up, a protected id is not sent again, nor one that must be looked up or copied first.
        resend_unproven=(parts.in_doubt_resend or not parts.id_type.reusable)
        and not (chunk.protected or parts.look_first),
        look_first=parts.look_first,
        protected=chunk.protected,
        can_look_up=parts.lookup.possible,
        absence_reaches=target_state.absence_reaches,
        lag_over=lag_over,
    )
