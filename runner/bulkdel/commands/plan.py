"""`bulkdel plan`: makes the preflight and the plan, shows it, and writes it to a file. Deletes nothing.

The file of --out is for another user. It is a new file, mode 0600, and whole or not there.
"""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.command_line import CommandLine
from bulkdel.commands.steps import run_shown, run_step
from bulkdel.core.log_entries import stamp
from bulkdel.core.plan_file import FORMAT, FORMAT_MEMBER, SHA256, sealed, text_of, valid_until
from bulkdel.durable import atomic_file
from bulkdel.engine.signals import Signals
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.format import printable
from bulkdel.options import CONFIRMING
from bulkdel.output import columns, result, result_line
from bulkdel.place.opening import log_place
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.safety.plan_facts import In, file_values, plan_lines, values_in
from bulkdel.safety.plan_from_file import OTHER_USER, PlanFile, given_words, this_user
from bulkdel.safety.preparation import (
    Asking,
    check_arguments,
    exclude_looked_up,
    find_target,
    prepare,
    with_sample_check,
)
from bulkdel.safety.protect import requires_other_user
from bulkdel.safety.run_plan import RunArguments, RunPlan
from bulkdel.safety.server_checks import sample_trouble
from bulkdel.settings import PlanSettings


def plan(arguments: RunArguments) -> int:
    """Make the preflight and the plan; with a checkpoint, that of its resume. No object that could delete is made."""
    out = arguments.settings.out if isinstance(arguments.settings, PlanSettings) else None
    with ExitStack() as stack, Signals() as signals:
        reading = ReadingProgress()
        with signals.phase(lambda: reading.text):
            check_arguments(arguments)
            if out is not None:
                _check_out(out, arguments)
            target, rng = find_target(arguments), random.Random()  # noqa: S311 - a sample, not a secret
            path = arguments.run
            log = None if is_fresh(log_place(path)) else read_log(log_place(path)).progress
            now = datetime.now(UTC)
            step = partial(prepare, arguments, target, log, stack, reading, now=now, rng=rng)
            found = run_step(step, reading, arguments.settings, signals)
        if found.target.key is not None and found.ids and not found.complete:
            asking = Asking(found)
            checking = with_sample_check(found, asking)
            found = run_shown(checking, lambda: asking.text, arguments.settings, signals)
            if not found.rows_known:
                found = run_step(partial(exclude_looked_up, found, reading), reading, arguments.settings, signals)
        values = values_in(found, In.JSON)
        fault = _why_refused(found, out)
        written = None if out is None or fault is not None else _write_plan(found, out)
        if arguments.settings.json:
            result(json.dumps(values if written is None else {**values, **written.to_json()}))
        elif written is not None:
            for line in (*plan_lines(found, columns()), *written.lines()):
                result_line(line)
        else:
            _show(found)
        if fault is not None:
            raise fault
        return 0


def _show(found: RunPlan) -> None:
    for line in plan_lines(found, columns()):
        result_line(line)
    status = CommandLine("status", (str(found.run),))
    if found.ids == 0:
        result(f"There is nothing to {found.words.verb}.")
    elif found.complete:
        result(f"This run is complete already: {status}")
        return
    elif found.pool is None:
        result(f"Not signed in, so neither the pool nor the ids were checked. To sign in: {found.target.key_hint}.")
    elif found.progress is not None:
        result(f"A run is there already, so `run` goes on with it: {status}")
    if not found.ids or found.arguments.settings.sandbox or sample_trouble(found) is not None:
        return
    if requires_other_user(found.arguments.config):
        result(f"{found.words.nothing}. To have this plan approved by another user:\n  {found.arguments.planning_line}")
    else:
        result(f"{found.words.nothing}. To run this plan:\n  {found.confirming_line}")


@dataclass(frozen=True, slots=True)
class _Written:
    """A plan that was written. run: the command that runs it."""

    file: PlanFile
    run: CommandLine

    def lines(self) -> list[str]:
        """What to do with it."""
        path, until = self.file.path, valid_until(self.file.values)
        return [
            f"Nothing was changed. The plan is in {path}, and is valid until {until}.",
            "It holds no id: give it to the person who approves it. To read it:",
            f"  {CommandLine('show', (str(path),))}",
            "To run it, where the export and the exclude files are the same. It asks nothing more:",
            f"  {self.run}",
        ]

    def to_json(self) -> dict[str, Any]:
        """What `plan --json` says of it."""
        values = self.file.values
        return {
            "plan_file": {
                "path": printable(self.file.path),
                SHA256: self.file.sha256,
                "planned_at": values["planned_at"],
                "valid_until": valid_until(values),
            },
            "command": self.run.words,
        }


def _check_out(path: Path, arguments: RunArguments) -> None:
    """Refuse, before the export is read, a file that cannot be written. Raises UsageError."""
    if arguments.settings.sandbox:
        raise UsageError(
            "--out: a run with --sandbox needs no approval. To practise one, start `bulkdel sandbox` and name it with "
            "--host"
        )
    if os.path.lexists(path):
        raise UsageError(f"--out {path}: is there already. Name a new file; a plan that was approved is not replaced")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--out {path}: the folder {path.absolute().parent} does not exist; make it first")


def _why_refused(plan: RunPlan, out: Path | None) -> BulkdelError | None:
    """The error with which a run of this plan would end before its confirmation; None for one that can begin.

    out: where the plan is to be written; one that could not be run is not.
    """
    said = "" if out is None else f"{out}: this plan could not be run, so it was not written: "
    if out is not None and plan.ids == 0:
        return NotAcceptable(f"{said}there is nothing to {plan.words.verb}")
    if out is not None and plan.complete:
        status = CommandLine("status", (str(plan.run),))
        return NotAcceptable(f"{said}its run is complete already: {status}")
    if out is not None and plan.pool is None:
        return UsageError(f"{said}the pool is known only after a sign-in. For credentials: {plan.target.key_hint}")
    trouble = sample_trouble(plan)
    return None if trouble is None else Halted(f"{said}{trouble}")


def _write_plan(plan: RunPlan, path: Path) -> _Written:
    """Write the plan. Raises UsageError when the file is there, and FileFailed."""
    arguments = plan.arguments
    line, config = plan.whole_line, arguments.settings.config
    values = sealed(
        {
            FORMAT_MEMBER: FORMAT,
            "tool": f"bulkdel {version('bulkdel')}",
            "planned_at": stamp(time.time()),
            "planned_by": this_user(arguments.claimed),
            OTHER_USER: requires_other_user(arguments.config),
            **file_values(plan),
            "config": None if config is None else printable(config),
            "command": {"names": [printable(name) for name in line.names], "options": given_words(line, arguments.job)},
        }
    )
    try:
        with atomic_file(path, lambda _new, _old: False) as file:
            file.write(text_of(values).encode())
    except FileExistsError:
        raise UsageError(f"--out {path}: is there already. Name a new file") from None
    except OSError as error:
        raise FileFailed(f"{path}: the plan cannot be written: {error.strerror}. Nothing was sent") from error
    written = PlanFile.read(path)
    return _Written(written, written.shortened(replace(line, command="run").without(*CONFIRMING, "--json")))
