"""How a run goes on that was moved or copied to another folder: its command, with the files that lie there.

The log has the command and the folder of its last session. After a move they may be those of another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkdel.command_line import (
    RUN_AGAIN,
    CommandLine,
    NextCommand,
    how_to_resume,
    next_command,
    why_not_resumed,
)
from bulkdel.core.mac import mac_holds
from bulkdel.core.run_state import RunState
from bulkdel.format import printable
from bulkdel.job import Job, TargetOptions, load_job
from bulkdel.own_key import read_key
from bulkdel.parameters import from_pinned, options_of_run
from bulkdel.run_place import home_of, is_same
from bulkdel.safety.protect import PROTECT
from bulkdel.store_path import StorePath


def job_of(name: str, command: str) -> Job:
    """The job whose options a command that goes on has: that of the run, or its undo. Raises UsageError."""
    job = load_job(name)
    return job if command != "restore" or job.undo is None else load_job(job.undo)


def target_options(
    job: Job, progress: RunState, run: Path, config: Mapping[str, Any], environ: Mapping[str, str]
) -> TargetOptions:
    """The API of a run, as its log has it. config: all tables. Raises NotAcceptable for parameters of another job."""
    trusted = mac_holds(progress.start, read_key(environ))
    parameters = from_pinned(job, progress.header.parameters, run, trusted=trusted)
    return TargetOptions(progress.header.pinned["host"], config.get(job.config_table, {}), environ, parameters)


def tables_of(job: Job) -> frozenset[str]:
    """The tables of a config file that a run of this job, and its restore, read. Raises UsageError."""
    return frozenset({PROTECT, job.config_table, *([] if job.undo is None else [load_job(job.undo).config_table])})


def how_to_go_on(progress: RunState, run: Path, own_key: bytes | None) -> str:
    """What resumes the run, where it is now, in words. run: its place."""
    found = next_or_why(progress, run, own_key)
    if isinstance(found, str):
        return found
    if found.line.command != "restore" and has_moved(progress, run):
        found = replace(found, line=CommandLine("resume", (str(run),)), folder="")
    return how_to_resume(progress, found)


def next_or_why(progress: RunState, run: Path, own_key: bytes | None) -> NextCommand | str:
    """The command that resumes the run, or why none does and what to do."""
    try:
        found = next_of(progress, run, own_key)
    except ValueError:
        found = None
    if found is not None and progress.handed_over is None and found.line.command == "restore":
        return found
    return why_not_resumed(progress, run, options_of_run(progress.header.pinned["job"])) or found or RUN_AGAIN


def next_of(progress: RunState, run: Path, own_key: bytes | None) -> NextCommand:
    """The command that resumes the run where it is now. See `next_command`."""
    start, of_job = progress.start, options_of_run(progress.header.pinned["job"])
    if start is None or not has_moved(progress, run):
        return next_command(progress, run, of_job, own_key)
    found = next_command(progress, run, of_job, own_key, moved=printable(_folder_of(run.absolute(), start.facts)))
    if found.line.names:
        return found
    # An approved plan has them.
    return replace(found, line=replace(found.line, names=(progress.header.pinned["job"], progress.header.export_path)))


def has_moved(progress: RunState, run: Path) -> bool:
    """Whether the place is another folder than that of the last session: moved, copied or unpacked."""
    start = progress.start
    was = run if start is None else Path(str(start.facts.get("run", run)))
    return not (isinstance(run, StorePath) or is_same(was, run))


def _folder_of(run: Path, facts: Mapping[str, Any]) -> Path:
    """The folder that has the part of that of the last session. facts: of its start.

    It is the one from which the place has the same name as then, where the whole folder was moved.
    """
    was, cwd = Path(str(facts.get("run", ""))), Path(str(facts.get("cwd", "")))
    if was.is_relative_to(cwd) and run.parts[-len(named := was.relative_to(cwd).parts) :] == named:
        return run.parents[len(named) - 1]
    return home_of(run)
