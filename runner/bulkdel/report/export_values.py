"""Every value of an export, for the comparison with the texts of a report. Owns the walk over its cells.

The ids are those of the run. The cells are read by plain means: a cell of a bad row counts too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.run_state import RunState
from bulkdel.errors import BulkdelError
from bulkdel.export import Dialect, Export, Fingerprint, ReadOptions, fingerprint, open_export
from bulkdel.export.converting import as_csv, as_text
from bulkdel.export.encoding import utf8_blocks
from bulkdel.export.file import Hashing
from bulkdel.export.lines import whole_lines
from bulkdel.export.reopen import read_anew, way_of_reading
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
            cells = Cells(plain, as_csv(way[1]))
            for value in cells:
                check.see(value)
            read = cells.fingerprint if plain is export else fingerprint(export)
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


class Cells:
    """Every cell of every row of an export, each at least once. Iterate over it once."""

    def __init__(self, export: Export, dialect: Dialect) -> None:
        self._hashing = Hashing(export)
        self._dialect = dialect

    def __iter__(self) -> Iterator[str]:
        """Yield them. Raises NotAcceptable."""
        rows = self._csv_rows() if self._dialect.format == "csv" else self._line_rows()
        while some := [row for _, row in zip(range(ROWS_AT_ONCE), rows, strict=False)]:
            yield from set(chain.from_iterable(some))

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the bytes, once all were read."""
        return self._hashing.fingerprint()

    def _lines(self) -> Iterator[bytes]:
        """Every line of the decompressed export, with its line feed."""
        plain = utf8_blocks(self._hashing, self._dialect.compression, self._dialect.encoding)
        for block in whole_lines(plain, self._hashing.export.path):
            yield from block.data.splitlines(keepends=True)

    def _csv_rows(self) -> Iterator[list[str]]:
        lines = (line.decode(errors="replace") for line in self._lines())
        rows = csv.reader(lines, delimiter=self._dialect.delimiter or ",")
        for _ in range(self._dialect.header + self._dialect.sep_line):  # they name columns or the delimiter
            next(rows, None)
        while True:
            try:
                yield next(rows)
            except StopIteration:
                return
            except csv.Error:  # a row that the run left out as bad
                continue

    def _line_rows(self) -> Iterator[list[str]]:
        for line in self._lines():
            if self._dialect.format == "lines":
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
