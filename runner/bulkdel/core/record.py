"""The rows of an export in the pipeline: Record, Records, Chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import NamedTuple, overload

from bulkdel.core.account_match import Doubt
from bulkdel.core.ranges import Ranges, ranges_of


class Record(NamedTuple):
    """One row to settle.

    position: number of the data row in the export, from 0; bad rows and duplicates count too.
    id: as it is written in the export.
    payload: the row as it stands in the export, one JSON object; None for a job that needs no more than the id.
    """

    position: int
    id: str
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Records(Sequence[Record]):
    """Records in ascending position, held as columns: a `Record` is made when it is asked for.

    positions, ids, payloads: see `Record`. The columns have one length, but `payloads` is empty when no record has one.
    Columns, because a tuple for each row took a tenth of the time of an unlimited run.
    """

    positions: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    payloads: tuple[bytes | None, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """Hold these records."""
        positions, ids, payloads = zip(*some, strict=True) if (some := tuple(records)) else ((), (), ())
        return cls(positions, ids, payloads if any(payload is not None for payload in payloads) else ())

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Record]:
        return map(Record, self.positions, self.ids, self.payloads or repeat(None))

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Records: ...

    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return Records(self.positions[index], self.ids[index], self.payloads[index])
        return Record(self.positions[index], self.ids[index], self.payloads[index] if self.payloads else None)

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """The records of all parts. The positions ascend from part to part. All have a payload, or none has."""
        return cls(
            tuple(chain.from_iterable(part.positions for part in parts)),
            tuple(chain.from_iterable(part.ids for part in parts)),
            tuple(chain.from_iterable(part.payloads for part in parts)),
        )

    @property
    def ranges(self) -> Ranges:
        """Half-open ranges that cover exactly the positions."""
        positions = self.positions
        if positions and positions[-1] - positions[0] == len(positions) - 1:  # nearly always: without a gap
            return ((positions[0], positions[-1] + 1),)
        return ranges_of(positions)

    @property
    def halves(self) -> tuple[Records, Records]:
        """Cut in two, the first half the longer one. 50 → 25 → 13 → 7 → 4 → 2 → 1."""
        middle = (len(self) + 1) // 2
        return self[:middle], self[middle:]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that are sent in one request; at least one.

    doubt: when intents without outcome were written for it; None for rows that were not sent yet.
    protected: the ids must not be sent (again): an exclude file that was added later names them, or they are those of
        the key's own user. Those in doubt are looked up.
    """

    records: Records
    doubt: Doubt | None = None
    protected: bool = False
