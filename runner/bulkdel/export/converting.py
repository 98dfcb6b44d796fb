"""Workbooks and Parquet files as exports: their rows are copied once, as CSV, in the place of the run.

The copy has only the column of the id (and that of the outcome, when results are fed back). Line n is row n of the
sheet. From then on it is the export. `export.tables` reads the file, in a process of its own.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.log_entries import stamp
from bulkdel.core.table_cells import OUTCOME
from bulkdel.durable import sync, sync_directory
from bulkdel.errors import ExportChanged, FileFailed, NotAcceptable, UsageError
from bulkdel.export.download import Source, Step, source_of
from bulkdel.export.file import BLOCK, Export
from bulkdel.export.pipe_copy import busy, open_copy, part_of
from bulkdel.export.refusal import refusal
from bulkdel.export.rows import Dialect, ReadOptions
from bulkdel.export.sniff import recognise
from bulkdel.parent import for_child
from bulkdel.place.log_file import make_folder
from bulkdel.regular_file import regular_fd
from bulkdel.store.far_object import Version

ZIP, OLE, PARQUET = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PAR1"

WORKBOOK = "workbook"

HEAD_ROWS = 1_000
"""Rows in which the columns are recognised."""

PARQUET_ADVICE_ROWS = 100_000
"""Rows of a Parquet file that are read for advice, with all columns."""

LOOK_S = 0.1
"""How often the reading calls `on_progress`."""


@dataclass(frozen=True, slots=True)
class Table:
    """A workbook or a Parquet file that is to be read.

    format: `workbook` or `parquet`. sheet_may_lack: whether a workbook without the sheet of --sheet is read as if none
    was named.
    """

    export: Export
    format: str
    options: ReadOptions
    on_progress: Step
    sheet_may_lack: bool = False


@dataclass(frozen=True, slots=True)
class CopiedRows:
    """The rows of a table as CSV. file: the open copy. dialect: how it is read. source: of the copy."""

    file: Export
    dialect: Dialect
    source: Source


def table_of(export: Export, options: ReadOptions, on_progress: Step) -> Table | None:
    """Recognise a workbook or a Parquet file by its first bytes; None for text."""
    head = export.read_at(0, 8)
    if head.startswith((ZIP, OLE)):
        return Table(export, WORKBOOK, options, on_progress)
    return Table(export, "parquet", options, on_progress) if head.startswith(PARQUET) else None


def csv_options(options: ReadOptions) -> ReadOptions:
    """How the copy of a table is read."""
    return replace(options, format="csv", encoding=None)


def all_columns(table: Table, folder: Path, *, for_advice: bool = False) -> tuple[Export, dict[str, Any]]:
    """Copy every column to a file in `folder` without a name. for_advice: of a Parquet file the first rows suffice.

    Returns the copy, and the sheet that was read with the names of the hidden ones (`sheet`, `hidden`).

    Raises NotAcceptable for a file that cannot be read, UsageError without the extra.
    """
    return _unnamed(table, folder, PARQUET_ADVICE_ROWS if for_advice and table.format != WORKBOOK else None)


def open_rows(table: Table, copy: Path, source: Source | None, *, resumed: bool, key: bytes | None) -> CopiedRows:
    """Open the rows of a table, and copy them first where no copy is there.

    copy: in the place of the run. source: what the file is a copy of, when it lies elsewhere. resumed: whether a log
    pins the copy: then the table is not read again, but one that has changed is refused. key: of this user.

    Raises NotAcceptable, FileFailed, and UsageError without the extra.
    """
    export, options = table.export, table.options
    if options.whole:
        todo = "Export the records as JSON Lines."
        raise refusal(export.path, "a table, and this job needs whole records, one JSON object a line", todo)
    if options.format not in {"auto", "csv"}:
        raise UsageError(f"--format {options.format}: a workbook and a Parquet file have columns. Leave --format out")
    digest = _digest(export)
    if resumed and os.path.lexists(copy) and not export.is_file(copy):
        return _kept(export, options, copy, digest)
    if os.path.lexists(copy) and not export.is_file(copy):
        known = Source.read(copy)
        if known is None or known.table is None:
            reason = f"{copy} is a copy of something else"
            raise refusal(export.path, reason, "Name another place (--run) for this export.")
    try:
        make_folder(copy.parent)
    except OSError as error:
        raise _failed(copy, export.path, error.strerror or str(error)) from error
    sample, found = _unnamed(table, copy.absolute().parent, HEAD_ROWS)
    with sample:
        dialect = recognise(sample, csv_options(options))
        header = _header(sample) if dialect.header else []
    assert dialect.id_column is not None, "it is CSV"
    columns = [dialect.id_column, *([header.index(OUTCOME)] if OUTCOME in header else [])]
    of_copy = replace(dialect, delimiter=",", id_column=0)
    if source is None:
        version = Version(export.size, None, f"sha256:{digest}", None)
        source = Source(export.path, digest, version, stamp(time.time()))
    source = replace(source, table={"sha256": digest, **found, "asked": _asked(options), "dialect": of_copy.to_json()})
    fd = _copy(table, copy, columns, source, key)
    return CopiedRows(Export(fd, export.path, spooled=copy, block_size=export.block_size), of_copy, source)


def rows_of_copy(export: Export, options: ReadOptions, copy: Path, source: Source) -> CopiedRows:
    """The rows of a table that lies elsewhere, or is not named, but its copy. export: that copy, open.

    Raises NotAcceptable when other rows of the table are asked for.
    """
    return _kept_as(export.path, options, copy, source, export)


def _kept(export: Export, options: ReadOptions, copy: Path, digest: str) -> CopiedRows:
    source = Source.read(copy)
    if source is None or source.table is None:
        raise refusal(export.path, f"{copy} is a copy of something else", "Name another place (--run) for this export.")
    if source.table["sha256"] != digest:
        raise ExportChanged(
            f"{export.path}: has changed since {source.at}, when its rows were copied to {copy}. Nothing was sent. To "
            f"go on with that run, put the file back, or name the copy as the export, with --run {copy.parent}. "
            "For the rows as they are now, name another place (--run)."
        )
    return _kept_as(export.path, options, copy, source)


def _kept_as(path: str, options: ReadOptions, copy: Path, source: Source, opened: Export | None = None) -> CopiedRows:
    assert source.table is not None, "it is a copy of a table"
    dialect, asked = Dialect.from_json(source.table["dialect"]), _asked(options)
    named = (asked["id_field"] or "").casefold() == (dialect.id_field or "").casefold()
    for name, value in asked.items():
        before = source.table["asked"][name]
        if value != before and not (name == "id_field" and named):
            option = f"--{name.replace('_', '-')}"
            raise NotAcceptable(
                f"{path}: the rows in {copy} were taken with {f'{option} {before}' if before else f'no {option}'}. "
                "Nothing was sent. Give the options of that run, or name another place (--run) for a new one."
            )
    try:
        fd = regular_fd(copy) if opened is None else os.dup(opened.descriptor)
    except OSError as error:
        raise refusal(str(copy), error.strerror or str(error), "Put the copy back.") from error
    return CopiedRows(Export(fd, path, spooled=copy), dialect, source)


def _asked(options: ReadOptions) -> dict[str, str | None]:
    """The options that decide which rows a table has."""
    return {"id_field": options.id_field, "sheet": options.sheet}


def _header(sample: Export) -> list[str]:
    return next(csv.reader(io.StringIO(sample.read_at(0, BLOCK).decode(errors="replace"), newline="\n")))


def _digest(export: Export) -> str:
    digest = hashlib.sha256()
    try:
        for offset in range(0, export.size, BLOCK):
            digest.update(export.read_at(offset, BLOCK))
    except OSError as error:
        raise refusal(export.path, error.strerror or str(error), "Copy the export to a sound disk.") from error
    return digest.hexdigest()


def _unnamed(table: Table, folder: Path, rows_max: int | None) -> tuple[Export, dict[str, Any]]:
    export = table.export
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".bulkdel-", suffix=".part", buffering=0) as file:
            found = _convert(table, file.fileno(), folder, rows_max=rows_max)
            return Export(os.dup(file.fileno()), export.path, block_size=export.block_size), found
    except OSError as error:
        raise _failed(folder, export.path, error.strerror or str(error)) from error


def _copy(table: Table, copy: Path, columns: Sequence[int], source: Source, key: bytes | None) -> int:
    """Make the copy durable, under its name. Its source is written first."""
    export, part = table.export, part_of(copy)
    try:
        fd = open_copy(copy)
    except BlockingIOError:
        raise busy(export.path, copy) from None
    except OSError as error:
        raise _failed(copy, export.path, error.strerror or str(error)) from error
    try:
        _convert(table, fd, copy, columns=columns)
        _check_unchanged(export, source)
        sync(fd)
        source.of_all(fd).write(copy, key)
        part.replace(copy)
        sync_directory(copy)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
            if not copy.exists():
                source_of(copy).unlink(missing_ok=True)
        os.close(fd)
        if isinstance(error, OSError):
            raise _failed(copy, export.path, error.strerror or str(error)) from error
        raise
    return fd


def _check_unchanged(export: Export, source: Source) -> None:
    if source.table is not None and _digest(export) != source.table["sha256"]:
        raise refusal(export.path, "it was changed while it was read", "Run the same command again.")


def _convert(
    table: Table, out: int, to: Path, *, columns: Sequence[int] | None = None, rows_max: int | None = None
) -> dict[str, Any]:
    """Run the process that reads the table. Returns the sheet, and the names of the hidden ones."""
    export = table.export
    task = {
        "format": table.format,
        "file": export.descriptor,
        "out": out,
        "sheet": table.options.sheet,
        "columns": columns,
        "rows_max": rows_max,
        "sheet_may_lack": table.sheet_may_lack,
    }
    child = subprocess.Popen(  # noqa: S603 - this program itself
        [sys.executable, "-P", "-m", "bulkdel.export.tables", orjson.dumps(task).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(export.descriptor, out),
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", **for_child()},
    )
    with child:
        try:
            said = _said(child, lambda: table.on_progress(f"reading {export.path}: {_written(out)}"))
        except BaseException:
            child.kill()
            raise
    try:
        found: dict[str, Any] = orjson.loads(said)
    except orjson.JSONDecodeError:
        todo = "Open it and save it again, or export it as CSV."
        raise refusal(export.path, "a damaged file: what reads it has ended", todo) from None
    if (extra := found.get("installs")) is not None:
        raise UsageError(
            f"{export.path}: {found['reason']}. To read it, install the extra {extra}: pip install 'bulkdel[{extra}]', "
            "or export the file as CSV. Nothing was sent"
        )
    if (failed := found.get("failed")) is not None:
        raise _failed(to, export.path, failed)
    if (reason := found.get("reason")) is not None:
        raise refusal(export.path, reason, found["todo"])
    return found


def _said(child: subprocess.Popen[bytes], on_progress: Callable[[], None]) -> bytes:
    while True:
        try:
            return child.communicate(timeout=LOOK_S)[0]
        except subprocess.TimeoutExpired:
            on_progress()


def _written(out: int) -> str:
    return f"{os.fstat(out).st_size:,} bytes of ids so far"


def _failed(to: Path, path: str, reason: str) -> FileFailed:
    return FileFailed(
        f"{to}: {reason}. The rows of {path} are copied there first; nothing was sent. Make room there, or name "
        "another place (--run), and run the same command again."
    )
