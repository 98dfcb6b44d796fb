"""The rows that every format yields: batches with their lines and the text of bad rows. Knows no format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from bulkdel.core.bad_rows import BadRow, Unusable, all_strings
from bulkdel.core.id_parser import shortened
from bulkdel.core.record import Batch
from bulkdel.core.resume_point import ResumePoint
from bulkdel.export.lines import Lines

ROWS_MAX = 512
"""Rows of a batch: enough that the cost of a batch does not matter, few enough that memory stays flat."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch and where it stands.

    lines: 1-based line of the (decompressed) file where each row starts.
    block: what was read last; the first row may have begun before it.
    bad: the rows without a usable id, by position. raw: the same as they stand in the file, line ends included.
    """

    batch: Batch
    lines: Sequence[int]
    block: Lines
    bad: Mapping[int, BadRow] = field(default_factory=dict)
    raw: Sequence[bytes] = ()

    def resume_point(self) -> ResumePoint | None:
        """Where the first row begins; None when it began before the block."""
        line = self.lines[0]
        return ResumePoint(self.batch.start, line, self.block.byte_of(line)) if line >= self.block.line else None


def parsed_rows(
    found: Sequence[str | Unusable], raw: Callable[[int], bytes], lines: Sequence[int], block: Lines, position: int
) -> Parsed:
    """Make a batch.

    found: the id of each row, or why it has none. raw: the text of a row by its index, line end included.
    lines, block: as in Parsed. position: of the first row.
    """
    if all_strings(found):
        return Parsed(Batch(position, cast("list[str | BadRow]", found)), lines, block)
    raws = {i: raw(i) for i, id_ in enumerate(found) if isinstance(id_, Unusable)}
    rows = [
        BadRow(lines[i], shortened(raws[i]), id_) if isinstance(id_, Unusable) else id_ for i, id_ in enumerate(found)
    ]
    bad = {position + i: row for i, row in enumerate(rows) if isinstance(row, BadRow)}
    return Parsed(Batch(position, rows), lines, block, bad, [*raws.values()])


def one_line_rows(
    found: Sequence[str | Unusable], some: Sequence[bytes], block: Lines, line: int, position: int
) -> Parsed:
    """Make a batch of rows that are one line each.

    some: the lines, without their line feeds. line: 1-based, of the first of them.
    """

    def raw(i: int) -> bytes:
        return some[i] if block.torn and line + i == block.last_line else some[i] + b"\n"

    return parsed_rows(found, raw, range(line, line + len(some)), block, position)
