"""Whether a run stops before its end, and why. The workers look at it before every step, and wake up when it begins."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bulkdel.errors import BulkdelError


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run stops before its end.

    signal: its number, when a signal stopped the run. error: when something went wrong. planned: the time of
    --not-after came. asked: the caller asked for it.
    """

    why: str
    signal: int | None = None
    error: BulkdelError | None = None
    planned: bool = False
    asked: bool = False


class Drain:
    """Draining: no new chunk and no retry; requests on the wire may finish.

    stop: the reason; None while the run goes on.
    """

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self.stop: Stop | None = None

    def begin(self, stop: Stop) -> None:
        """Begin to drain. The first reason stays, except that any other reason replaces a planned stop."""
        if self.stop is None or (self.stop.planned and not stop.planned):
            self.stop = stop
        self._begun.set()

    async def begun(self) -> None:
        """Wait until it begins."""
        await self._begun.wait()
