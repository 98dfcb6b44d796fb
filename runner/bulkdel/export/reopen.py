"""An earlier run, opened again to be read: its log and its export, which must be the same bytes.

Used by `results` and `verify`. Takes no lock and keeps no file, so a run may be under way.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeGuard

from bulkdel.checkpoint.index import LogIndex, RowResult
from bulkdel.core.id_type import IdType
from bulkdel.core.run_state import Progress
from bulkdel.durable import write_all
from bulkdel.errors import FileFailed, NotAcceptable, UsageError
from bulkdel.export import Dialect, Export, Fingerprint, Parsed, ReadOptions, fingerprint, open_export, read_rows
from bulkdel.export.download import Source
from bulkdel.export.encoding import utf8_blocks
from bulkdel.export.file import checked_blocks
from bulkdel.export.lines import whole_lines
from bulkdel.export.stored_copy import FOLDER
from bulkdel.job import Job, load_job
from bulkdel.place.log_objects import unreachable
from bulkdel.place.opening import log_place
from bulkdel.settings import SPOOLED
from bulkdel.store.certain import Retrying
from bulkdel.store.parts import parts_of
from bulkdel.store_path import StorePath, beside, in_store


@dataclass(frozen=True, slots=True)
class RunExport:
    """The export of an earlier run, whose SHA-256 is that of the run, and how it is read."""

    job: Job
    id_type: IdType
    export: Export
    options: ReadOptions
    dialect: Dialect
    fingerprint: Fingerprint

    @classmethod
    def open(cls, path: Path, progress: Progress, export: str | None, stack: ExitStack) -> Self:
        """Open the export; `stack` closes it. path, progress: of the log. export: its path, if it has moved.

        Raises NotAcceptable when it is not the one that the run had, FileFailed when there is no room for the copy of
        a pipe.
        """
        pinned = progress.header.pinned
        job = load_job(pinned["job"])
        name = export or _where(path, progress.header.export_path)
        moved = "If the export has moved: --export PATH"
        try:
            stored = _stored_copy(path) if in_store(path) and export is None and not Path(name).is_file() else None
            opened = stack.enter_context(stored or open_export(name))
        except NotAcceptable as error:
            if export is None and (at := _forgotten(path, progress)) is not None:
                raise NotAcceptable(
                    f"{path}: the export was removed by `bulkdel forget`, on {at}. What the log has is shown by "
                    "`bulkdel status`. If there is another copy of the export: --export PATH"
                ) from error
            raise NotAcceptable(f"{error} {moved}") from error
        except UsageError as error:  # a pipe
            raise UsageError(f"{name}: a pipe cannot be compared with the export of the run. Name a file") from error
        found = fingerprint(opened)
        if (found.sha256, found.size) != (pinned["sha256"], pinned["bytes"]):
            raise NotAcceptable(
                f"{opened.path}: is not the export of this run: its SHA-256 is not {pinned['sha256']}, which the run "
                f"read. {moved}"
            )
        try:
            options, dialect = _way_of_reading(job, pinned)
        except (KeyError, TypeError) as error:
            raise NotAcceptable(
                f"{path}: line 1 (byte 0): the run has read its export in a way that is not known here: {error!r}"
            ) from error
        return cls(job, options.id_type, opened, options, dialect, found)

    def rows(self) -> Iterator[Parsed]:
        """Every row in order, batch by batch, in flat memory."""
        return read_rows(self.export, self.dialect, self.options, self.fingerprint)

    def lines(self) -> Iterator[bytes]:
        """Every line of the decompressed export, with its line feed. Raises Halted for a block that has changed."""
        blocks = checked_blocks(self.export, self.fingerprint)
        how, size = self.dialect, self.export.block_size
        plain = utf8_blocks(blocks, how.compression, how.encoding, self.export.path, size)
        for block in whole_lines(plain, self.export.path):
            yield from block.data.splitlines(keepends=True)


def _way_of_reading(job: Job, pinned: Mapping[str, Any]) -> tuple[ReadOptions, Dialect]:
    """How a run has read its export. Raises KeyError or TypeError for what this version does not know."""
    source: dict[str, Any] = dict(pinned["source"])
    options = ReadOptions(
        id_type=job.id_types[pinned["id_type"]],
        id_types=job.id_types,
        trim=source.pop("trim"),
        on_invalid="skip" if source.pop("skip_invalid") else "stop",
        id_pattern=source.pop("id_pattern"),
        whole=job.takes_records,
    )
    return options, Dialect.from_json({**source, "guessed": False})


@dataclass(frozen=True, slots=True)
class Reopened:
    """A log with its index, and the export of its run."""

    path: Path
    log_index: LogIndex
    job: Job
    source: RunExport

    @classmethod
    def open(cls, path: Path, export: str | None, stack: ExitStack) -> Self:
        """Open log and export; `stack` closes them. export: its path, if it has moved.

        Raises NotAcceptable when the log cannot be read or the export is not the one that the run had.
        """
        log_index = stack.enter_context(LogIndex(log_place(path)))
        opened = RunExport.open(path, log_index.progress, export, stack)
        return cls(path, log_index, opened.job, opened)

    @property
    def id_type(self) -> IdType:
        """What kind of id the export holds."""
        return self.source.id_type

    def rows(self) -> Iterator[tuple[Parsed, list[RowResult]]]:
        """Every row of the export in order, batch by batch, with its results. In flat memory.

        The results of a batch are ranges that cover it completely, in order.
        """
        for parsed in self.source.rows():
            start = parsed.batch.start
            yield parsed, self.log_index.between(start, start + len(parsed.batch.rows))


def _where(path: Path, recorded: str) -> str:
    """The path of the export: the copy of a table; as the log has it; the copy of a pipe; a file of its name."""
    copy = beside(path, SPOOLED)
    source = Source.read(copy) if copy.is_file() else None
    if source is not None and source.table is not None:
        return str(copy)
    if Path(recorded).is_file():
        return recorded
    near = copy.with_name(Path(recorded).name)
    return next((str(each) for each in (copy, near) if each.is_file()), recorded)


def _stored_copy(log: StorePath) -> Export | None:
    """The copy of a pipe in the store of a log, fetched into a file without a name; None when the store has none.

    So a command that only reads leaves no personal data behind. The file lies in the current folder, because /tmp may
    be memory. Raises NotAcceptable for a store that cannot be read, FileFailed when the file cannot be written.
    """
    folder = beside(log, "").absolute().parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for part in stored_parts(log):
                write_all(file.fileno(), part)
            return Export(os.dup(file.fileno()), str(log / FOLDER)) if os.fstat(file.fileno()).st_size else None
    except OSError as error:
        raise FileFailed(
            f"{folder}: {error.strerror}. The copy of the pipe is fetched there from {log}. Make room, then run this "
            "again."
        ) from error


def has_stored_copy(log: Path) -> TypeGuard[StorePath]:
    """Whether this log is in a store that has the copy of a pipe. Raises NotAcceptable."""
    return in_store(log) and next(stored_parts(log), None) is not None


def stored_parts(log: StorePath) -> Iterator[bytes]:
    """The copy of a pipe in the store of a log; nothing when there is none. Raises NotAcceptable."""
    try:
        yield from parts_of(Retrying.at(log / FOLDER))
    except OSError as error:
        raise unreachable(log, error) from error


def _forgotten(path: Path, progress: Progress) -> str | None:
    """When `bulkdel forget` removed the export of this run; None when it did not."""
    names = {f"{path.name}{SPOOLED}", Path(progress.header.export_path).name}
    return next((at for name, at in reversed(progress.forgotten.items()) if Path(name).name in names), None)
