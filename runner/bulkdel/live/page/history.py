"""What the charts of the page show: one point a second of the last ten minutes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bulkdel.core.latency import quantile

POINTS_MAX = 600
"""Points that are kept, one a second: a browser that connects anew gets them first."""

RATE_WINDOW = 2
LATENCY_WINDOW = 5
"""Points over which rate and latency are measured. One second has too few requests at a low rate."""

Point = tuple[float, float | None, float, float | None, float | None]
"""Epoch seconds; requests a second that are allowed (None without a limit), and that were sent in the last RATE_WINDOW
seconds; latency in seconds: half, and 95 %, of the responses of the last LATENCY_WINDOW seconds took at most so long
(None without one)."""


class History:
    """The points, oldest first."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._points: deque[Point] = deque(maxlen=POINTS_MAX)
        self._counted: deque[tuple[float, int, Sequence[int]]] = deque(maxlen=LATENCY_WINDOW + 1)

    @property
    def points(self) -> list[Point]:
        """All of them."""
        return list(self._points)

    def add(self, status: Mapping[str, Any]) -> Point | None:
        """Take a point from a status of the run, and return it. Called once a second. None before the sending."""
        if "latency" not in status:
            return None
        now, latency = self._wall(), status["latency"]
        bounds_s, counts = latency["bounds_s"], latency["counts"]
        self._counted.append((now, status["requests"], counts))
        then, requests, _ = self._counted[max(0, len(self._counted) - 1 - RATE_WINDOW)]
        _, _, before = self._counted[0]
        recent = [after - count for after, count in zip(counts, before, strict=True)]
        point = (
            round(now, 1),
            status["rate"]["allowed"] or None,
            round((status["requests"] - requests) / (now - then), 1) if now > then else 0.0,
            _rounded(quantile(bounds_s, recent, 0.5)),
            _rounded(quantile(bounds_s, recent, 0.95)),
        )
        self._points.append(point)
        return point


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
