"""The drain: whether a run stops before its end, and why. The workers check it before every step."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bulkdel.errors import BulkdelError


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run stops before its end.

    signal: its number, if a signal stopped the run. error: the failure that stopped it. planned: --not-after has come.
    asked: the caller drained the run.
    """

    why: str
    signal: int | None = None
    error: BulkdelError | None = None
    planned: bool = False
    asked: bool = False


class Drain:
    """Draining: no new chunk and no retry; requests on the wire may finish.

    stop: the reason; None before the drain begins.
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
        """Wait until the drain begins."""
        await self._begun.wait()
