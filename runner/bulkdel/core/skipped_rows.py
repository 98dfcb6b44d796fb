"""The rows that repeat an id: a set of positions in flat memory, its form in the log, and sets of other rows.

Owns the arithmetic. `export.duplicates` finds the duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

from bulkdel.core.ranges import Ranges, RangeSet

PAGE_ROWS = 1 << 15
"""Positions of one page, 4 KiB. A page is allocated when the first of its positions is added."""

RANGES_MAX = 10_000
"""Ranges of one entry of the log, at most: about 200 kB."""

_BITS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))
"""The bits that are set in each byte, ascending."""

_FULL = 0xFF


class PositionSet:
    """Positions of the rows that repeat an id of an earlier row. One bit a row, in pages.

    size: the number of duplicates.
    """

    __slots__ = ("_pages", "size")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._pages: dict[int, bytearray] = {}
        self.size = 0
        for start, stop in ranges:
            self.add(range(start, stop))

    def add(self, positions: Iterable[int]) -> None:
        """Add positions. One that is in the set already changes nothing."""
        number, page = -1, bytearray()
        for position in positions:
            if position // PAGE_ROWS != number:
                number = position // PAGE_ROWS
                page = self._pages.setdefault(number, bytearray(PAGE_ROWS // 8))
            index, bit = position % PAGE_ROWS >> 3, 1 << (position & 7)
            byte = page[index]
            if not byte & bit:
                page[index] = byte | bit
                self.size += 1

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PositionSet) and self._pages == other._pages

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, position: object) -> bool:
        return isinstance(position, int) and bool(self._byte(position) >> (position & 7) & 1)

    def between(self, start: int, stop: int) -> Iterator[int]:
        """The positions in `[start, stop)`, ascending."""
        for number in self._page_numbers(start, stop):
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

    def rows(self, span: tuple[int, int]) -> int:
        """How many rows of a span are not duplicates."""
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

    def first_after(self, position: int) -> int:
        """The first position from `position` on that is not in the set."""
        while (byte := self._byte(position)) >> (position & 7) & 1:
            position += 8 if byte == _FULL and not position & 7 else 1
        return position

    def first_before(self, position: int) -> int:
        """The start of the run of duplicates that ends at `position`; `position` itself when there is none."""
        while position and (byte := self._byte(position - 1)) >> ((position - 1) & 7) & 1:
            position -= 8 if byte == _FULL and not position & 7 else 1
        return position

    def joined(self, ranges: Ranges) -> Ranges:
        """`ranges`, joined where only duplicates separate them: fewer ranges cost less memory and time."""
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
    def _stop(self) -> int:
        return (max(self._pages) + 1) * PAGE_ROWS if self._pages else 0

    def _byte(self, position: int) -> int:
        page = self._pages.get(position // PAGE_ROWS)
        return page[position % PAGE_ROWS >> 3] if page else 0

    def _page_numbers(self, start: int, stop: int) -> Iterable[int]:
        numbers = range(start // PAGE_ROWS, -(-stop // PAGE_ROWS))
        return (number for number in numbers if number in self._pages)


def entries_of(duplicates: PositionSet) -> Iterator[Ranges]:
    """The ranges of the log's entries, in order: at most RANGES_MAX each."""
    ranges = duplicates.ranges()
    while some := tuple(islice(ranges, RANGES_MAX)):
        yield some


class ListDigest:
    """SHA-256 over the list of duplicates: each range as `[start,stop]` and a line feed, ascending."""

    __slots__ = ("_sha256",)

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, ranges: Ranges) -> None:
        """Add the next ranges."""
        self._sha256.update(b"".join(b"[%d,%d]\n" % pair for pair in ranges))

    @property
    def hex(self) -> str:
        """The digest of the ranges so far."""
        return self._sha256.hexdigest()


EMPTY_DIGEST = ListDigest().hex
"""Of an export without duplicates."""


def digest_of(duplicates: PositionSet) -> str:
    """The SHA-256 of the whole list, hex."""
    digest = ListDigest()
    for ranges in entries_of(duplicates):
        digest.add(ranges)
    return digest.hex


class RowSet(RangeSet):
    """A set of rows that are not duplicates. Its ranges also cover duplicates beside a member, so they leave no gap.

    So memory does not grow with the number of duplicates. `size`, `add` and `remove` do not count duplicates.
    """

    __slots__ = ("_duplicates",)

    def __init__(self, duplicates: PositionSet) -> None:
        self._duplicates = duplicates
        super().__init__()

    def add(self, start: int, stop: int) -> int:
        """Add the rows in `[start, stop)`; return how many were new."""
        if not self._duplicates.size:
            return super().add(start, stop)
        start, stop = self._widened(start, stop)
        rows = sum(map(self._duplicates.rows, self.missing(start, stop)))
        covered = super().add(start, stop)
        self.size += rows - covered
        return rows

    def remove(self, start: int, stop: int) -> int:
        """Take the rows in `[start, stop)` out; return how many were in."""
        if not self._duplicates.size:
            return super().remove(start, stop)
        start, stop = self._widened(start, stop)
        rows = sum(map(self._duplicates.rows, self.overlap(start, stop)))
        covered = super().remove(start, stop)
        self.size += covered - rows
        return rows

    def _widened(self, start: int, stop: int) -> tuple[int, int]:
        return self._duplicates.first_before(start), self._duplicates.first_after(stop)
