"""A row of the export on its way: Record and Chunk. Owns nothing else; knows nothing of where rows come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

from runner.core.ranges import Ranges, positions_in, ranges_of


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

    They are made when one of them is looked at: nearly every chunk is settled whole, by its ids and its positions, and
    its records would be a tenth of all that is done for it (measured).

    ids: of the records, in their order. ranges: their positions, half-open.
    """

    __slots__ = ("_records", "ids", "ranges")

    def __init__(self, records: Sequence[Record]) -> None:
        self._records: tuple[Record, ...] | None = tuple(records)
        self.ids: Sequence[str] = ids_of(records)
        self.ranges = positions_of(records)
        if not self.ids:
            raise ValueError("a chunk holds at least one record")

    @classmethod
    def of(cls, ids: Sequence[str], ranges: Ranges) -> Chunk:
        """Make one of records without payload."""
        chunk = cls.__new__(cls)
        chunk._records, chunk.ids, chunk.ranges = None, ids, ranges  # noqa: SLF001 - its own
        return chunk

    @property
    def records(self) -> tuple[Record, ...]:
        """The records themselves."""
        if self._records is None:
            self._records = tuple(map(Record, positions_in(self.ranges), self.ids))
        return self._records

    def __len__(self) -> int:
        return len(self.ids)

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
