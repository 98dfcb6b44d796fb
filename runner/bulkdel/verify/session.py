"""One session of a verification: the look-ups, and what they find. Nothing here can delete.

The session begins with a positive control. After that each look-up has its own control (`AccountLookup.find_proven`),
so every finding is recorded at once. An id without an account is `gone`. An account that is found is `there`, or `gone`
when it is in the target state of the job.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from bulkdel.checkpoint.index import RowResult
from bulkdel.checkpoint.reader import is_fresh
from bulkdel.checkpoint.writer import LogWriter
from bulkdel.core.absence import IN_QUERY, Misread
from bulkdel.core.account_match import Instant, Sampled, future
from bulkdel.core.apart import cut_apart
from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import FINDINGS, MADE, Finding, Found, VerifyHeader, stamp
from bulkdel.core.outcome import RE_CREATED
from bulkdel.core.ranges import ranges_of
from bulkdel.core.skipped_rows import PositionSet, RowSet
from bulkdel.core.summary import Ending
from bulkdel.core.verification import CLAIMED, Counts, Findings, GoneRow, judged, picks
from bulkdel.engine.drain import Stop
from bulkdel.engine.logged_session import LoggedSession
from bulkdel.engine.session_entries import ending_of, process_facts
from bulkdel.engine.snapshot import Snapshot
from bulkdel.engine.workers import Workers
from bulkdel.errors import FileFailed, Halted, NotAcceptable
from bulkdel.export.reopen import Reopened
from bulkdel.http.client import WorkerStatus
from bulkdel.http.connecting import connect
from bulkdel.http.lookup import IDS_AT_ONCE, AccountLookup
from bulkdel.http.positive_control import CONTROL_TRIES
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.job import Target
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_at
from bulkdel.settings import VerifySettings
from bulkdel.store_path import in_store
from bulkdel.verify.findings import findings_log, next_findings_path
from bulkdel.verify.restored import NOT_RESTORED, Restored

FAILED_MAX = 20
"""Look-ups that may fail in a row before a control checks whether any can succeed."""

PASSES = 2
"""Look-ups that failed are repeated once at the end, when the server may have recovered."""

UNDATED_MAX = 10_000
"""Rows whose account has no telling age, until the logs of the restores are read for them: they bound the memory."""

DRAIN_S = 0.0
"""A drain does not wait for the look-ups on the wire: they have no effect."""


class Earlier(NamedTuple):
    """An earlier verification that does not go on. path: where its log is now.

    differs: the names of the pinned values that are others now. Without one, `again` was given, or another person may
    have written it.
    """

    path: Path
    differs: Sequence[str]


def open_findings_log(
    path: Path,
    pinned: Mapping[str, Any],
    skipped: PositionSet,
    terms: Terms,
    *,
    at: str,
    again: bool,
    key: bytes | None,
) -> tuple[LogWriter[Findings], Earlier | None]:
    """Open the log of a verification: the one at `path`, or a new one.

    A new one when there is none, when it pins other values, or when one of its findings has no MAC by `key`: another
    person may have written it.

    skipped: the skipped rows of the log that is verified. again: begin a new one in any case.

    Also returns where an earlier log is now; it is never overwritten.

    Raises NotAcceptable for another file, or one that is damaged or in use; FileFailed when it cannot be written.
    """
    # With other pinned values the findings belong to another log, with other skipped rows.
    kind = findings_log(lambda header: skipped if header.pinned == pinned else PositionSet(), key)
    earlier = None
    if in_store(path) and not path.name.isdecimal():
        path = next_findings_path(path)
    elif not is_fresh(log_at(path, terms), kind):
        log = LogWriter[Findings].resume(log_at(path, terms), kind)
        differs = [name for name, value in pinned.items() if log.progress.header.pinned.get(name) != value]
        if not differs and log.progress.proven and not again:
            return log, None
        if in_store(path):
            log.close()
            path, before = next_findings_path(path), path
            begun, _ = open_findings_log(path, pinned, skipped, terms, at=at, again=again, key=key)
            return begun, Earlier(before, differs)
        aside = next(name for i in count(1) if not os.path.lexists(name := Path(f"{path}.old-{i}")))
        try:
            path.rename(aside)
        except OSError as error:
            raise FileFailed(f"{path}: {error.strerror}. It could not be moved aside to {aside}.") from error
        finally:
            log.close()
        earlier = Earlier(aside, differs)
    header = VerifyHeader(f"bulkdel {version('bulkdel')}", at, pinned)
    return LogWriter[Findings].create(log_at(path, terms), header, kind=kind), earlier


def gone_rows(
    rows: Iterable[tuple[Rows, list[RowResult]]], known: RowSet, drawn: Iterator[int] | None
) -> Iterator[GoneRow]:
    """The rows that the log calls gone, or created, in order, without those that are `known`.

    The id of a created account is the one that the API has given it.

    drawn: which of all such rows to take, ascending numbers from 0; None for all.
    """
    number, pick = 0, next(drawn, None) if drawn is not None else None
    for block, results in rows:
        for result in results:
            if result.kind not in CLAIMED or result.outcome is None:
                continue
            made = {each["position"]: each[MADE] for each in result.outcome.exceptions if each.get(MADE)}
            at, recreated = Instant(result.outcome.at, result.outcome.ahead_s), result.outcome.reason == RE_CREATED
            for position in range(result.start, result.stop):
                wanted = drawn is None or number == pick
                if drawn is not None and wanted:
                    pick = next(drawn, None)
                number += 1
                if wanted and position not in known:
                    id_ = block.ids[position - block.at]
                    assert id_ is not None, "a bad row is never deleted"
                    yield GoneRow(position, made.get(position, id_), at, recreated)


@dataclass(slots=True)
class Left:
    """How many rows of the last pass have no finding, by reason.

    undated: an account is there that may be the old one or a newer one, or its state is not known.
    unproven: ids that were not found, without a proof of their absence; misread: why.
    failed: the look-up failed. last_failure: the reason of the last failure.
    """

    undated: int = 0
    unproven: int = 0
    misread: Misread = IN_QUERY
    failed: int = 0
    last_failure: str = ""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """How a session ended. figures: requests, retries, throttled. possible: whether the API has look-ups at all."""

    ending: Ending
    figures: Mapping[str, int] = field(default_factory=lambda: {"requests": 0, "retries": 0, "throttled": 0})
    left: Left = field(default_factory=Left)
    possible: bool = True


class _Live(NamedTuple):
    """The parts that exist while requests can be sent."""

    workers: Workers
    lookup: AccountLookup


class VerifySession(LoggedSession[Findings]):
    """Looks up every row that the log calls gone and that has no finding yet. `run` it once; `drain` at any time."""

    def __init__(
        self,
        reopened: Reopened,
        log: LogWriter[Findings],
        target: Target,
        settings: VerifySettings,
        *,
        keeper: KeeperAddress | None = None,
        restored: Restored = NOT_RESTORED,
    ) -> None:
        """reopened: the run. log: where the findings become durable; `run` closes it. restored: since that run.

        keeper: of the rate that this process shares with others.
        """
        super().__init__(log)
        self._keeper = keeper
        self._reopened = reopened
        self._target = target
        self._settings = settings
        # The meaning of a look-up that does not find an id.
        self._missing_means: Finding = "there" if reopened.job.target_state.created else "gone"
        self._live: _Live | None = None
        self._undated: dict[int, tuple[str, ...]] = {}  # rows whose account has no telling age: its own ids
        self._restored = restored
        self._failed_in_row = 0
        self._left = Left()

    async def run(self) -> VerifyResult:
        """Look the rows up, until each has a finding or something stops it.

        Raises Halted when the sign-in fails, NotAcceptable for another pool.
        """
        settings, world, log = self._settings, self._world, self._log
        async with AsyncExitStack() as stack:
            opened = connect(self._target, settings, pool=None, world=world, keeper=self._keeper)
            client = await stack.enter_async_context(opened)
            auth = client.auth
            await auth.ensure()
            if auth.pool != (pinned := self._reopened.log_index.progress.header.pinned["pool"]):
                raise NotAcceptable(
                    f"{self._reopened.path}: is a run on pool {pinned}, but this key signs in to pool {auth.pool}. "
                    "No id was looked up. Use the key of that pool."
                )
            self._note_start(stack, process_facts(world.pid()))
            await log.begun()
            workers = Workers(client, log, self._drain, concurrency=settings.in_flight, drain_s=DRAIN_S)
            look_ups = self._target.look_ups(self._reopened.id_type)
            live = self._live = _Live(workers, AccountLookup(client, look_ups, world.chance, needs_account=True))
            await self._alone(live, self._control)
            for _ in range(PASSES):
                self._left = Left()
                await workers.run(self._chunks(), partial(self._look_up, live))
                await self._settle_undated()
                await workers.flush()  # the next pass begins with the rows that have no finding
                if live.lookup.control.lost:
                    await self._alone(live, self._control)
                if not self._left.failed or self._drain.stop is not None:
                    break
        stop, figures = self._drain.stop, {"requests": client.transport.requests, **client.figures}
        self._note_stop({"why": stop.why if stop is not None else "done", **figures})
        await log.aclose()
        # `Left` says why rows are left.
        ending = ending_of(stop, complete=False, limit_reached=False, log_failure=log.failure, left=lambda: "")
        return VerifyResult(ending, figures, self._left)

    def drain(self, signum: int) -> bool:
        """Begin to drain. Returns False before any id is looked up: then there is nothing to drain."""
        self._drain.begin(Stop(signal.Signals(signum).name, signal=signum))
        return self._live is not None

    def snapshot(self) -> Snapshot | None:
        """The current figures; None before any id is looked up."""
        if self._live is None:
            return None
        counts = Counts.of(self._reopened.log_index.progress, self._log.progress, self._settings.sample)
        found = {"gone": counts.gone, "there": counts.still_there, "failed": self._left.failed}
        return self._live.workers.snapshot(counts.gone + counts.still_there, counts.checked, found)

    def _chunks(self) -> Iterator[tuple[GoneRow, ...]]:
        """One pass over the rows: those that are gone by the log, sampled, and without a finding so far."""
        progress, sample = self._reopened.log_index.progress, self._settings.sample
        drawn = None
        if sample is not None:
            # The run id as a seed: a resume draws the same rows, and they cannot be known before the run.
            chance = random.Random(f"{progress.header.run_id} {sample}").random  # noqa: S311
            drawn = picks(sum(progress.counts[kind] for kind in CLAIMED), sample, chance)
        known = RowSet(ranges=self._log.progress.known.ranges)  # a copy: it grows meanwhile
        rows = gone_rows(self._reopened.rows(), known, drawn)
        at_once = IDS_AT_ONCE - 1  # and a control in the same request
        return cut_apart(rows, at_once, self._reopened.id_type, lambda row: row.id)

    async def _alone(self, live: _Live, step: Callable[[_Live, WorkerStatus], Awaitable[None]]) -> None:
        """Let one worker do one step while the others wait. After the drain has begun, nothing is done."""
        await live.workers.run(iter([step]), lambda step, worker: step(live, worker))

    async def _look_up(self, live: _Live, rows: tuple[GoneRow, ...], worker: WorkerStatus) -> None:
        """Look up one chunk, and record what it shows of each row."""
        ids = [row.id for row in rows]
        looked = await live.lookup.find_all(ids, worker)
        if looked is None or (looked.empty and not live.lookup.control.proven):
            self._left.failed += len(rows)
            self._left.last_failure = live.lookup.failed or "look-ups find no account any more"
            self._failed_in_row += 1
            if self._failed_in_row >= FAILED_MAX:
                self._failed_in_row = 0
                await self._control(live, worker)
            return
        self._failed_in_row = 0
        self._left.unproven += len(looked.unproven)
        self._left.misread = live.lookup.look_ups.misread
        now = Instant(stamp(self._world.wall()), live.workers.client.transport.ahead_s)
        sampled = Sampled.from_json(self._reopened.log_index.progress.header.sample)
        reusable = self._reopened.id_type.reusable
        trusted = not future((account.created_at for account in looked.accounts.values()), now)
        found: dict[Finding, list[int]] = {finding: [] for finding in FINDINGS}
        for row in rows:
            if row.id in looked.unproven:
                continue
            if (account := looked.accounts.get(row.id)) is None:
                found[self._missing_means].append(row.position)
                continue
            finding = judged(
                row,
                account.created_at,
                sampled,
                now,
                reusable=reusable,
                trusted=trusted,
                reached=account.reached,
                created=self._reopened.job.target_state.created,
            )
            if finding is not None:
                found[finding].append(row.position)
            elif account.reached is False:
                self._undated[row.position] = self._restored.own_ids(account)
            else:
                self._left.undated += 1
        for name, positions in found.items():
            self._record(now.at, name, positions)
        if len(self._undated) >= UNDATED_MAX:
            await self._settle_undated()

    async def _settle_undated(self) -> None:
        """Record each undated row as re-created whose account a restore has made. The others stay undated."""
        undated, self._undated = self._undated, {}
        if not undated:
            return
        made = await asyncio.to_thread(self._restored.made, {*chain.from_iterable(undated.values())})
        rows = sorted(position for position, ids in undated.items() if ids and made.issuperset(ids))
        self._record(stamp(self._world.wall()), "recreated", rows)
        self._left.undated += len(undated) - len(rows)

    def _record(self, at: str, finding: Finding, positions: list[int]) -> None:
        """Enqueue the finding of these rows, with its MAC."""
        if positions:
            self._log.enqueue(self._log.progress.with_mac(Found(at, finding, ranges_of(positions))))

    async def _control(self, live: _Live, worker: WorkerStatus) -> None:
        """Look up an account that another call lists. Raises Halted when it is not found."""
        lookup = live.lookup
        for _ in range(CONTROL_TRIES):  # a listed account may be deleted before it is looked up
            if await lookup.control.prove_again(worker):
                return
        kind, noun = self._reopened.id_type.name, self._reopened.job.words.noun
        if not (lookup.control.listed or lookup.control.none_listed):
            why = f"the control failed: {lookup.failed}. Does the key have the permission to list and to read {noun}s?"
        elif not lookup.control.answered:
            why = f"the control's look-up failed: {lookup.failed}. Does the key have the permission to read {noun}s?"
        elif lookup.control.listed:
            why = f"the control failed: look-ups by {kind} find no {noun}, not even those that the pool lists."
        else:
            why = (
                f"the pool lists no {noun} that could be looked up by {kind} as a control: it is empty, or the key may "
                f"not see its {noun}s. If it is meant to be empty, create one {noun} in it and verify again."
            )
        raise Halted(f"{why} An empty response proves nothing now. Earlier findings count: each had its own control")
