"""How a session ended, and what its stop entry says of it: the same for a run in one process and in shards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from bulkdel.core.run_state import Progress
from bulkdel.core.summary import Ending, exit_code, status_of
from bulkdel.engine.workers import Stop
from bulkdel.errors import FileFailed
from bulkdel.safety.run_plan import RunPlan


def ending_of(
    stop: Stop | None, *, complete: bool, limit_reached: bool, log_failure: FileFailed | None, left: Callable[[], str]
) -> Ending:
    """How a session ended. A drain that was asked for after the last row does not count.

    stop: why it drained; None when it did not. complete: whether every row has its outcome. log_failure: of its log.
    left: says why rows are left although nothing stopped it.
    """
    done = complete or limit_reached
    if stop is not None and (stop.signal is not None or stop.drained) and done:
        stop = None
    why = stop.why if stop else ""
    if log_failure is not None:  # also where the patience with the server ended first, since nothing was sent
        why = str(log_failure)
    elif stop is None and not done:
        why = left()
    return Ending(
        why=why,
        signal=stop.signal if stop else None,
        file_failed=log_failure is not None or bool(stop and isinstance(stop.error, FileFailed)),
        halted=stop is not None and stop.signal is None and not stop.planned and not stop.drained,
        limit_reached=limit_reached,
        planned=stop is not None and stop.planned,
        drained=stop is not None and stop.drained,
    )


def stop_facts(
    plan: RunPlan, progress: Progress, ending: Ending, *, until: datetime | None, now: datetime, blind: bool
) -> dict[str, Any]:
    """The facts of the stop entry, without the figures. until: when it had to stop. blind: see docs/log-format.md."""
    lost = plan.arguments.not_restorable
    refused = progress.counts["refused"] + progress.counts["unknown"] + lost
    time_came = until is not None and now >= until and not progress.complete
    return {
        "why": ending.why or "done",
        **({"not_after": until.isoformat()} if until is not None and time_came else {}),
        **({} if progress.complete else {"to_go_on": plan.line_after(ending, now).words}),
        "status": status_of(ending, complete=progress.complete),
        "exit": exit_code(ending, complete=progress.complete, refused=refused),
        "limit_reached": ending.limit_reached,
        "blind": blind,
    }
