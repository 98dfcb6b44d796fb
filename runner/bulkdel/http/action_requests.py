"""Pauses the requests of the job's action while a control needs accounts that stay.

A control lists accounts and looks them up. A run often deletes in the order in which the API lists, so by the time of
the look-up it may have deleted all that were listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ActionRequests:
    """The requests of the job's action that are under way in this process. For one event loop.

    Many of them may be under way at once, or one pause. A pause waits for those that are under way, and new ones wait
    for the end of the pause.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._turn = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send one request in this context, from before it is admitted until its response."""
        async with self._turn:
            self._under_way += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No request of the action is under way in this context. Other processes of the run go on."""
        async with self._turn:
            await self._idle.wait()
            yield
