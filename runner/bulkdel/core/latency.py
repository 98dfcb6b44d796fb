"""A histogram of the seconds that requests take until their response. Pure."""

from __future__ import annotations

from bisect import bisect_left

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
