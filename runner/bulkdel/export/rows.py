"""What every format yields: batches of rows, and what only the file knows of them. Owns nothing of a format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bulkdel.core.bad_rows import BadRow, Unusable
from bulkdel.core.id_parser import shortened
from bulkdel.core.record import Batch
from bulkdel.core.resume_point import ResumePoint
from bulkdel.export.lines import Lines

ROWS_MAX = 512
"""Rows of a batch: enough that the price of a batch does not matter, few enough that memory stays flat."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch and where it stands.

    lines: 1-based line of the (decompressed) file where each row starts.
    block: what was read last; the first row may have begun before it.
    raw: the bad rows as they stand in the file, line ends included.
    """

    batch: Batch
    lines: Sequence[int]
    block: Lines
    raw: list[bytes] = field(default_factory=list)

    @property
    def bad(self) -> list[BadRow]:
        """The rows that hold no usable id."""
        return [row for row in self.batch.rows if isinstance(row, BadRow)] if self.raw else []

    def resume_point(self) -> ResumePoint | None:
        """Where the first row begins; None when it began before the block."""
        line = self.lines[0]
        return ResumePoint(self.batch.start, line, self.block.byte_of(line)) if line >= self.block.line else None


def one_line_rows(
    found: Sequence[str | Unusable], lines: Sequence[bytes], block: Lines, line: int, position: int
) -> Parsed:
    """Make the batch of rows that are one line each.

    found: the id of each line, or why it has none. line: 1-based, of the first of `lines`. position: of the first row.
    """
    rows: list[str | BadRow] = []
    raw: list[bytes] = []
    for id_, text, number in zip(found, lines, range(line, line + len(lines)), strict=True):
        if isinstance(id_, str):
            rows.append(id_)
        else:
            rows.append(BadRow(number, shortened(text), id_))
            raw.append(text if block.torn and number == block.last_line else text + b"\n")
    return Parsed(Batch(position, rows), range(line, line + len(lines)), block, raw)
