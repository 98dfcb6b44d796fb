"""Every value of an export, for the comparison with the texts of a report. Owns the walk over its cells.

The ids are those that the run read. The cells are read by plain means: a cell of a bad row counts too.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.bad_rows import BadRow, Why
from bulkdel.core.run_state import Progress
from bulkdel.errors import BulkdelError
from bulkdel.export import Dialect
from bulkdel.export.reopen import RunExport
from bulkdel.report.texts import TextCheck
from bulkdel.store_path import beside as beside_log

ROWS_AT_ONCE = 1_000
"""Rows of which the different cells are compared together: most columns repeat few values."""

_WORDS = re.compile(r"[\s,;\"']+")


def compare(log: Path, progress: Progress, check: TextCheck) -> Counter[Why] | None:
    """Compare every value of the export of this run. Returns how many bad rows it has, by reason.

    log: where the log is: the export is where the log says, or beside the log.

    Returns None when the export is not there, has changed, or cannot be read. Then the texts are not compared.
    """
    beside = beside_log(log, "").with_name(Path(progress.header.export_path).name)
    moved = str(beside) if not Path(progress.header.export_path).is_file() and beside.is_file() else None
    bad: Counter[Why] = Counter()
    try:
        with ExitStack() as stack:
            export = RunExport.open(log, progress, moved, stack)
            for parsed in export.rows():
                for row in parsed.batch.rows:
                    if isinstance(row, BadRow):
                        bad[row.why.why] += 1
                    else:
                        check.see(row, is_id=True)
            for value in cells_of(export):
                check.see(value)
    except BulkdelError:
        return None
    return bad


def cells_of(export: RunExport) -> Iterator[str]:
    """Every cell of every row, each at least once."""
    rows = _csv_rows(export) if export.dialect.format == "csv" else _line_rows(export)
    while some := [row for _, row in zip(range(ROWS_AT_ONCE), rows, strict=False)]:
        yield from set(chain.from_iterable(some))


def _csv_rows(export: RunExport) -> Iterator[list[str]]:
    lines = (line.decode(errors="replace") for line in export.lines())
    delimiter = export.dialect.delimiter or ","
    rows = csv.reader(lines, delimiter=delimiter)
    for _ in range(_head(export.dialect)):
        next(rows, None)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:  # a row that the run left out as bad
            continue


def _head(dialect: Dialect) -> int:
    """Rows at the beginning that name columns or the delimiter."""
    return dialect.header + dialect.sep_line


def _line_rows(export: RunExport) -> Iterator[list[str]]:
    for line in export.lines():
        if export.dialect.format == "lines":
            yield [line.decode(errors="replace").strip()]
            continue
        try:
            yield list(_values(orjson.loads(line)))
        except orjson.JSONDecodeError:
            yield _WORDS.split(line.decode(errors="replace"))


def _values(value: Any) -> Iterator[str]:
    """The texts and numbers in a JSON value."""
    match value:
        case str():
            yield value
        case bool() | None:
            pass
        case dict():
            for each in value.values():
                yield from _values(each)
        case list():
            for each in value:
                yield from _values(each)
        case _:
            yield str(value)
