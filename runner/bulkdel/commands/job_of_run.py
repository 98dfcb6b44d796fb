"""The job of a run, its API and the tables of a config that it reads, as the log of the run has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkdel.core.mac import mac_holds
from bulkdel.core.run_state import RunState
from bulkdel.job import Job, TargetOptions, load_job
from bulkdel.own_key import read_key
from bulkdel.parameters import from_pinned
from bulkdel.safety.protect import PROTECT


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
