"""What the charts of the page show: one point a second of the last ten minutes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from bulkdel.core.quantile import quantile

POINTS_MAX = 600
"""Points that are kept, one a second: a browser that connects anew gets them first."""

WINDOW = 5
"""Points over which the latency is measured. One second has too few requests at a low rate."""

SHARES = (0.5, 0.95)

Point = tuple[float, float | None, float, float | None, float | None]
"""Epoch seconds; requests a second allowed (None without a limit) and used; latency in seconds: half, and 95 %, of the
requests of the last WINDOW seconds took at most so long (None without a request)."""


class History:
    """The points, oldest first."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._points: deque[Point] = deque(maxlen=POINTS_MAX)
        self._counted: deque[list[int]] = deque(maxlen=WINDOW + 1)

    @property
    def points(self) -> list[Point]:
        """All of them."""
        return list(self._points)

    def add(self, status: Mapping[str, Any]) -> Point:
        """Take a point from a status of the run, and return it. Called once a second."""
        rate, latency = status["rate"], status["latency"]
        bounds_s, counts = latency["bounds_s"], list(latency["counts"])
        self._counted.append(counts)
        before = self._counted[0] if self._counted[0] is not counts else [0] * len(counts)
        recent = [now - then for now, then in zip(counts, before, strict=True)]
        point = (
            round(self._wall(), 1),
            rate["allowed"] or None,
            round(rate["used"], 2),
            *(_rounded(quantile(bounds_s, recent, share)) for share in SHARES),
        )
        self._points.append(point)
        return point


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
