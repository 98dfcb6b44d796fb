"""The items of a pass on their way to the workers. Owns the thread that reads them, a few ahead of the workers.

Reading blocks on the disk, so it is done in a thread, many items at a time, and the next ones while these are settled.
Knows nothing of what an item is for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 64
"""Items read at a time. When fewer are left, the next ones are read: enough that the change of thread costs little, few
enough to stay flat."""


class Prefetch(Generic[T]):
    """A queue that one task fills from a feed. Belongs to one event loop."""

    def __init__(self, feed: Iterator[T], *, on_waited: Callable[[float], object], clock: Callable[[], float]) -> None:
        """Begin to read. on_waited: called with the seconds in which workers waited for the disk."""
        self._feed = feed
        self._on_waited = on_waited
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._ready: deque[T] = deque()
        self._filled, self._wanted = asyncio.Event(), asyncio.Event()
        self._empty_since: float | None = None
        self._error: Exception | None = None  # what went wrong with the reading
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def take(self) -> T | None:
        """Return the next item; None when the feed has ended. Raises what went wrong with the reading."""
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            if self._empty_since is None:
                self._empty_since = self._clock()
            self._filled.clear()
            await self._filled.wait()
        item = self._ready.popleft()
        if len(self._ready) < AT_ONCE:
            self._wanted.set()
        return item

    async def aclose(self) -> None:
        """Drop the rest. Waits for a read that is under way: the export must not be closed under it."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        await asyncio.to_thread(self._thread.shutdown)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while items := await loop.run_in_executor(self._thread, lambda: list(islice(self._feed, AT_ONCE))):
                self._ready.extend(items)
                self._end_wait()
                while len(self._ready) >= AT_ONCE:
                    self._wanted.clear()
                    await self._wanted.wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, each worker raises it
            self._error = error
        finally:
            self._ended = True
            self._end_wait()

    def _end_wait(self) -> None:
        """Let the workers go on, and report how long they have waited."""
        self._filled.set()
        if self._empty_since is not None:
            self._on_waited(self._clock() - self._empty_since)
            self._empty_since = None
