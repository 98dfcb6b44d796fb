"""The host that a log or a plan names.

No key is sent to it unless the job, or the config or environment of this machine, has the host, or it is typed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bulkdel.command_line import TO_TYPE, CommandLine
from bulkdel.errors import BulkdelError, UsageError
from bulkdel.format import shown_host
from bulkdel.job import Job, TargetOptions


def check_named_host(job: Job, options: TargetOptions, file: Path, line: CommandLine) -> None:
    """Refuse, before the first sign-in, a host that only a file names. Raises UsageError with the command to complete.

    options: with the host of the file. Its table and its environment are this machine's. line: without --host.
    """
    if options.host is None or is_own_host(job, options):
        return
    raise UsageError(
        f"{file}: names the host {shown_host(options.host)}, which is neither the usual host of {job.name} nor in your "
        f"config. Your key would go there. Nothing was sent. If this host is meant, type it for {TO_TYPE}:\n"
        f"  {line.plus('--host', TO_TYPE)}"
    )


def is_own_host(job: Job, options: TargetOptions) -> bool:
    """Whether the job has this host without the file that names it."""
    try:
        job = job.configured(options.config)
        own = job.target(replace(options, host=None))
    except UsageError:  # it has no host of its own
        return False
    return own.pinned_host == job.target(options).pinned_host


def host_of(job: Job, options: TargetOptions) -> str:
    """The host where the credentials of this job go, for people. A job that cannot be used has no run."""
    try:
        return job.configured(options.config).target(options).pinned_host
    except BulkdelError:
        return options.host or f"the host of {job.name}"
