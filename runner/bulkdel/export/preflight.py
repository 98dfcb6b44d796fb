"""The preflight: reads the whole export once, before anything is sent. Owns its counts and its sample."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bulkdel.core.bad_rows import BadGroup, BadRow, BadRows
from bulkdel.core.id_type import SPREADSHEET, IdSet
from bulkdel.core.record import Batch, Record
from bulkdel.core.resume_point import ResumePoint
from bulkdel.core.row_filter import RowFilter
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.export.bad_rows import bad_rows_refusal
from bulkdel.export.compression import MAGIC, decompressed, detect
from bulkdel.export.duplicates import DuplicateFinder
from bulkdel.export.file import Export, Fingerprint, Hashing, Progress
from bulkdel.export.lines import peek, whole_lines
from bulkdel.export.options import Dialect, ReadOptions
from bulkdel.export.reader import parse
from bulkdel.export.refusal import refusal
from bulkdel.export.rows import Parsed
from bulkdel.export.sniff import resolve

EXAMPLES = 3

MARK_ROWS = 100_000
"""Rows between two resume points, at least: a resume reads about as many rows again."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The result of the preflight.

    rows: data rows in all. ids: those that would be sent (valid, unique, not excluded).
    excluded, duplicate, invalid: the other rows by reason. duplicates: the positions of the duplicates.
    kept: protected ids that are, or may be, in the export. perhaps: excluded rows that only may be one of them.
    sample: records drawn evenly from the rows that would be sent, ascending by position.
    examples: the first few ids that would be sent.
    spreadsheet: valid free-text ids that look rewritten by a spreadsheet; spreadsheet_examples: the first few.
    bad: the invalid rows by reason, the most frequent first.
    marks: the resume points, one for every hundred thousand rows.
    """

    dialect: Dialect
    fingerprint: Fingerprint
    rows: int
    ids: int
    excluded: int
    duplicates: PositionSet
    invalid: int
    kept: int
    perhaps: int
    sample: tuple[Record, ...]
    examples: tuple[str, ...]
    spreadsheet: int
    spreadsheet_examples: tuple[str, ...]
    bad: tuple[BadGroup, ...]
    marks: tuple[ResumePoint, ...]

    @property
    def duplicate(self) -> int:
        """How many rows repeat the id of an earlier row."""
        return self.duplicates.size


def preflight(
    export: Export,
    options: ReadOptions,
    *,
    protected: IdSet | None = None,
    rng: random.Random,
    sample_size: int = 200,
    on_progress: Progress | None = None,
    known: PositionSet | None = None,
    temporary: Path | None = None,
    mark_rows: int = MARK_ROWS,
) -> Preflight:
    """Read, hash, parse and check the whole export.

    protected: ids that must never be sent. rng: draws the sample.
    known: the duplicates, where they were found earlier or do not matter: they are not looked for, and nothing is
        sampled. temporary: the folder of the file that finding them may take. mark_rows: for tests.

    Raises NotAcceptable for everything in the export that is not acceptable: damage at once, bad rows at the end and
    all together. Raises FileFailed when the temporary file cannot be written.
    """
    hashing = Hashing(export, on_progress)
    compression = detect(hashing.head(MAGIC))
    lines = whole_lines(decompressed(hashing, compression, export.path, export.block_size), export.path)
    head, lines = peek(lines)
    dialect = resolve(head, options, export.path, compression)
    free_text = options.id_check().id_type.shape is None
    protected = IdSet(options.id_type) if protected is None else protected
    found = PositionSet() if known is None else known
    row_filter = RowFilter(options.id_type, protected, found)
    with DuplicateFinder(temporary, options.id_type.key, lambda: hashing.share) as finder:
        tally = _Tally(row_filter, finder if known is None else None, mark_rows, free_text=free_text)
        for parsed in parse(lines, dialect, options, export.path):
            tally.add(parsed)
        if not tally.rows:
            raise refusal(export.path, "no ids", "Is this the right file?")
        bad = tally.bad.groups()
        error = bad_rows_refusal(
            export.path, bad, tally.rows, on_invalid=options.on_invalid, max_invalid=options.max_invalid
        )
        if error is not None:
            raise error
        firsts = sorted(finder.find(found))
    return Preflight(
        dialect=dialect,
        fingerprint=hashing.fingerprint(),
        rows=tally.rows,
        ids=tally.rows - tally.excluded - tally.invalid - found.size,
        excluded=tally.excluded,
        duplicates=found,
        invalid=tally.invalid,
        kept=tally.kept(),
        perhaps=tally.perhaps,
        sample=tuple(sorted(rng.sample(firsts, min(sample_size, len(firsts))))),
        examples=tuple(tally.examples),
        spreadsheet=tally.spreadsheet,
        spreadsheet_examples=tuple(tally.spreadsheet_examples),
        bad=bad,
        marks=tuple(tally.marks),
    )


class _Tally:
    """Counts the rows by outcome. finder: takes the ids that may be sent; None when duplicates are not searched."""

    def __init__(
        self, row_filter: RowFilter, finder: DuplicateFinder | None, mark_rows: int, *, free_text: bool
    ) -> None:
        self._row_filter = row_filter
        self._finder = finder
        self._mark_rows = mark_rows
        self._free_text = free_text
        self.rows = self.excluded = self.invalid = self.spreadsheet = self.perhaps = 0
        self._met = IdSet(row_filter.id_type)
        self._shown: set[str] = set()
        self.examples: list[str] = []
        self.spreadsheet_examples: list[str] = []
        self.bad = BadRows()
        self.marks: list[ResumePoint] = []

    def add(self, parsed: Parsed) -> None:
        """Count the rows of one batch."""
        batch = parsed.batch
        self._note_resume_point(parsed)
        skips = self._row_filter.skips(batch)
        positions: Sequence[int] = range(batch.start, batch.stop)
        ids = cast("list[str]", batch.rows)
        if skips:
            positions = [position for position in positions if position not in skips]
            ids = [ids[position - batch.start] for position in positions]
        if self._finder:
            self._finder.add(positions, ids)
        if len(self.examples) < EXAMPLES:
            self._show(ids)
        self.rows += len(batch.rows)
        bad = [row for row in batch.rows if isinstance(row, BadRow)] if skips else []
        self.invalid += len(bad)
        self.bad.add(bad)
        excluded = [str(batch.rows[position - batch.start]) for position, why in skips.items() if why == "excluded"]
        self.excluded += len(excluded)
        self.perhaps += sum(not self._row_filter.protected.holds(id_) for id_ in excluded)
        self._met.update(excluded)
        if self._free_text:
            self._look_for_spreadsheets(batch)

    def kept(self) -> int:
        """How many of the protected ids are, or may be, in the export."""
        return sum(map(self._met.meets, self._row_filter.protected)) if self.excluded else 0

    def _show(self, ids: Sequence[str]) -> None:
        """Take the first few different ids as examples."""
        for id_ in ids:
            key = self._row_filter.id_type.key(id_)
            if key not in self._shown and len(self.examples) < EXAMPLES:
                self._shown.add(key)
                self.examples.append(id_)

    def _note_resume_point(self, parsed: Parsed) -> None:
        """Note where the batch begins, if the last resume point is far enough behind."""
        last = self.marks[-1].row if self.marks else 0
        if parsed.batch.start - last >= self._mark_rows and (point := parsed.resume_point()) is not None:
            self.marks.append(point)  # None when the row began before the block: then the next batch is used

    def _look_for_spreadsheets(self, batch: Batch) -> None:
        ids = [row for row in batch.rows if isinstance(row, str)]
        if any(map(SPREADSHEET.fullmatch, ids)):
            found = [id_ for id_ in ids if SPREADSHEET.fullmatch(id_)]
            self.spreadsheet += len(found)
            self.spreadsheet_examples += found[: EXAMPLES - len(self.spreadsheet_examples)]
