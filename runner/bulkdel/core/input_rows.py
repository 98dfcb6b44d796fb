"""The rows of a run as the input has them: blocks of rows as lines, and where a block and a frame end. Pure.

docs/input-format.md is the specification. Owns the cut into blocks and frames: the content digest of an input depends
on it, so it is a part of the format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, cast

import orjson

BLOCK_ROWS = 1_000
BLOCK_CHARACTERS = 256 << 10
"""A block ends with its thousandth row, or with the row that fills it: so many characters of ids, reasons, records."""

FRAME_BYTES = 1 << 20
"""A frame ends with the block with which it has so many bytes."""

FRAME_MAX = 16 << 20
"""No frame has more. A row has at most 1 MiB, and a character of it takes six bytes at most (`\\u0001`)."""

MEMBERS = frozenset({"at", "line", "steps", "ids", "why", "records"})

_NO_WHY: Mapping[int, str] = {}


class Rows(NamedTuple):
    """Consecutive rows, as a reader of exports gives them and as the input has them.

    at: position of the first row. ids: None for a bad row. lines: the 1-based line where each row starts.
    records: the text of each row as it stands in the export, for a job that needs it; else empty.
    why: by position, why a row has no usable id (`bad_rows.Unusable.code`): each None of `ids`, and no other row.
    """

    at: int
    ids: Sequence[str | None]
    lines: Sequence[int]
    records: Sequence[str] = ()
    why: Mapping[int, str] = _NO_WHY

    @property
    def stop(self) -> int:
        """The position after the last row."""
        return self.at + len(self.ids)

    @property
    def usable(self) -> tuple[Sequence[int], Sequence[str]]:
        """The positions and the ids of the rows that have one."""
        positions = range(self.at, self.stop)
        if not self.why:
            return positions, cast("Sequence[str]", self.ids)
        found = [(row, id_) for row, id_ in zip(positions, self.ids, strict=True) if id_ is not None]
        return [row for row, _ in found], [id_ for _, id_ in found]

    def between(self, first: int, stop: int) -> Rows:
        """Those of the rows with positions in `[first, stop)`."""
        i, j = max(first - self.at, 0), max(stop - self.at, 0)
        why = {at: words for at, words in self.why.items() if first <= at < stop} if self.why else _NO_WHY
        return Rows(self.at + i, self.ids[i:j], self.lines[i:j], self.records[i:j], why)

    def joined(self, more: Rows) -> Rows:
        """These rows and those that follow them. Raises ValueError where only some of them have a text."""
        if self.ids and bool(self.records) != bool(more.records):
            raise ValueError("some rows have a text, and others have none")
        return Rows(
            self.at,
            [*self.ids, *more.ids],
            _joined_lines(self.lines, more.lines),
            [*self.records, *more.records],
            {**self.why, **more.why} if self.why or more.why else _NO_WHY,
        )


class Blocks:
    """Cuts consecutive rows into blocks."""

    def __init__(self) -> None:
        self._rest = Rows(0, [], [])

    def add(self, rows: Rows) -> Iterator[Rows]:
        """Yield the blocks that these rows complete. Raises ValueError when they do not follow the last ones."""
        if rows.at != self._rest.stop:
            raise ValueError(f"row {rows.at} after row {self._rest.stop - 1}")
        if self._rest.ids:
            rows = self._rest.joined(rows)
        while (count := _block_rows(rows)) is not None:
            yield rows.between(rows.at, rows.at + count)
            rows = rows.between(rows.at + count, rows.stop)
        self._rest = rows

    def end(self) -> Rows | None:
        """The last rows; None when there are none."""
        return self._rest if self._rest.ids else None


def _block_rows(rows: Rows) -> int | None:
    """How many of these rows make a block; None when they are too few."""
    ids = rows.ids[:BLOCK_ROWS]
    plain = not (rows.why or rows.records)  # nearly always, and then one sum is enough
    if not plain or sum(map(len, cast("Sequence[str]", ids))) >= BLOCK_CHARACTERS:
        records = rows.records[:BLOCK_ROWS] or [""] * len(ids)
        sizes = [
            len(rows.why[at] if id_ is None else id_) + len(record)
            for at, (id_, record) in enumerate(zip(ids, records, strict=True), rows.at)
        ]
        if sum(sizes) >= BLOCK_CHARACTERS:
            return next(count for count, size in enumerate(accumulate(sizes), 1) if size >= BLOCK_CHARACTERS)
    return BLOCK_ROWS if len(ids) == BLOCK_ROWS else None


def _joined_lines(lines: Sequence[int], more: Sequence[int]) -> Sequence[int]:
    """Nearly always each row has a line: then a range takes the place of a list."""
    if isinstance(lines, range) and isinstance(more, range) and lines.stop == more.start and lines.step == more.step:
        return range(lines.start, more.stop, lines.step)
    return [*lines, *more]


def encode(rows: Rows) -> bytes:
    """A block as a line, line feed included. It has a row at least."""
    members: dict[str, Any] = {"at": rows.at, "line": rows.lines[0]}
    if steps := _steps(rows.lines):
        members["steps"] = steps
    members["ids"] = rows.ids
    if rows.why:
        members["why"] = [[at - rows.at, words] for at, words in sorted(rows.why.items())]
    if rows.records:
        members["records"] = rows.records
    return orjson.dumps(members) + b"\n"


def decode(line: bytes) -> Rows:
    """Read a block. Raises ValueError or TypeError for a line that is none."""
    members = orjson.loads(line)
    if not isinstance(members, dict) or not members.keys() >= {"at", "line", "ids"}:
        raise ValueError("no block")
    at, first, ids, records = members["at"], members["line"], members["ids"], members.get("records", [])
    if members.keys() - MEMBERS:
        raise ValueError("unknown members")
    if not (isinstance(ids, list) and 0 < len(ids) <= BLOCK_ROWS and set(map(type, ids)) <= {str, type(None)}):
        raise ValueError("no ids")
    if not (isinstance(records, list) and set(map(type, records)) <= {str} and len(records) in {0, len(ids)}):
        raise ValueError("no records")
    if type(at) is not int or type(first) is not int or at < 0 or first < 1:
        raise ValueError("no place")
    why = _why(members.get("why", []), at, ids)
    return Rows(at, ids, _lines(first, members.get("steps", []), len(ids)), records, why)


def decode_frame(content: bytes, at: int, count: int) -> list[Rows]:
    """Read the blocks of a frame: so many rows from this position on. Raises ValueError and TypeError."""
    *lines, end = content.split(b"\n")
    if end:
        raise ValueError("no line feed at the end")
    blocks, stop = [decode(line) for line in lines], at + count
    for block in blocks:
        if block.at != at:
            raise ValueError(f"row {block.at} where row {at} follows")
        at = block.stop
    if at != stop:
        raise ValueError(f"row {at} is not there")
    return blocks


def _steps(lines: Sequence[int]) -> list[list[int]]:
    """Where a row does not start on the line after that of the row before it: its index, and how many lines after."""
    if isinstance(lines, range) and lines.step == 1:
        return []
    return [[i, stop - start] for i, (start, stop) in enumerate(pairwise(lines), 1) if stop - start != 1]


def _lines(first: int, steps: Any, count: int) -> Sequence[int]:
    if not steps:
        return range(first, first + count)
    found = [1] * count
    found[0], last = first, 0
    for step in steps:
        i, lines = step
        if not (type(i) is type(lines) is int and last < i < count and lines >= 0):
            raise ValueError("no steps")
        found[i], last = lines, i
    return list(accumulate(found))


def _why(pairs: Any, at: int, ids: Sequence[str | None]) -> Mapping[int, str]:
    """The reasons by position. Each bad row has one, and no other row."""
    found: dict[int, str] = dict(pairs)
    bad = [i for i, id_ in enumerate(ids) if id_ is None]
    numbers, texts = set(map(type, found)) <= {int}, set(map(type, found.values())) <= {str}
    if list(found) != bad or len(pairs) != len(bad) or not (numbers and texts):
        raise ValueError("the reasons are not those of the bad rows")
    return {at + i: words for i, words in found.items()} if found else _NO_WHY
