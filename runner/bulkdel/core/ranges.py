"""Sets of positions as sorted, disjoint, half-open ranges. Owns the arithmetic; does not know what a position means.

The log has ranges and not chunk numbers, because the chunk size may change between two sessions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]
"""Half-open `(start, stop)` pairs, ascending, neither empty nor touching."""


def ranges_of(positions: Iterable[int]) -> Ranges:
    """Cover ascending `positions` with as few ranges as possible."""
    found: list[tuple[int, int]] = []
    start = stop = -1
    for position in positions:
        if position == stop:
            stop += 1
            continue
        if position < stop:
            raise ValueError(f"positions must ascend: {position} after {stop - 1}")
        if stop > start:
            found.append((start, stop))
        start, stop = position, position + 1
    if stop > start:
        found.append((start, stop))
    return tuple(found)


def size_of(ranges: Ranges) -> int:
    """How many positions `ranges` cover."""
    return sum(stop - start for start, stop in ranges)


def positions_in(ranges: Ranges) -> Iterator[int]:
    """Every position of `ranges`, ascending."""
    for start, stop in ranges:
        yield from range(start, stop)


class RangeSet:
    """A growing set of positions. Memory grows with its gaps, not with its members."""

    __slots__ = ("_starts", "_stops", "size")

    def __init__(self, ranges: Ranges = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self.size = 0
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> int:
        """Add `[start, stop)`; return how many of its positions were new."""
        if start >= stop or start < 0:
            raise ValueError(f"not a range: [{start}, {stop})")
        left = bisect_left(self._stops, start)  # the first range that ends at or after start: it touches or follows
        right = bisect_right(self._starts, stop)  # the first range that begins after stop
        joined = sum(self._stops[left:right]) - sum(self._starts[left:right])
        if left < right:
            start, stop = min(start, self._starts[left]), max(stop, self._stops[right - 1])
        self._starts[left:right] = [start]
        self._stops[left:right] = [stop]
        new = stop - start - joined
        self.size += new
        return new

    def remove(self, start: int, stop: int) -> int:
        """Take `[start, stop)` out; return how many of its positions were in."""
        if start >= stop or start < 0:
            raise ValueError(f"not a range: [{start}, {stop})")
        left = bisect_right(self._stops, start)  # the first range that ends after start
        right = bisect_left(self._starts, stop)  # the first range that begins at or after stop
        if left >= right:
            return 0
        ends = ((self._starts[left], start), (stop, self._stops[right - 1]))
        kept = [(begin, end) for begin, end in ends if begin < end]
        gone = sum(self._stops[left:right]) - sum(self._starts[left:right]) - size_of(tuple(kept))
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
