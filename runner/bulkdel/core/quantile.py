"""Shares of a latency histogram: half of the requests took at most so long. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(bounds_s: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The time in which `share` of the requests were answered, seconds. None without a request.

    bounds_s: the upper bounds of the buckets, ascending. counts: requests in each bucket, and in one more for those
    beyond the last bound. Within a bucket the times count as spread evenly; beyond the last bound, as that bound.
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
