"""What a run is asked to do and what it will do, as frozen values. Each step takes the plan and returns a new one.

Nothing here reads, sends or deletes. The words for people are made in `commands.plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bulkdel.command_line import CommandLine, flags_of, option_of
from bulkdel.core.duplicates import Duplicates
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Saved
from bulkdel.core.record import Batch
from bulkdel.core.resume_point import ResumePoint
from bulkdel.core.row_filter import RowFilter
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import Ending
from bulkdel.errors import UsageError
from bulkdel.export import Dialect, Export, Fingerprint, Preflight, ReadOptions, read_rows
from bulkdel.format import printable
from bulkdel.job import Job, Target
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.safety.sample import NOT_SIGNED_IN, SampleCheck
from bulkdel.settings import Settings
from bulkdel.times import is_time_of_day, until_of

CONFIRMING = ("--confirm", "--pool", "--confirm-host")


@dataclass(frozen=True, slots=True)
class RunArguments:
    """What the caller asked for.

    config: the config file as a whole. environ: where settings and credentials may stand. typed: the command line that
    asks for the same, from which every printed command is made.
    """

    job: Job
    export: str
    settings: Settings
    config: Mapping[str, Any]
    environ: Mapping[str, str]
    typed: CommandLine

    @property
    def checkpoint(self) -> Path:
        """Where the log is, or will be. Raises UsageError when standard input gives no name to derive it from."""
        return self.settings.checkpoint_for(self.export)

    @classmethod
    def of_command_line(
        cls,
        job: Job,
        export: str,
        settings: Settings,
        *,
        config: Mapping[str, Any],
        environ: Mapping[str, str],
        argv: Sequence[str],
    ) -> RunArguments:
        """Take what was typed. argv: the words, without the program's name."""
        typed = replace(CommandLine.parse(argv, flags_of(Settings)), names=(job.name, export))
        return cls(job, export, settings, config, environ, typed)

    @classmethod
    def of_library(
        cls, job: Job, export: str, settings: Settings, *, config: Mapping[str, Any], environ: Mapping[str, str]
    ) -> RunArguments:
        """Take what a program asked for: the command line that asks for the same is made from its settings."""
        line = CommandLine("run", (job.name, export))
        for one in fields(Settings):
            option, value = option_of(one.name), getattr(settings, one.name)
            if value == one.default:
                continue
            if value is True:
                line = line.plus(option)
            else:
                line = line.plus(option, *map(str, value if isinstance(value, list) else [value]))
        return cls(job, export, settings, config, environ, line)

    def line(self, export: str) -> CommandLine:
        """Word the command line for this export and the same checkpoint, with what the environment sets."""
        line = replace(self.typed.with_environment(self.settings, self.environ), names=(self.job.name, export))
        if self.checkpoint == self.settings.default_checkpoint(export) or line.has("--checkpoint"):
            return line
        return line.plus("--checkpoint", str(self.checkpoint))


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """The export: read whole by the preflight, or on a resume proved to be the same bytes.

    counts: rows, ids, excluded, duplicate, invalid, as in the header. duplicates: the rows that repeat an id.
    invalid_to: the file that gets the bad rows when a run begins; None without bad rows.
    preflight: what reading the rows found; None when a resume did not read them again.
    """

    file: Export
    options: ReadOptions
    dialect: Dialect
    fingerprint: Fingerprint
    counts: Mapping[str, int]
    duplicates: Duplicates
    invalid_to: Path | None = None
    preflight: Preflight | None = None

    def row_filter(self, protected: IdSet) -> RowFilter:
        """What tells the rows apart in a pass over the export."""
        return RowFilter(self.options.id_type, protected, self.duplicates)

    def batches(self, begin: ResumePoint | None = None) -> Iterator[Batch]:
        """One pass over the rows, every block checked against its hash. begin: where the first of them is."""
        return read_rows(self.file, self.dialect, self.options, self.fingerprint, begin)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before the confirmation.

    progress: what the log says so far; None for a new run.
    excluded: the exclude files. protected: the ids that must never be sent: those of the exclude files and, once signed
    in, of the key's own user. more_excluded: whether exclude files were added to an earlier session's.
    host_word: the extra word that confirms a run on this host; None when none is needed.
    backup_known: what of the backup an earlier session made durable; None when it is a new file. until: --not-after.
    server: what the server said before anything was deleted.
    """

    arguments: RunArguments
    id_type: IdType
    target: Target
    export: CheckedExport
    progress: Progress | None
    excluded: Sequence[ExcludeFile]
    protected: IdSet
    more_excluded: bool = False
    host_word: str | None = None
    backup_known: Saved | None = None
    until: datetime | None = None
    server: SampleCheck = NOT_SIGNED_IN

    @property
    def job(self) -> Job:
        """What is done with the ids."""
        return self.arguments.job

    @property
    def settings(self) -> Settings:
        """What was said about the run."""
        return self.arguments.settings

    @property
    def checkpoint(self) -> Path:
        """Where the log is, or will be."""
        return self.arguments.checkpoint

    @property
    def ids(self) -> int:
        """How many ids the whole export asks to delete: the number to confirm."""
        return self.export.counts["ids"]

    @property
    def pool(self) -> str | None:
        """The user pool that they are deleted from: the other thing to confirm. None when not signed in."""
        return self.server.pool

    @property
    def complete(self) -> bool:
        """Whether every row has its outcome already."""
        return self.progress is not None and self.progress.complete

    @property
    def look_first(self) -> bool:
        """Whether every id is looked up before it is sent."""
        return self.settings.look_first or self.settings.backup is not None

    @property
    def chunk_size(self) -> int:
        """Ids in one request, at most."""
        return self.settings.chunk_size or self.job.chunk_max

    @property
    def requests(self) -> int:
        """How many requests the whole export takes when nothing goes wrong."""
        return -(-self.ids // self.chunk_size) * (2 if self.look_first else 1)

    @property
    def line(self) -> CommandLine:
        """The command line that goes on with this checkpoint.

        What came through a pipe is in its copy now; --not-after has its date, so that it means the same tomorrow.
        """
        export = self.export.file.spooled or self.arguments.export
        line = self.arguments.line(str(export))
        return line.instead("--not-after", self.until.isoformat()) if self.until else line

    @property
    def confirming_line(self) -> CommandLine:
        """The command line that runs this plan without a question."""
        line = replace(self.line, command="run").instead("--confirm", str(self.ids))
        line = line.instead("--pool", self.pool or "POOL").without("--confirm-host")
        return line.plus("--confirm-host", self.host_word) if self.host_word else line

    def line_after(self, ending: Ending, now: datetime) -> CommandLine:
        """Word the command that goes on after a session that ended like this.

        Once --not-after has come, the run is confirmed again; a time of day becomes that of the next day.
        """
        line = self.line.without("--limit") if ending.limit_reached else self.line
        if self.until is None or now < self.until:
            return line
        line = line.without(*CONFIRMING, "--not-after")
        text = self.settings.not_after or ""
        if is_time_of_day(text):
            with suppress(UsageError):  # the clocks change about then
                line = line.plus("--not-after", until_of(text, now).isoformat())
        return line

    def with_server(self, server: SampleCheck) -> Plan:
        """Add what the server said; the ids of the key's own user are protected from here on."""
        return replace(self, server=server, protected=self.protected.plus(server.owner))

    def excluded_files(self) -> dict[str, str]:
        """The path of each exclude file by the SHA-256 of its bytes, as the log keeps it."""
        return {file.sha256: printable(Path(file.path).absolute()) for file in self.excluded}

    def pinned(self) -> dict[str, Any]:
        """What a resume must find unchanged."""
        options = self.export.options
        return {
            "job": self.job.name,
            "host": self.target.pinned_host,
            "pool": self.pool,
            "id_type": self.id_type.name,
            "source": {
                # Whether the field was guessed is only for the plan; named by the user, the same rows are read.
                **{name: value for name, value in self.export.dialect.to_json().items() if name != "guessed"},
                "trim": options.trim,
                "on_invalid": options.on_invalid,
                "id_pattern": options.id_pattern,
            },
            "sha256": self.export.fingerprint.sha256,
            "bytes": self.export.fingerprint.size,
        }
