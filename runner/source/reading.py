"""From an open export to rows: joins bytes, compression, lines and format. Both passes go through here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runner.core.parsing import Member
from runner.core.rows import BadRow, Batch, Mark
from runner.source.compression import decompressed
from runner.source.csvrows import csv_rows
from runner.source.export import Export, Fingerprint, checked_blocks
from runner.source.jsonl import Parsed, jsonl_rows
from runner.source.lines import Lines, skip_to, whole_lines
from runner.source.options import Dialect, ReadOptions
from runner.source.refusals import bad_row


def read_rows(
    export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint, begin: Mark | None = None
) -> Iterator[Batch]:
    """Yield the rows for the sending pass; batches of at most ROWS_MAX rows, in order. As `read_parsed`."""
    for parsed in read_parsed(export, dialect, options, fingerprint, begin):
        yield parsed.batch


def read_parsed(
    export: Export, dialect: Dialect, options: ReadOptions, fingerprint: Fingerprint, begin: Mark | None = None
) -> Iterator[Parsed]:
    """Yield the rows with the lines they stand on.

    begin: a mark of the preflight: what is before it is compared and not parsed. None for all rows.

    `dialect` and `fingerprint` are what the preflight found. Raises Halted, before anything of it is parsed, when a
    block's bytes are no longer what they were then.
    """
    blocks = checked_blocks(export, fingerprint)
    plain = decompressed(blocks, dialect.compression, export.path, export.block_size)
    if begin is None:
        return parse(whole_lines(plain, export.path), dialect, options, export.path)
    head, rest = skip_to(plain, begin.byte)
    return parse(whole_lines(rest, export.path, begin), dialect, options, export.path, position=begin.row, head=head)


def parse(
    lines: Iterable[Lines],
    dialect: Dialect,
    options: ReadOptions,
    path: str,
    *,
    position: int = 0,
    head: bytes = b"",
) -> Iterator[Parsed]:
    """Yield parsed rows. Raises NotAcceptable for damage, and for the first bad row unless they may be skipped.

    position, head: as `csv_rows` has them.
    """
    check = options.id_check()
    if dialect.format == "csv":
        found = csv_rows(lines, dialect, check, path, position=position, head=head)
    else:
        member = Member.of(dialect.id_field) if dialect.id_field is not None else None
        found = jsonl_rows(lines, member, check, path, position)
    for parsed in found:
        if parsed.raw and options.on_invalid != "skip":
            bad = next(row for row in parsed.batch.rows if isinstance(row, BadRow))
            raise bad_row(path, bad, may_skip=options.on_invalid == "stop")
        yield parsed
