"""JSON Lines to rows. Owns the way from a block of lines to ids; what an id is, the core knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from bulkdel.core.bad_row_reason import Unusable, Why
from bulkdel.core.id_parser import (
    IdCheck,
    Member,
    id_of_row,
    ids_of_rows,
    refused_as_result,
    shortened,
)
from bulkdel.core.row_filter import BadRow, Batch, ResumePoint
from bulkdel.export.lines import Lines
from bulkdel.export.refusal import refusal

ROWS_MAX = 512
"""Rows of a batch: enough that the price of a batch does not matter, few enough that its objects are gone again before
there are 700 of them, at which Python's cyclic garbage collector starts (measured: a tenth of the time for CSV)."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch, and what only the file knows of it.

    lines: 1-based line of the (decompressed) file where each row starts.
    block: what was read last; the first row may have begun before it.
    raw: the bad rows as they stand in the file, line ends included.
    """

    batch: Batch
    lines: Sequence[int]
    block: Lines
    raw: list[bytes] = field(default_factory=list)

    def mark(self, row: int) -> ResumePoint | None:
        """Where the row at this position begins; None when it is not in this batch, or began before the block."""
        i = row - self.batch.start
        if i >= len(self.lines) or self.lines[i] < self.block.line:
            return None
        return ResumePoint(row, self.lines[i], self.block.byte_of(self.lines[i]))


def jsonl_rows(
    blocks: Iterable[Lines], member: Member | None, check: IdCheck, path: str, position: int = 0
) -> Iterator[Parsed]:
    """Yield the rows of `blocks`, bad ones included. Raises NotAcceptable for what no option makes acceptable.

    position: of the first row.
    """
    for block in blocks:
        lines = block.data.split(b"\n")
        if not block.torn:
            lines.pop()
        for first in range(0, len(lines), ROWS_MAX):
            some = lines[first : first + ROWS_MAX]
            text = block.data if len(some) == len(lines) else b"\n".join(some)
            ids = None if member and b'"outcome"' in text else ids_of_rows(some, text, member)
            if ids is not None and check.all_usable(ids):
                yield Parsed(Batch(position, [*ids]), range(block.line + first, block.line + first + len(some)), block)
            else:
                torn = block.torn and first + len(some) == len(lines)
                yield _Slow(some, block, first, member, check, path).read(position, torn=torn)
            position += len(some)


@dataclass(frozen=True, slots=True)
class _Slow:
    """Reads lines one by one, to say what is wrong with which."""

    lines: list[bytes]
    block: Lines
    first: int
    member: Member | None
    check: IdCheck
    path: str

    def read(self, position: int, *, torn: bool) -> Parsed:
        begin = self.block.line + self.first
        parsed = Parsed(Batch(position, []), range(begin, begin + len(self.lines)), self.block)
        for number, line in enumerate(self.lines, begin):
            if self.member and b'"outcome"' in line:
                self._refuse_result(number, line)
            found = id_of_row(line, self.member)
            row = self.check.check(found) if isinstance(found, str) else found
            last = torn and number == begin + len(self.lines) - 1
            if isinstance(row, Unusable):
                if row.structural or (last and row.why is Why.NOT_JSON):
                    raise self._damaged(number, line, row, last=last)
                parsed.raw.append(line if last else line + b"\n")
                parsed.batch.rows.append(BadRow(number, shortened(line), row))
            else:
                parsed.batch.rows.append(row)
        return parsed

    def _damaged(self, number: int, line: bytes, why: Unusable, *, last: bool) -> Exception:
        cut = last and not why.structural
        reason = f"{why.words}; the file ends in the middle of this row" if cut else why.words
        todo = "Get the export again." if last else "Export it as UTF-8."
        return refusal(self.path, reason, todo, line=number, text=line)

    def _refuse_result(self, number: int, line: bytes) -> None:
        try:
            outcome = refused_as_result(orjson.loads(line))
        except orjson.JSONDecodeError:
            return
        if outcome is not None:
            raise result_refusal(self.path, number, line, outcome)


def result_refusal(path: str, line: int, text: bytes | str, outcome: str) -> Exception:
    """Make the error for a row of results that must not be sent again."""
    reason = f"a row of an earlier run's results, with outcome {outcome!r}"
    todo = "Only what was refused or is unknown goes again: bulkdel results CHECKPOINT --only refused,unknown."
    return refusal(path, reason, todo, line=line, text=text)
