"""A session of a run in shards: it starts the process of each shard, divides what is one for all, and adds up.

One for all are the rate, which the keeper divides; --concurrency and --limit, of which each shard gets a part;
--max-refused, --not-after, a pause and a drain. What a shard did is in the log of the shard; this session writes only
its own start and stop, and the changes, to the log of the run.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import orjson

from bulkdel.checkpoint.lock import is_locked
from bulkdel.checkpoint.reader import is_fresh, read_log, sha256_of_all, shard_log
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.command_line import file_variable_of, variable_of
from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.address import shown_address
from bulkdel.core.log_entries import Session, stamp
from bulkdel.core.outcome import COUNTED
from bulkdel.core.retry import number_or_share, too_many_refused
from bulkdel.core.shards import shard_header, spans_of
from bulkdel.core.summary import Ending, key_of
from bulkdel.engine.control import Changes, SessionControl
from bulkdel.engine.ending import ending_of, stop_facts
from bulkdel.engine.progress import Event, Snapshot
from bulkdel.engine.session import RunSession, SendingSession, SessionResult, begin_drain
from bulkdel.engine.surroundings import Surroundings
from bulkdel.engine.workers import Drain, Stop
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.fleet.channel import Ended, Figures, Order, line_of, packed
from bulkdel.fleet.local import LocalProcesses
from bulkdel.fleet.placing import Engine, Environment, Exited, Placed, Said, Stream, Work
from bulkdel.fleet.plain_export import PlainExport, export_for_all_machines, plain_export
from bulkdel.fleet.rate_keeper import RateKeeper, keeping_rate
from bulkdel.fleet.shard_states import ShardState, ShardStates, added
from bulkdel.output import say
from bulkdel.safety.run_plan import Plan
from bulkdel.settings import Settings
from bulkdel.store_path import in_store

OPTIONS = frozenset(name(one.name) for one in fields(Settings) for name in (variable_of, file_variable_of))
"""The variables of the environment that are options. What the run was given is in the words of its shards, so those
that are set where a shard starts do not count."""

GROUP = "run"
"""The name of what has one rate: all shards of the run."""

LOOK_S = 0.25
"""So often is looked at all shards together."""

KILL_AFTER_S = 10.0
"""A shard that does not end so long after its requests had to be finished is killed."""

STARTS_MAX = 5
"""A process that ends this often without having settled a row is not started again."""

START_AGAIN_S = 0.5
"""So long is waited before it is started again, times how often it has ended."""

REFUSALS = {kind.exit_code: kind for kind in (UsageError, NotAcceptable)}
"""By its exit code, how a process ends that has begun nothing. It has said why on its stderr."""

FREE_S = 15.0
"""So long is waited for the processes of an earlier session that was killed."""


def session_of(plan: Plan, log: Checkpoint, **more: Any) -> RunSession:
    """The session of this plan: in this process, or in one for each shard."""
    if not plan.shards:
        return SendingSession(plan, log, **more)
    if plan.arguments.settings.on == "local":
        return ShardedSession(plan, log, **more)
    from bulkdel.fleet.on_ray.engine import RayNodes  # noqa: PLC0415 - an extra installs what it needs

    return ShardedSession(plan, log, engine=RayNodes(), export_of=export_for_all_machines, **more)


class ShardedSession:
    """The session of a run in shards. See `SendingSession` for the methods."""

    def __init__(
        self,
        plan: Plan,
        log: Checkpoint,
        *,
        start: Mapping[str, Any],
        surroundings: Surroundings,
        on_event: Callable[[Event], None],
        chunk_events: bool = True,
        changes: Changes | None = None,
        engine: Engine | None = None,
        export_of: Callable[[Plan, ExitStack], PlainExport] = plain_export,
    ) -> None:
        """Take what `SendingSession` takes.

        engine: places the processes; None means this machine. export_of: makes what they read.
        """
        self._engine = engine or LocalProcesses(plan.arguments.environ)
        self._export_of = export_of
        self._plan = plan
        self._log = log
        self._start = start
        self._around = surroundings
        self._on_event = on_event
        self._chunk_events = chunk_events
        self._drain = Drain()
        self._refused_max: int | Fraction = number_or_share(plan.arguments.settings.max_refused)
        self._resumed = log.progress.sessions > 0
        self._concurrency = plan.arguments.settings.in_flight
        self._until = plan.until
        self._unheld = asyncio.Event()
        self._unheld.set()
        self._shards = ShardStates()
        self._keeper: RateKeeper | None = None
        self._control: SessionControl | None = None
        self._changes = changes or Changes()
        self._limit_left = plan.arguments.settings.limit

    async def run(self) -> SessionResult:
        """Send until every row is settled or something stops it. How it ended is in the result."""
        plan, log, around = self._plan, self._log, self._around
        began, path = around.steady(), plan.checkpoint
        killed = plan.progress is not None and plan.progress.under_way is not None
        await asyncio.to_thread(self._wait_until_free)
        spans = spans_of(log.progress.header)
        log.enqueue(Session("start", stamp(around.wall()), "", {**self._start, "backup": None}))
        with ExitStack() as stack:
            stack.callback(asyncio.create_task(log.keep()).cancel)
            await log.begun()  # before a shard begins
            self._shards = await asyncio.to_thread(self._read_shards, len(spans))
            stack.callback(asyncio.create_task(self._drain_on_failure()).cancel)
            stack.callback(asyncio.create_task(self._halt_with_the_engine()).cancel)
            export = await asyncio.to_thread(self._export_of, plan, stack)
            rate = plan.arguments.settings.rate
            async with keeping_rate({GROUP: rate}, restarted=killed) as self._keeper:
                work = Work(*self._command(), self._keeper.address(GROUP), export=export.descriptor)
                self._control = SessionControl(plan, log, self, self._drain, wall=around.wall, on_event=self._on_event)
                self._changes.begin(self._control)
                looking = asyncio.create_task(self._look())
                try:
                    await self._send(work, export)
                finally:
                    looking.cancel()
        self._changes.end()
        return await self._end(began, path)

    def _command(self) -> tuple[list[str], Environment]:
        """The words after `bulkdel` that start the process of a shard, and its environment."""
        plan, secrets = self._plan, dict[str, str]()
        settings, line = plan.arguments.settings, plan.line.without("--on")
        # The words of a line hide a password of the proxy, and a signature in the address of an exclude file.
        if settings.proxy is not None and "@" in settings.proxy:
            secrets[variable_of("proxy")] = settings.proxy
            line = line.without("--proxy")
        excluded = [str(name) for name in settings.exclude or ()]
        if any(shown_address(name) != name for name in excluded):
            secrets[variable_of("exclude")] = os.pathsep.join(excluded)
            line = line.without("--exclude")
        dropped = sorted(OPTIONS - secrets.keys())
        environment = Environment(dropped=dropped, values=line.variables, secrets=secrets)
        return replace(line, variables={}).words[1:], environment

    async def _send(self, work: Work, export: PlainExport) -> None:
        """Run every shard; with --limit round by round, because one shard may leave a part of its portion."""
        begun = set[int]()
        while self._drain.stop is None:
            fresh = [shard for shard in self._shards if shard.number not in begun]
            portions = {shard: portion for shard in fresh if (portion := self._portion(shard))}
            if not portions:
                return
            begun.update(shard.number for shard in portions)
            keeping = [
                asyncio.create_task(self._keep_going(work, shard, portion, export, len(portions)))
                for shard, portion in portions.items()
            ]
            try:
                await asyncio.gather(*keeping)
            finally:
                for task in keeping:
                    task.cancel()
                await asyncio.wait(keeping)

    def _portion(self, shard: ShardState) -> int:
        """How many ids this shard may settle: its own, in the order of the export, until --limit is used up."""
        if self._limit_left is None:
            return shard.figures.remaining
        portion = min(self._limit_left, shard.figures.remaining)
        self._limit_left -= portion
        return portion

    async def _keep_going(
        self, work: Work, shard: ShardState, portion: int, export: PlainExport, together: int
    ) -> None:
        """Run the process of a shard until its session has ended, and start it again when it was killed."""
        in_vain = 0
        while self._drain.stop is None:
            await self._unheld_or_drained()
            await self._licensed_or_drained()
            if self._drain.begun.is_set():
                break
            settled = shard.settled
            settled_max = None if self._limit_left is None else shard.settled_before + portion
            if settled_max is not None and settled >= portion:
                break
            order = self._order(shard, settled_max, export, together)
            failure, lost = await self._run_once(replace(work, order=order.line()), shard)
            if shard.ended is not None or failure is not None:
                break
            try:  # it was killed: what its log has
                shard.figures = await asyncio.to_thread(self._figures_of, shard)
            except BulkdelError as error:
                self._drain.begin(_damaged(error))
                break
            shard.begin_again()
            if shard.settled != settled:
                in_vain = 0
            elif not lost:  # a machine that is lost says nothing about the process
                in_vain += 1
            if in_vain == STARTS_MAX:
                why = f"the process of shard {shard.number} has ended {in_vain} times without having settled a row"
                self._drain.begin(Stop(why, error=Halted(why)))
            else:
                self._on_event(Event("warning", "shard.restarted", {"shard": shard.number}))
            await self._drained(START_AGAIN_S * (in_vain + lost))
        if self._limit_left is not None:
            self._limit_left += portion - shard.settled

    async def _run_once(self, work: Work, shard: ShardState) -> tuple[BulkdelError | None, bool]:
        """Run one process of a shard to its end. Returns why it could not begin, and whether its machine was lost."""
        try:
            placed = await self._engine.place(work)
        except OSError as error:
            failure = Halted(f"the process of shard {shard.number} cannot be started: {error.strerror}")
            self._drain.begin(Stop(str(failure), error=failure))
            return failure, False
        except BulkdelError as error:  # refused where it was to start
            self._drain.begin(Stop(str(error), error=error))
            return error, False
        shard.placed, found, lost = placed, None, False
        watching = asyncio.create_task(self._drain_it(placed))
        try:
            async for said in placed.poll():
                match said:
                    case Said(Stream.CHANNEL, line) if line.endswith(b"\n"):  # not one torn by the end of the process
                        found = self._take(shard, orjson.loads(line)) or found
                    case Said(Stream.STDERR, line):
                        say(f"shard {shard.number}: {os.fsdecode(line).rstrip()}", "shard_said")
                    case Exited(code):
                        lost = code is None
                        if found is None and code in REFUSALS:
                            why = f"the process of shard {shard.number} has refused its command line or environment"
                            found = REFUSALS[code](why)
                            self._drain.begin(Stop(why, error=found))
        finally:
            watching.cancel()
            shard.placed = None
            await placed.kill()  # it has ended, or this session ends early
        return found, lost

    def _take(self, shard: ShardState, said: Mapping[str, Any]) -> BulkdelError | None:
        """Take in what a shard says. Returns the failure that kept it from beginning."""
        match said:
            case {"figures": figures}:
                shard.figures = Figures(**figures)
                self._check_refused()
            case {"event": [level, name, fields]}:
                self._on_event(Event(level, name, fields))
            case {"ended": ended}:
                shard.ended = Ended(**ended)
                self._stop_after(shard.ended.as_ending)
            case {"failed": [_, code, text]}:
                kinds = (UsageError, NotAcceptable, FileFailed)
                failure = next((kind for kind in kinds if kind.exit_code == code), Halted)(text)
                self._drain.begin(Stop(text, error=failure))
                return failure
            case _:
                pass
        return None

    def _stop_after(self, ending: Ending) -> None:
        """What stops one shard for good stops all."""
        if self._drain.stop is not None:
            return
        if ending.file_failed:
            self._drain.begin(Stop(ending.why, error=FileFailed(ending.why)))
        elif ending.halted:
            self._drain.begin(Stop(ending.why, error=Halted(ending.why)))
        elif ending.planned:
            self._drain.begin(Stop(ending.why, planned=True))
        elif ending.signal is not None:
            self._drain.begin(Stop(ending.why, signal=ending.signal))

    def _check_refused(self) -> None:
        """--max-refused, over what all shards have settled in this session."""
        settled, refused = self._shards.settled, sum(self._shards.refused.values())
        if too_many_refused(self._refused_max, refused, settled) and self._drain.stop is None:
            why = f"of the {settled:,} ids that this session has done, {refused:,} were refused (--max-refused)"
            self._drain.begin(Stop(why, error=Halted(why)))

    async def _drain_on_failure(self) -> None:
        """Drain when the log of the run cannot be written, or another process has taken it over."""
        try:
            await self._log.watch_failure()
        except FileFailed as error:
            self._drain.begin(Stop(str(error), error=error))

    async def _halt_with_the_engine(self) -> None:
        """Halt when the engine has failed: a process that ends then could not be placed again."""
        failure = Halted(await self._engine.failed())
        self._drain.begin(Stop(str(failure), error=failure))

    async def _drain_it(self, placed: Placed) -> None:
        """Tell a process to drain when the session does. Kill it when it does not end."""
        await self._drain.begun.wait()
        placed.tell(line_of({"drain": True}))
        await asyncio.sleep(self._plan.arguments.settings.drain_s + KILL_AFTER_S)
        await placed.kill()

    async def _look(self) -> None:
        """Tell each shard when the server has last given a useful response to any of them, for --patience."""
        while True:
            await asyncio.sleep(LOOK_S)
            silent_s = self._shards.silent_s
            for shard in self._shards.working:
                if silent_s < shard.figures.silent_s and shard.placed is not None:
                    shard.placed.tell(line_of({"heard": silent_s + LOOK_S}))

    def drain(self, signum: int | None = None) -> None:
        """Begin to drain: requests on the wire may finish, nothing new is sent. signum: the signal that asks for it."""
        begin_drain(self._drain, signum, self._on_event)

    # What `SessionControl` changes

    def set_ceiling(self, rate: float) -> None:
        """Divide `rate` requests a second from now on; 0 is unlimited."""
        assert self._keeper is not None, "the session sends"
        self._keeper.set_rate(GROUP, rate)

    def slow(self) -> float:
        """Halve the rate, down to its floor. Returns it, requests a second."""
        assert self._keeper is not None, "the session sends"
        return self._keeper.slow(GROUP)

    @property
    def slowed(self) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        return None if self._keeper is None else self._keeper.slowed(GROUP)

    def hold(self) -> None:
        """Send nothing until `release`. Requests on the wire may finish."""
        self._unheld.clear()
        self._tell({"held": True})

    def release(self) -> None:
        """End the hold."""
        self._unheld.set()
        self._tell({"held": False})

    def set_concurrency(self, concurrency: int) -> None:
        """Keep so many requests in flight, in all shards together; each has at least one."""
        self._concurrency = concurrency
        share = max(1, concurrency // max(1, len(self._shards.working)))
        self._tell({"concurrency": share})

    def set_until(self, epoch: float, words: str) -> None:
        """Stop at this time."""
        del words
        self._until = datetime.fromtimestamp(epoch, UTC)
        self._tell({"until": self._until.isoformat()})

    def snapshot(self) -> Snapshot | None:
        """The current figures of all shards; None before requests can be sent."""
        if self._keeper is None or self._control is None or not self._shards:
            return None
        progress, control, keeper, shards = self._log.progress, self._control, self._keeper, self._shards
        working = [shard.figures for shard in shards.working]
        moment = Snapshot(
            progress.rows - shards.remaining,
            progress.rows,
            {key_of(progress, kind): count for kind, count in shards.counts.items()},
            shards.requests,
            keeper.rate(GROUP),
            self._waiting(keeper.pause_s(GROUP)),
            bool(working) and all(each.busy for each in working),
            self.slowed,
            silent_s=shards.silent_s,
            draining=self._drain.stop is not None,
            concurrency=self._concurrency,
            in_flight=sum(each.in_flight for each in working),
            breaker_open=any(each.breaker_open for each in working),
            latency=shards.latency,
            retries=shards.retries,
            throttled=shards.throttled,
            refused=shards.refused,
        )
        return control.shown(moment)

    def _waiting(self, pause_s: float) -> str | None:
        """Why no request is sent, in words."""
        if self._drain.stop is not None:
            return "draining: requests on the wire may finish"
        return f"throttled, {pause_s:.1f} s" if pause_s else self._shards.waiting

    def _tell(self, values: Mapping[str, Any]) -> None:
        for shard in self._shards.working:
            if shard.placed is not None:
                shard.placed.tell(line_of(values))

    async def _unheld_or_drained(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._unheld, self._drain.begun)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _licensed_or_drained(self) -> None:
        """Wait until this session has the log of the run for sure.

        One that was frozen may have lost it, and would take the logs of the shards over from the session that has them.
        """
        licence = self._log.licence
        while not (licence is None or licence.valid or self._drain.begun.is_set()):  # noqa: ASYNC110 - a commit renews it
            await asyncio.sleep(LOOK_S)

    async def _drained(self, seconds: float) -> None:
        """Wait so long, or until the drain begins."""
        waiting = asyncio.create_task(self._drain.begun.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()

    def _order(self, shard: ShardState, settled_max: int | None, export: PlainExport, together: int) -> Order:
        plan, server = self._plan, self._plan.server
        compressed = plan.export.dialect.compression != "none"
        dialect = replace(plan.export.dialect, compression="none") if compressed else plan.export.dialect
        return Order(
            number=shard.number,
            tool=version("bulkdel"),
            dialect=dialect.to_json(),
            fingerprint=packed(export.fingerprint),
            protected=list(plan.own_ids),
            pool=plan.pool,
            proven=server.proven,
            fullest=server.fullest,
            administrator=list(server.administrator),
            excluded=[file.key for file in plan.excluded],
            until=None if self._until is None else self._until.isoformat(),
            concurrency=max(1, self._concurrency // together),
            settled_max=settled_max,
            debug=self._chunk_events,
            licence_s=self._around.licence_s,
            export=export.elsewhere,
            take_over=self._log.licence is not None,
        )

    def _wait_until_free(self) -> None:
        """Wait for the processes of a session that was killed: they end by themselves. Raises NotAcceptable."""
        path, until = self._plan.checkpoint, time.monotonic() + FREE_S
        if in_store(path):  # the log of a shard is taken over there
            return
        for number in range(1, len(self._plan.shards) + 2):
            log = shard_log(path, number)
            while not is_fresh(log) and is_locked(log):
                if time.monotonic() > until:
                    raise NotAcceptable(f"{log}: its process is still under way. Stop it, then run this again.")
                time.sleep(0.05)

    def _read_shards(self, count: int) -> ShardStates:
        return ShardStates([ShardState(number, self._figures(number)) for number in range(1, count + 1)])

    def _figures_of(self, shard: ShardState) -> Figures:
        """The figures of a shard whose process has ended, with the rows as its log has them."""
        found = self._figures(shard.number)
        return replace(shard.figures, remaining=found.remaining, counts=found.counts, in_flight=0)

    def _figures(self, number: int) -> Figures:
        path = shard_log(self._plan.checkpoint, number)
        if is_fresh(path):
            progress = self._log.progress
            header, _ = shard_header(progress.header, progress.skipped, number)
            return Figures(header.counts["ids"], dict.fromkeys(COUNTED, 0))
        found = read_log(path).progress
        return Figures(found.remaining, dict(found.counts))

    async def _end(self, began: float, path: Any) -> SessionResult:
        """Add up, and write the stop entry."""
        plan, log, around = self._plan, self._log, self._around
        read = await asyncio.to_thread(read_log, path, partly=True)
        progress, shards, ended = read.progress, self._shards, self._shards.ended
        stop = _damaged(read.unread[0]) if read.unread else self._drain.stop
        figures = {
            "requests": plan.server.requests + shards.requests,
            "retries": shards.retries,
            "throttled": shards.throttled,
            "resumed": self._resumed,
            "duration_s": round(around.steady() - began, 3),
        }
        limit = plan.arguments.settings.limit
        ending = ending_of(
            stop,
            complete=progress.complete,
            limit_reached=limit is not None and shards.settled >= limit,
            log_failure=log.failure,
            left=lambda: next((each.as_ending.why for each in ended if each.as_ending.why), "a shard has not ended"),
        )
        now, blind = datetime.fromtimestamp(around.wall(), UTC), any(each.blind for each in ended)
        facts = {
            **stop_facts(plan, progress, ending, until=self._until, now=now, blind=blind),
            "shards": {str(number): sha256 for number, sha256 in read.shards.items()},
        }
        log.enqueue(Session("stop", stamp(around.wall()), "", {**facts, **figures}))
        await log.aclose()
        if log.failure is not None:
            ending = replace(ending, file_failed=True)
        elif log.progress.stop is not None:
            progress.apply(log.progress.stop)
        unrecorded = added(dict.fromkeys(COUNTED, 0), *(each.unrecorded for each in ended))
        kept, unproven = sum(each.kept for each in ended), sum(each.unproven for each in ended)
        sha256 = sha256_of_all(log.sha256, read.shards)
        return SessionResult(ending, figures, unrecorded, kept, unproven, progress, sha256)


def _damaged(error: BulkdelError) -> Stop:
    """The reason to stop when the log of a shard cannot be read: what it lacks counts as remaining."""
    return Stop(str(error), error=FileFailed(str(error)))
