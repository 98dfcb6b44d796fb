"""The stream of the page: server-sent events, the same bytes for every reader.

A reader that is slow misses statuses and gets the latest one; a reader that takes nothing is dropped. A new
reader gets the history of the charts first: one point a second of the last ten minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from bulkdel.core.latency import quantile

TICK_S = 1.0
"""Between two statuses."""

READERS_MAX = 16
"""Readers at the same time."""

WRITE_S = 5.0
"""A reader that takes nothing for so long is dropped."""

LAST_S = 0.5
"""How long the end of the run waits for readers to take the last status."""

AGAIN_MS = 2_000
"""After which a browser connects again."""

POINTS_MAX = 600
"""Points that are kept, one a second: a browser that connects anew gets them first."""

RATE_WINDOW = 2
LATENCY_WINDOW = 5
"""Points over which rate and latency are measured. One second has too few requests at a low rate."""

Point = tuple[float, float | None, float, float | None, float | None, int, bool]
"""Epoch seconds; requests a second that are allowed (None without a limit), and that were sent in the last RATE_WINDOW
seconds; latency in seconds: half, and 95 %, of the responses of the last LATENCY_WINDOW seconds took at most so long
(None without one); responses 429 since the point before; whether the run is paused."""


class EventStream:
    """One stream of events. look: the status of the run. failed: called when it cannot be shown."""

    def __init__(self, look: Callable[[], Mapping[str, Any]], failed: Callable[[Exception], None]) -> None:
        self._look = look
        self._failed = failed
        self._history = History()
        self._readers: set[asyncio.Future[None]] = set()
        self._latest = b""
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether no further reader is taken."""
        return len(self._readers) >= READERS_MAX

    async def tick(self) -> None:
        """Take the status of the run every second, until cancelled."""
        while True:
            self._publish("status")
            await asyncio.sleep(TICK_S)

    async def send(self, request: web.Request, hello: Mapping[str, Any]) -> web.StreamResponse:
        """Send the events to a reader until it leaves or the stream ends. hello: the first event, with the history."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.force_close()
        first = _event("hello", {**hello, "points": self._history.points})
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.add(left)
        try:
            async with asyncio.timeout(WRITE_S):
                await response.prepare(request)
                await response.write(f"retry: {AGAIN_MS}\n".encode() + first)
            sent = b""
            while not (self._ended and sent is self._latest):
                if sent is self._latest:
                    await self._changed.wait()
                sent = self._latest
                async with asyncio.timeout(WRITE_S):
                    await response.write(sent)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._readers.discard(left)
            left.set_result(None)
        return response

    async def end(self) -> None:
        """Send the last status, and give the readers a moment to take it."""
        self._ended = True
        self._publish("ended")
        if self._readers:
            await asyncio.wait(self._readers, timeout=LAST_S)

    def _publish(self, name: str) -> None:
        try:
            status = self._look()
            self._latest = _event(name, {"status": status, "point": self._history.add(status)})
        except Exception as error:  # noqa: BLE001 - a failure of the page does not touch the run
            self._failed(error)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _event(name: str, value: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(value))


class History:
    """The points, oldest first."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._points: deque[Point] = deque(maxlen=POINTS_MAX)
        self._counted: deque[tuple[float, int, Sequence[int]]] = deque(maxlen=LATENCY_WINDOW + 1)
        self._throttled = 0

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
            max(0, status["throttled"] - self._throttled),
            status["paused"] is not None,
        )
        self._throttled = status["throttled"]
        self._points.append(point)
        return point


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
