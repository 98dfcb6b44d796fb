"""The preflight: reads the whole export once, before anything is sent. Owns its counts and its sample."""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bulkdel.core.bad_rows import BadGroup, BadRows
from bulkdel.core.id_type import SPREADSHEET, IdSet
from bulkdel.core.record import Record, ResumePoint
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.export.compression import MAGIC, detect
from bulkdel.export.duplicates import DuplicateFinder
from bulkdel.export.encoding import recognised
from bulkdel.export.file import Export, Fingerprint, Hashing, Progress
from bulkdel.export.lines import peek, whole_lines
from bulkdel.export.reader import parse
from bulkdel.export.refusal import bad_rows_refusal, refusal
from bulkdel.export.rows import Dialect, Parsed, ReadOptions
from bulkdel.export.sniff import resolve

EXAMPLES = 3

RESUME_ROWS = 100_000
"""Rows between two resume points, at least: a resume reads about as many rows again."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The result of the preflight.

    rows: data rows in all. skipped: those that are never sent: bad, excluded, or repeating an earlier row.
    kept: protected ids that are, or may be, in the export. perhaps: excluded rows whose id may be a protected one.
    sample: records drawn evenly from the rows that would be sent, ascending by position.
    examples: the first few ids that would be sent.
    spreadsheet: valid free-text ids that look rewritten by a spreadsheet; spreadsheet_examples: the first few.
    bad: the invalid rows by reason, the most frequent first.
    resume_points: the resume points, one for every hundred thousand rows.
    """

    dialect: Dialect
    fingerprint: Fingerprint
    rows: int
    skipped: SkippedRows
    kept: int
    perhaps: int
    sample: tuple[Record, ...]
    examples: tuple[str, ...]
    spreadsheet: int
    spreadsheet_examples: tuple[str, ...]
    bad: tuple[BadGroup, ...]
    resume_points: tuple[ResumePoint, ...]

    @property
    def counts(self) -> dict[str, int]:
        """`rows`, `ids` (those that would be sent), and the skipped rows by reason."""
        counts = {"rows": self.rows, "ids": self.rows - self.skipped.rows.size}
        return counts | {str(reason): rows.size for reason, rows in self.skipped.by_reason.items()}


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
    resume_rows: int = RESUME_ROWS,
    dialect: Dialect | None = None,
) -> Preflight:
    """Read, hash, parse and check the whole export.

    protected: ids that must never be sent. rng: draws the sample.
    known: the duplicates that an earlier session found, or an empty set where duplicates do not matter. Then none are
        searched for, and no sample is drawn. None: search for them.
    temporary: the folder of the temporary file of the search. resume_rows: for tests.
    dialect: of the copy of a table, which is known; None for a file that is to be recognised.

    Raises NotAcceptable for everything in the export that is not acceptable: damage at once, bad rows at the end and
    all together. Raises FileFailed when the temporary file cannot be written.
    """
    hashing = Hashing(export, on_progress)
    compression = detect(hashing.head(MAGIC))
    encoding, plain = recognised(hashing, compression, options.encoding, export.path, export.block_size)
    head, lines = peek(whole_lines(plain, export.path))
    dialect = dialect or resolve(head, options, export.path, compression, encoding)
    duplicates, firsts = known or PositionSet(), list[Record]()
    with DuplicateFinder(temporary, options.id_type.key, lambda: hashing.share) as finder:
        tally = _Tally(options, IdSet(options.id_type) if protected is None else protected, duplicates, resume_rows)
        for parsed in parse(lines, dialect, options, export.path):
            positions, ids = tally.add(parsed)
            if known is None:
                finder.add(positions, ids)
        if not tally.rows:
            raise refusal(export.path, "no ids", "Is this the right file?")
        bad = tally.bad.groups()
        error = bad_rows_refusal(
            *(export.path, bad, tally.rows),
            on_invalid=options.on_invalid,
            max_invalid=options.max_invalid,
            protects=options.protects,
        )
        if error is not None:
            raise error
        kept = tally.forget_met()
        if known is None:
            firsts = sorted(finder.find(duplicates))
    skipped = SkippedRows()
    skipped.add("excluded", tally.excluded)
    skipped.add("duplicate", duplicates)
    skipped.add("invalid", tally.invalid)
    return Preflight(
        dialect=dialect,
        fingerprint=hashing.fingerprint(),
        rows=tally.rows,
        skipped=skipped,
        kept=kept,
        perhaps=tally.perhaps,
        sample=tuple(sorted(rng.sample(firsts, min(sample_size, len(firsts))))),
        examples=tuple(tally.examples.values()),
        spreadsheet=tally.spreadsheet,
        spreadsheet_examples=tuple(tally.spreadsheet_examples),
        bad=bad,
        resume_points=tuple(tally.resume_points),
    )


class _Tally:
    """Counts the rows, and finds those that are bad or excluded.

    duplicates: the known ones; they do not count as excluded. met: the excluded ids. examples: by key.
    """

    def __init__(self, options: ReadOptions, protected: IdSet, duplicates: PositionSet, resume_rows: int) -> None:
        self._key = options.id_type.key
        self._free_text = options.id_check().id_type.shape is None
        self._duplicates = duplicates
        self._resume_rows = resume_rows
        self.protected = protected
        self.rows = self.spreadsheet = self.perhaps = 0
        self.excluded, self.invalid = PositionSet(), PositionSet()
        self.met = IdSet(options.id_type)
        self.examples: dict[str, str] = {}
        self.spreadsheet_examples: list[str] = []
        self.bad = BadRows()
        self.resume_points: list[ResumePoint] = []

    def add(self, parsed: Parsed) -> tuple[Sequence[int], Sequence[str]]:
        """Count the rows of one batch. Returns the positions and the ids of those that may be sent."""
        batch = parsed.batch
        self.rows += len(batch.rows)
        self._note_resume_point(parsed)
        positions: Sequence[int] = range(batch.start, batch.start + len(batch.rows))
        ids = cast("Sequence[str]", batch.rows)
        if parsed.bad:
            self.invalid.add(parsed.bad)
            self.bad.add(parsed.bad.values())
            positions, ids = _without(parsed.bad, positions, ids)
        if self._free_text and (rewritten := [id_ for id_ in ids if SPREADSHEET.fullmatch(id_)]):
            self.spreadsheet += len(rewritten)
            self.spreadsheet_examples += rewritten[: EXAMPLES - len(self.spreadsheet_examples)]
        if self.protected.meets_any(ids):
            met = {at: id_ for at, id_ in zip(positions, ids, strict=True) if self.protected.meets(id_)}
            positions, ids = _without(met, positions, ids)
            excluded = {at: id_ for at, id_ in met.items() if at not in self._duplicates}
            self.excluded.add(excluded)
            self.perhaps += sum(not self.protected.holds(id_) for id_ in excluded.values())
            self.met.update(excluded.values())
        for id_ in ids if len(self.examples) < EXAMPLES else ():
            if len(self.examples) < EXAMPLES:
                self.examples.setdefault(self._key(id_), id_)
        return positions, ids

    def forget_met(self) -> int:
        """Return how many protected ids are in the export, and forget these: the search for duplicates needs memory."""
        met, self.met = self.met, IdSet(self.met.id_type)
        return sum(map(met.meets, self.protected)) if len(met) else 0

    def _note_resume_point(self, parsed: Parsed) -> None:
        """Note where the batch begins, if the last resume point is far enough behind."""
        last = self.resume_points[-1].row if self.resume_points else 0
        if parsed.batch.start - last >= self._resume_rows and (point := parsed.resume_point()) is not None:
            self.resume_points.append(point)  # None when the row began before the block: then the next batch is used


def _without(
    left_out: Container[int], positions: Sequence[int], ids: Sequence[str]
) -> tuple[Sequence[int], Sequence[str]]:
    rows = [row for row in zip(positions, ids, strict=True) if row[0] not in left_out]
    return [position for position, _ in rows], [id_ for _, id_ in rows]
