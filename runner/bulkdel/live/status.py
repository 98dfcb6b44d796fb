"""The status of a running job, as socket, page and metrics show it. It has no id, no example and no text of a row."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bulkdel.core.latency import BOUNDS_S
from bulkdel.core.log_entries import stamp
from bulkdel.engine.progress import Snapshot, Speed, limited_by
from bulkdel.format import printable
from bulkdel.library import Run
from bulkdel.safety.plan_facts import In, values_in
from bulkdel.safety.run_plan import RunPlan

TICK_S = 1.0
"""Between two measurements of the speed."""


class LiveStatus:
    """Measures the speeds of one run, and shows its status."""

    def __init__(self, run: Run, plan: RunPlan, *, wall: Callable[[], float]) -> None:
        self._run = run
        self._plan = plan
        self._wall = wall
        self._speed = Speed()
        self._speeds: tuple[float, float | None, float] = (0.0, None, 0.0)

    async def tick(self) -> None:
        """Measure the speeds every second until cancelled."""
        while True:
            if (moment := self._run.snapshot()) is not None:
                self._speeds = self._speed.take(moment)
            await asyncio.sleep(TICK_S)

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
            "names": names,
            "plan": values_in(plan, In.PAGE),
        }
        return {**known, **(_starting(self._run.doing) if moment is None else self._values(moment))}

    def _values(self, moment: Snapshot) -> dict[str, Any]:
        per_s, left_s, used = self._speeds
        pause = moment.pause
        return {
            "state": _state(moment),
            "doing": moment.doing,
            "rows": moment.rows,
            "settled": moment.settled,
            "remaining": moment.rows - moment.settled,
            "counts": moment.counts,
            "left_out": moment.settled - sum(moment.counts.values()),
            "requests": moment.requests,
            "retries": moment.retries,
            "throttled": moment.throttled,
            "in_flight": moment.in_flight,
            "rate": {
                "allowed": moment.rate,
                "used": round(used, 1),
                "binding": _binding(moment, used),
                "limits": moment.limits,
            },
            "concurrency": moment.concurrency,
            "until": None if moment.until is None else moment.until.isoformat(timespec="seconds"),
            "limit": moment.limit,
            "paused": None
            if pause is None
            else {"source": pause.source.value, "user": pause.user, "since": _iso(pause.since)},
            "confirm": moment.confirm,
            "waiting": moment.waiting,
            "breaker": "open" if moment.breaker_open else "closed",
            "per_s": round(per_s, 1),
            "left_s": None if left_s is None else round(left_s),
            "latency": _latency(*moment.latency),
            "refused": moment.refused,
        }


def _starting(doing: str) -> dict[str, Any]:
    return {"state": "starting", "doing": printable(doing)}


def _state(moment: Snapshot) -> str:
    if moment.draining:
        return "draining"
    if moment.pause is not None:
        return "paused"
    if moment.doing is not None:
        return "starting"
    return "waiting" if moment.waiting else "sending"


def _binding(moment: Snapshot, used: float) -> str | None:
    """The name of the bound of the rate now: a slow-down, the concurrency, or the smallest limit."""
    return limited_by(moment, used) or moment.binding


def _latency(counts: tuple[int, ...], sum_s: float) -> Mapping[str, Any]:
    return {"bounds_s": BOUNDS_S, "counts": counts, "sum_s": round(sum_s, 3)}


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).astimezone().isoformat(timespec="seconds")
