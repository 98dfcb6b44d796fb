"""What a file is, from its head: for a resume, which does not parse the export again before it is sent."""

from __future__ import annotations

from runner.source.compression import MAGIC, decompressed, detect
from runner.source.dialect import DELIMITERS, resolve
from runner.source.export import Export, Hashing
from runner.source.lines import peek, whole_lines
from runner.source.options import Dialect, ReadOptions


def recognise(export: Export, options: ReadOptions) -> Dialect:
    """Tell the dialect as the preflight does. Raises NotAcceptable when it cannot be told."""
    head, compression = _head(export)
    return resolve(head, options, export.path, compression)


def is_bare_list(export: Export) -> bool:
    """Whether the first line is text in one column, so that `--id-field 1` cannot mean the wrong one."""
    first = _head(export)[0].lstrip().partition(b"\n")[0]
    return not any(mark in first for mark in b'{["' + "".join(DELIMITERS).encode())


def _head(export: Export) -> tuple[bytes, str]:
    blocks = Hashing(export)
    compression = detect(blocks.head(MAGIC))
    head, _ = peek(whole_lines(decompressed(blocks, compression, export.path, export.block_size), export.path))
    return head, compression
