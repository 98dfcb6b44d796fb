"""From parsed rows to records and skipped rows. Both passes over an export use this one sieve, so that they agree."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat
from typing import Literal, NamedTuple, cast

from bulkdel.core.bad_row_reason import Unusable
from bulkdel.core.duplicates import Duplicates
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import PLAIN, IdType
from bulkdel.core.record import Record

Skip = Literal["excluded", "duplicate", "invalid"]
"""Why a row of the export is never sent."""

_record = partial(tuple.__new__, Record)
"""`Record._make` without its check of the length: half the time, a hundred million times."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that holds no usable id.

    line: 1-based line of the (decompressed) export where the row starts.
    text: the row as it stands there, shortened; shown to the user and never logged.
    why: what is wrong with it.
    """

    line: int
    text: str
    why: Unusable


class ResumePoint(NamedTuple):
    """Where a row begins, so that the export can be read on from there.

    row: its position. line: 1-based. byte: of the decompressed export, from 0.
    """

    row: int
    line: int
    byte: int


def resume_points_of(value: Iterable[Iterable[int]]) -> tuple[ResumePoint, ...]:
    """Read marks as JSON has them. Raises TypeError or ValueError for what no preflight wrote."""
    marks = tuple(ResumePoint(*each) for each in value)
    last = ResumePoint(-1, 0, -1)
    for mark in marks:
        if set(map(type, mark)) != {int} or not all(now > before for now, before in zip(mark, last, strict=True)):
            raise ValueError(f"marks must ascend: {mark}")
        last = mark
    return marks


def resume_point_before(marks: Sequence[ResumePoint], row: int) -> ResumePoint | None:
    """Where to begin to read for a pass in which nothing before `row` is wanted; None for the first row."""
    found = bisect_right(marks, row, key=lambda mark: mark.row) - 1
    return marks[found] if found >= 0 else None


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows: `rows[i]` has position `start + i` and is an id or a BadRow."""

    start: int
    rows: list[str | BadRow]


def records_of(batch: Batch, skipped: Mapping[Skip, Sequence[int]]) -> list[Record]:
    """The rows that are not `skipped` (positions by reason)."""
    never = {position for positions in skipped.values() for position in positions}
    rows: Iterator[tuple[int, object, None]] = zip(count(batch.start), batch.rows, repeat(None))
    if never:
        rows = (row for row in rows if row[0] not in never)
    return list(map(_record, rows))


@dataclass(frozen=True, slots=True)
class Sifted:
    """A batch told apart: what to send, and the positions of what is never sent, ascending per reason."""

    records: list[Record]
    skipped: dict[Skip, list[int]]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Tells rows apart, each by itself.

    id_type: what makes two ids perhaps one account (protected).
    protected: ids that must never be sent, nor any that may be the same.
    duplicates: the rows that repeat an id, as the preflight found them. A row that is one stays one, also when an
        exclude file names its id later.
    """

    id_type: IdType = PLAIN
    protected: IdSet = field(default_factory=IdSet)
    duplicates: Duplicates = field(default_factory=Duplicates)

    def sift(self, batch: Batch) -> Sifted:
        """Sort one batch."""
        skipped = self.skipped(batch)
        return Sifted(records_of(batch, skipped), skipped)

    def skipped(self, batch: Batch) -> dict[Skip, list[int]]:
        """Return the positions that are never sent: `sift` without its records."""
        rows, protected = batch.rows, self.protected
        repeated = list(self.duplicates.between(batch.start, batch.start + len(rows))) if self.duplicates.size else []
        skipped: dict[Skip, list[int]] = {"excluded": [], "duplicate": repeated, "invalid": []}
        if set(map(type, rows)) <= {str} and not protected.meets_any(cast("list[str]", rows)):
            return skipped  # nearly every batch
        for position, row in enumerate(rows, batch.start):
            if isinstance(row, BadRow):
                skipped["invalid"].append(position)
            elif protected.meets(row) and position not in self.duplicates:
                skipped["excluded"].append(position)
        return skipped
