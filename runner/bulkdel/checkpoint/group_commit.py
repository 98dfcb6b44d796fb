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
from functools import partial
from typing import Generic, TypeVar

from bulkdel.errors import FileFailed

Item = TypeVar("Item")
Written = TypeVar("Written")


@dataclass(slots=True, eq=False)
class _Batch(Generic[Item, Written]):
    """Items that become durable together. job: their write, once it has begun. done: resolves when it has ended."""

    done: asyncio.Future[None]
    items: list[Item] = field(default_factory=list)
    size: int = 0
    job: concurrent.futures.Future[Written] | None = None


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
        if not self._batches or self._batches[-1].job is not None or self._batches[-1].size >= self._batch_bytes:
            loop = asyncio.get_running_loop()
            self._batches.append(_Batch(loop.create_future()))
            if len(self._batches) == 1:
                loop.call_soon(self._begin, loop)  # not at once: this turn of the loop may add more to the batch
        batch = self._batches[-1]
        batch.items.append(item)
        batch.size += size

    async def wait(self) -> None:
        """Wait until everything that was added is durable. Raises FileFailed when it never will be.

        May be cancelled; the write goes on.
        """
        if self.failure is not None:
            raise self.failure
        if self._batches:
            await asyncio.shield(self._batches[-1].done)

    def close(self) -> None:
        """Write what is left, and end the thread. Blocks. Raises nothing: a failure is in `failure`."""
        while self._batches:
            batch = self._batches[0]
            self._end(batch, self._submitted(batch))
        self._thread.shutdown()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._batches and self._batches[0].job is None:
            batch = self._batches[0]
            self._submitted(batch).add_done_callback(partial(_call_soon, loop, partial(self._go_on, loop, batch)))

    def _submitted(self, batch: _Batch[Item, Written]) -> concurrent.futures.Future[Written]:
        if batch.job is None:
            batch.job = self._thread.submit(self._write, batch.items)
        return batch.job

    def _go_on(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: _Batch[Item, Written],
        job: concurrent.futures.Future[Written],
    ) -> None:
        if self._batches and self._batches[0] is batch:  # else `close` has ended it
            self._end(batch, job)
            self._begin(loop)

    def _end(self, batch: _Batch[Item, Written], job: concurrent.futures.Future[Written]) -> None:
        """Wait for the write of the first batch, and wake its waiters; or fail, for good."""
        try:
            self._on_written(job.result())
        except Exception as error:  # noqa: BLE001 - after any failure nothing more may be written
            self._fail(error)
            return
        self._batches.popleft()
        if _has_waiters(batch.done):
            batch.done.set_result(None)

    def _fail(self, error: BaseException) -> None:
        self.failure = self._failure_of(error)
        self.failure.__cause__ = error
        for batch in self._batches:
            self.lost += batch.items
            if _has_waiters(batch.done):
                batch.done.set_exception(self.failure)
                batch.done.exception()  # counts as retrieved: a batch may have no waiter
        self._batches.clear()
        self.failed.set()


def _has_waiters(done: asyncio.Future[None]) -> bool:
    return not done.done() and not done.get_loop().is_closed()


def _call_soon(
    loop: asyncio.AbstractEventLoop,
    go_on: Callable[[concurrent.futures.Future[Written]], None],
    job: concurrent.futures.Future[Written],
) -> None:
    with suppress(RuntimeError):  # the loop is closed; `close` ends the batch
        loop.call_soon_threadsafe(go_on, job)
