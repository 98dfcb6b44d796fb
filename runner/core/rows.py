"""From parsed rows to records and skipped rows. Both passes over an export use this one sieve, so that they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from runner.core.records import Record
from runner.core.window import DuplicateWindow

Skip = Literal["excluded", "duplicate", "invalid"]
"""Why a row of the export is never sent."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that holds no usable id.

    line: 1-based line of the (decompressed) export where the row starts.
    text: the row as it stands there, shortened; shown to the user and never logged.
    reason: what is wrong with it, in a few words.
    """

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows: `rows[i]` has position `start + i` and is an id or a BadRow."""

    start: int
    rows: list[str | BadRow]


@dataclass(frozen=True, slots=True)
class Sifted:
    """A batch told apart: what to send, and the positions of what is never sent, ascending per reason."""

    records: list[Record]
    skipped: dict[Skip, list[int]]


@dataclass(frozen=True, slots=True)
class Sieve:
    """Tells rows apart, in the order of the export.

    key: the id type's folding (`IdType.key`); two ids with one key are one account.
    window: None when the preflight found no duplicate, which spares the sending pass the work.
    protected: keys that must never be sent.
    """

    key: Callable[[str], str] = str
    window: DuplicateWindow | None = field(default_factory=DuplicateWindow)
    protected: frozenset[str] = frozenset()

    def sift(self, batch: Batch) -> Sifted:
        """Sort one batch. Batches must come in order: the duplicate window remembers."""
        records: list[Record] = []
        skipped: dict[Skip, list[int]] = {"excluded": [], "duplicate": [], "invalid": []}
        seen = self.window.seen if self.window else None
        key, protected = self.key, self.protected
        for position, row in enumerate(batch.rows, batch.start):
            if isinstance(row, BadRow):
                skipped["invalid"].append(position)
                continue
            folded = key(row)
            if folded in protected:
                skipped["excluded"].append(position)
            elif seen is not None and seen(folded):
                skipped["duplicate"].append(position)
            else:
                records.append(Record(position, row))
        return Sifted(records, skipped)
