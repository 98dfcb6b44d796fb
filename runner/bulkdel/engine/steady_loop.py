"""The event loop of a command. Its clock stands still while the process is stopped (Ctrl-Z, SIGSTOP).

A response that came meanwhile lies in its socket. After the stop the system call that waits for sockets may return
without one, and every time-out that has passed would end its request first: an answered chunk would be sent again.
"""

from __future__ import annotations

import asyncio
import selectors

from bulkdel.http.client import TICK_S, Uptime


class SteadyLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, with a clock that leaves out the time in which the process was stopped."""

    def __init__(self) -> None:
        self._uptime = Uptime()
        super().__init__(_Ticking())

    def time(self) -> float:
        """Read the clock of the loop. It is read in each turn, so at least every TICK_S."""
        return self._uptime()


class _Ticking(selectors.DefaultSelector):
    """Waits no longer than a tick, so that a longer gap means a stop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(TICK_S if timeout is None else min(timeout, TICK_S))
