"""The workers: each takes a chunk, settles it, and takes the next, until no chunk is left or the run drains."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from bulkdel.core.chunker import ChunkTask
from bulkdel.core.id_set import IdSet
from bulkdel.core.log_entries import Outcome, Skipped
from bulkdel.core.outcome import COUNTED
from bulkdel.core.ranges import size_of
from bulkdel.core.retry import LAG_MAX_S
from bulkdel.engine.chunk import ChunkInHand, Parts, Tally
from bulkdel.engine.drain import Stop
from bulkdel.engine.pipeline import settle_chunk
from bulkdel.engine.prefetch import Prefetch
from bulkdel.errors import BulkdelError, FileFailed, Halted
from bulkdel.format import counted
from bulkdel.http.client import WorkerState, WorkerStatus
from bulkdel.job_faults import job_faults

Chunks = Prefetch[ChunkTask | Skipped]


class Workers:
    """Settles the chunks of a session. One instance a session. tally: what they have counted."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._tasks: dict[asyncio.Task[None], WorkerStatus] = {}
        self.tally = Tally(IdSet(parts.id_type), succeeded=parts.log.progress.counts["done"] > 0)

    async def run(self, chunks: Iterator[ChunkTask | Skipped]) -> None:
        """Settle one pass of chunks, or drain; then all of it is durable."""
        self.tally.unproven = self.tally.contradicted = 0
        client = self._parts.client
        # Reading the disk does not count for --patience.
        prefetch = Chunks(on_waited=client.extend_patience, clock=client.clock)
        prefetch.begin(chunks)
        try:
            await self._pass(prefetch)
            await self._parts.log.flush()
        except FileFailed as error:
            self._parts.drain.begin(Stop(str(error), error=error))
        finally:
            await prefetch.aclose()

    @property
    def unrecorded(self) -> dict[str, int]:
        """Rows by outcome of responses that could not be made durable. For the final report only."""
        counts = dict.fromkeys(COUNTED, 0)
        for entry in self._parts.log.lost:
            if isinstance(entry, Outcome):
                counts[entry.kind] += size_of(entry.ranges)
        return counts

    @property
    def failure(self) -> str:
        """The last failure of a request or of a look-up, in words; empty without one."""
        lookup, last = self._parts.lookup, self._parts.client.last_failure
        if self.tally.contradicted:
            return (
                f"the API refused {counted(self.tally.contradicted, 'id')} as unknown that look-ups find. Look-ups may "
                f"lag behind deletions: go on in {LAG_MAX_S / 60:.0f} minutes"
            )
        if last or lookup.failed or lookup.proven:
            return last or lookup.failed or ("ids with a comma were not found" if self.tally.unproven else "")
        return "look-ups find no user at all, so an empty answer proves nothing"

    @property
    def blind(self) -> bool:
        """Whether no look-up of this session has found an existing user, so that an empty answer proves nothing."""
        return not self._parts.lookup.proven

    @property
    def busy(self) -> bool:
        """Whether every worker has a chunk and none waits for the rate, so that more workers would send more."""
        held = {WorkerState.IDLE, WorkerState.WAITING}
        return all(worker.state not in held for worker in list(self._tasks.values()))

    async def _pass(self, chunks: Chunks) -> None:
        """Run the workers to the end of the chunks, or until the run drains; then give them --drain-s to finish."""
        drain, rules = self._parts.drain, self._parts.rules
        workers = [WorkerStatus() for _ in range(rules.concurrency)]
        self._tasks = {asyncio.create_task(self._work(chunks, worker)): worker for worker in workers}
        tasks = list(self._tasks)
        watches = [
            asyncio.create_task(watch) for watch in (self._watch_server(), self._watch_time(), self._watch_log())
        ]
        draining = asyncio.create_task(drain.begun())
        finished = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait({finished, draining}, return_when=asyncio.FIRST_COMPLETED)
        for watch in (*watches, draining):
            watch.cancel()
        if drain.stop is not None:
            self._wake()
        await asyncio.wait(tasks, timeout=rules.drain_s if drain.stop else None)
        for task in tasks:
            task.cancel()  # has no effect on one that is done
        await finished
        # Every exception is retrieved: asyncio would print the others with their text, which may hold ids.
        failures = [task.exception() for task in tasks if not task.cancelled()]
        for failure in filter(None, failures):
            raise failure  # an unexpected one, after the others have drained

    def _wake(self) -> None:
        """End every wait: for a pause, the limiter, a backoff, the disk. Requests on the wire continue.

        A look-up that decides continues too, unless the client holds it back.
        """
        client = self._parts.client
        client.drain()
        goes_on = {WorkerState.ON_WIRE} if client.waiting else {WorkerState.ON_WIRE, WorkerState.DECIDING}
        for task, worker in self._tasks.items():
            if worker.state not in goes_on:
                task.cancel()

    async def _work(self, chunks: Chunks, worker: WorkerStatus) -> None:
        """One worker: take a chunk, settle it, until there is none or the run drains."""
        drain = self._parts.drain
        try:
            while drain.stop is None and (item := await chunks.take()) is not None:
                if isinstance(item, Skipped):
                    self._parts.log.enqueue(item)
                    continue
                chunk = ChunkInHand(item, worker, self._parts, self.tally)
                with job_faults(chunk.hide):
                    # A session without a sample needs a control before the first deletion. All workers wait for it.
                    await self._parts.lookup.prove(worker)
                    await settle_chunk(chunk)
        except asyncio.CancelledError:
            if drain.stop is None:
                raise
        except BulkdelError as error:
            drain.begin(Stop(str(error), error=error))
        except BaseException as error:
            drain.begin(Stop(f"unexpected: {type(error).__name__}"))  # the others drain, then it is raised
            raise

    async def _watch_server(self) -> None:
        """Halt when the server has given no useful response for --patience."""
        try:
            await self._parts.client.watch_patience()
        except Halted as error:
            self._parts.drain.begin(Stop(str(error), error=error))

    async def _watch_time(self) -> None:
        """Drain at --not-after. Reads the wall clock every second: it may be set, and a laptop may sleep."""
        if self._parts.rules.until is not None:
            until, words = self._parts.rules.until
            while (left_s := until - self._parts.surroundings.wall()) > 0:  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(min(left_s, 1.0))
            self._parts.drain.begin(Stop(f"it is {words} (--not-after)", planned=True))

    async def _watch_log(self) -> None:
        """Drain when the log can no longer be written."""
        failure = await self._parts.log.failing()
        self._parts.drain.begin(Stop(str(failure), error=failure))
