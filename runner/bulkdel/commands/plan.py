"""`bulkdel plan`: makes the preflight and the plan, shows it, and writes it to a file. Deletes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.command_line import CommandLine
from bulkdel.commands.plan_out import check_out, why_not_written, why_refused, write_plan
from bulkdel.commands.steps import showing
from bulkdel.engine.signals import Signals, run_loop
from bulkdel.engine.threads import in_thread
from bulkdel.http.client import connect_in
from bulkdel.output import result, result_line
from bulkdel.place.opening import log_place
from bulkdel.safety.checks import check_arguments, sample_trouble
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.safety.plan_facts import In, plan_lines, values_in
from bulkdel.safety.preparation import Asking, exclude_looked_up, excludes_more, find_target, prepare, with_sample_check
from bulkdel.safety.protect import requires_other_user
from bulkdel.safety.run_plan import RunArguments, RunPlan
from bulkdel.settings import PlanSettings, Settings


def plan(arguments: RunArguments) -> int:
    """Make the preflight and the plan; with a checkpoint, that of its resume. No object that could delete is made."""
    out = arguments.settings.out if isinstance(arguments.settings, PlanSettings) else None
    with ExitStack() as stack, Signals() as signals:
        reading = ReadingProgress()
        with signals.phase(lambda: reading.text):
            check_arguments(arguments)
            if out is not None:
                check_out(out, arguments)
            target, rng = find_target(arguments), random.Random()  # noqa: S311 - a sample, not a secret
            path = arguments.run
            log = None if is_fresh(log_place(path)) else read_log(log_place(path)).progress
            now = datetime.now(UTC)
            step = partial(prepare, arguments, target, log, stack, reading, now=now, rng=rng)
            found = run_loop(_shown(step, reading, arguments.settings), signals)
        if found.target.key is not None and found.ids and not found.complete:
            asking = Asking(found)
            found = run_loop(_asked(found, asking, arguments), signals, lambda: asking.text)
            if excludes_more(found):
                found = run_loop(
                    _shown(partial(exclude_looked_up, found, reading), reading, arguments.settings), signals
                )
        values = values_in(found, In.JSON)
        fault = why_refused(found) if out is None else why_not_written(found, out)
        written = None if out is None or fault is not None else write_plan(found, out)
        if arguments.settings.json:
            result(json.dumps(values if written is None else {**values, **written.to_json()}))
        elif written is not None:
            for line in (*plan_lines(found), *written.lines()):
                result_line(line)
        else:
            _show(found)
        if fault is not None:
            raise fault
        return 0


async def _asked(found: RunPlan, asking: Asking, arguments: RunArguments) -> RunPlan:
    async with showing(lambda: asking.text, arguments.settings):
        return await with_sample_check(found, asking, connect=connect_in(arguments.environ))


async def _shown(step: Callable[[], RunPlan], reading: ReadingProgress, settings: Settings) -> RunPlan:
    async with showing(lambda: reading.text, settings):
        return await in_thread(step, reading.stop)


def _show(found: RunPlan) -> None:
    for line in plan_lines(found):
        result_line(line)
    if found.ids == 0:
        result(f"There is nothing to {found.words.verb}.")
    elif found.complete:
        status = CommandLine("status", (str(found.run),))
        result(f"This run is complete already: {status}")
        return
    elif found.pool is None:
        result("Not signed in: without credentials neither the pool nor the ids could be checked.")
    elif found.progress is not None:
        status = CommandLine("status", (str(found.run),))
        result(f"A run is there already, so `run` goes on with it: {status}")
    if not found.ids or found.arguments.settings.sandbox or sample_trouble(found) is not None:
        return
    if requires_other_user(found.arguments.config):
        result(f"{found.words.nothing}. To have this plan approved by another user:\n  {found.arguments.planning_line}")
    else:
        result(f"{found.words.nothing}. To run this plan:\n  {found.confirming_line}")
