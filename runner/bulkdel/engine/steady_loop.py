"""The event loop of a command. Its clock stands still while the process is stopped (Ctrl-Z, SIGSTOP).

A response that came meanwhile lies in its socket. After the stop the system call that waits for sockets may return
without one, and every time-out that has passed would end its request first: an answered chunk would be sent again.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

from bulkdel.http.client import GAP_S, TICK_S


class SteadyLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, whose clock leaves out the time in which the process was stopped. See `client.Uptime`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._steady = clock
        self._read_at = clock()
        self._stopped_s = 0.0
        super().__init__(_Ticking())

    def time(self) -> float:
        """Read the clock of the loop. It is read in each turn, so at least every TICK_S."""
        now = self._steady()
        if (gap_s := now - self._read_at) > GAP_S:
            self._stopped_s += gap_s - TICK_S
        self._read_at = now
        return now - self._stopped_s


class _Ticking(selectors.DefaultSelector):
    """Waits no longer than a tick, so that a longer gap means a stop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(TICK_S if timeout is None else min(timeout, TICK_S))
