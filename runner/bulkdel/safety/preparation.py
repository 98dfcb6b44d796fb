"""Everything before the first request: checks the arguments, reads the export, finds the target. Sends nothing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bulkdel.core.bad_rows import MAX_INVALID, MaxInvalid
from bulkdel.core.id_set import IdSet
from bulkdel.core.retry import SAMPLE_SIZE
from bulkdel.core.run_state import Progress
from bulkdel.errors import BulkdelError
from bulkdel.export import Export, ReadOptions, fingerprint, open_export, preflight
from bulkdel.export.recognise import recognise
from bulkdel.export.spool import SPOOLED
from bulkdel.http.connect import Connect, connect
from bulkdel.job import Target, TargetOptions
from bulkdel.safety.checks import (
    TABLE,
    Protection,
    check_apart,
    check_backup,
    check_excluded,
    check_max,
    check_pool,
    checked_id_type,
    checked_until,
    refuse_differences,
)
from bulkdel.safety.exclude import Excluded, read_excluded
from bulkdel.safety.run_plan import CheckedExport, Plan, RunArguments
from bulkdel.safety.sample import sample_check

INVALID = ".invalid"
"""The ending, after the export's name, of the file with the rows that --on-invalid skip leaves out."""


class Stopped(BulkdelError):
    """The reading was told to stop."""


class ReadingProgress:
    """The progress of reading the export, in words. Another thread may stop the reading."""

    def __init__(self) -> None:
        self._text = "opening the export"
        self._stopped = threading.Event()

    def copied(self, done: int) -> None:
        """Note the number of bytes copied from a pipe so far. Raises Stopped."""
        self._note(f"copying the export from a pipe: {done:,} bytes so far")

    def read(self, done: int, total: int) -> None:
        """Note the number of bytes read so far. Raises Stopped."""
        self._note(f"reading the export: {done:,} of {total:,} bytes")

    def text(self) -> str:
        """The current step in words."""
        return self._text

    def stop(self) -> None:
        """End the reading at its next block."""
        self._stopped.set()

    def check(self) -> None:
        """Raise Stopped when the reading was told to stop."""
        if self._stopped.is_set():
            raise Stopped("the reading of the export was stopped; nothing was sent")

    def _note(self, text: str) -> None:
        self._text = text
        self.check()


def prepare(
    arguments: RunArguments,
    target: Target | None,
    log: Progress | None,
    stack: ExitStack,
    reading: ReadingProgress,
    *,
    now: datetime | None = None,
    rng: random.Random | None = None,
) -> Plan:
    """Read the export and make the plan, without the sample check. Blocks.

    target: the API; None for the sandbox, which is filled from the export. log: of the checkpoint; None for a new run.
    stack: closes the export and the sandbox. now: the time, for --not-after. rng: draws the sample.
    """
    path = arguments.checkpoint
    settings, job = arguments.settings, arguments.job
    complete = log is not None and log.complete
    id_type = checked_id_type(job, settings)
    options = ReadOptions(
        id_type=id_type,
        id_types=job.id_types,
        format=settings.format,
        id_field=settings.id_field,
        trim=settings.trim,
        on_invalid=settings.on_invalid,
        max_invalid=MaxInvalid.parse(settings.max_invalid) if settings.max_invalid is not None else MAX_INVALID,
        id_pattern=settings.id_pattern,
    )
    until = None if complete else checked_until(settings, now or datetime.now(UTC))
    excluded = Excluded() if complete else read_excluded(settings.exclude or (), options)
    more_excluded = check_excluded(log, excluded.files, path) if log else False
    backup_known = check_backup(settings, log)
    check_apart(settings.backup, [path, Path(arguments.export), *(settings.exclude or ())])
    if log is None or more_excluded:
        rng = rng or random.Random()  # noqa: S311 - a sample, not a secret
        export = _read(arguments, options, stack, reading, log, protected=excluded.ids, rng=rng)
    else:
        export = _recognised(arguments, options, stack, reading, log)
    check_max(settings, export.counts["ids"], export.file.path)
    if target is None:
        row_filter = export.row_filter(excluded.ids)
        ids = (record.id for batch in export.batches() for record in row_filter.records(batch))
        target = stack.enter_context(job.sandbox(ids, id_type))
    plan = Plan(
        arguments,
        id_type,
        target,
        export,
        log,
        excluded.files,
        excluded.ids,
        more_excluded=more_excluded,
        host_word=Protection.of(arguments.config.get(TABLE, {})).word(target.host),
        backup_known=backup_known,
        until=until,
    )
    if log is not None:
        refuse_differences(log.header.pinned, plan.pinned(), path, leave_out={"pool"})
    return plan


def signing_in(plan: Plan) -> str:
    """The step of `with_sample_check` in words."""
    sample = plan.export.preflight.sample if plan.export.preflight else ()
    return f"signing in and looking up {len(sample):,} of the ids as a sample"


async def with_sample_check(
    plan: Plan,
    *,
    connect: Connect = connect,
    wall: Callable[[], float] = time.time,
    chance: Callable[[], float] = random.random,
) -> Plan:
    """Sign in, look the sample up, and add the result. Raises NotAcceptable for a protected or another pool.

    A resume has no sample: it was looked up before the first deletion.
    """
    sample = [record.id for record in plan.export.preflight.sample] if plan.export.preflight else []
    server = await sample_check(
        plan.target,
        plan.id_type,
        plan.settings,
        sample,
        plan.job.chunk_max,
        connect=connect,
        wall=wall,
        chance=chance,
    )
    plan = plan.with_server(server)
    check_pool(plan)
    return plan


def find_target(arguments: RunArguments) -> Target | None:
    """Find host and credentials; None for the sandbox, which is started when the export has been read."""
    if arguments.settings.sandbox:
        return None
    table = arguments.config.get(arguments.job.config_table, {})
    return arguments.job.target(TargetOptions(arguments.settings.host, table, arguments.environ))


def _recognised(
    arguments: RunArguments,
    options: ReadOptions,
    stack: ExitStack,
    reading: ReadingProgress,
    log: Progress,
) -> CheckedExport:
    """On a resume, hash the export without parsing it: the log has its counts."""
    export, invalid_to = _open(arguments, stack, reading)
    return CheckedExport(
        export,
        options,
        recognise(export, options),
        fingerprint(export, reading.read),
        log.asked,
        log.duplicates,
        invalid_to if log.asked["invalid"] else None,
    )


def _read(
    arguments: RunArguments,
    options: ReadOptions,
    stack: ExitStack,
    reading: ReadingProgress,
    log: Progress | None,
    *,
    protected: IdSet,
    rng: random.Random,
) -> CheckedExport:
    """Read and parse the whole export: for a new run, or for a resume with more exclude files.

    A resume draws no new sample, because half of it may be deleted already. The duplicates are those of the log: rows
    with the same id are excluded together, so the first row of each other id stays the same.
    """
    export, invalid_to = _open(arguments, stack, reading)
    found = preflight(
        export,
        options,
        protected=protected,
        rng=rng,
        sample_size=SAMPLE_SIZE if log is None else 0,
        on_progress=reading.read,
        known=None if log is None else log.duplicates,
        temporary=arguments.checkpoint.absolute().parent,
    )
    return CheckedExport(
        export,
        options,
        found.dialect,
        found.fingerprint,
        {name: getattr(found, name) for name in ("rows", "ids", "excluded", "duplicate", "invalid")},
        found.duplicates,
        invalid_to if found.invalid else None,
        found,
    )


def _open(arguments: RunArguments, stack: ExitStack, reading: ReadingProgress) -> tuple[Export, Path]:
    """Open the export, and name the file for its bad rows. A pipe is copied beside the checkpoint first."""
    copy = Path(f"{arguments.checkpoint}{SPOOLED}")
    export = stack.enter_context(open_export(arguments.export, spool_to=copy, on_progress=reading.copied))
    piped = export.spooled is not None or export.is_file(copy)
    return export, Path(f"{arguments.checkpoint if piped else arguments.export}{INVALID}")
