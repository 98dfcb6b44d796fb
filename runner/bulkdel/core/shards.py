"""Shards: one export cut into parts that are sent by a process each. Pure.

Owns where the cuts are, and which shard has a row. A shard has consecutive rows, and a log of its own with the
positions of the whole export. So every count of the run is the sum of those of its shards, and a row has one log.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bulkdel.core.log_entries import Header, Shard
from bulkdel.core.outcome import SKIPS
from bulkdel.core.record import ResumePoint
from bulkdel.core.skipped_rows import PositionSet, SkippedRows

LOCAL, RAY = "local", "ray"
"""Engines: where the processes of shards run."""

_SHARDS = re.compile(rf"([1-9][0-9]{{0,4}}|[1-9][0-9]?,[0-9]{{3}})(?:@({LOCAL}|{RAY}))?")


def shards_of(text: str) -> tuple[int, str]:
    """Read `8` or `8@ray`: the number of shards, and the engine. Raises ValueError."""
    if (found := _SHARDS.fullmatch(text.strip())) is None:
        raise ValueError(text)
    return int(found[1].replace(",", "")), found[2] or LOCAL


def names_engine(option: str, values: Sequence[str]) -> bool:
    """Whether the value names an engine. Only the user of this machine may name one."""
    return option == "--shards" and any("@" in value for value in values)


def without_engine(options: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The values of options, with the number of shards alone."""
    return {
        option: [value.partition("@")[0] for value in values] if names_engine(option, values) else values
        for option, values in options.items()
    }


def cuts_of(points: Sequence[ResumePoint], rows: int, shards: int) -> tuple[ResumePoint, ...]:
    """Where the second shard begins, the third, and so on: the resume points nearest to equal parts of the rows.

    A cut is never inside a row, because a resume point is not. There are fewer shards where there are too few points.
    """
    cuts = dict[ResumePoint, None]()
    for number in range(1, shards):
        wanted = rows * number // shards
        right = bisect_left(points, wanted, key=lambda point: point.row)
        near = points[max(0, right - 1) : right + 1]
        if near:
            cuts[min(near, key=lambda point: abs(point.row - wanted))] = None
    return tuple(cuts)


def thinned(points: Sequence[ResumePoint], cuts: Sequence[ResumePoint], apart: int) -> tuple[ResumePoint, ...]:
    """The cuts, and of the other points those that are about `apart` rows apart: a header has to stay short."""
    kept, last = list[ResumePoint](), 0
    for point in points:
        if point in cuts or point.row - last >= apart:
            kept.append(point)
            last = point.row
    return tuple(kept)


def shard_numbers(header: Header) -> range:
    """The numbers of the shards of a run; none for a run in one process. header: of the run, which has the cuts."""
    return range(1, len(header.shards) + 2) if header.shards else range(0)


def spans_of(header: Header) -> list[tuple[int, int]]:
    """The rows of each shard as half-open ranges, in order. header: of the run."""
    firsts = [0, *(point.row for point in header.shards)]
    return list(zip(firsts, [*firsts[1:], header.counts["rows"]], strict=True))


def shard_header(header: Header, skipped: SkippedRows, number: int) -> tuple[Header, SkippedRows]:
    """The header of a shard's log and its skipped rows. header, skipped: of the run. number: from 1."""
    first, end = spans_of(header)[number - 1]
    own = SkippedRows()
    for reason, rows in skipped.by_reason.items():
        own.add(reason, PositionSet(rows.ranges(first, end)))
    counts = {"rows": end - first, "ids": end - first - own.rows.size}
    counts |= {str(reason): own.by_reason[reason].size for reason in SKIPS}
    points = tuple(point for point in header.resume_points if first <= point.row < end)
    part = replace(
        header,
        counts=counts,
        resume_points=points,
        skipped_sha256=None,  # its own log has a file of its own
        shards=(),
        shard=Shard(number, first),
    )
    return part, own
