"""The true time of a simulated world."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

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

    def run(self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in this loop, and let time pass with it."""
        asyncio.set_event_loop(None)
        self._loop = loop
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                return runner.run(main)
        finally:
            self._now, self._loop = loop.time(), None
