"""The rows of an export as they pass through the pipeline: Batch, Record, Chunk, and where a resume reads on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkdel.core.account_match import Instant
from bulkdel.core.bad_rows import BadRow
from bulkdel.core.ranges import Ranges, ranges_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive parsed rows: `rows[i]` has position `start + i` and is an id or a BadRow."""

    start: int
    rows: list[str | BadRow]


class Record(NamedTuple):
    """One row to settle.

    position: number of the data row in the export, from 0; bad rows and duplicates count too.
    id: as it is written in the export.
    payload: for jobs that send bodies instead of ids (a restore); None for a deletion.
    """

    position: int
    id: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that are sent in one request, in ascending position; at least one.

    in_doubt_since: when an intent without outcome was written for it; None for rows that were not sent yet.
    protected: the ids must not be sent (again): an exclude file that was added later names them, or they are those of
        the key's own user. Those in doubt are looked up.
    """

    records: tuple[Record, ...]
    in_doubt_since: Instant | None = None
    protected: bool = False

    @property
    def ids(self) -> list[str]:
        """The ids, in order."""
        return [record.id for record in self.records]


def positions_of(records: Sequence[Record]) -> Ranges:
    """Half-open ranges that cover exactly the positions of `records` (ascending)."""
    if records and records[-1].position - records[0].position == len(records) - 1:  # nearly always: without a gap
        return ((records[0].position, records[-1].position + 1),)
    return ranges_of(record.position for record in records)


def halves(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Cut in two, the first half the longer one. 50 → 25 → 13 → 7 → 4 → 2 → 1."""
    middle = (len(records) + 1) // 2
    return records[:middle], records[middle:]


class ResumePoint(NamedTuple):
    """Where a row begins.

    row: its position. line: 1-based. byte: of the decompressed export, from 0.
    """

    row: int
    line: int
    byte: int


def resume_points_of(value: Iterable[Iterable[int]]) -> tuple[ResumePoint, ...]:
    """Read the resume points of a log entry. Raises TypeError or ValueError for what no preflight wrote."""
    points = tuple(ResumePoint(*each) for each in value)
    last = ResumePoint(-1, 0, -1)
    for point in points:
        if set(map(type, point)) != {int} or not all(now > before for now, before in zip(point, last, strict=True)):
            raise ValueError(f"resume points must ascend: {point}")
        last = point
    return points
