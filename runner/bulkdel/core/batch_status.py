"""The status of a batch: the sum of its runs, with the members that the status of one run has. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bulkdel.core.outcome import REMAINING

LEFT_OUT = ("excluded", "duplicate", "invalid")
SUMMED = ("requests", "retries", "throttled")
NOW = ("in_flight", "concurrency", "per_s")


class RunStatus(NamedTuple):
    """What is known of one run.

    phase: waiting, planning, running, or how it has ended. live: the latest status of its process; empty before one.
    summary: of its end; empty before it. rows: by its plan.
    """

    name: str
    phase: str
    running: bool
    rows: int
    live: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows by outcome, without the rows that were left out."""
        if not self.summary:
            return dict(self.live.get("counts", {}))
        return {name: count for name, count in rows_of(self.summary).items() if name not in {*LEFT_OUT, REMAINING}}

    @property
    def left_out_by(self) -> Mapping[str, int]:
        """Rows that are never sent, by the reason."""
        if not self.summary:
            return dict(self.live.get("left_out_by", {}))
        rows, spared = rows_of(self.summary), self.summary.get("spared") or {}
        found = {**spared, **{name: rows.get(name, 0) for name in LEFT_OUT}}
        found["excluded"] -= sum(spared.values())
        return {name: count for name, count in found.items() if count}

    @property
    def left_out(self) -> int:
        """Rows that are never sent."""
        return sum(self.left_out_by.values())

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return sum(self.counts.values()) + self.left_out


def rows_of(summary: Mapping[str, Any]) -> dict[str, int]:
    """The rows by outcome of the summary of a run: they stand before `rows`. Zeros are left out."""
    found: dict[str, int] = {}
    for name, value in summary.items() if "rows" in summary else ():
        if name == "rows":
            break
        if value:
            found[name] = value
    return found


def status_of_batch(head: Mapping[str, Any], runs: Sequence[RunStatus]) -> dict[str, Any]:
    """The status of all. head: the members that are no sums: `at`, `state`, `doing`, `plan` and the like."""
    begun = [run for run in runs if run.live or run.summary]
    running = [run.live for run in runs if run.running and "rate" in run.live]
    table = [_row(run) for run in runs]
    if not begun:
        return {**head, "runs": table}
    counts, refused, left_out, names = Counter[str](), Counter[str](), Counter[str](), dict[str, str]()
    for run in begun:
        counts.update(run.counts)
        refused.update(run.live.get("refused", {}))
        left_out.update(run.left_out_by)
        names.update(run.live.get("names", {}))
    rows, settled = sum(run.rows for run in runs), sum(run.settled for run in runs)
    now: dict[str, float] = {name: sum(live[name] for live in running) for name in NOW}
    allowed = [live["rate"]["allowed"] for live in running]
    return {
        **head,
        "rows": rows,
        "settled": settled,
        "remaining": rows - settled,
        "counts": dict(counts),
        "names": names,
        "left_out": left_out.total(),
        "left_out_by": dict(left_out),
        # The log of a run that was killed has no figures: they are None.
        **{name: sum((run.summary or run.live).get(name) or 0 for run in begun) for name in SUMMED},
        **now,
        "rate": {
            "allowed": sum(allowed) if all(allowed) else 0,
            "used": round(sum(live["rate"]["used"] for live in running), 1),
            "binding": None,
            "limits": {},
        },
        "left_s": round((rows - settled) / now["per_s"]) if now["per_s"] else None,
        "latency": _latency([run.live["latency"] for run in begun if "latency" in run.live]),
        "refused": dict(refused),
        "breaker": "open" if any(live["breaker"] == "open" for live in running) else "closed",
        "paused": None,
        "waiting": None,
        "limit": None,
        "confirm": None,
        "runs": table,
    }


def _row(run: RunStatus) -> dict[str, Any]:
    live = run.live if run.running else {}
    return {
        "name": run.name,
        "state": live.get("state", run.phase),
        "settled": run.settled,
        "rows": run.rows,
        "per_s": live.get("per_s", 0.0),
        "waiting": live.get("waiting") or live.get("doing"),
    }


def _latency(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of the classes. All runs have the same bounds."""
    bounds = each[0]["bounds_s"] if each else []
    counts = [sum(column) for column in zip(*(one["counts"] for one in each), strict=True)]
    return {
        "bounds_s": bounds,
        "counts": counts or [0] * (len(bounds) + 1),
        "sum_s": round(sum(one["sum_s"] for one in each), 3),
    }
