"""The workers: each takes a chunk, settles it, and takes the next, until no chunk is left or the run drains.

Owns the order of effects for one chunk (intent durable → request → outcome appended) and the drain. `core.chunk_state`
decides what follows from a response, `http.client` when a request may be sent; `checkpoint` makes entries durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.absence import may_be_split
from bulkdel.core.account_match import Instant, Presence, Sampled, age_s, presences
from bulkdel.core.chunk_state import ChunkState, Found, LookUp, Send, Why
from bulkdel.core.chunker import ChunkTask
from bulkdel.core.decision import Decision, NextStep
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Entry, Intent, Outcome, Released, Saved, Skipped
from bulkdel.core.outcome import COUNTED, Settled
from bulkdel.core.ranges import size_of
from bulkdel.core.record import Record, ids_of, positions_of
from bulkdel.core.redaction import without_ids
from bulkdel.core.refused_limit import RefusedLimit
from bulkdel.core.retry import LAG_MAX_S, LAG_VAIN_MAX, LOOKS_AGAIN_MAX, RETRY_MAX_S, backoff_s, look_again_s
from bulkdel.engine.backup import Backup
from bulkdel.engine.drain import Drain, Stop
from bulkdel.engine.prefetch import Prefetch
from bulkdel.engine.surroundings import Surroundings
from bulkdel.errors import BulkdelError, FileFailed, Halted
from bulkdel.format import counted, stamp
from bulkdel.http.client import Client, WorkerState, WorkerStatus
from bulkdel.http.lookup import AccountLookup
from bulkdel.job import Account, Action
from bulkdel.job_faults import job_faults

DECIDING = frozenset({Why.UNKNOWN_ID, Why.UNSURE})
"""Look-ups that decide what a received response meant. A drain waits for them."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to send.

    in_doubt_resend: --in-doubt resend. look_first: look every id up before it is sent.
    until: --not-after, as epoch seconds and in words.
    """

    concurrency: int
    drain_s: float
    refused_max: RefusedLimit
    in_doubt_resend: bool = False
    look_first: bool = False
    until: tuple[float, str] | None = None


@dataclass(slots=True)
class _Errand:
    """One chunk and the worker that settles it.

    intended: whether its intent is appended.
    sent_at: the time just before its first request, by the wall clock and by the monotonic clock; None before it.
    accounts: the accounts that look-ups of this chunk returned.
    saved: ids whose copy is durable.
    unproven: ids that the latest look-ups did not find, without proof that they are absent.
    """

    work: ChunkTask
    chunk_state: ChunkState
    worker: WorkerStatus
    intended: bool
    sent_at: tuple[float, float] | None = None
    accounts: dict[str, Account] = field(default_factory=dict)
    saved: set[str] = field(default_factory=set)
    unproven: set[str] = field(default_factory=set)


class Engine:
    """Settles the chunks of a session. One instance a session.

    kept: rows that were not sent, because the looked-up record has a protected id.
    unproven: rows that the latest pass left, because a look-up did not find them and does not prove absence (commas).
    contradicted: ids that this pass left in doubt, because the API refuses them as unknown and look-ups find them.
    """

    def __init__(
        self,
        *,
        client: Client,
        lookup: AccountLookup,
        action: Action,
        checkpoint: Checkpoint,
        id_type: IdType,
        options: Options,
        surroundings: Surroundings,
        drain: Drain,
        backup: Backup | None = None,
        protected: IdSet | None = None,
        on_settled: Callable[[ChunkState], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._lookup = lookup
        self._action = action
        self._checkpoint = checkpoint
        self._id_type = id_type
        self._options = options
        self._chance = surroundings.chance
        self._wall = surroundings.wall
        self._steady = surroundings.steady
        self._drain = drain
        self._backup = backup
        self._protected = IdSet(id_type) if protected is None else protected
        self._own = IdSet(id_type)
        self._on_settled = on_settled
        self._workers: dict[asyncio.Task[None], WorkerStatus] = {}
        self._succeeded = checkpoint.progress.counts["done"] > 0
        self._settled = 0
        self._refused = 0
        self._lag_vain = 0
        self._sampled = Sampled.from_json(checkpoint.progress.header.sample)
        self.contradicted = 0
        self.kept = self.unproven = 0

    async def run(self, chunks: Iterator[ChunkTask | Skipped]) -> None:
        """Settle one pass of chunks, or drain; then all of it is durable."""
        prefetch = Prefetch[ChunkTask | Skipped](on_waited=self._waited, clock=self._client.clock)
        prefetch.begin(chunks)
        try:
            await self._pass(prefetch)
            await self._flush()
        finally:
            await prefetch.aclose()

    @property
    def unrecorded(self) -> dict[str, int]:
        """Rows by outcome of responses that could not be made durable. For the final report only."""
        counts = dict.fromkeys(COUNTED, 0)
        for entry in self._checkpoint.lost:
            if isinstance(entry, Outcome):
                counts[entry.kind] += size_of(entry.ranges)
        return counts

    @property
    def doubt(self) -> str:
        """Why look-ups could not settle rows, in words; empty when they could."""
        if self.contradicted:
            return (
                f"the API refused {counted(self.contradicted, 'id')} as unknown that look-ups find. Look-ups may lag "
                f"behind deletions: go on in {LAG_MAX_S / 60:.0f} minutes"
            )
        if self._lookup.failed or self._lookup.proven:
            return self._lookup.failed or ("ids with a comma were not found" if self.unproven else "")
        return "look-ups find no user at all, so an empty answer proves nothing"

    @property
    def blind(self) -> bool:
        """Whether no look-up of this session has found an existing user, so that an empty answer proves nothing."""
        return not self._lookup.proven

    @property
    def busy(self) -> bool:
        """Whether every worker has a chunk and none waits for the rate, so that more workers would send more."""
        held = {WorkerState.IDLE, WorkerState.WAITING}
        return all(worker.state not in held for worker in list(self._workers.values()))

    def _wake(self) -> None:
        """End every wait: for a pause, the limiter, a backoff, the disk. Requests on the wire continue.

        A look-up that decides continues too, unless the client holds it back.
        """
        self._client.drain()
        goes_on = {WorkerState.ON_WIRE} if self._client.waiting else {WorkerState.ON_WIRE, WorkerState.DECIDING}
        for task, worker in self._workers.items():
            if worker.state not in goes_on:
                task.cancel()

    async def _pass(self, chunks: Prefetch[ChunkTask | Skipped]) -> None:
        self.unproven = self.contradicted = 0
        workers = [WorkerStatus() for _ in range(self._options.concurrency)]
        self._workers = {asyncio.create_task(self._work(chunks, worker)): worker for worker in workers}
        tasks = list(self._workers)
        stopping = asyncio.create_task(self._drain.begun())
        watches = [asyncio.create_task(watch) for watch in (self._watch(), self._watch_time(), self._watch_log())]
        everyone = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait({everyone, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for watch in watches:
            watch.cancel()
        if self._drain.stop is not None:
            self._wake()
        _, late = await asyncio.wait(tasks, timeout=self._options.drain_s if self._drain.stop else None)
        for task in late:
            task.cancel()
        await everyone
        # Every exception is retrieved: asyncio would print the others with their text, which may hold ids.
        failures = [task.exception() for task in tasks if not task.cancelled()]
        for failure in filter(None, failures):
            raise failure  # an unexpected one, after the others have drained

    async def _watch(self) -> None:
        """Halt when the server has given no useful response for --patience."""
        try:
            await self._client.watch_patience()
        except Halted as error:
            self._halt(str(error))

    async def _watch_time(self) -> None:
        """Drain at --not-after. Reads the wall clock every second: it may be set, and a laptop may sleep."""
        if self._options.until is not None:
            until, words = self._options.until
            while (left_s := until - self._wall()) > 0:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(min(left_s, 1.0))
            self._drain.begin(Stop(f"it is {words} (--not-after)", planned=True))

    async def _watch_log(self) -> None:
        """Drain when the log can no longer be written."""
        failure = await self._checkpoint.failing()
        self._drain.begin(Stop(str(failure), error=failure))

    async def _work(self, chunks: Prefetch[ChunkTask | Skipped], worker: WorkerStatus) -> None:
        """One worker: take a chunk, settle it, until there is none or the run stops."""
        try:
            while self._drain.stop is None and (work := await chunks.take()) is not None:
                if isinstance(work, Skipped):
                    self._checkpoint.enqueue(work)
                    continue
                with job_faults(partial(self._hide, work)):
                    # A session without a sample needs a control before the first deletion. All workers wait for it.
                    await self._lookup.prove(worker)
                    await self._settle(work, worker)
        except asyncio.CancelledError:
            if self._drain.stop is None:
                raise
        except BulkdelError as error:
            self._drain.begin(Stop(str(error), error=error))
        except BaseException as error:
            self._drain.begin(Stop(f"unexpected: {type(error).__name__}"))  # the others drain, then it is raised
            raise

    def _hide(self, work: ChunkTask, text: str) -> str:
        return without_ids(self._client.auth.hide(text), work.chunk.ids)

    async def _settle(self, work: ChunkTask, worker: WorkerStatus) -> None:
        options = self._options
        chunk_state = ChunkState(
            work.chunk,
            in_doubt=work.in_doubt_since is not None,
            # Without a look-up, a protected id is not sent again, nor one that must be looked up or copied first.
            resend_unproven=(options.in_doubt_resend or not self._id_type.reusable)
            and not (work.protected or options.look_first),
            look_first=options.look_first,
            protected=work.protected,
            lag_over=self._lag_over(work.in_doubt_since),
        )
        errand = _Errand(work, chunk_state, worker, intended=work.in_doubt_since is not None)
        try:
            while (step := chunk_state.next_step()) is not None:
                decides = isinstance(step, LookUp) and step.why in DECIDING and not step.again
                if self._drain.stop is not None and not decides:
                    break
                worker.enter(WorkerState.DECIDING if decides else WorkerState.SETTLING)
                await self._do(step, errand)
        finally:
            if worker.state is WorkerState.ON_WIRE:
                chunk_state.touch()
            worker.enter(WorkerState.IDLE)
            self._record(errand)
        if chunk_state.halt is not None:
            raise Halted(chunk_state.halt)

    async def _do(self, step: Send | LookUp, errand: _Errand) -> None:
        chunk_state = errand.chunk_state
        if isinstance(step, LookUp):
            if step.again and self._lag_vain < LAG_VAIN_MAX:
                await asyncio.sleep(look_again_s(step.again))
            found = await self._look_up(step.records, errand)
            if step.again and found is not None:
                self._note_lag(step, changed=len(found) < len(step.records))
            if self._drain.stop is None or found is not None:
                chunk_state.looked_up(found, proven=self._lookup.proven, unproven=errand.unproven)
            return
        await self._client.auth.ensure()  # before it the owner of the token is not known
        self._check_protected(step.records)
        backed = await self._save(step.records, errand)
        request = self._action.call(step.records)  # before the intent: if the job fails here, nothing was sent
        if not errand.intended:
            intent = Intent(stamp(self._wall()), positions_of(step.records), backed, self._client.transport.ahead_s)
            errand.intended = True  # it is written even if the wait is cancelled
            await self._checkpoint.append(intent)
        if step.attempt > 1:
            self._client.figures.retries += 1
            await asyncio.sleep(max(chunk_state.after_s, backoff_s(step.attempt - 1, self._chance())))
        errand.sent_at = errand.sent_at or (self._wall(), self._steady())
        ids, too_late = ids_of(step.records), partial(self._too_late, errand)
        decision = await self._client.ask(request, self._action.read, errand.worker, ids, too_late)
        if decision is not None:
            chunk_state.replied(self._judged(decision))
        elif too_late():
            chunk_state.give_up()

    def _too_late(self, errand: _Errand) -> bool:
        """Whether one of these ids may belong to another account by now.

        So it is when the chunk was sent without a response long ago: the server was away, or this process was stopped.
        """
        if not self._id_type.reusable or not errand.chunk_state.tainted or errand.sent_at is None:
            return False
        wall, steady = errand.sent_at
        return max(self._wall() - wall, self._steady() - steady) > RETRY_MAX_S

    def _note_lag(self, step: LookUp, *, changed: bool) -> None:
        if changed:
            self._lag_vain = 0
        elif step.again == LOOKS_AGAIN_MAX:
            self._lag_vain += 1

    def _lag_over(self, since: Instant | None) -> bool:
        """Whether an intent is so old, by both clocks, that look-ups cannot lag behind its request any more."""
        now = self._now()
        return since is not None and min(age_s(since, now), now.ours - since.ours) > LAG_MAX_S

    def _now(self) -> Instant:
        return Instant(stamp(self._wall()), self._client.transport.ahead_s)

    def _check_protected(self, records: Sequence[Record]) -> None:
        """Check again just before sending that no id is protected; the row filter has left them out already.

        A renewed token may name another owner. That halts the run, and the next run excludes that owner.
        """
        if users := self._client.auth.users:
            self._own.update(users)
        if self._protects(ids_of(records)):
            raise Halted("a protected id was about to be sent; nothing more is sent. Run the same command again")

    def _protects(self, ids: Sequence[str]) -> bool:
        return self._protected.meets_any(ids) or self._own.meets_any(ids)

    async def _save(self, records: Sequence[Record], errand: _Errand) -> Saved | None:
        """Make a durable copy of every user of these records. Returns the durable part; None without a backup.

        It happens just before sending, so that the backup has no user that turned out to be protected or re-created.
        """
        if self._backup is None:
            return None
        missing = [record.id for record in records if record.id not in errand.saved]
        if unseen := [id_ for id_ in missing if id_ not in errand.accounts]:
            raise Halted(
                f"{counted(len(unseen), 'id')} would be deleted of which no look-up returned a record (--backup)"
            )
        if missing:
            await self._backup.save(raw for id_ in missing for raw in errand.accounts[id_].records)
            errand.saved.update(missing)
        return self._backup.saved

    async def _look_up(self, records: Sequence[Record], errand: _Errand) -> Found | None:
        ids = [record.id for record in records]
        looked = await self._lookup.find(ids, errand.worker)
        if looked is None:
            return None
        accounts = looked.accounts
        errand.unproven.difference_update(ids)
        errand.unproven |= looked.unproven
        if not accounts and not all(map(may_be_split, ids)):  # ids with a comma have their own control
            await self._lookup.prove_since(self._client.clock(), errand.worker)
        protected = {id_ for id_, account in accounts.items() if self._protects(account.ids)}
        if self._backup is not None:
            if loose := [id_ for id_, account in accounts.items() if not account.certain and id_ not in protected]:
                # The account does not have this id, so deleting by the id may delete an account without a copy.
                self._lookup.failed = f"{len(loose)} looked-up ids returned an account that they do not name (--backup)"
                return None
            errand.accounts.update(accounts)
        since = errand.work.in_doubt_since
        found = presences(
            {id_: account.created_at for id_, account in accounts.items()},
            len(ids) - len(accounts) - len(looked.unproven),
            since or self._now(),
            self._sampled,
            self._now(),
            reusable=self._id_type.reusable and since is not None,
            resend=self._options.in_doubt_resend and not errand.work.protected,
        )
        return {
            id_: Presence.PROTECTED if id_ in protected and each is Presence.OLD else each
            for id_, each in found.items()
        }

    def _judged(self, decision: Decision) -> Decision:
        """Decide a 403: before any success the permission is missing (halt), after one the ids are refused (split)."""
        if decision.next_step is NextStep.SETTLED:
            self._succeeded = True
        if decision.next_step is NextStep.FORBIDDEN:
            return decision._replace(next_step=NextStep.SPLIT if self._succeeded else NextStep.HALT)
        return decision

    def _record(self, errand: _Errand) -> None:
        """Append the outcomes of the chunk. Not awaited: the worker's next intent comes after them in the same log."""
        chunk_state = errand.chunk_state
        self.unproven += sum(record.id in errand.unproven for piece in chunk_state.left for record in piece.records)
        untouched, _ = chunk_state.leave()
        entries: list[Entry] = [
            _outcome(settled, stamp(self._wall()), self._client.transport.ahead_s) for settled in chunk_state.settled
        ]
        if chunk_state.spared:
            entries.append(Skipped("excluded", positions_of(sorted(chunk_state.spared))))
            if not chunk_state.protected:
                self.kept += len(chunk_state.spared)
        if untouched and errand.intended:
            entries.append(Released(untouched))
        self._checkpoint.enqueue(*entries)
        self._on_settled(chunk_state)
        self.contradicted += chunk_state.contradicted
        for part in chunk_state.settled:
            count = len(part.records)
            self._settled += count
            self._refused += count if part.kind == "refused" else 0
        if self._options.refused_max.exceeded(self._refused, self._settled):
            self._halt(f"{self._refused:,} of {self._settled:,} ids settled now were refused (--max-refused)")

    def _waited(self, seconds: float) -> None:
        self._client.extend_patience(seconds)  # reading the disk does not count for --patience

    def _halt(self, why: str) -> None:
        self._drain.begin(Stop(why, error=Halted(why)))

    async def _flush(self) -> None:
        try:
            await self._checkpoint.flush()
        except FileFailed as error:
            self._drain.begin(Stop(str(error), error=error))


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
