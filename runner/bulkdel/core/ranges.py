"""Sets of positions as sorted, disjoint, half-open ranges. Owns the arithmetic; does not know what a position means.

The log has ranges and not chunk numbers, because the chunk size may change between two sessions.
"""

from __future__ import annotations

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
