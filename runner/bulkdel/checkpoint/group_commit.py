"""Group commit: what gathers while the last write and fsync run goes into the next one.

Owns the batches, their order, and the fail-stop after the first failure. The checkpoint log and the
backup are written through it; it never knows what an item means.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bulkdel.errors import FileFailed

Item = TypeVar("Item")
Written = TypeVar("Written")

GATHER_S = 0.001
"""How long a batch gathers before its write begins. Without it every batch is half as large: a tenth more CPU a run."""


@dataclass(slots=True, eq=False)
class _Batch(Generic[Item, Written]):
    """Items that become durable together. job: their write, once it has begun. ended: set when it has ended."""

    items: list[Item] = field(default_factory=list)
    size: int = 0
    job: concurrent.futures.Future[Written] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class GroupCommit(Generic[Item, Written]):
    """Writes items in the order in which they were added. `add` and `wait` belong to one event loop at a time.

    failure: the first failure. After it nothing is written, and every wait raises it.
    failed: set together with `failure`.
    lost: the items that will never be durable.
    """

    def __init__(
        self,
        write: Callable[[list[Item]], Written],
        on_written: Callable[[Written], None],
        failure_of: Callable[[BaseException], FileFailed],
        *,
        batch_bytes: int,
        thread: concurrent.futures.Executor,
    ) -> None:
        """Take what to do with a batch.

        write: makes a batch durable; called in the thread, for one batch after the other.
        on_written: called in the event loop with what `write` returned, before the batch's waiters go on.
        failure_of: makes the error for people from what `write` or `on_written` has raised.
        batch_bytes: a batch that has grown to this takes no further item.
        thread: runs the writes, one after the other.
        """
        self._write = write
        self._failure_of = failure_of
        self._on_written = on_written
        self._batch_bytes = batch_bytes
        self._thread = thread
        self._batches: deque[_Batch[Item, Written]] = deque()  # the first of them may be on its way to the disk
        self.failure: FileFailed | None = None
        self.failed = asyncio.Event()
        self.lost: list[Item] = []

    def add(self, item: Item, size: int) -> None:
        """Enqueue one item of `size` bytes. It is written, whether or not anything waits for it."""
        if self.failure is not None:
            self.lost.append(item)
            return
        batch = self._batches[-1] if self._batches else None
        if batch is None or batch.job is not None or batch.size >= self._batch_bytes:
            batch = _Batch()
            self._batches.append(batch)
            if len(self._batches) == 1:
                loop = asyncio.get_running_loop()
                loop.call_later(GATHER_S, self._begin, loop)
        batch.items.append(item)
        batch.size += size

    async def wait(self) -> None:
        """Wait until everything that was added is durable. Raises FileFailed when it never will be.

        May be cancelled; the write goes on.
        """
        if self._batches:
            await self._batches[-1].ended.wait()
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Write what is left, and end the thread. Blocks. Raises nothing: a failure is in `failure`."""
        while self._batches:
            batch = self._batches[0]
            self._end(batch.job or self._thread.submit(self._write, batch.items))
        self._thread.shutdown()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to write the first batch. Runs in the event loop."""
        if self._batches and self._batches[0].job is None:  # else `close` has written it
            batch = self._batches[0]
            batch.job = self._thread.submit(self._write, batch.items)
            batch.job.add_done_callback(lambda _: self._wake(loop))

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the event loop go on. Runs in the thread, after a write."""
        with suppress(RuntimeError):  # the loop is closed; `close` ends the batch
            loop.call_soon_threadsafe(self._go_on, loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take in the write of the first batch; the next one begins soon. Runs in the event loop."""
        if self._batches and (job := self._batches[0].job) is not None and job.done():
            self._end(job)
            if self._batches:
                loop.call_later(GATHER_S, self._begin, loop)

    def _end(self, job: concurrent.futures.Future[Written]) -> None:
        """Wait for the write of the first batch, and wake its waiters; or fail, for good, and wake all."""
        try:
            self._on_written(job.result())
        except Exception as error:  # noqa: BLE001 - after any failure nothing more may be written
            self.failure = self._failure_of(error)
            self.failure.__cause__ = error
            self.lost = [item for batch in self._batches for item in batch.items]
            self.failed.set()
            while self._batches:
                self._batches.popleft().ended.set()
        else:
            self._batches.popleft().ended.set()
