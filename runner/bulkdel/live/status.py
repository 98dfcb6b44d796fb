"""The status of a job, running or ended, as socket, page and metrics show it. It has no id and no text of a row."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bulkdel.core.latency import BOUNDS_S
from bulkdel.core.log_entries import Changed, stamp
from bulkdel.core.outcome import KINDS
from bulkdel.core.summary import cause_of, key_of
from bulkdel.engine.snapshot import Snapshot, Speed, limited_by
from bulkdel.format import printable
from bulkdel.library import Run, Summary
from bulkdel.live.status_lines import BOUNDS
from bulkdel.live.thresholds import thresholds
from bulkdel.log_words import left_out_words
from bulkdel.notify.message import CAUSES
from bulkdel.safety.plan_facts import In, values_in
from bulkdel.safety.run_plan import RunPlan

TICK_S = 1.0
"""Between two measurements of the speed."""

STARTING, UNCONFIRMED = BEFORE = ("starting", "unconfirmed")
"""The states before anything is sent."""

AS_MEASURED = (
    *("doing", "requests", "retries", "throttled", "in_flight", "concurrency"),
    *("limit", "confirm", "waiting", "refused"),
)
"""Members of the status that are as in the snapshot."""


class LiveStatus:
    """Measures the speeds of one run, and shows its status."""

    def __init__(self, run: Run, plan: RunPlan, *, wall: Callable[[], float]) -> None:
        self._run = run
        self._plan = plan
        self._wall = wall
        self._speed = Speed()
        self._speeds: tuple[float, float | None, float] = (0.0, None, 0.0)
        self._end: dict[str, Any] = {}

    async def tick(self) -> None:
        """Measure the speeds every second until cancelled."""
        while True:
            if (moment := self._run.snapshot()) is not None:
                self._speeds = self._speed.take(moment)
            await asyncio.sleep(TICK_S)

    def end(self, ended: Summary) -> None:
        """Show how the run has ended from now on: its state, why it has stopped, and its last counts."""
        progress = ended.progress
        asked = Changed.STOP in progress.changes
        limit_reached = ended.session.ending.limit_reached
        cause = cause_of(ended.status, ended.exit_code, limit_reached=limit_reached, asked=asked)
        counts = {key_of(progress, kind): progress.counts[kind] for kind in KINDS}
        self._end = {
            "state": ended.status,
            "why": None if cause is None else CAUSES[cause],
            **self._rows(progress.rows, progress.rows - progress.remaining, counts, progress.spared),
            **dict.fromkeys(("paused", "waiting", "doing", "left_s")),
            **dict.fromkeys(("in_flight", "per_s"), 0),
        }

    def to_json(self) -> dict[str, Any]:
        """The status now. docs/live.md describes each member."""
        plan, words, moment = self._plan, self._plan.words, self._run.snapshot()
        names = {words.named_keys[kind]: name for kind, name in words.names.items()}
        known = {
            "at": stamp(self._wall()),
            "job": plan.arguments.job.name,
            "pool": plan.pool,
            "host": plan.target.pinned_host,
            "run_id": self._run.run_id,
            "pid": os.getpid(),
            "names": {**names, **left_out_words(plan.guards)},
            "plan": values_in(plan, In.PAGE),
            "thresholds": [each._asdict() for each in thresholds(plan, moment)],
        }
        now = self._before() if moment is None else self._values(moment)
        return {**known, **now, **self._end}

    def _before(self) -> dict[str, Any]:
        """The members before the sending."""
        waits = not (self._run.sending or self._plan.complete)
        return {"state": UNCONFIRMED if waits else STARTING, "doing": printable(self._run.doing)}

    def _rows(self, rows: int, settled: int, counts: Mapping[str, int], spared: Mapping[str, int]) -> dict[str, Any]:
        left_out, preflight = settled - sum(counts.values()), self._plan.export.counts
        why = {**spared, "duplicate": preflight["duplicate"], "invalid": preflight["invalid"]}
        why["excluded"] = left_out - sum(why.values())
        return {
            "rows": rows,
            "settled": settled,
            "remaining": rows - settled,
            "counts": counts,
            "left_out": left_out,
            "left_out_by": {name: count for name, count in why.items() if count > 0},
        }

    def _values(self, moment: Snapshot) -> dict[str, Any]:
        (per_s, left_s, used), pause = self._speeds, moment.pause
        binding = limited_by(moment, used) or moment.binding  # a slow-down, the concurrency, or the smallest limit
        latencies, sum_s = moment.latency
        return {
            "state": _state(moment),
            **self._rows(moment.rows, moment.settled, moment.counts, moment.spared),
            **{name: getattr(moment, name) for name in AS_MEASURED},
            "rate": {
                "allowed": moment.rate,
                "used": round(used, 1),
                "binding": binding,
                "bound": None if binding is None else BOUNDS.get(binding, binding),
                "limits": moment.limits,
            },
            "until": None if moment.until is None else moment.until.isoformat(timespec="seconds"),
            "paused": None
            if pause is None
            else {"source": pause.source.value, "user": pause.user, "since": _iso(pause.since)},
            "breaker": "open" if moment.breaker_open else "closed",
            "per_s": round(per_s, 1),
            "left_s": None if left_s is None else round(left_s),
            "latency": {"bounds_s": BOUNDS_S, "counts": latencies, "sum_s": round(sum_s, 3)},
        }


def _state(moment: Snapshot) -> str:
    if moment.draining:
        return "draining"
    if moment.pause is not None:
        return "paused"
    if moment.doing is not None:
        return STARTING
    return "waiting" if moment.waiting else "sending"


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).astimezone().isoformat(timespec="seconds")
