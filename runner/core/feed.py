"""From batches of rows to the work of one pass: which records go together, what is skipped, what is in doubt.

A pass walks the export once, in order. What is settled is passed over; what was in doubt when the pass began comes as
chunks of its own, never mixed with fresh ids; the rest is cut into fresh chunks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from runner.core.entries import Skipped
from runner.core.outcomes import SKIPS
from runner.core.progress import Progress
from runner.core.ranges import RangeSet, ranges_of
from runner.core.records import Chunk, Record
from runner.core.rows import Batch, Sieve, Skip


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk to settle.

    in_doubt_since: when an intent without outcome was written for it; None for fresh ids.
    protected: an exclude file that was added later names these ids: what is gone was deleted, the rest is spared.
    """

    chunk: Chunk
    in_doubt_since: str | None = None
    protected: bool = False


def work_of(
    batches: Iterable[Batch], sieve: Sieve, progress: Progress, chunk_size: int, limit: int | None = None
) -> Iterator[Work | Skipped]:
    """Walk one pass. limit: how many records to hand out at most; None for all.

    `progress` is looked at once, at the beginning: it moves on while the pass is under way.
    """
    settled = RangeSet(progress.settled.ranges)
    doubts = _Doubts(progress)
    fresh: list[Record] = []
    doubtful: list[Record] = []
    since: str | None = None
    left = limit if limit is not None else progress.rows
    for batch in batches:
        stop = batch.start + len(batch.rows)
        sifted = sieve.sift(batch)
        records: Sequence[Record] = sifted.records
        # Nearly every batch of a run meets nothing that is settled or in doubt, and every id need not be asked.
        if settled.meets(batch.start, stop):
            records = [record for record in records if record.position not in settled]
        if doubts.meets(batch.start, stop):
            protected = [position for position in sifted.skipped["excluded"] if doubts.since(position) is not None]
            yield from _protected(protected, batch, doubts, sieve, chunk_size)
            yield from _skipped(sifted.skipped, settled, frozenset(protected))
        elif settled.missing(batch.start, stop):
            yield from _skipped(sifted.skipped, settled)
        records = records[:left]
        left -= len(records)
        in_doubt = doubts.meets(batch.start, stop)
        for record in records if in_doubt else ():
            at = doubts.since(record.position)
            if doubtful and (at != since or len(doubtful) == chunk_size):
                yield from _work(doubtful, sieve, since)
                doubtful = []
            since = at
            (fresh if at is None else doubtful).append(record)
        fresh += () if in_doubt else records
        while len(fresh) >= chunk_size:
            yield from _work(fresh[:chunk_size], sieve)
            del fresh[:chunk_size]
        if left == 0:
            break
    if doubtful:
        yield from _work(doubtful, sieve, since)
    yield from _work(fresh, sieve)


def _work(records: list[Record], sieve: Sieve, since: str | None = None, *, protected: bool = False) -> Iterator[Work]:
    """One chunk of `records`, or several when an id is in them twice: farther apart than the duplicate window sees."""
    while records:
        keys: set[str] = set()
        once: list[Record] = []
        again: list[Record] = []
        for record in records:
            key = sieve.key(record.id)
            (again if key in keys else once).append(record)
            keys.add(key)
        yield Work(Chunk(tuple(once)), since, protected)
        records = again


def _protected(positions: list[int], batch: Batch, doubts: _Doubts, sieve: Sieve, chunk_size: int) -> Iterator[Work]:
    """Chunks of rows that were sent without an answer before an exclude file named them: they are looked up only."""
    for since, some in groupby(positions, doubts.since):
        records = [Record(position, str(batch.rows[position - batch.start])) for position in some]
        for first in range(0, len(records), chunk_size):
            yield from _work(records[first : first + chunk_size], sieve, since, protected=True)


class _Doubts:
    """What was in doubt at the beginning of the pass."""

    def __init__(self, progress: Progress) -> None:
        doubts = [(start, stop, at) for at, ((start, stop),) in progress.doubts()]
        self._starts = [start for start, _, _ in doubts]
        self._doubts = doubts
        self._set = RangeSet(progress.in_doubt.ranges)

    def meets(self, start: int, stop: int) -> bool:
        return self._set.meets(start, stop)

    def since(self, position: int) -> str | None:
        i = bisect_right(self._starts, position) - 1
        return self._doubts[i][2] if i >= 0 and position < self._doubts[i][1] else None


def _skipped(skipped: dict[Skip, list[int]], settled: RangeSet, but: frozenset[int] = frozenset()) -> Iterator[Skipped]:
    for reason in SKIPS:
        if ranges := ranges_of(
            position for position in skipped[reason] if position not in settled and position not in but
        ):
            yield Skipped(reason, ranges)
