"""Group commit: a file that is closed in a thread while the event loop still waits for a write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bulkdel.checkpoint.commit_queue import CommitQueue
from bulkdel.errors import FileFailed
from tests.mutants import mutant
from tests.syntax import swap

ROUNDS = 300
"""Each round is a race of two threads; without the order of `CommitQueue` one of some tens goes wrong."""


class Kept(CommitQueue[int, int]):
    """Keeps what it is told to write. begun: set in the first write, which then waits for `go`."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.applied: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        super().__init__(1, ThreadPoolExecutor(1), self.applied.append)  # each item is a batch of its own

    def _write(self, items: list[int]) -> Sequence[int]:
        self.begun.set()
        self.go.wait()
        self.written += items
        return items

    def _failure_of(self, error: BaseException) -> FileFailed:
        raise AssertionError from error


@mutant(
    "what is written while a file is closed is taken in twice",
    "CommitQueue._end",
    swap("not self._batches or self._batches[0] is not batch", "not (self._batches and batch)"),
)
@mutant(
    "what is left is written twice when a file is closed",
    "CommitQueue._first",
    swap("batch.job or self._begun(batch.items)", "self._begun(batch.items)"),
)
async def test_each_item_is_written_and_taken_in_once_by_the_event_loop_or_by_close() -> None:
    for _ in range(ROUNDS):
        kept = Kept()
        for item in range(3):
            kept.add(item, 1)
        flushed = asyncio.create_task(kept.flush())
        await asyncio.to_thread(kept.begun.wait)
        closed = asyncio.create_task(asyncio.to_thread(kept.close))
        asyncio.get_running_loop().call_soon(kept.go.set)
        await asyncio.wait_for(asyncio.gather(flushed, closed), 10)
        assert kept.written == kept.applied == [0, 1, 2]
        assert kept.failure is None
