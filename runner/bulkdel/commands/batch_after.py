"""`bulkdel batch status, ctl, verify`: the commands of one run, for all runs of a batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.takeover import is_locked
from bulkdel.command_line import CommandLine
from bulkdel.commands.batch import say_credentials
from bulkdel.commands.batch_words import shortened
from bulkdel.commands.several import StateOfRun, answers_of, look_at_all, print_answers, show_states, state_in
from bulkdel.core.batch import PlannedRun, first_that_applies, group_rates
from bulkdel.engine.signals import Signals, run_loop
from bulkdel.errors import NotAcceptable
from bulkdel.fleet.batch_child import RESTARTS, RunEnd, run_child
from bulkdel.fleet.batch_file import Batch, BatchRun, Here, read_batch
from bulkdel.fleet.batch_log import BATCH, read_state
from bulkdel.fleet.local import LocalProcesses
from bulkdel.fleet.placing import Work
from bulkdel.fleet.rate_keeper import RateKeeper, keeping_rate
from bulkdel.fleet.run_log import NOT_BEGUN
from bulkdel.fleet.supervisor import Supervisor
from bulkdel.format import counted, shown
from bulkdel.live.ask import ask_batch
from bulkdel.output import result
from bulkdel.place.opening import log_at
from bulkdel.tasks import all_of
from bulkdel.verify.session import DRAIN_S

VERIFY_LOG = "verify.log"
"""The file in the folder of a run with the stderr of its verification."""


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
    return show_states(
        lambda: (_states(batch, runs, environ), {"batch": _doing(batch, environ)}), as_json=json_too, watch=watch
    )


def _doing(batch: Batch, environ: Mapping[str, str]) -> str | None:
    """What the process of the batch does, in words: it plans the runs before the first of them has a log."""
    told = ask_batch(batch.log, "status", environ)
    return shown(told["text"]) if told is not None and told["ok"] else None


def _states(batch: Batch, runs: Sequence[BatchRun], environ: Mapping[str, str]) -> list[StateOfRun]:
    """Where the runs are."""
    kept = read_state(batch.log, batch.path)

    def state(run: BatchRun) -> StateOfRun:
        code = kept.ended[run.name].exit if run.name in kept.ended else None
        rows = int(kept.confirmed[run.name]["rows"]) if run.name in kept.confirmed else 0
        return state_in(run.place_in(batch.base), StateOfRun(run.name, NOT_BEGUN, rows, exit=code), environ)

    return look_at_all(runs, state)


OF_BATCH = frozenset({"stop", "pause", "resume"})
"""Commands that the process of the batch obeys, for all of its runs."""


def ctl(named: NamedRuns, words: Sequence[str], *, json_too: bool, environ: Mapping[str, str]) -> int:
    """Send a command to every run that is under way. Returns 2 when one refused it.

    The batch itself obeys what holds for runs that start or wait too. Raises NotAcceptable when none is under way.
    """
    (batch, runs), command = named.read("ctl"), " ".join(words)
    places = {run.name: run.place_in(batch.base) for run in runs}

    def of_batch() -> dict[str, Mapping[str, Any]]:
        told = None if named.only else ask_batch(batch.log, command, environ)
        return {} if told is None else {"batch": told}

    answers = of_batch() if command in OF_BATCH else {}
    answers = answers or answers_of(places, command, environ, all_alive=bool(named.only)) or of_batch()
    if not answers:
        if batch.log.exists() and is_locked(log_at(batch.log), BATCH):
            raise NotAcceptable(f"{named.file}: a batch is under way, and it does not answer. Stop its process")
        state = CommandLine("batch", ("status", str(named.file)))
        raise NotAcceptable(f"{named.file}: no run is under way. To see how the runs ended:\n  {state}")
    return print_answers(answers, {**places, "batch": batch.log}, as_json=json_too)


@dataclass(frozen=True, slots=True)
class BatchVerifyArguments:
    """The arguments of one `batch verify`. For an argument that is None, the value in the file of the batch holds.

    only: as of `NamedRuns`.
    """

    file: Path
    here: Here
    only: Sequence[str] = ()
    sample: int | None = None
    again: bool = False
    parallel: int | None = None
    rate_over_all: float | None = None
    json: bool = False


def verify(arguments: BatchVerifyArguments) -> int:
    """Verify every run in a process of its own. Returns the first exit code that applies."""
    here, environ = arguments.here, arguments.here.environ
    batch = read_batch(arguments.file)
    batch.check_typed(here, here.plus_options(CommandLine("batch", ("verify", str(arguments.file)))))
    say_credentials(batch, here)
    over_all = batch.rate_over_all if arguments.rate_over_all is None else arguments.rate_over_all
    engine, runs = LocalProcesses(environ), batch.only(arguments.only)
    children = Supervisor(engine, RESTARTS)
    places = asyncio.Semaphore(arguments.parallel or batch.parallel)
    more = [*(["--sample", str(arguments.sample)] if arguments.sample else []), *(["--again"] * arguments.again)]
    sending: list[int] = []
    confirmed = read_state(batch.log, batch.path).confirmed
    groups = {run.name: run.rate_group or _group(run.name, confirmed) for run in runs}
    rates = group_rates((groups[run.name], batch.rate_of(run)) for run in runs)

    async def verify_one(run: BatchRun, keeper: RateKeeper) -> RunEnd:
        async with places:
            if sending:
                return RunEnd(128 + sending[0], error="it was not started")
            placed = run.placed(batch.base)
            words = [*placed.verify_words(), "--json", "--log-format", "json", *more]
            work = Work(words, placed.environment(environ), keeper.address(groups[run.name]))
            return await run_child(children, work, batch.base / run.folder / VERIFY_LOG, lambda _: None)

    async def verify_all() -> list[RunEnd]:
        async with keeping_rate(rates, over_all=over_all) as keeper:
            return await all_of(verify_one(run, keeper) for run in runs)

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
    """The rate group: the host and pool of a run, as confirmed. An unconfirmed run has nothing to verify."""
    return PlannedRun(name, confirmed[name]).group if name in confirmed else name
