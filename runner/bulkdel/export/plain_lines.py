"""A plain list to rows: each line is an id as it stands. Owns nothing else; what an id is, the core knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkdel.core.bad_row_reason import Unusable, Why
from bulkdel.core.id_parser import IdCheck, shortened
from bulkdel.core.row_filter import BadRow, Batch
from bulkdel.export.jsonl import ROWS_MAX, Parsed
from bulkdel.export.lines import Lines, decoded


def plain_rows(blocks: Iterable[Lines], check: IdCheck, path: str, position: int = 0) -> Iterator[Parsed]:
    """Yield the rows of `blocks`, bad ones included. Raises NotAcceptable for what is not UTF-8.

    position: of the first row.
    """
    for block in blocks:
        lines = decoded(block, path).split("\n")
        if not block.torn:
            lines.pop()
        for first in range(0, len(lines), ROWS_MAX):
            some = [line.removesuffix("\r") for line in lines[first : first + ROWS_MAX]]
            begin = block.line + first
            parsed = Parsed(Batch(position, [*some]), range(begin, begin + len(some)), block)
            if not check.all_usable(some):
                for i, line in enumerate(some):
                    found = check.check(line) if line.strip() else Unusable(Why.EMPTY_LINE)
                    if isinstance(found, Unusable):
                        last = block.torn and first + i == len(lines) - 1
                        parsed.raw.append((lines[first + i] + ("" if last else "\n")).encode())
                        parsed.batch.rows[i] = BadRow(begin + i, shortened(line), found)
                    else:
                        parsed.batch.rows[i] = found
            yield parsed
            position += len(some)
