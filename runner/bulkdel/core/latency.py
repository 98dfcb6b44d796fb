"""A histogram of the seconds that requests take until their response. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The upper bounds of the classes, inclusive. One more class has what took longer."""


class Latency:
    """Counts responses by the time that they took. counts: one for each class. sum_s: of all, seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def record(self, seconds: float) -> None:
        """Count a response."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


def quantile(bounds_s: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The time in which `share` of the requests were answered, seconds. None without a request.

    bounds_s: the upper bounds of the classes, ascending. counts: requests in each class, and in one more for those
    beyond the last bound. Within a class the times count as spread evenly; beyond the last bound, as that bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    low, before = 0.0, 0
    for high, count in zip(bounds_s, counts, strict=False):
        if before + count >= wanted:
            return low + (high - low) * (wanted - before) / count
        low, before = high, before + count
    return bounds_s[-1]
