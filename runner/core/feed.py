"""From batches of rows to the work of one pass: which records go together, what is skipped, what is in doubt.

A pass walks the export once, in order. What is settled is passed over; what was in doubt when the pass began comes as
chunks of its own, never mixed with fresh ids; the rest is cut into fresh chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runner.core.entries import Skipped
from runner.core.outcomes import SKIPS
from runner.core.progress import Progress
from runner.core.ranges import RangeSet, ranges_of
from runner.core.records import Chunk, Record
from runner.core.rows import Batch, Sieve, Skip


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk to settle. in_doubt_since: when an intent without outcome was written for it; None for fresh ids."""

    chunk: Chunk
    in_doubt_since: str | None = None


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
        if settled.missing(batch.start, stop):
            yield from _skipped(sifted.skipped, settled)
        for record in sifted.records:
            if record.position in settled:
                continue
            if left == 0:
                break
            left -= 1
            at = doubts.since(record.position)
            if doubtful and (at != since or len(doubtful) == chunk_size):
                yield from _work(doubtful, sieve, since)
                doubtful = []
            if at is not None:
                since = at
                doubtful.append(record)
                continue
            fresh.append(record)
            if len(fresh) == chunk_size:
                yield from _work(fresh, sieve)
                fresh = []
        else:
            continue
        break
    yield from _work(doubtful, sieve, since)
    yield from _work(fresh, sieve)


def _work(records: list[Record], sieve: Sieve, since: str | None = None) -> Iterator[Work]:
    """One chunk of `records`, or several when an id is in them twice: farther apart than the duplicate window sees."""
    while records:
        keys: set[str] = set()
        once: list[Record] = []
        again: list[Record] = []
        for record in records:
            key = sieve.key(record.id)
            (again if key in keys else once).append(record)
            keys.add(key)
        yield Work(Chunk(tuple(once)), since)
        records = again


class _Doubts:
    """What was in doubt at the beginning of the pass, asked for ascending positions."""

    def __init__(self, progress: Progress) -> None:
        self._ahead = [(start, stop, at) for at, ((start, stop),) in reversed(progress.doubts())]

    def since(self, position: int) -> str | None:
        while self._ahead and self._ahead[-1][1] <= position:
            self._ahead.pop()
        return self._ahead[-1][2] if self._ahead and self._ahead[-1][0] <= position else None


def _skipped(skipped: dict[Skip, list[int]], settled: RangeSet) -> Iterator[Skipped]:
    for reason in SKIPS:
        if ranges := ranges_of(position for position in skipped[reason] if position not in settled):
            yield Skipped(reason, ranges)
