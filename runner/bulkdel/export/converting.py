"""Workbooks and Parquet files as exports: their rows are copied as CSV, to a file without a name.

The copy has only the column of the id (and that of the outcome, when results are fed back). Line n is row n of the
sheet. `export.tables` reads the file, in a process of its own.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.table_cells import OUTCOME
from bulkdel.errors import UsageError
from bulkdel.export.download import Step
from bulkdel.export.file import BLOCK, Copying, Export
from bulkdel.export.refusal import refusal
from bulkdel.export.rows import Dialect, ReadOptions
from bulkdel.export.sniff import recognise
from bulkdel.export.tables import OLE, Task
from bulkdel.format import to_install
from bulkdel.parent import for_child

ZIP, PARQUET = b"PK\x03\x04", b"PAR1"

WORKBOOK, PARQUET_FORMAT = "workbook", "parquet"

HEAD_ROWS = 1_000
"""Rows in which the columns are recognised."""

PARQUET_ADVICE_ROWS = 100_000
"""Rows of a Parquet file that are read for advice, with all columns."""

LOOK_S = 0.1
"""How often the reading calls `on_progress`."""


@dataclass(frozen=True, slots=True)
class Table:
    """A workbook or a Parquet file that is to be read.

    format: `workbook` or `parquet`. options: an exclude file need not have the sheet that they name: it may be that of
    the export.
    """

    export: Export
    format: str
    options: ReadOptions
    on_progress: Step


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table as CSV. file: the open copy. in_copy: how it is read. dialect: the same of the table.

    hidden: the names of the sheets that are hidden.
    """

    file: Export
    in_copy: Dialect
    dialect: Dialect
    hidden: Sequence[str]


def table_of(export: Export, options: ReadOptions, on_progress: Step) -> Table | None:
    """Recognise a workbook or a Parquet file by its first bytes; None for text."""
    head = export.read_at(0, 8)
    if head.startswith((ZIP, OLE)):
        return Table(export, WORKBOOK, options, on_progress)
    return Table(export, PARQUET_FORMAT, options, on_progress) if head.startswith(PARQUET) else None


def as_csv(dialect: Dialect) -> Dialect:
    """How a copy of every column of a table is read. dialect: of the table, or of text, which is read as it is."""
    is_table = dialect.format in {WORKBOOK, PARQUET_FORMAT}
    return replace(dialect, format="csv", delimiter=",", sheet=None) if is_table else dialect


def as_text(
    export: Export, options: ReadOptions, folder: Path, on_progress: Step, stack: ExitStack, *, for_advice: bool = False
) -> tuple[Export, ReadOptions, dict[str, Any]]:
    """The rows of an export as text: the export itself; of a table a copy of every column, which `stack` closes.

    folder: of the copy, which has no name. for_advice: of a Parquet file the first rows suffice.

    Returns also how the text is read, and of a table the sheet that was read with the names of the hidden ones
    (`sheet`, `hidden`). Raises NotAcceptable for a file that cannot be read, UsageError without the extra.
    """
    if (table := table_of(export, options, on_progress)) is None:
        return export, options, {}
    rows_max = PARQUET_ADVICE_ROWS if for_advice and table.format == PARQUET_FORMAT else None
    copy, found = _copy(table, folder, rows_max)
    return stack.enter_context(copy), _csv_options(options), found


def _csv_options(options: ReadOptions) -> ReadOptions:
    """How the copy of a table is read."""
    return replace(options, format="csv", encoding=None)


def rows_of(table: Table, folder: Path) -> TableRows:
    """Copy the column of the ids to a file in `folder` without a name.

    Raises NotAcceptable, FileFailed, and UsageError without the extra.
    """
    export, options = table.export, table.options
    if options.whole:
        todo = "Export the records as JSON Lines."
        raise refusal(export.path, "a table, and this job needs whole records, one JSON object a line", todo)
    if options.format not in {"auto", "csv"}:
        raise UsageError(f"--format {options.format}: a workbook and a Parquet file have columns. Leave --format out")
    sample, found = _copy(table, folder, HEAD_ROWS)
    with sample:
        dialect = replace(recognise(sample, _csv_options(options)), delimiter=",")
        header = _header(sample) if dialect.header else []
    assert dialect.id_column is not None, "it is CSV"
    columns = [dialect.id_column, *([header.index(OUTCOME)] if OUTCOME in header else [])]
    rows, _ = _copy(table, folder, columns=columns)
    of_table = replace(dialect, format=table.format, delimiter=None, sheet=found["sheet"])
    return TableRows(rows, replace(dialect, id_column=0), of_table, found["hidden"])


def _header(sample: Export) -> list[str]:
    return next(csv.reader(io.StringIO(sample.read_at(0, BLOCK).decode(errors="replace"), newline="\n")))


def _copy(
    table: Table, folder: Path, rows_max: int | None = None, columns: Sequence[int] | None = None
) -> tuple[Export, dict[str, Any]]:
    """Copy some columns to a file without a name; None for all of them. Returns also what `_convert` returns."""
    export, copying = table.export, Copying(folder, f"The rows of {table.export.path} are")
    with copying.new_file() as fd, copying.writing():
        found = _convert(table, fd, columns=columns, rows_max=rows_max)
        if (failed := found.get("failed")) is not None:
            raise copying.failed(failed)
    return Export(fd, export.path, copied=True, block_size=export.block_size), found


def _convert(table: Table, out: int, *, columns: Sequence[int] | None, rows_max: int | None) -> dict[str, Any]:
    """Run the process that reads the table. Returns the sheet, and the names of the hidden ones.

    Where the process could not write, it returns only why (`failed`).
    """
    export, options = table.export, table.options
    task = Task(table.format, export.descriptor, out, options.sheet, columns, rows_max, sheet_may_lack=options.protects)
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
            said = _said(child, table, out)
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
            f"{export.path}: {found['reason']}. To read it, install the extra {extra}: {to_install(extra)}, "
            "or export the file as CSV. Nothing was sent"
        )
    if (reason := found.get("reason")) is not None:
        raise refusal(export.path, reason, found["todo"])
    return found


def _said(child: subprocess.Popen[bytes], table: Table, out: int) -> bytes:
    """Wait for the result of the process, and report on it meanwhile."""
    while True:
        try:
            return child.communicate(timeout=LOOK_S)[0]
        except subprocess.TimeoutExpired:
            table.on_progress(f"reading {table.export.path}: {os.fstat(out).st_size:,} bytes of ids so far")
