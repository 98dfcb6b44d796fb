"""The look-ups of a verification, and the positive controls between them. Nothing here can delete.

An id counts as `gone` only between two controls, one before its look-up and one after it. Each control finds an
existing user by the same kind of look-up. So a key that loses its permission half-way proves nothing after its last
control. An id that is still there needs no control, and is recorded at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from bulkdel.core.account_match import Instant, Sampled, future
from bulkdel.core.ranges import RangeSet, ranges_of
from bulkdel.core.redaction import without_ids
from bulkdel.core.verification import CLAIMED, Claim, Finding, Stretch, Tally, chunks_apart, claims_of, judged, picks
from bulkdel.engine.progress import Reporter, Snapshot
from bulkdel.errors import Halted, NotAcceptable
from bulkdel.format import stamp
from bulkdel.http.client import Client, Counters, WorkerStatus
from bulkdel.http.connect import connect
from bulkdel.http.lookup import CONTROL_TRIES, STRANGER, AccountLookup
from bulkdel.job import Target
from bulkdel.job_faults import job_faults
from bulkdel.settings import VerifySettings
from bulkdel.verify.reopen import Reopened
from bulkdel.verify.state import State

CONTROL_EVERY = 200
"""Look-ups that found no user between two controls. So controls cost 1 % of the requests, and a kill loses the findings
of 10,000 ids, or four seconds at the default rate."""

FAILED_MAX = 20
"""Look-ups that may fail in a row before a control checks whether any can succeed."""

AHEAD = 64
"""Chunks that are read at a time."""

PASSES = 2
"""Look-ups that failed are repeated once at the end, when the server may have recovered."""


class Asking:
    """Looks up every claimed row without a finding in `state`. `run` it once.

    requests, figures: what was sent, also when it ended early.
    undated: accounts that may be the old ones or newer ones.
    unproven: rows that were not found, where the response proves nothing.
    failed: rows whose look-up failed in the last pass.
    doubt: why the last look-up failed.
    """

    def __init__(self, reopened: Reopened, target: Target, settings: VerifySettings, state: State) -> None:
        self._reopened = reopened
        self._target = target
        self._settings = settings
        self._state = state
        self._sample = settings.sample
        self._progress = reopened.log_index.progress
        self._look_ups = target.look_ups(reopened.id_type)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._refill = asyncio.Lock()
        self._feed: Iterator[tuple[Claim, ...]] = iter(())
        self._ready: deque[tuple[Claim, ...]] = deque()
        self._unproven: list[list[int]] = []  # since the last control: positions of each look-up that were not found
        self._unproven_rows = 0
        self._failed_in_row = 0
        self._look: Callable[[], Snapshot | None] = lambda: None
        self._reporter = Reporter(lambda: self._look(), level=settings.log_level)  # noqa: PLW0108 - it changes
        self.requests = 0
        self.figures = Counters()
        self.undated = 0
        self.unproven = 0
        self.failed = 0
        self.doubt = ""

    async def run(self) -> None:
        """Look up every row that is left. Raises Halted, NotAcceptable for another pool, FileFailed.

        May be cancelled at any moment: only the state changes, and what it says is always true.
        """
        async with connect(self._target, self._settings, pool=None) as (client, auth):
            try:
                await auth.ensure()
                pinned = self._progress.header.pinned["pool"]
                if auth.pool != pinned:
                    raise NotAcceptable(
                        f"{self._reopened.path}: was written for pool {pinned}, but this key signs in to pool "
                        f"{auth.pool}. No id was looked up. Use the key of that pool."
                    )
                self._look = lambda: self._moment(client)
                with self._reporter.running():
                    await self._watched(client, self._ask_all)
            finally:
                self.requests, self.figures = client.transport.requests, client.figures
                # A read that was cancelled goes on in its thread; the export must not be closed under it.
                await asyncio.to_thread(self._reader.shutdown)

    def told(self) -> str | None:
        """The current step; None while look-ups are sent, because progress shows those."""
        return None if self._reporter.ask() else "signing in" if self._look() is None else "writing the state"

    async def _watched(self, client: Client, ask_all: Callable[[Client], Awaitable[None]]) -> None:
        """Send the look-ups, and halt when the server has given no useful response for --patience."""
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(client.watch_patience())
                await ask_all(client)
                watch.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _ask_all(self, client: Client) -> None:
        await self._control(client)
        for _ in range(PASSES):
            self.failed = self.undated = self.unproven = 0
            self._feed = self._chunks()
            async with asyncio.TaskGroup() as group:
                for _ in range(self._settings.concurrency):
                    group.create_task(self._work(client))
            if self._unproven:
                await self._confirm(client)
            if not self.failed:
                break

    def _chunks(self) -> Iterator[tuple[Claim, ...]]:
        """One pass over the export: the rows that are claimed, sampled, and without a finding when it begins."""
        drawn = None
        if self._sample is not None:
            claimed = Tally.of(self._progress, self._state.books, None).claimed
            # The run id as a seed: a resume draws the same rows, and they cannot be known before the run.
            chance = random.Random(f"{self._progress.header.run_id} {self._sample}").random  # noqa: S311
            drawn = picks(claimed, self._sample, chance)
        rows = (
            (
                parsed.batch,
                [
                    Stretch(
                        row_result.start,
                        row_result.stop,
                        Instant(row_result.outcome.at, row_result.outcome.ahead_s),
                        row_result.outcome.reason == "re-created",
                    )
                    for row_result in log_index
                    if row_result.kind in CLAIMED and row_result.outcome is not None
                ],
            )
            for parsed, log_index in self._reopened.rows()
        )
        claims = claims_of(rows, RangeSet(self._state.books.known.ranges), drawn)
        return chunks_apart(claims, self._reopened.job.chunk_max, self._reopened.id_type)

    async def _work(self, client: Client) -> None:
        lookup, status = AccountLookup(client, self._look_ups, random.random), WorkerStatus()
        while (chunk := await self._take(client)) is not None:
            ids = [claim.id for claim in chunk]
            with job_faults(partial(_hide, client, ids)):
                looked = await lookup.find_all(ids, status)
            if looked is None:
                self.failed += len(chunk)
                self._failed_in_row += 1
                self.doubt = lookup.failed
                if self._failed_in_row >= FAILED_MAX:
                    self._failed_in_row = 0
                    await self._control(client)
                continue
            self._failed_in_row = 0
            self.unproven += len(looked.unproven)
            told = [claim for claim in chunk if claim.id not in looked.unproven]
            now = Instant(stamp(time.time()), client.transport.ahead_s)
            self._note(told, {id_: account.created_at for id_, account in looked.accounts.items()}, now)
            if len(self._unproven) >= CONTROL_EVERY:
                await self._confirm(client)

    async def _take(self, client: Client) -> tuple[Claim, ...] | None:
        async with self._refill:
            if not self._ready:
                loop, began = asyncio.get_running_loop(), client.clock()
                self._ready.extend(await loop.run_in_executor(self._reader, lambda: list(islice(self._feed, AHEAD))))
                client.extend_patience(client.clock() - began)  # reading the disk does not count for --patience
            return self._ready.popleft() if self._ready else None

    def _note(self, chunk: Sequence[Claim], created: dict[str, float | None], now: Instant) -> None:
        """Record the accounts that were found; keep the rows that were not found until the next control."""
        sampled = Sampled.from_json(self._progress.header.sample)
        reusable, trusted = self._reopened.id_type.reusable, not future(created.values(), now)
        seen: dict[Finding, list[int]] = {"there": [], "recreated": []}
        missing: list[int] = []
        for claim in chunk:
            if claim.id not in created:
                missing.append(claim.position)
                continue
            finding = judged(claim, created[claim.id], sampled, now, reusable=reusable, trusted=trusted)
            if finding is None:
                self.undated += 1
            else:
                seen[finding].append(claim.position)
        if any(seen.values()):
            self._state.record(now.at, {name: ranges_of(positions) for name, positions in seen.items()})
        if missing:
            self._unproven.append(missing)
            self._unproven_rows += len(missing)

    async def _confirm(self, client: Client) -> None:
        """Send a control; then record as gone the rows that were not found before it. Other look-ups continue."""
        answered, self._unproven = self._unproven, []
        await self._control(client)
        positions = sorted(position for missing in answered for position in missing)
        self._unproven_rows -= len(positions)
        self._state.record(stamp(time.time()), {"gone": ranges_of(positions)})

    async def _control(self, client: Client) -> None:
        """Look up a user that another call lists. Raises Halted when it is not found."""
        lookup = AccountLookup(client, self._look_ups, random.random)  # a new one, without earlier findings
        for _ in range(CONTROL_TRIES):  # a listed user may be deleted before it is looked up
            if await lookup.prove(WorkerStatus()):
                return
        raise Halted(f"{self._why_blind(lookup)}. So an empty answer proves nothing, and none was counted as proof")

    def _why_blind(self, lookup: AccountLookup) -> str:
        kind = self._reopened.id_type.name
        if lookup.failed and (not lookup.listed or lookup.failed == STRANGER):
            return f"the control failed: {lookup.failed}. Does the key have the permission to list and to read users?"
        if lookup.failed:
            return f"the control's look-up failed: {lookup.failed}. Does the key have the permission to read users?"
        if lookup.listed:
            return f"the control failed: look-ups by {kind} find no user, not even those that the pool lists"
        return (
            f"the pool lists no user that could be looked up by {kind} as a control: it is empty, or the key may not "
            "see its users. If it is meant to be empty, create one user in it and verify again"
        )

    def _moment(self, client: Client) -> Snapshot:
        tally = Tally.of(self._progress, self._state.books, self._sample)
        counts = {"gone": tally.gone + self._unproven_rows, "there": tally.there, "failed": self.failed}
        settled = counts["gone"] + tally.there
        slowed = client.adaptive_rate.slowed(client.clock())
        return Snapshot(
            settled,
            tally.checked,
            counts,
            client.transport.requests,
            client.rate_limiter.rate,
            client.waiting,
            slowed=slowed,
        )


def _hide(client: Client, ids: Sequence[str], text: str) -> str:
    return without_ids(client.auth.hide(text), ids)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error; the others follow from it or are the same."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
