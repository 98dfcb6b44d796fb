"""The preflight: reads the whole export once, before anything is sent. Owns its counts and its sample.

Where the export is not there any more, the input of the run takes its place. Another person may have written it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from bulkdel.core.bad_rows import BadGroup, BadRows
from bulkdel.core.excluded_rows import ExcludedRows, without
from bulkdel.core.halt_limits import SAMPLE_SIZE
from bulkdel.core.id_parser import Member, ids_of_lines, ids_of_plain_lines, ids_of_records
from bulkdel.core.id_type import SPREADSHEET, IdSet
from bulkdel.core.input_rows import Rows
from bulkdel.core.record import Record
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.errors import NotAcceptable
from bulkdel.export.csv import csv_rows
from bulkdel.export.duplicates import DuplicateFinder
from bulkdel.export.encoding import recognised
from bulkdel.export.file import Export, Fingerprint, Hashing, Progress
from bulkdel.export.lines import Lines, peek, whole_lines, without_blank_end
from bulkdel.export.refusal import bad_rows_refusal, refusal
from bulkdel.export.rows import Dialect, Parsed, ReadOptions, line_rows
from bulkdel.export.sniff import resolve

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Preflight:
    """The result of the preflight.

    rows: data rows in all. skipped: those that are never sent: bad, excluded, or repeating an earlier row.
    kept: protected ids that are, or may be, in the export. perhaps: excluded rows whose id may be a protected one.
    sample: records drawn evenly from the rows that would be sent, ascending by position.
    examples: the first few ids that would be sent.
    spreadsheet: valid free-text ids that look rewritten by a spreadsheet; spreadsheet_examples: the first few.
    bad: the invalid rows by reason, the most frequent first.
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
    rng: random.Random | None = None,
    on_progress: Progress | None = None,
    temporary: Path | None = None,
    dialect: Dialect | None = None,
    to: Callable[[Parsed], object] = lambda _: None,
    growing: Callable[[], int] = lambda: 0,
) -> Preflight:
    """Read, hash, parse and check the whole export.

    protected: ids that must never be sent. rng: draws the sample. Without it duplicates are not searched for, and there
    is no sample.
    temporary: the folder of the temporary file of the search.
    dialect: of the copy of a table, which is known; None for a file that is to be recognised.
    to: called with each batch of rows, also of an export that is refused in the end.
    growing: how many bytes it has written in the temporary folder so far; room for the rest is looked at too.

    Raises NotAcceptable for everything in the export that is not acceptable: damage at once, bad rows at the end and
    all together. Raises FileFailed when the temporary file cannot be written.
    """
    hashing = Hashing(export, on_progress)
    compression, encoding, plain = recognised(hashing, options.encoding)
    head, lines = peek(whole_lines(plain, export.path))
    dialect = dialect or resolve(head, options, export.path, compression, encoding)
    duplicates, firsts = PositionSet(), list[Record]()
    with DuplicateFinder(temporary, options.id_type.key, lambda: hashing.share, growing=growing) as finder:
        excluded = ExcludedRows(IdSet(options.id_type) if protected is None else protected, duplicates)
        tally = _Tally(options, excluded)
        for parsed in _parse(lines, dialect, options, export.path):
            to(parsed)
            positions, ids = tally.add(parsed)
            if rng is not None:
                finder.add(positions, ids)
        bad = tally.bad_rows(export.path)
        kept = excluded.kept()
        if rng is not None:
            firsts = sorted(finder.find(duplicates))
    return Preflight(
        dialect=dialect,
        fingerprint=hashing.fingerprint(),
        rows=tally.rows,
        skipped=SkippedRows.of(excluded=excluded.positions, duplicate=duplicates, invalid=tally.invalid),
        kept=kept,
        perhaps=excluded.perhaps,
        sample=() if rng is None else _drawn(firsts, rng),
        examples=tuple(tally.examples.values()),
        spreadsheet=tally.spreadsheet,
        spreadsheet_examples=tuple(tally.spreadsheet_examples),
        bad=bad,
    )


def preflight_of_input(
    rows_of_run: Iterable[Rows],
    options: ReadOptions,
    where: Path,
    *,
    count: int,
    protected: IdSet,
    rng: random.Random,
    temporary: Path,
) -> tuple[SkippedRows, tuple[Record, ...]]:
    """Check every row as the preflight of an export does. Returns the rows that are never sent, and the sample.

    where: of the log, for messages. count: how many rows there are. The other arguments are those of `preflight`.

    Raises NotAcceptable for an id that no export can have given, FileFailed when there is no room for the search.
    """
    excluded, invalid, duplicates, done = ExcludedRows(protected, PositionSet()), PositionSet(), PositionSet(), 0
    check = options.id_check()
    with DuplicateFinder(temporary, options.id_type.key, lambda: max(done, 1) / count) as finder:
        for rows in rows_of_run:
            positions, ids = rows.usable
            if check.check_all([*ids]) != [*ids]:
                raise NotAcceptable(
                    f"{where}: its rows {rows.at:,} to {rows.stop - 1:,} hold an id that no export can have given. "
                    "Nothing was sent. Name the export of the run, or ask for the files that the run has written."
                )
            invalid.add(rows.why)
            finder.add(*excluded.take(positions, ids))
            done = rows.stop
        excluded.kept()
        firsts = sorted(finder.find(duplicates))
    skipped = SkippedRows.of(excluded=excluded.positions, duplicate=duplicates, invalid=invalid)
    return skipped, _drawn(firsts, rng)


def _drawn(firsts: Sequence[Record], rng: random.Random) -> tuple[Record, ...]:
    """The sample: some of these rows, ascending by position."""
    return tuple(sorted(rng.sample(firsts, min(SAMPLE_SIZE, len(firsts)))))


class _Tally:
    """Counts the rows, and finds those that are bad or excluded. examples: by key."""

    def __init__(self, options: ReadOptions, excluded: ExcludedRows) -> None:
        self._options = options
        self._free_text = options.id_check().id_type.shape is None
        self._excluded = excluded
        self.rows = self.spreadsheet = 0
        self.invalid = PositionSet()
        self.examples: dict[str, str] = {}
        self.spreadsheet_examples: list[str] = []
        self.bad = BadRows()

    def add(self, parsed: Parsed) -> tuple[Sequence[int], Sequence[str]]:
        """Count the rows of one batch. Returns the positions and the ids of those that may be sent."""
        self.rows += len(parsed.rows)
        positions: Sequence[int] = range(parsed.start, parsed.start + len(parsed.rows))
        ids = cast("Sequence[str]", parsed.rows)
        if parsed.bad:
            self.invalid.add(parsed.bad)
            self.bad.add(parsed.bad.values())
            positions, ids = without(parsed.bad, positions, ids)
        if self._free_text and (rewritten := [id_ for id_ in ids if SPREADSHEET.fullmatch(id_)]):
            self.spreadsheet += len(rewritten)
            self.spreadsheet_examples += rewritten[: EXAMPLES - len(self.spreadsheet_examples)]
        positions, ids = self._excluded.take(positions, ids)
        for id_ in ids if len(self.examples) < EXAMPLES else ():
            if len(self.examples) < EXAMPLES:
                self.examples.setdefault(self._options.id_type.key(id_), id_)
        return positions, ids

    def bad_rows(self, path: str) -> tuple[BadGroup, ...]:
        """The bad rows by reason. Raises NotAcceptable for no rows, and for bad rows that may not be left out."""
        if not self.rows:
            raise refusal(path, "no ids", "Is this the right file?")
        bad, options = self.bad.groups(), self._options
        error = bad_rows_refusal(path, bad, self.rows, skip=options.skip_invalid, protects=options.protects)
        if error is not None:
            raise error
        return bad


def _parse(lines: Iterable[Lines], dialect: Dialect, options: ReadOptions, path: str) -> Iterator[Parsed]:
    """Yield parsed rows, bad ones included. Raises NotAcceptable for a file that no option makes acceptable."""
    check = options.id_check()
    blocks = without_blank_end(lines, dialect.delimiter, path)
    if dialect.format == "csv":
        return csv_rows(blocks, dialect, check, path)
    if dialect.format == "lines":
        return line_rows(blocks, partial(ids_of_plain_lines, check=check), path)
    member = Member(tuple(dialect.id_field.split("."))) if dialect.id_field is not None else None
    if options.whole and member is not None:
        return line_rows(blocks, partial(ids_of_records, member=member, check=check), path, whole=True)
    return line_rows(blocks, partial(ids_of_lines, member=member, check=check), path)
