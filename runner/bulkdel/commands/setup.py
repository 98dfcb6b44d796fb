"""From a command line to everything that a run needs to know, without sending anything that changes a thing.

Owns the order: settings → checkpoint (if there is one, locked) → export read → target → pool → sample. Holds no object
that could delete; `plan` ends here.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint, is_fresh
from bulkdel.command_line import CommandLine, flags_of
from bulkdel.core.bad_rows import MAX_INVALID, BadGroup, MaxInvalid
from bulkdel.core.duplicates import Duplicates
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Saved
from bulkdel.core.record import Batch, Record
from bulkdel.core.resume_point import ResumePoint
from bulkdel.core.retry import SAMPLE_SIZE
from bulkdel.core.row_filter import RowFilter
from bulkdel.engine.shutdown import Signals
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export import (
    REASONS,
    Dialect,
    Export,
    Fingerprint,
    ReadOptions,
    fingerprint,
    open_export,
    preflight,
    read_rows,
)
from bulkdel.export.addresses import check_exclude, check_export
from bulkdel.export.recognise import recognise
from bulkdel.export.spool import SPOOLED
from bulkdel.format import counted, until_words
from bulkdel.job import Job, Target, TargetOptions, job_names, load_job
from bulkdel.output import say
from bulkdel.safety.checks import TABLE, Protection, check_apart, check_backup, check_excluded, check_max
from bulkdel.safety.exclude import Excluded, read_excluded
from bulkdel.safety.sample import SampleCheck
from bulkdel.settings import Settings
from bulkdel.times import until_of

INVALID = ".invalid"
"""What is appended to the export's name for the rows that --on-invalid skip leaves out."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command line. argv: what was typed, without the program's name, to print the command that goes on."""

    job: str
    export: str
    settings: Settings
    config: Mapping[str, Any]
    environ: Mapping[str, str]
    argv: Sequence[str]

    @property
    def typed(self) -> CommandLine:
        """The command line as it was typed."""
        return replace(CommandLine.parse(self.argv, flags_of(Settings)), names=(self.job, self.export))

    def line(self, export: str, checkpoint: Path) -> CommandLine:
        """Word the command line for this export and this checkpoint, with what the environment sets."""
        line = replace(self.typed.with_environment(self.settings, self.environ), names=(self.job, export))
        if checkpoint == self.settings.default_checkpoint(export) or line.has("--checkpoint"):
            return line
        return line.plus("--checkpoint", str(checkpoint))


@dataclass(frozen=True, slots=True)
class Note:
    """Something about an export that the plan shows. name, facts: for programs, without ids and row texts."""

    name: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """The export, read or recognised.

    counts: rows, ids, excluded, duplicate, invalid, as in the header. excluded: the exclude files.
    kept: ids to keep that were met in the export; perhaps: excluded rows that only may be one of them. None when a
    resume did not read the rows again.
    marks: where the export can be read on from, when it was read just now. duplicates: the rows that repeat an id.
    bad: the bad rows that are left out, by reason, when it was read just now.
    invalid_to: where a run writes them when it begins; None without any.
    """

    export: Export
    options: ReadOptions
    dialect: Dialect
    fingerprint: Fingerprint
    counts: Mapping[str, int]
    sample: tuple[Record, ...] = ()
    examples: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    marks: tuple[ResumePoint, ...] = ()
    excluded: Excluded = field(default_factory=Excluded)
    bad: tuple[BadGroup, ...] = ()
    invalid_to: Path | None = None
    kept: int | None = None
    perhaps: int = 0
    duplicates: Duplicates = field(default_factory=Duplicates)

    def row_filter(self, protected: IdSet) -> RowFilter:
        """What tells the rows apart in a pass over the export."""
        return RowFilter(self.options.id_type, protected, self.duplicates)

    def batches(self, begin: ResumePoint | None = None) -> Iterator[Batch]:
        """One pass over the rows, every block checked against its hash. begin: where the first of them is."""
        return read_rows(self.export, self.dialect, self.options, self.fingerprint, begin)


@dataclass(slots=True)
class Prepared:
    """Everything known before the confirmation.

    checkpoint: open and locked when the run is a resume. protected: ids that must never be sent; the survey adds those
    of the account that the credentials belong to. more_excluded: whether exclude files were added to an earlier run's.
    backup_known: what of the backup an earlier session made durable; None when it is a new file.
    until: --not-after.
    """

    request: Request
    job: Job
    id_type: IdType
    reading: Reading
    target: Target
    checkpoint_path: Path
    checkpoint: Checkpoint | None
    chunk_size: int
    protection: Protection
    protected: IdSet
    more_excluded: bool = False
    backup_known: Saved | None = None
    until: datetime | None = None
    sample_check: SampleCheck = field(default_factory=SampleCheck)

    @property
    def line(self) -> CommandLine:
        """The command line that goes on with this checkpoint.

        What came through a pipe is in its copy now; --not-after has its date, so that it means the same tomorrow.
        """
        export = self.reading.export.spooled or self.request.export
        line = self.request.line(str(export), self.checkpoint_path)
        return line.instead("--not-after", self.until.isoformat()) if self.until else line

    @property
    def ids(self) -> int:
        """How many ids the whole export asks to delete: what is confirmed."""
        return self.reading.counts["ids"]

    @property
    def look_first(self) -> bool:
        """Whether every id is looked up before it is sent."""
        return self.request.settings.look_first or self.request.settings.backup is not None

    @property
    def requests(self) -> int:
        """How many requests the whole export takes when nothing goes wrong."""
        return -(-self.ids // self.chunk_size) * (2 if self.look_first else 1)

    def pinned(self) -> dict[str, Any]:
        """What a resume must find unchanged."""
        options = self.reading.options
        return {
            "job": self.job.name,
            "host": self.target.pinned_host,
            "pool": self.sample_check.pool,
            "id_type": self.id_type.name,
            "source": {
                # Whether the field was guessed is only for the plan; named by the user, the same rows are read.
                **{name: value for name, value in self.reading.dialect.to_json().items() if name != "guessed"},
                "trim": options.trim,
                "on_invalid": options.on_invalid,
                "id_pattern": options.id_pattern,
            },
            "sha256": self.reading.fingerprint.sha256,
            "bytes": self.reading.fingerprint.size,
        }


def prepare(request: Request, stack: ExitStack, signals: Signals, *, resume: bool) -> Prepared:
    """Go as far as possible without a word to the server. `stack` closes what was opened.

    signals: learns how far the reading has come.

    resume: open the checkpoint, if there is one, for writing. `plan` does not: it must not disturb a run.
    """
    settings = request.settings
    job = load_job(request.job)
    _check_config(request.config)
    settings.check(job.chunk_max)
    check_export(request.export, request.typed)
    for name in settings.exclude or ():
        check_exclude(str(name))
    id_type = _id_type(job, settings)
    path = settings.checkpoint_for(request.export)
    target: Target | None = None
    if not settings.sandbox:
        target = job.target(TargetOptions(settings.host, request.config.get(job.config_table, {}), request.environ))
    _check_folder(path)
    _check_copy(request, path)
    checkpoint = None
    if resume and not is_fresh(path):
        checkpoint = Checkpoint.resume(path)
        stack.callback(checkpoint.close)
        if checkpoint.recovered:
            say(f"The log ended in a torn line; it is cut off and kept in {checkpoint.recovered}.")
    complete = checkpoint is not None and checkpoint.progress.complete
    if target is not None and resume and target.key is None and not complete:
        raise UsageError(f"no credentials for {target.pinned_host}: {target.key_hint}, or practise with --sandbox")
    until = None if complete else _until(settings, datetime.now(UTC))
    options = _options(job, id_type, settings)
    excluded = Excluded() if complete else read_excluded(settings.exclude or (), options)
    added = check_excluded(checkpoint.progress, excluded.files, path) if checkpoint else False
    backup_known = check_backup(settings, checkpoint.progress if checkpoint else None)
    check_apart(settings.backup, [path, Path(request.export), *(settings.exclude or ())])
    progress = ReadingProgress()
    with signals.doing(progress.text):
        reading = _read(request, stack, options, path, checkpoint, excluded=excluded, again=added, progress=progress)
    check_max(settings, reading.counts["ids"], reading.export.path)
    if target is None:
        row_filter = reading.row_filter(excluded.ids)
        ids = (record.id for batch in reading.batches() for record in row_filter.records(batch))
        target = stack.enter_context(job.sandbox(ids, id_type))
    chunk_size = settings.chunk_size or job.chunk_max
    prepared = Prepared(
        request,
        job,
        id_type,
        reading,
        target,
        path,
        checkpoint,
        chunk_size,
        protection=Protection.of(request.config.get(TABLE, {})),
        protected=excluded.ids,
        more_excluded=added,
        backup_known=backup_known,
        until=until,
    )
    if checkpoint is not None:
        refuse_differences(checkpoint.progress.header.pinned, prepared.pinned(), path, leave_out={"pool"})
    return prepared


class ReadingProgress:
    """How far the reading of the export has come, in words."""

    def __init__(self) -> None:
        self._text = "opening the export"

    def copied(self, done: int) -> None:
        """Take note of the bytes of a pipe that were copied so far."""
        self._text = f"copying the export from a pipe: {done:,} bytes so far"

    def read(self, done: int, total: int) -> None:
        """Take note of the bytes that were read so far."""
        self._text = f"reading the export: {done:,} of {total:,} bytes"

    def text(self) -> str:
        """What is being done."""
        return self._text


def refuse_differences(
    before: Mapping[str, Any], now: Mapping[str, Any], path: Path, *, leave_out: Collection[str] = ()
) -> None:
    """Compare what the header pins with this run, member by member. Raises NotAcceptable naming each difference."""
    old, new = _flat(before), _flat(now)
    different = [
        f"  {name}: the checkpoint has {old.get(name)!r}, this run {new.get(name)!r}"
        for name in new
        if name not in leave_out and old.get(name) != new.get(name)
    ]
    if different:
        raise NotAcceptable(
            f"{path}: belongs to another run, nothing was sent.\n"
            + "\n".join(different)
            + "\nGive the export and the options of that run, or another --checkpoint for a new one."
        )


def _flat(pinned: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the members of `source` up, so that the one that differs is named."""
    return {**{name: value for name, value in pinned.items() if name != "source"}, **pinned.get("source", {})}


def _check_folder(path: Path) -> None:
    """Refuse a checkpoint that could not be created, before anybody is asked anything."""
    folder = path.absolute().parent
    try:
        missing = not folder.is_dir()
    except PermissionError:
        return  # whoever opens it says what is wrong
    if missing:
        raise UsageError(f"--checkpoint {path}: the folder {folder} does not exist; make it first")


def _check_copy(request: Request, path: Path) -> None:
    """Refuse the copy of a pipe under another checkpoint than its own: what was deleted would be sent once more."""
    copy = Path(request.export).resolve()
    if request.settings.sandbox or not copy.name.endswith(SPOOLED):
        return
    log = copy.with_name(copy.name.removesuffix(SPOOLED))
    if log.is_file() and not is_fresh(log) and log != path.resolve():
        shown = Path(request.export.removesuffix(SPOOLED)) if request.export.endswith(SPOOLED) else log
        line = request.typed.instead("--checkpoint", str(shown))
        raise NotAcceptable(
            f"{request.export}: is the copy of a pipe that belongs to the checkpoint {shown}. Another checkpoint would "
            f"begin a new run and send again what is deleted already. Nothing was sent. To go on:\n  {line}\n"
            "To begin a new run all the same, copy the file and give it another name."
        )


def _until(settings: Settings, now: datetime) -> datetime | None:
    """Return when the run has to stop. Raises UsageError for a time that has passed."""
    if settings.not_after is None:
        return None
    at = until_of(settings.not_after, now)
    if at <= now:
        raise UsageError(
            f"--not-after {settings.not_after!r}: has passed; it is {until_words(now.astimezone(at.tzinfo))}. "
            "Nothing was sent. Give a later time, or leave --not-after out"
        )
    return at


def _check_config(config: Mapping[str, Any]) -> None:
    """Refuse what no part would read: a setting outside its table would be ignored without a word."""
    tables = {"run", TABLE, *(load_job(name).config_table for name in job_names())}
    for name, value in config.items():
        if name not in tables or not isinstance(value, dict):
            raise UsageError(f"--config: {name!r} is no table of it; settings stand in {', '.join(sorted(tables))}")


def _id_type(job: Job, settings: Settings) -> IdType:
    name = settings.id_type or job.id_type_default
    if name not in job.id_types:
        raise UsageError(f"--id-type {name!r}: {job.name} knows {', '.join(job.id_types)}")
    return job.id_types[name]


def _options(job: Job, id_type: IdType, settings: Settings) -> ReadOptions:
    return ReadOptions(
        id_type=id_type,
        id_types=job.id_types,
        format=settings.format,
        id_field=settings.id_field,
        trim=settings.trim,
        on_invalid=settings.on_invalid,
        max_invalid=MaxInvalid.parse(settings.max_invalid) if settings.max_invalid is not None else MAX_INVALID,
        id_pattern=settings.id_pattern,
    )


def _read(
    request: Request,
    stack: ExitStack,
    options: ReadOptions,
    path: Path,
    checkpoint: Checkpoint | None,
    *,
    excluded: Excluded,
    again: bool,
    progress: ReadingProgress,
) -> Reading:
    """Read the whole export, or on a resume only its bytes: what is in them, the log says.

    again: read it whole on a resume too, because more of it is excluded now. The sample stays that of the first time:
    of a new one half may be deleted already. So do the duplicates, which the log lists: all rows with one id are
    excluded together, so of the others the first one is the same.
    """
    spool_to = Path(f"{path}{SPOOLED}")
    export = stack.enter_context(open_export(request.export, spool_to=spool_to, on_progress=progress.copied))
    piped = export.spooled is not None or export.is_file(spool_to)
    invalid_to = Path(f"{path if piped else request.export}{INVALID}")
    if checkpoint is not None and not again:
        log = checkpoint.progress
        return Reading(
            export,
            options,
            recognise(export, options),
            fingerprint(export, progress.read),
            log.asked,
            excluded=excluded,
            invalid_to=invalid_to if log.asked["invalid"] else None,
            duplicates=log.duplicates,
        )
    seen = preflight(
        export,
        options,
        protected=excluded.ids,
        rng=random.Random(),  # noqa: S311 - a sample, not a secret
        sample_size=0 if again else SAMPLE_SIZE,
        on_progress=progress.read,
        known=checkpoint.progress.duplicates if checkpoint is not None else None,
        temporary=path.absolute().parent,
    )
    counts = {name: getattr(seen, name) for name in ("rows", "ids", "excluded", "duplicate", "invalid")}
    notes: list[Note] = []
    if seen.spreadsheet:
        shown = ", ".join(seen.spreadsheet_examples)
        text = f"{seen.spreadsheet:,} ids look like a spreadsheet rewrote them, such as {shown}"
        notes.append(Note("spreadsheet", text, {"ids": seen.spreadsheet}))
    if seen.invalid:
        files = f"{invalid_to}, and the reasons to {invalid_to}{REASONS}"
        text = f"{counted(seen.invalid, 'bad row')} left out; when a run begins, it writes them to {files}"
        facts = {"rows": seen.invalid, "file": str(invalid_to), "reasons": f"{invalid_to}{REASONS}"}
        notes.append(Note("invalid", text, facts))
        notes += map(_note_of, seen.bad)
    return Reading(
        export,
        options,
        seen.dialect,
        seen.fingerprint,
        counts,
        seen.sample,
        seen.examples,
        tuple(notes),
        seen.marks,
        excluded,
        bad=seen.bad,
        invalid_to=invalid_to if seen.invalid else None,
        kept=seen.kept,
        perhaps=seen.perhaps,
        duplicates=seen.duplicates,
    )


def _note_of(group: BadGroup) -> Note:
    why, line = group.first.why, group.first.line
    text = f"{counted(group.count, 'row')}: {why.words}; the first in line {line}"
    return Note("bad_rows", text, {"rows": group.count, "reason": why.why.name.lower(), "first_line": line})
