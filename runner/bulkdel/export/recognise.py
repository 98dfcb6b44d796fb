"""Recognises the dialect from the head of a file, for a resume, which does not parse the export again."""

from __future__ import annotations

import csv

from bulkdel.export.compression import MAGIC, decompressed, detect
from bulkdel.export.file import Export, Hashing
from bulkdel.export.lines import peek, whole_lines
from bulkdel.export.options import Dialect, ReadOptions
from bulkdel.export.sniff import is_bare, resolve


def recognise(export: Export, options: ReadOptions) -> Dialect:
    """Recognise the dialect as the preflight does. Raises NotAcceptable for a doubtful file."""
    head, compression = _head(export)
    return resolve(head, options, export.path, compression)


def is_bare_list(export: Export) -> bool:
    """Whether the first line is text in one column, so that `--id-field 1` cannot mean the wrong one."""
    return is_bare(_head(export)[0].lstrip().partition(b"\n")[0])


def header_of(export: Export, dialect: Dialect) -> bytes:
    """Return the lines above the data rows of a CSV file, so that some of its rows can be run as an export."""
    if not dialect.header and not dialect.sep_line:
        return b""
    lines = _head(export)[0].splitlines(keepends=True)
    above = 1 if dialect.sep_line else 0
    if not dialect.header:
        return b"".join(lines[:above])
    reader = csv.reader((line.decode() for line in lines[above:]), delimiter=dialect.delimiter or ",", strict=True)
    next(reader)
    return b"".join(lines[: above + reader.line_num])


def _head(export: Export) -> tuple[bytes, str]:
    blocks = Hashing(export)
    compression = detect(blocks.head(MAGIC))
    head, _ = peek(whole_lines(decompressed(blocks, compression, export.path, export.block_size), export.path))
    return head, compression
