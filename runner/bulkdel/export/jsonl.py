"""JSON Lines to rows. Owns the cutting of blocks into rows; `core.id_parser` reads the id of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bulkdel.core.bad_rows import Why
from bulkdel.core.id_parser import IdCheck, Member, ids_of_lines
from bulkdel.export.lines import Lines
from bulkdel.export.refusal import refuse_at_once
from bulkdel.export.rows import ROWS_MAX, Parsed, one_line_rows


def jsonl_rows(
    blocks: Iterable[Lines], member: Member | None, check: IdCheck, path: str, position: int = 0
) -> Iterator[Parsed]:
    """Yield the rows of `blocks`, bad ones included. Raises NotAcceptable for what no option makes acceptable.

    position: of the first row.
    """
    for block in blocks:
        lines = block.split()
        for first in range(0, len(lines), ROWS_MAX):
            some = lines[first : first + ROWS_MAX]
            parsed = one_line_rows(ids_of_lines(some, member, check), some, block, block.line + first, position)
            for bad in parsed.bad.values():
                torn = block.torn and bad.line == block.last_line and bad.why.why in (Why.NOT_JSON, Why.NOT_UTF8)
                refuse_at_once(path, bad, torn=torn)
            yield parsed
            position += len(some)
