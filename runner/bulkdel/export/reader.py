"""From lines to rows: joins lines and format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from bulkdel.core.id_parser import Member, ids_of_lines, ids_of_plain_lines, ids_of_records
from bulkdel.export.csv import csv_rows
from bulkdel.export.lines import Lines, without_blank_end
from bulkdel.export.rows import Dialect, Parsed, ReadOptions, line_rows


def parse(lines: Iterable[Lines], dialect: Dialect, options: ReadOptions, path: str) -> Iterator[Parsed]:
    """Yield parsed rows, bad ones included. Raises NotAcceptable for what no option makes acceptable."""
    check = options.id_check()
    blocks = without_blank_end(lines, dialect.delimiter, path)
    if dialect.format == "csv":
        return csv_rows(blocks, dialect, check, path)
    if dialect.format == "lines":
        return line_rows(blocks, partial(ids_of_plain_lines, check=check), path)
    member = Member(tuple(dialect.id_field.split("."))) if dialect.id_field is not None else None
    if options.whole and member is not None:
        return line_rows(blocks, partial(ids_of_records, member=member, check=check), path, whole=True)
    return line_rows(blocks, partial(ids_of_lines, member=member, check=check), path)
