"""The chunks of a pass on their way to the workers. Owns the thread that gets them, a few ahead of those who send.

Reading blocks: a disk, or the pipe of `ahead`. So it is done in a thread, many chunks at a time, and the next ones
while these are sent: nobody waits for them but at the beginning. Knows nothing of what a chunk is for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from bulkdel.core.chunker import ChunkTask
from bulkdel.core.log_entries import Skipped

AT_ONCE = 64
"""Chunks read at a time: enough that going to another thread costs nothing, few enough to stay flat."""


class Prefetch:
    """Takes items from one feed after the other and hands out the work in it. Belongs to one event loop.

    on_skipped: told of rows that are never sent, in the order of the feed. on_waited: told how many seconds everybody
    had to wait for the disk.
    """

    def __init__(
        self,
        *,
        on_skipped: Callable[[Skipped], object],
        on_waited: Callable[[float], object],
        clock: Callable[[], float],
    ) -> None:
        self._on_skipped = on_skipped
        self._on_waited = on_waited
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._ready: deque[ChunkTask] = deque()
        self._feed: Iterator[ChunkTask | Skipped] = iter(())
        self._coming: asyncio.Future[list[ChunkTask | Skipped]] | None = None
        self._starved_at: float | None = None

    def begin(self, feed: Iterator[ChunkTask | Skipped]) -> None:
        """Go on with another feed; of the one before everything has been taken, or nobody wants it any more."""
        self._feed = feed
        self._coming = self._read()

    async def take(self) -> ChunkTask | None:
        """Return the next chunk; None when the feed has ended. Raises what went wrong with the reading."""
        while not self._ready:
            if self._coming is None:
                return None
            if not self._coming.done():
                # All together, and not one after the other at a lock: each would be a turn of the loop late.
                if self._starved_at is None:
                    self._starved_at = self._clock()
                await asyncio.wait({self._coming})  # whoever is cancelled here does not cancel the reading
            else:
                self._refill(self._coming.result())
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Wait for a read that is under way: the export must not be closed under it."""
        await asyncio.to_thread(self._thread.shutdown)

    def _refill(self, found: list[ChunkTask | Skipped]) -> None:
        if self._starved_at is not None:
            self._on_waited(self._clock() - self._starved_at)
            self._starved_at = None
        self._coming = self._read() if found else None
        for item in found:
            if isinstance(item, Skipped):
                self._on_skipped(item)
            else:
                self._ready.append(item)

    def _read(self) -> asyncio.Future[list[ChunkTask | Skipped]]:
        feed = self._feed
        coming = asyncio.wrap_future(self._thread.submit(lambda: list(islice(feed, AT_ONCE))))
        # What went wrong is raised for whoever takes. When nobody does any more, it is nobody's business.
        coming.add_done_callback(lambda done: done.cancelled() or done.exception())
        return coming
