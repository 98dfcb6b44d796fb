"""`bulkdel batch plan` and `bulkdel batch run`: the order of the steps for many runs. Each run is a child process.

read the file → plan each run → one table → one confirmation → run each → one summary
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.writer import LogWriter
from bulkdel.command_line import CommandLine
from bulkdel.commands.batch_words import due_words, plan_values, summary_lines, summary_values, table_lines
from bulkdel.commands.run import line_typed
from bulkdel.core.batch import (
    FAILURES,
    BatchState,
    Due,
    NightState,
    PlannedRun,
    ToConfirm,
    first_that_applies,
    group_rates,
    plan_groups,
    planned_run,
    twins,
)
from bulkdel.core.log_entries import BatchConfirmed, BatchPlanned, BatchRunBegun, BatchRunEnded, Session, stamp
from bulkdel.core.mac import with_mac
from bulkdel.core.option import option_of
from bulkdel.core.shards import LOCAL
from bulkdel.core.summary import EXIT_FILE, EXIT_SIGNAL, EXIT_STOPPED
from bulkdel.engine.session_entries import process_facts
from bulkdel.engine.signals import Signals, run_loop
from bulkdel.errors import BulkdelError, FileFailed, NotAcceptable, NotConfirmed, UsageError
from bulkdel.fleet.batch_child import RESTARTS, RunEnd, run_child
from bulkdel.fleet.batch_file import ALSO_TYPED, Batch, BatchRun, Here, read_batch
from bulkdel.fleet.batch_log import open_batch_log, read_state
from bulkdel.fleet.batch_page import BatchOnPage, on_batch_page, page_address
from bulkdel.fleet.batch_progress import BatchReporter, RunProgress
from bulkdel.fleet.batch_steering import BatchSteering
from bulkdel.fleet.find_engine import engine_on
from bulkdel.fleet.placing import KILL_AFTER_S, Engine, Work
from bulkdel.fleet.rate_keeper import RateKeeper, keeping_rate
from bulkdel.fleet.run_log import NOT_STARTED, Still, summary_in, whether_complete
from bulkdel.fleet.supervisor import Supervisor
from bulkdel.format import counted, until_words
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.http.transport import check_host
from bulkdel.live.control_socket import serving_socket
from bulkdel.live.socket_path import id_of_batch, of_batch
from bulkdel.output import LogFormat, result, say, say_error, say_values
from bulkdel.output import summary as say_summary
from bulkdel.own_key import make_key, read_key
from bulkdel.safety.confirmation import CONFIRMED_PLAN, How, words_to_confirm
from bulkdel.store_path import is_store_url
from bulkdel.tasks import all_of, beside
from bulkdel.threads import in_thread
from bulkdel.times import next_day, until_of

PLAN_LOG = "plan.log"
RUN_LOG = "run.log"
"""The file in the folder of a run with the stderr of its processes."""

HELD_LOOK_S = 0.2

HELD_BACK = "it was not started"

OLDER_LOG = "its log is an older copy: the run was complete, and the log has rows left. Put the log back that was there"

PINNED = ("job", "host", "pool", "ids", "rows", "sha256", "id_reusable")
"""The values of a plan that the log of the batch keeps."""


@dataclass(frozen=True, slots=True)
class BatchArguments:
    """The arguments of the caller. For an argument that is None, the value in the file of the batch holds.

    confirm, plan: confirm so many ids, and the plan with this digest. progress_every: seconds between progress lines.
    listen: the address of the live page. on: where the processes of the runs are, local or ray.
    """

    file: Path
    here: Here
    parallel: int | None = None
    rate_over_all: float | None = None
    not_after: str | None = None
    stop_after_failures: int | None = None
    confirm: int | None = None
    plan: str | None = None
    json: bool = False
    log_format: LogFormat | None = None
    progress_every: float = 5.0
    listen: str | None = None
    on: str = LOCAL

    @property
    def _instead(self) -> dict[str, Any]:
        """The values that replace those of the file."""
        return {name: value for name in ALSO_TYPED if (value := getattr(self, name)) is not None}

    def batch(self, command: str) -> Batch:
        """Read the file. Raises UsageError. command: `plan` or `run`."""
        batch = replace(read_batch(self.file), **self._instead)
        batch.check_typed(self.here, replace(self.line, names=(command, str(self.file))))
        batch.check_limits(self.here)
        say_credentials(batch, self.here)
        if self.on != LOCAL:
            batch.check_for_nodes()
        return batch

    @property
    def line(self) -> CommandLine:
        """The command line of `batch run` with these arguments, without a confirmation."""
        given = {option_of(name): value for name, value in self._instead.items()}
        given |= {"--listen": self.listen, "--on": None if self.on == LOCAL else self.on}
        line = self.here.plus_options(CommandLine("batch", ("run", str(self.file))).plus_given(given))
        return line.plus("--json") if self.json else line


def say_credentials(batch: Batch, here: Here) -> None:
    """Print which variables of this machine the file has picked, and where they go."""
    if renamed := batch.renamed(here):
        lines = "\n".join(f"  {name}: {words}" for name, words in renamed.items())
        say(
            f"The file names these credentials, and they go to these hosts:\n{lines}", "batch.credentials", runs=renamed
        )


def plan(arguments: BatchArguments) -> int:
    """Plan every run, and show one table. Returns the first exit code of the runs that cannot begin."""
    batch = arguments.batch("plan")
    _until(batch)  # raises UsageError now, not at night
    state = read_state(batch.log, batch.path)
    with engine_on(arguments.on, arguments.here.environ) as engine, Signals(engine.leave) as signals:
        children = Supervisor(engine, RESTARTS)

        async def plan_all() -> list[PlannedRun]:
            async with keeping_rate({}, over_all=batch.rate_over_all) as keeper:
                return await _plan_all(batch, state, children, keeper=keeper, arguments=arguments, begin=lambda _: None)

        planned = run_loop(plan_all(), signals, lambda: "planning the runs")
    due = state.due(planned, time.time(), read_key(arguments.here.environ))
    to_confirm = _to_confirm(planned, due)
    shown = replace(arguments, json=False)
    can_confirm = bool(due) and _keep_plan(batch, planned, to_confirm)
    command = _confirming(shown, to_confirm) if can_confirm else shown.line
    if arguments.json:
        result(json.dumps(plan_values(planned, due, to_confirm, command)))
    else:
        for line in table_lines(planned, due):
            result(line)
        if due:
            to_run = f" To run this plan:\n  {command}" if can_confirm else ""
            result(f"Nothing was sent, and nothing is confirmed.{to_run}")
        elif any(not run.trouble for run in planned):
            result(f"Every run that can begin is confirmed. To go on:\n  {command}")
    return first_that_applies(run.exit for run in planned if run.trouble)


def _keep_plan(batch: Batch, planned: Sequence[PlannedRun], to_confirm: ToConfirm) -> bool:
    """Write the list of plans to the log of the batch. The list counts for a day. Returns whether it was written."""
    entry = _list_of(planned, to_confirm)

    async def keep() -> None:
        log = open_batch_log(batch.log, batch.path, _now())
        log.enqueue(entry)
        await log.flush()
        await log.aclose()

    try:
        asyncio.run(keep())
    except (FileFailed, NotAcceptable) as error:  # a batch is under way, or nothing can be written here
        say(f"This plan is not kept, so it confirms nothing: {error}", "batch.plan_not_kept")
        return False
    return True


def _list_of(planned: Sequence[PlannedRun], to_confirm: ToConfirm) -> BatchPlanned:
    runs = {
        run.name: {"digest": run.digest, "ids": run.ids, **({"gone": True} if run.name in to_confirm.gone else {})}
        for run in planned
        if run.name in to_confirm.runs
    }
    return BatchPlanned(_now(), to_confirm.ids, to_confirm.digest, runs)


def run(arguments: BatchArguments) -> int:
    """Run or resume every run of the batch. Returns its exit code (`core.batch`)."""
    batch = arguments.batch("run")
    until = _until(batch)
    with engine_on(arguments.on, arguments.here.environ) as engine, Signals(engine.leave) as signals:
        night = Night(batch, arguments, until, engine)
        return run_loop(night.run(), signals, night.progress_text, night.drain)


class Night:
    """One `batch run`: starts the processes of its runs, takes in their reports, and acts on them."""

    def __init__(self, batch: Batch, arguments: BatchArguments, until: datetime | None, engine: Engine) -> None:
        self._batch = batch
        self._runs = {run.name: run for run in batch.runs}
        self._arguments = arguments
        self._until = until
        self._ended: dict[str, RunEnd] = {}
        self._state = NightState(failures_max=batch.stop_after_failures, until=until)
        self._untils = _untils(batch, until)
        self._sending = False
        self._overdue = False  # whether the runs were drained as planned: --not-after had passed, or by `ctl stop`
        self._drain_s = 0.0  # the longest drain time of the runs that can begin
        self._progress = {run.name: RunProgress(run.name, run.place_in(batch.base)) for run in batch.runs}
        self._reporter = BatchReporter(
            list(self._progress.values()), log_format=arguments.log_format, interval_s=arguments.progress_every
        )
        self._address = page_address(arguments.listen)
        self._engine = engine
        self._children = Supervisor(engine, RESTARTS)
        self._under_way: dict[str, Path] = {}  # by the name of a run with a process, its log
        self._waiting = len(batch.runs)
        self._line = arguments.line  # the command that goes on with the incomplete runs
        self._preparing: asyncio.Task[tuple[list[PlannedRun], BatchConfirmed | None]] | None = None
        self._steering = BatchSteering(
            under_way=lambda: list(self._under_way.values()),
            waiting=lambda: self._waiting,
            doing=self._doing,
            stop=self._stop,
            drain=lambda: self._children.drain(signal.SIGTERM, self._drain_s),
            environ=arguments.here.environ,
        )

    def _stop(self) -> None:
        """Begin no other run, as planned. If no run has begun yet, end the plans, too."""
        self._state, self._overdue = replace(self._state, stopped=True), True
        if self._preparing is not None:
            self._preparing.cancel()

    def _head(self) -> dict[str, Any]:
        """The values on the page that are not sums over the runs."""
        batch, until = self._batch, self._until
        return {
            "at": _now(),
            "job": f"batch of {counted(len(batch.runs), 'run')}",
            "pool": None,
            "host": None,
            "run_id": None,
            "pid": os.getpid(),
            "state": "draining" if self._state.signal is not None else "sending" if self._sending else "starting",
            "doing": None if self._sending else self.progress_text(),
            "until": None if until is None else until.isoformat(timespec="seconds"),
            "plan": {"runs": len(batch.runs), "parallel": batch.parallel, "rate_over_all": batch.rate_over_all or None},
        }

    def progress_text(self) -> str:
        """The progress, in words."""
        phases = Counter(run.phase for run in self._progress.values())
        return ", ".join(f"{count:,} {phase}" for phase, count in phases.items())

    def _doing(self) -> str:
        """The answer to `batch ctl status`."""
        held = ", paused" if self._steering.held else ""
        return f"{'sending' if self._sending else 'planning'}{held}: {self.progress_text()}"

    def drain(self, signum: int) -> bool:
        """Stop: every child drains, and no other begins. While only plans are under way, end them and return False."""
        if self._sending:
            self._state = replace(self._state, signal=signum)
            self._children.drain(signum, self._drain_s)
        return self._sending

    async def run(self) -> int:
        """Plan, confirm, run, and print the summary. Returns the exit code."""
        batch, began = self._batch, time.monotonic()
        log = await in_thread(lambda: open_batch_log(batch.log, batch.path, _now()), lambda: None)
        try:
            state = log.progress
            self._check_day(state)
            stopped_before = _facts_of_stop(state).get("stopped", {})
            # If the batch before was killed, shares of its keeper may still be in use.
            restarted = state.under_way is not None
            id_, environ = id_of_batch(batch.log), self._arguments.here.environ
            seen = BatchOnPage([*self._progress.values()], environ, self._head)
            async with (
                keeping_rate({}, over_all=batch.rate_over_all, restarted=restarted) as keeper,
                on_batch_page(self._address, seen),
                serving_socket(of_batch(batch.log), id_, self._steering, lambda: {"run_id": id_}, environ),
            ):
                planned, confirmed = await self._prepare(log, keeper)
                log.enqueue(Session("start", _now(), "", {**process_facts(os.getpid()), "runs": len(batch.runs)}))
                if confirmed is not None:
                    log.enqueue(confirmed)
                await log.flush()
                self._sending = True
                await self._settle_all(planned, log, keeper)
            code = first_that_applies([ended.exit for ended in self._ended.values()])
            until = None if self._until is None or code != EXIT_STOPPED else self._until.isoformat()
            stopped = {**stopped_before, **self._stopped_by_their_own()}
            log.enqueue(Session("stop", _now(), "", {"exit": code, "not_after": until, "stopped": stopped}))
        finally:
            self._steering.close()
            await log.aclose()
        if log.failure is not None:
            say_error(log.failure)
            code = EXIT_FILE
        self._print_end(planned, code, time.monotonic() - began)
        return code

    async def _prepare(
        self, log: LogWriter[BatchState], keeper: RateKeeper
    ) -> tuple[Sequence[PlannedRun], BatchConfirmed | None]:
        """Plan and confirm. Returns the plans and the confirmation. When the batch is stopped, no run can begin."""

        async def prepare() -> tuple[list[PlannedRun], BatchConfirmed | None]:
            planned = await self._plan(log.progress, keeper)
            confirmation = _Confirmation(self._arguments, planned, log)
            due, to_confirm = confirmation.due, confirmation.to_confirm
            say("\n".join(table_lines(planned, due)), "batch.plan", plan=plan_values(planned, due, to_confirm))
            confirmed, left = await confirmation.confirm({name: run.spec for name, run in self._runs.items()})
            return [_not_confirmed(run, left[run.name]) if run.name in left else run for run in planned], confirmed

        self._preparing = asyncio.create_task(prepare())
        try:
            return await self._preparing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._state.stopped or (task is not None and task.cancelling()):
                raise  # a signal
        typed = {"--confirm": self._arguments.confirm, "--plan": self._arguments.plan}
        self._line = self._line.plus_given(typed)  # this confirmation is not kept
        return [PlannedRun(name, trouble=HELD_BACK, exit=EXIT_STOPPED) for name in self._runs], None

    def _stopped_by_their_own(self) -> dict[str, str]:
        """For each run with a not_after of its own: when that stopped it, ISO 8601."""
        stopped = [name for name, ended in self._ended.items() if ended.exit == EXIT_STOPPED]
        own = [name for name in stopped if "not_after" in self._runs[name].options]
        return {name: self._untils[name].isoformat() for name in own}

    def _check_day(self, state: BatchState) -> None:
        """Refuse a time of day that has just stopped this batch: from now on it means the next day."""
        text = self._batch.not_after
        if (until := next_day(text, _facts_of_stop(state).get("not_after"), datetime.now(UTC))) is not None:
            line = self._arguments.line.plus("--not-after", until.isoformat())
            raise NotConfirmed(
                f"not confirmed: --not-after {text} has just stopped this batch, and would now mean "
                f"{until_words(until)}. Nothing was sent. If that is what you want:\n  {line}"
            )

    async def _plan(self, state: BatchState, keeper: RateKeeper) -> list[PlannedRun]:
        def planning(name: str) -> None:
            self._progress[name].begin("planning")

        planned = await _plan_all(
            self._batch, state, self._children, keeper=keeper, arguments=self._arguments, begin=planning
        )
        for run in planned:
            self._progress[run.name].take_plan(run)
        return planned

    async def _settle_all(self, planned: Sequence[PlannedRun], log: LogWriter[BatchState], keeper: RateKeeper) -> None:
        """Run every run that can begin, so many at once. A run that halts stops no other."""
        batch, runs = self._batch, self._runs
        able = [run for run in planned if not run.trouble and not run.complete]
        self._drain_s = max((run.drain_s for run in able), default=0.0)
        groups = {run.name: runs[run.name].rate_group or run.group for run in able}
        rates = group_rates((groups[run.name], batch.rate_of(runs[run.name])) for run in able)
        for group, rate in rates.items():
            keeper.set_rate(group, rate)
        for run in planned:
            if run.trouble:
                await self._end(run.name, RunEnd(run.exit, error=run.trouble), started=False)
            elif run.complete:
                before = log.progress.ended[run.name]
                await self._end(run.name, RunEnd(before.exit, before.facts), started=False)
        places, self._waiting = asyncio.Semaphore(batch.parallel), len(able)

        async def settle(run: PlannedRun) -> None:
            async with places:
                code = await self._closed_or_begun(run.name, log)
                self._waiting -= 1
                if code is not None:
                    await self._end(run.name, RunEnd(code, error=HELD_BACK), started=False)
                    return
                ended = await self._child(runs[run.name], run, keeper.address(groups[run.name]))
                if self._overdue and ended.exit == EXIT_SIGNAL + signal.SIGTERM:
                    ended = replace(ended, exit=EXIT_STOPPED)  # the signal was sent by this batch, at --not-after
                ended = await self._end(run.name, ended, started=True)
                await self._keep(log, BatchRunEnded(_now(), run.name, ended.exit, ended.result))

        async with beside(self._stop_with_the_engine()), beside(self._stop_at_the_time()), self._reporter.running():
            await all_of(map(settle, able))

    async def _closed_or_begun(self, name: str, log: LogWriter[BatchState]) -> int | None:
        """The exit code of a run that may not begin any more. None when it begins: that is in the log of the batch."""
        if (code := await self._closed(name)) is not None:
            return code
        await self._keep(log, BatchRunBegun(_now(), name))
        if (code := await self._closed(name)) is not None:  # the batch was stopped since, or its log has failed
            await self._keep(log, BatchRunEnded(_now(), name, code, {"status": NOT_STARTED}))
        return code

    async def _closed(self, name: str) -> int | None:
        """Wait while the batch is paused. Returns the exit code of a run that may not begin any more."""
        while self._steering.held and self._state.closed(datetime.now(UTC)) is None:  # noqa: ASYNC110
            await asyncio.sleep(HELD_LOOK_S)  # a signal or the end of the window ends a pause, too
        return replace(self._state, until=self._untils.get(name)).closed(datetime.now(UTC))

    async def _stop_with_the_engine(self) -> None:
        """When the engine has failed, drain every child and begin no other: none could be placed again."""
        say(f"{await self._engine.failed()}. Every run drains", "engine.failed", level="error")
        self._state = replace(self._state, engine_failed=True)
        self._children.drain(signal.SIGTERM, self._drain_s)

    async def _stop_at_the_time(self) -> None:
        """Drain the runs that are still under way some time after --not-after.

        Each process stops by the clock of its own machine. That clock may be wrong, or the process frozen.
        """
        if self._until is None:
            return
        late = self._until + timedelta(seconds=self._drain_s + KILL_AFTER_S)
        while (left_s := (late - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - the clock may be set
            await asyncio.sleep(min(left_s, 1.0))
        self._overdue = self._state.closed(datetime.now(UTC)) == EXIT_STOPPED  # nothing else has drained them
        self._children.drain(signal.SIGTERM, self._drain_s)

    async def _child(self, run: BatchRun, planned: PlannedRun, keeper: KeeperAddress) -> RunEnd:
        every = f"{self._reporter.child_every_s:g}s"
        more: dict[str, Any] = {"json": True, "log_format": "json", "progress_every": every}
        if planned.needs_confirmation:
            more |= {"pool": planned.values["pool"], "confirm": planned.ids}
            if planned.values["confirm_host"] is not None:  # it was typed
                more["confirm_host"] = planned.values["confirm_host"]
        if (until := self._untils.get(run.name)) is not None:
            more["not_after"] = until.isoformat()
        placed, digest = run.placed(self._batch.base), str(planned.values["digest"])
        environment = placed.environment(self._arguments.here.environ).plus({CONFIRMED_PLAN: digest})
        progress = self._progress[run.name]
        progress.begin("running")
        self._under_way[run.name] = progress.place
        work = Work(placed.words("run", more), environment, keeper)
        again = None
        if is_store_url(run.place):  # this batch has the log of this run: only the process that was lost may write it
            again = replace(work, words=placed.words("run", {**more, "take_over": True}))
        try:
            return await run_child(self._children, work, self._batch.base / run.folder / RUN_LOG, progress.take, again)
        finally:
            del self._under_way[run.name]

    async def _summed_up(self, name: str, ended: RunEnd, *, started: bool) -> RunEnd:
        """Sum a run up from its log when its process has printed no summary, such as a killed one."""
        if ended.result:
            return ended
        place = self._progress[name].place
        try:
            summary = await in_thread(lambda: summary_in(place, started=started), lambda: None)
        except BulkdelError as error:
            why = f"{ended.error or 'it has printed no summary'}; its log cannot be read: {error}"
            return replace(ended, result={"status": "unknown"}, error=why) if started else ended
        return replace(ended, result=summary)

    async def _end(self, name: str, ended: RunEnd, *, started: bool) -> RunEnd:
        """Take in how a run has ended, and return that with its summary. started: whether it had a process."""
        self._ended[name] = ended = await self._summed_up(name, ended, started=started)
        self._state = replace(self._state, failures=self._state.failures + (ended.exit in FAILURES))
        self._progress[name].end(ended.result)
        return ended

    async def _keep(self, log: LogWriter[BatchState], entry: BatchRunBegun | BatchRunEnded) -> None:
        """Write to the log of the batch. When that fails, drain every child and begin no other."""
        try:
            log.enqueue(entry)
            await log.flush()
        except FileFailed:
            self._state = replace(self._state, file_failed=True)
            self._children.drain(signal.SIGTERM, self._drain_s)

    def _print_end(self, planned: Sequence[PlannedRun], code: int, duration_s: float) -> None:
        values = summary_values([(run, self._ended[run.name]) for run in planned], code, duration_s)
        if self._arguments.json:
            say_summary(json.dumps(values))
        else:
            say_summary("\n".join(summary_lines(values)))
        say_values("batch.ended", values)
        if values["status"] == "complete":
            verify = self._arguments.here.plus_options(CommandLine("batch", ("verify", str(self._arguments.file))))
            report = CommandLine("report", tuple(map(str, self._batch.places)))
            say(f"To verify the results:\n  {verify}\nTo write a report of all runs:\n  {report}", "to_verify")
        else:
            say(f"To go on with the runs that are not complete:\n  {self._line}", "to_go_on")


class _Confirmation:
    """Compares the options of one `batch run` with its plans, or asks on the terminal.

    log: of the batch. due: the runs that have to be confirmed, each with the reason. to_confirm: these runs added up.
    """

    def __init__(self, arguments: BatchArguments, planned: Sequence[PlannedRun], log: LogWriter[BatchState]) -> None:
        self._arguments = arguments
        self._planned = planned
        self._log = log
        self._given = arguments.confirm, arguments.plan
        self.due = log.progress.due(planned, time.time(), read_key(arguments.here.environ))
        self.to_confirm = _to_confirm(planned, self.due)
        begin = [run.name for run in planned if run.needs_confirmation and not run.complete]
        self._others_begin = any(name not in self.due for name in begin)  # runs that were confirmed before

    async def confirm(self, specs: Mapping[str, str]) -> tuple[BatchConfirmed | None, Mapping[str, Due]]:
        """Returns the confirmation (None when nothing was confirmed) and the unconfirmed runs.

        specs: of each run, the digest of what the file says of it. Raises NotConfirmed when no run can begin.
        """
        arguments, due = self._arguments, self.due
        if (arguments.confirm is None) is not (arguments.plan is None):
            missing = "--confirm" if arguments.confirm is None else "--plan"
            again = f" To confirm{self._words_to_confirm()}" if due else ""
            raise NotConfirmed(f"not confirmed: {missing} missing; --confirm and --plan confirm together.{again}")
        if not due:
            self._check_nothing_else_is_meant()
            return None, {}
        how, covered = await self._covered()
        left = {name: why for name, why in due.items() if name not in covered}
        if left:
            others = self._line_to_confirm(_to_confirm(self._planned, left)).without("--json")
            names = ", ".join(f"{name} ({why})" for name, why in left.items())
            say(
                f"Not confirmed, so not begun: {names}. The other runs go on. To confirm these:\n  {others}",
                "batch.left",
            )
        if not covered:
            return None, left
        runs = {
            run.name: {**{name: run.values[name] for name in PINNED}, "digest": run.digest, "spec": specs[run.name]}
            for run in self._planned
            if run.name in covered
        }
        user = process_facts(os.getpid())["user"]
        ids, digest = sum(run["ids"] for run in runs.values()), arguments.plan or self.to_confirm.digest
        confirmed = BatchConfirmed(_now(), ids, digest, how.value, user, runs)
        return with_mac(confirmed, make_key(arguments.here.environ)), left

    def _check_nothing_else_is_meant(self) -> None:
        """Raise NotConfirmed for options that confirm a plan which is not of this batch, where no run is due."""
        state, runs = self._log.progress, [run for run in self._planned if run.complete or run.needs_confirmation]
        known = {*state.given, *state.planned, ToConfirm.of(runs, {}).key}
        if self._arguments.plan is not None and self._given not in known:
            raise NotConfirmed(
                "not confirmed: --confirm and --plan are not those of a plan of this batch, and every run that can "
                f"begin is confirmed already. Nothing was sent. Without them:\n  {self._arguments.line}"
            )

    async def _covered(self) -> tuple[How, frozenset[str]]:
        """Confirm runs that are due, by the options or on the terminal. Returns how, and which runs are confirmed.

        Raises NotConfirmed when none is confirmed, and no other run can begin.
        """
        if self._arguments.plan is not None:
            return How.OPTIONS, self._by_options()
        if sys.stdin is not None and sys.stdin.isatty():
            await self._on_terminal()
            return How.TYPED, frozenset(self.due)
        if not self._others_begin:
            line = self._line_to_confirm(self.to_confirm)
            raise NotConfirmed(f"not confirmed: {due_words(self.due)}. Nothing was sent. To confirm:\n  {line}")
        return How.OPTIONS, frozenset()

    def _by_options(self) -> frozenset[str]:
        """Which runs --confirm and --plan confirm: each that is in their list of plans as it is now.

        Raises NotConfirmed when no run can begin.
        """
        state, now = self._log.progress, time.time()
        confirm, plan = given = self._arguments.confirm or 0, self._arguments.plan or ""
        covered = state.covered(given, self._planned, self.due, now)
        if given not in {*state.given, *state.planned} or not (covered or self._others_begin):
            why = _not_covered(state, given, self.to_confirm, now)
            raise NotConfirmed(
                f"not confirmed: --confirm {confirm} --plan {plan} {why}; {due_words(self.due)}. "
                f"Nothing was sent. If this plan is what you want{self._words_to_confirm()}"
            )
        return covered

    async def _on_terminal(self) -> None:
        """Ask for the number of ids that remain. Raises NotConfirmed for another one."""
        left_ids = sum(run.remaining for run in self._planned if run.name in self.due)
        ids = self.to_confirm.ids
        rest = "" if left_ids == ids else f", which remain of {ids:,},"
        total = f"{counted(left_ids, 'id')} of {counted(len(self.due), 'run')}{rest}"
        say(f"\n{total} will be sent: {due_words(self.due)}.", "question")
        if (typed := await line_typed("number of ids")) != str(left_ids):
            line = self._line_to_confirm(self.to_confirm)
            raise NotConfirmed(
                f"not confirmed: {typed!r} is not {left_ids}. Nothing was sent. To confirm without a "
                f"question:\n  {line}"
            )

    def _words_to_confirm(self) -> str:
        line = self._line_to_confirm(self.to_confirm)
        return words_to_confirm(line, self._arguments.confirm, self.to_confirm.ids)

    def _line_to_confirm(self, to_confirm: ToConfirm) -> CommandLine:
        """The command that confirms these runs. The log keeps its plan for a day, as it keeps the plan of `batch plan`.

        Only `batch plan` renews a plan that was given and is too old: no command renews its own plan.
        """
        arguments = self._arguments
        if to_confirm.key == self._given:
            line = replace(arguments.line, names=("plan", str(arguments.file)))
            return line.without("--not-after", "--stop-after-failures", "--listen", "--json")
        self._log.enqueue(_list_of(self._planned, to_confirm))
        return _confirming(arguments, to_confirm)


async def _plan_all(
    batch: Batch,
    state: BatchState,
    children: Supervisor,
    *,
    keeper: RateKeeper,
    arguments: BatchArguments,
    begin: Callable[[str], object],
) -> list[PlannedRun]:
    """Plan every run in a child process, so many at once. A run that is still complete is not planned again.

    begin: called with the name of each run whose plan begins. Raises UsageError for two runs with one pool and one
    export.
    """
    places, typed = asyncio.Semaphore(batch.parallel), [check_host(host) for host in arguments.here.hosts]
    pools = {name: str(values["pool"]) for name, values in state.confirmed.items()}
    groups = {
        name: f"plan of {one}"
        for name, one in plan_groups({run.name: run.marks(pools.get(run.name)) for run in batch.runs}).items()
    }
    for group, rate in group_rates((groups[run.name], batch.rate_of(run)) for run in batch.runs).items():
        keeper.set_rate(group, rate)

    async def plan_one(run: BatchRun) -> PlannedRun:
        log, export = run.place_in(batch.base), batch.base / run.export
        was_complete = state.is_complete(run.name, run.spec)
        async with places:
            still = Still.UNKNOWN
            if was_complete:
                still = await in_thread(lambda: whether_complete(log, export), lambda: None, stop_s=0)
            if still is Still.COMPLETE:
                return PlannedRun(run.name, state.confirmed[run.name], complete=True)
            if (trouble := _meant_for_the_day_before(run, state)) is not None:
                return PlannedRun(run.name, trouble=trouble, exit=NotConfirmed.exit_code)
            if still is Still.OLDER_LOG:
                return PlannedRun(run.name, state.confirmed[run.name], exit=NotAcceptable.exit_code, trouble=OLDER_LOG)
            begin(run.name)
            folder = batch.base / run.folder
            await in_thread(lambda: _make(folder), lambda: None)
            placed = run.placed(batch.base)
            words = placed.words("plan", {"json": True, "log_format": "json"})
            work = Work(words, placed.environment(arguments.here.environ), keeper.address(groups[run.name]))
            ended = await run_child(children, work, folder / PLAN_LOG, lambda _: None, again=work)
            window = run.options.get("not_after", batch.window)
            wanted = {**run.options, "export": run.export, "window": window, "place": run.place, "typed_hosts": typed}
            planned = planned_run(run.name, wanted, ended.result, ended.exit, ended.error)
            if still is Still.OTHER_EXPORT and planned.trouble:
                return replace(planned, trouble=f"its export is not the one of its log: {planned.trouble}")
            # Only a plan can compare some exports of complete runs, such as a workbook.
            return replace(planned, complete=was_complete and planned.values.get("complete", False))

    planned = await all_of(map(plan_one, batch.runs))
    if (pair := twins(planned)) is not None:
        raise UsageError(
            f"the runs {pair[0]!r} and {pair[1]!r} have one pool and one export, so each would count what the other "
            "has done. Nothing was sent. Leave one of them out"
        )
    return planned


def _until(batch: Batch) -> datetime | None:
    """Return when the batch has to stop. Raises UsageError for a text that is no time, and for a time in the past."""
    if batch.not_after is None:
        return None
    now = datetime.now(UTC)
    until = until_of(batch.not_after, now)
    if until <= now:
        raise UsageError(f"--not-after {batch.not_after!r}: has passed. Nothing was sent. Give a later time")
    return until


def _untils(batch: Batch, until: datetime | None) -> dict[str, datetime]:
    """When each run has to stop: at its own not_after, or with the batch if that is earlier.

    A time of day is read once, when the batch begins. Read later, after that time, it would mean the next day.
    until: when the batch has to stop.
    """
    now, found = datetime.now(UTC), dict[str, datetime]()
    for run in batch.runs:
        times = [] if until is None else [until]
        if "not_after" in run.options:
            with suppress(UsageError):  # the plan of this run says why
                times.append(until_of(str(run.options["not_after"]), now))
        if times:
            found[run.name] = min(times)
    return found


def _facts_of_stop(state: BatchState) -> Mapping[str, Any]:
    """What the last session of the batch has noted at its end. Empty without one.

    not_after: the time that has stopped it, ISO 8601; None when none did. stopped: the same for each run with a
    not_after of its own. Such a run may not have gone on since.
    """
    return {} if state.stop is None else state.stop.facts


def _meant_for_the_day_before(run: BatchRun, state: BatchState) -> str | None:
    """Why a run cannot begin: its not_after, a time of day, has just stopped it, and now means the next day."""
    text = str(run.options.get("not_after", ""))
    try:
        until = next_day(text, _facts_of_stop(state).get("stopped", {}).get(run.name), datetime.now(UTC))
    except UsageError:  # its plan says why
        until = None
    if until is None:
        return None
    return (
        f"its not_after {text} has just stopped it, and would now mean {until_words(until)}. If that is meant, "
        f'write not_after = "{until.isoformat()}"'
    )


def _not_confirmed(run: PlannedRun, why: Due) -> PlannedRun:
    """A run that cannot begin, because its plan was not confirmed."""
    return replace(run, trouble=f"it is not confirmed: {why}", exit=NotConfirmed.exit_code)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileFailed(f"{folder}: the folder of a run cannot be made: {error.strerror}. Nothing was sent") from error


def _to_confirm(planned: Sequence[PlannedRun], due: Mapping[str, Due]) -> ToConfirm:
    return ToConfirm.of([run for run in planned if run.name in due], due)


def _not_covered(state: BatchState, given: tuple[int, str], to_confirm: ToConfirm, now: float) -> str:
    """Why --confirm and --plan confirm no run. given: these two."""
    if given in state.planned and state.valid_list(given, now) is None:
        return "is a plan over a day old, or from the future"
    if given != to_confirm.key:
        return "is not this plan"
    return "is a plan from before a log was gone" if given in state.planned else "is not kept here"


def _confirming(arguments: BatchArguments, to_confirm: ToConfirm) -> CommandLine:
    """The command that confirms without a question."""
    return arguments.line.plus("--confirm", to_confirm.ids).plus("--plan", to_confirm.digest)


def _now() -> str:
    return stamp(time.time())
