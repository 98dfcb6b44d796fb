"""`bulkdel plan --out`: the plan as a file for another user. It is a new file, mode 0600, and whole or not there."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine
from bulkdel.core.log_entries import stamp
from bulkdel.core.plan_file import FORMAT, FORMAT_MEMBER, SHA256, sealed, text_of, valid_until
from bulkdel.durable import atomic_file
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.format import printable
from bulkdel.options import CONFIRMING
from bulkdel.safety.checks import sample_trouble
from bulkdel.safety.plan_facts import file_values
from bulkdel.safety.plan_file import OTHER_USER, PlanFile, given_words, this_user
from bulkdel.safety.protect import requires_other_user
from bulkdel.safety.run_plan import RunArguments, RunPlan


@dataclass(frozen=True, slots=True)
class Written:
    """A plan that was written. run: the command that runs it."""

    file: PlanFile
    run: CommandLine

    def lines(self) -> list[str]:
        """What to do with it."""
        path, until = self.file.path, valid_until(self.file.values)
        return [
            f"Nothing was changed. The plan is in {path}, and is valid until {until}.",
            "It holds no id: give it to the user who approves it. To read it:",
            f"  {CommandLine('show', (str(path),))}",
            "To run it, on any machine that has the export:",
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


def check_out(path: Path, arguments: RunArguments) -> None:
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


def why_refused(plan: RunPlan) -> BulkdelError | None:
    """The error with which a run of this plan would end before its confirmation; None for one that can begin."""
    trouble = sample_trouble(plan)
    return None if trouble is None else Halted(trouble)


def why_not_written(plan: RunPlan, path: Path) -> BulkdelError | None:
    """The error for a plan that could not be run, so it is not written either; None for one that can."""
    said = f"{path}: this plan could not be run, so it was not written: "
    if plan.ids == 0:
        return NotAcceptable(f"{said}there is nothing to {plan.words.verb}")
    if plan.complete:
        status = CommandLine("status", (str(plan.run),))
        return NotAcceptable(f"{said}its run is complete already: {status}")
    if plan.pool is None:
        return UsageError(f"{said}the pool is known only after a sign-in. For credentials: {plan.target.key_hint}")
    trouble = sample_trouble(plan)
    return None if trouble is None else Halted(f"{said}{trouble}")


def write_plan(plan: RunPlan, path: Path) -> Written:
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
    return Written(written, written.shortened(replace(line, command="run").without(*CONFIRMING, "--json")))
