"""From batches of rows to the chunks of one pass. Owns which rows are sent together and which are skipped.

A pass walks the export once, in order. Rows that are settled are passed over, and rows that are never sent are noted.
Rows in doubt (an intent without outcome) make chunks of their own, because they are looked up before they are sent.
All other rows are cut into chunks of the wanted size. Two ids that may be the same account never share a chunk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bulkdel.core.account_match import Instant
from bulkdel.core.id_type import IdSet, IdType, surely_apart
from bulkdel.core.log_entries import Skipped
from bulkdel.core.outcome import SKIPS
from bulkdel.core.ranges import RangeSet, ranges_of
from bulkdel.core.record import Batch, Chunk, Record
from bulkdel.core.row_filter import RowFilter, Skip
from bulkdel.core.run_state import Progress

TOLD: tuple[Skip, ...] = tuple(reason for reason in SKIPS if reason != "duplicate")
"""Rows that a pass writes to the log as it meets them. The log lists the duplicates from its beginning."""


class ChunkTask(NamedTuple):
    """One chunk to settle.

    in_doubt_since: when an intent without outcome was written for it; None for rows that were not sent yet.
    protected: an exclude file that was added later names these ids. They are looked up and never sent again.
    """

    chunk: Chunk
    in_doubt_since: Instant | None = None
    protected: bool = False


def chunk_tasks(
    batches: Iterable[Batch], row_filter: RowFilter, progress: Progress, chunk_size: int, limit: int | None = None
) -> Iterator[ChunkTask | Skipped]:
    """Walk one pass. limit: how many records to hand out at most; None for all.

    `progress` is copied at the beginning: it moves on while the pass is under way.
    """
    settled, doubts = RangeSet(progress.settled.ranges), _Doubts(progress)
    left = progress.rows if limit is None else limit
    fresh: list[Record] = []
    for batch in batches:
        skips = row_filter.skips(batch)
        skipped: dict[Skip, list[int]] = {reason: [] for reason in TOLD}
        for start, stop in settled.missing(batch.start, batch.stop):
            for first, last, since in doubts.split(start, stop):
                wanted: list[Record] = []
                protected: list[Record] = []
                for position, row in enumerate(batch.rows[first - batch.start : last - batch.start], first):
                    reason = skips.get(position)
                    if reason is None:
                        wanted.append(Record(position, str(row)))
                    elif reason == "excluded" and since is not None:
                        protected.append(Record(position, str(row)))
                    elif reason in skipped:
                        skipped[reason].append(position)
                wanted = wanted[:left]
                left -= len(wanted)
                if since is None:
                    fresh += wanted
                else:
                    yield from _cut(wanted, chunk_size, row_filter.id_type, since)
                    yield from _cut(protected, chunk_size, row_filter.id_type, since, protected=True)
        yield from (Skipped(reason, ranges_of(positions)) for reason, positions in skipped.items() if positions)
        whole = len(fresh) - len(fresh) % chunk_size
        yield from _cut(fresh[:whole], chunk_size, row_filter.id_type)
        del fresh[:whole]
        if left == 0:
            break
    yield from _cut(fresh, chunk_size, row_filter.id_type)


def _cut(
    records: Sequence[Record],
    chunk_size: int,
    id_type: IdType,
    since: Instant | None = None,
    *,
    protected: bool = False,
) -> Iterator[ChunkTask]:
    """Cut records into chunks of the wanted size; a chunk with ids that may be the same becomes several."""
    for first in range(0, len(records), chunk_size):
        for some in _apart(records[first : first + chunk_size], id_type):
            yield ChunkTask(Chunk(tuple(some)), since, protected)


def _apart(records: Sequence[Record], id_type: IdType) -> Iterator[Sequence[Record]]:
    """Part the records of one chunk, so that no part holds two ids that may be the same account."""
    while not surely_apart(id_type, [record.id for record in records]):
        part, later, met = [], [], IdSet(id_type)
        for record in records:
            if met.meets(record.id):
                later.append(record)
            else:
                part.append(record)
                met.update([record.id])
        yield part
        records = later
    if records:
        yield records


class _Doubts:
    """The rows that were in doubt when the pass began."""

    def __init__(self, progress: Progress) -> None:
        self._doubts = [(start, stop, at) for at, ((start, stop),) in progress.doubts()]
        self._starts = [start for start, _, _ in self._doubts]

    def split(self, start: int, stop: int) -> Iterator[tuple[int, int, Instant | None]]:
        """Cut a range where doubt begins or ends: each part with the time of its intent, None for fresh rows."""
        at = max(bisect_right(self._starts, start) - 1, 0)
        for begin, end, since in self._doubts[at:]:
            if begin >= stop:
                break
            if end > start:
                if begin > start:
                    yield start, begin, None
                yield max(begin, start), min(end, stop), since
                start = min(end, stop)
        if start < stop:
            yield start, stop, None
