"""A session of a run in shards: it starts the process of each shard, divides the limits of the run, and adds up.

The keeper divides the rate. Each shard gets a part of --concurrency and --limit. --max-refused, --not-after, a pause
and a drain apply to all shards together. The log of a shard says what the shard did. This session writes only its own
start and stop, and the changes, to the log of the run.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bulkdel.checkpoint.reader import SoundLog, read_log, read_shards, sha256_of_all
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.outcome import COUNTED
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import LimitPortions
from bulkdel.core.summary import key_of
from bulkdel.engine.control import SessionControl
from bulkdel.engine.drain import Stop, watch_time
from bulkdel.engine.session import RunSession, SendingSession, SessionResult
from bulkdel.engine.session_entries import ending_of, stop_facts
from bulkdel.engine.snapshot import Snapshot
from bulkdel.engine.workers import watching
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.fleet.channel import Heard, line_of
from bulkdel.fleet.local import LocalProcesses
from bulkdel.fleet.placing import Engine
from bulkdel.fleet.rate_keeper import keeping_rate
from bulkdel.fleet.shard_child import ShardChild, ShardWork
from bulkdel.fleet.shard_control import GROUP, ShardControl
from bulkdel.fleet.shard_logs import ShardLogs
from bulkdel.fleet.shard_totals import ShardState, ShardStates, added
from bulkdel.fleet.supervisor import Restarts, Supervisor
from bulkdel.http.client import throttled_words
from bulkdel.safety.run_plan import RunPlan
from bulkdel.tasks import all_of, ended_before
from bulkdel.threads import in_thread

LOOK_S = 0.25
"""Seconds between two looks at all shards together."""

RESTART_S = 0.5
"""Seconds before the process of a shard is started again, times how often it has ended early."""


def session_of(plan: RunPlan, log: Checkpoint, *, engine: Engine | None = None, **more: Any) -> RunSession:
    """The session of this plan: in this process, or in one for each shard. engine: see `ShardedSession`."""
    return ShardedSession(plan, log, engine=engine, **more) if plan.shards else SendingSession(plan, log, **more)


class ShardedSession(RunSession):
    """The session whose body lets the processes of the shards send."""

    def __init__(self, plan: RunPlan, log: Checkpoint, *, engine: Engine | None = None, **more: Any) -> None:
        """engine: places the processes; None means this machine. more: as of `RunSession`."""
        super().__init__(plan, log, **more)
        self._engine = engine or LocalProcesses(plan.arguments.environ)
        self._shards = ShardStates()
        self._sending: _Sending | None = None  # while the shards send
        self._started = False  # whether the log has the start of this session

    async def run(self) -> SessionResult:
        """See `RunSession`."""
        plan, log, began = self._plan, self._log, self._world.steady()
        killed = plan.progress is not None and plan.progress.under_way is not None
        logs = ShardLogs(log.place, log.progress)
        stopped = threading.Event()
        beginning = in_thread(lambda: logs.begin(stopped), stopped.set)
        if not await ended_before(self._drain.begun.wait(), beginning):
            self._changes.end()
            return await self._end(began)
        self._started = True
        async with AsyncExitStack() as stack:
            self._note_start(stack, {**self._start, "backup": None})
            await log.begun()  # before a shard begins
            watches = watching(self._drain.begin, log.watch_failure(), self._halt_with_the_engine())
            await stack.enter_async_context(watches)
            if await ended_before(self._drain.begun.wait(), self._read_logs(logs)):
                await self._send_all(logs, restarted=killed)
        self._changes.end()
        return await self._end(began)

    async def _read_logs(self, logs: ShardLogs) -> None:
        self._shards = await in_thread(logs.states, lambda: None)

    async def _send_all(self, logs: ShardLogs, *, restarted: bool) -> None:
        """Let every shard send. restarted: whether shares of an earlier keeper may still be in use."""
        plan, log, world, shards, drain = self._plan, self._log, self._world, self._shards, self._drain
        settings = plan.arguments.settings
        async with keeping_rate({GROUP: settings.rate}, restarted=restarted) as keeper:
            steered = ShardControl(keeper, shards, concurrency=settings.in_flight, until=self._until)
            of_all = ShardWork(
                plan=plan,
                index=log.progress.header.input.index,
                keeper=keeper.address(GROUP),
                debug=self._chunk_events,
                lease_s=world.lease_s,
                shards=shards,
                control=steered,
                logs=logs,
                drain=drain,
                lease=log.lease,
                on_event=self._on_event,
            )
            supervisor = Supervisor(self._engine, Restarts(RESTART_S, patience_s=settings.patience))
            self._sending = _Sending(steered, self._control_of(steered))
            time = watch_time(lambda: steered.until, world.wall, drain)
            draining = self._drain_children(supervisor, settings.drain)
            async with watching(drain.begin, self._look(), time, keeper.watch_failure(), draining):
                await self._rounds(supervisor, of_all)

    async def _drain_children(self, supervisor: Supervisor, drain_s: float) -> None:
        """Drain the children when the session drains."""
        await self._drain.begun.wait()
        supervisor.drain(signal.SIGTERM, drain_s)

    async def _rounds(self, supervisor: Supervisor, of_all: ShardWork) -> None:
        """Run every shard; with --limit round by round, because one shard may leave a part of its portion."""
        limit, fresh = LimitPortions(self._plan.arguments.settings.limit), list(self._shards)
        while fresh and self._drain.stop is None and limit.left != 0:
            portions = {shard: limit.take(shard.figures.remaining) for shard in fresh}
            begun = {shard: portion for shard, portion in portions.items() if portion != 0}
            fresh = [shard for shard in fresh if shard not in begun]

            async def run(shard: ShardState, portion: int | None) -> None:
                await ShardChild(shard, portion, of_all).run(supervisor)
                if portion is not None:
                    limit.give_back(portion - shard.settled)

            await all_of(run(shard, portion) for shard, portion in begun.items())

    async def _halt_with_the_engine(self) -> None:
        """Halt when the engine has failed: a process that ends then could not be placed again."""
        raise Halted(await self._engine.failed())

    async def _look(self) -> None:
        """Tell each shard the time of the last useful response to any of them, for --patience."""
        while True:
            await asyncio.sleep(LOOK_S)
            silent_s = self._shards.silent_s
            for shard in self._shards.working:
                if silent_s < shard.silent_s:
                    shard.tell(line_of(Heard(silent_s + LOOK_S)))

    def snapshot(self) -> Snapshot | None:
        """See `RunSession`. The figures are those of all shards."""
        if self._sending is None:
            return None
        progress, sending, total = self._log.progress, self._sending.shards, self._shards.total
        counts, seconds = total.latency
        moment = Snapshot(
            progress.rows - total.remaining,
            progress.rows,
            {key_of(progress, kind): count for kind, count in total.counts.items()},
            total.requests,
            sending.rate,
            self._waiting(sending.pause_s, total.waiting),
            total.busy,
            sending.slowed,
            silent_s=total.silent_s,
            draining=self._drain.stop is not None,
            concurrency=sending.concurrency,
            in_flight=total.in_flight,
            breaker_open=total.breaker_open,
            latency=(tuple(counts), seconds),
            retries=total.retries,
            throttled=total.throttled,
            refused=total.refused,
        )
        return self._sending.control.shown(moment)

    def _waiting(self, pause_s: float, reason: str | None) -> str | None:
        """Why no request is sent, in words. reason: of the shards; None while one sends."""
        if self._drain.stop is not None:
            return "draining: requests on the wire may finish"
        return throttled_words(pause_s) if pause_s else reason

    def _noted(self, read: SoundLog) -> dict[str, Any]:
        """The notes of the stop entry about the logs of the shards: how many lines each has, and their SHA-256.

        A log may get lines after that: a process that was lost with its machine may live. Of a log that could not be
        read, the note of the session before is kept.
        """
        earlier = self._log.progress.shards_left
        return {**earlier, **{str(number): [read.lines[number], sha256] for number, sha256 in read.shards.items()}}

    async def _read_at_end(self) -> SoundLog:
        """Read the logs. When the log of the run cannot be written or read, read only the logs of the shards."""
        progress = self._log.progress
        with suppress(FileFailed):
            await self._log.flush()
        if self._log.failure is None:
            with suppress(NotAcceptable):
                return await asyncio.to_thread(read_log, self._log.place, partly=True)
        of_shards = RunState(progress.header, skipped=progress.skipped)
        return await asyncio.to_thread(read_shards, self._log.place, of_shards)

    async def _end(self, began: float) -> SessionResult:
        """Add up, and write the stop entry."""
        plan, log, world = self._plan, self._log, self._world
        read = await self._read_at_end()
        progress, shards, ended = read.progress, self._shards, self._shards.ended
        stop = self._drain.stop
        if read.unread:  # the unread rows count as remaining
            stop = Stop(why := str(read.unread[0]), error=FileFailed(why))
        total = shards.total
        figures = self._figures(began, total.requests, {"retries": total.retries, "throttled": total.throttled})
        limit = plan.arguments.settings.limit
        ending = ending_of(
            stop,
            complete=progress.complete,
            limit_reached=limit is not None and shards.settled >= limit,
            log_failure=log.failure,
            left=lambda: next((each.as_ending.why for each in ended if each.as_ending.why), "a shard has not ended"),
        )
        until = plan.until if self._sending is None else self._sending.control.until
        now, blind = datetime.fromtimestamp(world.wall(), UTC), any(each.blind for each in ended)
        facts = {
            **stop_facts(plan, progress, ending, until=until, now=now, blind=blind),
            "shards": self._noted(read),
        }
        if self._started:
            self._note_stop({**facts, **figures})
        await log.aclose()
        if log.failure is not None:
            ending = replace(ending, file_failed=True)
        elif log.progress.stop is not None:
            progress.apply(log.progress.stop)
        unrecorded = added(dict.fromkeys(COUNTED, 0), *(each.unrecorded for each in ended))
        protected, unproven = sum(each.protected for each in ended), sum(each.unproven for each in ended)
        sha256 = sha256_of_all(log.sha256, read.shards)
        return SessionResult(ending, figures, unrecorded, protected, unproven, progress, sha256)


class _Sending(NamedTuple):
    """The controls while the shards send. shards: of all of them. control: of the session."""

    shards: ShardControl
    control: SessionControl
