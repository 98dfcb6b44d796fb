"""The rows that must not be sent, because a protected id is, or may be, the same account. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from bulkdel.core.id_type import IdSet
from bulkdel.core.input_rows import Rows
from bulkdel.core.skipped_rows import PositionSet


class ExcludedRows:
    """Takes the rows in their order.

    protected: ids that must never be sent. duplicates: rows that are known to repeat an earlier one; they do not count
    as excluded. positions: the excluded rows. perhaps: how many of them have an id that only may be a protected one.
    """

    def __init__(self, protected: IdSet, duplicates: PositionSet) -> None:
        self._duplicates = duplicates
        self._met = IdSet(protected.id_type)
        self.protected = protected
        self.positions = PositionSet()
        self.perhaps = 0

    def take(self, positions: Sequence[int], ids: Sequence[str]) -> tuple[Sequence[int], Sequence[str]]:
        """Take the next rows that have an id. Returns those that are not excluded."""
        if not self.protected.meets_any(ids):
            return positions, ids
        met = {at: id_ for at, id_ in zip(positions, ids, strict=True) if self.protected.meets(id_)}
        excluded = {at: id_ for at, id_ in met.items() if at not in self._duplicates}
        self.positions.add(excluded)
        self.perhaps += sum(not self.protected.holds(id_) for id_ in excluded.values())
        self._met.update(excluded.values())
        return without(met, positions, ids)

    def kept(self) -> int:
        """Return how many protected ids are in the export, and forget them to free the memory."""
        met, self._met = self._met, IdSet(self._met.id_type)
        return sum(map(met.meets, self.protected)) if len(met) else 0


def excluded_in(rows: Iterable[Rows], protected: IdSet, duplicates: PositionSet) -> ExcludedRows:
    """Find the rows of an input that must not be sent."""
    found = ExcludedRows(protected, duplicates)
    for some in rows:
        found.take(*some.usable)
    return found


def without(
    left_out: Container[int], positions: Sequence[int], ids: Sequence[str]
) -> tuple[Sequence[int], Sequence[str]]:
    """The positions and the ids of the rows that are not in `left_out`."""
    rows = [row for row in zip(positions, ids, strict=True) if row[0] not in left_out]
    return [position for position, _ in rows], [id_ for _, id_ in rows]
