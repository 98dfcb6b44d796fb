"""Sets of rows: of the rows that are never sent as bits, of all others as ranges.

Owns the arithmetic. `export.preflight` finds the rows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import Self

from bulkdel.core.outcome import SKIPS, Skip
from bulkdel.core.ranges import Ranges

PAGE_ROWS = 1 << 15
"""Positions of one page, 4 KiB. A page is allocated when the first of its positions is added."""

RANGES_MAX = 10_000
"""Ranges of one entry of the log, at most: about 200 kB."""

_BITS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))
"""The bits that are set in each byte, ascending."""

_FULL = 0xFF


class PositionSet:
    """A set of positions. One bit a row, in pages.

    size: how many positions it holds.
    """

    __slots__ = ("_pages", "size")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._pages: dict[int, bytearray] = {}
        self.size = 0
        for start, stop in ranges:
            self.add(range(start, stop))

    def add(self, positions: Iterable[int]) -> None:
        """Add positions. One that is in the set already changes nothing."""
        number, page, size = -1, bytearray(), self.size
        for position in positions:
            if position // PAGE_ROWS != number:
                number = position // PAGE_ROWS
                page = self._pages.setdefault(number, bytearray(PAGE_ROWS // 8))
            index = position % PAGE_ROWS >> 3
            byte = page[index] | 1 << (position & 7)
            if byte != page[index]:
                page[index] = byte
                size += 1
        self.size = size

    def update(self, other: PositionSet) -> int:
        """Add all positions of another set; return how many were new."""
        before = self.size
        for number, theirs in other._pages.items():
            ours = self._pages.get(number, b"")
            joined = int.from_bytes(ours, "little") | int.from_bytes(theirs, "little")
            self._pages[number] = bytearray(joined.to_bytes(PAGE_ROWS // 8, "little"))
            self.size += joined.bit_count() - int.from_bytes(ours, "little").bit_count()
        return self.size - before

    def covers(self, other: PositionSet) -> bool:
        """Whether all positions of another set are in this one."""
        none = bytes(PAGE_ROWS // 8)
        pages = ((theirs, self._pages.get(number, none)) for number, theirs in other._pages.items())
        return not any(int.from_bytes(theirs) & ~int.from_bytes(ours) for theirs, ours in pages)

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PositionSet) and self._pages == other._pages

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and bool(self._byte(position) >> (position & 7) & 1)

    def between(self, start: int, stop: int) -> Iterator[int]:
        """The positions in `[start, stop)`, ascending."""
        for number in range(start // PAGE_ROWS, -(-stop // PAGE_ROWS)):
            if number not in self._pages:
                continue
            page, base = self._pages[number], number * PAGE_ROWS
            first, last = max(start - base, 0), min(stop - base, PAGE_ROWS)
            for index in range(first >> 3, (last + 7) >> 3):
                if byte := page[index]:
                    for bit in _BITS[byte]:
                        position = base + (index << 3) + bit
                        if start <= position < stop:
                            yield position

    def count(self, start: int, stop: int) -> int:
        """How many of the positions in `[start, stop)` are in the set."""
        found = 0
        for number in range(start // PAGE_ROWS, -(-stop // PAGE_ROWS)):
            page, base = self._pages.get(number), number * PAGE_ROWS
            if page is not None:
                first, last = max(start - base, 0), min(stop - base, PAGE_ROWS)
                bits = int.from_bytes(page[first >> 3 : (last + 7) >> 3], "little") >> (first & 7)
                found += (bits & ((1 << (last - first)) - 1)).bit_count()
        return found

    def others(self, span: tuple[int, int]) -> int:
        """How many rows of a span are not in the set."""
        start, stop = span
        return stop - start - (self.count(start, stop) if self.size else 0)

    def ranges(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """The positions in `[start, stop)` as half-open ranges, ascending, made one by one. stop: None for all."""
        begin = end = -1
        for position in self.between(start, self._stop if stop is None else stop):
            if position != end:
                if end > begin:
                    yield begin, end
                begin = position
            end = position + 1
        if end > begin:
            yield begin, end

    def bitmap(self, rows: int) -> Iterator[bytes]:
        """The first so many positions as bits, in pieces: position p is bit p % 8 of byte p // 8."""
        empty = bytes(PAGE_ROWS // 8)
        for number in range(-(-rows // PAGE_ROWS)):
            yield bytes(self._pages.get(number, empty))[: -(-rows // 8) - number * (PAGE_ROWS // 8)]

    def add_bitmap(self, number: int, piece: bytes) -> None:
        """Take in a piece of a `bitmap`, of which this set has no position yet. number: of the piece, from 0."""
        if any(piece):
            self._pages[number] = bytearray(piece.ljust(PAGE_ROWS // 8, b"\0"))
            self.size += int.from_bytes(piece, "little").bit_count()

    def parts(self) -> Iterator[Ranges]:
        """The ranges for the entries of the log, at most RANGES_MAX each."""
        ranges = self.ranges()
        while part := tuple(islice(ranges, RANGES_MAX)):
            yield part

    def first_after(self, position: int) -> int:
        """The first position from `position` on that is not in the set."""
        while (byte := self._byte(position)) >> (position & 7) & 1:
            position += 8 if byte == _FULL and not position & 7 else 1
        return position

    def first_before(self, position: int) -> int:
        """The start of the run of positions in the set that ends at `position`; `position` when there is none."""
        while position and (byte := self._byte(position - 1)) >> ((position - 1) & 7) & 1:
            position -= 8 if byte == _FULL and not position & 7 else 1
        return position

    def joined(self, ranges: Ranges) -> Ranges:
        """`ranges`, joined where only rows of this set separate them: fewer ranges cost less memory and time."""
        if not self.size or len(ranges) < 2:  # noqa: PLR2004 - nothing to join
            return ranges
        begin, end = ranges[0]
        found = []
        for start, stop in ranges[1:]:
            if self.first_after(end) < start:
                found.append((begin, end))
                begin = start
            end = stop
        found.append((begin, end))
        return tuple(found)

    @property
    def bounds(self) -> tuple[int, int]:
        """The first position, and the one after the last; (0, 0) without any."""
        if not self._pages:
            return 0, 0
        first, last = min(self._pages) * PAGE_ROWS, max(self._pages) * PAGE_ROWS
        return next(self.between(first, first + PAGE_ROWS)), [*self.between(last, last + PAGE_ROWS)][-1] + 1

    @property
    def _stop(self) -> int:
        return (max(self._pages) + 1) * PAGE_ROWS if self._pages else 0

    def _byte(self, position: int) -> int:
        page = self._pages.get(position // PAGE_ROWS)
        return page[position % PAGE_ROWS >> 3] if page else 0


@dataclass(slots=True)
class SkippedRows:
    """The rows that are never sent, by reason. A row has one reason.

    by_reason: the rows of each reason. rows: all of them.
    """

    by_reason: dict[Skip, PositionSet] = field(default_factory=lambda: {reason: PositionSet() for reason in SKIPS})
    rows: PositionSet = field(default_factory=PositionSet)

    @classmethod
    def of(cls, *, excluded: PositionSet, duplicate: PositionSet, invalid: PositionSet) -> Self:
        """Make one of the rows of each reason. Raises ValueError when a row has two."""
        made = cls()
        made.add("excluded", excluded)
        made.add("duplicate", duplicate)
        made.add("invalid", invalid)
        return made

    def add(self, reason: Skip, rows: PositionSet) -> None:
        """Add rows of one reason. Raises ValueError when one of them is in the set already.

        `rows` may become the set of this reason: the caller must not change it afterwards.
        """
        if self.rows.update(rows) != rows.size:
            raise ValueError(f"rows are skipped twice: {reason}")
        if self.by_reason[reason].size:
            self.by_reason[reason].update(rows)
        else:
            self.by_reason[reason] = rows

    def covers(self, other: SkippedRows) -> bool:
        """Whether all rows of another set are in this one, each for the same reason."""
        return all(rows.covers(other.by_reason[reason]) for reason, rows in self.by_reason.items())

    def between(self, start: int, stop: int) -> Iterator[tuple[int, int, Skip]]:
        """The skipped rows in `[start, stop)` as half-open ranges, each with its reason, ascending."""
        return merge(*(_with(reason, rows.ranges(start, stop)) for reason, rows in self.by_reason.items()))


def _with(reason: Skip, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, Skip]]:
    return ((start, stop, reason) for start, stop in ranges)


class RowSet:
    """A set of rows that are not skipped, as ranges. Memory grows with its gaps, not with its members.

    Its ranges also cover skipped rows beside a member, so that these leave no gap. `size`, `add` and `remove` do not
    count them. skipped: None for a set of any positions.
    """

    __slots__ = ("_skipped", "_starts", "_stops", "size")

    def __init__(self, skipped: PositionSet | None = None, ranges: Ranges = ()) -> None:
        self._skipped = PositionSet() if skipped is None else skipped
        self._starts: list[int] = []
        self._stops: list[int] = []
        self.size = 0
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> int:
        """Add the rows in `[start, stop)`; return how many were new. Raises ValueError for an empty range."""
        if start >= stop or start < 0:
            raise ValueError(f"not a range: [{start}, {stop})")
        if self._skipped.size:
            start, stop = self._skipped.first_before(start), self._skipped.first_after(stop)
        new = sum(map(self._skipped.others, self.missing(start, stop)))
        left = bisect_left(self._stops, start)  # the first range that ends at or after start: it touches or follows
        right = bisect_right(self._starts, stop)  # the first range that begins after stop
        if left < right:
            start, stop = min(start, self._starts[left]), max(stop, self._stops[right - 1])
        self._starts[left:right] = [start]
        self._stops[left:right] = [stop]
        self.size += new
        return new

    def remove(self, start: int, stop: int) -> int:
        """Remove the rows in `[start, stop)`; return how many were in the set. Raises ValueError for an empty range."""
        if start >= stop or start < 0:
            raise ValueError(f"not a range: [{start}, {stop})")
        if self._skipped.size:
            start, stop = self._skipped.first_before(start), self._skipped.first_after(stop)
        gone = sum(map(self._skipped.others, self.overlap(start, stop)))
        left = bisect_right(self._stops, start)  # the first range that ends after start
        right = bisect_left(self._starts, stop)  # the first range that begins at or after stop
        if left < right:
            ends = ((self._starts[left], start), (stop, self._stops[right - 1]))
            kept = [(begin, end) for begin, end in ends if begin < end]
            self._starts[left:right] = [begin for begin, _ in kept]
            self._stops[left:right] = [end for _, end in kept]
        self.size -= gone
        return gone

    def __contains__(self, position: object) -> bool:
        if not isinstance(position, int):
            return False
        i = bisect_right(self._starts, position) - 1
        return i >= 0 and position < self._stops[i]

    def overlap(self, start: int, stop: int) -> Ranges:
        """The part of `[start, stop)` that is in the set."""
        i = bisect_right(self._stops, start)
        found = []
        while i < len(self._starts) and self._starts[i] < stop:
            found.append((max(start, self._starts[i]), min(stop, self._stops[i])))
            i += 1
        return tuple(found)

    def missing(self, start: int, stop: int) -> Ranges:
        """The part of `[start, stop)` that is not in the set."""
        found, at = [], start
        for begin, end in self.overlap(start, stop):
            if begin > at:
                found.append((at, begin))
            at = end
        if at < stop:
            found.append((at, stop))
        return tuple(found)

    @property
    def ranges(self) -> Ranges:
        """The whole set."""
        return tuple(zip(self._starts, self._stops, strict=True))

    def __len__(self) -> int:
        """How many positions the set holds."""
        return self.size
