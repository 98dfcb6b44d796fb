"""The gate before the intent: with a log in a store, a chunk waits here and not between its intent and its request.

Every chunk with an intent and no outcome is in doubt when the process is killed. A commit to a store takes 40 ms and
more, so many chunks must be under way to use the rate. Only as many intents as the rate sends in `AHEAD_S` may wait for
their commit or for the rate limiter; the other chunks wait without one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

AHEAD_S = 0.2
"""Seconds of the rate. With less, the rate limiter is idle during a slow commit. With more, more rows are in doubt."""

LEAST = 2
"""Chunks that may be ahead at any rate."""


class Gate:
    """First in, first out. For one event loop."""

    def __init__(self, rate: Callable[[], float]) -> None:
        """rate: requests a second now; 0 without a limit, and the gate is open then."""
        self._rate = rate
        self._ahead = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place. May be cancelled; then there is none to leave."""
        if self._queue or not self._has_room:
            turn = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()
                elif turn in self._queue:
                    self._queue.remove(turn)
                raise
        else:
            self._ahead += 1

    def leave(self) -> None:
        """Give a place back: the request leaves, or will not."""
        self._ahead -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and self._has_room:
            turn = self._queue.popleft()
            if not turn.done():
                self._ahead += 1
                turn.set_result(None)

    @property
    def _has_room(self) -> bool:
        rate = self._rate()
        return not rate or self._ahead < max(LEAST, AHEAD_S * rate)


class OpenGate(Gate):
    """The gate of a log in a file: a commit takes a few milliseconds, so nothing waits."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
