"""Every value of an export, for the comparison with the texts of a report. Owns the walk over its cells.

The ids are those of the run. The cells are read by plain means: a cell of a bad row counts too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.run_state import RunState
from bulkdel.errors import BulkdelError
from bulkdel.export.converting import as_csv, as_text
from bulkdel.export.encoding import utf8_blocks
from bulkdel.export.file import Fingerprint, Hashing, fingerprint, open_export
from bulkdel.export.lines import whole_lines
from bulkdel.export.reopen import read_anew, way_of_reading
from bulkdel.export.rows import Dialect, ReadOptions
from bulkdel.input.frames import Input
from bulkdel.input.run_input import open_input
from bulkdel.job import load_job
from bulkdel.place.opening import log_place
from bulkdel.report.texts import TextCheck
from bulkdel.run_place import home_of

ROWS_AT_ONCE = 1_000
"""Rows of which the different cells are compared together: most columns repeat few values."""

_WORDS = re.compile(r"[\s,;\"']+")


def compare(run: Path, progress: RunState, check: TextCheck) -> bool:
    """Compare every value of the export of this run. Returns whether all were compared.

    run: its place. The export is where the log says, or in the home of the run. It may not be there, or have changed.
    """
    pinned = progress.header.pinned
    try:
        with ExitStack() as stack:
            way = way_of_reading(run, load_job(pinned["job"]), progress.header)
            where = _where(run, progress.header.export_path)
            for rows in _rows(run, progress, where, way, stack).rows():
                for id_ in rows.usable[1]:
                    check.see(id_, is_id=True)
            export = stack.enter_context(open_export(where))
            plain, _, _ = as_text(export, way[0], home_of(run).absolute(), lambda _: None, stack)
            reading = Hashing(plain)
            for value in cells_of(reading, as_csv(way[1])):
                check.see(value)
            read = reading.fingerprint() if plain is export else fingerprint(export)
            return read == Fingerprint(pinned["sha256"], pinned["bytes"])
    except BulkdelError:
        return False


def _rows(run: Path, progress: RunState, export: str, way: tuple[ReadOptions, Dialect], stack: ExitStack) -> Input:
    """The rows of the run; where `forget` has removed them, as they are read anew."""
    place = log_place(run)
    try:
        return open_input(place, progress.header, stack)
    except BulkdelError:
        return read_anew(export, way, progress.header, home_of(run).absolute(), stack)


def _where(run: Path, recorded: str) -> str:
    """The export: as the log has it, or of its name in the home of the run."""
    names = (Path(recorded), home_of(run) / Path(recorded).name)
    return next((str(each) for each in names if each.is_file()), recorded)


def cells_of(reading: Hashing, dialect: Dialect) -> Iterator[str]:
    """Yield every cell of every row of an export, each at least once. Raises NotAcceptable."""
    plain = utf8_blocks(reading, dialect.compression, dialect.encoding)
    lines = (line for block in whole_lines(plain, reading.export.path) for line in block.data.splitlines(keepends=True))
    rows = _csv_rows(lines, dialect) if dialect.format == "csv" else _line_rows(lines, dialect)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield from set(chain.from_iterable(some))


def _csv_rows(lines: Iterator[bytes], dialect: Dialect) -> Iterator[list[str]]:
    rows = csv.reader((line.decode(errors="replace") for line in lines), delimiter=dialect.delimiter or ",")
    for _ in range(dialect.header + dialect.sep_line):  # they name columns or the delimiter
        next(rows, None)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:  # a row that the run left out as bad
            continue


def _line_rows(lines: Iterator[bytes], dialect: Dialect) -> Iterator[list[str]]:
    for line in lines:
        if dialect.format == "lines":
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
