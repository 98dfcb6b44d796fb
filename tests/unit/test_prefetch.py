"""Items are handed out once each, read ahead of the workers that take them, and never after the reading has failed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from bulkdel.core.log_entries import Skipped
from bulkdel.core.record import Chunk, Records
from bulkdel.engine.workers import AT_ONCE, Prefetch
from bulkdel.errors import Halted
from tests.mutants import mutant
from tests.syntax import drop
from tests.waits import WAIT_MAX_S

Item = Chunk | Skipped


def work(number: int) -> Chunk:
    return Chunk(Records((number,), (f"u{number}",)))


class Recorded:
    """A prefetch, the rows that were skipped, and the waits that it reported."""

    def __init__(self, feed: Iterator[Item]) -> None:
        self.skipped: list[Skipped] = []
        self.waited: list[float] = []
        self.prefetch = Prefetch(feed, on_waited=self.waited.append, clock=time.monotonic)

    async def take_all(self, workers: int) -> list[int]:
        """The positions that `workers` got, in the order in which they got them."""
        got: list[int] = []

        async def worker() -> None:
            while (taken := await self.prefetch.take()) is not None:
                if isinstance(taken, Skipped):
                    self.skipped.append(taken)
                else:
                    got.append(taken.records[0].position)
                await asyncio.sleep(0)

        await asyncio.gather(*[worker() for _ in range(workers)])
        return got


async def test_every_chunk_is_handed_out_once_in_order_to_any_number_of_takers() -> None:
    for workers, count in ((1, 10), (7, AT_ONCE * 3 + 1), (64, 0), (64, 1_000)):
        skipped = [Skipped("invalid", ((count + n, count + n + 1),)) for n in range(2)]
        recorded = Recorded(iter([*map(work, range(count)), *skipped]))
        assert await recorded.take_all(workers) == [*range(count)]
        assert await recorded.prefetch.take() is None
        assert recorded.skipped == skipped
        await recorded.prefetch.aclose()


@mutant(
    "the whole export is read before its ids are sent",
    "Prefetch._read",
    drop("while len(self._ready) >= AT_ONCE:\n    self._wanted.clear()\n    await self._wanted.wait()"),
)
async def test_the_next_ones_are_read_while_these_are_sent() -> None:
    read = threading.Semaphore(0)

    def feed() -> Iterator[Item]:
        for number in range(3 * AT_ONCE):
            read.release()
            yield work(number)

    recorded = Recorded(feed())
    assert await recorded.prefetch.take() is not None
    for _ in range(2 * AT_ONCE):
        assert await asyncio.to_thread(read.acquire, timeout=WAIT_MAX_S), "nothing is read before it is wanted"
    await asyncio.sleep(0.05)
    assert not read.acquire(blocking=False), "no more than what comes next is kept"
    await recorded.prefetch.aclose()


async def test_the_wait_for_a_slow_disk_is_reported_once_for_all() -> None:
    asked = threading.Event()

    def feed() -> Iterator[Item]:
        asked.wait()
        time.sleep(0.2)
        yield work(0)

    begun = time.monotonic()
    recorded = Recorded(feed())
    asyncio.get_running_loop().call_later(0.01, asked.set)  # all of them wait by then
    assert await recorded.take_all(8) == [0]
    assert len(recorded.waited) == 2, "for the chunk, and for the end of the feed"
    assert 0.1 < sum(recorded.waited) <= time.monotonic() - begun
    await recorded.prefetch.aclose()


async def test_a_failure_is_raised_by_each_take_and_without_one_is_ignored() -> None:
    def feed() -> Iterator[Item]:
        yield work(0)
        raise Halted("the export changed")

    recorded = Recorded(feed())
    for _ in range(2):
        with pytest.raises(Halted, match="the export changed"):
            await recorded.prefetch.take()
    await recorded.prefetch.aclose()
    unused = Recorded(feed())  # asyncio reports no failure that was not taken
    await asyncio.sleep(0.01)
    await unused.prefetch.aclose()


async def test_a_taker_that_is_cancelled_takes_nothing_with_it() -> None:
    may = threading.Event()

    def feed() -> Iterator[Item]:
        may.wait()
        yield work(0)

    recorded = Recorded(feed())
    first, second = (asyncio.create_task(recorded.prefetch.take()) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    may.set()
    assert await second == work(0)
    assert first.cancelled()
    await recorded.prefetch.aclose()
