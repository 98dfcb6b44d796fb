"""From an open export to rows: joins bytes, compression, lines and format. Both passes go through here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from bulkdel.core.id_parser import Member, ids_of_lines, ids_of_plain_lines, ids_of_records
from bulkdel.core.record import ResumePoint
from bulkdel.export.csv import csv_rows
from bulkdel.export.encoding import UTF_8, utf8_blocks
from bulkdel.export.file import Export, Fingerprint, checked_blocks
from bulkdel.export.lines import LINE_MAX, Lines, skip_to, whole_lines, without_blank_end
from bulkdel.export.refusal import refusal
from bulkdel.export.rows import Dialect, Parsed, ReadOptions, line_rows


def read_rows(
    export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint, begin: ResumePoint | None = None
) -> Iterator[Parsed]:
    """Yield the rows; one batch for each block of `whole_lines`, in order.

    dialect, fingerprint: of the preflight. begin: a resume point of the preflight; None for all rows. The bytes before
        it are not parsed, and only read where the export is compressed or not UTF-8, or for the header of a CSV file.

    Raises Halted when a block has changed since the preflight, before any of it is parsed. Raises NotAcceptable for a
    bad row that the preflight did not find: another version of this program may have other rules.
    """
    stored = checked_blocks(export, fingerprint)
    plain = utf8_blocks(stored, dialect.compression, dialect.encoding, export.path, export.block_size)
    if begin is None:
        found = parse(whole_lines(plain, export.path), dialect, options, export.path)
    else:
        if (dialect.compression, dialect.encoding) == ("none", UTF_8):
            head, _ = skip_to(plain, min(begin.byte, LINE_MAX))
            first = begin.byte // export.block_size
            blocks = checked_blocks(export, fingerprint, first)
            _, rest = skip_to(blocks, begin.byte - first * export.block_size)
        else:
            head, rest = skip_to(plain, begin.byte)
        lines = whole_lines(rest, export.path, begin)
        found = parse(lines, dialect, options, export.path, position=begin.row, head=head)
    for parsed in found:
        for bad in parsed.bad.values() if options.on_invalid != "skip" else ():
            todo = "The row was usable when the run began. Go on with the version of bulkdel that began it."
            raise refusal(export.path, bad.why.words, todo, line=bad.line, text=bad.text)
        yield parsed


def parse(
    lines: Iterable[Lines],
    dialect: Dialect,
    options: ReadOptions,
    path: str,
    *,
    position: int = 0,
    head: bytes = b"",
) -> Iterator[Parsed]:
    """Yield parsed rows, bad ones included. Raises NotAcceptable for what no option makes acceptable.

    position, head: as `csv_rows` has them.
    """
    check = options.id_check()
    blocks = without_blank_end(lines, dialect.delimiter, path)
    if dialect.format == "csv":
        return csv_rows(blocks, dialect, check, path, position=position, head=head)
    if dialect.format == "lines":
        return line_rows(blocks, partial(ids_of_plain_lines, check=check), path, position)
    member = Member(tuple(dialect.id_field.split("."))) if dialect.id_field is not None else None
    if options.whole and member is not None:
        return line_rows(blocks, partial(ids_of_records, member=member, check=check), path, position, whole=True)
    return line_rows(blocks, partial(ids_of_lines, member=member, check=check), path, position)
