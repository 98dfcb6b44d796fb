"""The workers, the queue that they take from, and their drain.

A worker takes an item, settles it, and takes the next, until none is left.

A drain ends this early: no new item and no retry; requests on the wire may finish.

An item is a chunk to settle (`engine.pipeline`) or a chunk to look up (`verify.session`). The workers know neither.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Generic, TypeVar

from bulkdel.checkpoint.writer import LogWriter
from bulkdel.core.adaptive_rate import Slowed
from bulkdel.engine.drain import Drain, Stop, drain_on_failure, watch_time
from bulkdel.engine.snapshot import Snapshot
from bulkdel.errors import FileFailed
from bulkdel.http.client import Client, WorkerState, WorkerStatus
from bulkdel.job import job_faults
from bulkdel.tasks import end_all

T = TypeVar("T")

AT_ONCE = 128
"""Items that are read at a time. When fewer are left, the next ones are read. With fewer at a time the changes of
thread would cost more, with more the items would take more memory."""


class Prefetch(Generic[T]):
    """The items of a pass on their way to the workers: a queue that one task fills from a feed. For one event loop.

    Reading blocks on the disk, so it is done in a thread, many items at a time, and the next ones while these are
    settled.
    """

    def __init__(self, feed: Iterator[T], *, on_waited: Callable[[float], object], clock: Callable[[], float]) -> None:
        """Begin to read. on_waited: called with the seconds in which workers waited for the disk."""
        self._feed = feed
        self._on_waited = on_waited
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._ready: deque[T] = deque()
        self._filled, self._wanted = asyncio.Event(), asyncio.Event()
        self._empty_since: float | None = None
        self._error: Exception | None = None  # the failure of the reading
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    async def take(self) -> T | None:
        """Return the next item; None when the feed has ended. Raises the failure of the reading."""
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
        while not self._ended:
            items: list[T] = []
            try:
                items = await loop.run_in_executor(self._thread, lambda: list(islice(self._feed, AT_ONCE)))
            except Exception as error:  # noqa: BLE001 - any failure: each worker raises it
                self._error = error
            self._ready.extend(items)
            self._ended = not items
            self._filled.set()
            if self._empty_since is not None:
                self._on_waited(self._clock() - self._empty_since)
                self._empty_since = None
            while len(self._ready) >= AT_ONCE:
                self._wanted.clear()
                await self._wanted.wait()


class Workers:
    """Settles the items of one pass after the other. One instance a session.

    client: of this session. concurrency: how many items are settled at the same time.
    """

    def __init__(
        self,
        client: Client,
        log: LogWriter[Any],
        drain: Drain,
        *,
        concurrency: int,
        drain_s: float,
        until: tuple[float, str] | None = None,
    ) -> None:
        """Take the parts and limits of a session.

        drain_s: how long requests on the wire may take to finish after the drain has begun.
        until: --not-after, as epoch seconds and in words.
        """
        self.client = client
        self._log = log
        self._drain = drain
        self.concurrency = concurrency
        self._drain_s = drain_s
        self._until = until
        self._tasks: dict[asyncio.Task[None], WorkerStatus] = {}
        self._work_of: Callable[[WorkerStatus], Awaitable[None]] | None = None  # None between two passes

    async def run(self, items: Iterator[T], settle: Callable[[T, WorkerStatus], Awaitable[None]]) -> None:
        """Settle every item, or drain; then everything in the log is durable.

        A BulkdelError begins the drain. Any other exception of `settle` does too, and is raised when all have drained.
        """
        client, drain = self.client, self._drain
        # Reading the disk does not count for --patience.
        prefetch = Prefetch(items, on_waited=client.extend_patience, clock=client.clock)
        self._tasks = {}
        self._work_of = lambda worker: self._work(prefetch, settle, worker)
        self._start_workers()
        time = watch_time(lambda: self._until, self._log.place.world.wall, drain)
        watches = [client.watch_patience(), self._log.watch_failure(), time]
        watching = [asyncio.create_task(self._drain_on_failure(watch)) for watch in watches]
        draining = asyncio.create_task(drain.begun.wait())
        finished = asyncio.create_task(self._all_ended())
        try:
            await asyncio.wait({finished, draining}, return_when=asyncio.FIRST_COMPLETED)
            for watch in (*watching, draining):
                watch.cancel()
            if drain.stop is not None:
                self._wake()
            await asyncio.wait({finished}, timeout=self._drain_s if drain.stop else None)
            for task in self._tasks:
                task.cancel()  # has no effect on one that is done
            await finished
            # Every exception is retrieved: asyncio would print the others, and their texts may hold ids.
            failures = [task.exception() for task in self._tasks if not task.cancelled()]
            for failure in filter(None, failures):
                raise failure  # an unexpected one, after the others have drained
            await self.flush()
        finally:
            self._work_of = None
            await prefetch.aclose()

    def set_ceiling(self, rate: float) -> None:
        """Send at most `rate` requests a second from now on; 0 is unlimited."""
        self.client.set_ceiling(rate)

    def slow(self) -> float:
        """Halve the rate, down to its floor. Returns it, requests a second."""
        return self.client.slow()

    @property
    def slowed(self) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        return self.client.adaptive_rate.slowed(self.client.clock())

    def hold(self) -> None:
        """Send nothing until `release`. Requests on the wire may finish."""
        self.client.hold()

    def release(self) -> None:
        """End the hold."""
        self.client.release()

    def set_concurrency(self, concurrency: int) -> None:
        """Settle so many items at the same time from now on. A worker too many ends after its item."""
        self.concurrency = concurrency
        self._start_workers()

    def set_until(self, epoch: float, words: str) -> None:
        """Stop at this time: --not-after, as epoch seconds and in words."""
        self._until = epoch, words

    async def flush(self) -> None:
        """Make everything in the log durable. Begins the drain when it cannot be written."""
        try:
            await self._log.flush()
        except FileFailed as error:
            self._drain.begin(Stop(str(error), error=error))

    def snapshot(self, settled: int, rows: int, counts: dict[str, int]) -> Snapshot:
        """The current figures: the requests and the waiting, with the given figures of the rows."""
        client, held = self.client, {WorkerState.IDLE, WorkerState.WAITING}
        states = [worker.state for task, worker in list(self._tasks.items()) if not task.done()]
        return Snapshot(
            settled,
            rows,
            counts,
            client.transport.requests,
            client.rate_limiter.rate,
            client.waiting if self._drain.stop is None else "draining: requests on the wire may finish",
            len(states) >= self.concurrency and held.isdisjoint(states),
            self.slowed,
            silent_s=client.silent_s,
            draining=self._drain.stop is not None,
            concurrency=self.concurrency,
            in_flight=states.count(WorkerState.ON_WIRE),
            breaker_open=client.breaker.open,
            latency=(tuple(client.latency.counts), client.latency.sum_s),
            retries=client.figures["retries"],
            throttled=client.figures["throttled"],
        )

    def _start_workers(self) -> None:
        """Begin the workers that are missing, while a pass is under way and the drain has not begun."""
        if self._work_of is None or self._drain.stop is not None:
            return
        at_work = {worker.number for task, worker in self._tasks.items() if not task.done()}
        for number in range(self.concurrency):
            if number not in at_work:
                worker = WorkerStatus(number)
                self._tasks[asyncio.create_task(self._drain_on_failure(self._work_of(worker)))] = worker

    async def _all_ended(self) -> None:
        """Wait until every worker has ended, also those that begin meanwhile."""
        while at_work := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(at_work)
        self._work_of = None  # a change of the concurrency begins no worker any more

    def _wake(self) -> None:
        """End every wait: for a pause, the limiter, a backoff, the disk. Requests on the wire continue.

        A look-up that decides continues too, unless the client holds it back.
        """
        self.client.drain()
        goes_on = {WorkerState.ON_WIRE} if self.client.waiting else {WorkerState.ON_WIRE, WorkerState.DECIDING}
        for task, worker in self._tasks.items():
            if worker.state not in goes_on:
                task.cancel()

    async def _work(
        self, items: Prefetch[T], settle: Callable[[T, WorkerStatus], Awaitable[None]], worker: WorkerStatus
    ) -> None:
        """One worker: take an item, settle it, until there is none, the drain begins, or the concurrency is lower."""
        with job_faults():
            while (
                self._drain.stop is None
                and worker.number < self.concurrency
                and (item := await items.take()) is not None
            ):
                await settle(item, worker)

    async def _drain_on_failure(self, step: Awaitable[Any]) -> None:
        """Begin the drain when `step` raises. An unexpected exception is raised again."""
        try:
            await drain_on_failure(self._drain.begin, step)
        except asyncio.CancelledError:
            if self._drain.stop is None:
                raise


@asynccontextmanager
async def watching(begin: Callable[[Stop], object], *steps: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the steps until the block ends. A step that raises begins the drain.

    An unexpected error, which is no BulkdelError, is raised when the block has ended.
    """
    tasks = [asyncio.create_task(drain_on_failure(begin, step)) for step in steps]
    try:
        yield
    finally:
        await end_all(tasks)
        for step in steps:
            step.close()  # else Python warns of a coroutine that was never awaited
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure
