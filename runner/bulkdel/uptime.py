"""The time in which this process ran: `--patience` is measured by it.

A process that is stopped (Ctrl-Z, SIGSTOP, a paused virtual machine) reads no answers, and that is not the server's
silence. The monotonic clock goes on meanwhile, so that one look at it cannot tell. Two looks far apart can: while the
process runs, `tick` looks every second.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

TICK_S = 1.0

GAP_S = 2.0
"""Time between two looks from which on the process is taken to have been stopped: twice what a tick takes."""


class Uptime:
    """A clock like `time.monotonic` that stands still while the process is stopped. Call it for the time, seconds.

    stopped_s: for how long the process has been stopped so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._turn = threading.Lock()  # the progress is told by a thread of its own
        self.stopped_s = 0.0

    def __call__(self) -> float:
        """Look: the time in which the process ran, from any beginning."""
        with self._turn:
            now = self._clock()
            if (gap_s := now - self._looked_at) > GAP_S:
                self.stopped_s += gap_s - TICK_S
            self._looked_at = now
            return now - self.stopped_s

    async def tick(self) -> None:
        """Look every second until cancelled."""
        while True:
            self()
            await asyncio.sleep(TICK_S)


uptime = Uptime()
"""Of this process: one for all, like the clocks of `time`. It is right while a `tick` of it runs."""
