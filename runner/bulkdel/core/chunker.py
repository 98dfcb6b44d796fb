"""From rows to the chunks of one pass. Owns which rows are sent together.

A pass walks the rows once, in order. Rows that are settled or skipped are passed over. Rows in doubt (an intent
without outcome) make chunks of their own, because they are looked up before they are sent. All other rows are cut into
chunks of the wanted size. Two ids that may be the same account never share a chunk, nor do rows that the job keeps
apart (`Job.in_common`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from bulkdel.core.account_match import Doubt
from bulkdel.core.id_type import IdSet, IdType, surely_apart
from bulkdel.core.input_rows import Rows
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import RowSet

InCommon = Callable[[Record], object]
"""What the rows of one request have in common."""


def chunks_of(
    batches: Iterable[Rows],
    progress: RunState,
    chunk_size: int,
    protected: IdSet,
    limit: int | None = None,
    *,
    in_common: InCommon | None = None,
) -> Iterator[Chunk]:
    """Yield the chunks of one pass. protected: ids that must not be sent. limit: most records to send; None for all.

    in_common: what the rows of one request have in common; None when any rows may share one.

    Runs in the thread of `engine.workers.Prefetch`, while `progress` changes. So the settled rows and the doubts are
    copied at the beginning.
    """
    settled, doubts, id_type = RowSet(ranges=progress.settled.ranges), progress.doubts(), protected.id_type
    left = progress.rows if limit is None else limit
    fresh = Records()  # rows that were not sent yet
    for batch in batches:
        parts = [fresh]
        if batch.at >= progress.end:
            break
        for start, stop in settled.missing(max(batch.at, progress.first), min(batch.stop, progress.end)):
            for first, last, doubt in _split(doubts, start, stop):
                skips = set(progress.skipped.rows.between(first, last))
                wanted = _records(batch, first, last, skips)
                if protected.meets_any(wanted.ids):
                    kept = Records.of(record for record in wanted if protected.meets(record.id))
                    wanted = Records.of(record for record in wanted if not protected.meets(record.id))
                    yield from _cut(kept, chunk_size, id_type, doubt, protected=True)
                wanted = wanted[:left]
                left -= len(wanted)
                if doubt is None:
                    parts.append(wanted)
                else:
                    for some in _apart(wanted, in_common):
                        yield from _cut(some, chunk_size, id_type, doubt)
        *whole, fresh = _apart(Records.joined(parts), in_common)
        for some in (*whole, fresh[: len(fresh) - len(fresh) % chunk_size]):
            yield from _cut(some, chunk_size, id_type)
        fresh = fresh[len(fresh) - len(fresh) % chunk_size :]
        if left == 0:
            break
    yield from _cut(fresh, chunk_size, id_type)


def _apart(records: Records, in_common: InCommon | None) -> list[Records]:
    """Cut the records where what they have in common changes. At least one part, which may be empty.

    The rows that follow may have it in common with the last part.
    """
    if in_common is None or not records:
        return [records]
    return [Records.of(some) for _, some in groupby(records, in_common)]


def _records(batch: Rows, first: int, last: int, skips: Container[int]) -> Records:
    """The rows `[first, last)` of a batch that have an id, without those in `skips`."""
    rows = enumerate(batch.ids[first - batch.at : last - batch.at], first)
    ids = {position: id_ for position, id_ in rows if id_ is not None and position not in skips}
    payloads = (batch.records[position - batch.at].encode() for position in ids) if batch.records else ()
    return Records(tuple(ids), tuple(ids.values()), tuple(payloads))


def _cut(
    records: Records,
    chunk_size: int,
    id_type: IdType,
    doubt: Doubt | None = None,
    *,
    protected: bool = False,
) -> Iterator[Chunk]:
    """Cut records into chunks of the wanted size; a chunk with ids that may be the same account becomes several."""
    for first in range(0, len(records), chunk_size):
        some = records[first : first + chunk_size]
        while not surely_apart(id_type, some.ids):
            part, later, met = list[Record](), list[Record](), IdSet(id_type)
            for record in some:
                if met.meets(record.id):
                    later.append(record)
                else:
                    part.append(record)
                    met.update([record.id])
            yield Chunk(Records.of(part), doubt, protected)
            some = Records.of(later)
        if some:
            yield Chunk(some, doubt, protected)


def _split(doubts: Sequence[tuple[int, int, Doubt]], start: int, stop: int) -> Iterator[tuple[int, int, Doubt | None]]:
    """Cut a range where doubt begins or ends: each part with the times of its intents, None for fresh rows."""
    at = max(bisect_right(doubts, start, key=itemgetter(0)) - 1, 0)
    for begin, end, doubt in doubts[at:]:
        if begin >= stop:
            break
        if end > start:
            if begin > start:
                yield start, begin, None
            yield max(begin, start), min(end, stop), doubt
            start = min(end, stop)
    if start < stop:
        yield start, stop, None
