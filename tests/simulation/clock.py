"""The true time of a simulated world."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

EPOCH = 1_790_000_000.0
"""When the world begins, seconds of the true time."""


class WorldClock:
    """Seconds since the world began. In a session they pass with its event loop."""

    def __init__(self) -> None:
        self._now = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self._now if self._loop is None else self._loop.time()

    @property
    def true(self) -> float:
        """Seconds of the epoch."""
        return EPOCH + self.now

    def wait(self, seconds: float) -> None:
        """Let time pass between two sessions."""
        self._now += seconds

    @contextmanager
    def going_with(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Let time pass with this loop, until the block ends."""
        self._loop = loop
        try:
            yield
        finally:
            self._now, self._loop = loop.time(), None
