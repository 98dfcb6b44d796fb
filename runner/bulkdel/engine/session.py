"""One session of a run: its start entry, the passes over the export, its stop entry. Owns the wiring of the parts.

The workers settle the chunks; the command prints the report.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.held_outcomes import HeldOutcomes
from bulkdel.core.id_type import IdSet
from bulkdel.core.log_entries import Outcome, Session, Skipped, Source, stamp
from bulkdel.core.outcome import COUNTED, KINDS
from bulkdel.core.pace import Pause, Wish
from bulkdel.core.ranges import size_of
from bulkdel.core.retry import LAG_MAX_S, number_or_share
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import Ending, exit_code, key_of, status_of
from bulkdel.engine.control import SessionControl
from bulkdel.engine.gate import Gate, OpenGate
from bulkdel.engine.memberships import MembershipsCopy
from bulkdel.engine.parts import Parts, Tally
from bulkdel.engine.pipeline import settle_export
from bulkdel.engine.progress import Event, Snapshot
from bulkdel.engine.surroundings import Surroundings
from bulkdel.engine.throttled import ThrottledNotes
from bulkdel.engine.workers import Drain, Stop, Workers
from bulkdel.errors import FileFailed, UsageError
from bulkdel.format import counted, until_words
from bulkdel.http.client import Client
from bulkdel.http.lookup import AccountLookup
from bulkdel.http.memberships import MembershipReader
from bulkdel.safety.run_plan import Plan


@dataclass(frozen=True, slots=True)
class SessionResult:
    """How a session ended.

    figures: requests, retries, throttled, resumed, duration_s.
    unrecorded: rows by outcome, of responses that could not be made durable.
    kept: rows that were not sent, because a looked-up record is protected.
    unproven: rows that remain, because a look-up did not find them and that does not prove their absence.
    progress, log_sha256: of the log, or of all logs of the run, at the end.
    """

    ending: Ending
    figures: Mapping[str, Any]
    unrecorded: Mapping[str, int]
    kept: int
    unproven: int
    progress: Progress
    log_sha256: str


class RunSession(Protocol):
    """A session of a run: `SendingSession`, or one that lets other processes send."""

    async def run(self) -> SessionResult:
        """Send until every row is settled or something stops it."""
        ...

    def drain(self, signum: int | None = None) -> None:
        """Begin to drain."""
        ...

    def apply(self, wish: Wish) -> bool:
        """Change the session."""
        ...

    async def flush(self) -> None:
        """Wait until every change so far is durable."""
        ...

    def snapshot(self) -> Snapshot | None:
        """The current figures."""
        ...


def begin_drain(drain: Drain, signum: int | None, on_event: Callable[[Event], None]) -> None:
    """Begin the drain of a session, and say so. signum: the signal that asks for it; None when the caller does."""
    why = "requests on the wire may finish"
    if signum is None:
        stop = Stop("the caller drained the run", drained=True)
        on_event(Event("warning", "run.draining", {"why": why}))
    else:
        stop = Stop(signal.Signals(signum).name, signal=signum)
        on_event(
            Event("warning", "run.draining", {"signal": stop.why, "why": f"{why}; a second signal leaves at once"})
        )
    drain.begin(stop)


class SendingSession:
    """The session that sends. `run` it once; `drain` may begin at any time.

    wishes: the changes that came before it. start: the facts of its start entry. on_event: called with each event.
    chunk_events: whether chunks are events.
    """

    def __init__(
        self,
        plan: Plan,
        log: Checkpoint,
        *,
        start: Mapping[str, Any],
        surroundings: Surroundings,
        on_event: Callable[[Event], None],
        chunk_events: bool = True,
        wishes: Sequence[Wish] = (),
    ) -> None:
        self._plan = plan
        self._log = log
        self._start = start
        self._surroundings = surroundings
        self._on_event = on_event
        self._chunk_events = chunk_events
        self._drain = Drain()
        # The parts that need no connection.
        self._look_ups = plan.target.look_ups(plan.id_type, full=plan.arguments.settings.backup is not None)
        self._action = plan.target.action(plan.id_type)
        self._tally = Tally(IdSet(plan.id_type), succeeded=log.progress.counts["done"] > 0)
        self._refused_max = number_or_share(plan.arguments.settings.max_refused)
        self._before = self._settled()
        self._resumed = log.progress.sessions > 0
        self._workers: Workers | None = None  # while requests can be sent
        self._control: SessionControl | None = None  # while it can be changed
        self._wishes = [*wishes]  # until it can be changed
        self._ended = False
        self._copying: MembershipsCopy | None = None
        self._replaces = plan.replaces_memberships  # before this session says that it makes the copy

    async def run(self) -> SessionResult:
        """Send until every row is settled or something stops it. How it ended is in the result.

        Raises NotAcceptable or FileFailed before the first request when backup or log cannot be opened or written.
        """
        plan, log, around = self._plan, self._log, self._surroundings
        settings, began = plan.arguments.settings, around.steady()
        async with AsyncExitStack() as stack:
            backup = None
            if settings.backup is not None:
                backup = await asyncio.to_thread(around.open_backup, settings.backup, plan.backup_known)
                stack.push_async_callback(asyncio.to_thread, backup.close)
            log.enqueue(Session("start", stamp(around.wall()), "", self._start))
            stack.callback(asyncio.create_task(log.keep()).cancel)
            if backup is not None or log.licence is not None:
                # Before the first copy: else the log would not know the file. In a store: before any other effect.
                await log.begun()
            if plan.more_excluded and plan.export.preflight is not None:
                excluded = plan.export.preflight.skipped.by_reason["excluded"]
                for ranges in log.progress.untouched(excluded).parts():
                    log.enqueue(Skipped("excluded", ranges))
                    await log.flush()
            pool = log.progress.header.pinned["pool"]
            client = await stack.enter_async_context(self._connect(pool))
            proven, fullest = plan.server.proven, plan.server.fullest
            lookup = AccountLookup(
                client,
                self._look_ups,
                around.chance,
                proven=proven,
                proven_before=bool((log.progress.header.sample or {}).get("found")),
                fullest=fullest,
                creates=plan.arguments.job.target_state.created,
            )
            parts = Parts(
                client=client,
                lookup=lookup,
                job_look_ups=self._look_ups,
                action=self._action,
                job=plan.arguments.job,
                several_requests=plan.arguments.job.chunk_requests(plan.arguments.parameters) > 1,
                log=log,
                id_type=plan.id_type,
                surroundings=around,
                drain=self._drain,
                protected=plan.protected,
                administrator=IdSet(plan.id_type, plan.server.administrator),
                tally=self._tally,
                held=self._held(lookup),
                refused_max=self._refused_max,
                backup=backup,
                in_doubt_resend=settings.in_doubt == "resend",
                look_first=plan.look_first,
                guards=plan.guards,
                gate=OpenGate() if log.licence is None else Gate(lambda: client.rate_limiter.rate),
                on_event=self._on_event if self._chunk_events else None,
            )
            until = (plan.until.timestamp(), until_words(plan.until)) if plan.until else None
            concurrency, drain_s = settings.in_flight, settings.drain_s
            workers = Workers(client, log, self._drain, around, concurrency=concurrency, drain_s=drain_s, until=until)
            self._workers = workers
            self._control = SessionControl(plan, log, workers, self._drain, wall=around.wall, on_event=self._on_event)
            for wish in self._wishes:
                with suppress(UsageError):  # a resume that a pause file refuses, for example: nothing has changed
                    self._control.apply(wish)
            throttled = ThrottledNotes(client, log, around.wall)
            stack.callback(asyncio.create_task(throttled.watch()).cancel)
            if plan.copies_memberships:
                await self._copy_memberships(workers)
            await settle_export(plan, parts, workers, self._left)
            throttled.note()
            figures = {
                "requests": plan.server.requests + client.transport.requests,
                **client.figures,
                "resumed": self._resumed,
                "duration_s": round(around.steady() - began, 3),
            }
        self._ended = True  # a change after the stop entry would belong to no session
        # A blind session: no look-up has found an existing user, so an empty response proves nothing.
        facts = self._stop_facts(self._ending(parts), blind=lookup.possible and not lookup.proven)
        log.enqueue(Session("stop", stamp(around.wall()), "", {**facts, **figures}))
        await log.aclose()  # not by the caller: a caller that is cancelled would leave the log locked
        ending, tally = self._ending(parts), parts.tally  # once more: the last commits may have failed
        unrecorded = dict.fromkeys(COUNTED, 0)
        for entry, _ in log.lost:
            if isinstance(entry, Outcome):
                unrecorded[entry.kind] += size_of(entry.ranges)
        return SessionResult(ending, figures, unrecorded, tally.kept, tally.unproven, log.progress, log.sha256)

    def drain(self, signum: int | None = None) -> None:
        """Begin to drain: requests on the wire may finish, nothing new is sent. signum: the signal that asks for it."""
        begin_drain(self._drain, signum, self._on_event)

    def apply(self, wish: Wish) -> bool:
        """Change the session, now or as soon as it can send. See `SessionControl.apply`."""
        if self._ended:
            raise UsageError(f"{wish.what.value}: the run has ended")
        if self._control is not None:
            return self._control.apply(wish)
        self._wishes.append(wish)
        return True

    async def flush(self) -> None:
        """Wait until every change so far is durable. Raises FileFailed."""
        if not self._ended:
            await self._log.flush()

    @property
    def workers(self) -> Workers | None:
        """The workers; None before requests can be sent."""
        return self._workers

    def snapshot(self) -> Snapshot | None:
        """The current figures; None before requests can be sent."""
        if self._workers is None:
            return None
        progress = self._log.progress
        counts = {key_of(progress, kind): progress.counts[kind] for kind in KINDS}
        moment = self._workers.snapshot(progress.rows - progress.remaining, progress.rows, counts)
        copying, control = self._copying, self._control
        if control is not None:
            pause, due = control.pauses.first, control.due
            moment = replace(
                moment,
                limits=control.limits.named,
                binding=control.limits.binding,
                pause=pause,
                confirm=str(control.confirming_line) if due else None,
                until=control.until,
                limit=self._plan.arguments.settings.limit,
                refused=dict(self._tally.refused_codes),
                waiting=pause_words(pause) if pause is not None and not moment.draining else moment.waiting,
            )
        return replace(moment, doing=copying.text) if copying is not None else moment

    async def _copy_memberships(self, workers: Workers) -> None:
        """Copy the memberships before the first id is sent. When that fails, the session drains and sends none."""
        plan, log, around = self._plan, self._log, self._surroundings
        path, memberships = plan.memberships, plan.arguments.job.memberships
        assert path is not None, "else nothing is copied"
        assert memberships is not None, "checked with the arguments"
        reader = MembershipReader(workers.client, memberships, around.chance)
        self._copying = MembershipsCopy(path, reader, around.wall(), may_replace=self._replaces)
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
        """Open the way to the server, on which nothing leaves without the licence of a log in a store."""
        plan, licence = self._plan, self._log.licence
        settings = plan.arguments.settings
        if licence is None:
            return self._surroundings.connect(plan.target, settings, pool=pool)
        return self._surroundings.connect(plan.target, settings, pool=pool, may_send=lambda: licence.valid)

    def _held(self, lookup: AccountLookup) -> HeldOutcomes:
        counts, allowed = self._log.progress.counts, self._plan.arguments.settings.allow_absent
        return HeldOutcomes(
            absent_counts=lookup.possible or allowed, done=counts["done"] + counts["already"], absent=counts["absent"]
        )

    def _settled(self) -> int:
        return sum(self._log.progress.counts[kind] for kind in KINDS)

    def _left(self) -> int | None:
        """How many more ids this session may settle; None without --limit."""
        limit = self._plan.arguments.settings.limit
        return None if limit is None else max(0, limit - self._settled() + self._before)

    def _ending(self, parts: Parts) -> Ending:
        """How the session ended. A signal that came after the last row was settled does not count."""
        progress, stop = self._log.progress, self._drain.stop
        done = progress.complete or self._left() == 0
        if stop is not None and (stop.signal is not None or stop.drained) and done:
            stop = None
        why = stop.why if stop else ""
        if self._log.failure is not None:  # also where the patience with the server ended first, since nothing was sent
            why = str(self._log.failure)
        elif stop is None and not done:
            remaining = counted(progress.remaining, "id")
            last = _last_failure(parts, self._plan.words.noun) or "none"
            why = f"{remaining} got no response that settles them; the last failure: {last}"
        return Ending(
            why=why,
            signal=stop.signal if stop else None,
            file_failed=self._log.failure is not None or bool(stop and isinstance(stop.error, FileFailed)),
            halted=stop is not None and stop.signal is None and not stop.planned and not stop.drained,
            limit_reached=self._left() == 0,
            planned=stop is not None and stop.planned,
            drained=stop is not None and stop.drained,
        )

    def _stop_facts(self, ending: Ending, *, blind: bool) -> dict[str, Any]:
        progress, now, until = (
            self._log.progress,
            datetime.fromtimestamp(self._surroundings.wall(), UTC),
            self._control.until if self._control else self._plan.until,
        )
        lost = self._plan.arguments.not_restorable
        refused = progress.counts["refused"] + progress.counts["unknown"] + lost
        time_came = until is not None and now >= until and not progress.complete
        return {
            "why": ending.why or "done",
            **({"not_after": until.isoformat()} if until is not None and time_came else {}),
            **({} if progress.complete else {"to_go_on": self._plan.line_after(ending, now).words}),
            "status": status_of(ending, complete=progress.complete),
            "exit": exit_code(ending, complete=progress.complete, refused=refused),
            "limit_reached": ending.limit_reached,
            "blind": blind,
        }


def pause_words(pause: Pause) -> str:
    """A pause in words: its origin, and since when."""
    by = "by the pause file" if pause.source is Source.PAUSE_FILE else f"by {pause.user or 'the program'}"
    return f"paused {by} since {datetime.fromtimestamp(pause.since).astimezone():%H:%M}"


def _last_failure(parts: Parts, noun: str) -> str:
    """The last failure of a request or of a look-up, in words; empty without one."""
    lookup, tally, last = parts.lookup, parts.tally, parts.client.last_failure or parts.tally.uncertain
    if tally.contradicted:
        ids, wait = counted(tally.contradicted, "id"), f"go on in {LAG_MAX_S / 60:.0f} minutes"
        if parts.job.target_state.created:
            taken = f"the API says that other accounts have a key of {ids}, such as an email"
            return f"{taken}, and no look-up finds them. Look-ups may lag: {wait}"
        return f"the API refused {ids} as unknown that look-ups find. Look-ups may lag behind deletions: {wait}"
    if not lookup.possible:
        stuck = parts.id_type.reusable and not parts.in_doubt_resend
        return last or ("the API has no look-ups; --in-doubt resend sends rows in doubt again" if stuck else "")
    if lookup.lost:
        return "look-ups find none of the accounts that the API lists, so an empty response proves nothing"
    if last or lookup.failed or lookup.proven:
        return last or lookup.failed or ("ids with a comma were not found" if tally.unproven else "")
    return f"look-ups find no {noun} at all, so an empty response proves nothing"
