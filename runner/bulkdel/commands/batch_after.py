"""`bulkdel batch status, ctl, verify, report, results`: what one run has, for all runs of a batch."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.under_way import holder, is_locked
from bulkdel.command_line import CommandLine
from bulkdel.commands.batch import say_credentials
from bulkdel.commands.batch_words import shortened
from bulkdel.commands.report import ReportArguments
from bulkdel.commands.report import report as report_runs
from bulkdel.commands.results import UNREAD, print_results
from bulkdel.commands.status import live_status
from bulkdel.commands.watch import reader_left
from bulkdel.core.batch import PlannedRun, first_that_applies, group_rates
from bulkdel.core.summary import counts_of, state_of
from bulkdel.engine.signals import Signals, run_loop
from bulkdel.engine.threads import in_thread
from bulkdel.errors import BulkdelError, FileFailed, NotAcceptable, UsageError
from bulkdel.fleet.batch_file import CONFIG, Batch, BatchRun, read_batch
from bulkdel.fleet.batch_log import BATCH, read_state
from bulkdel.fleet.children import ChildEnded, Children
from bulkdel.fleet.local import LocalProcesses
from bulkdel.fleet.placing import Work
from bulkdel.fleet.rate_keeper import RateKeeper, keeping_rate
from bulkdel.fleet.run_log import NOT_BEGUN, RUNNING
from bulkdel.format import counted, shown
from bulkdel.live.ask import ask, ask_batch
from bulkdel.live.status_lines import answer_text
from bulkdel.output import Stdout, result, say, say_error
from bulkdel.place.opening import log_at, log_place
from bulkdel.verify.session import DRAIN_S

VERIFY_LOG = "verify.log"
"""In the folder of a run: what its verification writes to stderr."""

EVERY_S = 2.0
"""Between two looks of `--watch` on a terminal that can redraw its lines."""

PRINTED_EVERY_S = 10.0
"""Between two looks elsewhere: each adds its lines."""

CLEAR = "\x1b[H\x1b[2J"
"""Empties a terminal. It is written apart from the texts, in which everything that steers a terminal is escaped."""

LOOKS_AT_ONCE = 32
"""So many runs are looked at at the same time: whether a process writes a log in a store shows after up to 11 s."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunState:
    """Where one run of a batch is, from its log and from its process.

    counts: rows by outcome, in the words of its job. exit: of its last process in the batch; None without one.
    live: the status of its process; None when none can be asked.
    """

    name: str
    state: str
    rows: int = 0
    settled: int = 0
    counts: Mapping[str, int] | None = None
    exit: int | None = None
    live: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **(self.counts or {}),
            "name": self.name,
            "status": self.state,
            "rows": self.rows,
            "settled": self.settled,
            "exit_code": self.exit,
            "live": self.live,
        }


@dataclass(frozen=True, slots=True)
class NamedRuns:
    """Which runs are meant. file: of the batch. only: the names of some runs; none for all.

    addresses: those that the file may name.
    """

    file: Path
    only: Sequence[str] = ()
    addresses: Sequence[str] = ()

    def read(self, command: str) -> tuple[Batch, Sequence[BatchRun]]:
        """The batch, and the runs that are meant. Raises UsageError, also for an address that only the file names."""
        batch = read_batch(self.file)
        batch.check_addresses(self.addresses, CommandLine("batch", (command, str(self.file))))
        return batch, batch.only(self.only)


def status(named: NamedRuns, *, json_too: bool, watch: bool, environ: Mapping[str, str]) -> int:
    """Show the state of every run. With `watch`, again and again until none is under way, or nothing reads it."""
    batch, runs = named.read("status")
    redraws = watch and Stdout().isatty() and environ.get("TERM") != "dumb"
    while True:
        states, doing = _states(batch, runs, environ), _doing(batch, environ)
        if json_too:
            values = {"runs": [state.to_json() for state in states], "totals": _totals(states), "batch": doing}
            result(json.dumps(values))
            return 0
        own = () if doing is None else (f"The batch is under way, {doing}",)
        if redraws:
            Stdout().write(CLEAR)
        result("\n".join((*_state_lines(states), *own)))
        if not watch or (doing is None and all(state.state != RUNNING for state in states)):
            return 0
        time.sleep(EVERY_S if redraws else PRINTED_EVERY_S)
        if reader_left():
            return UNREAD


def _doing(batch: Batch, environ: Mapping[str, str]) -> str | None:
    """What the process of the batch does, in words: it plans the runs before the first of them has a log."""
    told = ask_batch(batch.log, "status", environ)
    return shown(told["text"]) if told is not None and told["ok"] else None


def _at_once(runs: Sequence[BatchRun], look: Callable[[BatchRun], T]) -> list[T]:
    """Look at these runs at the same time, and return what was found, in their order."""

    async def look_at_all() -> list[T]:
        places = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def look_at(run: BatchRun) -> T:
            async with places:
                return await in_thread(lambda: look(run), lambda: None, stop_s=0)

        return await asyncio.gather(*map(look_at, runs))

    return asyncio.run(look_at_all())


def _states(batch: Batch, runs: Sequence[BatchRun], environ: Mapping[str, str]) -> list[RunState]:
    """Where the runs are."""
    kept = read_state(batch.log, batch.path)

    def state(run: BatchRun) -> RunState:
        code = kept.ended[run.name].exit if run.name in kept.ended else None
        rows = int(kept.confirmed[run.name]["rows"]) if run.name in kept.confirmed else 0
        return _state(run, run.place_in(batch.base), RunState(run.name, NOT_BEGUN, rows, exit=code), environ)

    return _at_once(runs, state)


def _state(run: BatchRun, log: Path, before: RunState, environ: Mapping[str, str]) -> RunState:
    """Read the log of a run. One that cannot be read is told of, and does not hide the other runs.

    before: its state without a log, as far as the log of the batch says.
    """
    place = log_place(log)
    try:
        if is_fresh(place):
            return before
        progress = read_log(place).progress
        live = None if progress.under_way is None else live_status(log, environ)
        running = live is not None or holder(place, progress) is not None
    except NotAcceptable as error:
        return replace(before, state=f"its log cannot be read: {shortened(str(error))}")
    counts, rows = counts_of(progress), progress.rows
    settled = rows - progress.remaining if live is None else live.get("settled", rows - progress.remaining)
    state = RUNNING if running else state_of(progress)
    return RunState(run.name, state, rows, settled, counts, None if running else before.exit, live)


def _state_lines(states: Sequence[RunState]) -> Iterator[str]:
    width = max(len(state.name) for state in states)
    for state in states:
        share = f"{state.settled:>13,} of {state.rows:,} rows" if state.rows else ""
        doing = ""
        if state.live is not None:
            waits = state.live.get("waiting") or state.live.get("doing")
            doing = f", {shown(waits)}" if waits else f", {state.live.get('per_s', 0):,.0f} ids/s"
        yield f"  {state.name:<{width}}  {state.state:<11} {share}{doing}".rstrip()
    totals, phases = _totals(states), Counter(state.state for state in states)
    rows = f"{totals['settled']:,} of {totals['rows']:,} rows"
    yield f"{rows}; runs: " + ", ".join(f"{count:,} {name}" for name, count in phases.items())


def _totals(states: Sequence[RunState]) -> dict[str, int]:
    totals = Counter[str]()
    for state in states:
        totals.update({**(state.counts or {}), "rows": state.rows, "settled": state.settled})
    return dict(totals)


OF_BATCH = frozenset({"stop", "pause", "resume"})
"""Commands that the process of the batch obeys, for all of its runs."""


def ctl(named: NamedRuns, words: Sequence[str], *, json_too: bool, environ: Mapping[str, str]) -> int:
    """Send a command to every run that is under way. Returns 2 when one refused it.

    The batch itself obeys what holds for runs that start or wait too. Raises NotAcceptable when none is under way.
    """
    (batch, runs), only = named.read("ctl"), named.only
    if " ".join(words) in OF_BATCH and not only and (told := ask_batch(batch.log, words[0], environ)) is not None:
        result(json.dumps({"batch": told}) if json_too else f"  batch  {shown(told['text'])}")
        return 0 if told["ok"] else UsageError.exit_code

    def answer_of(run: BatchRun) -> Mapping[str, Any] | None:
        log = run.place_in(batch.base)
        try:
            return ask(log, " ".join(words), environ)
        except NotAcceptable as error:
            if only:
                raise
            place = log_place(log)
            under_way = not is_fresh(place) and holder(place, read_log(place).progress) is not None
            return {"ok": False, "text": str(error), "status": None} if under_way else None

    found = zip(runs, _at_once(runs, answer_of), strict=True)
    answers = {run.name: answer for run, answer in found if answer is not None}
    if not answers and not only and (told := ask_batch(batch.log, " ".join(words), environ)) is not None:
        answers["batch"] = told
    if not answers:
        if batch.log.exists() and is_locked(log_at(batch.log), BATCH):
            raise NotAcceptable(f"{named.file}: a batch is under way, and it does not answer. Stop its process")
        state = CommandLine("batch", ("status", str(named.file)))
        raise NotAcceptable(f"{named.file}: no run is under way. To see how the runs ended:\n  {state}")
    if json_too:
        result(json.dumps(answers))
    width, logs = max(map(len, answers)), {run.name: run.place_in(batch.base) for run in runs}
    for name, answer in answers.items() if not json_too else ():
        text = answer["text"] or f"{answer['status']['state']}, {answer['status'].get('settled', 0):,} rows settled"
        text = answer_text(logs.get(name, batch.log), text)
        result(f"  {name:<{width}}  {'' if answer['ok'] else 'refused: '}{text}")
    return 0 if all(answer["ok"] for answer in answers.values()) else UsageError.exit_code


@dataclass(frozen=True, slots=True)
class VerifyArguments:
    """The arguments of one `batch verify`. Those that are None are as the file of the batch says.

    hosts, config: as of `batch run`.
    """

    named: NamedRuns
    environ: Mapping[str, str] = field(repr=False)
    sample: int | None = None
    again: bool = False
    parallel: int | None = None
    rate_over_all: float | None = None
    json: bool = False
    hosts: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)


def verify(arguments: VerifyArguments) -> int:
    """Verify every run in a process of its own. Returns the first exit code that applies."""
    named, environ = arguments.named, arguments.environ
    batch = read_batch(named.file)
    line = CommandLine("batch", ("verify", str(named.file))).plus_given({"--config": environ.get(CONFIG)})
    batch.check_typed(arguments.hosts, named.addresses, arguments.config, environ, line)
    say_credentials(batch, arguments.config)
    over_all = batch.rate_over_all if arguments.rate_over_all is None else arguments.rate_over_all
    engine, runs = LocalProcesses(environ), batch.only(named.only)
    children = Children(engine)
    places = asyncio.Semaphore(arguments.parallel or batch.parallel)
    more = [*(["--sample", str(arguments.sample)] if arguments.sample else []), *(["--again"] * arguments.again)]
    sending: list[int] = []
    confirmed = read_state(batch.log, batch.path).confirmed
    groups = {run.name: run.rate_group or _group(run.name, confirmed) for run in runs}
    rates = group_rates((groups[run.name], batch.rate_of(run)) for run in runs)

    async def verify_one(run: BatchRun, keeper: RateKeeper) -> ChildEnded:
        async with places:
            if sending:
                return ChildEnded(128 + sending[0], error="it was not started")
            placed = run.placed(batch.base)
            words = [*placed.verify_words(), "--json", "--log-format", "json", *more]
            work = Work(words, placed.environment(environ), keeper.address(groups[run.name]))
            return await children.run(work, batch.base / run.folder / VERIFY_LOG, lambda _: None)

    async def verify_all() -> list[ChildEnded]:
        async with keeping_rate(rates, over_all=over_all) as keeper:
            return list(await asyncio.gather(*(verify_one(run, keeper) for run in runs)))

    def drain(signum: int) -> bool:
        sending.append(signum)
        return children.drain(signum, DRAIN_S)

    with Signals(engine.leave) as signals:
        ended = run_loop(verify_all(), signals, lambda: "verifying the runs", drain)
    code = first_that_applies(each.exit for each in ended)
    values = [
        {**each.result, "name": run.name, "exit_code": each.exit, "why": each.error or None}
        for run, each in zip(runs, ended, strict=True)
    ]
    if arguments.json:
        result(json.dumps({"runs": values, "exit_code": code}))
        return code
    width = max(len(run.name) for run in runs)
    for found in values:
        names = ("gone", "still_there", "could_not_tell")
        counts = ", ".join(f"{found[name]:,} {name.replace('_', ' ')}" for name in names if name in found)
        why = shortened(str(found["why"])) if found["why"] else ""
        result(f"  {found['name']:<{width}}  {counts or why} ({found['exit_code']})")
    result(f"{counted(len(runs), 'run')} verified, exit code {code}")
    return code


def _group(name: str, confirmed: Mapping[str, Mapping[str, Any]]) -> str:
    """What has one rate: the host and pool of a run, as it was confirmed. One that was not has nothing to verify."""
    return PlannedRun(name, confirmed[name]).group if name in confirmed else name


def report(named: NamedRuns, arguments: ReportArguments) -> int:
    """Write one report of the runs that have begun. arguments: without logs."""
    (batch, runs), file = named.read("report"), named.file
    logs = [log for run in runs if not is_fresh(log_place(log := run.place_in(batch.base)))]
    if not logs:
        raise NotAcceptable(f"{file}: no run has begun, so there is nothing to report")
    if missing := len(runs) - len(logs):
        say(f"{counted(missing, 'run', 'has', 'have')} not begun, and so no part in the report.")
    if arguments.out is None and sys.stdout is not None and sys.stdout.isatty():
        arguments = ReportArguments(
            (), Path(f"{file}.report.html"), arguments.title, arguments.ticket, arguments.no_names
        )
    typed = (arguments.out, arguments.title, arguments.ticket, arguments.no_names)
    return report_runs(ReportArguments(logs, *typed))


@dataclass(frozen=True, slots=True)
class ResultsArguments:
    """The arguments of one `batch results`. outcomes, format, hash_ids: as `only` and the others of `results`."""

    named: NamedRuns
    out: Path
    outcomes: str | None = None
    format: str = "jsonl"
    hash_ids: Path | None = None


def results(arguments: ResultsArguments) -> int:
    """Write the outcomes of every run to a file of its own. Returns the first exit code that applies."""
    batch, runs = arguments.named.read("results")
    logs = {run.name: run.place_in(batch.base) for run in runs}
    begun: dict[str, Path] = {}
    codes = []
    for name, log in logs.items():
        try:
            if is_fresh(log_place(log)):
                say(f"{name}: has not begun, so it has no results.")
            else:
                begun[name] = log
        except NotAcceptable as error:
            codes.append(_told(name, error))
    if not begun and not codes:
        raise NotAcceptable(f"{arguments.named.file}: no run has begun, so there are no results. Nothing was written")
    try:
        arguments.out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileFailed(f"--out {arguments.out}: {error.strerror}. Nothing was written") from error
    for name, log in begun.items():
        try:
            codes.append(
                print_results(
                    log,
                    only=arguments.outcomes,
                    format_=arguments.format,
                    out=arguments.out / f"{name}.{arguments.format}",
                    export=None,
                    hash_ids=arguments.hash_ids,
                )
            )
        except BulkdelError as error:  # the results of the other runs are written all the same
            codes.append(_told(name, error))
    return first_that_applies(codes)


def _told(name: str, error: BulkdelError) -> int:
    """Say why a run has no results. Returns the exit code."""
    say(f"{name}:")
    say_error(error)
    return error.exit_code
