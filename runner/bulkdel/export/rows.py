"""The rows that every format yields, and the formats with one row a line. `core.id_parser` reads the id of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from bulkdel.core.bad_rows import BadRow, Unusable, all_strings
from bulkdel.core.id_parser import shortened
from bulkdel.core.record import Batch, ResumePoint
from bulkdel.export.lines import Lines
from bulkdel.export.refusal import refuse_at_once


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch and where it stands.

    lines: 1-based line of the (decompressed) file where each row starts.
    block: what was read last; the first row may have begun before it.
    bad: the rows without a usable id, by position. raw: the same as they stand in the file, line ends included.
    """

    batch: Batch
    lines: Sequence[int]
    block: Lines
    bad: Mapping[int, BadRow] = field(default_factory=dict)
    raw: Sequence[bytes] = ()

    def resume_point(self) -> ResumePoint | None:
        """Where the first row begins; None when it began before the block."""
        line = self.lines[0]
        return ResumePoint(self.batch.start, line, self.block.byte_of(line)) if line >= self.block.line else None


def parsed_rows(
    found: Sequence[str | Unusable], raw: Callable[[int], bytes], lines: Sequence[int], block: Lines, position: int
) -> Parsed:
    """Make a batch.

    found: the id of each row, or why it has none. raw: the text of a row by its index, line end included.
    lines, block: as in Parsed. position: of the first row.
    """
    if all_strings(found):
        return Parsed(Batch(position, cast("list[str | BadRow]", found)), lines, block)
    raws = {i: raw(i) for i, id_ in enumerate(found) if isinstance(id_, Unusable)}
    rows = [
        BadRow(lines[i], shortened(raws[i]), id_) if isinstance(id_, Unusable) else id_ for i, id_ in enumerate(found)
    ]
    bad = {position + i: row for i, row in enumerate(rows) if isinstance(row, BadRow)}
    return Parsed(Batch(position, rows), lines, block, bad, [*raws.values()])


def line_rows(
    blocks: Iterable[Lines], ids_of: Callable[[list[bytes]], Sequence[str | Unusable]], path: str, position: int
) -> Iterator[Parsed]:
    """Yield the rows of a format with one row a line, bad ones included.

    ids_of: gives the id of each line, or why it has none. position: of the first row.
    Raises NotAcceptable for what no option makes acceptable.
    """
    for block in blocks:
        lines = block.split()
        raw, numbers = partial(_with_line_end, block, lines), range(block.line, block.line + len(lines))
        parsed = parsed_rows(ids_of(lines), raw, numbers, block, position)
        for bad in parsed.bad.values():
            refuse_at_once(path, bad, torn=block.torn and bad.line == block.last_line)
        yield parsed
        position += len(lines)


def _with_line_end(block: Lines, lines: Sequence[bytes], i: int) -> bytes:
    return lines[i] if block.torn and i == len(lines) - 1 else lines[i] + b"\n"
