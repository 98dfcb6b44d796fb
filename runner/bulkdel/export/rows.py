"""How the user wants the export to be read, its dialect, and the rows that every format yields.

Owns these records, and the formats with one row a line. `core.id_parser.ids_of_lines` parses these rows; `export.csv`
parses CSV.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast

from bulkdel.core.bad_rows import BadRow, MaxInvalid, Unusable
from bulkdel.core.id_parser import IdCheck, shortened
from bulkdel.core.id_type import IdType
from bulkdel.core.input_rows import Rows
from bulkdel.errors import UsageError
from bulkdel.export.encoding import UTF_8
from bulkdel.export.lines import Lines
from bulkdel.export.refusal import refuse_at_once
from bulkdel.format import shown


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the user wants the export to be read.

    id_types: all types of the job, to name the one that a misshapen id looks like.
    id_field: JSON member, with dots; CSV header name or 1-based column number.
    trim: strip surrounding spaces of ids instead of refusing them.
    skip_invalid: how many rows without a usable id are left out and counted; None: each stops the run.
    id_pattern: a regex that replaces the type's shape; it has to match the whole id.
    whole: whether each row is a whole record, whose text the job needs (`Parsed.payloads`). Only JSON Lines have one.
    encoding: of a file that is not UTF-8 (`export.encoding`). sheet: of a workbook (`export.tables`).
    protects: whether the file is an exclude file, which must protect every id that a person sees in it: each bad row
        refuses it, and so does a character in an id that cannot be seen.
    option: that names such a file.
    """

    id_type: IdType
    id_types: Mapping[str, IdType]
    format: Literal["auto", "jsonl", "csv", "lines"] = "auto"
    id_field: str | None = None
    trim: bool = False
    skip_invalid: MaxInvalid | None = None
    id_pattern: str | None = None
    whole: bool = False
    encoding: str | None = None
    sheet: str | None = None
    protects: bool = False
    option: str = "--exclude"

    def id_check(self) -> IdCheck:
        """Return the checks of ids for these options. Raises UsageError for a pattern that is no regular expression."""
        id_type, pattern = self.id_type, self.id_pattern
        if pattern is not None:
            try:
                shape = re.compile(pattern)
            except re.error as error:
                raise UsageError(
                    f"--id-pattern {shown(pattern)}: not a regular expression: {shown(error)}. Correct it."
                ) from error
            id_type = replace(id_type, shape=shape, uniform=None, shape_text=f"--id-pattern {shown(pattern)}")
        return IdCheck(id_type, self.id_types, trim=self.trim, visible=self.protects)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of the file and the place of the id. The log's header keeps it, so that a resume reads the same rows.

    format: `jsonl`, `csv`, `lines` (each line is an id), `workbook` or `parquet`.
    compression: `none`, `gzip` or `zstd`.
    delimiter: CSV only. header: CSV only: the first row names columns and is no data.
    id_field: the JSON member's path or the CSV column's header name; None for bare strings, plain lines and CSV
        without a header.
    id_column: CSV and tables only, 0-based. sheet: of a workbook.
    guessed: whether the program recognised the id field, or that each line is an id. The plan says so.
    sep_line: CSV only: the first line names the delimiter (`sep=;`, as Excel writes it) and is neither header nor data.
    encoding: of the text, as Python names it.
    """

    format: str
    compression: str
    delimiter: str | None = None
    header: bool = False
    id_field: str | None = None
    id_column: int | None = None
    guessed: bool = False
    sep_line: bool = False
    encoding: str = UTF_8
    sheet: str | None = None

    def as_named(self, options: ReadOptions) -> Dialect:
        """Of a table: with the column and the sheet that a command names, unless they are those of this dialect."""
        column = options.id_field
        if column is None:
            same = True
        elif column.isdecimal():
            same = int(column) - 1 == self.id_column
        else:
            same = column.casefold() == (self.id_field or "").casefold()
        return replace(self, id_field=self.id_field if same else column, sheet=options.sheet or self.sheet)


def dialect_of(pinned: Mapping[str, Any]) -> Dialect:
    """How a run has read its export. pinned: by the header. Raises TypeError where a member is missing."""
    known = {member.name for member in fields(Dialect)}
    return Dialect(**{name: value for name, value in pinned["source"].items() if name in known})


@dataclass(frozen=True, slots=True)
class Parsed:
    """Consecutive rows of an export: `rows[i]` has the position `start + i` and is an id or a BadRow.

    lines: 1-based line of the (decompressed) file where each row starts.
    payloads: the text of each row, for a job whose action needs more than the id; else empty.
    bad: the rows without a usable id, by position. raw: the same as they stand in the file, line ends included.
    """

    start: int
    rows: Sequence[str | BadRow]
    lines: Sequence[int]
    payloads: Sequence[bytes] = ()
    bad: Mapping[int, BadRow] = field(default_factory=dict)
    raw: Sequence[bytes] = ()

    @property
    def ids(self) -> list[str]:
        """The ids of the rows that have one."""
        return [row for row in self.rows if isinstance(row, str)]

    def for_input(self) -> Rows:
        """The same rows as the input has them. The record of a bad row is left empty: it need not be UTF-8."""
        if not self.bad:
            payloads = [payload.decode() for payload in self.payloads]
            return Rows(self.start, cast("list[str]", self.rows), self.lines, payloads)
        return Rows(
            self.start,
            [id_ if isinstance(id_, str) else None for id_ in self.rows],
            self.lines,
            ["" if row in self.bad else payload.decode() for row, payload in enumerate(self.payloads, self.start)],
            {row: bad.why.code for row, bad in self.bad.items()},
        )


def parsed_rows(
    found: Sequence[str | Unusable], raws: Callable[[], Sequence[bytes]], lines: Sequence[int], position: int
) -> Parsed:
    """Make consecutive rows.

    found: the id of each row, or why it has none. raws: gives the text of every row, line end included.
    lines: as in Parsed. position: of the first row.
    """
    if set(map(type, found)) == {str}:  # one check for a whole batch, because nearly every batch is good
        return Parsed(position, cast("Sequence[str]", found), lines)
    raw = raws()
    rows = [
        BadRow(lines[i], shortened(raw[i]), id_) if isinstance(id_, Unusable) else id_ for i, id_ in enumerate(found)
    ]
    bad = {position + i: row for i, row in enumerate(rows) if isinstance(row, BadRow)}
    return Parsed(position, rows, lines, bad=bad, raw=[raw[at - position] for at in bad])


def line_rows(
    blocks: Iterable[Lines], ids_of: Callable[[bytes], Sequence[str | Unusable]], path: str, *, whole: bool = False
) -> Iterator[Parsed]:
    """Yield the rows of a format with one row a line, bad ones included.

    ids_of: gives the id of each line, or why it has none. whole: keep the text of each row.
    Raises NotAcceptable for what no option makes acceptable.
    """
    position = 0
    for block in blocks:
        found = ids_of(block.data)
        numbers = range(block.line, block.line + len(found))
        parsed = parsed_rows(found, io.BytesIO(block.data).readlines, numbers, position)
        for bad in parsed.bad.values():
            refuse_at_once(path, bad, torn=block.torn and bad.line == block.last_line)
        if whole:
            lines = block.data.removesuffix(b"\n").split(b"\n")
            parsed = replace(parsed, payloads=lines)
        yield parsed
        position += len(found)
