"""An earlier run, opened again to be read: its log, and its rows.

Used by `results`, `verify` and `restore`. Takes no lock and keeps no file, so a run may be under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from bulkdel.checkpoint.index import LogIndex, RowResult
from bulkdel.core.bad_rows import MaxInvalid
from bulkdel.core.id_type import IdType
from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import Header
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.export.converting import rows_of, table_of
from bulkdel.export.file import fingerprint, open_export
from bulkdel.export.preflight import preflight
from bulkdel.export.refusal import ExportRefused
from bulkdel.export.rows import Dialect, ReadOptions, dialect_of
from bulkdel.input.frames import Input
from bulkdel.input.run_input import NewInput, is_forgotten, open_input
from bulkdel.job import Job, load_job
from bulkdel.place.opening import log_place
from bulkdel.place.spool import Spool
from bulkdel.run_place import home_of

ANY = MaxInvalid(0, Fraction(1))

MOVED = "If there is another copy of the export: --export PATH"


@dataclass(frozen=True, slots=True)
class Reopened:
    """A log with its index, and the rows of its run. id_type: what kind of id they have."""

    path: Path
    log_index: LogIndex
    job: Job
    id_type: IdType
    source: Input

    @classmethod
    def open(cls, path: Path, export: str | None, stack: ExitStack) -> Self:
        """Open log and rows; `stack` closes them. export: a copy of the export, from which the rows are read anew.

        Raises NotAcceptable when one of them cannot be read, or when the export is not the one that the run had.
        """
        log_index = stack.enter_context(LogIndex.of(log_place(path)))
        progress = log_index.progress
        job = load_job(progress.header.pinned["job"])
        options, dialect = way_of_reading(path, job, progress.header)
        if export is None:
            if is_forgotten(log_place(path), progress):
                raise NotAcceptable(
                    f"{path}: the rows of this run were removed by `bulkdel forget`. What the log has is shown by "
                    f"`bulkdel status`. {MOVED}"
                )
            rows = open_input(log_place(path), progress.header, stack)
        else:
            rows = read_anew(export, (options, dialect), progress.header, home_of(path).absolute(), stack)
        return cls(path, log_index, job, options.id_type, rows)

    def rows(self) -> Iterator[tuple[Rows, list[RowResult]]]:
        """Every row in order, block by block, with its results. In flat memory. Raises Halted for a damaged block.

        The results of a block are ranges that cover it completely, in order.
        """
        for rows in self.source.rows():
            yield rows, self.log_index.between(rows.at, rows.stop)


def way_of_reading(path: Path, job: Job, header: Header) -> tuple[ReadOptions, Dialect]:
    """How a run has read its export. Raises NotAcceptable for a way that this version does not know."""
    pinned = header.pinned
    try:
        source: Mapping[str, Any] = pinned["source"]
        id_type, dialect = job.id_types[pinned["id_type"]], dialect_of(pinned)
        column = dialect.id_field or (None if dialect.id_column is None else str(dialect.id_column + 1))
        options = ReadOptions(
            id_type=id_type,
            id_types=job.id_types,
            trim=source["trim"],
            skip_invalid=ANY if source["skip_invalid"] else None,
            id_pattern=source["id_pattern"],
            whole=job.takes_records,
            id_field=column,
            sheet=dialect.sheet,
        )
    except (KeyError, TypeError) as error:
        raise NotAcceptable(
            f"{path}: line 1 (byte 0): the run has read its export in a way that is not known here: {error!r}"
        ) from error
    return options, dialect


def read_anew(export: str, way: tuple[ReadOptions, Dialect], header: Header, folder: Path, stack: ExitStack) -> Input:
    """Read the export once more, into a file in `folder` without a name. way: as `way_of_reading` returns it.

    Raises NotAcceptable when it is not the export of the run with this header.
    """
    try:
        opened = stack.enter_context(open_export(export))
    except NotAcceptable as error:
        raise NotAcceptable(f"{error} {MOVED}") from error
    except UsageError as error:  # a pipe
        raise UsageError(f"{export}: a pipe cannot be compared with the export of the run. Name a file") from error
    spool = Spool.unnamed(folder)
    stack.callback(spool.close)
    new, wanted, dialect = NewInput(spool, str(folder)), header.pinned["sha256"], way[1]
    other = NotAcceptable(
        f"{opened.path}: is not the export of this run: its SHA-256 is not {wanted}, which the run read. {MOVED}"
    )
    try:
        rows, read = opened, None
        if (table := table_of(opened, way[0], lambda _: None)) is not None:
            copied, read = rows_of(table, folder), fingerprint(opened)
            rows, dialect = stack.enter_context(copied.file), copied.in_copy
        found = preflight(rows, way[0], dialect=dialect, to=lambda parsed: new.add(parsed.for_input()))
    except ExportRefused as error:
        raise other from error
    new.finish()
    if (read or found.fingerprint).sha256 != wanted or new.pins.content != header.input.content:
        raise other
    return new.rows
