"""The engine as a library: `open_run` gives a run as an async context manager. `bulkdel run` is its client.

The library installs no signal handler, prints nothing and makes no event loop. Its blocking steps run in threads.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

import orjson

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Changed, ChangedBy
from bulkdel.core.pace import By, Wish
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import FIGURES, Ending, Status, counts_of, exit_code, status_of, summary_of
from bulkdel.engine.control import Changes
from bulkdel.engine.session import RunSession, SendingSession, SessionResult
from bulkdel.engine.session_entries import create_log, start_facts
from bulkdel.engine.snapshot import QUEUE_MAX, Event, Events, Snapshot
from bulkdel.errors import Drained, NotAcceptable, UsageError
from bulkdel.format import printable
from bulkdel.job import Job, load_job
from bulkdel.own_key import make_key
from bulkdel.parameters import check_type, parameters_of
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_place
from bulkdel.run_place import home_of
from bulkdel.safety.argument_checks import check_change
from bulkdel.safety.confirmation import Confirmed, How, confirm, confirmed_before
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.safety.preparation import (
    Asking,
    check_arguments,
    exclude_looked_up,
    find_target,
    prepare,
    with_sample_check,
)
from bulkdel.safety.run_plan import RunArguments, RunPlan
from bulkdel.safety.server_checks import check_credentials
from bulkdel.settings import Settings
from bulkdel.store.certain import READ_S
from bulkdel.store_path import path_or_url
from bulkdel.threads import in_thread
from bulkdel.world import WORLD, World

Rows = Iterable[str] | AsyncIterable[str]
"""Ids, one for each row. They are copied to a file in the place of the run first."""

LIBRARY = By(ChangedBy.LIBRARY)
"""The origin of a change that a program makes."""

ROWS_AT_ONCE = 1_000
"""Rows that are written to that file at a time."""


class RunOptions(TypedDict, total=False):
    """The settings of a run. Names, meanings and defaults are those of `bulkdel run` (docs/reference.md).

    It has no option that only the command obeys, such as --schedule: a program calls `Run.set_rate` and `Run.pause`.
    """

    run: Path | str | None
    take_over: bool
    host: str | None
    ca_file: Path | None
    proxy: str | None
    sandbox: bool
    rate: float
    concurrency: int | None
    chunk_size: int | None
    limit: int | None
    drain: float
    patience: float
    timeout: float
    id_type: str | None
    id_field: str | None
    id_pattern: str | None
    format: Literal["auto", "jsonl", "csv", "lines"]
    encoding: str | None
    sheet: str | None
    trim: bool
    skip_invalid: str | None
    exclude: list[str | Path] | None
    spare: list[str] | None
    only_status: list[str] | None
    not_after: str | None
    backup: bool
    backup_to: Path | None
    backup_memberships: bool
    look_first: bool
    allow_absent: bool
    max_refused: str
    in_doubt: Literal["look-up", "resend"]
    confirm_export: str | None
    as_confirmed: bool
    note: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    job: its name. rows: of the export. ids: how many of them are to be sent, by all sessions of the run; this number
    and `pool` have to be confirmed. remaining: how many of these have no outcome yet.
    excluded, duplicate, invalid: rows that are never sent. pool: the user pool; None for a complete run.
    host_word: the extra word that confirms a run on this host; None when none is needed.
    requests: how many the rest takes, without retries and splits.
    asked, found: ids of the sample, and how many of them exist. complete: whether every row has its outcome already.
    run: where it is, or will be. confirming_line: the command that runs this plan without a question.
    """

    job: str
    rows: int
    ids: int
    remaining: int
    excluded: int
    duplicate: int
    invalid: int
    pool: str | None
    host_word: str | None
    requests: int
    asked: int
    found: int
    complete: bool
    run: Path
    confirming_line: str

    @classmethod
    def of(cls, plan: RunPlan) -> Plan:
        """Take the figures of the plan of a run."""
        counts, server = plan.export.counts, plan.server
        return cls(
            job=plan.arguments.job.name,
            rows=counts["rows"],
            ids=plan.ids,
            remaining=plan.remaining,
            excluded=counts["excluded"],
            duplicate=counts["duplicate"],
            invalid=counts["invalid"],
            pool=plan.pool,
            host_word=plan.host_word,
            requests=plan.requests,
            asked=server.asked,
            found=len(server.found),
            complete=plan.complete,
            run=plan.run,
            confirming_line=str(plan.confirming_line),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    status: complete, incomplete, stopped, halted or interrupted. exit_code: that of `bulkdel run`.
    counts: the rows by outcome; they add up to `rows`. why: why it stopped early; empty when it did not.
    requests, retries, throttled, duration_s: of this session. resumed: whether there was an earlier session.
    log_sha256: of every byte of the log. events_dropped: events that were not taken in time.
    session: more about the session. progress: the state of the log at the end. confirmed: whether this user has
    confirmed the run: in this session, or in an earlier one, as its MAC shows.
    """

    status: Status
    exit_code: int
    counts: Mapping[str, int]
    rows: int
    why: str
    requests: int
    retries: int
    throttled: int
    resumed: bool
    duration_s: float
    run: Path
    log_sha256: str
    events_dropped: int
    session: SessionResult
    progress: RunState
    confirmed: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `bulkdel run --json` prints it."""
        figures = {name: getattr(self, name) for name in FIGURES}
        return summary_of(
            self.progress,
            self.status,
            figures,
            run=printable(self.run),
            log_sha256=self.log_sha256,
            exit_code=self.exit_code,
        )


def open_run(
    job: str | Job,
    export: str | Path | Rows,
    *,
    parameters: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    events_max: int = QUEUE_MAX,
    **options: Unpack[RunOptions],
) -> Run:
    """Make a run; enter it with `async with`. Nothing is opened before.

    job: its name, or the job itself. export: a file, or ids; ids need a `run`.
    parameters: the job's own options by name: {"group": "eng"}.
    config: the tables of a config file, without [run]: options are arguments. environ: where credentials are found;
    os.environ by default. events_max: how many events may wait to be taken; later ones are dropped and counted.

    Raises UsageError for a job that is not installed, for wrong parameters, and for a `config` with options; TypeError
    for an option that is not in `RunOptions`.
    """
    if unknown := sorted(options.keys() - RunOptions.__annotations__.keys()):  # it would have no effect
        raise TypeError(f"open_run has no option {unknown[0]!r}")
    if config and "run" in config:  # left unread, its exclude files would protect nothing
        raise UsageError("config has the table [run], which the library does not read. Give its options as arguments")
    given: dict[str, Any] = {**options}
    if isinstance(run := given.get("run"), str):
        given["run"] = path_or_url(run)
    settings = replace(Settings(), **given)
    for name, path in (("run", settings.run), ("backup_to", settings.backup_to)):
        if not isinstance(path, Path | None):
            raise UsageError(f"{name} is a pathlib.Path, not {type(path).__name__}")
    rows = None
    if not isinstance(export, str | Path):
        if settings.run is None:
            raise UsageError("rows need a place for their run: there is no file name to derive it from. Give run=PATH")
        rows, export = export, "-"
        settings = replace(settings, format="jsonl")
    job = load_job(job) if isinstance(job, str) else job
    job = job.configured((config or {}).get(job.config_table, {}))
    check_type(job)
    arguments = RunArguments(
        job,
        str(export),
        settings,
        config or {},
        os.environ if environ is None else environ,
        parameters=parameters_of(job, parameters or {}),
    )
    return Run(arguments, rows=rows, events_max=events_max)


class Run:
    """One run, in this order: `plan`, `confirm`, `start`, `finished`. Leaving the context drains it.

    Every method may raise a BulkdelError: UsageError (exit code 2; NotConfirmed is one), NotAcceptable (3), FileFailed
    (5), Halted (4) while nothing was sent. How the sending ended is in the summary; it raises no exception.
    """

    def __init__(
        self,
        arguments: RunArguments,
        *,
        rows: Rows | None = None,
        world: World = WORLD,
        events_max: int = QUEUE_MAX,
        chunk_events: bool = True,
        before_sending: Callable[[], None] | None = None,
        make_session: Callable[..., RunSession] | None = None,
    ) -> None:
        """Take the arguments.

        before_sending: a blocking step after the confirmation, before the first request. make_session: takes what
        `SendingSession` takes.
        """
        self._arguments = arguments
        self._before_sending = before_sending
        self._make_session = make_session or _in_this_process
        self._rows = rows
        self._world = world
        self._reading = ReadingProgress()
        self._stack = ExitStack()
        self._events = Events(events_max)
        self._chunk_events = chunk_events
        self._drained = False
        self._signum: int | None = None
        self._step: asyncio.Task[RunPlan] | None = None
        self._log: Checkpoint | None = None
        self._plan: RunPlan | None = None
        self._confirmed: Confirmed | None = None
        self._session: RunSession | None = None
        self._sending: asyncio.Task[Summary] | None = None
        self._begun = asyncio.Event()
        self._changes = Changes()
        self._asking: Asking | None = None
        self._doing = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sending = self._sending
        try:
            if sending is not None:
                if not sending.done():
                    self.drain()
                await asyncio.wait({sending})
                if not sending.cancelled():
                    sending.exception()  # else asyncio prints it; `finished` raises it
            await asyncio.to_thread(self._stack.close)
        except asyncio.CancelledError:  # the log must not stay locked, whenever the caller is cancelled
            if sending is None or sending.done():
                self._stack.close()
            else:
                sending.add_done_callback(lambda _: self._stack.close())
            raise

    async def plan(self) -> Plan:
        """Check the arguments, read the export, sign in and look the sample up. Deletes nothing.

        `ids` and `pool` of the plan have to be confirmed.
        """
        return Plan.of(await self.run_plan())

    async def run_plan(self) -> RunPlan:
        """The same, with all that the engine knows: for the commands, which show it."""
        if self._plan is None:
            self._step = asyncio.get_running_loop().create_task(self._make_plan())
            try:
                self._plan = await self._step
            except asyncio.CancelledError:
                if not self._drained:
                    raise
                raise Drained from None
            finally:
                self._step = None
            self._doing = f"waiting for the confirmation; nothing was {self._plan.words.done} by this session"
        return self._plan

    async def confirm(
        self, *, ids: int | None, pool: str | None, host: str | None = None, how: How = How.LIBRARY
    ) -> None:
        """Confirm the run: the number of ids and the pool as the caller knows them, not copied from the plan.

        host: the bare name of the host; needed where the config protects it, and compared in any case. how: the word
        for the log.

        Raises NotConfirmed when they differ from the plan, Halted when too few of the sample exist.
        """
        now = self._world.wall()
        self._confirmed = confirm(self._planned, ids=ids, pool=pool, host=host, how=how, now=now)

    def start(self) -> Events:
        """Begin to send. Returns the events, to iterate over; they need not be taken.

        Raises NotConfirmed when the run has to be confirmed, Halted when too few of the sample exist.
        """
        plan = self._planned
        if self._sending is not None:
            raise RuntimeError("the run was started already")
        if self._confirmed is None:
            self._confirmed = confirmed_before(plan, self._world.wall())
        self._doing = "beginning to send"
        self._sending = asyncio.get_running_loop().create_task(self._send(plan))
        return self._events

    async def finished(self) -> Summary:
        """Wait for the end. Raises the errors of exit code 2, 3 and 5 that came before the first request."""
        if self._sending is None:
            raise RuntimeError("the run was not started: call start() first")
        return await asyncio.shield(self._sending)

    def drain(self, signum: int | None = None) -> None:
        """Stop: requests on the wire may finish, nothing new is sent. A `plan` that is under way raises Drained.

        signum: the signal that asked for it, for the log and the exit code.
        """
        self._drained, self._signum = True, signum
        if self._session is not None:
            self._session.drain(signum)
        elif self._step is not None:
            self._step.cancel()

    def set_rate(self, rate: float, by: By = LIBRARY) -> None:
        """Send at most `rate` requests a second from now on; 0 is unlimited. It takes the place of --rate.

        by: for the log, in this method and the next ones. Raises UsageError for a rate that is refused.
        """
        self.apply(Wish(Changed.RATE, rate, by))

    def set_concurrency(self, concurrency: int, by: By = LIBRARY) -> None:
        """Keep at most so many requests in flight. A request too many is not stopped. Raises UsageError."""
        self.apply(Wish(Changed.CONCURRENCY, concurrency, by))

    def set_until(self, text: str, by: By = LIBRARY) -> None:
        """Stop at this time, written as --not-after. Raises UsageError."""
        self.apply(Wish(Changed.UNTIL, text, by))

    def pause(self, by: By = LIBRARY) -> bool:
        """Send nothing from now on; requests on the wire may finish. Returns False when it was paused already."""
        return self.apply(Wish(Changed.PAUSED, value=True, by=by))

    def resume(
        self, by: By = LIBRARY, *, ids: int | None = None, pool: str | None = None, host: str | None = None
    ) -> bool:
        """Send again. Returns False when nothing was paused. ids, pool, host: see `confirm`.

        Raises NotConfirmed after a pause of over a day with ids that may belong to other accounts by now, unless the
        number of remaining rows and the pool are given. Raises UsageError when a pause file keeps the run paused.
        """
        return self.apply(Wish(Changed.PAUSED, value=False, by=by, confirmed=(ids, pool, host)))

    def stop(self, by: By = LIBRARY) -> None:
        """Stop as planned: requests on the wire may finish, nothing new is sent. The exit code is 6."""
        self.apply(Wish(Changed.STOP, value=True, by=by))

    def apply(self, wish: Wish) -> bool:
        """Make a change. Returns False when nothing had to be changed.

        Before the sending, a change is kept until then, and True is returned.

        Raises UsageError or NotConfirmed when it is refused; then nothing has changed.
        """
        arguments = self._arguments if self._plan is None else self._plan.arguments  # it has the logged [protect]
        check_change(arguments, wish, datetime.fromtimestamp(self._world.wall(), UTC))
        if self._sending is not None and self._sending.done():
            self._changes.end()
        return self._changes.apply(wish)

    async def changes_durable(self) -> None:
        """Wait until every change so far is in the log, on the disk. Raises FileFailed."""
        if self._session is not None and self._log is not None and not self._changes.ended:
            await self._log.flush()

    def snapshot(self) -> Snapshot | None:
        """The current figures; None before the sending. May be called from any thread."""
        return None if self._session is None else self._session.snapshot()

    async def begun(self) -> None:
        """Wait until the run has the lock of its log. Waits for ever when it ends before."""
        await self._begun.wait()

    @property
    def doing(self) -> str:
        """The current step in words."""
        asking = self._asking.text if self._asking is not None else self._reading.text
        return self._doing or asking

    @property
    def sending(self) -> bool:
        """Whether `start` was called."""
        return self._sending is not None

    @property
    def run_id(self) -> str | None:
        """The id of the run, as its log has it; None while there is no log."""
        return self._log.progress.header.run_id if self._log else None

    @property
    def pool(self) -> str | None:
        """The user pool: that of the plan, or that of the log; None while neither is known."""
        if self._plan is not None:
            return self._plan.pool
        return self._log.progress.header.pinned["pool"] if self._log else None

    @property
    def writable(self) -> bool:
        """Whether the log can be written, as far as is known."""
        return self._log is None or self._log.failure is None

    @property
    def recovered(self) -> Path | None:
        """The file that keeps the torn end of the log, which `plan` has cut off; None when it had none."""
        return self._log.recovered if self._log else None

    @property
    def _planned(self) -> RunPlan:
        if self._plan is None:
            raise RuntimeError("there is no plan yet: await plan() first")
        return self._plan

    async def _make_plan(self) -> RunPlan:
        if self._rows is not None:
            self._arguments.settings.check(self._arguments.job.chunk_max)  # before any row is taken
            copy = await _copy_of(self._rows, home_of(self._arguments.run), self._reading)
            self._stack.callback(os.close, copy)
            self._arguments = replace(self._arguments, rows=copy)
        plan = await self._world.in_thread(self._prepare, self._reading.stop)
        if plan.ids and not plan.complete:
            self._asking, world = Asking(plan), self._world
            plan = await with_sample_check(plan, self._asking, world)
            if not plan.rows_known:
                plan = await world.in_thread(partial(exclude_looked_up, plan, self._reading), self._reading.stop)
        return plan

    def _prepare(self) -> RunPlan:
        """Everything before the first request: the checks, the log if there is one, the export. Blocks."""
        arguments = self._arguments
        check_arguments(arguments)
        target = find_target(arguments)
        world = self._world
        terms = Terms.of(arguments.settings, world)
        if not is_fresh(log_place(arguments.run, replace(terms, patience_s=min(READ_S, terms.patience_s)))):
            resumed = Checkpoint.resume(log_place(arguments.run, terms))
            try:
                self._reading.check()
            except Drained:  # the run was left while the log was opened, so the stack is closed already
                resumed.close()
                raise
            self._stack.callback(resumed.close)
            self._log = resumed
        log = self._log.progress if self._log else None
        check_credentials(target, log)
        now, rng = datetime.fromtimestamp(world.wall(), UTC), random.Random(world.chance())  # noqa: S311 - a sample
        return prepare(arguments, target, log, self._stack, self._reading, now=now, rng=rng)

    async def _send(self, plan: RunPlan) -> Summary:
        try:
            if plan.complete and plan.progress is not None and plan.progress.stop is not None and self._log is not None:
                figures = plan.progress.stop.facts  # nothing is left to do: the same summary once more
                progress, sha256 = self._log.progress, self._log.sha256
                if plan.shards:  # over the log of each shard too
                    sha256 = (await asyncio.to_thread(read_log, log_place(plan.run))).sha256
                return self._summary(SessionResult(Ending(), figures, {}, 0, 0, progress, sha256))
            world = self._world
            if self._log is None:
                self._log = await world.in_thread(lambda: create_log(plan, self._confirmed, world), lambda: None)
                self._stack.callback(self._log.close)
            key, unconfirmed = None, plan.complete and not plan.begun_by_me
            if not (plan.arguments.settings.sandbox or unconfirmed):
                key = await world.in_thread(lambda: make_key(plan.arguments.environ), lambda: None)
            self._begun.set()
            if self._before_sending is not None:
                await world.in_thread(self._before_sending, lambda: None)
            self._session = self._make_session(
                plan,
                self._log,
                start=start_facts(plan, self._confirmed, world.pid()),
                key=key,
                on_event=self._events.put,
                chunk_events=self._chunk_events,
                changes=self._changes,
            )
            if self._drained:
                self._session.drain(self._signum)
            return self._summary(await self._session.run())
        finally:
            self._events.close()

    def _summary(self, result: SessionResult) -> Summary:
        progress, ending, figures = result.progress, result.ending, result.figures
        refused = progress.counts["refused"] + progress.counts["unknown"] + self._arguments.not_restorable
        return Summary(
            status=status_of(ending, complete=progress.complete),
            exit_code=exit_code(ending, complete=progress.complete, refused=refused),
            counts=counts_of(progress),
            rows=progress.rows,
            why=ending.why,
            **{name: figures.get(name, 0) for name in FIGURES},
            run=self._arguments.run,
            log_sha256=result.log_sha256,
            events_dropped=self._events.dropped,
            session=result,
            progress=progress,
            confirmed=self._confirmed is not None or self._planned.begun_by_me,
        )


def _in_this_process(plan: RunPlan, log: Checkpoint, **more: Any) -> RunSession:
    if plan.shards:
        raise NotAcceptable(
            f"{plan.run}: this run was begun in several processes. Nothing was sent. Go on with:\n  {plan.line}"
        )
    return SendingSession(plan, log, **more)


async def _copy_of(rows: Rows, folder: Path, reading: ReadingProgress) -> int:
    """Copy `rows` to a file without a name in `folder`, as JSON Lines. Returns its descriptor."""
    with tempfile.TemporaryFile(dir=folder) as copy:
        if isinstance(rows, AsyncIterable):
            batch: list[str] = []
            async for row in rows:
                batch.append(row)
                if len(batch) == ROWS_AT_ONCE:
                    await in_thread(partial(_write_rows, batch, copy, reading), reading.stop)
                    batch = []
            await in_thread(partial(_write_rows, batch, copy, reading), reading.stop)
        else:
            await in_thread(lambda: _write_rows(rows, copy, reading), reading.stop)
        copy.flush()
        return os.dup(copy.fileno())


def _write_rows(rows: Iterable[str], copy: Any, reading: ReadingProgress) -> None:
    for row in rows:
        if not isinstance(row, str):
            raise UsageError(f"a row is a {type(row).__name__}, and has to be a str: the id")
        copy.write(orjson.dumps(row) + b"\n")
        reading.check()


def run_sync(
    job: str | Job,
    export: str | Path | Rows,
    *,
    ids: int,
    pool: str,
    host_word: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    parameters: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Unpack[RunOptions],
) -> Summary:
    """Do a whole run, for scripts without an event loop. ids, pool, host_word: confirm it, as `Run.confirm` does.

    on_event: called with every event. The other arguments are those of `open_run`.
    """

    async def whole_run() -> Summary:
        async with open_run(job, export, parameters=parameters, config=config, environ=environ, **options) as run:
            plan = await run.plan()
            if not plan.complete:
                await run.confirm(ids=ids, pool=pool, host=host_word)
            async for event in run.start():
                if on_event is not None:
                    on_event(event)
            return await run.finished()

    return asyncio.run(whole_run())
