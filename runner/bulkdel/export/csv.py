"""CSV to rows. Owns quoting, columns and rows over several lines; `core.id_parser` checks the id of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import suppress

from bulkdel.core.bad_rows import Unusable, Why
from bulkdel.core.id_parser import FED_BACK, IdCheck
from bulkdel.core.result_row import MARK, is_report, unmarked
from bulkdel.core.table_cells import OUTCOME
from bulkdel.errors import NotAcceptable
from bulkdel.export.lines import LINE_MAX, Lines, decoded
from bulkdel.export.refusal import refusal, refuse_at_once
from bulkdel.export.rows import Dialect, Parsed, parsed_rows

CORRECT_QUOTES = "Correct it: quotes inside a field are doubled, and a quoted field ends before the delimiter."


def csv_rows(blocks: Iterable[Lines], dialect: Dialect, check: IdCheck, path: str) -> Iterator[Parsed]:
    """Yield the rows of `blocks`, bad ones included. Raises NotAcceptable if no option makes the file acceptable."""
    # The limit holds for the whole process. Its default of 128 kB would refuse fields that are allowed.
    csv.field_size_limit(LINE_MAX)
    reader = _CsvReader(dialect, check, path)
    for block in blocks:
        yield from reader.read(block)
    reader.finish()


class _CsvReader:
    """Reads block after block.

    A row may continue in the next block (a quoted line feed). Its lines are then kept, and read again with that block;
    they are shorter than LINE_MAX.
    """

    def __init__(self, dialect: Dialect, check: IdCheck, path: str) -> None:
        assert dialect.id_column is not None
        assert dialect.delimiter is not None
        self._column = dialect.id_column
        self._delimiter = dialect.delimiter
        self._sep_line_left = dialect.sep_line
        self._header_left = dialect.header
        self._check = check
        self._path = path
        self._position = 0
        self._width = 0
        self._outcome: int | None = None
        self._marked = self._of_table = False
        self._waiting: list[str] = []
        self._waiting_line = 1

    def read(self, block: Lines) -> Iterator[Parsed]:
        """Yield the rows that end in this block."""
        lines = [*self._waiting, *io.StringIO(decoded(block, self._path), newline="\n")]
        line = self._waiting_line if self._waiting else block.line
        self._waiting = []
        begin = 0 if self._width else self.read_heading(lines, line)
        reader = csv.reader(lines[begin:], delimiter=self._delimiter, strict=True)
        starts, rows = [begin], []
        try:
            for cells in reader:
                rows.append(cells)
                starts.append(begin + reader.line_num)
        except csv.Error as error:
            self._wait(error, lines[starts[-1] :], line + starts[-1])
        if rows:
            yield self._parsed(rows, starts, lines, line)
            self._position += len(rows)

    def finish(self) -> None:
        """Note that no block follows. Raises NotAcceptable when a row is not complete."""
        if self._waiting:
            raise self._damaged("a quote that is never closed", self._waiting_line, self._waiting)

    def read_heading(self, lines: list[str], line: int) -> int:
        """Read the columns. Returns the number of lines of the header, and of a `sep=` line before it."""
        above = 1 if self._sep_line_left else 0
        self._sep_line_left = False
        if above == len(lines):  # the block ends after the `sep=` line
            return above
        reader = csv.reader(lines[above:], delimiter=self._delimiter, strict=True)
        try:
            row = next(reader)
        except csv.Error as error:
            self._wait(error, lines[above:], line + above)
            return len(lines)
        self._width = len(row)
        if not self._header_left:
            return above
        self._header_left = False
        if "outcome" in row:
            self._outcome = row.index("outcome")
            self._marked = is_report(row)
        elif OUTCOME in row:
            self._outcome, self._of_table = row.index(OUTCOME), True
        return above + reader.line_num

    def _parsed(self, rows: list[list[str]], starts: list[int], lines: list[str], line: int) -> Parsed:
        """Find the ids of some rows. starts: index of the first line of each row, and of the row after them."""

        def raw(i: int) -> list[str]:
            return lines[starts[i] : starts[i + 1]]

        def raws() -> list[bytes]:
            return ["".join(raw(i)).encode() for i in range(len(rows))]

        if starts[-1] - starts[0] > len(rows):  # a row of several lines is among them
            for i in range(len(rows)):
                if sum(map(len, raw(i))) > LINE_MAX:
                    raise self._damaged("a row over 1 MiB", line + starts[i], raw(i))
        if self._outcome is None and set(map(len, rows)) == {self._width}:
            found = self._check.check_all([cells[self._column] for cells in rows])
        else:
            found = [self._id(cells, line + starts[i], raw(i)) for i, cells in enumerate(rows)]
        numbers = [line + start for start in starts[:-1]]
        parsed = parsed_rows(found, raws, numbers, self._position)
        for bad in parsed.bad.values():
            refuse_at_once(self._path, bad)
        return parsed

    def _id(self, cells: list[str], line: int, raw: list[str]) -> str | Unusable:
        if len(cells) != self._width:
            return self._ragged(len(cells))
        id_ = cells[self._column]
        if self._outcome is not None:
            if cells[self._outcome] not in FED_BACK:
                return Unusable(Why.RESULT, repr(cells[self._outcome]))
            if id_.startswith(MARK) and not self._of_table:
                if not self._marked:
                    raise self._perhaps_marked(line, raw)
                id_ = unmarked(id_)
        return self._check.check(id_)

    def _ragged(self, width: int) -> Unusable:
        if not width:
            return Unusable(Why.EMPTY_ID if self._width == 1 else Why.EMPTY_LINE)
        columns = f"{width} column{'' if width == 1 else 's'}"
        return Unusable(Why.COLUMNS, f"{columns}, where the first row has {self._width}")

    def _perhaps_marked(self, line: int, raw: list[str]) -> NotAcceptable:
        """Refuse results with changed columns or of another tool: with or without the mark, the id may be wrong."""
        reason = f"an id that begins with {MARK}, which `bulkdel results` puts before text that looks like a formula"
        todo = "Feed its CSV back with all its columns, or use its JSON Lines."
        return refusal(self._path, reason, todo, line=line, text="".join(raw))

    def _wait(self, error: csv.Error, lines: list[str], line: int) -> None:
        """Keep `lines` for the next block if they end inside quotes. Raises NotAcceptable for any other fault."""
        if not self._ends_in_quotes(lines):
            reason = str(error)
            if "\r" in lines[0].rstrip("\r\n"):  # the usual cause; csv's own message is for programmers
                reason = "a carriage return outside quotes that is no line end, or a misplaced quote"
            raise self._damaged(reason, line, lines[:1]) from error
        if sum(map(len, lines)) > LINE_MAX:
            raise self._damaged("a row over 1 MiB: a quote is not closed", line, lines)
        self._waiting, self._waiting_line = lines, line

    def _ends_in_quotes(self, lines: list[str]) -> bool:
        """Whether the row that begins with `lines` continues after them: then csv asks for one more line."""
        reader = csv.reader([*lines, "\n"], delimiter=self._delimiter, strict=True)
        with suppress(csv.Error):
            next(reader)
        return reader.line_num > len(lines)

    def _damaged(self, reason: str, line: int, raw: list[str]) -> NotAcceptable:
        return refusal(self._path, reason, CORRECT_QUOTES, line=line, text="".join(raw[:2]))
