"""The progress of a run as values: its events, the figures at one moment, the speed. No id and no token gets here.

`engine.reporter` shows them on stderr, `live` to the socket and the page.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.outcome import KINDS
from bulkdel.core.pace import Pause

QUEUE_MAX = 10_000
"""Events that wait for a slow caller or a slow stderr. Later ones are dropped and counted."""

FIELDS = frozenset(
    {"shard", "chunk", "requests", "why", "signal", "dropped", "what", "value", "source", "user", *KINDS}
)
"""The fields that an event may have. Ids and tokens are not in the list, so they cannot reach a log."""

SPEED_S = 30.0
"""Speeds are measured over the last so many seconds."""

LIMITED_SHARE = 0.9
"""Share of the rate. Below it, something else is the limit. Not 98 %, because a progress line measures a short time."""

CONCURRENCY = "concurrency"
LIMITS = {
    CONCURRENCY: "concurrency",
    Slowed.THROTTLED: "an earlier 429",
    Slowed.FAILURES: "earlier failures",
    Slowed.SLOW_WHILE: "--slow-while",
}
"""The limits below the rate: the value in progress lines, and its words in the bar."""

LEVELS = ("debug", "info", "warning")
Level = Literal["debug", "info", "warning"]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a run.

    name: `chunk.settled` (fields: chunk, the positions; requests; the number of rows by outcome), `run.draining`
    (fields: signal, why) or `run.changed` (fields: what, value, source, user; as in the log's entry `change`).
    level: how much it matters.
    """

    level: Level
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := self.fields.keys() - FIELDS:
            raise ValueError(f"not in the list of fields: {sorted(unknown)}")


class Events(AsyncIterator[Event]):
    """The events of one run, in order. The iteration ends with the run.

    dropped: how many were dropped, because `size` events were waiting.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.dropped = 0

    def put(self, event: Event) -> None:
        """Add an event, or drop it when the queue is full. Never waits."""
        if self._queue.qsize() >= self._size:
            self.dropped += 1
        else:
            self._queue.put_nowait(event)

    def close(self) -> None:
        """End the iteration after the events that are waiting."""
        self._queue.put_nowait(None)

    async def __anext__(self) -> Event:
        if (event := await self._queue.get()) is None:
            self.close()  # for the next call
            raise StopAsyncIteration
        return event


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of a run at one moment.

    rate: requests a second that are allowed now; 0 for no limit.
    waiting: why no request is sent, in words; None while requests are sent.
    busy: whether every worker waits for a response. Then more workers would send more.
    slowed: why the rate is below the configured one.
    doing: what the session does before the first id is sent, in words; None once it sends ids.
    silent_s: how long the server has given no useful response, as --patience measures it.
    draining: whether the session stops. concurrency: of the workers. in_flight: requests on the wire.
    breaker_open: whether the circuit breaker holds requests back. retries, throttled: as in the summary, so far.
    latency: how many responses took how long, by the classes of `core.latency`, and the sum of their seconds.
    limits: of the rate by name, requests a second; 0 is unlimited. binding: the name of the limit in force.
    spared: of the excluded rows, how many for which reason, by the words of the log; empty where it is not known.
    pause: the pause in force; None without one. confirm: the command that ends it, when it has to be confirmed.
    until: when the session stops. limit: --limit. refused: how many rows were refused in this session, by code.
    """

    settled: int
    rows: int
    counts: dict[str, int]
    requests: int
    rate: float
    waiting: str | None
    busy: bool = False
    slowed: Slowed | None = None
    doing: str | None = None
    silent_s: float = 0.0
    draining: bool = False
    concurrency: int = 0
    in_flight: int = 0
    breaker_open: bool = False
    retries: int = 0
    throttled: int = 0
    latency: tuple[tuple[int, ...], float] = ((), 0.0)
    limits: Mapping[str, float] = field(default_factory=dict)
    binding: str | None = None
    pause: Pause | None = None
    confirm: str | None = None
    until: datetime | None = None
    limit: int | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    spared: Mapping[str, int] = field(default_factory=dict)


class Speed:
    """Speeds over about the last 30 s, from snapshots at irregular times."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: deque[tuple[float, int, int]] = deque()

    def take(self, moment: Snapshot) -> tuple[float, float | None, float]:
        """Add a snapshot. Returns (ids a second, seconds left, requests a second).

        The seconds left are None while no row is settled, and while the run is paused.
        """
        now = self._clock()
        self._taken.append((now, moment.settled, moment.requests))
        while now - self._taken[0][0] > SPEED_S:
            self._taken.popleft()
        first_at, settled, requests = self._taken[0]
        if now == first_at:
            return 0.0, None, 0.0
        per_s = (moment.settled - settled) / (now - first_at)
        left_s = (moment.rows - moment.settled) / per_s if per_s > 0 and moment.pause is None else None
        return per_s, left_s, (moment.requests - requests) / (now - first_at)


def limited_by(moment: Snapshot, requests_s: float) -> str | None:
    """The limit that keeps a run below the configured rate: a value of LIMITS, or None."""
    if moment.waiting:
        return None
    if moment.busy and 0 < requests_s < LIMITED_SHARE * moment.rate:
        return CONCURRENCY  # more workers would send more
    return moment.slowed
