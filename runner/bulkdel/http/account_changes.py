"""Keeps requests that change accounts back while a control needs accounts that stay.

A control lists accounts and looks them up. A run often deletes in the order in which the API lists, so by the time of
the look-up it may have deleted all that were listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AccountChanges:
    """The requests of this process that change accounts. For one event loop.

    Many of them may be under way at once, or one pause. A pause waits for those that are under way, and new ones wait
    for the end of the pause.
    """

    def __init__(self) -> None:
        self._under_way = 0
        self._pause = asyncio.Lock()
        self._none = asyncio.Event()
        self._none.set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Send one request that changes accounts in this context: from before its admission until its response."""
        async with self._pause:
            self._under_way += 1
            self._none.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No request of this process changes an account in this context."""
        async with self._pause:
            await self._none.wait()
            yield
