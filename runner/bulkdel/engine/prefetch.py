"""The items of a pass on their way to the workers. Owns the thread that reads them, a few ahead of the workers.

Reading blocks on the disk, so it is done in a thread, many items at a time, and the next ones while these are settled.
Knows nothing of what an item is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 64
"""Items read at a time, and kept in the queue: enough that the change of thread costs little, few enough to stay
flat."""


@dataclass(frozen=True, slots=True)
class _End:
    """The feed has ended. error: what went wrong with the reading."""

    error: Exception | None


class Prefetch(Generic[T]):
    """A queue that one task fills from a feed. Belongs to one event loop."""

    def __init__(self, feed: Iterator[T], *, on_waited: Callable[[float], object], clock: Callable[[], float]) -> None:
        """Begin to read. on_waited: called with the seconds in which workers waited for the disk."""
        self._feed = feed
        self._on_waited = on_waited
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue(AT_ONCE)
        self._empty_since: float | None = None
        self._reading = asyncio.create_task(self._read())

    async def take(self) -> T | None:
        """Return the next item; None when the feed has ended. Raises what went wrong with the reading."""
        if self._queue.empty() and self._empty_since is None:
            self._empty_since = self._clock()
        item = await self._queue.get()
        if not isinstance(item, _End):
            return item
        self._queue.put_nowait(item)  # for the other workers
        if item.error is not None:
            raise item.error
        return None

    async def aclose(self) -> None:
        """Drop the rest. Waits for a read that is under way: the export must not be closed under it."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        await asyncio.to_thread(self._thread.shutdown)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while items := await loop.run_in_executor(self._thread, lambda: list(islice(self._feed, AT_ONCE))):
                self._note_wait()
                for item in items:
                    await self._queue.put(item)
        except Exception as error:  # noqa: BLE001 - whatever it is, each worker raises it
            await self._queue.put(_End(error))
        else:
            await self._queue.put(_End(None))
        finally:
            self._note_wait()

    def _note_wait(self) -> None:
        if self._empty_since is not None:
            self._on_waited(self._clock() - self._empty_since)
            self._empty_since = None
