"""From batches of rows to the work of one pass: which records go together, what is skipped, what is in doubt.

A pass walks the export once, in order. What is settled is passed over; what was in doubt when the pass began comes as
chunks of its own, never mixed with fresh ids; the rest is cut into fresh chunks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, cast

from bulkdel.core.account_match import Instant
from bulkdel.core.id_set import IdSet, surely_apart
from bulkdel.core.log_entries import Skipped
from bulkdel.core.outcome import SKIPS
from bulkdel.core.ranges import RangeSet, positions_in, ranges_of
from bulkdel.core.record import Chunk, Record
from bulkdel.core.row_filter import Batch, RowFilter, Skip, records_of
from bulkdel.core.run_state import Progress

TOLD: tuple[Skip, ...] = tuple(reason for reason in SKIPS if reason != "duplicate")
"""Rows that a pass writes to the log as it meets them. The log has the list of duplicates from its beginning."""


class ChunkTask(NamedTuple):
    """One chunk to settle.

    in_doubt_since: when an intent without outcome was written for it; None for fresh ids.
    protected: an exclude file that was added later names these ids: what is gone was deleted, the rest is spared.
    """

    chunk: Chunk
    in_doubt_since: Instant | None = None
    protected: bool = False


def chunk_tasks(
    batches: Iterable[Batch], row_filter: RowFilter, progress: Progress, chunk_size: int, limit: int | None = None
) -> Iterator[ChunkTask | Skipped]:
    """Walk one pass. limit: how many records to hand out at most; None for all.

    `progress` is looked at once, at the beginning: it moves on while the pass is under way.
    """
    settled = RangeSet(progress.settled.ranges)
    doubts = _Doubts(progress)
    fresh = _Fresh()
    doubtful: list[Record] = []
    since: Instant | None = None
    left = limit if limit is not None else progress.rows
    for batch in batches:
        stop = batch.start + len(batch.rows)
        skipped = row_filter.skipped(batch)
        met, in_doubt = settled.meets(batch.start, stop), doubts.meets(batch.start, stop)
        if not met and not in_doubt and not any(skipped.values()):
            # Nearly every batch of a run: its rows are its ids, and none of them need be asked for.
            some = cast("list[str]", batch.rows[:left])
            left -= len(some)
            fresh.add(some, batch.start)
        else:
            yield from _told(skipped, batch, settled, doubts, row_filter, chunk_size=chunk_size)
            records = records_of(batch, skipped)
            if met:
                records = [record for record in records if record.position not in settled]
            records = records[:left]
            left -= len(records)
            for record in records:
                at = doubts.since(record.position) if in_doubt else None
                if doubtful and (at != since or len(doubtful) == chunk_size):
                    yield from _work(doubtful, row_filter, since)
                    doubtful = []
                since = at
                if at is None:
                    fresh.add([record.id], record.position)
                else:
                    doubtful.append(record)
        while len(fresh) >= chunk_size:
            yield from fresh.cut(chunk_size, row_filter)
        if left == 0:
            break
    if doubtful:
        yield from _work(doubtful, row_filter, since)
    if fresh:
        yield from fresh.cut(chunk_size, row_filter)


def _work(
    records: list[Record], row_filter: RowFilter, since: Instant | None = None, *, protected: bool = False
) -> Iterator[ChunkTask]:
    """One chunk of `records`, or several: two ids that may be the same account never go into one request."""
    while records:
        met = IdSet(row_filter.id_type)
        once: list[Record] = []
        later: list[Record] = []
        for record in records:
            if met.meets(record.id):
                later.append(record)
            else:
                once.append(record)
                met.update([record.id])
        yield ChunkTask(Chunk(tuple(once)), since, protected)
        records = later


def _told(
    skipped: dict[Skip, list[int]],
    batch: Batch,
    settled: RangeSet,
    doubts: _Doubts,
    row_filter: RowFilter,
    *,
    chunk_size: int,
) -> Iterator[ChunkTask | Skipped]:
    """What of a batch is never sent; but who may have been sent before an exclude file named it is looked up."""
    stop = batch.start + len(batch.rows)
    if doubts.meets(batch.start, stop):
        protected = [position for position in skipped["excluded"] if doubts.since(position) is not None]
        yield from _protected(protected, batch, doubts, row_filter, chunk_size)
        yield from _skipped(skipped, settled, frozenset(protected))
    elif settled.missing(batch.start, stop):
        yield from _skipped(skipped, settled)


def _protected(
    positions: list[int], batch: Batch, doubts: _Doubts, row_filter: RowFilter, chunk_size: int
) -> Iterator[ChunkTask]:
    """Chunks of rows that were sent without an answer before an exclude file named them: they are looked up only."""
    for since, some in groupby(positions, doubts.since):
        records = [Record(position, str(batch.rows[position - batch.start])) for position in some]
        for first in range(0, len(records), chunk_size):
            yield from _work(records[first : first + chunk_size], row_filter, since, protected=True)


class _Fresh:
    """Ids that wait until a chunk is full: two columns, because most of them never become records."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._ranges: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: list[str], start: int) -> None:
        """Add ids whose positions are `start` and those after it."""
        if ids:
            self._ids += ids
            begin = self._ranges.pop()[0] if self._ranges and self._ranges[-1][1] == start else start
            self._ranges.append((begin, start + len(ids)))

    def cut(self, size: int, row_filter: RowFilter) -> Iterator[ChunkTask]:
        """Take out the first `size` of them, or all: one chunk, or several as `_work` has them."""
        ids = self._ids[:size]
        del self._ids[:size]
        ranges: list[tuple[int, int]] = []
        left = len(ids)
        while left:
            start, stop = self._ranges.popleft()
            end = min(stop, start + left)
            ranges.append((start, end))
            left -= end - start
            if end < stop:
                self._ranges.appendleft((end, stop))
        if surely_apart(row_filter.id_type, ids):
            yield ChunkTask(Chunk.of(ids, tuple(ranges)))
        else:
            yield from _work(list(map(Record, positions_in(tuple(ranges)), ids)), row_filter)


class _Doubts:
    """What was in doubt at the beginning of the pass."""

    def __init__(self, progress: Progress) -> None:
        doubts = [(start, stop, at) for at, ((start, stop),) in progress.doubts()]
        self._starts = [start for start, _, _ in doubts]
        self._doubts = doubts
        self._set = RangeSet(progress.in_doubt.ranges)

    def meets(self, start: int, stop: int) -> bool:
        return self._set.meets(start, stop)

    def since(self, position: int) -> Instant | None:
        i = bisect_right(self._starts, position) - 1
        return self._doubts[i][2] if i >= 0 and position < self._doubts[i][1] else None


def _skipped(skipped: dict[Skip, list[int]], settled: RangeSet, but: frozenset[int] = frozenset()) -> Iterator[Skipped]:
    for reason in TOLD:
        if ranges := ranges_of(
            position for position in skipped[reason] if position not in settled and position not in but
        ):
            yield Skipped(reason, ranges)
