"""What happens in a run, as values for the caller. Events that are not taken are dropped and counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bulkdel.core.outcome import KINDS

QUEUE_MAX = 10_000
"""Events that may wait for the caller, unless it says otherwise."""

FIELDS = frozenset({"chunk", "requests", "why", "signal", "dropped", *KINDS})
"""What an event may carry. Ids and tokens are not in the list, so they cannot reach a log."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    name: `chunk.settled` (fields: chunk, the positions; requests; the number of rows by outcome) or `run.draining`
    (fields: signal, why). level: how much it matters.
    """

    level: Literal["debug", "info", "warning"]
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := self.fields.keys() - FIELDS:
            raise ValueError(f"not in the list of fields: {sorted(unknown)}")


class Events(AsyncIterator[Event]):
    """The events of one run, in order. The iteration ends with the run.

    dropped: how many were dropped, because as many as fit were waiting.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def put(self, event: Event) -> None:
        """Add an event, or drop it where the queue is full. Never waits."""
        if len(self._waiting) == self._size:
            self.dropped += 1
            return
        self._waiting.append(event)
        self._changed.set()

    def close(self) -> None:
        """End the iteration once every waiting event is taken."""
        self._closed = True
        self._changed.set()

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()
