"""A clock that stands still while the process is stopped. `--patience` is measured by it.

A stopped process (Ctrl-Z, SIGSTOP, a paused virtual machine) reads no responses, which does not mean that the server is
silent. The monotonic clock goes on meanwhile. While the process runs, `tick` reads the clock every second, so a longer
gap between two readings means that the process was stopped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

TICK_S = 1.0

GAP_S = 2.0
"""A gap between two readings that is longer than this means that the process was stopped: twice the time of a tick."""


class Uptime:
    """A clock like `time.monotonic` that stands still while the process is stopped. Calling it returns seconds.

    It is right while its `tick` runs. stopped_s: how long the process has been stopped so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = clock()
        self._lock = threading.Lock()  # the thread that prints progress reads the clock too
        self.stopped_s = 0.0

    def __call__(self) -> float:
        """Read the clock: the seconds in which the process ran, from any beginning."""
        with self._lock:
            now = self._clock()
            if (gap_s := now - self._read_at) > GAP_S:
                self.stopped_s += gap_s - TICK_S
            self._read_at = now
            return now - self.stopped_s

    async def tick(self) -> None:
        """Read the clock every second until cancelled."""
        while True:
            self()
            await asyncio.sleep(TICK_S)
