"""A plain list to rows: each line is an id. `core.id_parser` checks the id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkdel.core.bad_rows import Unusable, Why
from bulkdel.core.id_parser import IdCheck
from bulkdel.export.lines import Lines, decoded
from bulkdel.export.rows import ROWS_MAX, Parsed, one_line_rows


def plain_rows(blocks: Iterable[Lines], check: IdCheck, path: str, position: int = 0) -> Iterator[Parsed]:
    """Yield the rows of `blocks`, bad ones included. Raises NotAcceptable for what is not UTF-8.

    position: of the first row.
    """
    for block in blocks:
        decoded(block, path)
        lines = block.split()
        for first in range(0, len(lines), ROWS_MAX):
            some = lines[first : first + ROWS_MAX]
            yield one_line_rows([_id_of(line, check) for line in some], some, block, block.line + first, position)
            position += len(some)


def _id_of(line: bytes, check: IdCheck) -> str | Unusable:
    text = line.decode().removesuffix("\r")
    return check.check(text) if text.strip() else Unusable(Why.EMPTY_LINE)
