"""A row of the export on its way: Record and Chunk. Owns nothing else; knows nothing of where rows come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import orjson

from bulkdel.core.ranges import Ranges, positions_in, ranges_of, size_of


class Record(NamedTuple):
    """One row to settle. A NamedTuple, not a dataclass: there may be a hundred million, and it is made faster.

    position: ordinal of the data row in the export, from 0, whatever became of the rows before it.
    id: as the export has it.
    payload: for jobs that send bodies instead of ids (a restore); None for a deletion.
    """

    position: int
    id: str
    payload: Any = None


class Chunk(Sequence[Record]):
    """Records that are sent in one request, in ascending position.

    Ids and records are made when one of them is looked at: nearly every chunk is settled whole, by its positions and by
    a request that was made where the export is read, and they would be a tenth of all that is done for it (measured).

    ranges: the positions, half-open.
    """

    __slots__ = ("_ids", "_records", "ranges")

    def __init__(self, records: Sequence[Record]) -> None:
        self._records: tuple[Record, ...] | None = tuple(records)
        self._ids: Sequence[str] | bytes = ids_of(records)
        self.ranges = positions_of(records)
        if not self._ids:
            raise ValueError("a chunk holds at least one record")

    @classmethod
    def of(cls, ids: Sequence[str] | bytes, ranges: Ranges) -> Chunk:
        """Make one of records without payload. ids: in the order of the positions; bytes: a JSON array of them."""
        if not isinstance(ids, bytes) and len(ids) != size_of(ranges):
            raise ValueError(f"{len(ids)} ids at {size_of(ranges)} positions")
        chunk = cls.__new__(cls)
        chunk._records, chunk._ids, chunk.ranges = None, ids, ranges  # noqa: SLF001 - its own
        return chunk

    @property
    def ids(self) -> Sequence[str]:
        """The ids, in order."""
        if isinstance(self._ids, bytes):
            ids: list[str] = orjson.loads(self._ids)
            if len(ids) != len(self):
                raise ValueError(f"{len(ids)} ids at {len(self)} positions")
            self._ids = ids
        return self._ids

    @property
    def records(self) -> tuple[Record, ...]:
        """The records themselves."""
        if self._records is None:
            self._records = tuple(map(Record, positions_in(self.ranges), self.ids))
        return self._records

    def __len__(self) -> int:
        return size_of(self.ranges)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chunk) and self.records == other.records

    def __hash__(self) -> int:
        return hash(self.records)

    def __repr__(self) -> str:
        return f"Chunk({self.records!r})"


def ids_of(records: Sequence[Record]) -> Sequence[str]:
    """The ids of `records`."""
    return records.ids if isinstance(records, Chunk) else [record.id for record in records]


def positions_of(records: Sequence[Record]) -> Ranges:
    """Half-open ranges that cover exactly the positions of `records` (ascending)."""
    if isinstance(records, Chunk):
        return records.ranges
    if not records:
        return ()
    first, last = records[0].position, records[-1].position
    if last - first == len(records) - 1:  # nearly every chunk of an export without skipped rows
        return ((first, last + 1),)
    return ranges_of(record.position for record in records)


def halves(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Cut in two, the first half the longer one. 50 → 25 → 13 → 7 → 4 → 2 → 1."""
    middle = (len(records) + 1) // 2
    return records[:middle], records[middle:]
