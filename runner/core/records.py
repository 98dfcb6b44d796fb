"""A row of the export on its way: Record and Chunk. Owns nothing else; knows nothing of where rows come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from runner.core.ranges import Ranges, ranges_of


class Record(NamedTuple):
    """One row to settle. A NamedTuple, not a dataclass: there may be a hundred million, and it is made faster.

    position: ordinal of the data row in the export, from 0, whatever became of the rows before it.
    id: as the export has it.
    payload: for jobs that send bodies instead of ids (a restore); None for a deletion.
    """

    position: int
    id: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that are sent in one request, in ascending position."""

    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError("a chunk holds at least one record")

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ranges(self) -> Ranges:
        """The positions of the records, as half-open ranges."""
        return positions_of(self.records)


def positions_of(records: Sequence[Record]) -> Ranges:
    """Half-open ranges that cover exactly the positions of `records` (ascending)."""
    if not records:
        return ()
    first, last = records[0].position, records[-1].position
    if last - first == len(records) - 1:  # nearly every chunk of an export without skipped rows
        return ((first, last + 1),)
    return ranges_of(record.position for record in records)


def chunks_of(records: Iterable[Record], size: int) -> Iterator[Chunk]:
    """Cut `records` into chunks of `size`; the last one may be shorter."""
    source = iter(records)
    while taken := tuple(islice(source, size)):
        yield Chunk(taken)


def halves(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Cut in two, the first half the longer one. 50 → 25 → 13 → 7 → 4 → 2 → 1."""
    middle = (len(records) + 1) // 2
    return records[:middle], records[middle:]
