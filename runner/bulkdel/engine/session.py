"""One session of a run: its start entry, the passes over the rows, its stop entry. Owns the wiring of the parts.

The workers settle the chunks; the command prints the report.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.halt_limits import number_or_share
from bulkdel.core.held_outcomes import HeldOutcomes
from bulkdel.core.id_type import IdSet
from bulkdel.core.log_entries import Outcome, Skipped
from bulkdel.core.look_up_lag import LAG_MAX_S
from bulkdel.core.outcome import COUNTED, KINDS
from bulkdel.core.ranges import size_of
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import Ending, key_of
from bulkdel.engine.backup import Backup
from bulkdel.engine.control import Changes, Controlled, SessionControl
from bulkdel.engine.creation_context import Creations
from bulkdel.engine.drain import Stop, begin_drain
from bulkdel.engine.gate import Gate, OpenGate
from bulkdel.engine.logged_session import LoggedSession
from bulkdel.engine.memberships import MembershipsCopy
from bulkdel.engine.pipeline import settle_export
from bulkdel.engine.session_context import SessionContext
from bulkdel.engine.session_entries import ending_of, stop_facts
from bulkdel.engine.snapshot import Event, Snapshot
from bulkdel.engine.store_backup import open_backup
from bulkdel.engine.tally import Tally
from bulkdel.engine.throttled import ThrottledNotes
from bulkdel.engine.workers import Workers
from bulkdel.errors import FileFailed
from bulkdel.format import counted, until_words
from bulkdel.http.client import Client
from bulkdel.http.connecting import connect, keeper_in
from bulkdel.http.lookup import AccountLookup
from bulkdel.http.membership_reader import MembershipReader
from bulkdel.job import FindsCreated
from bulkdel.place.lease import Terms
from bulkdel.run_place import logged_name
from bulkdel.safety.run_plan import RunPlan


@dataclass(frozen=True, slots=True)
class SessionResult:
    """How a session ended.

    figures: requests, retries, throttled, resumed, duration_s.
    unrecorded: rows by outcome, of responses that could not be made durable.
    protected: rows that were not sent, because a looked-up record is protected.
    unproven: rows that remain, because a look-up did not find them but does not prove their absence.
    progress, log_sha256: of the log, or of all logs of the run, at the end.
    """

    ending: Ending
    figures: Mapping[str, Any]
    unrecorded: Mapping[str, int]
    protected: int
    unproven: int
    progress: RunState
    log_sha256: str


class RunSession(LoggedSession[RunState], ABC):
    """A session of a run: its start, a body that sends, its stop. `run` it once; `drain` may begin at any time.

    start: the facts of its start entry. key: for its MAC; None for none. on_event: called with each event.
    chunk_events: whether chunks are events. changes: those of the run, also of the time before.
    """

    def __init__(
        self,
        plan: RunPlan,
        log: Checkpoint,
        *,
        start: Mapping[str, Any],
        on_event: Callable[[Event], None],
        key: bytes | None = None,
        chunk_events: bool = True,
        changes: Changes | None = None,
    ) -> None:
        super().__init__(log, key)
        self._plan = plan
        self._start = start
        self._on_event = on_event
        self._chunk_events = chunk_events
        self._resumed = log.progress.sessions > 0
        self._changes = changes or Changes()

    @abstractmethod
    async def run(self) -> SessionResult:
        """Send until every row is settled or the session is stopped. The result says how it ended.

        Raises NotAcceptable or FileFailed before the first request when backup or log cannot be opened or written.
        """

    @abstractmethod
    def snapshot(self) -> Snapshot | None:
        """The current figures; None before requests can be sent."""

    def drain(self, signum: int | None = None) -> None:
        """Begin to drain: requests on the wire may finish, nothing new is sent. signum: the signal that asks for it."""
        begin_drain(self._drain, signum, self._on_event)

    @property
    def _until(self) -> tuple[float, str] | None:
        """When to stop (--not-after): epoch seconds, and words."""
        until = self._plan.until
        return None if until is None else (until.timestamp(), until_words(until))

    def _control_of(self, controlled: Controlled) -> SessionControl:
        """The control of what sends. From now on the session can be changed."""
        plan, world = self._plan, self._world
        control = SessionControl(plan, self._log, controlled, self._drain, wall=world.wall, on_event=self._on_event)
        self._changes.begin(control)
        return control

    def _figures(self, began: float, requests: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """The figures of the session. began: by the steady clock. requests: since the sign-in. more: of these."""
        return {
            "requests": self._plan.server.requests + requests,
            **more,
            "resumed": self._resumed,
            "duration_s": round(self._world.steady() - began, 3),
        }


class SendingSession(RunSession):
    """The session whose body sends in this process."""

    def __init__(self, plan: RunPlan, log: Checkpoint, **more: Any) -> None:
        """more: as of `RunSession`."""
        super().__init__(plan, log, **more)
        # The parts that need no connection.
        self._look_ups = plan.target.look_ups(plan.id_type, full=plan.arguments.settings.keeps_backup)
        self._action = plan.target.action(plan.id_type)
        self._tally = Tally(IdSet(plan.id_type), succeeded=log.progress.counts["done"] > 0)
        self._refused_max = number_or_share(plan.arguments.settings.max_refused)
        self._before = log.progress.outcomes
        self._workers: Workers | None = None  # while requests can be sent
        self._control: SessionControl | None = None  # while it can be changed
        self._copying: MembershipsCopy | None = None
        self._replaces = plan.replaces_memberships  # before this session says that it makes the copy

    async def run(self) -> SessionResult:
        """See `RunSession`."""
        plan, log, world, began = self._plan, self._log, self._world, self._world.steady()
        settings = plan.arguments.settings
        async with AsyncExitStack() as stack:
            backup = await self._begin(stack)
            client = await stack.enter_async_context(self._connect(log.progress.header.pinned["pool"]))
            lookup = self._lookup(client)
            context = self._context(client, lookup, backup)
            concurrency, drain_s = settings.in_flight, settings.drain
            self._workers = workers = Workers(
                client, log, self._drain, concurrency=concurrency, drain_s=drain_s, until=self._until
            )
            self._control = control = self._control_of(workers)
            throttled = ThrottledNotes(client, log, world.wall)
            stack.callback(asyncio.create_task(throttled.watch()).cancel)
            if plan.copies_memberships:
                await self._copy_memberships(workers)
            if plan.export.rows is not None:  # else the run is complete
                await settle_export(plan.export.rows.rows, context, workers, self._left)
            throttled.note()
            figures = self._figures(began, client.transport.requests, client.figures)
        self._changes.end()
        return await self._end(context, figures, until=control.until)

    async def _begin(self, stack: AsyncExitStack) -> Backup | None:
        """Open the backup, and write the first entries of the session. `stack` closes the backup."""
        plan, log, world, backup = self._plan, self._log, self._world, None
        if (to := plan.arguments.backup) is not None:
            terms = Terms.of(plan.arguments.settings, world)
            backup = await asyncio.to_thread(open_backup, to, plan.backup_known, terms)
            stack.push_async_callback(asyncio.to_thread, backup.close)
        self._note_start(stack, self._start)
        if backup is not None or log.lease.length_s is not None:
            # Before the first copy: else the log would not know the file. In a store: before any other effect.
            await log.begun()
        if plan.more_excluded:
            excluded = plan.export.skipped.by_reason["excluded"]
            for ranges in log.progress.untouched(excluded).parts():
                log.enqueue(Skipped("excluded", ranges))
                await log.flush()
        return backup

    def _lookup(self, client: Client) -> AccountLookup:
        server, creates = self._plan.server, self._plan.arguments.job.target_state.created
        before = bool((self._log.progress.header.sample or {}).get("found"))
        seen = replace(server.seen, proven_before=before, known=() if creates else server.found)
        return AccountLookup(client, self._look_ups, self._world.chance, seen=seen, creates=creates)

    def _context(self, client: Client, lookup: AccountLookup, backup: Backup | None) -> SessionContext:
        plan, log, settings = self._plan, self._log, self._plan.arguments.settings
        return SessionContext(
            client=client,
            lookup=lookup,
            action=self._action,
            job=plan.arguments.job,
            chunk_size=plan.chunk_size,
            several_requests=plan.arguments.job.chunk_requests(plan.arguments.parameters) > 1,
            log=log,
            id_type=plan.id_type,
            drain=self._drain,
            protected=plan.protected,
            administrator=IdSet(plan.id_type, plan.server.administrator),
            tally=self._tally,
            held=self._held(lookup),
            refused_max=self._refused_max,
            to_check=plan.to_check,
            may_exclude=plan.may_exclude,
            backup=backup,
            in_doubt_resend=settings.in_doubt == "resend",
            look_first=plan.look_first,
            guards=plan.guards,
            gate=OpenGate() if log.lease.length_s is None else Gate(lambda: client.rate_limiter.rate),
            on_event=self._on_event if self._chunk_events else None,
            creations=self._creations(),
        )

    def _creations(self) -> Creations | None:
        job, look_ups, undoes = self._plan.arguments.job, self._look_ups, self._plan.arguments.undoes
        if not job.target_state.created:
            return None
        assert isinstance(look_ups, FindsCreated), "checked with the arguments"
        return Creations(job, look_ups, None if undoes is None else undoes.settled_at)

    async def _end(
        self, context: SessionContext, figures: Mapping[str, Any], *, until: datetime | None
    ) -> SessionResult:
        """Write the last entry of the session, and add up."""
        plan, log, world, lookup = self._plan, self._log, self._world, context.lookup
        # Blind: no look-up of this session finds an existing account, so an empty response proves nothing.
        blind = lookup.control.answered and not lookup.control.proven
        now = datetime.fromtimestamp(world.wall(), UTC)
        facts = stop_facts(plan, log.progress, self._ending(context), until=until, now=now, blind=blind)
        self._note_stop({**facts, **figures})
        await log.aclose()  # not by the caller: a caller that is cancelled would leave the log locked
        ending, tally = self._ending(context), context.tally  # once more: the last commits may have failed
        unrecorded = dict.fromkeys(COUNTED, 0)
        for entry, *_ in log.lost:
            if isinstance(entry, Outcome):
                unrecorded[entry.kind] += size_of(entry.ranges)
        return SessionResult(ending, figures, unrecorded, tally.protected, tally.unproven, log.progress, log.sha256)

    @property
    def workers(self) -> Workers | None:
        """The workers; None before requests can be sent."""
        return self._workers

    def snapshot(self) -> Snapshot | None:
        """See `RunSession`."""
        if self._workers is None:
            return None
        progress = self._log.progress
        counts = {key_of(progress, kind): progress.counts[kind] for kind in KINDS}
        moment = self._workers.snapshot(progress.rows - progress.remaining, progress.rows, counts)
        moment, copying = replace(moment, refused=dict(self._tally.refused_codes)), self._copying
        moment = replace(moment, spared=progress.spared)
        if self._control is not None:
            moment = self._control.shown(moment)
        return replace(moment, doing=copying.text) if copying is not None else moment

    async def _copy_memberships(self, workers: Workers) -> None:
        """Copy the memberships before the first id is sent. When that fails, the session drains and sends none."""
        plan, log, world = self._plan, self._log, self._world
        path, memberships = plan.memberships, plan.arguments.job.memberships
        assert path is not None, "else nothing is copied"
        assert memberships is not None, "checked with the arguments"
        reader = MembershipReader(workers.client, memberships, world.chance)
        name = logged_name(path, plan.run)
        self._copying = MembershipsCopy(path, name, reader, world.wall(), may_replace=self._replaces)
        try:
            saved = await self._copying.make(workers, self._drain)
        except FileFailed as error:
            self._drain.begin(Stop(str(error), error=error))
        else:
            if saved is not None:
                log.enqueue(saved)
                await workers.flush()  # before the first intent
        finally:
            self._copying = None

    def _connect(self, pool: str) -> AbstractAsyncContextManager[Client]:
        """Open the way to the server. No request leaves without the lease of the log."""
        plan, lease = self._plan, self._log.lease
        settings, keeper = plan.arguments.settings, keeper_in(plan.arguments.environ)
        return connect(plan.target, settings, pool=pool, may_send=lambda: lease.valid, world=self._world, keeper=keeper)

    def _held(self, lookup: AccountLookup) -> HeldOutcomes:
        counts, allowed = self._log.progress.counts, self._plan.arguments.settings.allow_absent
        return HeldOutcomes(
            absent_counts=lookup.look_ups.possible or allowed,
            absent_allowed=allowed,
            done=counts["done"] + counts["already"],
            absent=0 if lookup.look_ups.possible else counts["absent"],  # look-ups have proven most of them
            to_check=self._plan.to_check,
        )

    def _left(self) -> int | None:
        """How many more ids this session may settle; None without --limit."""
        limit = self._plan.arguments.settings.limit
        return None if limit is None else max(0, limit - self._log.progress.outcomes + self._before)

    def _ending(self, context: SessionContext) -> Ending:
        """How the session ended."""
        progress, noun = self._log.progress, self._plan.words.noun

        def left() -> str:
            remaining, last = counted(progress.remaining, "id"), _last_failure(context, noun) or "none"
            return f"{remaining} got no response that settles them; the last failure: {last}"

        return ending_of(
            self._drain.stop,
            complete=progress.complete,
            limit_reached=self._left() == 0,
            log_failure=self._log.failure,
            left=left,
        )


def _last_failure(context: SessionContext, noun: str) -> str:
    """The last failure of a request or of a look-up, in words; empty without one."""
    lookup, tally, last = context.lookup, context.tally, context.client.last_failure or context.tally.uncertain
    if tally.contradicted:
        ids, wait = counted(tally.contradicted, "id"), f"go on in {math.ceil(tally.lag_s / 60)} minutes"
        wait += " (a clock was set back)" if tally.lag_s > LAG_MAX_S else ""
        return f"look-ups do not show yet what became of {ids}, because they may lag: {wait}"
    if not lookup.look_ups.possible:
        stuck = context.id_type.reusable and not context.in_doubt_resend
        return last or ("the API has no look-ups; --in-doubt resend sends rows in doubt again" if stuck else "")
    if lookup.control.lost:
        why = "look-ups find none of the accounts that the API lists"
        if not lookup.control.listed:
            none = "look-ups find none of the accounts that they found before, and the API lists none"
            why = f"the control failed: {lookup.failed}" if lookup.failed else none
        return f"{why}, so an empty response proves nothing"
    if last or lookup.failed or lookup.control.proven:
        return (
            last
            or lookup.failed
            or ("no look-up found some ids that a server may read otherwise" if tally.unproven else "")
        )
    return f"look-ups find no {noun} at all, so an empty response proves nothing"
