"""CSV to rows. Owns quoting, columns and the lines a row spans; what an id is, the core knows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter

from bulkdel.core.bad_row_reason import Unusable, Why
from bulkdel.core.id_parser import FED_BACK, IdCheck, shortened
from bulkdel.core.result_row import MARK, is_report, unmarked
from bulkdel.core.row_filter import BadRow, Batch
from bulkdel.errors import NotAcceptable
from bulkdel.export.jsonl import ROWS_MAX, Parsed, result_refusal
from bulkdel.export.lines import LINE_MAX, Lines, decoded
from bulkdel.export.options import Dialect
from bulkdel.export.refusal import refusal

CORRECT_QUOTES = "Correct it: quotes inside a field are doubled, and a quoted field ends before the delimiter."

_UNFINISHED = "unexpected end of data"
"""What csv says when the lines end inside quotes."""


def csv_rows(
    blocks: Iterable[Lines], dialect: Dialect, check: IdCheck, path: str, *, position: int = 0, head: bytes = b""
) -> Iterator[Parsed]:
    """Yield the rows of `blocks`, bad ones included. Raises NotAcceptable for what no option makes acceptable.

    position, head: where the blocks do not begin with the file: the first row's position, and how the file begins.
    """
    # The limit is csv's own, for the whole process; its default of 128 kB would refuse fields that are allowed.
    csv.field_size_limit(LINE_MAX)
    reader = CsvRows(dialect, check, path, position)
    reader.learn(head)
    for block in blocks:
        yield from reader.read(block)
    reader.finish()


class CsvRows:
    """Reads block after block.

    A row may go on in the next block (a quoted line feed). Its lines then wait for that block and are read again with
    it, which costs little: they are less than LINE_MAX.
    """

    def __init__(self, dialect: Dialect, check: IdCheck, path: str, position: int = 0) -> None:
        assert dialect.id_column is not None
        assert dialect.delimiter is not None
        self._column = dialect.id_column
        self._cell = itemgetter(dialect.id_column)
        self._delimiter = dialect.delimiter
        self._sep_line_left = dialect.sep_line
        self._header_left = dialect.header
        self._check = check
        self._path = path
        self._width = 0
        self._outcome: int | None = None
        self._marked = False
        self._position = position
        self._block = Lines(b"", 1, 0)
        self._pending: list[str] = []
        self._pending_line = 1

    def learn(self, head: bytes) -> None:
        """Take the columns from the beginning of the file. It was read before, so that its first row is whole."""
        if head:
            self._first_row([*io.StringIO(head.decode(errors="replace"), newline="\n")], 1)

    def read(self, block: Lines) -> Iterator[Parsed]:
        """Yield the rows that end in this block, ROWS_MAX at a time."""
        self._block = block
        pending, self._pending = self._pending, []
        line = self._pending_line if pending else block.line
        lines = [*pending, *io.StringIO(decoded(block, self._path), newline="\n")]
        at = 0
        if not self._width:
            at = self._first_row(lines, line)
        reader = csv.reader(lines[at:], delimiter=self._delimiter, strict=True)
        while at < len(lines):
            parsed = self._quick(reader, line + at)
            if parsed is not None:
                at += len(parsed.batch.rows)
            else:
                # It reads the same rows again. If the quick reader stumbled, this one does at the same place; then the
                # rest of the block waits for the next one, or everything stops.
                parsed, at = self._slow(lines, at, line)
            self._position += len(parsed.batch.rows)
            if parsed.batch.rows:
                yield parsed

    def finish(self) -> None:
        """Say that no block follows. Raises NotAcceptable when a row is not complete."""
        if self._pending:
            raise self._damaged("a quote that is never closed", self._pending_line, self._pending)

    def _first_row(self, lines: list[str], line: int) -> int:
        """Learn the columns; return how many lines the header took, and a line that names the delimiter before it."""
        above = 1 if self._sep_line_left else 0
        reader = csv.reader(lines[above:], delimiter=self._delimiter, strict=True)
        try:
            row = next(reader)
        except StopIteration:  # the block ends after the line that names the delimiter
            self._sep_line_left = False
            return above
        except csv.Error as error:
            self._wait(error, lines, line)
            return len(lines)
        self._sep_line_left = False
        self._width = len(row)
        if not self._header_left:
            return above
        self._header_left = False
        if "outcome" in row:
            self._outcome = row.index("outcome")
            self._marked = is_report(row)
        return above + reader.line_num

    def _quick(self, reader: Iterator[list[str]], line: int) -> Parsed | None:
        """Read a batch in which every row is one line, from `line` on, and has a good id; or return None."""
        before = reader.line_num  # type: ignore[attr-defined]
        try:
            rows = list(islice(reader, ROWS_MAX))
        except csv.Error:
            return None
        if reader.line_num - before != len(rows) or self._outcome is not None:  # type: ignore[attr-defined]
            return None
        if set(map(len, rows)) != {self._width}:
            return None
        ids = list(map(self._cell, rows))
        if not self._check.all_usable(ids):
            return None
        return Parsed(Batch(self._position, [*ids]), range(line, line + len(ids)), self._block)

    def _slow(self, lines: list[str], at: int, line: int) -> tuple[Parsed, int]:
        """Read a batch row by row from `lines[at]` on; return it and where the next one starts."""
        starts: list[int] = []
        parsed = Parsed(Batch(self._position, []), starts, self._block)
        reader = csv.reader(lines[at:], delimiter=self._delimiter, strict=True)
        start = at
        for _ in range(ROWS_MAX):
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                self._wait(error, lines[start:], line + start)
                return parsed, len(lines)
            stop = at + reader.line_num
            raw = lines[start:stop]
            if len(raw) > 1 and sum(map(len, raw)) > LINE_MAX:
                raise self._damaged("a row over 1 MiB", line + start, raw)
            row = self._row(cells, line + start, raw)
            if isinstance(row, BadRow):
                parsed.raw.append("".join(raw).encode())
            parsed.batch.rows.append(row)
            starts.append(line + start)
            start = stop
        return parsed, start

    def _row(self, cells: list[str], line: int, raw: list[str]) -> str | BadRow:
        if len(cells) != self._width:
            return BadRow(line, shortened("".join(raw)), self._ragged(len(cells)))
        if self._outcome is not None and cells[self._outcome] not in FED_BACK:
            raise result_refusal(self._path, line, "".join(raw), cells[self._outcome])
        id_ = cells[self._column]
        if self._outcome is not None and id_.startswith(MARK):
            if not self._marked:
                raise self._perhaps_marked(line, raw)
            id_ = unmarked(id_)
        found = self._check.check(id_)
        return BadRow(line, shortened("".join(raw)), found) if isinstance(found, Unusable) else found

    def _ragged(self, width: int) -> Unusable:
        if not width:
            return Unusable(Why.EMPTY_ID if self._width == 1 else Why.EMPTY_LINE)
        return Unusable(
            Why.COLUMNS, f"{width} column{'' if width == 1 else 's'}, where the first row has {self._width}"
        )

    def _perhaps_marked(self, line: int, raw: list[str]) -> NotAcceptable:
        """Results whose columns were changed, or somebody else's: with or without the mark, the id may be wrong."""
        reason = f"an id that begins with {MARK}, which `bulkdel results` writes before what a spreadsheet might run"
        todo = "Feed its CSV back with all its columns, or use its JSON Lines."
        return refusal(self._path, reason, todo, line=line, text="".join(raw))

    def _wait(self, error: csv.Error, lines: list[str], line: int) -> None:
        """Keep `lines` until the next block comes, if all that is wrong with them is that they end inside quotes."""
        if str(error) != _UNFINISHED:
            reason = str(error)
            if "\r" in lines[0].rstrip("\r\n"):  # the usual cause, and csv's words for it are those of a programmer
                reason = "a carriage return outside quotes that is no line end, or a misplaced quote"
            raise self._damaged(reason, line, lines[:1]) from error
        if sum(map(len, lines)) > LINE_MAX:
            raise self._damaged("a row over 1 MiB: a quote is not closed", line, lines)
        self._pending, self._pending_line = lines, line

    def _damaged(self, reason: str, line: int, raw: list[str]) -> NotAcceptable:
        return refusal(self._path, reason, CORRECT_QUOTES, line=line, text="".join(raw[:2]))
