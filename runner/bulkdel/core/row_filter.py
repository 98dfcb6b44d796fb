"""Which rows of an export are never sent, and why. Both passes over an export ask this one filter, so they agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bulkdel.core.id_type import PLAIN, IdSet, IdType
from bulkdel.core.record import Batch, Record
from bulkdel.core.skipped_rows import PositionSet

Skip = Literal["excluded", "duplicate", "invalid"]
"""Why a row of the export is never sent."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Finds the rows that are never sent.

    id_type: says which ids may be one account.
    protected: ids that must never be sent. A row is excluded when its id may be the same as one of them.
    duplicates: the rows that repeat an id, as the preflight found them. Such a row counts as a duplicate also when an
        exclude file names its id.
    """

    id_type: IdType = PLAIN
    protected: IdSet = field(default_factory=IdSet)
    duplicates: PositionSet = field(default_factory=PositionSet)

    def skips(self, batch: Batch) -> dict[int, Skip]:
        """The reason for each row of the batch that is never sent, by position."""
        skips: dict[int, Skip] = dict.fromkeys(batch.bad, "invalid")
        if self.protected:
            for position, row in enumerate(batch.rows, batch.start):
                if isinstance(row, str) and self.protected.meets(row):
                    skips[position] = "excluded"
        for position in self.duplicates.between(batch.start, batch.stop):
            skips[position] = "duplicate"
        return skips

    def records(self, batch: Batch) -> list[Record]:
        """The rows of the batch that are sent."""
        skips = self.skips(batch)
        rows = enumerate(batch.rows, batch.start)
        return [Record(position, row) for position, row in rows if isinstance(row, str) and position not in skips]
