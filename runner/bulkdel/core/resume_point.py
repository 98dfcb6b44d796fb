"""Places in an export from which a resume can read on. Owns how they are read from the log and how one is chosen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


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


def resume_point_before(points: Sequence[ResumePoint], row: int) -> ResumePoint | None:
    """Where to begin to read for a pass that starts at `row`; None for the beginning of the export."""
    found = bisect_right(points, row, key=lambda point: point.row) - 1
    return points[found] if found >= 0 else None
