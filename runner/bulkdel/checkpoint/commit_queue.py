"""Group commit: the items that gather during one write and fsync share the next one.

Owns the batches, their order, and the fail-stop after the first failure. The checkpoint log and the
backup are written through it. It does not know the meaning of an item.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

from bulkdel.errors import FileFailed

Item = TypeVar("Item")
Written = TypeVar("Written")


@dataclass(slots=True, eq=False)
class _Batch(Generic[Item, Written]):
    """Items that become durable together. job: their write, once it has begun. ended: set when it has ended."""

    items: list[Item] = field(default_factory=list)
    size: int = 0
    job: concurrent.futures.Future[Sequence[Written]] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class CommitQueue(ABC, Generic[Item, Written]):
    """A file that is written in batches, in the order of `add`. `add` and `flush` belong to one event loop at a time.

    A subclass says how a batch is written (`_write`), and the error for people (`_failure_of`).

    failure: the first failure. After it nothing is written, and every `flush` raises it.
    lost: the items that will never be durable.
    """

    def __init__(
        self, batch_bytes: int, thread: concurrent.futures.Executor, apply: Callable[[Written], object]
    ) -> None:
        """Take the limits and the thread of the writes.

        batch_bytes: a batch that has grown to this takes no further item.
        thread: runs the writes, one after the other.
        apply: called with each item that `_write` returned, before the waiters continue: in the event loop, or in the
            thread that calls `close`.
        """
        self._batch_bytes = batch_bytes
        self._thread = thread
        self._apply = apply
        self._batches: deque[_Batch[Item, Written]] = deque()  # the first of them may be on its way to the disk
        self._writer: asyncio.Task[None] | None = None
        self._turn = threading.Lock()  # `close` may run in another thread than the event loop
        self._failed = asyncio.Event()
        self.failure: FileFailed | None = None
        self.lost: list[Item] = []

    @abstractmethod
    def _write(self, items: list[Item]) -> Sequence[Written]:
        """Make a batch durable. Called in the thread, for one batch after the other."""

    @abstractmethod
    def _failure_of(self, error: BaseException) -> FileFailed:
        """Make the error for people from what `_write` or `apply` has raised."""

    def add(self, item: Item, size: int) -> None:
        """Enqueue one item of `size` bytes. It is written, also without a waiter. After a failure it goes to `lost`."""
        if self.failure is not None:
            self.lost.append(item)
            return
        batch = self._batches[-1] if self._batches else None
        if batch is None or batch.job is not None or batch.size >= self._batch_bytes:
            batch = _Batch()
            self._batches.append(batch)
        batch.items.append(item)
        batch.size += size
        self._wake()

    def touch(self) -> None:
        """Write a batch, even without an item. After a failure nothing is written."""
        if self.failure is None and not self._batches:
            self._batches.append(_Batch())
            self._wake()

    async def flush(self) -> None:
        """Wait until everything that was added is durable. Raises FileFailed after a failed write.

        May be cancelled; the write goes on.
        """
        if self._batches:
            await self._batches[-1].ended.wait()
        if self.failure is not None:
            raise self.failure

    async def watch_failure(self) -> NoReturn:
        """Wait for the first failure, and raise it."""
        await self._failed.wait()
        assert self.failure is not None, "it is set first"
        raise self.failure

    def close(self) -> None:
        """Write what is left, and end the thread. Blocks. Raises nothing: a failure is in `failure`."""
        while (first := self._first()) is not None:
            batch, job = first
            job.exception()  # waits; `_end` takes in the result
            self._end(batch, job)
        self._thread.shutdown()

    def _wake(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_batches())

    async def _write_batches(self) -> None:
        """Write one batch after the other until none is left: written here, or by `close`."""
        while (first := self._first()) is not None:
            batch, job = first
            with suppress(Exception):  # `_end` takes in the result
                await asyncio.shield(asyncio.wrap_future(job))  # shielded: a write that has begun goes on
            self._end(batch, job)

    def _first(self) -> tuple[_Batch[Item, Written], concurrent.futures.Future[Sequence[Written]]] | None:
        """The first batch, and its write, which has begun now; None when no batch is left."""
        with self._turn:
            if not self._batches:
                return None
            batch = self._batches[0]
            batch.job = job = batch.job or self._begun(batch.items)
            return batch, job

    def _begun(self, items: list[Item]) -> concurrent.futures.Future[Sequence[Written]]:
        """Begin a write. If the system cannot start a thread, that is a failed write."""
        try:
            return self._thread.submit(self._write, items)
        except RuntimeError as error:
            failed = concurrent.futures.Future[Sequence[Written]]()
            failed.set_exception(error)
            return failed

    def _end(self, batch: _Batch[Item, Written], job: concurrent.futures.Future[Sequence[Written]]) -> None:
        """Take in the result of a write that has ended, once, and wake its waiters. A failure wakes all waiters."""
        with self._turn:
            if not self._batches or self._batches[0] is not batch:
                return  # taken in already, by the event loop or by `close`
            try:
                for written in job.result():
                    self._apply(written)
            except Exception as error:  # noqa: BLE001 - after any failure nothing more may be written
                self.failure = self._failure_of(error)
                self.failure.__cause__ = error
                self.lost = [item for each in self._batches for item in each.items]
                self._failed.set()
                while self._batches:
                    self._batches.popleft().ended.set()
            else:
                self._batches.popleft().ended.set()
