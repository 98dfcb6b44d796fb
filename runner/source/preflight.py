"""The preflight: the whole export read once, before anything is sent. Owns what is counted and sampled on the way."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from runner.core.alike import Alike
from runner.core.badrows import BadGroup, BadRows
from runner.core.idtypes import SPREADSHEET
from runner.core.records import Record
from runner.core.rows import BadRow, Batch, Mark, Sieve, Skip
from runner.core.window import WINDOW, DuplicateWindow
from runner.source.compression import MAGIC, decompressed, detect
from runner.source.dialect import resolve
from runner.source.export import Export, Fingerprint, Hashing, Progress
from runner.source.jsonl import Parsed
from runner.source.lines import peek, whole_lines
from runner.source.options import Dialect, ReadOptions
from runner.source.reading import parse
from runner.source.refusals import bad_rows_refusal, refusal

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the export turned out to be.

    rows: data rows in all. ids: those that would be sent (valid, unique, not excluded).
    excluded, duplicate, invalid: the others, by why they are not sent.
    kept: ids to keep that some row is, or may be. perhaps: excluded rows that only may be one of them.
    sample: records drawn evenly from all that would be sent, ascending by position.
    examples: the first few ids that would be sent.
    spreadsheet: valid free-text ids that look rewritten by a spreadsheet; spreadsheet_examples: the first few.
    bad: the invalid rows by reason, the most frequent first.
    marks: where a resume can begin to read, one for every hundred thousand ids.
    """

    dialect: Dialect
    fingerprint: Fingerprint
    rows: int
    ids: int
    excluded: int
    duplicate: int
    invalid: int
    kept: int
    perhaps: int
    sample: tuple[Record, ...]
    examples: tuple[str, ...]
    spreadsheet: int
    spreadsheet_examples: tuple[str, ...]
    bad: tuple[BadGroup, ...]
    marks: tuple[Mark, ...]


def preflight(
    export: Export,
    options: ReadOptions,
    *,
    protected: Alike | None = None,
    rng: random.Random,
    sample_size: int = 200,
    on_progress: Progress | None = None,
    window_size: int = WINDOW,
) -> Preflight:
    """Read, hash, parse and check the whole export.

    protected: ids that must never be sent. rng: draws the sample.
    window_size: for tests.

    Raises NotAcceptable for everything in the export that is not acceptable: damage at once, bad rows at the end and
    all together.
    """
    hashing = Hashing(export, on_progress)
    compression = detect(hashing.head(MAGIC))
    lines = whole_lines(decompressed(hashing, compression, export.path, export.block_size), export.path)
    head, lines = peek(lines)
    dialect = resolve(head, options, export.path, compression)
    free_text = options.id_check().id_type.shape is None
    window = DuplicateWindow(window_size)
    sieve = Sieve(options.id_type, window, Alike(options.id_type) if protected is None else protected)
    tally = _Tally(sieve, window, _Reservoir(sample_size, rng), free_text=free_text)
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
    return Preflight(
        dialect=dialect,
        fingerprint=hashing.fingerprint(),
        rows=tally.rows,
        ids=tally.ids,
        excluded=tally.excluded,
        duplicate=tally.duplicate,
        invalid=tally.invalid,
        kept=tally.kept(),
        perhaps=tally.perhaps,
        sample=tally.reservoir.sample(),
        examples=tuple(tally.examples),
        spreadsheet=tally.spreadsheet,
        spreadsheet_examples=tuple(tally.spreadsheet_examples),
        bad=bad,
        marks=tuple(tally.marks),
    )


class _Reservoir:
    """Draws `size` of a stream of unknown length, each member as likely as any other.

    Li's algorithm L: it decides how many members to pass over, so that a hundred million ids cost a few thousand draws.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self._size = size
        self._rng = rng
        self._kept: list[Record] = []
        self._seen = 0
        self._next = 0 if size else math.inf
        self._weight = 1.0

    def add(self, batch: Batch, positions: Sequence[int]) -> None:
        """Offer the rows of `batch` at `positions`."""
        while self._next < self._seen + len(positions):
            position = positions[int(self._next) - self._seen]
            record = Record(position, str(batch.rows[position - batch.start]))
            if len(self._kept) < self._size:
                self._kept.append(record)
            else:
                self._kept[self._rng.randrange(self._size)] = record
            self._next += 1 if len(self._kept) < self._size else 1 + self._pass_over()
        self._seen += len(positions)

    def _pass_over(self) -> int:
        # 1 - random() is never 0, and the product stays below 1, so neither logarithm fails.
        self._weight *= math.exp(math.log(1.0 - self._rng.random()) / self._size)
        weight = min(self._weight, 1.0 - 2**-53)
        return math.floor(math.log(1.0 - self._rng.random()) / math.log1p(-weight))

    def sample(self) -> tuple[Record, ...]:
        return tuple(sorted(self._kept))


class _Tally:
    """Counts rows by what will become of them."""

    def __init__(self, sieve: Sieve, window: DuplicateWindow, reservoir: _Reservoir, *, free_text: bool) -> None:
        self._sieve = sieve
        self._window = window
        self._free_text = free_text
        self.reservoir = reservoir
        self.rows = self.ids = self.excluded = self.duplicate = self.invalid = self.spreadsheet = self.perhaps = 0
        self._met = Alike(sieve.id_type)
        self.examples: list[str] = []
        self.spreadsheet_examples: list[str] = []
        self.bad = BadRows()
        self.marks: list[Mark] = []

    def add(self, parsed: Parsed) -> None:
        batch, taken, round_at = parsed.batch, self._window.taken, self._window.round_at
        skipped = self._sieve.skipped(batch)
        if self._window.round_at != round_at:
            self._mark(parsed, skipped, self._window.round_at - taken)
        positions: Sequence[int] = range(batch.start, batch.start + len(batch.rows))
        never = {position for some in skipped.values() for position in some}
        if never:
            positions = [position for position in positions if position not in never]
        self.reservoir.add(batch, positions)
        for position in positions[: EXAMPLES - len(self.examples)]:
            self.examples.append(str(batch.rows[position - batch.start]))
        self.rows += len(batch.rows)
        self.ids += len(positions)
        self.excluded += len(skipped["excluded"])
        self.duplicate += len(skipped["duplicate"])
        self.invalid += len(skipped["invalid"])
        if skipped["excluded"]:
            ids = [str(batch.rows[position - batch.start]) for position in skipped["excluded"]]
            self.perhaps += sum(not self._sieve.protected.holds(id_) for id_ in ids)
            self._met.update(ids)
        if skipped["invalid"]:
            self.bad.add(row for row in batch.rows if isinstance(row, BadRow))
        if self._free_text:
            self._look_for_spreadsheets(batch)

    def kept(self) -> int:
        """How many of the ids to keep some row is, or may be."""
        return sum(map(self._met.meets, self._sieve.protected)) if self.excluded else 0

    def _mark(self, parsed: Parsed, skipped: dict[Skip, list[int]], taken: int) -> None:
        """Note the first row after the window has gone round. taken: how many of the batch's ids it had then."""
        batch = parsed.batch
        not_taken = {*skipped["invalid"], *skipped["excluded"]}
        rows = (row for row in range(batch.start, batch.start + len(batch.rows)) if row not in not_taken)
        mark = parsed.mark(next(islice(rows, taken - 1, None)) + 1)
        if mark is not None:  # else the next one will do: a mark more or less only means more or fewer rows to read
            self.marks.append(mark)

    def _look_for_spreadsheets(self, batch: Batch) -> None:
        ids = [row for row in batch.rows if isinstance(row, str)]
        if any(map(SPREADSHEET.fullmatch, ids)):
            found = [id_ for id_ in ids if SPREADSHEET.fullmatch(id_)]
            self.spreadsheet += len(found)
            self.spreadsheet_examples += found[: EXAMPLES - len(self.spreadsheet_examples)]
