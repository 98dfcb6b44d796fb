"""The processes of the shards: starts each one, reads it until it has ended, and starts a killed one again."""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from fractions import Fraction
from typing import Any

from bulkdel.core.retry import number_or_share, refused_words, too_many_refused
from bulkdel.core.summary import Ending
from bulkdel.engine.progress import Event
from bulkdel.engine.watches import ended_before, watching
from bulkdel.engine.workers import Drain, Stop
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.fleet.channel import ChunkEvent, DrainNow, Failed, Figures, Message, ShardEnded, line_of, message_of
from bulkdel.fleet.placing import KILL_AFTER_S, Engine, Exited, Placed, Said, Stream
from bulkdel.fleet.shard_control import ShardControl
from bulkdel.fleet.shard_logs import ShardLogs
from bulkdel.fleet.shard_order import ShardWork
from bulkdel.fleet.shard_states import ShardState, ShardStates
from bulkdel.format import span
from bulkdel.output import say
from bulkdel.place.lease import Lease
from bulkdel.times import since_boot

STARTS_MAX = 5
"""A process that ends this often without having settled a row is not started again."""

START_AGAIN_S = 0.5
"""Seconds before a process is started again, times how often it has ended."""

LEASE_LOOK_S, SILENT_LOOK_S = 0.25, 1.0

ERRORS = {kind.exit_code: kind for kind in (UsageError, NotAcceptable, FileFailed, Halted)}
"""By its exit code, why a process could not begin."""

REFUSALS = {UsageError.exit_code, NotAcceptable.exit_code}
"""The exit codes of a process that has refused its command line or environment. It has said why on its stderr."""


class ProcessEnd(enum.Enum):
    """How one process of a shard has ended."""

    FINISHED = "its session has ended, or cannot begin"
    KILLED = "early"
    LOST = "with the machine that it ran on"


class ShardProcesses:
    """The processes of one session.

    logs: they show how far a killed process came. lease: of the log of the run.
    """

    def __init__(
        self,
        *,
        work: ShardWork,
        shards: ShardStates,
        control: ShardControl,
        logs: ShardLogs,
        engine: Engine,
        drain: Drain,
        lease: Lease,
        on_event: Callable[[Event], None],
    ) -> None:
        settings = work.plan.arguments.settings
        self._work = work
        self._shards = shards
        self._control = control
        self._logs = logs
        self._engine = engine
        self._drain = drain
        self._lease = lease
        self._on_event = on_event
        self._drain_s = settings.drain
        self._patience_s = settings.patience
        self._refused_max: int | Fraction = number_or_share(settings.max_refused)

    async def run(self, shard: ShardState, portion: int | None) -> None:
        """Run the process of a shard until its session has ended. portion: rows that it may settle; None for all."""
        shard.begin_sending()
        try:
            await self._run(shard, portion)
        finally:
            shard.end_sending()
            self._control.tell()  # the others get its part of the concurrency

    async def _run(self, shard: ShardState, portion: int | None) -> None:
        in_vain, lost, progressed_at = 0, 0, since_boot()
        settled_max = None if portion is None else shard.settled_before + portion
        while await self._may_start() and (portion is None or shard.settled < portion):
            settled = shard.settled
            end = await self._run_once(shard, settled_max)
            if end is ProcessEnd.FINISHED:
                return
            try:  # the figures in its log
                shard.begin_again(await asyncio.to_thread(self._logs.figures, shard.number))
            except BulkdelError as error:
                self._drain.begin(damaged(error))
                return
            if shard.settled != settled:
                in_vain, lost, progressed_at = 0, 0, since_boot()
            elif end is ProcessEnd.LOST:  # no fault of the process
                lost += 1
            else:
                in_vain += 1
            silent_s = since_boot() - progressed_at
            of = f"the process of shard {shard.number}"
            if in_vain == STARTS_MAX:
                self._halt(f"{of} has ended {in_vain} times without having settled a row")
            elif lost and silent_s >= self._patience_s:
                self._halt(
                    f"{of} was lost {lost} times with the machine that it ran on, and has settled no row for "
                    f"{span(silent_s)} (--patience)"
                )
            else:
                self._on_event(Event("warning", "shard.restarted", {"shard": shard.number}))
            await self._ended_or_drained(asyncio.sleep(START_AGAIN_S * (in_vain + lost)))

    async def _may_start(self) -> bool:
        """Wait while the run is held, and until its lease is valid. Returns False when the drain has begun.

        A frozen run may have lost its log to another session. Its processes must not take the logs of the shards over
        from that session.
        """
        await self._ended_or_drained(self._control.released.wait())
        while not (self._lease.valid or self._drain.begun.is_set()):  # noqa: ASYNC110
            await asyncio.sleep(LEASE_LOOK_S)  # no event tells that a commit has renewed it
        return not self._drain.begun.is_set()

    async def _run_once(self, shard: ShardState, settled_max: int | None) -> ProcessEnd:
        """Run one process of a shard to its end."""
        work = self._work.of(shard.number, settled_max, self._control.wanted)
        placing = asyncio.create_task(self._engine.place(work))
        if not await self._ended_or_drained(asyncio.wait({placing})):
            placing.cancel()
            with suppress(asyncio.CancelledError, OSError, BulkdelError):
                await (await placing).kill()  # it has sent nothing
            return ProcessEnd.FINISHED
        try:
            placed = placing.result()
        except OSError as error:
            self._halt(f"the process of shard {shard.number} cannot be started: {error.strerror}")
            return ProcessEnd.FINISHED
        except BulkdelError as error:  # refused where it was to start
            self._drain.begin(Stop(str(error), error=error))
            return ProcessEnd.FINISHED
        shard.place(placed)
        try:
            placed.tell(line_of(self._control.wanted))  # `wanted` may have changed meanwhile
            async with watching(self._drain.begin, self._drain_process(placed), self._kill_silent(shard, placed)):
                return await self._hear(shard, placed)
        finally:
            shard.leave_process()
            await placed.kill()  # it has ended, or this session ends early

    async def _hear(self, shard: ShardState, placed: Placed) -> ProcessEnd:
        """Take in the output of a process, until it has ended."""
        end, begun = ProcessEnd.KILLED, b""
        async for said in placed.poll():
            match said:
                case Said(Stream.CHANNEL, part) if not part.endswith(b"\n"):  # of a long line, or torn by its end
                    begun += part
                case Said(Stream.CHANNEL, part):
                    line, begun = begun + part, b""
                    if self._take(shard, message_of(line)):
                        end = ProcessEnd.FINISHED
                case Said(Stream.STDERR, line):
                    say(f"shard {shard.number}: {os.fsdecode(line).rstrip()}", "shard_said")
                case Exited(None) if end is ProcessEnd.KILLED:
                    end = ProcessEnd.LOST
                case Exited(int(code)) if end is ProcessEnd.KILLED and code in REFUSALS:
                    why = f"the process of shard {shard.number} has refused its command line or environment"
                    self._drain.begin(Stop(why, error=ERRORS[code](why)))
                    end = ProcessEnd.FINISHED
        return end

    def _take(self, shard: ShardState, told: Message) -> bool:
        """Take in a message of a shard. Returns whether it is its last one."""
        match told:
            case Figures():
                shard.take(told)
                self._check_refused()
            case ChunkEvent(level, name, fields):
                self._on_event(Event(level, name, dict(fields)))
            case ShardEnded():
                shard.take(told)
                self._stop_after(told.as_ending)
                return True
            case Failed(code, why):
                self._drain.begin(Stop(why, error=ERRORS.get(code, Halted)(why)))
                return True
        return False

    def _stop_after(self, ending: Ending) -> None:
        """Stop all shards when the session of one has ended for a reason that holds for all."""
        if self._drain.stop is not None:
            return
        if ending.file_failed:
            self._drain.begin(Stop(ending.why, error=FileFailed(ending.why)))
        elif ending.halted:
            self._halt(ending.why)
        elif ending.planned:
            self._drain.begin(Stop(ending.why, planned=True))
        elif ending.signal is not None:
            self._drain.begin(Stop(ending.why, signal=ending.signal))

    def _check_refused(self) -> None:
        """Apply --max-refused to the rows that all shards have settled in this session."""
        settled, refused = self._shards.settled, sum(self._shards.refused.values())
        if too_many_refused(self._refused_max, refused, settled) and self._drain.stop is None:
            self._halt(refused_words(self._refused_max, refused, settled))

    def _halt(self, why: str) -> None:
        self._drain.begin(Stop(why, error=Halted(why)))

    async def _drain_process(self, placed: Placed) -> None:
        """Tell a process to drain when the session drains. Kill it if it does not end."""
        await self._drain.begun.wait()
        placed.tell(line_of(DrainNow()))
        await asyncio.sleep(self._drain_s + KILL_AFTER_S)
        await placed.kill()

    async def _kill_silent(self, shard: ShardState, placed: Placed) -> None:
        """Kill a process that has sent nothing for --patience, such as one that is frozen. It is started again."""
        while not (shard.heard and shard.age_s > self._patience_s):  # noqa: ASYNC110 - nothing tells that nothing comes
            await asyncio.sleep(SILENT_LOOK_S)
        say(
            f"The process of shard {shard.number} has said nothing for {span(shard.age_s)}. It is killed.",
            "shard_silent",
        )
        await placed.kill()

    async def _ended_or_drained(self, step: Coroutine[Any, Any, object]) -> bool:
        """Wait until the step has ended, or the drain begins. Returns whether it has ended."""
        return await ended_before(self._drain.begun.wait(), step)


def damaged(error: BulkdelError) -> Stop:
    """The reason to stop when the log of a shard cannot be read: its unread rows count as remaining."""
    return Stop(str(error), error=FileFailed(str(error)))
